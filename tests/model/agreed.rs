//! What both worlds must say of a script.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/model/agreed")
}

fn path(script: &str) -> PathBuf {
    folder().join(format!("{script}.txt"))
}

/// What is kept.
pub fn read(script: &str) -> Vec<String> {
    let text = fs::read_to_string(path(script)).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

/// The cluster in memory says what is kept, or what it says is kept from now on.
pub fn compare(script: &str, told: &[String]) {
    if env::var_os("UPDATE_AGREED").is_some() {
        fs::create_dir_all(folder()).expect("a folder");
        fs::write(path(script), told.join("\n") + "\n").expect("written");
    }
    differences(script, told);
}

/// Fails with everything that was told, each line that is not as it is kept marked.
pub fn differences(script: &str, told: &[String]) {
    let kept = read(script);
    assert!(!kept.is_empty(), "nothing is kept of {script}");
    let mut text = String::new();
    for (told, kept) in told.iter().zip(&kept) {
        if told == kept {
            text += &format!("  {told}\n");
        } else {
            text += &format!("- {kept}\n+ {told}\n");
        }
    }
    for missing in kept.iter().skip(told.len()) {
        text += &format!("- {missing}\n");
    }
    for more in told.iter().skip(kept.len()) {
        text += &format!("+ {more}\n");
    }
    assert!(
        told == kept,
        "{script} is told otherwise (+) than it is kept (-):\n{text}"
    );
}

/// Fails when there is a file of another script.
pub fn no_others(scripts: &[&str]) {
    let known: BTreeSet<PathBuf> = scripts.iter().map(|s| path(s)).collect();
    let files = fs::read_dir(folder()).expect("a folder");
    let files: BTreeSet<PathBuf> = files.map(|f| f.expect("a file").path()).collect();
    assert_eq!(files, known);
}
