//! The undo floor goes down again: only where no attempt of the contract that raised it has removed
//! anything.
//!
//! What proves that is the end of each Job: every run of a command exited with 75, no pod of it ran,
//! or the SQL was refused or rolled back by its ledger. What stopped half-way, or was gone before its
//! end was seen, proves nothing.

use crate::api::{DatabaseRecord, PhaseKind, database::PhaseRecord};

/// Lowers the floor to where it was before the contract of this version; to where.
///
/// # Errors
/// Why it stays.
pub(super) fn lower(record: &mut DatabaseRecord, version: i64) -> Result<Option<i64>, String> {
    let held = record.holder.as_ref();
    if let Some(holder) =
        held.filter(|h| h.phase == PhaseKind::Contract && h.version == Some(version))
    {
        return Err(format!(
            "the contract of version {version} holds the database for Job {}: wait until it has ended",
            holder.job
        ));
    }
    let known = record.version(version);
    if let Some(done) = known.and_then(|known| known.contracted.as_ref()) {
        return Err(format!(
            "the contract of version {version} succeeded in Job {}: what it removed does not come \
             back with the floor",
            done.job
        ));
    }
    if record.undo_floor != Some(version) {
        let floor = match record.undo_floor {
            Some(floor) => format!("the undo floor is {floor}"),
            None => "there is no undo floor".to_owned(),
        };
        return Err(format!(
            "{floor}, so the contract of version {version} holds nobody back"
        ));
    }
    let attempts: Vec<&PhaseRecord> = record
        .phases
        .iter()
        .filter(|p| p.phase == PhaseKind::Contract && p.version == Some(version))
        .collect();
    if let Some(unclear) = attempts.iter().find(|p| !p.nothing_applied) {
        return Err(format!(
            "Job {} of the contract of version {version} may have removed something: fix the \
             cause and retry, or release a revision that does not need it",
            unclear.job
        ));
    }
    let first = attempts.first().filter(|p| p.attempt == 1);
    let Some(first) = first.filter(|p| p.floor_before < Some(version)) else {
        return Err(format!(
            "how the contract of version {version} went is not all on record any more"
        ));
    };
    let floor = first.floor_before;
    record.lower_floor(floor);
    Ok(record.undo_floor)
}

/// The new floor, for people.
pub(super) fn words(version: i64, floor: Option<i64>) -> String {
    let floor = match floor {
        Some(floor) => format!("the undo floor is {floor} again"),
        None => "there is no undo floor any more".to_owned(),
    };
    format!("nothing of the contract of version {version} was applied: {floor}")
}
