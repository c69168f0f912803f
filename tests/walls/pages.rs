//! The pages for those who carry on say of the walls and the suites what is so.

use std::{collections::BTreeSet, fs, path::Path};

use super::PARTS;

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_table_of_walls_is_that_of_the_test() {
    let page = page("docs/architecture.md");
    let (_, table) = page.split_once("| part | may use |\n|---|---|\n").unwrap();
    let rows: Vec<_> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| quoted(line).collect::<Vec<_>>())
        .collect();
    let parts = PARTS.map(|(part, sees)| [&[part][..], sees].concat());
    assert_eq!(rows, parts);
}

/// Folders of `tests/` that are no suite, and commands.
const NO_SUITE: [&str; 8] = [
    "README.md",
    "deny",
    "generate",
    "golden",
    "links",
    "programs",
    "run",
    "soak",
];

#[test]
fn every_suite_has_a_row() {
    let page = page("tests/README.md");
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let named: BTreeSet<_> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(quoted)
        .map(|name| name.trim_end_matches('/').to_owned())
        .collect();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in fs::read_dir(tests).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            NO_SUITE.contains(&name.as_str()) || named.contains(&name),
            "tests/{name} has no row in tests/README.md"
        );
    }
}

/// What native readers stumble over, in the words of conditions, Events, answers and definitions.
const RIDDLES: [&str; 7] = [
    "by itself",
    "put right",
    "Put right",
    "whoever ",
    "Whoever ",
    "goes on without",
    "is said to the",
];

#[test]
fn people_read_plain_words() {
    let sources = super::sources().into_iter();
    let sources = sources.filter(|(file, _)| {
        let parts = ["plan/", "evidence/"];
        parts.iter().any(|part| file.starts_with(part)) && !super::circles::is_a_test(file)
    });
    let code = sources.map(|(file, text)| (format!("src/{file}"), text));
    let definitions = ["crds/rollouts.yaml", "crds/databaseschemas.yaml"];
    let definitions = definitions.map(|name| (name.to_owned(), page(name)));
    for (file, text) in code.chain(definitions) {
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (line, text) in text.lines().enumerate() {
            // Comments are for those who work on it.
            let words = text.split("//").next().unwrap_or_default();
            let riddle = RIDDLES.iter().find(|riddle| words.contains(*riddle));
            assert_eq!(riddle, None, "{file}:{}: {words}", line + 1);
        }
    }
}

#[test]
fn the_design_has_no_walls_of_text() {
    for (line, text) in page("docs/design.md").lines().enumerate() {
        let is_short = text.starts_with('|') || text.chars().count() <= 600;
        assert!(is_short, "docs/design.md:{}: make it a list", line + 1);
    }
}
