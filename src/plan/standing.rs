//! How a Rollout stands, as kstatus reads it, and the words for it.

use jiff::Timestamp;

use super::{
    draft::{Draft, later},
    facts::Refused,
    mover, release,
};
use crate::api::status::{Outcome, Release, Stage};

/// What kstatus makes of a Rollout.
pub(super) struct Standing {
    pub kind: StandingKind,
    pub reason: String,
    pub message: String,
}

#[derive(PartialEq, Eq)]
pub(super) enum StandingKind {
    Ready,
    Reconciling,
    Stalled,
}

/// How it stands.
pub(super) fn standing(draft: &Draft<'_>) -> Standing {
    let say = |kind, reason: &str, message: String| Standing {
        kind,
        reason: reason.to_owned(),
        message,
    };
    if let Some(obstacle) = &draft.obstacle {
        let kind = if obstacle.stalled {
            StandingKind::Stalled
        } else {
            StandingKind::Reconciling
        };
        return say(kind, &obstacle.why.reason, obstacle.why.message.clone());
    }
    if let Some(release) = &draft.status.release {
        if let Some(paused) = &release.paused {
            let ways = match (release.first, paused.reason == "CheckFailed") {
                (true, true) => "promote, or release another revision",
                (true, false) => "promote, resume, or release another revision",
                (false, true) => "promote or undo",
                (false, false) => "promote, resume or undo",
            };
            let message = format!("waits for a person ({ways}): {}", paused.message);
            return say(StandingKind::Stalled, &paused.reason, message);
        }
        let (reason, message) = motion(draft, release);
        return say(StandingKind::Reconciling, reason, message);
    }
    if draft.outcome(&draft.wanted) == Some(Outcome::Failed) {
        let (reason, message) = draft.outcome_reason(&draft.wanted);
        return say(StandingKind::Stalled, &reason, message);
    }
    let Some(stable) = draft.stable() else {
        return say(
            StandingKind::Reconciling,
            "Starting",
            "not yet looked at".into(),
        );
    };
    if draft.wanted != stable {
        return say(
            StandingKind::Reconciling,
            "Starting",
            "a new revision was seen".into(),
        );
    }
    let total = draft.spec.replicas;
    if total == 0 {
        let message = format!("revision {stable} is scaled to 0");
        return say(StandingKind::Reconciling, "ScaledToZero", message);
    }
    let settled = draft
        .seen
        .objects
        .children
        .iter()
        .filter(|c| !c.deleting)
        .all(|child| child.replicas == if child.revision == stable { total } else { 0 })
        && draft.seen.objects.child(stable).is_some();
    if !settled {
        let way = format!("on the way to {total} pods");
        if late_at(draft).is_some_and(|at| at <= draft.now) {
            let words = why_not_available(draft, stable)
                .unwrap_or_else(|| "they do not become ready".into());
            let message = format!("{way}, but pods of {stable} do not come up: {words}");
            return say(StandingKind::Reconciling, "Degraded", message);
        }
        return say(StandingKind::Reconciling, "Scaling", way);
    }
    let floor = draft.bounds().floor;
    if mover::assured(&draft.seen.objects.children) < floor {
        let words = why_not_available(draft, stable)
            .map(|w| format!(": {w}"))
            .unwrap_or_default();
        let message = format!("fewer than {floor} of {total} pods are available{words}");
        return say(StandingKind::Reconciling, "Degraded", message);
    }
    say(
        StandingKind::Ready,
        "Stable",
        format!("revision {stable} is stable"),
    )
}

/// When the oldest pod of stable that is not ready will have had its time to become so.
pub(super) fn late_at(draft: &Draft<'_>) -> Option<Timestamp> {
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let unready = draft.seen.objects.pods_of(draft.stable()?);
    let unready = unready.filter(|pod| pod.ready_since.is_none());
    unready.map(|pod| later(pod.created, limit)).min()
}

/// What is going on, in words that do not change with every pod.
fn motion(draft: &Draft<'_>, release: &Release) -> (&'static str, String) {
    let revision = &release.revision;
    match (release.stage, &release.step) {
        (Stage::Undo, _) => {
            let why = release
                .undo
                .as_ref()
                .map(|u| u.message.clone())
                .unwrap_or_default();
            let stable = draft.stable().unwrap_or("none");
            (
                "Undoing",
                format!("back to {stable} from {revision}: {why}"),
            )
        }
        (Stage::Preflight, _) => (
            "Preflight",
            format!("children of revision {revision} are made"),
        ),
        (Stage::Expand, _) => (
            "Expanding",
            format!("the schema is expanded for {revision}"),
        ),
        (Stage::Step, None) => ("Stepping", format!("revision {revision} is on its way")),
        (Stage::Step, Some(status)) => {
            let index = usize::try_from(status.index).unwrap_or_default();
            let steps = &draft.spec.strategy.canary.steps;
            let place = format!("step {} ({}/{})", status.name, index + 1, steps.len());
            let until = steps.get(index).and_then(|step| {
                let since = status.held.since.as_ref()?.0;
                Some(later(since, step.hold_seconds - status.held.seconds))
            });
            match until {
                Some(until) => {
                    let paused = release::paused_by(draft)
                        .map(|by| format!("; then paused by {by}"))
                        .unwrap_or_default();
                    (
                        "Holding",
                        format!("{place} is held until {until:.0}{paused}"),
                    )
                }
                None => {
                    let words = why_not_available(draft, revision);
                    let words = words.map(|w| format!(": {w}")).unwrap_or_default();
                    let since = release.unreached.since.as_ref().map_or(draft.now, |t| t.0);
                    let limit = draft.spec.strategy.progress_deadline_seconds;
                    let until = later(since, limit - release.unreached.seconds);
                    (
                        "Stepping",
                        format!("{place} is to be reached by {until:.0}{words}"),
                    )
                }
            }
        }
    }
}

/// Why pods of a revision are not available, in the words of whoever knows; `None` when nobody
/// has said anything.
pub(super) fn why_not_available(draft: &Draft<'_>, revision: &str) -> Option<String> {
    let mut refusals = draft.seen.refusals.iter();
    if let Some(refusal) = refusals.find(|r| r.what == Refused::Scale) {
        return Some(refusal.message.clone());
    }
    if let Some(problem) = draft
        .seen
        .objects
        .child(revision)
        .and_then(|c| c.problem.clone())
    {
        return Some(problem);
    }
    // In the order of names, so that the words stay the same while nothing changes.
    let mut pods: Vec<_> = draft
        .seen
        .objects
        .pods_of(revision)
        .filter(|p| p.ready_since.is_none())
        .collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods.iter()
        .find_map(|pod| pod.unschedulable.clone())
        .or_else(|| pods.iter().find_map(|pod| pod.why_it_waits()))
}
