//! What both worlds must say of a script.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fidelity/agreed")
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
    let text = difference(&kept, told);
    assert!(
        told == kept,
        "{script} is told otherwise (+) than it is kept (-):\n{text}"
    );
}

/// Both texts as one: what only the first has, what only the second has, and what both have.
fn difference(first: &[String], second: &[String]) -> String {
    // How many lines the rests of both have in common.
    let mut common = vec![vec![0_usize; second.len() + 1]; first.len() + 1];
    for i in (0..first.len()).rev() {
        for j in (0..second.len()).rev() {
            common[i][j] = if first[i] == second[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < first.len() || j < second.len() {
        if i < first.len() && j < second.len() && first[i] == second[j] {
            text += &format!("  {}\n", first[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == second.len() || (i < first.len() && common[i + 1][j] >= common[i][j + 1]) {
            text += &format!("- {}\n", first[i]);
            i += 1;
        } else {
            text += &format!("+ {}\n", second[j]);
            j += 1;
        }
    }
    text
}

/// Fails when there is a file of another script.
pub fn no_others(scripts: &[&str]) {
    let known: BTreeSet<PathBuf> = scripts.iter().map(|s| path(s)).collect();
    let files = fs::read_dir(folder()).expect("a folder");
    let files: BTreeSet<PathBuf> = files.map(|f| f.expect("a file").path()).collect();
    assert_eq!(files, known);
}
