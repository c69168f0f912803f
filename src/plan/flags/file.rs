//! The ConfigMap of flags: flagd's file, and beside it what Stepgate has written of each flag, so
//! that a change by hand is known as one, and a lost status can be rebuilt.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    api::{Flag, flags::FlagState},
    plan::{facts::Base, revision},
};

/// The key of the ConfigMap under which the file is.
pub const FILE: &str = "flags.json";
/// Where the format of the file is defined, for editors.
const SCHEMA: &str = "https://flagd.dev/schema/v0/flags.json";

/// A ConfigMap, as it was read live.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigMapFacts {
    /// Name, uid, and the version this is a copy of.
    pub base: Base,
    /// The Rollout that it was made for, if Stepgate made it.
    pub rollout: Option<String>,
    /// The Rollout it says it belongs to.
    pub owner_uid: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The file.
    pub file: Option<String>,
    /// The annotation that says what was written of each flag.
    pub notes: Option<String>,
}

/// What a look at a ConfigMap has shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// It, or that there is none.
    Read(Option<Box<ConfigMapFacts>>),
    /// Nothing, for this reason.
    Unread(String),
}

/// What was written of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plan) struct Note {
    /// Number of the change.
    pub change: i64,
    /// Where the flag stood.
    pub state: FlagState,
    /// For how many percent of users it was on.
    pub percent: i32,
    /// Hash of what was written.
    digest: String,
}

/// A flag in a ConfigMap of Stepgate's own.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::plan) enum Found {
    /// It is not there, and was never written.
    Missing,
    /// It is as it was written.
    AsWritten(Note),
    /// It is not as it was written: so it is now.
    ByHand(String),
}

/// The file and the notes, parsed.
pub(in crate::plan) struct Contents {
    /// The file; nothing where it is no JSON object with flags.
    file: Option<Map<String, Value>>,
    notes: BTreeMap<String, Note>,
}

/// A flag as flagd reads it. The variant that is on comes first, so that a user for whom it is on
/// keeps it as the share grows, and the last to come is the first to go. Users without a targeting
/// key have the default variant.
pub(in crate::plan) fn entry(flag: &Flag, percent: i32) -> Value {
    let (on, off) = (&flag.on_variant, &flag.off_variant);
    let usual = if percent >= 100 { on } else { off };
    let mut entry = json!({
        "state": "ENABLED",
        "variants": {on: true, off: false},
        "defaultVariant": usual,
    });
    if (1..100).contains(&percent) {
        entry["targeting"] = json!({"fractional": [[on, percent], [off, 100 - percent]]});
    }
    entry
}

impl Note {
    /// What is noted of an entry.
    pub fn of(change: i64, state: FlagState, percent: i32, entry: &Value) -> Self {
        Self {
            change,
            state,
            percent,
            digest: revision::hash(entry, None),
        }
    }

    fn text(&self) -> String {
        let state = self.state.word();
        format!("{}/{state}/{}/{}", self.change, self.percent, self.digest)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let mut next = || parts.next();
        Some(Self {
            change: next()?.parse().ok()?,
            state: FlagState::of(next()?)?,
            percent: next()?.parse().ok()?,
            digest: next()?.to_owned(),
        })
    }
}

impl Contents {
    /// What a ConfigMap holds.
    pub fn of(map: &ConfigMapFacts) -> Self {
        let file = match &map.file {
            None => Some(Map::new()),
            Some(text) => serde_json::from_str(text).ok(),
        };
        let flags = |file: &Map<String, Value>| file.get("flags").is_none_or(Value::is_object);
        let notes = map.notes.as_deref().unwrap_or("{}");
        let notes: BTreeMap<String, String> = serde_json::from_str(notes).unwrap_or_default();
        let read = |(key, text): (String, String)| Some((key, Note::read(&text)?));
        Self {
            file: file.filter(flags),
            notes: notes.into_iter().filter_map(read).collect(),
        }
    }

    /// What a new one holds.
    pub fn new() -> Self {
        Self {
            file: Some(Map::new()),
            notes: BTreeMap::new(),
        }
    }

    /// A flag in it.
    pub fn flag(&self, key: &str) -> Found {
        let Some(file) = &self.file else {
            return Found::ByHand(format!("{FILE} is no JSON object with flags"));
        };
        let entry = file.get("flags").and_then(|flags| flags.get(key));
        match (entry, self.notes.get(key)) {
            (None, None) => Found::Missing,
            (Some(entry), Some(note)) if revision::hash(entry, None) == note.digest => {
                Found::AsWritten(note.clone())
            }
            (Some(entry), _) => Found::ByHand(format!("it is {entry}")),
            (None, Some(_)) => Found::ByHand("it is gone".to_owned()),
        }
    }

    /// Keys of the flags that Stepgate has written.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        self.notes.keys().map(String::as_str)
    }

    /// Puts a flag into it, or writes over it.
    pub fn put(&mut self, key: &str, entry: Value, note: Note) {
        let file = self.file.get_or_insert_with(Map::new);
        let flags = file.entry("flags").or_insert_with(|| json!({}));
        flags[key] = entry;
        self.notes.insert(key.to_owned(), note);
    }

    /// Takes a flag out of it, unless somebody has changed it.
    pub fn take(&mut self, key: &str) {
        let own = matches!(self.flag(key), Found::AsWritten(_));
        self.notes.remove(key);
        let flags = self.file.as_mut().and_then(|file| file.get_mut("flags"));
        if let Some(flags) = flags.and_then(Value::as_object_mut).filter(|_| own) {
            flags.remove(key);
        }
    }

    /// The file as it is to be written.
    pub fn file(&self) -> String {
        let mut file = self.file.clone().unwrap_or_default();
        file.entry("$schema").or_insert_with(|| json!(SCHEMA));
        file.entry("flags").or_insert_with(|| json!({}));
        let text = serde_json::to_string_pretty(&file).unwrap_or_default();
        format!("{text}\n")
    }

    /// The annotation as it is to be written.
    pub fn notes(&self) -> String {
        let notes = self.notes.iter().map(|(key, note)| (key, note.text()));
        json!(notes.collect::<BTreeMap<_, _>>()).to_string()
    }
}
