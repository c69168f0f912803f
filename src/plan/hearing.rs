//! What the checks say of a revision that serves, apart from its release.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::{Draft, seconds_between},
    gate::checks,
};
use crate::api::{
    release::{AtStep, Release, Stage, StepStatus},
    status::Stopwatch,
};

/// A revision that serves, as the checks look at it: as at a release of it that is held at a step
/// since then, and measured from an earlier time on.
pub(super) fn held(revision: &str, step: &str, since: &Time, from: &Time) -> Release {
    let stage = Stage::Step(AtStep {
        step: StepStatus {
            index: 0,
            name: step.to_owned(),
            began: since.clone(),
            reached: Some(since.clone()),
            held: Stopwatch::default(),
            available: 0,
            batch: None,
        },
        paused: None,
    });
    Release {
        revision: revision.to_owned(),
        stage,
        first: false,
        started: since.clone(),
        attempt: 1,
        jobs: Vec::new(),
        measured_since: Some(from.clone()),
        unreached: Stopwatch::default(),
        lost: Vec::new(),
        tests: Vec::new(),
        without_undo: false,
        not_checked: Vec::new(),
    }
}

/// Why stable cannot be measured, if it cannot.
pub(super) fn unmeasured(draft: &Draft<'_>) -> Option<String> {
    let checks = draft.spec.analysis.as_ref().map(|a| a.checks.len());
    if draft.stable().is_none() {
        return Some("no revision is stable yet".to_owned());
    }
    if checks.unwrap_or(0) == 0 {
        return Some("spec.analysis has no check to measure stable by".to_owned());
    }
    (draft.spec.replicas == 0).then(|| "spec.replicas is 0: stable has no pod".to_owned())
}

/// What the checks say of a hold that is over.
pub(super) enum Heard {
    /// All have passed; their words.
    Passed(String),
    /// What is missing, and when to look again.
    Waits(String, Timestamp),
    /// The same, and the time for it is over.
    Late(String),
}

/// What the checks say of stable, whose hold was over at `until`, so many seconds before they must
/// have said it.
pub(super) fn heard(
    draft: &Draft<'_>,
    stable: &Release,
    until: Timestamp,
    deadline_seconds: i64,
) -> Heard {
    let lack = match checks::soaked(draft, stable) {
        Ok(said) => return Heard::Passed(said),
        Err(lack) => lack,
    };
    // Nothing is timed out by a clock that was not watched.
    let watched = seconds_between(draft.seen.trusted_since, draft.now);
    let waited = seconds_between(until, draft.now).min(watched);
    let waited = if lack.first_poll { 0 } else { waited };
    if waited >= deadline_seconds {
        return Heard::Late(lack.message);
    }
    let at = draft.in_seconds(deadline_seconds - waited);
    Heard::Waits(lack.message, lack.wake_at.map_or(at, |wake| wake.min(at)))
}
