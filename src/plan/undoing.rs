//! Back to stable.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    adopting,
    decision::{Decided, Decision, Wait},
    draft::{Draft, seconds_between},
    mover,
    reason::Reason,
    services, waiting,
};
use crate::api::{
    OnFailure,
    release::{Release, Stage, Undo, Why},
    status::{Outcome, Stopwatch},
};

/// Decides to undo the release in motion.
pub(super) fn begin(
    draft: &Draft<'_>,
    release: &Release,
    outcome: Outcome,
    reason: &str,
    message: &str,
) -> Decision {
    let now = Time(draft.now);
    let undone = Release {
        stage: Stage::Undo(Undo {
            outcome,
            reason: reason.to_owned(),
            message: message.to_owned(),
            since: now.clone(),
        }),
        unreached: Stopwatch {
            seconds: 0,
            since: Some(now),
        },
        ..release.clone()
    };
    let mut decision = draft.goes(undone);
    // For the way back its replicas are written, whoever has written them since.
    adopting::accept(draft, &mut decision);
    let what = format!("revision {}", release.revision);
    let warning = outcome == Outcome::Failed;
    decision.tell_because(Reason::UndoStarted, warning, what, message);
    decision.undoes(Reason::of(reason).unwrap_or(Reason::Unknown))
}

/// Ends an undo when stable is whole and nothing else runs.
pub(super) fn decide(draft: &Draft<'_>, release: &Release, undo: &Undo) -> Decided {
    if is_whole(draft) {
        let (reason, message) = (&undo.reason, &undo.message);
        let mut decision = draft.ends(release, undo.outcome, reason, message);
        decision.status.checks.clear();
        let stable = draft.stable().unwrap_or("none");
        let took = seconds_between(undo.since.0, draft.now);
        let what = format!(
            "revision {} was rolled back in {took} seconds, stable {stable} serves",
            release.revision
        );
        let warning = undo.outcome == Outcome::Failed;
        decision.tell_because(Reason::UndoCompleted, warning, what, message);
        return decision.made();
    }
    if let Some(wait) = adopting::contested(draft) {
        return Err(wait.into());
    }
    let stable = draft.stable().unwrap_or_default();
    let mut watched = release.clone();
    if waiting::watch(draft, &mut watched.unreached, stable) {
        return draft.goes(watched).made();
    }
    if let Some(excuse) = waiting::excuse(draft, stable) {
        return Err(excuse.wait().into());
    }
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let waited = release
        .unreached
        .elapsed(draft.now, draft.seen.trusted_since);
    if waited < limit {
        return Err(Wait::until(draft.in_seconds(limit - waited)).into());
    }
    if let Some(service) = services::on_the_way(draft) {
        let message = format!(
            "the Service was not switched back to stable {stable} within {limit} seconds: \
             {service}. Revision {} keeps its pods; the undo continues as soon as the Service can \
             be changed",
            release.revision
        );
        return Err(Wait::stalled(Reason::UndoBlocked, message).into());
    }
    let words = draft
        .why_not_available(stable)
        .unwrap_or_else(|| "its pods do not become available".into());
    let message = format!(
        "stable {stable} did not become available within {limit} seconds: {words}. Revision {} \
         keeps serving; the undo continues as soon as there is room",
        release.revision
    );
    Err(Wait::stalled(Reason::UndoBlocked, message).into())
}

/// Stable has all its pods, enough of them available, and no other revision has any, nor can get
/// any by a write that was never answered.
fn is_whole(draft: &Draft<'_>) -> bool {
    let total = draft.spec.replicas;
    // Where nobody need be served on the way, somebody is at its end.
    let floor = draft.bounds().floor.max(total.min(1));
    let objects = &draft.seen.objects;
    let Some(stable) = draft.stable() else {
        return true;
    };
    let restored = objects.child(stable).map_or(total == 0, |child| {
        child.possible == (total, total) && child.current && child.available >= floor
    });
    let gone = objects
        .children
        .iter()
        .filter(|c| c.revision != stable && !c.deleting)
        .all(|c| c.possible == (0, 0) && c.current && c.status_replicas == 0);
    restored && gone && mover::assured(&objects.children) >= floor
}

/// The revision has failed: back, or wait for a person where there is nothing to go back to.
pub(super) fn refuse(
    draft: &Draft<'_>,
    release: &Release,
    on_failure: OnFailure,
    why: &Why,
) -> Decided {
    if on_failure == OnFailure::Undo && !release.first {
        let (reason, message) = (&why.reason, &why.message);
        return begin(draft, release, Outcome::Failed, reason, message).made();
    }
    // What it waits for may have become worse than it was when it was paused.
    let known = release.paused().is_some_and(|p| p.reason == why.reason);
    if known {
        return Ok(None);
    }
    pause(draft, release, why.clone()).made()
}

/// Waits for a person.
pub(super) fn pause(draft: &Draft<'_>, release: &Release, why: Why) -> Decision {
    let mut release = release.clone();
    let words = why.message.clone();
    if let Stage::Step(at) = &mut release.stage {
        at.paused = Some(why);
    }
    draft.goes(release).warning(Reason::RolloutPaused, words)
}
