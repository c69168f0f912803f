//! What a backfill's pod says of itself.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::status::{ProgressStatus, SchemaStatus},
    plan::reason::Reason,
    simulate::{ledger::Happened, world::World},
};

/// *heard* – what is on record of how far a backfill is was said by the pod of that Job, and whatever
/// a pod says costs a record a minute, or where it is a quarter further; nothing else rests on it.
pub(super) fn heard(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((_, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let Some(schema) = &after.schema else {
        return Ok(());
    };
    let Some(progress) = &schema.progress else {
        return Ok(());
    };
    let known = before.status.schema.as_ref();
    let known = known.filter(|known| known.job == schema.job);
    let known = known.and_then(|known| known.progress.as_ref());
    if known == Some(progress) {
        return Ok(());
    }
    was_said(world, schema, progress)?;
    let Some(known) = known else { return Ok(()) };
    let passed = progress.at.0.duration_since(known.at.0);
    let in_time = passed.is_negative() || passed >= SignedDuration::from_secs(60);
    if in_time || quarter(progress) > quarter(known) {
        return Ok(());
    }
    Err(format!(
        "{passed:#} after the last record of it, {}% of batch {} is recorded",
        quarter(progress).1 * 25,
        progress.number
    ))
}

fn was_said(world: &World, schema: &SchemaStatus, said: &ProgressStatus) -> Result<(), String> {
    let job = schema.job.as_deref().unwrap_or_default();
    let known = world.ledger.said.get(job);
    let bare = ProgressStatus {
        at: Time(Timestamp::UNIX_EPOCH),
        ..said.clone()
    };
    if schema.state == Reason::Running.word() && known.is_some_and(|all| all.contains(&bare)) {
        return Ok(());
    }
    let (done, total) = (said.rows_done, said.rows_total);
    Err(format!(
        "Job {job} ({}) is told to have filled {done} of {total} rows, which it never said",
        schema.state
    ))
}

fn quarter(progress: &ProgressStatus) -> (i64, i64) {
    let quarters = (progress.rows_done * 4)
        .checked_div(progress.rows_total)
        .unwrap_or(0);
    (progress.number, quarters.min(3))
}
