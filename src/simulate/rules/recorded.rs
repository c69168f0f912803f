//! A database and its record are of the same time, or nothing in SQL runs there.

use crate::{
    api::{PhaseKind, database::SqlRefusal, status::Outcome},
    plan::{intent::Write, reason::Reason},
    simulate::{
        ledger::Happened,
        object::Object,
        sql_ledger::{SqlLedger, phase_of},
        world::World,
    },
};

/// Rules that judge by what is in a database or its record, of which nobody can know after one of
/// the two was restored alone.
pub(super) const SPARED: [&str; 10] = [
    "schema-first",
    "needed",
    "rows",
    "approved",
    "once",
    "contract-last",
    "backfill-first",
    "lowered",
    "preflight",
    "revert",
];

/// *recorded* – nothing in SQL runs on a database whose ledger is not what is on record: no contract
/// there is unknown to the record, and nothing on record is missing there. Where the runner has said
/// that, the Rollout says so too.
pub(super) fn recorded(world: &World, happened: &Happened) -> Result<(), String> {
    if let Happened::SqlRuns(name) = happened {
        return runs(world, name);
    }
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let (Write::RecordStatus { .. }, Some(Object::Rollout(after))) =
        (&*arrival.write, &arrival.after)
    else {
        return Ok(());
    };
    let status = &after.status;
    let mut failed = status.history.iter();
    let failed = failed.find(|e| e.outcome == Outcome::Failed);
    let (Some(failed), None) = (failed, &status.release) else {
        return Ok(());
    };
    let databases = world.live.databases.values();
    let mut ours = databases.flat_map(|d| d.record.phases.iter().rev());
    let last = ours.find(|p| p.revision == failed.revision && *p.rollout == *after.meta.name);
    let refused = last.is_some_and(|p| {
        p.refusal == Some(SqlRefusal::RecordDisagrees) && p.ended.0 <= failed.ended.0
    });
    let mut all = status.conditions.iter();
    let stalled = all.find(|c| c.type_ == "Stalled" && c.status == "True");
    match stalled {
        Some(stalled)
            if refused
                && stalled.message.contains(&failed.revision)
                && stalled.reason != Reason::RecordDisagrees.word() =>
        {
            Err(format!(
                "the runner found that a record disagrees with its ledger, and {} says {}",
                after.meta.name, stalled.reason
            ))
        }
        _ => Ok(()),
    }
}

fn runs(world: &World, name: &str) -> Result<(), String> {
    let Some(job) = world.live.jobs.get(name) else {
        return Ok(());
    };
    let Some((own, version)) = phase_of(&job.order) else {
        return Ok(());
    };
    let empty = SqlLedger::default();
    let ledger = world.sql_ledgers.get(&job.database).unwrap_or(&empty);
    let database = world.live.databases.get(&job.database);
    let Some(record) = database.map(|d| &d.record) else {
        return Ok(());
    };
    let known = |version: i64| {
        let of =
            |phase: PhaseKind, of: Option<i64>| phase == PhaseKind::Contract && of == Some(version);
        let mut phases = record.phases.iter();
        let mut holders = record.holders();
        phases.any(|p| of(p.phase, p.version) && !p.nothing_applied)
            || holders.any(|h| of(h.phase, h.version))
    };
    let baseline = record.baseline.as_ref().map_or(0, |b| b.contracted);
    let lowest = match own {
        PhaseKind::Backfill => version,
        _ => 0,
    };
    let mut new = ledger.done.difference(&ledger.old);
    let unknown = new.find(|(kind, of)| {
        let is_own = (*kind, *of) == (own, version);
        let counts = *kind == PhaseKind::Contract && *of >= lowest;
        counts && !is_own && *of > baseline && !known(*of)
    });
    if let Some((_, of)) = unknown {
        return Err(format!(
            "{name} runs, and nothing is on record of the contract of version {of}, which has run"
        ));
    }
    let counts = record.phases.iter().filter(|p| {
        let there = p.version.is_some_and(|v| v > baseline && v <= version);
        let there = there && p.phase == PhaseKind::Contract;
        there && p.sql && p.succeeded && p.undone_by.is_none()
    });
    let mut missing = counts.filter(|p| !ledger.done.contains(&(p.phase, p.version.unwrap_or(0))));
    match missing.next() {
        Some(p) => Err(format!(
            "{name} runs, and the {} of version {} is on record and not in the ledger",
            p.phase.word(),
            p.version.unwrap_or(0)
        )),
        None => Ok(()),
    }
}
