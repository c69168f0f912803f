//! The course of a release: what starts it, moves it from stage to stage, and ends it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    adopting, before_pods,
    decision::{Decided, Decision, Halt, Wait, together},
    draft::{Draft, seconds_between},
    facts::{Overlap, Question, Refused},
    floor,
    job::{
        self, Run, Turn,
        heard::{end_of_phase_log, why_its_pod_waits},
        preflight::{self, PreflightState},
        terms::{Failure, Runs},
    },
    life, order,
    reason::Reason,
    routes, services,
    soak::{self, After},
    stepping, undoing, waiting,
};
use crate::api::{
    OnNewRevision, PhaseKind,
    database::SqlRefusal,
    release::{Release, Stage, Undo},
    status::{Outcome, Stopwatch},
};

/// Seconds between two looks for Deployments that are not ours: they are not watched.
const LOOKS_AT_OTHERS_EVERY: i64 = 30;

/// Makes at most one decision.
pub(super) fn decide(draft: &Draft<'_>) -> Decided {
    let Some(release) = &draft.status.release else {
        return begin(draft);
    };
    match &release.stage {
        Stage::Step(_) if services::were_changed(draft) && !release.first => {
            let message = "spec.traffic was changed during the release: rolling back to stable \
                           through the previous Services, then the release starts again";
            let reason = Reason::TrafficChanged.word();
            undoing::begin(draft, release, Outcome::Withdrawn, reason, message).made()
        }
        Stage::Undo(undo) => undoing::decide(draft, release, undo),
        _ if draft.wanted != release.revision && !stays(draft, release) => {
            move_away(draft, release).made()
        }
        Stage::Preflight => preflight(draft, release),
        Stage::Job(phase) => job_of_the_release(draft, release, *phase),
        Stage::Soak(soak) => soak::decide(draft, release, soak),
        Stage::Step(at) => stepping::decide(draft, release, at),
    }
}

/// A newer revision is asked for, and the one whose pods run stays in motion all the same: somebody
/// holds the rollout where it is, or it is to end first. It still goes back when it fails.
pub(super) fn stays(draft: &Draft<'_>, release: &Release) -> bool {
    let ends_first = draft.spec.strategy.on_new_revision == OnNewRevision::Finish;
    release.step().is_some() && (draft.spec.paused || ends_first && !release.first)
}

/// Nothing is in motion: is there something to begin?
fn begin(draft: &Draft<'_>) -> Decided {
    let wanted = draft.wanted;
    if draft.stable() == Some(wanted) {
        return Ok(None);
    }
    if let Some(wait) = adopting::contested(draft) {
        return Err(wait.into());
    }
    if draft.outcome(wanted) == Some(Outcome::Failed) {
        let (reason, message) = draft.outcome_reason(wanted);
        // One of another version's is said where it stands.
        return match Reason::of(&reason) {
            Some(reason) => Err(Wait::stalled(reason, message).into()),
            None => Ok(None),
        };
    }
    if services::are_left(draft) || routes::were_changed(draft) {
        return Ok(None);
    }
    if let Some(by) = draft.paused_by() {
        let words = format!("revision {wanted} has not started: paused by {by}");
        return Err(Wait::held(Reason::Paused, words).into());
    }
    // The way back needs no expand, no checks, and no selector that it did not have before.
    if is_former_stable(draft, wanted) {
        let may = || floor::may_return(draft, wanted);
        together([is_above_floor(draft), outcomes_are_known(draft), may()])?;
        return return_to_former_stable(draft, wanted).map(Ok).transpose();
    }
    let turn = order::is_its_turn(draft);
    // What its first objects are made of is read along with what says whether it may begin.
    let readable = if turn.is_ok() {
        is_readable(draft)
    } else {
        Ok(())
    };
    let adopts = adopting::takes_over(draft).map(drop);
    let (free, known) = (is_possible(draft), outcomes_are_known(draft));
    together([free, known, turn, adopts, readable])?;
    start(draft, 1, &[])?.made()
}

/// A cache that lags may hide that something is stable, or that this revision has failed.
fn outcomes_are_known(draft: &Draft<'_>) -> Result<(), Halt> {
    // A status that was lost is found again in them alone.
    let known = draft.seen.listed && draft.stable().is_some();
    match known || draft.seen.answers.revisions_live {
        true => Ok(()),
        false => Halt::ask(Question::Revisions),
    }
}

/// The template of a revision that is not on record yet.
fn is_readable(draft: &Draft<'_>) -> Result<(), Halt> {
    match draft.seen.objects.revision(draft.wanted) {
        Some(_) => Ok(()),
        None => draft.whole().map(drop),
    }
}

/// Nothing stands against a release of the wanted revision.
///
/// # Errors
/// What does, or what must be known first.
pub(super) fn is_possible(draft: &Draft<'_>) -> Result<(), Halt> {
    is_above_floor(draft)?;
    life::is_unclaimed(draft)?;
    job::permission::is_given(draft)?;
    let problem = draft.spec.problem().map(str::to_owned);
    if let Some(problem) = problem.or_else(|| draft.seen.source_problem.clone()) {
        return Err(Wait::stalled(Reason::InvalidSpec, problem).into());
    }
    if let Some(wait) = waiting::for_surge(draft) {
        return Err(wait.into());
    }
    services::are_possible(draft)?;
    together([
        routes::are_possible(draft),
        job::texts::are_usable(draft),
        is_alone(draft),
    ])
}

fn is_above_floor(draft: &Draft<'_>) -> Result<(), Halt> {
    match floor::below_floor(draft, draft.wanted, draft.spec.schema_version()) {
        Some(words) => Err(Wait::stalled(Reason::BelowUndoFloor, words).into()),
        None => Ok(()),
    }
}

/// Starts the release of the wanted revision.
///
/// # Errors
/// What keeps a Deployment from being adopted, or must be known first.
pub(super) fn start(
    draft: &Draft<'_>,
    attempt: i64,
    accepted_dirty: &[String],
) -> Result<Decision, Halt> {
    let revision = draft.wanted;
    let adopted = adopting::takes_over(draft)?;
    let mut release = Release {
        revision: revision.to_owned(),
        stage: Stage::Preflight,
        first: draft.stable().is_none() && adopted.is_none(),
        started: Time(draft.now),
        attempt,
        jobs: Vec::new(),
        measured_since: None,
        unreached: Stopwatch::default(),
        lost: Vec::new(),
        tests: Vec::new(),
        without_undo: false,
        not_checked: Vec::new(),
    };
    for job in accepted_dirty {
        for terms in job::terms::before_the_pods(draft.spec) {
            release.job_mut(terms.phase).accept(job);
        }
    }
    let mut decision = draft.goes(release);
    let history = &mut decision.status.history;
    history.retain(|e| e.revision != revision || e.outcome == Outcome::Stable);
    decision.status.checks.clear();
    if let Some(adopted) = adopted {
        adopting::record(&mut decision, adopted);
    }
    let message = match &decision.status.stable {
        Some(stable) => format!("revision {revision} is to replace {}", stable.revision),
        None => format!("first deployment, revision {revision}"),
    };
    Ok(decision.event(Reason::RolloutStarted, message))
}

/// Another Deployment or Rollout that selects the same pods makes everything that is counted a
/// lie: nothing is written before that is resolved. One that is adopted counts as stable.
fn is_alone(draft: &Draft<'_>) -> Result<(), Halt> {
    if let Some(other) = draft.seen.objects.neighbours.first() {
        let words = format!(
            "Rollout {other} is older and selects the same pods: delete this Rollout, and create it \
             with a label of its own in spec.selector.matchLabels and the template"
        );
        return Err(Wait::stalled(Reason::SelectorOverlap, words).into());
    }
    let Some(others) = &draft.seen.answers.overlaps else {
        return Halt::ask(Question::Overlaps(Arc::clone(draft.spec)));
    };
    let counts = |o: &&Overlap| !adopting::is_moved_in(draft, &o.deployment, o.empty);
    let Some(other) = others.iter().find(counts) else {
        return Ok(());
    };
    let (name, namespace) = (&other.deployment, &draft.seen.objects.rollout.namespace);
    let own = draft
        .stable()
        .is_some_and(|s| adopting::deployment_of(s).is_none());
    let words = match own {
        true => format!(
            "Deployment {name} selects the same pods, beside the stable revision. Delete it: \
             kubectl delete -n {namespace} deployment {name}"
        ),
        // Who obeys \"delete it\" while it serves takes the pods that users reach.
        false => format!(
            "Deployment {name} selects the same pods. If it serves, move it in without downtime: set \
             spec.adopt: {{deployment: {name}}}. Or let its pods run on while the Rollout makes its \
             own: kubectl delete -n {namespace} deployment {name} --cascade=orphan, and delete its \
             ReplicaSets when the Rollout is Ready. Or give the Rollout a selector of its own"
        ),
    };
    let wait = Wait::stalled(Reason::SelectorOverlap, words);
    Err(wait.wake(draft.in_seconds(LOOKS_AT_OTHERS_EVERY)).into())
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
fn return_to_former_stable(draft: &Draft<'_>, wanted: &str) -> Option<Decision> {
    let message = format!("return to the former stable revision {wanted}, as the spec asks");
    // What is left was good: it stays a former stable, to which one may return in turn.
    let reason = Reason::ReturnedToFormerStable;
    let decision = swap_stable(draft, wanted, Outcome::Stable, reason, &message)?;
    Some(
        decision
            .event(Reason::ReturningToFormerStable, message)
            .undoes(reason),
    )
}

/// Revisions that were stable before, the latest first.
pub(super) fn former_stables(draft: &Draft<'_>) -> Vec<String> {
    let revisions = draft.seen.objects.revisions.iter();
    let mut former: Vec<_> = revisions
        .filter(|r| r.outcome == Some(Outcome::Stable) && !r.deleting)
        .filter(|r| draft.stable() != Some(&r.revision))
        .collect();
    former.sort_by_key(|r| std::cmp::Reverse(r.number));
    former.into_iter().map(|r| r.revision.clone()).collect()
}

/// Makes `to` stable and undoes the present stable, if there is one.
pub(super) fn swap_stable(
    draft: &Draft<'_>,
    to: &str,
    outcome: Outcome,
    reason: Reason,
    message: &str,
) -> Option<Decision> {
    let now = Time(draft.now);
    let release = Release {
        revision: draft.stable()?.to_owned(),
        stage: Stage::Undo(Undo {
            outcome,
            reason: reason.word().to_owned(),
            message: message.to_owned(),
            since: now.clone(),
        }),
        first: false,
        started: now.clone(),
        attempt: 1,
        jobs: Vec::new(),
        measured_since: None,
        unreached: Stopwatch {
            seconds: 0,
            since: Some(now),
        },
        lost: Vec::new(),
        tests: Vec::new(),
        without_undo: false,
        not_checked: Vec::new(),
    };
    let mut decision = draft.goes(release);
    decision.stable(to);
    decision.status.history.retain(|ended| ended.revision != to);
    Some(decision)
}

/// The spec asks for another revision than the one in motion.
fn move_away(draft: &Draft<'_>, release: &Release) -> Decision {
    let message = format!("the spec now asks for revision {}", draft.wanted);
    let reason = Reason::Superseded.word();
    if release.first {
        // Nothing to return to: the newer one takes over, without steps.
        let words = format!("revision {}: {message}", release.revision);
        return draft
            .ends(release, Outcome::Withdrawn, reason, &message)
            .event(Reason::RolloutWithdrawn, words);
    }
    undoing::begin(draft, release, Outcome::Withdrawn, reason, &message)
}

/// Names are made, at 0 replicas; the API server validates the template.
fn preflight(draft: &Draft<'_>, release: &Release) -> Decided {
    let mut refusals = draft.seen.refusals.iter();
    if let Some(refusal) = refusals.find(|r| r.what == Refused::Deployment) {
        let message = format!("its Deployment was refused: {}", refusal.message);
        if refusal.transient {
            let wait = Wait::held(Reason::DeploymentRefused, message);
            return Err(wait.wake(draft.tries_again()).into());
        }
        let message = format!("{message}. Correct spec.template");
        let words = format!(
            "revision {}: {message}. Nothing was changed",
            release.revision
        );
        return fails(draft, release, Reason::TemplateRefused, &message)
            .warning(Reason::TemplateRefused, words)
            .made();
    }
    let objects = &draft.seen.objects;
    let made =
        objects.revision(&release.revision).is_some() && objects.child(&release.revision).is_some();
    if !made || !services::exist(draft) {
        return Ok(None);
    }
    before_pods::first(draft, release)?.made()
}

fn fails(draft: &Draft<'_>, release: &Release, reason: Reason, message: &str) -> Decision {
    draft.ends(release, Outcome::Failed, reason.word(), message)
}

/// The schema before the first pod.
fn job_of_the_release(draft: &Draft<'_>, release: &Release, phase: PhaseKind) -> Decided {
    let terms = job::terms::of(phase);
    let Runs::BeforePods { running, done } = terms.runs else {
        return before_pods::first(draft, release)?.made();
    };
    if phase == PhaseKind::Expand && preflight::comes_first(draft, release) {
        let release = Release {
            stage: Stage::Job(PhaseKind::Preflight),
            ..release.clone()
        };
        let words = "its preflight comes before its expand";
        return draft.goes(release).note(words.to_owned()).made();
    }
    let turn = Turn::of_release(draft, release, phase);
    let name = turn.name(draft);
    let mut refusals = draft.seen.refusals.iter();
    if let Some(refusal) = refusals.find(|r| r.what == Refused::Job(name.clone())) {
        let word = phase.word();
        let message = format!("its {word} Job was refused: {}", refusal.message);
        if refusal.transient {
            let wait = Wait::held(Reason::JobRefused, message);
            return Err(wait.wake(draft.tries_again()).into());
        }
        let message = format!(
            "{message}. Correct spec.schema.{word}, then set the annotation stepgate.io/retry"
        );
        let words = format!("revision {}: {message}. Nothing ran", release.revision);
        return fails(draft, release, Reason::JobRefused, &message)
            .warning(Reason::JobRefused, words)
            .made();
    }
    if terms.failure == Failure::Nothing {
        match preflight::step(draft, release)? {
            PreflightState::Over(why) => {
                let decision = before_pods::after(draft, release, phase)?;
                let Some(why) = why else {
                    return decision.made();
                };
                let message = format!("revision {}: {why}", release.revision);
                return decision.event(terms.succeeded, message).made();
            }
            PreflightState::Goes(decision) => return (*decision).made(),
            PreflightState::Waits(wait) => {
                let (words, look) = why_its_pod_waits(draft, job::waits_for_its_pod(draft))?;
                return Err(wait.saying(&words).and(look).into());
            }
            PreflightState::Fails { words, job } => {
                return preflight_failed(draft, release, words, job);
            }
            PreflightState::Disagrees(job) => return disagrees(draft, release, phase, job),
            PreflightState::Obstacle => {}
        }
    }
    match job::run(draft, &turn) {
        Run::NotAsked => before_pods::after(draft, release, phase)?.made(),
        Run::Succeeded => {
            let took = seconds_between(release.started.0, draft.now);
            let message = format!(
                "{done} for revision {} after {took} seconds",
                release.revision
            );
            let after = match phase {
                PhaseKind::Expand => soak::after(draft, release),
                _ => After::NotAsked,
            };
            let (decision, message) = match after {
                After::NotAsked => (before_pods::after(draft, release, phase)?, message),
                After::Skipped(why) => {
                    let message = format!("{message}; its soak is left out: {why}");
                    (before_pods::after(draft, release, phase)?, message)
                }
                After::Soaks(soak) => {
                    let message = format!("{message}; now stable is measured");
                    (soak::enter(draft, release, soak), message)
                }
            };
            decision.event(terms.succeeded, message).made()
        }
        Run::Failed {
            job,
            refusal: Some(SqlRefusal::RecordDisagrees),
            ..
        } => disagrees(draft, release, phase, job),
        Run::Failed {
            job,
            message,
            nothing_applied,
            ..
        } => {
            let schema = draft.spec.schema.as_ref();
            let log = end_of_phase_log(draft, job)?;
            let mut words = format!("{} failed: {message}{log}", phase.word());
            words.push_str(if nothing_applied && schema.is_some_and(|s| s.runs_sql(phase)) {
                ". Nothing was applied, and the database is clean. No pod of the revision was \
                 started. Fix what failed, then retry with the annotation stepgate.io/retry"
            } else if nothing_applied {
                ". Every run exited with 75: nothing was applied, and the database is clean. No pod \
                 of the revision was started. Provide what the command waits for, then retry with the \
                 annotation stepgate.io/retry"
            } else {
                ". No pod of the revision was started. The database may be inconsistent: fix it, then \
                 retry with the annotation stepgate.io/retry"
            });
            let told = format!("revision {}: {words}", release.revision);
            fails(draft, release, terms.failed, &words)
                .warning(terms.failed, told)
                .made()
        }
        Run::Waiting(obstacle) => {
            let (words, look) = why_its_pod_waits(draft, job::waits_for_its_pod(draft))?;
            let way = if words.is_empty() {
                ""
            } else {
                ". To continue before its deadline, delete that Job and set the annotation \
                 stepgate.io/retry"
            };
            let message = format!("{}{words}{way}", obstacle.message);
            let mut wait = Wait::at(obstacle.reason, message, obstacle.stalled);
            if obstacle.reason == Reason::SqlUnreadable {
                wait = wait.wake(draft.in_seconds(job::texts::LOOKS_EVERY));
            }
            Err(wait.and(look).into())
        }
        Run::HalfWay {
            job,
            reason,
            message,
        } => {
            let wait = Wait::stalled(reason, message);
            let mut release = release.clone();
            let known = release.job(phase).told_dirty.as_ref() == Some(&job);
            if known {
                return Err(wait.into());
            }
            release.job_mut(phase).told_dirty = Some(job);
            draft.goes(release).waiting(wait).made()
        }
        Run::Unread => Ok(None),
        Run::Runs(message) => {
            let (words, look) = why_its_pod_waits(draft, job::waits_for_its_pod(draft))?;
            let wait = Wait::held(running, format!("{message}{words}"));
            Err(wait.and(look).into())
        }
    }
}

/// What is on record of the database is not what its ledger says.
fn disagrees(draft: &Draft<'_>, release: &Release, phase: PhaseKind, job: String) -> Decided {
    let log = end_of_phase_log(draft, job)?;
    let version = draft.spec.schema_version();
    let words = job::recorded::words(draft, phase, version);
    let words = format!("{words}; then set the annotation stepgate.io/retry{log}");
    let told = format!("revision {}: {words}", release.revision);
    let reason = Reason::RecordDisagrees;
    fails(draft, release, reason, &words)
        .warning(reason, told)
        .made()
}

/// Nothing has run that could be undone, and the database is as it was.
fn preflight_failed(
    draft: &Draft<'_>,
    release: &Release,
    words: String,
    job: Option<String>,
) -> Decided {
    let log = match job {
        Some(job) => end_of_phase_log(draft, job)?,
        None => String::new(),
    };
    let words = format!(
        "preflight failed: {words}{log}. Nothing has run, and the database is unchanged. Fix what \
         failed, then retry with the annotation stepgate.io/retry"
    );
    let told = format!("revision {}: {words}", release.revision);
    fails(draft, release, Reason::PreflightFailed, &words)
        .warning(Reason::PreflightFailed, told)
        .made()
}
