//! Files of SQL in ConfigMaps, and the runner, which refuses what it was not given the hash of.

use serde_json::Value;

use super::world::World;
use crate::{
    api::sql::KeyRef,
    plan::{
        facts::{Text, Texts},
        job::order_in,
        revision::sha256,
    },
};

/// Files that the pod of a Job mounts, each with the hash that its order gives.
pub(super) fn files(template: &Value) -> Vec<(KeyRef, String)> {
    let container = &template["spec"]["containers"][0];
    let Some(order) = order_in(&container["env"]) else {
        return Vec::new();
    };
    let sources = template.pointer("/spec/volumes/0/projected/sources");
    let sources = sources.and_then(Value::as_array).into_iter().flatten();
    let listed = [&order["files"], &order["upcoming"]];
    let listed = listed.into_iter().filter_map(Value::as_array).flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    sources
        .zip(listed)
        .map(|(source, file)| {
            let map = &source["configMap"];
            let key = KeyRef {
                name: text(&map["name"]),
                key: text(&map["items"][0]["key"]),
            };
            (key, text(&file["sha256"]))
        })
        .collect()
}

impl World {
    pub(super) fn texts_of(&self, keys: &[KeyRef]) -> Texts {
        let all = keys.iter().map(|key| {
            let text = match self.texts.get(key) {
                Some(text) => Text::Is(sha256(text.as_bytes())),
                None => Text::Unusable(format!("ConfigMap {} has no key {}", key.name, key.key)),
            };
            (key.clone(), text)
        });
        all.collect()
    }

    /// Whether every file is the one of this hash.
    pub(super) fn holds(&self, files: &[(KeyRef, String)]) -> bool {
        files.iter().all(|(key, sha)| {
            let text = self.texts.get(key);
            text.is_some_and(|text| sha256(text.as_bytes()) == *sha)
        })
    }

    pub(super) fn write_sql(&mut self, key: KeyRef, text: Option<&'static str>) {
        let KeyRef { name, key: file } = &key;
        let words = match text {
            Some(text) => format!("somebody writes {file} in ConfigMap {name}: {text}"),
            None => format!("somebody deletes {file} in ConfigMap {name}"),
        };
        self.did("", &words);
        match text {
            Some(text) => drop(self.texts.insert(key, text.to_owned())),
            None => drop(self.texts.remove(&key)),
        }
    }
}
