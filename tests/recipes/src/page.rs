//! A page: its blocks of SQL, by the names that stand at them.

use std::{fs, path::PathBuf};

use stepgate_lint::{Phase, Source};

/// The phases that have files.
pub const PHASES: [(&str, Phase); 4] = [
    ("expand", Phase::Expand),
    ("backfill", Phase::Backfill),
    ("contract", Phase::Contract),
    ("revert", Phase::Revert),
];

pub struct Page {
    pub name: String,
    blocks: Vec<(String, String)>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes")
}

impl Page {
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(name).with_extension("md")).unwrap();
        let mut blocks = Vec::new();
        for (number, part) in text.split("```").enumerate() {
            let (head, sql) = part.split_once('\n').unwrap_or_default();
            if let Some(named) = head.strip_prefix("sql").filter(|_| number % 2 == 1) {
                assert!(!named.is_empty(), "{name}: a block of SQL without a name");
                blocks.push((named.trim().to_owned(), sql.to_owned()));
            }
        }
        Self {
            name: name.to_owned(),
            blocks,
        }
    }

    /// Every page that has SQL.
    pub fn all() -> Vec<Self> {
        let mut pages: Vec<_> = fs::read_dir(folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| Self::read(path.file_stem().unwrap().to_str().unwrap()))
            .filter(|page| !page.blocks.is_empty())
            .collect();
        pages.sort_by(|a, b| a.name.cmp(&b.name));
        pages
    }

    /// The blocks of this name.
    pub fn blocks(&self, name: &str) -> Vec<&str> {
        let named = self.blocks.iter().filter(|(its, _)| its == name);
        named.map(|(_, sql)| sql.as_str()).collect()
    }

    /// The only block of this name.
    pub fn block(&self, name: &str) -> &str {
        let blocks = self.blocks(name);
        assert_eq!(blocks.len(), 1, "{}: blocks {name}", self.name);
        blocks[0]
    }

    /// The files of a phase, in their order.
    pub fn files(&self, phase: &str) -> Vec<Source> {
        let mut files: Vec<_> = self
            .blocks
            .iter()
            .filter(|(name, _)| {
                name.strip_suffix(".sql")
                    .is_some_and(|name| name.split('-').next() == Some(phase))
            })
            .map(|(name, text)| Source {
                name: name.clone(),
                text: text.clone(),
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// Names that stand at no block that is known here.
    pub fn unknown(&self) -> Vec<&str> {
        let known = |name: &str| {
            matches!(name, "start" | "proof" | "check" | "v1" | "v2" | "v3")
                || PHASES
                    .iter()
                    .any(|(phase, _)| self.files(phase).iter().any(|file| file.name == name))
        };
        let names = self.blocks.iter().map(|(name, _)| name.as_str());
        names.filter(|name| !known(name)).collect()
    }
}
