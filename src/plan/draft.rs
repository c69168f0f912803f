//! The working copy of one pass: the facts, and the status as it will be.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    facts::{Observed, Question},
    intent::{Event, UndoCause, Write},
    replicas::{self, Bounds},
    revision::Wanted,
};
use crate::api::{
    RolloutStatus,
    status::{Ended, Outcome, Release, Stopwatch, Why},
};

/// The working copy of one pass.
pub(super) struct Draft<'a> {
    pub seen: &'a Observed,
    pub now: Timestamp,
    pub spec: Arc<Wanted>,
    /// Hash of the revision that the spec asks for.
    pub wanted: String,
    pub status: RolloutStatus,
    /// A decision was made: status is recorded before anything that rests on it.
    pub decided: bool,
    pub questions: Vec<Question>,
    pub writes: Vec<Write>,
    pub events: Vec<Event>,
    pub notes: Vec<String>,
    pub wake_at: Option<Timestamp>,
    /// What keeps the rollout from going on, found in this pass.
    pub obstacle: Option<Obstacle>,
    /// ConfigMaps and Secrets that stable names and that do not exist.
    pub undo_impossible: Option<String>,
}

/// Something that keeps a rollout from going on, and who can change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub why: Why,
    /// Nothing goes on before a person acts.
    pub stalled: bool,
}

impl<'a> Draft<'a> {
    pub fn new(seen: &'a Observed, spec: Arc<Wanted>, now: Timestamp) -> Self {
        Self {
            seen,
            now,
            wanted: spec.revision().to_owned(),
            spec,
            status: (*seen.objects.rollout.status).clone(),
            decided: false,
            questions: Vec::new(),
            writes: Vec::new(),
            events: Vec::new(),
            notes: Vec::new(),
            wake_at: None,
            obstacle: None,
            undo_impossible: None,
        }
    }

    /// Name of the stable revision, if there is one.
    pub fn stable(&self) -> Option<&str> {
        self.status.stable.as_ref().map(|s| s.revision.as_str())
    }

    pub fn bounds(&self) -> Bounds {
        replicas::bounds(&self.spec.strategy, self.spec.replicas)
    }

    /// How a revision ended: as recorded in status, else as marked on its ControllerRevision.
    pub fn outcome(&self, revision: &str) -> Option<Outcome> {
        if self.stable() == Some(revision) {
            return Some(Outcome::Stable);
        }
        self.status
            .history
            .iter()
            .find(|ended| ended.revision == revision)
            .map(|ended| ended.outcome)
            .or_else(|| self.seen.objects.revision(revision).and_then(|r| r.outcome))
    }

    /// Why a revision ended, for people.
    pub fn outcome_reason(&self, revision: &str) -> (String, String) {
        if let Some(ended) = self.status.history.iter().find(|e| e.revision == revision) {
            return (ended.reason.clone(), ended.message.clone());
        }
        let marked = self
            .seen
            .objects
            .revision(revision)
            .map(|r| r.outcome_reason.clone());
        let text = marked.unwrap_or_default();
        match text.split_once(": ") {
            Some((reason, message)) => (reason.to_owned(), message.to_owned()),
            None => ("Failed".to_owned(), text),
        }
    }

    /// Looks again at `at`, if nothing happens before.
    pub fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }

    pub fn wake_in(&mut self, seconds: i64) {
        self.wake(later(self.now, seconds));
    }

    pub fn event(&mut self, reason: &'static str, warning: bool, message: impl Into<String>) {
        let message = message.into();
        self.notes.push(format!("{reason}: {message}"));
        self.events.push(Event {
            reason,
            message,
            warning,
            undo: None,
        });
    }

    /// The same, of an undo that begins.
    pub fn event_of_undo(
        &mut self,
        cause: UndoCause,
        reason: &'static str,
        warning: bool,
        message: impl Into<String>,
    ) {
        self.event(reason, warning, message);
        if let Some(event) = self.events.last_mut() {
            event.undo = Some(cause);
        }
    }

    pub fn block(&mut self, stalled: bool, reason: &str, message: impl Into<String>) {
        let why = Why {
            reason: reason.to_owned(),
            message: message.into(),
        };
        self.obstacle = Some(Obstacle { why, stalled });
    }

    /// Ends the release in motion.
    pub fn end(&mut self, release: &Release, outcome: Outcome, reason: &str, message: &str) {
        self.status
            .history
            .retain(|ended| ended.revision != release.revision);
        self.status.history.insert(
            0,
            Ended {
                revision: release.revision.clone(),
                outcome,
                reason: reason.to_owned(),
                message: message.to_owned(),
                started: release.started.clone(),
                ended: Time(self.now),
                attempt: release.attempt,
            },
        );
        self.status.history.truncate(10);
        self.status.release = None;
        self.decided = true;
    }

    /// Replicas wanted of each revision while nothing is in motion or a step is under way.
    pub fn targets(&self) -> BTreeMap<String, i32> {
        let total = self.spec.replicas;
        let mut targets = BTreeMap::new();
        let release = self.status.release.as_ref();
        match (
            self.stable(),
            release.and_then(|r| r.step.as_ref().map(|s| (r, s))),
        ) {
            (Some(stable), Some((release, step))) if release.undo.is_none() => {
                let index = usize::try_from(step.index).unwrap_or_default();
                let split = replicas::split(&self.spec.strategy.canary.steps, index, total);
                targets.insert(stable.to_owned(), split.stable);
                targets.insert(release.revision.clone(), split.canary);
            }
            (None, Some((release, _))) => {
                targets.insert(release.revision.clone(), total);
            }
            (Some(stable), _) => {
                targets.insert(stable.to_owned(), total);
            }
            (None, None) => {}
        }
        targets
    }
}

/// `at` plus whole seconds, never out of range.
pub(super) fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

/// `at` rounded up to the whole seconds in which the API keeps time: what is counted from there
/// is never cut short.
pub(super) fn whole_second(at: Timestamp) -> Timestamp {
    let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
    if second < at {
        later(second, 1)
    } else {
        second
    }
}

/// Whole seconds from `from` to `to`, 0 when `to` is earlier.
pub(super) fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs().max(0)
}

impl Stopwatch {
    /// Seconds shown at `now`; a present run counts from `not_before` at the earliest.
    pub(super) fn elapsed(&self, now: Timestamp, not_before: Timestamp) -> i64 {
        let run = self
            .since
            .as_ref()
            .map_or(0, |s| seconds_between(s.0.max(not_before), now));
        self.seconds + run
    }

    /// Starts it, if it stands. Says whether that changed anything.
    pub(super) fn start(&mut self, now: Timestamp) -> bool {
        let started = self.since.is_none();
        if started {
            self.since = Some(Time(whole_second(now)));
        }
        started
    }

    /// Stops it, if it runs; the run counts from `not_before` at the earliest. Says whether that
    /// changed anything.
    pub(super) fn stop(&mut self, now: Timestamp, not_before: Timestamp) -> bool {
        self.seconds = self.elapsed(now, not_before);
        self.since.take().is_some()
    }
}
