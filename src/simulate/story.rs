//! What people read afterwards: line by line, with the time and the names they know.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    object::Name,
    request::describe,
    world::{DAWN, World},
};
use crate::{
    api::RolloutStatus,
    cluster::{Key, WriteError, Written, pass::Ran},
    plan::{facts::RolloutFacts, intent::Write},
};

/// The story of a world.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// How much is told.
    pub detail: Detail,
    lines: Vec<(Timestamp, String, String)>,
    /// Names of revisions, and the image that people know them by.
    aliases: BTreeMap<String, String>,
    last_pods: BTreeMap<String, String>,
    last_notes: BTreeMap<Key, Vec<String>>,
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

    /// Something happened to a Rollout (or, without a name, to the world).
    pub fn tell(&mut self, at: Timestamp, rollout: &str, words: &str) {
        if self.detail > Detail::Nothing {
            self.lines.push((at, rollout.into(), words.into()));
        }
    }

    /// Fate struck.
    pub(super) fn fault(&mut self, at: Timestamp, rollout: &str, words: &str) {
        self.tell(at, rollout, &format!("! {words}"));
    }

    /// Pods by revision; told when that has changed.
    pub(super) fn pods(&mut self, at: Timestamp, rollout: &str, counts: &str) {
        if self.detail == Detail::Nothing
            || self
                .last_pods
                .get(rollout)
                .is_some_and(|last| last == counts)
        {
            return;
        }
        self.last_pods.insert(rollout.into(), counts.into());
        self.tell(at, rollout, &format!("    pods  {counts}"));
    }

    /// The story so far, line by line, with the names that people know.
    pub fn lines(&self) -> impl Iterator<Item = (Timestamp, String)> {
        self.lines
            .iter()
            .map(|(at, _, words)| (*at, self.with_known_names(words)))
    }

    /// The story so far.
    #[must_use]
    pub fn text(&self) -> String {
        let several = {
            let mut names: Vec<&str> = self
                .lines
                .iter()
                .map(|l| l.1.as_str())
                .filter(|n| !n.is_empty())
                .collect();
            names.sort_unstable();
            names.dedup();
            names.len() > 1
        };
        let mut text = String::new();
        for (at, rollout, words) in &self.lines {
            let seconds = at.duration_since(DAWN).as_secs();
            let clock = format!("{:3}:{:02}", seconds / 60, seconds % 60);
            let name = if several {
                format!("{rollout:<8}")
            } else {
                String::new()
            };
            let _ = writeln!(text, "{clock}  {name}{}", self.with_known_names(words));
        }
        text
    }

    fn with_known_names(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for (revision, image) in &self.aliases {
            if words.contains(revision.as_str()) {
                words = words.replace(revision, image);
            }
        }
        words
    }
}

impl World {
    /// What a pass said, unless it said the same before.
    pub(super) fn tell_pass(&mut self, key: &Key, ran: &Ran) {
        let now = self.now;
        if self.story.detail == Detail::Nothing {
            return;
        }
        let rollout = key.name().to_owned();
        let notes: Vec<String> = ran.notes.clone();
        let before = self
            .story
            .last_notes
            .insert(key.clone(), notes.clone())
            .unwrap_or_default();
        for note in notes.iter().filter(|n| !before.contains(n)) {
            self.story.tell(now, &rollout, note);
        }
        if self.story.detail >= Detail::Writes
            && let Some(error) = &ran.error
        {
            self.story
                .tell(now, &rollout, &format!("    pass ended: {error}"));
        }
    }

    /// How every Rollout stands, as people read it.
    #[must_use]
    pub fn ending(&self) -> String {
        let mut text = String::new();
        for rollout in self.live.rollouts.values() {
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
            let line = format!(
                "  end  {}: {}, stable {stable}: {message}",
                rollout.meta.name,
                true_ones.join(" ")
            );
            let _ = writeln!(text, "{}", self.story.with_known_names(&line));
        }
        for database in self.live.databases.values() {
            let record = &database.record;
            let holder = record.holder.as_ref().map_or("nobody", |h| &h.job);
            let dirty = record.dirty.as_ref().map_or("clean", |d| &d.job);
            let line = format!("  end  {}: held by {holder}, {dirty}", database.meta.name);
            let _ = writeln!(text, "{}", self.story.with_known_names(&line));
        }
        text
    }

    /// What the Rollout says of itself, when that is something else than before.
    pub(super) fn tell_standing(&mut self, before: &RolloutStatus, rollout: &RolloutFacts) {
        if self.story.detail == Detail::Nothing {
            return;
        }
        let kind = |status: &RolloutStatus| {
            let said = |kind: &str| {
                let mut all = status.conditions.iter();
                all.find(|c| c.type_ == kind && c.status == "True").cloned()
            };
            ["Ready", "Stalled", "Reconciling"]
                .into_iter()
                .find_map(said)
        };
        let Some(now) = kind(&rollout.status) else {
            return;
        };
        let same = |before: Condition| before.type_ == now.type_ && before.reason == now.reason;
        if !kind(before).is_some_and(same) {
            let words = format!("    says  {} {}: {}", now.type_, now.reason, now.message);
            self.story.tell(self.now, &rollout.base.name, &words);
        }
    }

    /// What became of a write.
    pub(super) fn tell_write(
        &mut self,
        key: &Key,
        write: &Write,
        answer: &Result<Written, WriteError>,
    ) {
        if self.story.detail < Detail::Writes {
            return;
        }
        let words = match answer {
            Ok(_) => String::new(),
            Err(error) => format!(": {error}"),
        };
        let words = format!("    write {}{words}", describe(write));
        self.story.tell(self.now, key.name(), &words);
    }

    /// The image of a revision.
    pub(super) fn alias(&mut self, revision: &Name, image: &Name) {
        self.story.name_revision(revision, image);
    }
}
