//! The database: schema first, every phase once, removal last.

use std::sync::Arc;

use crate::{
    api::{DatabaseRecord, PhaseKind, database::Holder},
    plan::intent::{Kind, Write},
    simulate::{
        ledger::{Happened, Ledger},
        object::{DatabaseObject, JobObject, Object},
        world::World,
    },
};

/// *schema-first* – no pod of a revision exists before its expand succeeded.
pub(super) fn schema_first(world: &World, happened: &Happened) -> Result<(), String> {
    let Happened::PodMade {
        rollout,
        revision,
        deployment,
    } = happened
    else {
        return Ok(());
    };
    let child = world.live.deployments.get(deployment);
    if child.is_some_and(|c| world.ledger.handled.contains(&c.meta.uid)) {
        return Ok(());
    }
    let known = world
        .live
        .revisions
        .values()
        .find(|r| r.rollout == *rollout && r.revision == *revision);
    let Some(schema) = known.and_then(|r| r.schema.as_ref()) else {
        return Ok(());
    };
    if schema.expand.is_none() {
        return Ok(());
    }
    // On record now, or before somebody deleted the record: pods are replaced while the expand runs
    // anew on another.
    let (rollout, revision) = (rollout.to_string(), revision.to_string());
    let expand = (schema.database.clone(), rollout, revision);
    if world.ledger.expanded.contains(&expand) {
        return Ok(());
    }
    Err(format!(
        "a pod of {deployment} is made, but its expand has not succeeded"
    ))
}

/// *once* – at most one Job is ever released per database, phase identity and attempt; the
/// attempt is raised only by a retry; a Job is never taken away before its result is on record, nor
/// a database let go while it runs.
pub(super) fn once(world: &World, happened: &Happened) -> Result<(), String> {
    let arrival = match happened {
        Happened::Arrived(arrival) if arrival.refused.is_none() => arrival,
        // In a restore it loses its owner to nobody's fault.
        Happened::JobCut(name) if !world.ledger.restored => {
            return Err(format!("{name} goes with its owner while it runs"));
        }
        _ => return Ok(()),
    };
    match (&*arrival.write, &arrival.before, &arrival.after) {
        (
            Write::Create {
                kind: Kind::Job, ..
            },
            _,
            Some(Object::Job(job)),
        ) if !job.suspended => Err(format!("{} is made running", job.meta.name)),
        (Write::ReleaseJob { .. }, _, Some(Object::Job(job))) if job.test.is_none() => {
            released(world, job, arrival.on_record.holder.as_ref())
        }
        (
            Write::Delete {
                kind: Kind::Job, ..
            },
            Some(Object::Job(job)),
            _,
        ) if job.test.is_none() => deleted(world, job),
        (Write::RecordDatabase { record, .. }, Some(Object::Database(before)), _) => {
            let_go(world, before, record)
        }
        _ => Ok(()),
    }
}

fn let_go(world: &World, before: &DatabaseObject, after: &DatabaseRecord) -> Result<(), String> {
    let Some(holder) = &before.record.holder else {
        return Ok(());
    };
    if after.holder.as_ref().is_some_and(|h| h.job == holder.job) {
        return Ok(());
    }
    let job = world.live.jobs.get(holder.job.as_str());
    let own = |job: &&Arc<JobObject>| match &holder.job_uid {
        Some(uid) => *job.meta.uid == **uid,
        None => job.meta.owner.as_ref() == Some(&before.meta.uid),
    };
    match job.filter(own).filter(|job| job.may_run()) {
        Some(job) => Err(format!(
            "{} is let go while {} runs",
            job.database, job.meta.name
        )),
        None => Ok(()),
    }
}

fn record_of<'w>(world: &'w World, job: &JobObject) -> Option<&'w DatabaseRecord> {
    world.live.databases.get(&job.database).map(|d| &*d.record)
}

/// `then` held the database when the release was sent: a hold that is being let go has lost the
/// uid by the time a late release arrives, and follows the Job to its end all the same.
fn released(world: &World, job: &JobObject, then: Option<&Holder>) -> Result<(), String> {
    let name = &job.meta.name;
    let holder = record_of(world, job).and_then(|r| r.holder.as_ref());
    let Some(holder) = holder else {
        return Err(format!(
            "{name} is released, but nobody holds {}",
            job.database
        ));
    };
    let is_of = |h: &Holder| h.job_uid.as_deref() == Some(&*job.meta.uid);
    let let_go = holder.job_uid.is_none() && *holder.job == *job.meta.name;
    let held = is_of(holder) || let_go && then.is_some_and(is_of);
    if !held {
        return Err(format!(
            "{name} is released, but {} is held for {}",
            job.database, holder.job
        ));
    }
    if let Some(uid) = world.ledger.released.get(&identity(job, holder.attempt))
        && *uid != job.meta.uid
    {
        return Err(format!(
            "a second Job is released for attempt {}: {name}",
            holder.attempt
        ));
    }
    if let Some(dirty) = record_of(world, job).and_then(|r| r.dirty.as_ref()) {
        let since = dirty.since.0;
        let mut commands = world.commands.iter();
        if !commands.any(|c| c.verb == "retry" && c.rollout == job.rollout && c.at >= since) {
            return Err(format!(
                "{name} is released, but {} was left half-way and nobody has said retry since",
                job.database
            ));
        }
    }
    let running = world.live.jobs.values().find(|other| {
        other.database == job.database && other.meta.uid != job.meta.uid && other.may_run()
    });
    if let Some(other) = running {
        return Err(format!(
            "{name} is released while {} still runs",
            other.meta.name
        ));
    }
    let retries = world.commands.iter();
    let retries = retries
        .filter(|c| c.verb == "retry" && c.rollout == job.rollout)
        .count();
    let allowed = i64::try_from(retries).unwrap_or(i64::MAX).saturating_add(1);
    if holder.attempt > allowed {
        return Err(format!(
            "{name} is attempt {}, but retry was said {retries} times",
            holder.attempt
        ));
    }
    Ok(())
}

fn deleted(world: &World, job: &JobObject) -> Result<(), String> {
    let name = &job.meta.name;
    if job.may_run() {
        return Err(format!("{name} is deleted while it runs"));
    }
    let on_record = record_of(world, job).is_some_and(|r| r.phases.iter().any(|p| p.job == **name));
    if !job.suspended && !on_record {
        return Err(format!("{name} is deleted before its result is on record"));
    }
    Ok(())
}

type Identity = (
    crate::simulate::object::Name,
    crate::simulate::object::Name,
    crate::simulate::object::Name,
    Option<PhaseKind>,
    i64,
);

fn identity(job: &JobObject, attempt: i64) -> Identity {
    (
        job.database.clone(),
        job.rollout.clone(),
        job.revision.clone(),
        job.phase,
        attempt,
    )
}

pub(super) fn enter(world: &mut World, job: &JobObject) {
    let holder = record_of(world, job).and_then(|r| r.holder.as_ref());
    if let Some(attempt) = holder.map(|h| h.attempt) {
        let ledger: &mut Ledger = &mut world.ledger;
        ledger
            .released
            .insert(identity(job, attempt), job.meta.uid.clone());
    }
}

/// What is on record as succeeded counts for good.
pub(super) fn succeeded(ledger: &mut Ledger, database: &str, record: &DatabaseRecord) {
    let expands = record.phases.iter();
    let expands = expands.filter(|p| p.phase == PhaseKind::Expand && p.succeeded);
    ledger.expanded.extend(expands.map(|p| {
        let of = (p.rollout.clone(), p.revision.clone());
        (database.to_owned(), of.0, of.1)
    }));
}

/// *contract-last* – a contract is released only when no pod of a lower version is left on the
/// database and the floor is on record; after it no revision below the floor gets pods.
pub(super) fn contract_last(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    match (&*arrival.write, &arrival.before, &arrival.after) {
        (Write::ReleaseJob { .. }, _, Some(Object::Job(job)))
            if job.phase == Some(PhaseKind::Contract) =>
        {
            contract_released(world, job)
        }
        (Write::Scale { to, .. }, Some(Object::Deployment(before)), _) if *to > before.replicas => {
            let version = version_of(world, &before.rollout, &before.revision);
            let Some((database, version)) = version else {
                return Ok(());
            };
            let floor = world
                .live
                .databases
                .get(database.as_str())
                .and_then(|d| d.record.undo_floor);
            match floor {
                Some(floor) if version < floor => Err(format!(
                    "{} of version {version} gets pods, the undo floor is {floor}",
                    before.meta.name
                )),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn contract_released(world: &World, job: &JobObject) -> Result<(), String> {
    let name = &job.meta.name;
    let Some(record) = record_of(world, job) else {
        return Err(format!("{name} is released without a record"));
    };
    let version = record.holder.as_ref().and_then(|h| h.version);
    if record.undo_floor < version {
        return Err(format!(
            "{name} is released before the undo floor is on record"
        ));
    }
    let below = world.live.pods.values().find(|pod| {
        version_of(world, &pod.rollout, &pod.revision)
            .is_some_and(|(database, of)| *database == *job.database && Some(of) < version)
    });
    match below {
        Some(pod) => Err(format!(
            "{name} is released while {} still runs",
            pod.meta.name
        )),
        None => Ok(()),
    }
}

fn version_of(world: &World, rollout: &str, revision: &str) -> Option<(String, i64)> {
    let mut revisions = world.live.revisions.values();
    let known = revisions.find(|r| &*r.rollout == rollout && &*r.revision == revision)?;
    let schema = known.schema.as_ref()?;
    Some((schema.database.clone(), schema.version?))
}
