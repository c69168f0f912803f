//! Runs the program.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// What a run came to.
pub struct Ran {
    pub status: i32,
    pub told: String,
    pub complained: String,
}

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `stepgate` in the repository.
pub fn stepgate(arguments: &[&str]) -> Ran {
    read(command(arguments).output().expect("it runs"))
}

/// Runs `stepgate simulate` on a manifest that it reads from its standard input.
pub fn simulate(manifest: &str, arguments: &[&str]) -> Ran {
    piped(&[&["simulate", "-f", "-"], arguments].concat(), manifest)
}

pub fn piped(arguments: &[&str], input: &str) -> Ran {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // It may refuse its arguments before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    read(child.wait_with_output().expect("it ends"))
}

/// Runs `stepgate convert` on manifests that it reads from its standard input.
pub fn convert(manifests: &str) -> Ran {
    piped(&["convert", "-f", "-"], manifests)
}

/// The same, told as JSON.
pub fn document(manifest: &str, arguments: &[&str]) -> (i32, Value) {
    let ran = simulate(manifest, &[arguments, &["--output", "json"]].concat());
    let document = serde_json::from_str(&ran.told);
    (
        ran.status,
        document.unwrap_or_else(|error| panic!("{error}: {}", ran.told)),
    )
}

/// A manifest of the repository.
pub fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepgate"));
    command.args(arguments).current_dir(root());
    command
}

fn read(output: Output) -> Ran {
    Ran {
        status: output.status.code().expect("it was not killed"),
        told: String::from_utf8(output.stdout).expect("text"),
        complained: String::from_utf8(output.stderr).expect("text"),
    }
}
