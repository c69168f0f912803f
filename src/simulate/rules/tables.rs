//! What is in a database: nothing that is needed is missing or removed, no row is lost, and nothing
//! runs that was not approved.

use jiff::{SignedDuration, Timestamp};

use super::schema::record_of;
use crate::{
    api::{Approval, DatabaseRecord, PhaseKind},
    plan::intent::Write,
    simulate::{
        ledger::{Arrival, Happened, Ledger},
        object::{DatabaseObject, JobObject, Name, Object, PodObject},
        tables::{Code, Column},
        world::World,
    },
};

/// *schema-first* – no pod runs on a schema that lacks what it needs.
pub(super) fn schema_first(world: &World, happened: &Happened) -> Result<(), String> {
    let Happened::PodMade { pod, deployment } = happened else {
        return Ok(());
    };
    let child = world.live.deployments.get(deployment);
    if child.is_some_and(|c| world.ledger.handled.contains(&c.meta.uid)) {
        return Ok(());
    }
    let Some(code) = world.code.get(pod) else {
        return Ok(());
    };
    let tables = world.tables.get(&code.database);
    let lacks = match tables {
        Some(tables) => tables.lacks(code),
        None => (!code.needs.is_empty()).then(|| "nothing was expanded".to_owned()),
    };
    match lacks {
        Some(why) => Err(format!("a pod of {deployment} is made, but {why}")),
        None => Ok(()),
    }
}

/// The Job of a phase that was just let run.
fn released(happened: &Happened) -> Option<(&Arrival, &JobObject)> {
    let arrival = happened.accepted()?;
    match (&*arrival.write, &arrival.after) {
        (Write::ReleaseJob { .. }, Some(Object::Job(job))) if job.phase.is_some() => {
            Some((arrival, job))
        }
        _ => None,
    }
}

/// *needed* – nothing is removed that a pod, a workload of somebody else, a release in motion or its
/// way back needs.
pub(super) fn needed(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, job)) = released(happened) else {
        return Ok(());
    };
    let name = &job.meta.name;
    let tables = world.tables.get(&job.database);
    let Some(taken) = tables.and_then(|tables| tables.taken_by(&job.meta.uid)) else {
        return Ok(());
    };
    let hurts =
        |code: &Code| code.database == job.database && taken.iter().any(|column| code.uses(column));
    // Whoever scales a Deployment by hand may come after it was looked.
    let is_late = |pod: &PodObject| {
        let owner = pod.meta.owner.as_ref();
        pod.meta.created > arrival.sent
            && owner.is_some_and(|uid| world.ledger.handled.contains(uid))
    };
    let pods = world.live.pods.values().filter(|pod| !is_late(pod));
    for pod in pods {
        if world.code.get(&pod.meta.name).is_some_and(hurts) {
            return Err(format!(
                "{name} is released, and removes what {} needs",
                pod.meta.name
            ));
        }
    }
    let changed = world.ledger.consumer_changed;
    let consumer = world.consumer.filter(|_| changed < Some(arrival.sent));
    if let Some(version) = consumer {
        let needs = version.map(Column::Of);
        let code = Code {
            database: job.database.clone(),
            version,
            needs: needs.into_iter().collect(),
        };
        if hurts(&code) {
            return Err(format!(
                "{name} is released, and removes what CronJob nightly may need"
            ));
        }
    }
    for rollout in world.live.rollouts.values() {
        let status = &rollout.status;
        let stable = status.stable.as_ref().map(|stable| &stable.revision);
        // Before its first pod it finds the floor, and waits.
        let moves = status.release.as_ref();
        let moves = moves.filter(|release| release.step().is_some() || release.undo().is_some());
        for revision in stable.into_iter().chain(moves.map(|m| &m.revision)) {
            let code = world.code_of(&rollout.meta.name, revision);
            if code.as_ref().is_some_and(hurts) {
                return Err(format!(
                    "{name} is released, and removes what revision {revision} of Rollout {} needs",
                    rollout.meta.name
                ));
            }
        }
    }
    Ok(())
}

/// *rows* – no row is lost: nothing is removed before a backfill has put its values elsewhere, after
/// the last that somebody older wrote; and what nobody could see of that, a proof has found before.
pub(super) fn rows(world: &World, happened: &Happened) -> Result<(), String> {
    let lost = |job: &JobObject| world.tables.get(&job.database).map_or(0, |t| t.lost());
    let told = |job: &JobObject, what: &str| match lost(job) {
        0 => Ok(()),
        lost => Err(format!(
            "{} {what}, and {lost} rows have their value in nothing but what it removes",
            job.meta.name
        )),
    };
    if let Happened::PhaseRuns(name) = happened {
        let job = world.live.jobs.get(name);
        let removes = job.filter(|job| job.phase == Some(PhaseKind::Contract));
        return removes.map_or(Ok(()), |job| told(job, "runs without a proof"));
    }
    let Some((arrival, job)) = released(happened) else {
        return Ok(());
    };
    // Other workloads are looked at twice, and not in between.
    let record = record_of(world, job);
    let version = record.and_then(|r| r.version(r.holder.as_ref()?.version?));
    let alone = version.and_then(|version| version.alone_since.as_ref());
    let changed = world.ledger.consumer_changed;
    let unseen = changed.filter(|at| alone.is_some_and(|alone| alone.0 <= *at));
    if job.proves && unseen.is_some_and(|at| at < arrival.sent) {
        return Ok(());
    }
    told(job, "is released")
}

/// *approved* – a contract or a revert that asks for an approval runs as it was approved: the phase,
/// the image and the texts of its files, after the last expand of a later version.
pub(super) fn approved(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((_, job)) = released(happened) else {
        return Ok(());
    };
    let (name, record) = (&job.meta.name, record_of(world, job));
    let Some(phase) = job
        .phase
        .filter(|p| matches!(p, PhaseKind::Contract | PhaseKind::Revert))
    else {
        return Ok(());
    };
    let version = record.and_then(|r| r.held_for(phase)?.version);
    let known = version.and_then(|version| record?.version(version));
    let (Some(version), Some(asked)) = (version, known.and_then(|known| known.asks(phase))) else {
        return Err(format!("{name} is released, and nobody asked for it"));
    };
    let tables = world.tables.get(&job.database);
    let overtaken = tables.and_then(|tables| tables.overtaken_at(version));
    if asked.approval != Approval::Manual && overtaken.is_none() {
        return Ok(());
    }
    let target = format!("{version}/{}/{}", phase.word(), asked.digest);
    let mut said = world.commands.iter();
    let given = said.any(|c| c.verb == "approve" && c.revision == target);
    let Some(given) = world.ledger.approved.get(&target).filter(|_| given) else {
        return Err(format!("{name} is released, and nobody approved {target}"));
    };
    let files = given.files.iter().map(|file| &file.sha256);
    if !files.eq(job.files.iter().map(|(_, hash)| hash)) {
        return Err(format!(
            "{name} is released with other texts than those that were approved as {target}"
        ));
    }
    let other = |image: &&Name| **image != job.image && !job.is_sql();
    if let Some(image) = given.image.as_ref().filter(|image| other(image)) {
        return Err(format!(
            "{name} is released with image {}, and {target} was approved for {image}",
            job.image
        ));
    }
    let at = world
        .ledger
        .approved_at
        .get(&(job.database.to_string(), version));
    // Times are whole seconds, and those of the record another clock's.
    let before = overtaken
        .filter(|_| !world.ledger.clocks_jumped)
        .filter(|end| at.is_none_or(|at| *at + SignedDuration::from_secs(1) < *end));
    match before {
        Some(end) => Err(format!(
            "{name} is released, and was approved before a later version was expanded at {end:.0}"
        )),
        None => Ok(()),
    }
}

/// When an approval goes on record.
pub(super) fn enter(
    ledger: &mut Ledger,
    before: &DatabaseObject,
    record: &DatabaseRecord,
    now: Timestamp,
) {
    for version in &record.versions {
        let known = before.record.version(version.version);
        let new = version.approved.is_some()
            && known.is_none_or(|known| known.approved != version.approved);
        if new {
            let of = (before.meta.name.to_string(), version.version);
            ledger.approved_at.insert(of, now);
        }
    }
}
