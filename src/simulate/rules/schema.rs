//! The database: schema first, every phase once, removal last.

use std::sync::Arc;

use crate::{
    api::{
        Approval, DatabaseRecord, PhaseKind,
        database::{Holder, VersionRecord},
        release::Release,
        schema::KeptBy,
    },
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
    let dirty = record_of(world, job).and_then(|r| r.dirty.as_ref());
    if let Some(dirty) = dirty.filter(|_| job.phase != Some(PhaseKind::Backfill)) {
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

/// What is on record as succeeded counts for good, unless a revert takes it back.
pub(super) fn succeeded(ledger: &mut Ledger, database: &str, record: &DatabaseRecord) {
    let expands = record.phases.iter();
    for done in expands.filter(|p| p.phase == PhaseKind::Expand && p.succeeded) {
        let of = (
            database.to_owned(),
            done.rollout.clone(),
            done.revision.clone(),
        );
        match done.undone_by {
            None => ledger.expanded.insert(of),
            Some(_) => ledger.expanded.remove(&of),
        };
    }
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
    let Some(record) = record_of(world, job) else {
        return Err(format!("{name} is released without a record"));
    };
    let version = record.holder.as_ref().and_then(|h| h.version);
    let Some(version) = version else {
        return Err(format!("{name} is released for no version"));
    };
    if record.undo_floor < Some(version) {
        return Err(format!(
            "{name} is released before the undo floor is on record"
        ));
    }
    let below = world.live.pods.values().find(|pod| {
        version_of(world, &pod.rollout, &pod.revision)
            .is_some_and(|(database, of)| *database == *job.database && of < version)
    });
    if let Some(pod) = below {
        return Err(format!(
            "{name} is released while {} still runs",
            pod.meta.name
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
    if world
        .consumer
        .is_some_and(|needs| needs.is_none_or(|needs| needs < version))
    {
        return Err(format!(
            "{name} is released while CronJob nightly may need it"
        ));
    }
    let Some(known) = record.version(version) else {
        return Err(format!(
            "{name} is released for a version that is not on record"
        ));
    };
    if let Some(asked) = known.asks(PhaseKind::Contract)
        && asked.approval == Approval::Manual
    {
        let target = format!("{version}/contract/{}", asked.digest);
        let mut said = world.commands.iter();
        if !said.any(|c| c.verb == "approve" && c.revision == target) {
            return Err(format!("{name} is released, and nobody approved {target}"));
        }
        let files = world.ledger.approved.get(&target).into_iter().flatten();
        if !files
            .map(|f| &f.sha256)
            .eq(job.files.iter().map(|(_, hash)| hash))
        {
            return Err(format!(
                "{name} is released with other texts than those that were approved as {target}"
            ));
        }
    }
    proven(world, job, known)
}

/// What a backfill filled in was looked at after the last pod below its version was gone.
fn proven(world: &World, job: &JobObject, version: &VersionRecord) -> Result<(), String> {
    let Some(asked) = version.asks(PhaseKind::Backfill) else {
        return Ok(());
    };
    let name = &job.meta.name;
    let Some(done) = &version.backfilled else {
        return Err(format!(
            "{name} is released before the backfill of its version"
        ));
    };
    let key = (job.database.clone(), version.version);
    let last = world.ledger.last_below.get(&key);
    match last {
        // By the clock of whoever wrote it.
        Some(_) if world.ledger.clocks_jumped => Ok(()),
        Some(at) if asked.kept_by == KeptBy::Code && done.began.0 < *at => Err(format!(
            "{name} is released, and pods below its version ran at {at:.0}, after the backfill \
             began"
        )),
        _ => Ok(()),
    }
}

/// Remembers when pods below a version last ran on its database.
pub(super) fn note_below(world: &mut World) {
    let open = world.live.databases.values().flat_map(|d| {
        let versions = d.record.versions.iter().filter(|v| v.is_open());
        versions.map(|v| (d.meta.name.clone(), v.version))
    });
    let open: Vec<_> = open.collect();
    for (database, version) in open {
        let below = world.live.pods.values().any(|pod| {
            version_of(world, &pod.rollout, &pod.revision)
                .is_some_and(|(of, needs)| *of == *database && needs < version)
        });
        if below {
            world
                .ledger
                .last_below
                .insert((database, version), world.now);
        }
    }
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
    let mut revisions = world.live.revisions.values();
    let known = revisions.find(|r| &*r.rollout == rollout && &*r.revision == revision)?;
    let schema = known.schema.as_ref()?;
    Some((schema.database.clone(), schema.version?))
}
