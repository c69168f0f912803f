//! The writes of a Job: one at a time per database, each released at most once.
//!
//! Take the hold (a compare-and-swap on the DatabaseSchema), create the Job suspended, record its
//! uid, release it, record its end, let the hold go. Whatever crashes in between, the next pass
//! reads from the record and the Job what comes next. The last two are the database's own (see
//! [`crate::plan::database`]).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Turn, has_vanished, job_of, pod, preflight,
    recorded::KEPT_PHASES,
    rests_on_caches,
    summary::{still_waits, sum_up},
    terms::{self, Failure},
};
use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{Holder, PhaseRecord, Waiting},
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

/// The next write of the protocol, if there is one to make now.
///
/// # Errors
/// What must be known first.
pub(in crate::plan) fn drive(draft: &Draft<'_>, turn: &Turn<'_>) -> Result<Option<Write>, Halt> {
    let Some(name) = turn.asked(draft) else {
        return Ok(None);
    };
    let Some(database) = &draft.seen.objects.database else {
        return Ok(Some(Write::Create {
            kind: Kind::Database,
            manifest: render::database(draft, name),
        }));
    };
    let record = &database.record;
    let holder = record.held_for(turn.phase());
    let ours = holder.is_some_and(|h| turn.is_of(draft, h));
    let over = turn
        .ended(draft, record)
        .is_some_and(|p| p.succeeded || (!ours && p.attempt >= turn.job.attempt));
    if database.deleting || over {
        return Ok(None);
    }
    let makes_a_job = draft.spec.problem().is_none() || !turn.is_of_the_spec(draft);
    let Some(holder) = holder else {
        let free = makes_a_job
            && turn.kept_out_by(record).is_none()
            && turn.left_dirty(record).is_none()
            && preflight::lets_begin(draft, turn)
            && turn.is_usable(draft)?;
        return Ok(free.then(|| take_hold(draft, database, turn)));
    };
    if rests_on_caches(draft, holder) {
        return Ok(None);
    }
    Ok(match job_of(draft, holder) {
        Some(job) if ours => advance(draft, database, holder, job),
        // Others wait for the database meanwhile.
        None if ours && holder.job_uid.is_none() && turn.forbidden(draft).is_some() => {
            return Ok(let_go(database, holder, None, draft.seen.epoch));
        }
        None if ours && holder.job_uid.is_none() && makes_a_job => {
            let manifest = match turn.source(draft)? {
                Some((template, schema)) if turn.is_asked(template, schema) => {
                    if !turn.is_usable(draft)? {
                        return Ok(None);
                    }
                    let hashes = turn.hashes(draft)?;
                    render::job(draft, template, schema, holder, database, &hashes)
                }
                // It was changed after the database was taken for it: nothing has run.
                Some(_) => return Ok(let_go(database, holder, None, draft.seen.epoch)),
                None => None,
            };
            manifest.map(|manifest| Write::Create {
                kind: Kind::Job,
                manifest,
            })
        }
        // It vanished, and a person has said to run it again.
        None if has_vanished(draft, holder) && turn.may_take_over(draft, holder) => {
            let may = makes_a_job
                && turn.forbidden(draft).is_none()
                && preflight::lets_begin(draft, turn);
            may.then(|| take_hold(draft, database, turn))
        }
        _ => None,
    })
}

/// What the pod of a phase will not have of the Rollout's own pods, where this write takes the database
/// for it: it is said before its Job is made.
///
/// # Errors
/// What must be known first.
pub(in crate::plan) fn left_out(
    draft: &Draft<'_>,
    turn: &Turn<'_>,
    write: Option<&Write>,
) -> Result<Option<String>, Halt> {
    let Some(Write::RecordDatabase { record, .. }) = write else {
        return Ok(None);
    };
    let name = turn.name(draft);
    let held = |record: &DatabaseRecord| {
        let holder = record.held_for(turn.phase());
        holder.is_some_and(|holder| holder.job == name)
    };
    let database = draft.seen.objects.database.as_ref();
    if !held(record) || database.is_some_and(|d| held(&d.record)) {
        return Ok(None);
    }
    let Some((template, schema)) = turn.source(draft)? else {
        return Ok(None);
    };
    let sql = schema.runs_sql(turn.phase());
    let phase = schema.phase(turn.phase());
    if !sql && phase.is_none_or(|phase| phase.command.is_empty()) {
        return Ok(None);
    }
    let left = pod::left_out(template, &draft.spec.selector, schema, sql);
    Ok((!left.is_empty()).then(|| {
        format!(
            "the {} runs in Job {name} without {}: what it needs of that, give it in \
             spec.schema.job (keepContainers, labels)",
            turn.phase().word(),
            left.join(", ")
        )
    }))
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
        // Gone, and has changed nothing.
        (None, Some(_)) if terms::only_looks(holder.phase) => {
            *record.place_of(holder.phase) = None;
            return Some(record_write(database, record));
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
            *record.place_of(holder.phase) = None;
            if holder.phase == PhaseKind::Contract {
                // Nothing was removed.
                record.lower_floor(holder.floor_before);
            }
            for phase in &mut record.phases {
                // Nothing was taken back.
                phase.undone_by.take_if(|by| *by == holder.job);
            }
            return Some(record_write(database, record));
        }
    };
    *record.place_of(holder.phase) = Some(Holder {
        job_uid,
        ..holder.clone()
    });
    Some(record_write(database, record))
}

/// The next write that lets go a hold of this Rollout that no release of it needs any more. What
/// runs for a version is not a release's.
pub(in crate::plan) fn let_go_of_abandoned(draft: &Draft<'_>) -> Option<Write> {
    let database = draft.seen.objects.database.as_ref()?;
    database.record.holders().find_map(|holder| {
        let needed = |release: &Release| {
            release.is_before_its_pods()
                && Turn::of_release(draft, release, holder.phase).is_of(draft, holder)
        };
        let of_release = !terms::is_after_release(holder.phase);
        let needed = draft.status.release.as_ref().is_some_and(needed);
        if holder.rollout != draft.name() || !of_release || needed {
            return None;
        }
        let_go_of(draft, database, holder)
    })
}

/// The next write that lets go this hold of this Rollout, where its Job was never released.
pub(in crate::plan) fn let_go_of(
    draft: &Draft<'_>,
    database: &DatabaseFacts,
    holder: &Holder,
) -> Option<Write> {
    if rests_on_caches(draft, holder) {
        return None;
    }
    let_go(database, holder, job_of(draft, holder), draft.seen.epoch)
}

/// Puts the end of a phase on record.
pub(in crate::plan) fn keep_phase(record: &mut DatabaseRecord, phase: PhaseRecord) {
    while record.phases.len() >= KEPT_PHASES {
        // What only looked goes first: nothing rests on it once its release has ended.
        let mut phases = record.phases.iter();
        let looked = phases.position(|known| terms::only_looks(known.phase));
        record.phases.remove(looked.unwrap_or(0));
    }
    record.phases.push(phase);
}

/// What waits, as it goes on this record: the lowest versions, which the others wait for.
pub(in crate::plan) fn in_order(
    record: &DatabaseRecord,
    waiting: impl Iterator<Item = Waiting>,
) -> Vec<Waiting> {
    const KEPT: usize = 16;
    let mut waiting: Vec<_> = waiting.filter(|w| still_waits(record, w)).collect();
    waiting.sort_by_key(|w| w.version);
    waiting.truncate(KEPT);
    waiting
}

/// Writes a record, with the finalizer that belongs to it and what people read of it in short.
pub(in crate::plan) fn record_write(database: &DatabaseFacts, mut record: DatabaseRecord) -> Write {
    sum_up(&mut record);
    let mut finalizers = database.finalizers.clone();
    finalizers.retain(|finalizer| finalizer != keys::HELD);
    if record.holders().next().is_some() {
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
    let (phase, attempt) = (turn.job.phase, turn.job.attempt);
    let version = turn.version(draft);
    let mut record = (*database.record).clone();
    give_up_gone(&mut record, phase, Time(draft.now));
    // Also where a contract is run again: the Job that is gone may have removed something.
    let floor_before = record.undo_floor;
    if phase == PhaseKind::Contract {
        // Before its Job runs: whoever begins something below it from now on is refused.
        record.undo_floor = record.undo_floor.max(version);
        if let Some(version) = version.and_then(|version| record.version_mut(version)) {
            let asked = version.asks(phase);
            let asked = asked.map_or_else(Vec::new, |asked| asked.flags.clone());
            // A contract that is run again asks for others, maybe: the first may have removed what
            // users need without its own.
            for flag in asked {
                let frozen = &mut version.frozen_flags;
                if !frozen.contains(&flag) {
                    frozen.push(flag);
                }
            }
        }
    }
    if let Some(taken) = terms::of(phase).takes_back.filter(|_| version.is_some()) {
        // Before its Job runs, too: from now on nothing rests on what it takes back.
        let name = turn.name(draft);
        let phases = record.phases.iter_mut();
        for known in phases.filter(|p| p.phase == taken && p.version == version) {
            known.undone_by.get_or_insert(name.clone());
        }
    }
    if phase == PhaseKind::Expand {
        // A revert of what it adds would have to be asked for anew. What a person has dropped is
        // not run after all.
        record
            .versions
            .retain(|v| v.stable_since.is_some() || v.dropped || Some(v.version) != version);
    }
    *record.place_of(phase) = Some(Holder {
        rollout: draft.name().to_owned(),
        revision: turn.revision().to_owned(),
        version,
        phase,
        attempt,
        job: turn.name(draft),
        job_uid: None,
        since: Time(draft.now),
        floor_before: floor_before.filter(|_| phase == PhaseKind::Contract),
    });
    record_write(database, record)
}

/// The hold of a Job that is gone ends, as a person has said. What it left is still to be minded:
/// whatever takes the database next may change nothing, and say nothing of that.
pub(in crate::plan) fn give_up_gone(record: &mut DatabaseRecord, place: PhaseKind, now: Time) {
    let Some(gone) = record.place_of(place).take() else {
        return;
    };
    if terms::of(gone.phase).failure == Failure::Dirty {
        record.leave_dirty(gone.left_dirty(gone.since.clone()));
    }
    let message = "its Job was gone before its end was seen, and a retry went on without it";
    keep_phase(record, gone.ended(false, now, message.into()));
}

fn advance(
    draft: &Draft<'_>,
    database: &DatabaseFacts,
    holder: &Holder,
    job: &JobFacts,
) -> Option<Write> {
    // It is followed to its end, also where the record is older than it: whoever let it run.
    if holder.job_uid.is_none() && (job.has_begun() || !job.deleting) {
        let mut record = (*database.record).clone();
        *record.place_of(holder.phase) = Some(Holder {
            job_uid: Some(job.base.uid.clone()),
            ..holder.clone()
        });
        return Some(record_write(database, record));
    }
    // One that has begun is not let run again, whoever suspended it.
    if job.has_begun() || job.deleting {
        return None;
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
