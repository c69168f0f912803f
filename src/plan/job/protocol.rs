//! The writes of a Job: one at a time per database, each released at most once.
//!
//! Take the hold (a compare-and-swap on the DatabaseSchema), create the Job suspended, record its
//! uid, release it, record its end, let the hold go. Whatever crashes in between, the next pass
//! reads from the record and the Job what comes next. The last two are the database's own (see
//! [`crate::plan::database`]).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Turn, has_vanished, job_of, rests_on_caches,
    terms::{self, Terms},
};
use crate::{
    api::{
        DatabaseRecord,
        database::{Holder, PhaseRecord},
        keys,
        release::Release,
    },
    plan::{
        decision::Halt,
        draft::Draft,
        facts::{DatabaseFacts, JobFacts},
        intent::{Kind, Write},
        render,
    },
};

/// Phases kept on record per database.
const KEPT_PHASES: usize = 400;

/// The next write of the protocol, if there is one to make now.
///
/// # Errors
/// What must be known first.
pub(in crate::plan) fn drive(
    draft: &Draft<'_>,
    release: &Release,
    terms: &Terms,
) -> Result<Option<Write>, Halt> {
    let schema = draft.spec.schema.as_ref();
    let schema = schema.filter(|schema| schema.phase(terms.phase).is_some());
    let Some(schema) = schema else {
        return Ok(None);
    };
    let turn = Turn {
        release,
        job: release.job(terms.phase),
    };
    let Some(database) = &draft.seen.objects.database else {
        return Ok(Some(Write::Create {
            kind: Kind::Database,
            manifest: render::database(draft, &schema.database),
        }));
    };
    let record = &database.record;
    let ours = (record.holder.as_ref()).is_some_and(|h| turn.is_of(draft, h));
    let over = turn
        .ended(draft, record)
        .is_some_and(|p| p.succeeded || (!ours && p.attempt >= turn.job.attempt));
    if database.deleting || over {
        return Ok(None);
    }
    let makes_a_job = draft.spec.problem().is_none();
    let Some(holder) = &record.holder else {
        let free = makes_a_job && !turn.is_dirty(record);
        return Ok(free.then(|| take_hold(draft, database, &turn)));
    };
    if rests_on_caches(draft, holder) {
        return Ok(None);
    }
    Ok(match job_of(draft, holder) {
        Some(job) if ours => advance(draft, database, holder, job),
        None if ours && holder.job_uid.is_none() && makes_a_job => {
            let manifest = render::job(draft, draft.whole()?, holder, database);
            manifest.map(|manifest| Write::Create {
                kind: Kind::Job,
                manifest,
            })
        }
        // It vanished, and a person has said to run it again.
        None if has_vanished(draft, holder) && turn.may_take_over(draft, holder) => {
            makes_a_job.then(|| take_hold(draft, database, &turn))
        }
        _ => None,
    })
}

/// The writes by which a hold is let go whose Job was never released: nothing has happened, so
/// nothing is lost. One at a time, and whatever is cut off is gone on with: the Job is fenced;
/// its uid leaves the record, so that it is not missed; it goes; the hold goes.
pub(in crate::plan) fn let_go(
    database: &DatabaseFacts,
    holder: &Holder,
    job: Option<&JobFacts>,
    epoch: i64,
) -> Option<Write> {
    let mut record = (*database.record).clone();
    let job_uid = match (job, &holder.job_uid) {
        (Some(job), None) if job.has_begun() => {
            // A write that was late has released it after all: it is followed to its end.
            Some(job.base.uid.clone())
        }
        (Some(job), Some(_)) if !job.has_begun() && job.epoch == Some(epoch) => None,
        (Some(job), Some(_)) if !job.has_begun() => {
            return Some(Write::Fence {
                kind: Kind::Job,
                base: job.base.clone(),
                epoch,
            });
        }
        // It runs, or nobody knows how far it came.
        (_, Some(_)) => return None,
        (Some(job), None) if job.deleting => return None,
        (Some(job), None) => {
            return Some(Write::Delete {
                kind: Kind::Job,
                base: job.base.clone(),
            });
        }
        (None, None) => {
            record.holder = None;
            return Some(record_write(database, record));
        }
    };
    record.holder = Some(Holder {
        job_uid,
        ..holder.clone()
    });
    Some(record_write(database, record))
}

/// The next write that lets go a hold of this Rollout that no release of it needs any more.
pub(in crate::plan) fn let_go_of_abandoned(draft: &Draft<'_>) -> Option<Write> {
    let database = draft.seen.objects.database.as_ref()?;
    let holder = database.record.holder.as_ref()?;
    let needed = |release: &Release| {
        let job = release.job(holder.phase);
        release.is_before_its_pods() && Turn { release, job }.is_of(draft, holder)
    };
    let foreign = holder.rollout != draft.name() || terms::of(holder.phase).is_none();
    let needed = draft.status.release.as_ref().is_some_and(needed);
    if foreign || needed || rests_on_caches(draft, holder) {
        return None;
    }
    let_go(database, holder, job_of(draft, holder), draft.seen.epoch)
}

/// Puts the end of a phase on record.
pub(in crate::plan) fn keep_phase(record: &mut DatabaseRecord, phase: PhaseRecord) {
    record.phases.push(phase);
    let surplus = record.phases.len().saturating_sub(KEPT_PHASES);
    record.phases.drain(..surplus);
}

/// Writes a record, with the finalizer that belongs to it.
pub(in crate::plan) fn record_write(database: &DatabaseFacts, record: DatabaseRecord) -> Write {
    let mut finalizers = database.finalizers.clone();
    finalizers.retain(|finalizer| finalizer != keys::HELD);
    if record.holder.is_some() {
        finalizers.push(keys::HELD.to_owned());
    }
    Write::RecordDatabase {
        base: database.base.clone(),
        record: Box::new(record),
        finalizers,
    }
}

/// Takes the database, also from a Job that is gone and of which a person has said so. Its attempt
/// stays on record, or it would be made a second time.
fn take_hold(draft: &Draft<'_>, database: &DatabaseFacts, turn: &Turn<'_>) -> Write {
    let (release, phase, attempt) = (turn.release, turn.job.phase, turn.job.attempt);
    let mut record = (*database.record).clone();
    if let Some(gone) = record.holder.take() {
        let message = "its Job was gone before its end was seen, and a retry went on without it";
        let ended = gone.ended(false, Time(draft.now), message.into());
        keep_phase(&mut record, ended);
    }
    record.holder = Some(Holder {
        rollout: draft.name().to_owned(),
        revision: release.revision.clone(),
        version: draft.spec.schema_version(),
        phase,
        attempt,
        job: render::job_name(draft.name(), &release.revision, phase, attempt),
        job_uid: None,
        since: Time(draft.now),
    });
    record_write(database, record)
}

fn advance(
    draft: &Draft<'_>,
    database: &DatabaseFacts,
    holder: &Holder,
    job: &JobFacts,
) -> Option<Write> {
    // One that has begun is not let run again, whoever suspended it.
    if job.has_begun() || job.deleting {
        return None;
    }
    if holder.job_uid.is_none() {
        let mut record = (*database.record).clone();
        record.holder = Some(Holder {
            job_uid: Some(job.base.uid.clone()),
            ..holder.clone()
        });
        return Some(record_write(database, record));
    }
    let base = job.base.clone();
    if job.epoch != Some(draft.seen.epoch) {
        return Some(Write::Fence {
            kind: Kind::Job,
            base,
            epoch: draft.seen.epoch,
        });
    }
    Some(Write::ReleaseJob { base })
}
