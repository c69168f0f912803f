//! A page: its blocks of SQL and YAML, by the names that stand at them, and the Rollout that they
//! make.

use std::{fs, path::PathBuf};

use serde_json::{Map, Value, json};
use stepgate::{api::SchemaSpec, cli::simulate::manifest};
use stepgate_lint::{Phase, Source};

/// The phases that have files.
pub const PHASES: [(&str, Phase); 3] = [
    ("expand", Phase::Expand),
    ("contract", Phase::Contract),
    ("revert", Phase::Revert),
];

pub struct Page {
    pub name: String,
    blocks: Vec<Block>,
}

struct Block {
    language: String,
    name: String,
    text: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes")
}

impl Page {
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(name).with_extension("md")).unwrap();
        let mut blocks = Vec::new();
        for part in text.split("```").skip(1).step_by(2) {
            let (head, text) = part.split_once('\n').unwrap_or_default();
            let (language, of) = head.split_once(' ').unwrap_or((head, ""));
            if ["sql", "yaml"].contains(&language) {
                assert!(!of.is_empty(), "{name}: a block of {language} has no name");
                blocks.push(Block {
                    language: language.to_owned(),
                    name: of.to_owned(),
                    text: text.to_owned(),
                });
            }
        }
        Self {
            name: name.to_owned(),
            blocks,
        }
    }

    /// Every page.
    pub fn all() -> Vec<Self> {
        let mut pages: Vec<_> = fs::read_dir(folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| Self::read(path.file_stem().unwrap().to_str().unwrap()))
            .collect();
        pages.sort_by(|a, b| a.name.cmp(&b.name));
        pages
    }

    /// Every page that has SQL.
    pub fn recipes() -> Vec<Self> {
        let mut pages = Self::all();
        pages.retain(|page| page.of("sql").next().is_some());
        pages
    }

    fn of<'p>(&'p self, language: &'p str) -> impl Iterator<Item = &'p Block> {
        let all = self.blocks.iter();
        all.filter(move |block| block.language == language)
    }

    /// The blocks of SQL of this name.
    pub fn blocks(&self, name: &str) -> Vec<&str> {
        let named = self.of("sql").filter(|block| block.name == name);
        named.map(|block| block.text.as_str()).collect()
    }

    /// The only block of SQL of this name.
    pub fn block(&self, name: &str) -> &str {
        let blocks = self.blocks(name);
        assert_eq!(blocks.len(), 1, "{}: blocks {name}", self.name);
        blocks[0]
    }

    /// The files of a phase, in their order.
    pub fn files(&self, phase: &str) -> Vec<Source> {
        let is_of = |name: &str| {
            let name = name.strip_suffix(".sql");
            name.is_some_and(|name| name.split('-').next() == Some(phase))
        };
        let mut files: Vec<_> = self
            .of("sql")
            .filter(|block| is_of(&block.name))
            .map(|block| Source {
                name: block.name.clone(),
                text: block.text.clone(),
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// Names that stand at no block of SQL that is known here.
    pub fn unknown(&self) -> Vec<&str> {
        let known = |name: &str| {
            matches!(name, "start" | "proof" | "check" | "v1" | "v2" | "v3")
                || PHASES
                    .iter()
                    .any(|(phase, _)| self.files(phase).iter().any(|file| file.name == name))
        };
        let names = self.of("sql").map(|block| block.name.as_str());
        names.filter(|name| !known(name)).collect()
    }

    /// The release that has the contract.
    pub fn last(&self) -> &'static str {
        match self.blocks("v3").is_empty() {
            true => "v2",
            false => "v3",
        }
    }

    /// The blocks of YAML, by their names: parts of `spec.schema`, or the whole.
    pub fn fragments(&self) -> Vec<(&str, Map<String, Value>)> {
        let read = |block: &Block| match serde_saphyr::from_str::<Value>(&block.text).unwrap() {
            Value::Object(fragment) => fragment,
            other => panic!("{}: {other} is no object", self.name),
        };
        let all = self.of("yaml");
        all.map(|block| (block.name.as_str(), read(block)))
            .collect()
    }

    /// What the Rollout of a release has, of what is on the page: the first one has the expand, the
    /// last one the contract, and each the backfill.
    pub fn schema(&self, release: &str) -> SchemaSpec {
        let version: i64 = release.strip_prefix('v').unwrap().parse().unwrap();
        let mut schema = json!({
            "database": "shop-db",
            "version": version,
            "postgres": {"connection": {"secretKeyRef": {"name": "shop-ddl", "key": "uri"}}},
        });
        for (phase, _) in PHASES {
            let is_here = match phase {
                "contract" => release == self.last(),
                _ => release == "v2",
            };
            let files = self.files(phase).into_iter();
            let files =
                files.map(|file| json!({"configMapKeyRef": {"name": self.name, "key": file.name}}));
            let files: Vec<_> = files.collect();
            if is_here && !files.is_empty() {
                schema[phase] = json!({"sql": {"files": files}});
                if phase == "revert" {
                    schema[phase]["when"] = json!("AfterFailure");
                }
            }
        }
        for (_, fragment) in self.fragments() {
            for (field, value) in fragment {
                schema[field] = value;
            }
        }
        self.taken(&schema)
    }

    /// `spec.schema` of a Rollout, as the API server and then the operator read it.
    pub fn taken(&self, schema: &Value) -> SchemaSpec {
        let labels = json!({"app": "shop"});
        let rollout = json!({
            "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "shop", "image": "shop:2"}]},
                },
                "schema": schema,
            },
        });
        match manifest::check(&rollout) {
            Ok(manifest) => manifest.spec.schema.unwrap(),
            Err(found) => panic!("{}: {found:#?}", self.name),
        }
    }
}
