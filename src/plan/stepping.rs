//! A step: reach the target, hold it, pass its checks, go on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::{Draft, seconds_between, whole_second},
    exits,
    facts::Question,
    gate,
    intent::UndoCause,
    mover, release, render, standing, undoing,
};
use crate::api::{
    OnFailure, OnInconclusive, Step,
    status::{Outcome, Release, RevisionStatus, Stage, StepStatus, Stopwatch, Why},
};

/// Enters step `index`; the last for a first deployment, which has no steps. Whatever stable's
/// pods need to come back must exist before any of them goes.
pub(super) fn enter(draft: &mut Draft<'_>, index: usize) {
    let steps = &draft.spec.strategy.canary.steps;
    let first = draft.status.release.as_ref().is_some_and(|r| r.first);
    let index = if first {
        steps.len().saturating_sub(1)
    } else {
        index
    };
    let Some(name) = steps.get(index).map(|s| s.name.clone()) else {
        return;
    };
    if !undo_stays_possible(draft) {
        return;
    }
    let now = Time(draft.now);
    let revision = draft.status.release.as_ref().map(|r| r.revision.clone());
    let child = revision.and_then(|revision| draft.seen.objects.child(&revision));
    let available = child.map_or(0, |c| c.available);
    if let Some(release) = &mut draft.status.release {
        release.stage = Stage::Step;
        release.paused = None;
        release.unreached = Stopwatch {
            seconds: 0,
            since: Some(now.clone()),
        };
        release.step = Some(StepStatus {
            index: i32::try_from(index).unwrap_or(i32::MAX),
            name,
            began: now,
            reached: None,
            held: Stopwatch::default(),
            available,
        });
    }
    draft.decided = true;
}

/// The ConfigMaps and Secrets that stable's template names must exist: GitOps tools prune them.
fn undo_stays_possible(draft: &mut Draft<'_>) -> bool {
    let Some(stable) = draft.stable().map(str::to_owned) else {
        return true;
    };
    let Some(revision) = draft.seen.objects.revision(&stable) else {
        undo_impossible(
            draft,
            format!(
                "the ControllerRevision of stable revision {stable} is gone: apply that revision \
                 once more, so that it is put on record again"
            ),
        );
        return false;
    };
    let needed = render::config_refs(&revision.template);
    if needed.is_empty() {
        return true;
    }
    let Some(missing) = &draft.seen.answers.missing_config else {
        draft.questions.push(Question::Config(needed));
        return false;
    };
    if missing.is_empty() {
        return true;
    }
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    undo_impossible(
        draft,
        format!(
            "stable revision {stable} needs {} to come back, and that is gone: create it again; \
             nothing is promoted before",
            names.join(", ")
        ),
    );
    // They are not watched: looked for again after a while.
    draft.wake_in(15);
    false
}

fn undo_impossible(draft: &mut Draft<'_>, message: String) {
    draft.undo_impossible = Some(message.clone());
    draft.block(true, "UndoImpossible", message);
}

/// One decision of a step.
pub(super) fn decide(draft: &mut Draft<'_>, release: &Release) {
    let steps = &draft.spec.strategy.canary.steps;
    let Some(status) = release.step.clone() else {
        enter(draft, 0);
        return;
    };
    let index = usize::try_from(status.index).unwrap_or_default();
    let step = match steps.get(index) {
        Some(step) if step.name == status.name => step.clone(),
        _ => {
            reposition(draft, &status.name);
            return;
        }
    };
    if let Some(why) = exits::crash_loop(draft, release) {
        if release.first {
            // Nothing to return to, and what it waits for may yet come: it goes on when its pods do.
            draft.block(true, &why.reason, why.message);
            keep_time(draft, false);
        } else {
            refuse(draft, release, OnFailure::Undo, UndoCause::Crash, &why);
        }
        return;
    }
    if let Some((on_failure, why)) = gate::failing(draft, release) {
        refuse(draft, release, on_failure, UndoCause::Check, &why);
        return;
    }
    if release.paused.is_some() {
        return;
    }
    if edited(draft, release) {
        keep_time(draft, false);
        return;
    }
    if draft.spec.replicas == 0 {
        idle_at_zero(draft);
        return;
    }
    let reached = is_reached(draft, release);
    if keep_time(draft, reached) {
        return;
    }
    if reached {
        hold(draft, release, &step, &status);
    } else {
        wait_for_target(draft, release, &step);
    }
}

/// The steps were edited in mid-release: the step of the same name is where it stands; if there
/// is none, the release begins again at the first.
fn reposition(draft: &mut Draft<'_>, name: &str) {
    let found = draft
        .spec
        .strategy
        .canary
        .steps
        .iter()
        .position(|s| s.name == name);
    match (
        found,
        draft.status.release.as_mut().and_then(|r| r.step.as_mut()),
    ) {
        (Some(index), Some(step)) => {
            step.index = i32::try_from(index).unwrap_or(i32::MAX);
            draft.decided = true;
        }
        _ => enter(draft, 0),
    }
}

fn edited(draft: &mut Draft<'_>, release: &Release) -> bool {
    let Some(child) = draft
        .seen
        .objects
        .child(&release.revision)
        .filter(|c| c.edited)
    else {
        return false;
    };
    let message = format!(
        "somebody changed the template of Deployment {}: what runs is not the revision, so \
         nothing is promoted. Change the Rollout instead; for this revision, undo, delete that \
         Deployment when it is empty, and retry",
        child.base.name
    );
    draft.block(true, "ChildEdited", message);
    true
}

fn idle_at_zero(draft: &mut Draft<'_>) {
    let (now, trusted) = (draft.now, draft.seen.trusted_since);
    if let Some(release) = &mut draft.status.release {
        let stopped = release.unreached.stop(now, trusted);
        let held = release.step.as_mut().map(|s| &mut s.held);
        let lost = held.is_some_and(|held| held.stop(now, Timestamp::MIN));
        draft.decided |= stopped || lost;
    }
    draft.block(
        false,
        "ScaledToZero",
        "the canary waits for spec.replicas above 0",
    );
}

/// The revision has failed: back, or wait for a person where there is nothing to go back to.
fn refuse(
    draft: &mut Draft<'_>,
    release: &Release,
    on_failure: OnFailure,
    cause: UndoCause,
    why: &Why,
) {
    if on_failure == OnFailure::Undo && !release.first {
        let (reason, message) = (&why.reason, &why.message);
        undoing::begin(draft, release, cause, Outcome::Failed, reason, message);
    } else if release
        .paused
        .as_ref()
        .is_none_or(|p| p.reason != why.reason)
    {
        // What it waits for may have become worse than it was when it was paused.
        pause(draft, why);
    }
}

/// Waits for a person.
fn pause(draft: &mut Draft<'_>, why: &Why) {
    if let Some(release) = &mut draft.status.release {
        release.paused = Some(why.clone());
    }
    draft.decided = true;
    draft.event("RolloutPaused", true, why.message.clone());
}

/// All of the target runs, the canary's part is available, and enough serve in all.
fn is_reached(draft: &Draft<'_>, release: &Release) -> bool {
    let targets = draft.targets();
    let whole = targets.iter().all(|(revision, target)| {
        draft
            .seen
            .objects
            .child(revision)
            .map_or(*target == 0, |child| {
                let available = *revision != release.revision || child.available >= *target;
                child.replicas == *target && child.current && available
            })
    });
    let nothing_else = draft
        .seen
        .objects
        .children
        .iter()
        .filter(|c| !c.deleting && !targets.contains_key(&c.revision))
        .all(|c| c.replicas == 0);
    whole && nothing_else && mover::assured(&draft.seen.objects.children) >= draft.bounds().floor
}

/// Starts and stops the stopwatches. Says whether that is all there is to say of them now.
fn keep_time(draft: &mut Draft<'_>, reached: bool) -> bool {
    let (seen, now, trusted) = (draft.seen, draft.now, draft.seen.trusted_since);
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let targets = draft.targets();
    let Some(release) = &mut draft.status.release else {
        return false;
    };
    let Some(step) = &mut release.step else {
        return false;
    };
    let target = targets.get(&release.revision).copied().unwrap_or(0);
    let batch = seen.objects.child(&release.revision).filter(|c| {
        let whole = c.current && c.available >= c.replicas;
        whole && c.available > step.available && c.available < target
    });
    let changed = if reached {
        let began = step.held.start(now);
        // Time that nobody watched is nobody's delay.
        let stopped = release.unreached.stop(now, trusted);
        if step.reached.is_none() {
            // The last batch is up, and with it the wait for it over.
            step.reached = Some(Time(whole_second(now)));
            release.unreached.seconds = 0;
        }
        began || stopped
    } else {
        let run = step.held.since.as_ref();
        if run.is_some_and(|since| seconds_between(since.0.max(trusted), now) >= limit) {
            // It was whole for long: what is lost now is another matter.
            release.unreached.seconds = 0;
        }
        let lost = step.held.stop(now, Timestamp::MIN);
        let began = release.unreached.start(now);
        if let Some(batch) = batch {
            // Only more than ever before counts, so that pods which come and go prove nothing.
            // It forbids nothing, so it is put on record beside the moves of the next batch.
            step.available = batch.available;
            release.unreached = Stopwatch {
                seconds: 0,
                since: Some(Time(now)),
            };
        }
        lost || began
    };
    if changed {
        let words = if reached {
            "target reached, it is held"
        } else {
            "target lost"
        };
        draft.notes.push(format!("step {}: {words}", step.name));
        draft.decided = true;
    }
    changed || (batch.is_some() && !reached)
}

/// The target is not reached: until when may that be?
fn wait_for_target(draft: &mut Draft<'_>, release: &Release, step: &Step) {
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let waited = release
        .unreached
        .elapsed(draft.now, draft.seen.trusted_since);
    if waited < limit {
        draft.wake_in(limit - waited);
        return;
    }
    if let Some(stable) = lacks_stable_only(draft, release) {
        // Going back to what does not serve would take away what does.
        let words = standing::why_not_available(draft, &stable)
            .unwrap_or_else(|| "its pods do not stay available".into());
        draft.block(
            true,
            "StableUnavailable",
            format!(
                "step {} is not reached for want of stable {stable}: {words}. Revision {} has all \
                 its pods of this step: promote to go on, or undo",
                step.name, release.revision
            ),
        );
        return;
    }
    let words = standing::why_not_available(draft, &release.revision)
        .or_else(|| not_ready(draft, &release.revision))
        .map(|words| format!(": {words}"))
        .unwrap_or_default();
    let why = Why {
        reason: "ProgressDeadlineExceeded".into(),
        message: format!(
            "step {} was not reached within {limit} seconds{words}",
            step.name
        ),
    };
    if release.first {
        draft.block(true, &why.reason, why.message);
    } else {
        refuse(draft, release, OnFailure::Undo, UndoCause::Deadline, &why);
    }
}

/// What can be said of pods of which neither the scheduler nor the kubelet has said anything.
fn not_ready(draft: &Draft<'_>, revision: &str) -> Option<String> {
    let unready = draft.seen.objects.pods_of(revision);
    let unready = unready.filter(|pod| pod.ready_since.is_none());
    let name = unready.map(|pod| pod.name.as_str()).min()?;
    Some(format!(
        "pod {name} runs but does not become ready: look at its readiness probe and its log"
    ))
}

/// Stable, where pods of stable are all that the step lacks.
fn lacks_stable_only(draft: &Draft<'_>, release: &Release) -> Option<String> {
    let target = draft.targets().get(&release.revision).copied()?;
    let child = draft.seen.objects.child(&release.revision)?;
    let whole = child.replicas == target && child.current && child.available >= target;
    draft.stable().filter(|_| whole).map(str::to_owned)
}

/// The target is reached: hold it, then ask for its checks.
fn hold(draft: &mut Draft<'_>, release: &Release, step: &Step, status: &StepStatus) {
    let held = status.held.elapsed(draft.now, Timestamp::MIN);
    if held < step.hold_seconds {
        draft.wake_in(step.hold_seconds - held);
        return;
    }
    if let Some(by) = release::paused_by(draft) {
        draft.block(
            false,
            "Paused",
            format!("step {} is over; paused by {by}", step.name),
        );
        return;
    }
    let over = held - step.hold_seconds;
    let proof = exits::proof(step.hold_seconds);
    if let Some(ended) = exits::ended_within(draft, proof) {
        // One end in the hold can be waited out, however short the step's deadline is.
        inconclusive(draft, release, step, over - proof, &ended.message);
        draft.wake(ended.until);
        return;
    }
    match gate::passed(draft, release, status) {
        Ok(summary) => pass(draft, release, step, &summary),
        Err(missing) => {
            let over = if missing.first_poll { 0 } else { over };
            inconclusive(draft, release, step, over, &missing.message);
            if let Some(at) = gate::next_poll(draft, release) {
                draft.wake(at);
            }
        }
    }
}

/// The hold is over, the checks have come to no verdict: wait, until the step's deadline.
fn inconclusive(draft: &mut Draft<'_>, release: &Release, step: &Step, over: i64, missing: &str) {
    // Nothing is timed out by a clock that was not watched.
    let over = over.min(seconds_between(draft.seen.trusted_since, draft.now));
    if over < step.deadline_seconds {
        draft.block(
            false,
            "Inconclusive",
            format!("step {} is held on: {missing}", step.name),
        );
        draft.wake_in(step.deadline_seconds - over);
        return;
    }
    let why = Why {
        reason: "Inconclusive".into(),
        message: format!(
            "no verdict at step {} within {} seconds after its hold: {missing}",
            step.name, step.deadline_seconds
        ),
    };
    match step.on_inconclusive {
        OnInconclusive::Proceed => pass(draft, release, step, &why.message),
        OnInconclusive::Undo => {
            refuse(
                draft,
                release,
                OnFailure::Undo,
                UndoCause::Inconclusive,
                &why,
            );
        }
        OnInconclusive::Pause => pause(draft, &why),
    }
}

/// Leaves a step whose gate is open, or that a person promoted.
pub(super) fn pass(draft: &mut Draft<'_>, release: &Release, step: &Step, summary: &str) {
    let steps = draft.spec.strategy.canary.steps.len();
    let index = release
        .step
        .as_ref()
        .and_then(|s| usize::try_from(s.index).ok())
        .unwrap_or(0);
    let tail = if summary.is_empty() {
        String::new()
    } else {
        format!(": {summary}")
    };
    if index + 1 < steps {
        let before = draft.decided;
        draft.decided = false;
        enter(draft, index + 1);
        if draft.decided {
            let message = format!(
                "revision {} passed step {}{tail}",
                release.revision, step.name
            );
            draft.event("StepPassed", false, message);
        }
        draft.decided |= before;
        return;
    }
    let revision = release.revision.clone();
    let took = seconds_between(release.started.0, draft.now);
    let message = format!("revision {revision} is stable after {took} seconds{tail}");
    draft.end(release, Outcome::Stable, "Released", &message);
    draft.status.stable = Some(RevisionStatus {
        revision,
        ..RevisionStatus::default()
    });
    draft.event("RolloutCompleted", false, message);
}
