//! Who may use a database: whoever its administrator has named.

use crate::{
    api::DatabaseRecord,
    plan::intent::Write,
    simulate::{ledger::Happened, object::Object, world::World},
};

/// *alone* – no phase takes a database beside a backfill that runs alone, nor that beside another.
pub(super) fn alone(_: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let (Write::RecordDatabase { record, .. }, Some(Object::Database(before))) =
        (&*arrival.write, &arrival.before)
    else {
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
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let (Write::RecordDatabase { record, .. }, Some(Object::Database(before))) =
        (&*arrival.write, &arrival.before)
    else {
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
