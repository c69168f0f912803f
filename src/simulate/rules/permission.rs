//! Who may use a database: whoever its administrator has named, for versions that only go up.

use crate::{
    api::{DatabaseRecord, PhaseKind},
    simulate::{ledger::Happened, world::World},
};

/// *alone* – no phase takes a database beside a backfill that runs alone, nor that beside another.
pub(super) fn alone(_: &World, happened: &Happened) -> Result<(), String> {
    let Some((record, before)) = happened.database_recorded() else {
        return Ok(());
    };
    let both = |record: &DatabaseRecord| {
        let jobs = record.holders().map(|holder| holder.job.clone());
        jobs.collect::<Vec<_>>()
    };
    match (&record.holder, record.runs_alone()) {
        (Some(holder), Some(backfill)) if both(record) != both(&before.record) => Err(format!(
            "{} is taken for {} and {}, which runs alone",
            before.meta.name, holder.job, backfill.job
        )),
        _ => Ok(()),
    }
}

/// *allowed* – no Rollout takes a database for a phase that the DatabaseSchema does not allow it, as
/// that was when it was taken. So no Job of it ever runs there.
pub(super) fn allowed(_: &World, happened: &Happened) -> Result<(), String> {
    let Some((record, before)) = happened.database_recorded() else {
        return Ok(());
    };
    let Some(allowed) = &before.allowed else {
        return Ok(());
    };
    let had = |job: &str| before.record.holders().any(|holder| holder.job == job);
    let mut taken = record.holders().filter(|holder| !had(&holder.job));
    match taken.find(|holder| !allowed.contains(&holder.rollout)) {
        Some(holder) => Err(format!(
            "{} is taken by Rollout {}, which it does not allow",
            before.meta.name, holder.rollout
        )),
        None => Ok(()),
    }
}

/// *upward* – no expand takes a database for a version that was never there, where a higher one is.
pub(super) fn upward(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((record, before)) = happened.database_recorded() else {
        return Ok(());
    };
    let held = before.record.holder.as_ref();
    let taken = record.holder.as_ref();
    let taken = taken.filter(|now| held.is_none_or(|held| held.job != now.job));
    let Some((holder, version)) = taken.and_then(|holder| Some((holder, holder.version?))) else {
        return Ok(());
    };
    if holder.phase != PhaseKind::Expand {
        return Ok(());
    }
    let known = before.record.version(version);
    let mut stable = world.live.revisions.values();
    let was_stable = stable.any(|r| {
        let schema = r.schema.as_ref().filter(|_| r.number > 0);
        schema.is_some_and(|s| s.version == Some(version) && s.database == *before.meta.name)
    });
    let expands = || {
        before
            .record
            .phases
            .iter()
            .filter(|p| p.phase == PhaseKind::Expand)
    };
    let was_here = expands().any(|p| p.succeeded && p.version == Some(version))
        || known.is_some_and(|known| known.stable_since.is_some())
        || was_stable;
    let there = expands().filter(|p| p.succeeded && p.undone_by.is_none());
    match there.filter_map(|p| p.version).max() {
        Some(highest) if highest > version && !was_here => Err(format!(
            "{} takes {} for version {version}, and version {highest} is there",
            holder.job, before.meta.name
        )),
        _ => Ok(()),
    }
}
