//! What people read of the Jobs of a release.

use super::{
    Run, heard, progress, proof, recorded,
    terms::{self, Terms},
};
use crate::{
    api::{
        PhaseKind,
        database::{SqlRefusal, VersionRecord},
        release::{Release, Stage},
        status::{Outcome, SchemaStatus},
    },
    plan::{draft::Draft, lack::Lack, life, reason::Reason},
};

/// What people read of the schema: of the Job that is under way, else of the last one that the
/// release runs before its pods.
pub(in crate::plan) fn status(draft: &Draft<'_>) -> Option<SchemaStatus> {
    let schema = draft.spec.schema.as_ref()?;
    // Its own Jobs come first; but not while it waits for a backfill that says how far it is.
    let waits = progress::is_what_runs(draft);
    let of_a_job = |r: &Release| matches!(r.stage, Stage::Job(_) | Stage::Preflight) && !waits;
    if !draft.status.release.as_ref().is_some_and(of_a_job)
        && let Some(status) = of_versions(draft, &schema.database)
    {
        return Some(status);
    }
    let last = terms::before_the_pods(draft.spec).last()?;
    let release = draft.status.release.as_ref();
    let revision = release.map_or(draft.wanted, |r| &r.revision).to_owned();
    let phases = draft.seen.objects.database.iter();
    let phases = phases.flat_map(|d| &d.record.phases);
    let refused = |phase: PhaseKind| {
        let mut own = phases.clone().filter(|p| p.rollout == draft.name());
        let last = own.rfind(|p| p.revision == revision && p.phase == phase);
        last.is_some_and(|p| p.refusal == Some(SqlRefusal::RecordDisagrees))
    };
    // The end of a release, where it is that of one of its Jobs.
    let told = |terms: &Terms| {
        let mut history = draft.status.history.iter();
        history.find(|e| {
            let reason = Reason::of(&e.reason);
            let other = reason == Some(Reason::RecordDisagrees) && refused(terms.phase);
            e.revision == revision && (reason == Some(terms.failed) || other)
        })
    };
    let phase = match release.map(|r| &r.stage) {
        Some(Stage::Job(phase)) => *phase,
        _ => {
            let mut all = terms::before_the_pods(draft.spec);
            all.find(|terms| told(terms).is_some())
                .unwrap_or(last)
                .phase
        }
    };
    let told = told(terms::of(phase));
    let mut status = SchemaStatus {
        database: schema.database.clone(),
        version: schema.version,
        phase,
        revision: revision.clone(),
        attempt: release.map_or(1, |r| r.job(phase).attempt),
        state: Reason::Waiting.word().to_owned(),
        job: None,
        message: String::new(),
        progress: None,
    };
    let database = draft.seen.objects.database.as_ref();
    let record = database.map(|d| &d.record);
    let ours = |rollout: &str, of: &str, kind: PhaseKind| {
        rollout == draft.name() && of == revision && kind == phase
    };
    let holder = record
        .and_then(|r| r.holder.as_ref())
        .filter(|h| ours(&h.rollout, &h.revision, h.phase));
    let ended = record.and_then(|r| {
        let mut latest_first = r.phases.iter().rev();
        latest_first.find(|p| ours(&p.rollout, &p.revision, p.phase))
    });
    let looks = terms::only_looks(phase);
    let state = match (holder, ended) {
        (Some(holder), _) => {
            status.attempt = holder.attempt;
            status.job = Some(holder.job.clone());
            Reason::Running
        }
        // It is tried again.
        (None, Some(ended)) if !ended.succeeded && release.is_some() && looks => Reason::Waiting,
        (None, Some(ended)) => {
            status.attempt = ended.attempt;
            status.job = Some(ended.job.clone());
            // With the end of the log, where this revision's own release has read it.
            let message = told.filter(|_| !ended.succeeded).map(|e| &e.message);
            status.message.clone_from(message.unwrap_or(&ended.message));
            if ended.succeeded {
                Reason::Succeeded
            } else {
                Reason::Failed
            }
        }
        (None, None) if told.is_some() => {
            let message = told.map(|e| &e.message);
            status.message.clone_from(message.unwrap_or(&String::new()));
            Reason::Failed
        }
        // What was told stays, also where somebody deletes the record.
        (None, None) if !release.is_some_and(|r| r.is_before_its_pods()) => {
            return draft.status.schema.clone();
        }
        (None, None) => Reason::Waiting,
    };
    state.word().clone_into(&mut status.state);
    Some(status)
}

/// What still runs or waits after a release, for people; nothing where all is done.
pub(in crate::plan) fn after_release(status: &SchemaStatus) -> Option<String> {
    if !terms::is_after_release(status.phase) || status.state == Reason::Succeeded.word() {
        return None;
    }
    let version = status.version.unwrap_or_default();
    let what = format!("{} of version {version}", status.phase.word());
    let (state, message) = (status.state.as_str(), &status.message);
    Some(match &status.job {
        Some(job) if state == Reason::Running.word() => format!("{what} runs in Job {job}"),
        _ if message.starts_with(WAITS_FOR) => format!("{what} {message}"),
        _ if state == Reason::Waiting.word() => message.clone(),
        _ => format!("{what}: {state}: {message}"),
    })
}

/// How it is said what a phase waits for.
const WAITS_FOR: &str = "waits for: ";

fn all(missing: &[Lack]) -> String {
    let words: Vec<_> = missing.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// What people read of the phases after the release: of what comes next, else of what was last.
fn of_versions(draft: &Draft<'_>, database: &str) -> Option<SchemaStatus> {
    let status = |version: &VersionRecord, phase: PhaseKind| SchemaStatus {
        database: database.to_owned(),
        version: Some(version.version),
        phase,
        revision: version.revision.clone(),
        attempt: 1,
        state: Reason::Waiting.word().to_owned(),
        job: None,
        message: String::new(),
        progress: None,
    };
    let Some(duty) = life::duty(draft) else {
        if let Some(stays) = life::revert::refused(draft) {
            let version = draft.spec.schema_version()?;
            return Some(SchemaStatus {
                database: database.to_owned(),
                version: Some(version),
                phase: PhaseKind::Revert,
                revision: draft.wanted.to_owned(),
                attempt: 1,
                state: Reason::Waiting.word().to_owned(),
                job: None,
                message: stays,
                progress: None,
            });
        }
        let record = &draft.seen.objects.database.as_ref()?.record;
        let version = record.version(draft.spec.schema_version()?)?;
        let own = version.rollout == draft.name() && !version.dropped;
        let done = [
            (PhaseKind::Revert, &version.reverted),
            (PhaseKind::Contract, &version.contracted),
            (PhaseKind::Backfill, &version.backfilled),
        ];
        let mut done = done.into_iter().filter(|_| own);
        let (phase, done) = done.find_map(|(phase, done)| Some((phase, done.as_ref()?)))?;
        let after = life::around::after_words(draft, version);
        let (message, hurts) = after
            .filter(|_| phase == PhaseKind::Contract)
            .unwrap_or_default();
        let state = match hurts {
            true => Reason::ContractHurts,
            false => Reason::Succeeded,
        };
        return Some(SchemaStatus {
            attempt: done.attempt,
            state: state.word().to_owned(),
            job: Some(done.job.clone()),
            message,
            ..status(version, phase)
        });
    };
    let turn = duty.turn(draft);
    let mut status = status(duty.version, duty.phase);
    status.attempt = turn.job().attempt;
    let (state, job, message) = match super::run(draft, &turn) {
        Run::Failed {
            job,
            message,
            refusal,
            ..
        } => {
            let back = match draft.stable() {
                Some(stable)
                    if draft.outcome(draft.wanted) == Some(Outcome::Failed)
                        && duty.phase != PhaseKind::Revert =>
                {
                    format!("set the spec back to revision {stable}, ")
                }
                _ => String::new(),
            };
            let revision = match back.as_str() {
                "" => draft.wanted,
                _ => draft.stable().unwrap_or_default(),
            };
            let instead = match duty.phase {
                PhaseKind::Revert => {
                    "; to release the revision again instead, set spec.schema.revert.when to Never \
                     first"
                }
                _ => "",
            };
            if refusal == Some(SqlRefusal::RecordDisagrees) {
                let words = recorded::words(draft, duty.phase, Some(duty.version.version));
                let words = format!(
                    "{words}; {back}then retry with the annotation stepgate.io/retry: \"{revision} <id>\". \
                     The log: kubectl logs -n {} job/{job}",
                    draft.seen.objects.rollout.namespace
                );
                status.state = Reason::RecordDisagrees.word().to_owned();
                status.job = Some(job);
                status.message = words;
                return Some(status);
            }
            let unproven = match refusal {
                Some(SqlRefusal::ProofFailed) => {
                    "; rows are not filled in, so nothing was removed: stop what writes such rows; \
                     the retry runs the backfill again first"
                }
                _ => "",
            };
            let words = format!(
                "{message}{unproven}; see kubectl logs -n {} job/{job}{}, fix the cause, {back}then \
                 retry with the annotation stepgate.io/retry: \"{revision} <id>\"{instead}",
                draft.seen.objects.rollout.namespace,
                proof::has_the_log(&message)
            );
            (Reason::Failed, Some(job), words)
        }
        Run::HalfWay {
            job,
            reason,
            message,
        } => (reason, Some(job), message),
        Run::Waiting(obstacle) => (obstacle.reason, None, obstacle.message),
        // What was said stays until it is known better.
        Run::Unread => return draft.status.schema.clone(),
        Run::NotAsked | Run::Succeeded => (Reason::Waiting, None, String::new()),
        Run::Runs(message) => {
            let record = &draft.seen.objects.database.as_ref()?.record;
            let holder = record.held_for(duty.phase);
            match holder.filter(|holder| super::has_begun(draft, holder)) {
                Some(holder) => {
                    status.progress = progress::told(draft, holder);
                    let words = progress::words(draft, holder, status.progress.as_ref());
                    let pod = heard::words(draft, holder);
                    (
                        Reason::Running,
                        Some(holder.job.clone()),
                        message + &words + &pod,
                    )
                }
                None => {
                    let missing = life::waits_for(draft, &duty);
                    let words = match missing.as_slice() {
                        [] => format!("{} of {database} is about to start", duty.phase.word()),
                        missing => format!("{WAITS_FOR}{}", all(missing)),
                    };
                    (Reason::Waiting, None, words)
                }
            }
        }
    };
    state.word().clone_into(&mut status.state);
    status.job = job;
    status.message = message;
    Some(status)
}
