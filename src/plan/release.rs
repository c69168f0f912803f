//! The course of a release: what starts it, moves it from stage to stage, and ends it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::{Draft, seconds_between},
    facts::{Question, Refused},
    intent::UndoCause,
    render,
    schema::{self, Expansion},
    stepping, undoing,
};
use crate::api::{
    PhaseKind,
    status::{Outcome, Release, RevisionStatus, Stage, Stopwatch, Undo},
};

/// Seconds after which a Job's pod that does not run yet is worth a word, and between two looks.
const POD_STARTS_WITHIN: i64 = 15;

/// Makes at most one decision.
pub(super) fn decide(draft: &mut Draft<'_>) {
    let Some(release) = draft.status.release.clone() else {
        begin(draft);
        return;
    };
    if release.stage == Stage::Undo {
        undoing::decide(draft, &release);
        return;
    }
    if draft.wanted != release.revision {
        move_away(draft, &release);
        return;
    }
    match release.stage {
        Stage::Preflight => preflight(draft, &release),
        Stage::Expand => expand(draft, &release),
        Stage::Step => stepping::decide(draft, &release),
        Stage::Undo => {}
    }
}

/// Nothing is in motion: is there something to begin?
fn begin(draft: &mut Draft<'_>) {
    let wanted = draft.wanted.clone();
    if draft.stable() == Some(&wanted) {
        return;
    }
    if draft.outcome(&wanted) == Some(Outcome::Failed) {
        let (reason, message) = draft.outcome_reason(&wanted);
        draft.block(true, &reason, message);
        return;
    }
    if let Some(by) = paused_by(draft) {
        draft.block(
            false,
            "Paused",
            format!("revision {wanted} waits: paused by {by}; nothing has happened for it"),
        );
        return;
    }
    // The way back needs no expand, no checks, and no selector that it did not have before.
    let stands_against = if is_former_stable(draft, &wanted) {
        is_below_floor(draft)
    } else {
        is_impossible(draft)
    };
    if stands_against && draft.obstacle.is_some() {
        return;
    }
    if !draft.seen.answers.revisions_live {
        // A cache that lags may hide that something is stable, or that this revision has failed.
        draft.questions.push(Question::Revisions);
    }
    if !draft.questions.is_empty() {
        return;
    }
    if return_to_former_stable(draft, &wanted) {
        return;
    }
    start(draft, 1, None);
}

/// What stands against any release of the wanted revision: said, or asked first.
pub(super) fn is_impossible(draft: &mut Draft<'_>) -> bool {
    if is_below_floor(draft) {
        return true;
    }
    if let Some(problem) =
        render::phase_problem(&draft.spec).or_else(|| draft.seen.source_problem.clone())
    {
        draft.block(true, "InvalidSpec", problem);
        return true;
    }
    overlaps(draft)
}

fn is_below_floor(draft: &mut Draft<'_>) -> bool {
    let version = draft.spec.schema_version();
    let words = below_floor(draft, &draft.wanted.clone(), version);
    let below = words.is_some();
    if let Some(words) = words {
        draft.block(true, "BelowUndoFloor", words);
    }
    below
}

/// Why a revision of this schema version can no longer run, if it cannot.
pub(super) fn below_floor(
    draft: &Draft<'_>,
    revision: &str,
    version: Option<i64>,
) -> Option<String> {
    let version = version?;
    let floor = draft.seen.objects.database.as_ref()?.record.undo_floor?;
    (version < floor).then(|| {
        format!(
            "revision {revision} needs schema version {version}, but what it needs was removed by \
             the contract of version {floor}: release a revision of version {floor} or above"
        )
    })
}

/// Starts the release of the wanted revision.
pub(super) fn start(draft: &mut Draft<'_>, attempt: i64, accepted_dirty: Option<String>) {
    let revision = draft.wanted.clone();
    let first = draft.stable().is_none();
    draft.status.release = Some(Release {
        revision: revision.clone(),
        stage: Stage::Preflight,
        first,
        started: Time(draft.now),
        attempt,
        told_dirty: None,
        accepted_dirty,
        step: None,
        paused: None,
        undo: None,
        measured_since: None,
        unreached: Stopwatch::default(),
    });
    draft
        .status
        .history
        .retain(|e| e.revision != revision || e.outcome == Outcome::Stable);
    draft.status.checks.clear();
    draft.decided = true;
    let message = match draft.stable() {
        Some(stable) => format!("revision {revision} is to replace {stable}"),
        None => format!("first deployment, revision {revision}"),
    };
    draft.event("RolloutStarted", false, message);
}

/// Another Deployment or Rollout that selects the same pods makes everything that is counted a
/// lie: nothing is written before that is resolved.
fn overlaps(draft: &mut Draft<'_>) -> bool {
    if let Some(other) = draft.seen.objects.neighbours.first() {
        draft.block(
            true,
            "SelectorOverlap",
            format!(
                "Rollout {other} selects the same pods: give one of the two a label of its own in \
                 spec.selector.matchLabels and the template"
            ),
        );
        return true;
    }
    match &draft.seen.answers.overlaps {
        None => {
            draft
                .questions
                .push(Question::Overlaps(Arc::clone(&draft.spec)));
            true
        }
        Some(others) => {
            let Some(other) = others.first() else {
                return false;
            };
            draft.block(
                true,
                "SelectorOverlap",
                format!(
                    "Deployment {other} selects the same pods: delete it, or give the Rollout a \
                     selector of its own"
                ),
            );
            // Deployments that are not ours are not watched.
            draft.wake_in(30);
            true
        }
    }
}

/// Whether it was stable before, within the rollback window.
fn is_former_stable(draft: &Draft<'_>, wanted: &str) -> bool {
    let window = usize::try_from(draft.spec.strategy.rollback_window.revisions).unwrap_or_default();
    let former = former_stables(draft);
    former
        .iter()
        .take(window)
        .any(|revision| revision == wanted)
}

/// A former stable within the rollback window returns at once: stable and canary change places
/// in one record, and the rest is an undo.
fn return_to_former_stable(draft: &mut Draft<'_>, wanted: &str) -> bool {
    if !is_former_stable(draft, wanted) {
        return false;
    }
    let message = format!("return to the former stable revision {wanted}, as the spec asks");
    // What is left was good: it stays a former stable, to which one may return in turn.
    swap_stable(
        draft,
        wanted,
        Outcome::Stable,
        "ReturnedToFormerStable",
        &message,
    );
    draft.event_of_undo(
        UndoCause::Returned,
        "ReturningToFormerStable",
        false,
        message,
    );
    true
}

/// Revisions that were stable before, the latest first.
pub(super) fn former_stables(draft: &Draft<'_>) -> Vec<String> {
    let mut former: Vec<_> = draft
        .seen
        .objects
        .revisions
        .iter()
        .filter(|r| r.outcome == Some(Outcome::Stable) && !r.deleting)
        .filter(|r| draft.stable() != Some(&r.revision))
        .collect();
    former.sort_by_key(|r| std::cmp::Reverse(r.number));
    former.into_iter().map(|r| r.revision.clone()).collect()
}

/// Makes `to` stable and undoes the present stable.
pub(super) fn swap_stable(
    draft: &mut Draft<'_>,
    to: &str,
    outcome: Outcome,
    reason: &str,
    message: &str,
) {
    let Some(from) = draft.stable().map(str::to_owned) else {
        return;
    };
    draft.status.stable = Some(RevisionStatus {
        revision: to.to_owned(),
        ..RevisionStatus::default()
    });
    draft.status.history.retain(|ended| ended.revision != to);
    draft.status.release = Some(Release {
        revision: from,
        stage: Stage::Undo,
        first: false,
        started: Time(draft.now),
        attempt: 1,
        told_dirty: None,
        accepted_dirty: None,
        step: None,
        paused: None,
        undo: Some(Undo {
            outcome,
            reason: reason.to_owned(),
            message: message.to_owned(),
            since: Time(draft.now),
        }),
        measured_since: None,
        unreached: Stopwatch {
            seconds: 0,
            since: Some(Time(draft.now)),
        },
    });
    draft.decided = true;
}

/// The spec asks for another revision than the one in motion.
fn move_away(draft: &mut Draft<'_>, release: &Release) {
    let message = format!("the spec now asks for revision {}", draft.wanted);
    if release.first {
        // Nothing to return to: the newer one takes over, without steps.
        draft.end(release, Outcome::Withdrawn, "Superseded", &message);
        draft.event(
            "RolloutWithdrawn",
            false,
            format!("revision {}: {message}", release.revision),
        );
        return;
    }
    undoing::begin(
        draft,
        release,
        UndoCause::Superseded,
        Outcome::Withdrawn,
        "Superseded",
        &message,
    );
}

/// Names are made, at 0 replicas; the API server validates the template.
fn preflight(draft: &mut Draft<'_>, release: &Release) {
    if let Some(refusal) = draft
        .seen
        .refusals
        .iter()
        .find(|r| r.what == Refused::Deployment)
        .cloned()
    {
        let message = format!("its Deployment was refused: {}", refusal.message);
        if refusal.transient {
            draft.block(false, "DeploymentRefused", message);
            draft.wake_in(10);
        } else {
            let message = format!("{message}. Correct spec.template");
            draft.end(release, Outcome::Failed, "TemplateRefused", &message);
            draft.event(
                "TemplateRefused",
                true,
                format!(
                    "revision {}: {message}. Nothing was changed",
                    release.revision
                ),
            );
        }
        return;
    }
    let made = draft.seen.objects.revision(&release.revision).is_some()
        && draft.seen.objects.child(&release.revision).is_some();
    if !made {
        return;
    }
    if expand_phase(draft) {
        if let Some(current) = &mut draft.status.release {
            current.stage = Stage::Expand;
        }
        draft.decided = true;
        draft.notes.push(format!(
            "revision {}: children made, expand next",
            release.revision
        ));
    } else {
        stepping::enter(draft, 0);
    }
}

fn expand_phase(draft: &Draft<'_>) -> bool {
    draft
        .spec
        .schema
        .as_ref()
        .is_some_and(|s| s.expand.is_some())
}

/// The schema before the first pod.
fn expand(draft: &mut Draft<'_>, release: &Release) {
    if let Some(refusal) = draft
        .seen
        .refusals
        .iter()
        .find(|r| r.what == Refused::Job(PhaseKind::Expand))
        .cloned()
    {
        let message = format!("its expand Job was refused: {}", refusal.message);
        if refusal.transient {
            draft.block(false, "JobRefused", message);
            draft.wake_in(10);
        } else {
            let message = format!(
                "{message}. Correct spec.schema.expand, then set the annotation stepgate.io/retry"
            );
            draft.end(release, Outcome::Failed, "JobRefused", &message);
            draft.event(
                "JobRefused",
                true,
                format!("revision {}: {message}. Nothing ran", release.revision),
            );
        }
        return;
    }
    match schema::expansion(draft, release) {
        Expansion::NotAsked => stepping::enter(draft, 0),
        Expansion::Succeeded => {
            stepping::enter(draft, 0);
            if draft.decided {
                let took = seconds_between(release.started.0, draft.now);
                let message = format!(
                    "the schema is expanded for revision {} after {took} seconds",
                    release.revision
                );
                draft.event("ExpandSucceeded", false, message);
            }
        }
        Expansion::Failed { job, message } => {
            let Some(log) = draft.seen.answers.job_log.clone() else {
                draft.questions.push(Question::JobLog(job));
                return;
            };
            let mut words = format!("expand failed: {message}");
            if !log.is_empty() {
                words = format!("{words}; its log ends: {log}");
            }
            words.push_str(
                ". No pod of the revision was started; the database needs a retry: put right what \
                 failed, then set the annotation stepgate.io/retry",
            );
            draft.end(release, Outcome::Failed, "ExpandFailed", &words);
            let revision = &release.revision;
            draft.event(
                "ExpandFailed",
                true,
                format!("revision {revision}: {words}"),
            );
        }
        Expansion::Waiting { why, stalled } => {
            let Some(words) = why_its_pod_waits(draft) else {
                return;
            };
            let way = if words.is_empty() {
                ""
            } else {
                ". To go on before its deadline, delete that Job and set the annotation \
                 stepgate.io/retry"
            };
            let message = format!("{}{words}{way}", why.message);
            draft.block(stalled, &why.reason, message);
        }
        Expansion::HalfWay { job, why } => {
            if let Some(current) = &mut draft.status.release
                && current.told_dirty.as_ref() != Some(&job)
            {
                current.told_dirty = Some(job);
                draft.decided = true;
            }
            draft.block(true, &why.reason, why.message);
        }
        Expansion::Unread => {}
        Expansion::Running { message } => {
            if let Some(words) = why_its_pod_waits(draft) {
                draft.block(false, "Expanding", format!("{message}{words}"));
            }
        }
    }
}

/// What is to be said of an expand's pod that does not run: nothing, mostly. `None`: that must be
/// read first.
fn why_its_pod_waits(draft: &mut Draft<'_>) -> Option<String> {
    let Some((job, since)) = schema::waits_for_its_pod(draft) else {
        return Some(String::new());
    };
    let waited = seconds_between(since, draft.now);
    if waited < POD_STARTS_WITHIN {
        draft.wake_in(POD_STARTS_WITHIN - waited);
        return Some(String::new());
    }
    let Some(words) = draft.seen.answers.job_pod.clone() else {
        draft.questions.push(Question::JobPod(job));
        return None;
    };
    draft.wake_in(POD_STARTS_WITHIN);
    let words = if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    };
    Some(format!(", but its pod does not start{words}"))
}

/// Who holds the rollout, if anybody.
pub(super) fn paused_by(draft: &Draft<'_>) -> Option<&'static str> {
    if draft.spec.paused {
        Some("spec.paused")
    } else if draft.status.paused_since.is_some() {
        Some("the pause command")
    } else {
        None
    }
}
