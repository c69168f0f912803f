//! What people read afterwards: line by line, with the time and the names they know.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    object::{Name, Objects},
    request::describe,
    setting::DAWN,
};
use crate::{
    api::{DatabaseRecord, RolloutStatus, database::VersionRecord, status::SchemaStatus},
    cluster::{Key, WriteError, Written, pass::Ran},
    plan::{
        facts::{DatabaseFacts, RolloutFacts},
        intent::{Note, Notes, Write},
        job::terms,
        reason::Reason,
    },
};

/// The story of a world.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// How much is told.
    pub detail: Detail,
    lines: Vec<Line>,
    /// Names of revisions, and the image that people know them by.
    aliases: BTreeMap<String, String>,
    last_pods: BTreeMap<String, Vec<Pods>>,
    last_notes: BTreeMap<Key, Notes>,
}

/// One line of a story.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// The Rollout or DatabaseSchema that it is about; empty: the world.
    pub about: String,
    /// What is told.
    pub told: Told,
}

/// What a line tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// Somebody, or a program of his, did something.
    Person(String),
    /// A manifest was applied that changes a Rollout.
    Applied {
        /// Its image.
        image: Name,
        /// `spec.replicas`.
        replicas: i32,
    },
    /// Fate struck.
    Fault(String),
    /// What a pass over a Rollout decided, or a controller did for it.
    Note(Note),
    /// What a pass over a DatabaseSchema decided.
    Database(Note),
    /// Pods of a Rollout, as they are from now on.
    Pods(Vec<Pods>),
    /// How a Rollout says that it stands, from now on.
    Says(Condition),
    /// What waits for a DatabaseSchema's versions, in its column, from now on.
    Waits(String),
    /// A write of the operator.
    Write {
        /// Which.
        what: String,
        /// Why it was not accepted.
        error: Option<String>,
    },
    /// What stopped a pass.
    PassEnded(String),
}

/// Pods of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    /// Its image.
    pub image: Name,
    /// Pods that are ready.
    pub ready: usize,
    /// Pods that are asked for.
    pub asked: i32,
}

impl Told {
    /// The reason of the Event that it is, if it is one.
    #[must_use]
    pub(crate) const fn event(&self) -> Option<Reason> {
        match self {
            Self::Note(Note::Event { reason, .. }) => Some(*reason),
            _ => None,
        }
    }

    /// Whether it only shows what the lines around it have led to.
    const fn is_aside(&self) -> bool {
        matches!(
            self,
            Self::Pods(_)
                | Self::Says(_)
                | Self::Waits(_)
                | Self::Write { .. }
                | Self::PassEnded(_)
        )
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(words) => write!(f, "> {words}"),
            Self::Applied { image, replicas } => {
                write!(f, "> applied: {image}, {replicas} replicas")
            }
            Self::Fault(words) => write!(f, "! {words}"),
            Self::Note(note) | Self::Database(note) => write!(f, "{note}"),
            Self::Pods(pods) => {
                let pods: Vec<_> = pods.iter().map(ToString::to_string).collect();
                write!(f, "pods  {}", pods.join("  "))
            }
            Self::Says(c) => write!(f, "says  {} {}: {}", c.type_, c.reason, c.message),
            Self::Waits(words) if words.is_empty() => f.write_str("nothing waits"),
            Self::Waits(words) => write!(f, "waits {words}"),
            Self::Write { what, error: None } => write!(f, "write {what}"),
            Self::Write {
                what,
                error: Some(error),
            } => write!(f, "write {what}: {error}"),
            Self::PassEnded(error) => write!(f, "pass ended: {error}"),
        }
    }
}

impl fmt::Display for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.image, self.ready, self.asked)
    }
}

/// How much of a story is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing: for many schedules.
    #[default]
    Nothing,
    /// What happened and what was decided.
    Decisions,
    /// Every write and its answer too.
    Writes,
}

impl Story {
    /// A revision is known to people by its image.
    pub(super) fn name_revision(&mut self, revision: &str, image: &str) {
        if self.detail == Detail::Nothing || self.aliases.contains_key(revision) {
            return;
        }
        let namesakes = self
            .aliases
            .values()
            .filter(|a| a.starts_with(image))
            .count();
        let alias = match namesakes {
            0 => image.to_owned(),
            others => format!("{image}({})", others + 1),
        };
        self.aliases.insert(revision.into(), alias);
    }

    fn tell(&mut self, at: Timestamp, about: &str, told: Told) {
        if self.detail > Detail::Nothing {
            let about = about.into();
            self.lines.push(Line { at, about, told });
        }
    }

    /// Somebody, or a program of his, has done something.
    pub(super) fn person(&mut self, at: Timestamp, about: &str, words: &str) {
        self.tell(at, about, Told::Person(words.into()));
    }

    /// A manifest was applied that changes a Rollout.
    pub(super) fn applied(&mut self, at: Timestamp, rollout: &str, image: &Name, replicas: i32) {
        let image = image.clone();
        self.tell(at, rollout, Told::Applied { image, replicas });
    }

    /// Fate struck.
    pub(super) fn fault(&mut self, at: Timestamp, about: &str, words: &str) {
        self.tell(at, about, Told::Fault(words.into()));
    }

    /// A controller did something.
    pub(super) fn note(&mut self, at: Timestamp, rollout: &str, words: String) {
        self.tell(at, rollout, Told::Note(words.into()));
    }

    /// Pods by revision; told when that has changed.
    pub(super) fn pods(&mut self, at: Timestamp, rollout: &str, pods: Vec<Pods>) {
        if self.detail > Detail::Nothing && self.last_pods.get(rollout) != Some(&pods) {
            self.last_pods.insert(rollout.into(), pods.clone());
            self.tell(at, rollout, Told::Pods(pods));
        }
    }

    /// What a pass said, unless it said the same before.
    pub(super) fn pass(&mut self, at: Timestamp, key: &Key, ran: &Ran) {
        if self.detail == Detail::Nothing {
            return;
        }
        let last = self.last_notes.insert(key.clone(), ran.notes.clone());
        let before = last.unwrap_or_default();
        for note in ran.notes.iter().filter(|note| !before.contain(note)) {
            let told = match key {
                Key::Rollout { .. } => Told::Note(note.clone()),
                Key::Database { .. } => Told::Database(note.clone()),
            };
            self.tell(at, key.name(), told);
        }
        if let (Detail::Writes, Some(error)) = (self.detail, &ran.error) {
            self.tell(at, key.name(), Told::PassEnded(error.to_string()));
        }
    }

    /// What the Rollout says of itself, when that is something else than before.
    pub(super) fn standing(
        &mut self,
        at: Timestamp,
        before: &RolloutStatus,
        rollout: &RolloutFacts,
    ) {
        if self.detail == Detail::Nothing {
            return;
        }
        let after_release = |s: &&SchemaStatus| terms::is_after_release(s.phase);
        let schema = rollout.status.schema.as_ref().filter(after_release);
        if let Some(schema) = schema.filter(|_| before.schema != rollout.status.schema) {
            let words = format!(
                "{} {}{}",
                schema.phase.word(),
                schema.state,
                match schema.message.as_str() {
                    "" => String::new(),
                    message => format!(": {message}"),
                }
            );
            self.note(at, &rollout.base.name, words);
        }
        let Some(now) = said(&rollout.status) else {
            return;
        };
        let same = |before: &Condition| before.type_ == now.type_ && before.reason == now.reason;
        if !said(before).is_some_and(same) {
            self.tell(at, &rollout.base.name, Told::Says(now.clone()));
        }
    }

    /// What a DatabaseSchema says that waits, when that is something else than before.
    pub(super) fn waits(&mut self, at: Timestamp, before: &DatabaseRecord, now: &DatabaseFacts) {
        let waits = &now.record.summary.waits;
        if *waits != before.summary.waits {
            self.tell(at, &now.base.name, Told::Waits(waits.clone()));
        }
    }

    /// What became of a write.
    pub(super) fn write(
        &mut self,
        at: Timestamp,
        key: &Key,
        write: &Write,
        answer: &Result<Written, WriteError>,
    ) {
        if self.detail == Detail::Writes {
            let what = describe(write);
            let error = answer.as_ref().err().map(ToString::to_string);
            self.tell(at, key.name(), Told::Write { what, error });
        }
    }

    /// The story so far.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The story so far, as people read it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut names = self.lines.iter().map(|line| &line.about);
        let mut names = names.by_ref().filter(|name| !name.is_empty());
        let first = names.next();
        let several = names.any(|name| Some(name) != first);
        let mut text = String::new();
        for Line { at, about, told } in &self.lines {
            let seconds = at.duration_since(DAWN).as_secs();
            let clock = format!("{:3}:{:02}", seconds / 60, seconds % 60);
            let name = if several {
                format!("{about:<8}")
            } else {
                String::new()
            };
            let indent = if told.is_aside() { "    " } else { "" };
            let words = self.with_known_names(&told.to_string());
            let _ = writeln!(text, "{clock}  {name}{indent}{words}");
        }
        text
    }

    /// How every Rollout and every DatabaseSchema stands, as people read it.
    #[must_use]
    pub fn ending(&self, live: &Objects) -> String {
        let mut text = String::new();
        for rollout in live.rollouts.values() {
            let status = &rollout.status;
            let true_ones: Vec<_> = status
                .conditions
                .iter()
                .filter(|c| c.status == "True" && c.type_ != "Available")
                .map(|c| format!("{}={}", c.type_, c.reason))
                .collect();
            let stable = status.stable.as_ref().map_or("none", |s| &s.revision);
            let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
            let message = ready.map_or("", |c| &c.message);
            let _ = writeln!(
                text,
                "  end  {}: {}, stable {stable}: {message}",
                rollout.meta.name,
                true_ones.join(" ")
            );
        }
        for database in live.databases.values() {
            let record = &database.record;
            let holders: Vec<_> = record.holders().map(|h| h.job.as_str()).collect();
            let holder = match holders.as_slice() {
                [] => "nobody".to_owned(),
                some => some.join(" and "),
            };
            let dirty: Vec<_> = record.dirty.iter().map(|d| d.job.as_str()).collect();
            let dirty = match dirty.as_slice() {
                [] => "clean".to_owned(),
                some => some.join(" and "),
            };
            let name = &database.meta.name;
            let _ = writeln!(text, "  end  {name}: held by {holder}, {dirty}");
            for version in &record.versions {
                let _ = writeln!(text, "  end  {name}: {}", stands(version));
            }
            if let Some(floor) = record.undo_floor {
                let _ = writeln!(text, "  end  {name}: undo floor {floor}");
            }
        }
        self.with_known_names(&text)
    }

    /// Words with revisions by the names that people know.
    #[must_use]
    pub(crate) fn with_known_names(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for (revision, image) in &self.aliases {
            if words.contains(revision.as_str()) {
                words = words.replace(revision, image);
            }
        }
        words
    }
}

/// The condition that says how a Rollout stands.
fn said(status: &RolloutStatus) -> Option<&Condition> {
    ["Ready", "Stalled", "Reconciling"]
        .into_iter()
        .find_map(|kind| {
            let mut all = status.conditions.iter();
            all.find(|c| c.type_ == kind && c.status == "True")
        })
}

/// What became of a version, in a line.
fn stands(version: &VersionRecord) -> String {
    let mut words = vec![format!("version {}", version.version)];
    words.extend(version.backfilled.as_ref().map(|_| "filled in".to_owned()));
    words.extend(version.contracted.as_ref().map(|_| "contracted".to_owned()));
    words.extend(version.reverted.as_ref().map(|_| "reverted".to_owned()));
    words.extend(version.dropped.then(|| "dropped".to_owned()));
    words.extend(version.is_open().then(|| "open".to_owned()));
    words.join(", ")
}
