//! The working copy of one turn of the planner: the facts, and the status as it will be.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::{
    course::{self, Course},
    decision::{Decision, Halt, Wait},
    facts::{Observed, Question, Refused, Remembered, RevisionFacts},
    intent::{Event, Kind, Note, Notes, Write},
    reason::Reason,
    replicas::Bounds,
    revision::{Wanted, Whole},
};
use crate::api::{
    RolloutStatus,
    release::Release,
    status::{Ended, Outcome, Stopwatch},
};

/// Seconds after which what the API server refused is tried again.
pub(super) const TRIES_AGAIN_AFTER: i64 = 10;

/// The working copy.
pub(super) struct Draft<'a> {
    pub seen: &'a Observed,
    pub now: Timestamp,
    pub spec: &'a Arc<Wanted>,
    /// Hash of the revision that the spec asks for.
    pub wanted: &'a str,
    /// What the spec's strategy comes to.
    pub course: Course,
    pub status: RolloutStatus,
    /// What keeps the rollout from going on, and when to look again.
    pub wait: Wait,
    pub writes: Vec<Write>,
    pub events: Vec<Event>,
    pub notes: Notes,
}

impl<'a> Draft<'a> {
    pub fn new(seen: &'a Observed, spec: &'a Arc<Wanted>, now: Timestamp) -> Self {
        let release = seen.objects.rollout.status.release.as_ref();
        Self {
            seen,
            now,
            wanted: spec.revision(),
            course: course::of_release(spec, release.is_some_and(|r| r.first)),
            spec,
            status: (*seen.objects.rollout.status).clone(),
            wait: Wait::default(),
            writes: Vec::new(),
            events: Vec::new(),
            notes: Notes::default(),
        }
    }

    /// The same, before anything was wanted.
    pub fn anew(self) -> Self {
        Self {
            status: (*self.seen.objects.rollout.status).clone(),
            wait: Wait::default(),
            writes: Vec::new(),
            events: Vec::new(),
            notes: Notes::default(),
            ..self
        }
    }

    /// So many seconds from now.
    pub(crate) fn in_seconds(&self, seconds: i64) -> Timestamp {
        later(self.now, seconds)
    }

    /// When what the API server has refused is tried again.
    pub(crate) fn tries_again(&self) -> Timestamp {
        self.in_seconds(TRIES_AGAIN_AFTER)
    }

    /// What the API server has refused in this pass is not tried again in it.
    pub(crate) fn was_refused(&self, what: &Refused) -> bool {
        let mut refusals = self.seen.refusals.iter();
        refusals.any(|refusal| refusal.what == *what)
    }

    /// A decision that changes nothing yet.
    pub fn decision(&self) -> Decision {
        Decision {
            status: self.status.clone(),
            events: Vec::new(),
            notes: Notes::default(),
            wait: Wait::default(),
        }
    }

    /// The release in motion stands so now.
    pub fn goes(&self, release: Release) -> Decision {
        let mut decision = self.decision();
        decision.status.release = Some(release);
        decision
    }

    /// The release in motion ends.
    pub fn ends(
        &self,
        release: &Release,
        outcome: Outcome,
        reason: &str,
        message: &str,
    ) -> Decision {
        let mut decision = self.decision();
        let history = &mut decision.status.history;
        history.retain(|ended| ended.revision != release.revision);
        history.insert(
            0,
            Ended {
                revision: release.revision.clone(),
                images: self.images(&release.revision),
                outcome,
                reason: reason.to_owned(),
                message: message.to_owned(),
                started: release.started.clone(),
                ended: Time(self.now),
                attempt: release.highest_attempt(),
            },
        );
        history.truncate(10);
        decision.status.release = None;
        decision
    }

    /// Takes a decision.
    pub fn take(&mut self, decision: Decision) {
        self.status = decision.status;
        self.events.extend(decision.events);
        self.notes.extend(decision.notes);
        self.wait = decision.wait;
    }

    /// Name of the stable revision, if there is one.
    pub fn stable(&self) -> Option<&str> {
        self.status.stable.as_ref().map(|s| s.revision.as_str())
    }

    /// Name of the Rollout.
    pub fn name(&self) -> &str {
        &self.seen.objects.rollout.base.name
    }

    /// What the spec asks for, with its pod templates: for what is rendered from it.
    ///
    /// # Errors
    /// When it must be read first.
    pub fn whole(&self) -> Result<&'a Whole, Halt> {
        let rollout = &self.seen.objects.rollout;
        match &self.seen.answers.whole {
            Some((generation, whole)) if *generation == rollout.generation => Ok(whole),
            _ => Halt::ask(Question::Rollout(rollout.base.name.clone())),
        }
    }

    /// The pod template of a revision.
    ///
    /// # Errors
    /// When it must be read first.
    pub fn template(&self, revision: &RevisionFacts) -> Result<&'a Value, Halt> {
        let answers = &self.seen.answers;
        // A revision is its template: what the spec asks for was read already, as a rule.
        let asked = answers.whole.as_ref().map(|(_, whole)| whole);
        if let Some(whole) = asked.filter(|whole| whole.revision() == revision.revision) {
            return Ok(&whole.template);
        }
        self.remembered(revision).map(|kept| &kept.template)
    }

    /// What the ControllerRevision of a revision remembers of it.
    ///
    /// # Errors
    /// When it must be read first.
    pub fn remembered(&self, revision: &RevisionFacts) -> Result<&'a Remembered, Halt> {
        match &self.seen.answers.template {
            Some((name, kept)) if *name == revision.base.name => Ok(kept),
            _ => Halt::ask(Question::Template(revision.base.name.clone())),
        }
    }

    pub fn bounds(&self) -> Bounds {
        self.course.bounds
    }

    /// The release in motion is an undo.
    pub(crate) fn is_undoing(&self) -> bool {
        let release = self.status.release.as_ref();
        release.is_some_and(|r| r.undo().is_some())
    }

    /// How a revision ended: as recorded in status, else as marked on its ControllerRevision.
    pub fn outcome(&self, revision: &str) -> Option<Outcome> {
        if self.stable() == Some(revision) {
            return Some(Outcome::Stable);
        }
        let mut history = self.status.history.iter();
        let ended = history.find(|ended| ended.revision == revision);
        ended
            .map(|ended| ended.outcome)
            .or_else(|| self.seen.objects.revision(revision)?.outcome)
    }

    /// Why a revision ended, for people: a reason and its words.
    pub fn outcome_reason(&self, revision: &str) -> (String, String) {
        if let Some(ended) = self.status.history.iter().find(|e| e.revision == revision) {
            return (ended.reason.clone(), ended.message.clone());
        }
        let marked = self.seen.objects.revision(revision);
        let text = marked.map(|r| r.outcome_reason.clone()).unwrap_or_default();
        match text.split_once(": ") {
            Some((reason, message)) => (reason.to_owned(), message.to_owned()),
            None => (Reason::Failed.word().to_owned(), text),
        }
    }

    /// The images of a revision, for people.
    pub fn images(&self, revision: &str) -> String {
        let known = self.seen.objects.revision(revision);
        known.map(|r| r.images.to_string()).unwrap_or_default()
    }

    /// Who holds the rollout, if anybody.
    pub(crate) fn paused_by(&self) -> Option<&'static str> {
        if self.spec.paused {
            Some("spec.paused")
        } else if self.status.paused_since.is_some() {
            Some("the pause command")
        } else {
            None
        }
    }

    /// When the first pod of the revision in motion was ready.
    pub fn measured_since(&self) -> Option<Timestamp> {
        self.measured_since_of(self.status.release.as_ref()?)
    }

    /// The same of a release that may have ended by now.
    pub(crate) fn measured_since_of(&self, release: &Release) -> Option<Timestamp> {
        release.measured_since.as_ref().map(|t| t.0).or_else(|| {
            let pods = self.seen.objects.pods_of(&release.revision);
            pods.filter_map(|pod| pod.ready_since).min()
        })
    }

    /// Why pods of a revision are not available, in the words of whoever knows; `None` when nobody
    /// has said anything.
    pub(crate) fn why_not_available(&self, revision: &str) -> Option<String> {
        let mut refusals = self.seen.refusals.iter();
        if let Some(refusal) = refusals.find(|r| r.what == Refused::Scale) {
            return Some(refusal.message.clone());
        }
        let objects = &self.seen.objects;
        if let Some(problem) = objects.child(revision).and_then(|c| c.problem.clone()) {
            return Some(problem);
        }
        // In the order of names, so that the words stay the same while nothing changes.
        let unready = objects.pods_of(revision);
        let mut pods: Vec<_> = unready.filter(|p| p.ready_since.is_none()).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods.iter()
            .find_map(|pod| pod.unschedulable.clone())
            .or_else(|| pods.iter().find_map(|pod| pod.why_it_waits()))
            .or_else(|| pods.iter().find_map(|pod| pod.why_nobody_knows()))
    }

    /// A warning.
    pub fn tell(&mut self, reason: Reason, message: String) {
        self.notes.push(Note::Event {
            reason,
            what: message.clone(),
            because: None,
        });
        self.events.push(Event {
            reason,
            message,
            warning: true,
            undo: None,
            measured: None,
        });
    }

    /// Something that is no warning.
    pub(crate) fn inform(&mut self, reason: Reason, message: String) {
        self.tell(reason, message);
        if let Some(event) = self.events.last_mut() {
            event.warning = false;
        }
    }

    /// Wants a new object, and says why.
    pub fn create(&mut self, kind: Kind, manifest: Value, note: String) {
        self.notes.push(note);
        self.writes.push(Write::Create { kind, manifest });
    }

    /// Looks again at `at`, if nothing happens before.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        self.wait_for(Wait::until(at));
    }

    /// Waits for this too; what was said first stays.
    pub fn wait_for(&mut self, wait: Wait) {
        self.wait = std::mem::take(&mut self.wait).and(wait);
    }

    /// Replicas wanted of each revision while nothing is in motion or a step is under way.
    pub fn targets(&self) -> BTreeMap<String, i32> {
        let total = self.spec.replicas;
        let release = self.status.release.as_ref();
        let step = release.and_then(|r| Some((r, r.step()?)));
        let mut targets = BTreeMap::new();
        match (self.stable(), step) {
            (Some(stable), Some((release, step))) => {
                if let Some(target) = self.course.near(step) {
                    targets.insert(stable.to_owned(), target.stable);
                    targets.insert(release.revision.clone(), target.canary);
                }
            }
            (None, Some((release, _))) => {
                targets.insert(release.revision.clone(), total);
            }
            (Some(stable), None) => {
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
