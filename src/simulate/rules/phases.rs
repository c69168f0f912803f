//! What comes before an expand, and what takes it back.

use std::sync::Arc;

use jiff::SignedDuration;

use super::schema::{record_of, version_of};
use crate::{
    api::{Approval, DatabaseRecord, PhaseKind, status::Outcome},
    plan::intent::Write,
    simulate::{
        ledger::{Arrival, Happened},
        object::{JobObject, Name, Object, RevisionObject},
        world::World,
    },
};

/// *preflight* – a preflight leaves nothing behind and is tried again after a pause; no expand of a
/// version that is not expanded takes the database before the preflight of its release has passed.
pub(super) fn preflight(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    match (&*arrival.write, &arrival.before, &arrival.after) {
        (Write::RecordDatabase { record, base, .. }, Some(Object::Database(before)), _) => {
            let dirty = record.dirty.as_ref();
            if let Some(dirty) = dirty.filter(|dirty| dirty.phase == PhaseKind::Preflight) {
                return Err(format!("{} is Dirty by {}", base.name, dirty.job));
            }
            takes_the_database(world, arrival, &before.record, record)
        }
        (Write::ReleaseJob { .. }, _, Some(Object::Job(job)))
            if job.phase == Some(PhaseKind::Preflight) =>
        {
            pauses(world, job)
        }
        _ => Ok(()),
    }
}

fn takes_the_database(
    world: &World,
    arrival: &Arrival,
    before: &DatabaseRecord,
    after: &DatabaseRecord,
) -> Result<(), String> {
    let Some(holder) = after.holder.as_ref() else {
        return Ok(());
    };
    let held = before.holder.as_ref().is_some_and(|h| h.job == holder.job);
    if held || holder.phase != PhaseKind::Expand {
        return Ok(());
    }
    // By the spec and the release that whoever took it had before him.
    let schema = arrival.spec_seen().and_then(|spec| spec.schema.as_ref());
    let seen = arrival.seen.as_ref().map(|seen| &seen.rollout.status);
    let release = seen.and_then(|status| status.release.as_ref());
    let (Some(schema), Some(release)) = (schema, release) else {
        return Ok(());
    };
    if !schema.has_job(PhaseKind::Preflight) {
        return Ok(());
    }
    let expanded = before.phases.iter().any(|p| {
        let same = match holder.version {
            Some(_) => p.version == holder.version,
            None => p.rollout == holder.rollout && p.revision == holder.revision,
        };
        same && p.phase == PhaseKind::Expand && p.succeeded && p.undone_by.is_none()
    });
    let passed = before.phases.iter().any(|p| {
        let own = p.rollout == holder.rollout && p.revision == holder.revision;
        // Times are whole seconds, and those of the Job are another clock's.
        let fresh = world.ledger.clocks_jumped
            || p.ended.0 + SignedDuration::from_secs(1) >= release.started.0;
        own && p.phase == PhaseKind::Preflight && p.succeeded && fresh
    });
    if expanded || passed {
        return Ok(());
    }
    Err(format!(
        "{} takes the database, and the preflight of its release has not passed",
        holder.job
    ))
}

/// Seconds that a try comes after the end of the last one, at least.
const PAUSE: i64 = 4;

fn pauses(world: &World, job: &JobObject) -> Result<(), String> {
    let record = record_of(world, job);
    let phases = record.into_iter().flat_map(|record| &record.phases);
    let own = phases.filter(|p| {
        p.phase == PhaseKind::Preflight
            && *p.rollout == *job.rollout
            && *p.revision == *job.revision
    });
    // What an earlier release tried is no try of this one.
    let rollout = world.live.rollouts.get(&job.rollout);
    let release = rollout.and_then(|r| r.status.release.as_ref());
    let first = release.and_then(|r| r.job(PhaseKind::Preflight).first);
    let own = own.filter(|p| first.is_some_and(|first| p.attempt >= first));
    // One that somebody deleted has no end of its own.
    let failed = own.filter(|p| !p.succeeded && !p.message.contains("gone"));
    let said = |at| {
        world
            .commands
            .iter()
            .any(|c| c.verb == "retry" && c.at >= at)
    };
    match failed.map(|p| p.ended.0).max() {
        Some(ended)
            if !world.ledger.clocks_jumped
                && !said(ended)
                && world.now < ended + SignedDuration::from_secs(PAUSE) =>
        {
            Err(format!(
                "{} runs {} s after the last one has failed",
                job.meta.name,
                world.now.duration_since(ended).as_secs()
            ))
        }
        _ => Ok(()),
    }
}

/// *revert* – a revert runs only after its approval, where the version was never stable, and beside
/// no pod and no other workload that may need what it takes back.
pub(super) fn revert(world: &World, happened: &Happened) -> Result<(), String> {
    match happened {
        Happened::PodMade {
            rollout,
            revision,
            deployment,
        } => {
            let child = world.live.deployments.get(deployment);
            if child.is_some_and(|c| world.ledger.handled.contains(&c.meta.uid)) {
                return Ok(());
            }
            let Some((database, needs)) = version_of(world, rollout, revision) else {
                return Ok(());
            };
            let mut running = running(world, &database);
            match running.find(|(_, version)| *version <= needs) {
                Some((job, _)) => Err(format!(
                    "a pod of {deployment}, which needs version {needs}, is made while {job} runs"
                )),
                None => Ok(()),
            }
        }
        Happened::Arrived(arrival) if arrival.refused.is_none() => {
            match (&*arrival.write, &arrival.after) {
                (Write::ReleaseJob { .. }, Some(Object::Job(job)))
                    if job.phase == Some(PhaseKind::Revert) =>
                {
                    released(world, job)
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Reverts that may run on a database, each with its version.
fn running<'w>(world: &'w World, database: &'w str) -> impl Iterator<Item = (&'w Name, i64)> {
    let jobs = world.live.jobs.values();
    let reverts = jobs.filter(move |job| {
        job.phase == Some(PhaseKind::Revert) && *job.database == *database && job.may_run()
    });
    reverts.filter_map(|job: &Arc<JobObject>| {
        let (_, version) = version_of(world, &job.rollout, &job.revision)?;
        Some((&job.meta.name, version))
    })
}

fn released(world: &World, job: &JobObject) -> Result<(), String> {
    let name = &job.meta.name;
    let record = record_of(world, job);
    let version = record.and_then(|r| r.holder.as_ref()?.version);
    let (Some(record), Some(version)) = (record, version) else {
        return Err(format!("{name} is released for no version on record"));
    };
    let needs = |rollout: &str, revision: &str| {
        version_of(world, rollout, revision)
            .is_some_and(|(database, of)| *database == *job.database && of >= version)
    };
    let mut pods = world.live.pods.values();
    if let Some(pod) = pods.find(|pod| needs(&pod.rollout, &pod.revision)) {
        return Err(format!(
            "{name} is released while {} still runs",
            pod.meta.name
        ));
    }
    let mut revisions = world.live.revisions.values();
    // Whatever became of it since.
    let stable = |r: &RevisionObject| r.outcome == Some(Outcome::Stable) || r.number > 0;
    if let Some(known) = revisions.find(|r| stable(r) && needs(&r.rollout, &r.revision)) {
        return Err(format!(
            "{name} is released, and {} was stable",
            known.meta.name
        ));
    }
    let consumer = world.consumer;
    if consumer.is_some_and(|needs| needs.is_none_or(|needs| needs >= version)) {
        return Err(format!(
            "{name} is released while CronJob nightly may need what it takes back"
        ));
    }
    let kept = record.phases.iter().any(|p| {
        p.phase == PhaseKind::Expand && p.version == Some(version) && p.undone_by.is_none()
    });
    if kept {
        return Err(format!(
            "{name} is released while expands of version {version} still count"
        ));
    }
    let asked = record
        .version(version)
        .and_then(|v| v.asks(PhaseKind::Revert));
    let Some(asked) = asked else {
        return Err(format!("{name} is released, and no revert is on record"));
    };
    let target = format!("{version}/revert/{}", asked.digest);
    let mut said = world.commands.iter();
    if asked.approval == Approval::Manual
        && !said.any(|c| c.verb == "approve" && c.revision == target)
    {
        return Err(format!("{name} is released, and nobody approved {target}"));
    }
    Ok(())
}
