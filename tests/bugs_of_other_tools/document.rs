//! The page and the tests agree: each entry names a test of its own, each test has an entry, and
//! each entry names a thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

/// Tests that are about the page itself.
const OF_THE_PAGE: &str = "document.rs";
/// What the page promises at least.
const LEAST: usize = 40;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

struct Entry {
    title: String,
    text: String,
}

impl Entry {
    /// Tests that its commands run.
    fn tests(&self) -> Vec<&str> {
        let lines = self.text.lines();
        lines
            .filter_map(|line| line.strip_prefix("`cargo test --test bugs_of_other_tools "))
            .filter_map(|rest| rest.strip_suffix('`'))
            .collect()
    }

    fn has_thread(&self) -> bool {
        let after = |kind: &str| {
            let mut found = self.text.split(kind).skip(1);
            found.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        self.text.contains("](https://github.com/") && (after("/issues/") || after("/pull/"))
    }
}

fn entries() -> Vec<Entry> {
    let page = fs::read_to_string(root().join("docs/bugs-of-other-tools.md")).unwrap();
    let (_, entries) = page.split_once("\n### ").unwrap();
    let entries = entries.split("\n### ");
    entries
        .map(|entry| {
            let (title, text) = entry.split_once('\n').unwrap();
            Entry {
                title: title.into(),
                text: text.into(),
            }
        })
        .collect()
}

/// Names of all tests of the record.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in fs::read_dir(root().join("tests/bugs_of_other_tools")).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with(OF_THE_PAGE) {
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        for after in source.split("#[test]\nfn ").skip(1) {
            names.insert(after.split('(').next().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn each_entry_names_a_test_and_each_test_has_an_entry() {
    let entries = entries();
    let mut named = BTreeMap::new();
    for entry in &entries {
        let tests = entry.tests();
        assert_eq!(tests.len(), 1, "one command in {:?}", entry.title);
        let before = named.insert(tests[0].to_owned(), &entry.title);
        assert_eq!(before, None, "{} is named twice", tests[0]);
    }
    let named: BTreeSet<String> = named.into_keys().collect();
    assert_eq!(named, tests());
    assert!(named.len() >= LEAST, "{} entries", named.len());
}

#[test]
fn each_entry_has_a_number_a_thread_and_what_happens_here() {
    for (index, entry) in entries().iter().enumerate() {
        let number = format!("{}. ", index + 1);
        assert!(entry.title.starts_with(&number), "{:?}", entry.title);
        assert!(entry.has_thread(), "a thread in {:?}", entry.title);
        assert!(entry.text.contains("**Here:** "), "{:?}", entry.title);
    }
}
