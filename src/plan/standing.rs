//! How a Rollout stands, as kstatus reads it, and the words for it.

use jiff::Timestamp;

use super::{
    course::Target,
    draft::{Draft, later},
    facts::ChildFacts,
    gate::checks,
    job::{
        step_test,
        terms::{self, Runs},
        told,
    },
    life,
    reason::Reason,
    services, soak, waiting, words,
};
use crate::api::{
    release::{Release, Stage},
    status::Outcome,
};

/// What kstatus makes of a Rollout.
pub(super) struct Standing {
    pub kind: StandingKind,
    pub reason: String,
    pub message: String,
    /// What a column has room for, where that is not the beginning of the message.
    pub column: Option<String>,
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
        column: None,
    };
    if let Some(obstacle) = &draft.wait.obstacle {
        let idle = |c: &ChildFacts| c.replicas == 0 && c.status_replicas == 0;
        let kind = if obstacle.reason == Reason::ScaledToZero
            && draft.seen.objects.children.iter().all(idle)
        {
            // As with a Deployment: what was asked for is there.
            StandingKind::Ready
        } else if obstacle.stalled {
            StandingKind::Stalled
        } else {
            StandingKind::Reconciling
        };
        return say(kind, obstacle.reason.word(), obstacle.message.clone());
    }
    if let Some(release) = &draft.status.release {
        if let Some(paused) = release.paused() {
            let ways = match (release.first, paused.is(Reason::CheckFailed)) {
                (true, true) => "promote, or release another revision",
                (true, false) => "promote, resume, or release another revision",
                (false, true) => "promote or undo",
                (false, false) => "promote, resume or undo",
            };
            let ways = match release.soak() {
                Some(_) => "promote, resume or undo",
                None => ways,
            };
            let message = format!("waits for a person ({ways}): {}", paused.message);
            return say(StandingKind::Stalled, &paused.reason, message);
        }
        let (reason, message) = motion(draft, release);
        return say(StandingKind::Reconciling, reason.word(), message);
    }
    if draft.outcome(draft.wanted) == Some(Outcome::Failed) {
        let (reason, message) = words::failed(draft, draft.wanted);
        return say(StandingKind::Stalled, &reason, message);
    }
    let Some(stable) = draft.stable() else {
        return say(
            StandingKind::Reconciling,
            Reason::Starting.word(),
            "not yet looked at".into(),
        );
    };
    if draft.wanted != stable {
        return say(
            StandingKind::Reconciling,
            Reason::Starting.word(),
            "a new revision was seen".into(),
        );
    }
    if let Some(schema) = &draft.status.schema
        && Reason::of(&schema.state) == Some(Reason::RecordDisagrees)
    {
        let words = format!("revision {stable} is stable, but {}", schema.message);
        return say(StandingKind::Stalled, &schema.state, words);
    }
    let total = draft.spec.replicas;
    let settled = draft
        .seen
        .objects
        .children
        .iter()
        .filter(|c| !c.deleting)
        .all(|child| child.replicas == if child.revision == stable { total } else { 0 })
        && draft.seen.objects.child(stable).is_some();
    if !settled {
        let way = format!("scaling to {total} pods");
        if late_at(draft).is_some_and(|at| at <= draft.now) {
            let words = draft
                .why_not_available(stable)
                .unwrap_or_else(|| format!("pods of {stable} do not become ready"));
            let message = format!("{way}: {words}");
            return say(StandingKind::Reconciling, Reason::Degraded.word(), message);
        }
        return say(StandingKind::Reconciling, Reason::Scaling.word(), way);
    }
    if total == 0 {
        let message = format!("revision {stable} is stable, and scaled to 0 as asked");
        let standing = say(StandingKind::Ready, Reason::ScaledToZero.word(), message);
        return with_what_waits(draft, standing);
    }
    let floor = draft.bounds().floor.max(1);
    if services::assured(draft) < floor {
        let words = draft
            .why_not_available(stable)
            .map(|w| format!(": {w}"))
            .unwrap_or_default();
        let message = format!("fewer than {floor} of {total} pods are available{words}");
        return say(StandingKind::Reconciling, Reason::Degraded.word(), message);
    }
    let message = format!("revision {stable} is stable");
    let standing = say(StandingKind::Ready, Reason::Stable.word(), message);
    with_what_waits(draft, standing)
}

/// The same, with what still runs or waits for its schema version.
fn with_what_waits(draft: &Draft<'_>, standing: Standing) -> Standing {
    let Some(more) = draft.status.schema.as_ref().and_then(told::after_release) else {
        return standing;
    };
    let short = life::duty(draft).and_then(|duty| life::in_short(draft, &duty));
    let short = short.map(|(short, way)| {
        let short = format!("{}; {short}", standing.message);
        let whole = format!("{short}{}", way.unwrap_or_default());
        match words::fits_a_column(&whole) {
            true => whole,
            false => short,
        }
    });
    Standing {
        column: short,
        message: format!("{}; {more}", standing.message),
        ..standing
    }
}

/// When the oldest pod of stable that is not ready will have had its time to become so.
pub(super) fn late_at(draft: &Draft<'_>) -> Option<Timestamp> {
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let unready = draft.seen.objects.pods_of(draft.stable()?);
    let unready = unready.filter(|pod| pod.ready_since.is_none());
    unready.map(|pod| later(pod.created, limit)).min()
}

/// What is going on, in words that do not change with every pod.
fn motion(draft: &Draft<'_>, release: &Release) -> (Reason, String) {
    let revision = &release.revision;
    match &release.stage {
        Stage::Undo(undo) => {
            let stable = draft.stable().unwrap_or("none");
            if let Some(excuse) = waiting::excuse(draft, stable) {
                let words = format!(
                    "rolling back from {revision} to {stable}: {}",
                    excuse.message
                );
                return (excuse.reason, words);
            }
            let unserved = unserved(draft, stable);
            let words = format!(
                "back to {stable} from {revision}{unserved}: {}",
                undo.message
            );
            (Reason::Undoing, words)
        }
        Stage::Preflight => {
            let words =
                format!("creating the Deployment and ControllerRevision of revision {revision}");
            (Reason::Preflight, words)
        }
        Stage::Job(phase) => {
            let words = format!("{} for revision {revision} comes next", phase.word());
            match terms::of(*phase).runs {
                Runs::BeforePods { running, .. } => (running, words),
                Runs::AfterRelease => (Reason::Running, words),
            }
        }
        Stage::Soak(soak) => (Reason::Soaking, soak::words(draft, soak)),
        Stage::Step(at) => {
            let step = &at.step;
            let place = format!("step {} ({})", step.name, draft.course.number(step));
            let passed = |at: &&Target| step_test::is_passed(release, step, at);
            if let Some(target) = draft.course.at(step).filter(passed)
                && release.unreached.since.is_none()
                && let Some(tests) = step_test::words(release, step, target)
            {
                return (Reason::Testing, format!("{place}: {tests}"));
            }
            let until = draft.course.near(step).and_then(|target| {
                let since = step.held.since.as_ref()?.0;
                Some(later(since, target.hold_seconds - step.held.seconds))
            });
            if let Some(until) = until {
                let paused = draft
                    .paused_by()
                    .map(|by| format!("; then paused by {by}"))
                    .unwrap_or_default();
                let next = if draft.wanted == release.revision {
                    String::new()
                } else {
                    format!("; revision {} comes after it", draft.wanted)
                };
                let words = format!("{place} is held until {until:.0}{paused}{next}");
                // Said at the first poll, not when the hold is over.
                return match checks::unreadable(draft, release) {
                    Some(check) => (Reason::CheckUnreadable, format!("{words}; {check}")),
                    None => (Reason::Holding, words),
                };
            }
            if let Some(excuse) = waiting::excuse(draft, revision) {
                return (excuse.reason, format!("{place}: {}", excuse.message));
            }
            let reached = release.unreached.since.is_none();
            let tests = draft.course.at(step).filter(|_| reached);
            if let Some(tests) = tests.and_then(|at| step_test::words(release, step, at)) {
                return (Reason::Testing, format!("{place}: {tests}"));
            }
            let words = waiting::why(draft, revision);
            if words.is_none()
                && let Some(service) = services::on_the_way(draft)
            {
                return (Reason::Switching, format!("{place}: {service}"));
            }
            let words = words.map(|w| format!(": {w}")).unwrap_or_default();
            let share = waiting::share(draft, revision);
            let since = release.unreached.since.as_ref().map_or(draft.now, |t| t.0);
            let limit = draft.spec.strategy.progress_deadline_seconds;
            let until = later(since, limit - release.unreached.seconds);
            if let Some(reached) = &step.reached {
                let words = format!(
                    "{place} was reached at {:.0} but has lost pods: {share}. Deadline: \
                     {until:.0}{words}",
                    reached.0
                );
                return (Reason::Stepping, words);
            }
            if later(step.began.0, limit) <= draft.now && waiting::goes_on(draft, revision) {
                let words = format!(
                    "{place} has been progressing slowly since {:.0}: {share}{words}",
                    step.began.0
                );
                return (Reason::GoingSlowly, words);
            }
            let unserved = unserved(draft, revision);
            let words = format!("{place} must be reached by {until:.0}{unserved}{words}");
            (Reason::Stepping, words)
        }
    }
}

/// What is to be said of users while old pods go before new ones come, none of them left.
fn unserved(draft: &Draft<'_>, comes: &str) -> String {
    if !draft.bounds().may_serve_nobody(draft.spec.replicas) || draft.stable().is_none() {
        return String::new();
    }
    format!(
        "; strategy.maxSurge is 0, so the old pods go first, and users are unserved until a pod of \
         {comes} is ready"
    )
}
