//! The phases of a database: each once, and in their order. What is in the database is judged beside
//! (see [`super::tables`]).

use std::sync::Arc;

use crate::{
    api::{DatabaseRecord, PhaseKind, database::Holder, release::Release},
    plan::{
        adopting,
        intent::{Kind, Write},
    },
    simulate::{
        ledger::{Happened, Ledger},
        object::{DatabaseObject, JobObject, Object},
        world::World,
    },
};

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
    for holder in before.record.holders() {
        if after.holders().any(|h| h.job == holder.job) {
            continue;
        }
        let job = world.live.jobs.get(holder.job.as_str());
        let own = |job: &&Arc<JobObject>| match &holder.job_uid {
            Some(uid) => *job.meta.uid == **uid,
            None => job.meta.owner.as_ref() == Some(&before.meta.uid),
        };
        if let Some(job) = job.filter(own).filter(|job| job.may_run()) {
            return Err(format!(
                "{} is let go while {} runs",
                job.database, job.meta.name
            ));
        }
    }
    Ok(())
}

pub(super) fn record_of<'w>(world: &'w World, job: &JobObject) -> Option<&'w DatabaseRecord> {
    world.live.databases.get(&job.database).map(|d| &*d.record)
}

/// `then` held the database when the release was sent: a hold that is being let go has lost the
/// uid by the time a late release arrives, and follows the Job to its end all the same.
fn released(world: &World, job: &JobObject, then: Option<&Holder>) -> Result<(), String> {
    let name = &job.meta.name;
    let holder = record_of(world, job).and_then(|r| r.held_for(job.phase?));
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
    let dirty = record_of(world, job).into_iter().flat_map(|r| &r.dirty);
    let dirty = dirty.filter(|_| job.phase != Some(PhaseKind::Backfill));
    if let Some(since) = dirty.map(|dirty| dirty.since.0).max() {
        let mut commands = world.commands.iter();
        if !commands.any(|c| c.verb == "retry" && c.rollout == job.rollout && c.at >= since) {
            return Err(format!(
                "{name} is released, but {} was left half-way and nobody has said retry since",
                job.database
            ));
        }
    }
    let running = world.live.jobs.values().find(|other| {
        // A backfill runs beside an expand and its preflight, and beside nothing else.
        let both = [other.phase, job.phase];
        let beside = both.contains(&Some(PhaseKind::Backfill))
            && (both.contains(&Some(PhaseKind::Expand))
                || both.contains(&Some(PhaseKind::Preflight)));
        other.database == job.database
            && other.meta.uid != job.meta.uid
            && other.may_run()
            && !beside
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
    // A backfill is repeated once nobody is left below its version.
    let proofs = record_of(world, job).map_or(0, |record| {
        let done = record.phases.iter().filter(|p| {
            p.phase == PhaseKind::Backfill && p.version == holder.version && p.succeeded
        });
        done.count()
    });
    // What was taken back runs again.
    let undone = record_of(world, job).map_or(0, |record| {
        let undone = record.phases.iter().filter(|p| {
            Some(p.phase) == job.phase && p.version == holder.version && p.undone_by.is_some()
        });
        undone.count()
    });
    let again = match job.phase {
        Some(PhaseKind::Backfill) => proofs,
        // It is tried again by itself: see its own rule.
        Some(PhaseKind::Preflight) => return Ok(()),
        _ => undone,
    };
    let allowed = i64::try_from(retries + again)
        .unwrap_or(i64::MAX)
        .saturating_add(1);
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
    let holder = record_of(world, job).and_then(|r| r.held_for(job.phase?));
    if let Some(attempt) = holder.map(|h| h.attempt) {
        let ledger: &mut Ledger = &mut world.ledger;
        ledger
            .released
            .insert(identity(job, attempt), job.meta.uid.clone());
    }
}

/// *contract-last* – the floor is on record before a contract is released; from then on no revision
/// below it gets pods.
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
        (
            Write::Scale { to, .. } | Write::Resize { to, .. },
            Some(Object::Deployment(before)),
            _,
        ) if *to > before.replicas => {
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
    let record = record_of(world, job);
    let Some(version) = record.and_then(|r| r.holder.as_ref()?.version) else {
        return Err(format!("{name} is released for no version on record"));
    };
    if record.and_then(|r| r.undo_floor) < Some(version) {
        return Err(format!(
            "{name} is released before the undo floor is on record"
        ));
    }
    // Whoever raises it runs code of which nobody knows what it needs.
    let moved = world.live.rollouts.values().find_map(|rollout| {
        let spec = rollout.spec.as_deref().ok()?;
        let adopted = rollout.status.adopted.as_ref()?;
        let there = world.live.deployments.get(adopted.deployment.as_str())?;
        let moved = adopting::stable(&rollout.status).is_none() && *adopted.uid == *there.meta.uid;
        (moved && spec.database() == Some(&*job.database)).then(|| there.meta.name.clone())
    });
    if let Some(moved) = moved {
        return Err(format!("{name} is released while {moved} is still there"));
    }
    Ok(())
}

/// *backfill-first* – no revision gets its first pod while a lower version of its own Rollout,
/// which became stable, lacks its backfill.
pub(super) fn backfill_first(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let enters = |release: Option<&Release>| release.is_some_and(|r| r.step().is_some());
    if enters(before.status.release.as_ref()) || !enters(after.release.as_ref()) {
        return Ok(());
    }
    let Some(release) = &after.release else {
        return Ok(());
    };
    let name = &before.meta.name;
    let Some((database, version)) = version_of(world, name, &release.revision) else {
        return Ok(());
    };
    let record = world.live.databases.get(database.as_str());
    let mut versions = record.into_iter().flat_map(|d| &d.record.versions);
    let open = versions.find(|v| {
        v.rollout == **name
            && v.version < version
            && v.lacks_backfill()
            && v.stable_since
                .as_ref()
                .is_some_and(|at| at.0 < arrival.sent)
    });
    match open {
        Some(open) => Err(format!(
            "pods of version {version} are to start, and version {} lacks its backfill",
            open.version
        )),
        None => Ok(()),
    }
}

pub(super) fn version_of(world: &World, rollout: &str, revision: &str) -> Option<(String, i64)> {
    let known = world.live.revision(rollout, revision)?;
    let schema = known.schema.as_ref()?;
    Some((schema.database.clone(), schema.version?))
}

/// *dirty* – what a phase has left half-way goes off the record only when that phase of that version
/// succeeds, or the one that takes it back or does it anew; or a person says so.
pub(super) fn dirty(_: &World, happened: &Happened) -> Result<(), String> {
    let Some((record, before)) = happened.database_recorded() else {
        return Ok(());
    };
    let before = &before.record;
    let said = record.commands.iter().any(|now| {
        let known = before.commands.iter();
        let by = ["clean", "baseline"].contains(&now.command.as_str());
        by && now.result == "Done"
            && !known
                .clone()
                .any(|c| c.command == now.command && c.id == now.id)
    });
    for left in before
        .dirty
        .iter()
        .filter(|left| !record.dirty.contains(left))
    {
        let of = |version: Option<i64>, rollout: &str| {
            version == left.version && (version.is_some() || rollout == left.rollout)
        };
        let again = |phase: PhaseKind| match left.phase {
            PhaseKind::Expand | PhaseKind::Revert if left.version.is_some() => {
                matches!(phase, PhaseKind::Expand | PhaseKind::Revert)
            }
            own => phase == own,
        };
        let succeeded = record.phases.iter().any(|p| {
            let new = !before.phases.contains(p);
            new && p.succeeded && again(p.phase) && of(p.version, &p.rollout)
        });
        let mut now = record.dirty.iter();
        let failed = now.any(|d| d.phase == left.phase && of(d.version, &d.rollout));
        if !said && !succeeded && !failed {
            return Err(format!(
                "what {} has left half-way is forgotten, and nobody has put it right",
                left.job
            ));
        }
    }
    Ok(())
}
