//! What the documentation shows is what the program says.

use std::{env, fs};

use super::program::{root, stepgate};

const PAGES: [&str; 3] = ["docs/convert.md", "docs/lint.md", "docs/simulate.md"];
const PROMPT: &str = "$ stepgate ";

#[test]
fn every_output_on_the_pages_is_real() {
    PAGES.into_iter().for_each(is_real);
}

/// Every block of a page that begins with a command is that command's output; a line `…` stands
/// for what is left out. `UPDATE_GOLDEN=1 cargo test --test cli` writes those without one anew.
fn is_real(name: &str) {
    let page = fs::read_to_string(root().join(name)).expect(name);
    let mut written = String::new();
    let mut shown = 0;
    for (number, part) in page.split("```\n").enumerate() {
        if number > 0 {
            written += "```\n";
        }
        let command = part
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(PROMPT));
        match command.filter(|_| number % 2 == 1) {
            None => written += part,
            Some(command) => {
                shown += 1;
                written += &block(command, part);
            }
        }
    }
    assert!(shown >= 1, "{name} shows no output");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(root().join(name), written).expect(name);
        return;
    }
    for (shown, real) in page.lines().zip(written.lines()) {
        assert_eq!(shown, real, "{name}: UPDATE_GOLDEN=1 cargo test --test cli");
    }
    assert_eq!(page, written);
}

/// The block as it should be.
fn block(command: &str, shown: &str) -> String {
    let arguments: Vec<&str> = command.split_whitespace().collect();
    let ran = stepgate(&arguments);
    // As a terminal shows it: what is said on the standard error comes first.
    let told = format!("{}{}", ran.complained, ran.told);
    let told = told.trim_end();
    let real = format!("{PROMPT}{command}\n{told}\n");
    let Some((before, after)) = shown.split_once("\n…\n") else {
        return real;
    };
    // As many lines of the beginning and of the end as are shown now.
    let lines: Vec<&str> = real.lines().collect();
    let (first, last) = (before.lines().count(), after.lines().count());
    assert!(
        first + last <= lines.len(),
        "{command}: more is shown than there is"
    );
    let (head, tail) = (&lines[..first], &lines[lines.len() - last..]);
    format!("{}\n…\n{}\n", head.join("\n"), tail.join("\n"))
}
