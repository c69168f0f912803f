//! A DatabaseSchema in its own right: the end of a Job is recorded and the hold let go, whatever
//! became of the Rollout that took it.

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    facts::{JobEnd, JobFacts},
    intent::{Base, Event, Kind, Plan, Write},
    schema,
};
use crate::{
    api::{
        DatabaseRecord,
        database::{Dirty, Holder},
    },
    cluster::CachedDatabase,
};

/// Finished Jobs kept per database, for their logs.
const KEPT_JOBS: usize = 10;

/// What is to be done for one database now. `gone` is the Rollout of which a live read has shown
/// that it is no more, or names another database.
#[must_use]
pub fn plan(seen: &CachedDatabase, gone: Option<&str>, epoch: i64) -> Plan {
    let mut plan = Plan::default();
    match &seen.database.record.holder {
        Some(holder) => held(&mut plan, seen, holder, gone, epoch),
        None => tidy(&mut plan, seen),
    }
    plan
}

fn held(plan: &mut Plan, seen: &CachedDatabase, holder: &Holder, gone: Option<&str>, epoch: i64) {
    let job = seen
        .jobs
        .iter()
        .find(|j| j.name == holder.job && holder.job_uid.as_ref().is_none_or(|uid| *uid == j.uid));
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
    if seen.database.deleting && holder.job_uid.is_some() && job.is_none() {
        // Whoever deletes the database's memory, or its whole namespace, waits for a Job that runs;
        // for one that is gone nobody could ever say how it ended.
        let mut record = (*seen.database.record).clone();
        record.holder = None;
        plan.notes.push(format!(
            "Job {} is gone and so will this be: its hold is let go",
            holder.job
        ));
        plan.writes.push(write(seen, record));
        return;
    }
    if !seen.rollouts.contains_key(&holder.rollout)
        && let Some(write) = schema::let_go(&seen.database, holder, job, epoch)
    {
        if gone != Some(&holder.rollout) {
            // It may be too new for the cache.
            plan.confirm = Some(holder.rollout.clone());
            return;
        }
        plan.notes.push(format!(
            "Rollout {} is gone: its hold is let go",
            holder.rollout
        ));
        plan.writes.push(write);
    }
}

fn record_end(plan: &mut Plan, seen: &CachedDatabase, holder: &Holder, end: &JobEnd) {
    let succeeded = end.succeeded;
    let mut record = (*seen.database.record).clone();
    record.holder = None;
    let message = match succeeded {
        true => String::new(),
        false => end.message.clone(),
    };
    schema::keep_phase(&mut record, holder.ended(succeeded, Time(end.at), message));
    record.dirty = (!succeeded).then(|| Dirty {
        rollout: holder.rollout.clone(),
        revision: holder.revision.clone(),
        phase: holder.phase,
        attempt: holder.attempt,
        job: holder.job.clone(),
        since: Time(end.at),
    });
    let phase = holder.phase.word();
    plan.notes.push(format!(
        "{phase} of {} revision {} attempt {} {}",
        holder.rollout,
        holder.revision,
        holder.attempt,
        if succeeded { "succeeded" } else { "failed" }
    ));
    if !succeeded {
        plan.events.push(Event {
            reason: "PhaseFailed",
            message: format!(
                "{phase} of Rollout {} revision {} failed in Job {}: {}",
                holder.rollout, holder.revision, holder.job, end.message
            ),
            warning: true,
        });
    }
    plan.writes.push(write(seen, record));
}

/// Old finished Jobs go; the record keeps how they ended.
fn tidy(plan: &mut Plan, seen: &CachedDatabase) {
    let recorded = |job: &JobFacts| {
        seen.database
            .record
            .phases
            .iter()
            .any(|phase| phase.job == job.name)
    };
    let mut finished: Vec<_> = seen
        .jobs
        .iter()
        .filter(|job| !job.deleting && job.live_pods == 0 && recorded(job))
        .filter_map(|job| job.ended.as_ref().map(|end| (end.at, job)))
        .collect();
    finished.sort_by_key(|(at, job)| (Reverse(*at), job.name.clone()));
    plan.writes.extend(
        finished
            .into_iter()
            .skip(KEPT_JOBS)
            .map(|(_, job)| delete(job)),
    );
}

fn write(seen: &CachedDatabase, record: DatabaseRecord) -> Write {
    Write::RecordDatabase {
        base: schema::base(&seen.database),
        record: Box::new(record),
    }
}

fn delete(job: &JobFacts) -> Write {
    Write::Delete {
        kind: Kind::Job,
        base: Base {
            name: job.name.clone(),
            uid: job.uid.clone(),
            resource_version: job.resource_version.clone(),
        },
    }
}
