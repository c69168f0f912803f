//! A DatabaseSchema in its own right: the end of a Job is recorded and the hold let go, whatever
//! became of the Rollout that took it.

mod baseline;
mod floor;
mod people;

use std::{cmp::Reverse, collections::BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    facts::{DatabaseObjects, JobEnd, JobFacts, Question},
    intent::{Event, Kind, Plan, Write},
    job::{
        self, protocol,
        terms::{self, Failure, Runs},
    },
    reason::Reason,
};
use crate::api::{
    DatabaseRecord, PhaseKind,
    database::{Dirty, Done, Holder, Missing, PhaseRecord, Waiting},
    keys,
};

/// Finished Jobs kept per database, for their logs.
const KEPT_JOBS: usize = 10;

/// What live reads of this pass have shown.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The Rollouts of these names are no more, or name another database.
    pub gone: BTreeSet<String>,
    /// The DatabaseSchema of this uid had these holders, and their Jobs were read then.
    pub hold: Option<(String, Vec<Holder>)>,
}

/// What is to be done for one database now.
#[must_use]
pub fn plan(seen: &DatabaseObjects, shown: &Shown, now: Timestamp, epoch: i64) -> Plan {
    let mut plan = Plan::default();
    let record = &seen.database.record;
    for holder in record.holders() {
        held(&mut plan, seen, holder, shown, epoch);
        if !plan.questions.is_empty() || !plan.writes.is_empty() {
            return plan;
        }
    }
    if record.holders().next().is_none() && seen.database.deleting {
        held_by_nobody(&mut plan, seen);
    } else if let Some(said) = people::take(seen, now) {
        plan = said;
    } else if let Some(write) = ownerless(seen) {
        plan.writes.push(write);
    } else if record.holders().next().is_none() {
        tidy(&mut plan, seen);
    }
    plan
}

/// What is open of versions whose Rollout does not use the database any more waits for a person. What
/// others wait for they say themselves.
fn ownerless(seen: &DatabaseObjects) -> Option<Write> {
    if seen.database.deleting {
        return None;
    }
    let record = &seen.database.record;
    let name = &seen.database.base.name;
    let is_there = |rollout: &String| seen.rollouts.contains_key(rollout);
    let ownerless = record.versions.iter().filter(|v| !is_there(&v.rollout));
    let ownerless = ownerless.filter_map(|v| {
        let (number, rollout) = (v.version, &v.rollout);
        let phase = match v.lacks_backfill() {
            true => PhaseKind::Backfill,
            false => v.to_approve()?,
        };
        let missing = Missing {
            what: format!("Rollout {rollout}, which does not use this database any more"),
            note: None,
            command: Some(format!(
                "kubectl annotate databaseschema {name} --overwrite {}=\"{number} <id>\"",
                keys::DROP
            )),
        };
        Some(Waiting {
            version: number,
            rollout: rollout.clone(),
            phase,
            missing: vec![missing],
        })
    });
    let others = record.waiting.iter().filter(|w| is_there(&w.rollout));
    let waiting = protocol::in_order(record, others.cloned().chain(ownerless));
    (waiting != record.waiting).then(|| {
        let mut record = (**record).clone();
        record.waiting = waiting;
        protocol::record_write(&seen.database, record)
    })
}

fn held(plan: &mut Plan, seen: &DatabaseObjects, holder: &Holder, shown: &Shown, epoch: i64) {
    let job = job::job_among(&seen.jobs, &seen.database, holder);
    if let (
        Some(JobFacts {
            ended: Some(end),
            live_pods: 0,
            ..
        }),
        Some(_),
    ) = (job, &holder.job_uid)
    {
        // Only now: a pod that still runs could still change the schema.
        record_end(plan, seen, holder, end);
        return;
    }
    let deleting = seen.database.deleting;
    if !deleting && seen.rollouts.contains_key(&holder.rollout) {
        return;
    }
    // Whoever deletes the database's memory, or its whole namespace, waits for a Job that runs; for
    // one that is gone nobody could ever say how it ended.
    let vanished = deleting && holder.job_uid.is_some() && job.is_none();
    let write = if vanished {
        Some(without_holder(seen, holder.phase))
    } else {
        protocol::let_go(&seen.database, holder, job, epoch)
    };
    let Some(write) = write else { return };
    // The Rollout, or the Job, may be newer than its cache.
    if !deleting && !shown.gone.contains(&holder.rollout) {
        let rollout = Question::Rollout(holder.rollout.clone());
        plan.questions.push(rollout);
    }
    let known = |(uid, holders): &(String, Vec<Holder>)| {
        *uid == seen.database.base.uid && holders.contains(holder)
    };
    if !shown.hold.as_ref().is_some_and(known) {
        let hold = Question::Hold(seen.database.base.name.clone());
        plan.questions.push(hold);
    }
    if !plan.questions.is_empty() {
        return;
    }
    if lets_go(&write, holder.phase) {
        let job = &holder.job;
        let why = if vanished {
            format!("the DatabaseSchema is being deleted, and its Job {job} is gone")
        } else if deleting {
            format!("the DatabaseSchema is being deleted, and Job {job} never ran")
        } else {
            format!(
                "Rollout {} is gone, and Job {job} never ran",
                holder.rollout
            )
        };
        plan.notes.push(format!("{why}: nobody holds it any more"));
    }
    plan.writes.push(write);
}

fn lets_go(write: &Write, phase: PhaseKind) -> bool {
    matches!(write, Write::RecordDatabase { record, .. } if record.held_for(phase).is_none())
}

/// A person has taken the holder off the record, as is said where its Job is unknown, and not the
/// finalizer with it.
fn held_by_nobody(plan: &mut Plan, seen: &DatabaseObjects) {
    let database = &seen.database;
    let marked = database.finalizers.iter().any(|f| f == keys::HELD);
    if marked && !seen.jobs.iter().any(JobFacts::may_run) {
        let words = "the DatabaseSchema is being deleted, and nobody holds it: its finalizer goes";
        plan.notes.push(words.to_owned());
        let record = (*seen.database.record).clone();
        plan.writes
            .push(protocol::record_write(&seen.database, record));
    }
}

fn without_holder(seen: &DatabaseObjects, phase: PhaseKind) -> Write {
    let mut record = (*seen.database.record).clone();
    *record.place_of(phase) = None;
    protocol::record_write(&seen.database, record)
}

fn record_end(plan: &mut Plan, seen: &DatabaseObjects, holder: &Holder, end: &JobEnd) {
    let succeeded = end.succeeded;
    let mut record = (*seen.database.record).clone();
    *record.place_of(holder.phase) = None;
    let message = match succeeded {
        true => String::new(),
        false => end.message.clone(),
    };
    protocol::keep_phase(
        &mut record,
        PhaseRecord {
            nothing_applied: end.nothing_applied,
            refusal: end.refusal,
            sql: end.sql,
            ..holder.ended(succeeded, Time(end.at), message)
        },
    );
    let terms = terms::of(holder.phase);
    let touched = succeeded || !end.nothing_applied;
    if touched && terms.failure == Failure::Dirty {
        let left = holder.left_dirty(Time(end.at));
        match succeeded {
            true => put_right(&mut record, &left),
            false => record.leave_dirty(left),
        }
    }
    if succeeded {
        of_its_version(&mut record, holder, end);
    } else if holder.phase == PhaseKind::Contract && end.nothing_applied {
        // Before its next attempt stable is measured anew.
        let version = holder.version.and_then(|v| record.version_mut(v));
        version.into_iter().for_each(|v| v.stable_before = None);
        let number = holder.version.unwrap_or_default();
        // Unless an earlier attempt may have removed something.
        if let Ok(floor) = floor::lower(&mut record, number) {
            plan.events.push(Event {
                reason: Reason::FloorLowered,
                message: floor::words(number, floor),
                warning: false,
                undo: None,
                measured: None,
            });
        }
    }
    let phase = holder.phase.word();
    plan.notes.push(format!(
        "{phase} of {} revision {} attempt {} {}",
        holder.rollout,
        holder.revision,
        holder.attempt,
        if succeeded { "succeeded" } else { "failed" }
    ));
    if succeeded && terms.runs == Runs::AfterRelease {
        plan.events.push(Event {
            reason: terms.succeeded,
            message: format!(
                "{phase} of version {} succeeded in Job {}",
                holder.version.unwrap_or_default(),
                holder.job
            ),
            warning: false,
            undo: None,
            measured: None,
        });
    }
    if !succeeded {
        plan.events.push(Event {
            reason: Reason::PhaseFailed,
            message: format!(
                "{phase} of Rollout {} revision {} failed in Job {}: {}",
                holder.rollout, holder.revision, holder.job, end.message
            ),
            warning: true,
            undo: None,
            measured: None,
        });
    }
    plan.writes
        .push(protocol::record_write(&seen.database, record));
}

/// What this phase of this version did before is whole by now, and what it takes back is gone.
fn put_right(record: &mut DatabaseRecord, by: &Dirty) {
    let taken_back = terms::of(by.phase)
        .takes_back
        .filter(|_| by.version.is_some());
    let taken_back = taken_back.map(|phase| Dirty {
        phase,
        ..by.clone()
    });
    record.dirty.retain(|dirty| {
        let taken_back = taken_back.as_ref();
        !dirty.is_of_the_same(by) && !taken_back.is_some_and(|of| dirty.is_of_the_same(of))
    });
}

/// What succeeded for a version is kept for good.
fn of_its_version(record: &mut DatabaseRecord, holder: &Holder, end: &JobEnd) {
    let version = holder.version.and_then(|v| record.version_mut(v));
    let Some(version) = version.filter(|v| v.rollout == holder.rollout) else {
        return;
    };
    let done = Some(Done {
        attempt: holder.attempt,
        job: holder.job.clone(),
        began: holder.since.clone(),
        ended: Time(end.at),
        sql: end.sql,
    });
    match holder.phase {
        PhaseKind::Preflight | PhaseKind::Expand => {}
        PhaseKind::Revert => version.reverted = done,
        PhaseKind::Backfill => version.backfilled = done,
        PhaseKind::Contract => version.contracted = done,
    }
}

/// Old finished Jobs go; the record keeps how they ended.
fn tidy(plan: &mut Plan, seen: &DatabaseObjects) {
    let recorded = |job: &JobFacts| {
        seen.database
            .record
            .phases
            .iter()
            .any(|phase| phase.job == job.base.name)
    };
    let mut finished: Vec<_> = seen
        .jobs
        .iter()
        .filter(|job| !job.deleting && job.live_pods == 0 && recorded(job))
        .filter_map(|job| job.ended.as_ref().map(|end| (end.at, job)))
        .collect();
    finished.sort_by_key(|(at, job)| (Reverse(*at), job.base.name.clone()));
    plan.writes.extend(
        finished
            .into_iter()
            .skip(KEPT_JOBS)
            .map(|(_, job)| delete(job)),
    );
}

fn delete(job: &JobFacts) -> Write {
    Write::Delete {
        kind: Kind::Job,
        base: job.base.clone(),
    }
}
