//! Back to stable.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::{Draft, seconds_between},
    intent::UndoCause,
    mover, standing,
};
use crate::api::status::{Outcome, Release, Stage, Stopwatch, Undo};

/// Decides to undo the release in motion.
pub(super) fn begin(
    draft: &mut Draft<'_>,
    release: &Release,
    cause: UndoCause,
    outcome: Outcome,
    reason: &str,
    message: &str,
) {
    let now = Time(draft.now);
    if let Some(current) = &mut draft.status.release {
        current.stage = Stage::Undo;
        current.paused = None;
        current.unreached = Stopwatch {
            seconds: 0,
            since: Some(now.clone()),
        };
        current.undo = Some(Undo {
            outcome,
            reason: reason.to_owned(),
            message: message.to_owned(),
            since: now,
        });
    }
    draft.decided = true;
    let warning = outcome == Outcome::Failed;
    draft.event_of_undo(
        cause,
        "UndoStarted",
        warning,
        format!("revision {}: {message}", release.revision),
    );
}

/// Ends an undo when stable is whole and nothing else runs.
pub(super) fn decide(draft: &mut Draft<'_>, release: &Release) {
    let Some(undo) = release.undo.clone() else {
        // Only an edit by hand can lose the reason: the reading that forbids nothing is taken.
        begin(
            draft,
            release,
            UndoCause::Unknown,
            Outcome::Withdrawn,
            "Unknown",
            "the reason of the undo was lost",
        );
        return;
    };
    if is_whole(draft) {
        draft.end(release, undo.outcome, &undo.reason, &undo.message);
        draft.status.checks.clear();
        let stable = draft.stable().unwrap_or("none").to_owned();
        let took = seconds_between(undo.since.0, draft.now);
        draft.event(
            "UndoCompleted",
            undo.outcome == Outcome::Failed,
            format!(
                "revision {} is out after {took} seconds, stable {stable} serves: {}",
                release.revision, undo.message
            ),
        );
        return;
    }
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let waited = release
        .unreached
        .elapsed(draft.now, draft.seen.trusted_since);
    if waited < limit {
        draft.wake_in(limit - waited);
        return;
    }
    let stable = draft.stable().unwrap_or_default().to_owned();
    let words = standing::why_not_available(draft, &stable)
        .unwrap_or_else(|| "its pods do not become available".into());
    draft.block(
        true,
        "UndoBlocked",
        format!(
            "stable {stable} has not come back within {limit} seconds: {words}. Revision {} keeps \
             serving; the undo goes on as soon as there is room",
            release.revision
        ),
    );
}

/// Stable has all its pods, enough of them available, and no other revision has any, nor can get
/// any by a write that was never answered.
fn is_whole(draft: &Draft<'_>) -> bool {
    let total = draft.spec.replicas;
    let floor = draft.bounds().floor;
    let Some(stable) = draft.stable() else {
        return true;
    };
    let restored = draft
        .seen
        .objects
        .child(stable)
        .map_or(total == 0, |child| {
            child.possible == (total, total) && child.current && child.available >= floor
        });
    let gone = draft
        .seen
        .objects
        .children
        .iter()
        .filter(|c| c.revision != stable && !c.deleting)
        .all(|c| c.possible == (0, 0) && c.current && c.status_replicas == 0);
    restored && gone && mover::assured(&draft.seen.objects.children) >= floor
}
