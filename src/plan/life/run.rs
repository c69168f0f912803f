//! A phase of a version runs, and is tried again.

use super::{
    around::said_of,
    duty::{Duty, is_for},
    record::with_new_texts,
};
use crate::{
    api::database::Holder,
    plan::{
        decision::{Decision, Halt},
        draft::Draft,
        facts::{DatabaseFacts, Question, Refused},
        intent::Write,
        job::{self, Run, protocol},
        reason::Reason,
    },
};

/// The next write of a phase that may run now.
pub(super) fn begin(
    draft: &mut Draft<'_>,
    database: &DatabaseFacts,
    duty: &Duty<'_>,
) -> Result<Option<Write>, Halt> {
    // One that has failed waits for a person, whatever its files hold.
    let goes = matches!(
        job::run(draft, &duty.turn(draft)),
        Run::Runs(_) | Run::Waiting(_)
    );
    if goes && let Some(write) = with_new_texts(draft, database, duty)? {
        return Ok(Some(write));
    }
    let write = drive(draft, duty)?;
    if let Some(words) = protocol::left_out(draft, &duty.turn(draft), write.as_ref())? {
        draft.inform(Reason::LeftOut, words);
    }
    Ok(write)
}

pub(super) fn drive(draft: &Draft<'_>, duty: &Duty<'_>) -> Result<Option<Write>, Halt> {
    let turn = duty.turn(draft);
    let job = Refused::Job(turn.name(draft));
    if draft.was_refused(&job) {
        return Ok(None);
    }
    protocol::drive(draft, &turn)
}

/// A retry of this.
pub(super) fn again(draft: &Draft<'_>, duty: &Duty<'_>) -> Result<Option<Decision>, Halt> {
    let turn = duty.turn(draft);
    let mut job = turn.job().clone();
    let database = draft.seen.objects.database.as_ref();
    match job::run(draft, &turn) {
        Run::Failed { job: failed, .. } => {
            job.attempt = job::attempts_of_version(draft, duty.version, duty.phase) + 1;
            let mut dirty = database.into_iter().flat_map(|d| &d.record.dirty);
            // With its failure was told what it has left.
            if dirty.any(|dirty| dirty.job == failed) {
                job.accept(&failed);
            }
        }
        Run::HalfWay { job: left, .. } => {
            let status = draft.status.schema.as_ref();
            let told = status.is_some_and(|s| s.job.as_ref() == Some(&left));
            // On a release that waits for it.
            let mut conditions = draft.status.conditions.iter();
            let stalled = conditions.any(|c| c.status == "True" && c.message.contains(&left));
            if !told && !stalled {
                return Ok(None);
            }
            let own = |h: &&Holder| is_for(h, duty.version) && h.phase == duty.phase;
            if let Some(holder) = job::vanished_hold(draft, &turn).filter(own) {
                job.attempt = job.attempt.max(holder.attempt) + 1;
            }
            job.accept(&left);
        }
        Run::Unread => {
            let name = database.map(|d| d.base.name.clone()).unwrap_or_default();
            return Halt::ask(Question::Hold(name));
        }
        _ => return Ok(None),
    }
    let mut decision = draft.decision();
    let number = duty.version.version;
    let jobs = &mut said_of(draft, &mut decision, number).jobs;
    jobs.retain(|known| known.phase != duty.phase);
    jobs.push(job);
    Ok(Some(decision))
}
