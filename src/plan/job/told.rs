//! What people read of the Jobs of a release.

use super::terms;
use crate::{
    api::{PhaseKind, release::Stage, status::SchemaStatus},
    plan::{draft::Draft, reason::Reason},
};

/// What people read of the schema: of the Job that is under way, else of the last one that the
/// release runs before its pods.
pub(in crate::plan) fn status(draft: &Draft<'_>) -> Option<SchemaStatus> {
    let schema = draft.spec.schema.as_ref()?;
    let last = terms::before_the_pods(draft.spec).last()?;
    let release = draft.status.release.as_ref();
    let phase = match release.map(|r| &r.stage) {
        Some(Stage::Job(phase)) => *phase,
        _ => last.phase,
    };
    let revision = release.map_or(draft.wanted, |r| &r.revision).to_owned();
    let mut status = SchemaStatus {
        database: schema.database.clone(),
        version: schema.version,
        phase,
        revision: revision.clone(),
        attempt: release.map_or(1, |r| r.job(phase).attempt),
        state: Reason::Waiting.word().to_owned(),
        job: None,
        message: String::new(),
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
    let state = match (holder, ended) {
        (Some(holder), _) => {
            status.attempt = holder.attempt;
            status.job = Some(holder.job.clone());
            Reason::Running
        }
        (None, Some(ended)) => {
            status.attempt = ended.attempt;
            status.job = Some(ended.job.clone());
            // With the end of the log, where this revision's own release has read it.
            let failed = terms::of(phase).map(|terms| terms.failed.word());
            let mut history = draft.status.history.iter();
            let told =
                history.find(|e| e.revision == ended.revision && Some(e.reason.as_str()) == failed);
            let message = told.filter(|_| !ended.succeeded).map(|e| &e.message);
            status.message.clone_from(message.unwrap_or(&ended.message));
            if ended.succeeded {
                Reason::Succeeded
            } else {
                Reason::Failed
            }
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
