//! A person puts on record how far a database is, where it or its record was restored from a backup:
//! expanded up to one version and contracted up to another, by its ledger.
//!
//! What Stepgate's own runner has done above that is not there any more. What ran in another way is
//! in no ledger, and stays.

use crate::api::{
    DatabaseRecord, PhaseKind,
    database::{Baseline, Done, PhaseRecord, VersionRecord},
    keys,
};

/// Puts it on record; what that means, for people.
///
/// # Errors
/// Why it is ignored.
pub(super) fn put(record: &mut DatabaseRecord, asked_for: &str) -> Result<String, String> {
    let parts = asked_for.split_once('/');
    let number = |text: &str| text.parse::<i64>().ok().filter(|v| *v >= 0);
    let half = asked_for.ends_with('+');
    let whole = |text: &str| number(text.strip_suffix('+').unwrap_or(text));
    let Some((expanded, contracted)) = parts
        .and_then(|(e, c)| Some((number(e)?, whole(c)?)))
        .filter(|(_, contracted)| *contracted > 0 || !half)
    else {
        return Err(format!(
            "{asked_for:?} is not <expanded>/<contracted>: two versions, as the log of the Job says them"
        ));
    };
    if contracted > expanded {
        return Err(format!(
            "contracted up to version {contracted}, but expanded up to {expanded} only: the log of the \
             Job says both"
        ));
    }
    if let Some(holder) = record.holders().next() {
        return Err(format!(
            "the {} of Rollout {} holds the database for Job {}: wait until it has ended",
            holder.phase.word(),
            holder.rollout,
            holder.job
        ));
    }
    let above = |phase: PhaseKind, version: i64| match phase {
        PhaseKind::Expand => version > expanded,
        PhaseKind::Backfill | PhaseKind::Contract => version > contracted,
        PhaseKind::Preflight | PhaseKind::Revert => false,
    };
    let is_gone =
        |p: &&mut PhaseRecord| p.sql && p.version.is_some_and(|version| above(p.phase, version));
    let mut gone = Vec::new();
    for phase in record.phases.iter_mut().filter(is_gone) {
        phase
            .undone_by
            .get_or_insert_with(|| keys::BASELINE.to_owned());
        gone.push(phase.job.clone());
    }
    record.dirty.retain(|dirty| !gone.contains(&dirty.job));
    for version in record
        .versions
        .iter_mut()
        .filter(|v| v.version > contracted)
    {
        restore(version);
    }
    // By the ledger it has run, and is not to run again.
    let over = |v: &&mut VersionRecord| {
        v.version <= contracted && v.is_open() && v.asked.iter().all(|asked| asked.sql)
    };
    for version in record.versions.iter_mut().filter(over) {
        version.dropped = true;
    }
    record.stable_version = record.stable_version.map(|v| v.min(expanded));
    // What another tool has contracted is gone for good, whatever the ledger says.
    let by_others = record.phases.iter().filter(|p| {
        p.phase == PhaseKind::Contract && !p.sql && !p.nothing_applied && p.undone_by.is_none()
    });
    let floor = by_others.filter_map(|p| p.version).max().unwrap_or(0);
    record.undo_floor = Some(floor.max(contracted)).filter(|floor| *floor > 0);
    record.baseline = Some(Baseline {
        expanded,
        contracted,
        half,
    });
    let floor = match record.undo_floor {
        Some(floor) => format!("the undo floor is {floor}"),
        None => "there is no undo floor".to_owned(),
    };
    let half = match half {
        true => " (stopped half-way: nobody runs the rest of it)",
        false => "",
    };
    Ok(format!(
        "the database is expanded up to version {expanded} and contracted up to version {contracted}{half}; \
         what its SQL did above that does not count any more; {floor}"
    ))
}

/// What its SQL did after the release is not there any more: it is still to run.
fn restore(version: &mut VersionRecord) {
    let sql = |done: &Option<Done>| done.as_ref().is_some_and(|done| done.sql);
    let (backfill, contract) = (sql(&version.backfilled), sql(&version.contracted));
    if backfill {
        version.backfilled = None;
    }
    if contract {
        version.contracted = None;
        version.frozen_flags.clear();
    }
    if backfill || contract || version.is_open() {
        // Who was seen, and how stable did, was another database's.
        version.alone_since = None;
        version.stable_before = None;
        version.stable_after = None;
        version.approved = None;
    }
}
