//! Running programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{Error, Result};

/// The repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(3).unwrap_or(here).to_owned()
}

/// A program, in the repository. It ends when it is let go of.
#[must_use]
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(repository())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// A program of the repository, by its path there.
#[must_use]
pub fn script(path: &str) -> Command {
    command(repository().join(path))
}

/// Runs it; what it printed.
///
/// # Errors
/// With what it complained about, when it does not start or does not end well.
pub async fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .await
        .map_err(|e| failed(command, e.to_string()))?;
    finished(command, &output)
}

/// Runs it with this text on its standard input; what it printed.
///
/// # Errors
/// As [`output`].
pub async fn feed(command: &mut Command, text: &str) -> Result<String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|e| failed(command, e.to_string()))?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that ends early says why itself.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    let output = output.map_err(|e| failed(command, e.to_string()))?;
    finished(command, &output)
}

/// Runs it with the terminal for its own.
///
/// # Errors
/// When it does not start or does not end well.
pub async fn show(command: &mut Command) -> Result<()> {
    let status = command.status().await;
    let status = status.map_err(|e| failed(command, e.to_string()))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(command, status.to_string()))
    }
}

fn finished(command: &Command, output: &std::process::Output) -> Result<String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed(command, format!("{}: {said}", output.status)))
    }
}

fn failed(command: &Command, said: String) -> Error {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    Error::Program {
        command: words.join(" "),
        said,
    }
}
