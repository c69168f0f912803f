//! What comes before an expand, and what takes it back.

use jiff::SignedDuration;

use super::schema::{record_of, version_of};
use crate::{
    api::{DatabaseRecord, PhaseKind, status::Outcome},
    plan::intent::Write,
    simulate::{
        ledger::{Arrival, Happened},
        object::{JobObject, Object, RevisionObject},
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
            let mut dirty = record.dirty.iter();
            if let Some(dirty) = dirty.find(|dirty| dirty.phase == PhaseKind::Preflight) {
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

/// *revert* – a revert runs only where the version was never stable, and while no expand of it
/// counts.
pub(super) fn revert(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let (Write::ReleaseJob { .. }, Some(Object::Job(job))) = (&*arrival.write, &arrival.after)
    else {
        return Ok(());
    };
    if job.phase != Some(PhaseKind::Revert) {
        return Ok(());
    }
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
    let mut revisions = world.live.revisions.values();
    // Whatever became of it since.
    let stable = |r: &RevisionObject| r.outcome == Some(Outcome::Stable) || r.number > 0;
    if let Some(known) = revisions.find(|r| stable(r) && needs(&r.rollout, &r.revision)) {
        return Err(format!(
            "{name} is released, and {} was stable",
            known.meta.name
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
    Ok(())
}
