//! What the operator has on record of what ran here, compared with the ledger: one of the two may
//! have been restored from a backup. Nothing runs while they disagree.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tokio_postgres::Client;

use crate::{
    failure::Failure,
    ledger,
    order::{Order, Phase},
};

/// What the operator has on record; nothing where it has nothing: the ledger is then as it began.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recorded {
    pub phases: Vec<Versions>,
}

/// The versions of which it has a phase on record.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Versions {
    pub phase: Phase,
    /// The ledger is compared from this version on.
    #[serde(default)]
    pub from: i32,
    /// Its SQL has succeeded.
    #[serde(default)]
    pub done: BTreeSet<i32>,
    /// It ran in another way, or failed, or runs.
    #[serde(default)]
    pub others: BTreeSet<i32>,
}

/// A phase of a version, as the ledger has it.
#[derive(Clone, Debug, Default)]
struct Entry {
    finished: bool,
    /// It was there when nothing was on record yet.
    old: bool,
    rollout: String,
    at: String,
    /// Files of it that were begun and not ended, with how far they came.
    half: String,
}

type Ledger = BTreeMap<(String, i32), Entry>;

/// Refuses an order whose record is not that of this database.
pub async fn compare(client: &Client, order: &Order) -> Result<(), Failure> {
    let ledger = read(client).await?;
    let found = disagreements(order, ledger.as_ref());
    if found.is_empty() {
        return Ok(());
    }
    let ledger = ledger.unwrap_or_default();
    let (expanded, contracted) = baseline(order, &ledger);
    let (mark, rest) = match half(order, &ledger, contracted) {
        None => ("", String::new()),
        Some(half) => (
            "+",
            format!(
                ". By the ledger the contract of version {contracted} stopped half-way ({half}), and after that nobody \
                 runs the rest of it: run it yourself first; the + puts on record that it was not whole"
            ),
        ),
    };
    let (namespace, database) = (&order.namespace, &order.database);
    Err(Failure::fatal(
        "RecordDisagrees",
        format!(
            "the record of DatabaseSchema {namespace}/{database} and the ledger of this database (schema stepgate) \
             disagree: {}. Nothing ran. Is it the right connection? If the DatabaseSchema or the database was restored \
             from a backup, restore the other one to the same time, then retry. If the database is to stay as it is, put \
             on record that it is expanded up to version {expanded} and contracted up to version {contracted}: \
             kubectl annotate -n {namespace} databaseschema {database} --overwrite \
             stepgate.io/baseline=\"{expanded}/{contracted}{mark} $(date +%s)\"{rest}; then retry, and release again what is \
             missing above version {expanded}",
            found.join("; ")
        ),
    ))
}

/// What disagrees, for people.
fn disagreements(order: &Order, ledger: Option<&Ledger>) -> Vec<String> {
    let empty = Ledger::new();
    let entries = ledger.unwrap_or(&empty);
    let mut found = Vec::new();
    // Whatever is on record: what this version's code needs is gone.
    let mut removed = entries.keys().filter(|(phase, version)| {
        *phase == Phase::Contract.to_string() && *version > order.version
    });
    if let (Some((_, version)), true) = (removed.next_back(), order.recorded.is_none()) {
        found.push(format!(
            "by the ledger the contract of version {version} has run, and this is version {}",
            order.version
        ));
    }
    for ((phase, version), entry) in entries {
        if !entry.old && is_unknown(order, phase, *version) {
            let how = if entry.finished {
                "has run"
            } else {
                "has begun"
            };
            found.push(format!(
                "by the ledger the {phase} of version {version} {how} (Rollout {}, {}), and there is nothing of that on \
                 record",
                entry.rollout, entry.at
            ));
        }
    }
    for versions in order.recorded.iter().flat_map(|r| &r.phases) {
        let phase = versions.phase.to_string();
        for version in versions.done.iter().filter(|v| is_compared(order, **v)) {
            let entry = entries.get(&(phase.clone(), *version));
            if entry.is_some_and(|entry| entry.finished) {
                continue;
            }
            let what = match (ledger, entry) {
                (None, _) => "this database has no ledger",
                (_, None) => "the ledger has nothing of it",
                (_, Some(_)) => "by the ledger it has not ended",
            };
            found.push(format!(
                "the {phase} of version {version} is on record, and {what}"
            ));
        }
    }
    let more = found.len().saturating_sub(4);
    found.truncate(4);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

/// A backfill runs beside expands, which may take back, or add, what is above its version.
fn is_compared(order: &Order, version: i32) -> bool {
    order.phase != Phase::Backfill || version <= order.version
}

/// Whether the ledger has something that is not on record.
fn is_unknown(order: &Order, phase: &str, version: i32) -> bool {
    // Rows that are filled in hurt nobody, and backfills begin while another phase waits.
    let is = |kind: Phase| phase == kind.to_string();
    if is(Phase::Backfill) || (version == order.version && is(order.phase)) {
        return false;
    }
    let Some(recorded) = &order.recorded else {
        // What is there is where the record begins.
        return false;
    };
    if order.phase == Phase::Backfill && !(is(Phase::Contract) && version >= order.version) {
        return false;
    }
    let mut phases = recorded.phases.iter();
    phases.find(|known| is(known.phase)).is_some_and(|known| {
        version >= known.from && !known.done.contains(&version) && !known.others.contains(&version)
    })
}

/// How far the database is, by its ledger: expanded, and contracted.
fn baseline(order: &Order, ledger: &Ledger) -> (i32, i32) {
    let highest = |phase: Phase| {
        let known = order.recorded.iter().flat_map(|r| &r.phases);
        let known: Vec<_> = known.filter(|known| known.phase == phase).collect();
        let on_record = |version: &i32| {
            let mut known = known.iter();
            known.any(|k| k.done.contains(version) || k.others.contains(version))
        };
        // What has begun is gone on with where it is on record that it did not end. A contract has
        // removed something by then.
        let counts = |(of, version): &(String, i32), entry: &Entry| {
            let whole = entry.finished || phase == Phase::Contract || !on_record(version);
            (*of == phase.to_string() && whole).then_some(*version)
        };
        ledger
            .iter()
            .filter_map(|(key, entry)| counts(key, entry))
            .max()
            .unwrap_or(0)
    };
    let contracted = highest(Phase::Contract);
    (highest(Phase::Expand).max(contracted), contracted)
}

/// What is missing of the contract of this version, where it stopped half-way.
fn half<'l>(order: &Order, ledger: &'l Ledger, version: i32) -> Option<&'l str> {
    let entry = ledger.get(&(Phase::Contract.to_string(), version))?;
    let phases = order.recorded.iter().flat_map(|recorded| &recorded.phases);
    let mut contracts = phases.filter(|known| known.phase == Phase::Contract);
    let ended = contracts.any(|known| known.done.contains(&version));
    (!ended && !entry.half.is_empty()).then_some(entry.half.as_str())
}

/// With nothing on record, what is in the ledger by now is where the record begins. The caller holds
/// the lock.
pub async fn begin(client: &Client) -> Result<(), Failure> {
    client
        .execute(
            "INSERT INTO stepgate.baseline (at) VALUES (pg_catalog.clock_timestamp()) \
             ON CONFLICT (single) DO UPDATE SET at = excluded.at",
            &[],
        )
        .await?;
    Ok(())
}

/// What is in the ledger; nothing where there is none.
async fn read(client: &Client) -> Result<Option<Ledger>, Failure> {
    for table in ["stepgate.files", "stepgate.batches"] {
        if !ledger::has(client, table).await? {
            return Ok(None);
        }
    }
    // The last table that was added: without it there is no baseline yet.
    let is_old = match ledger::has(client, "stepgate.baseline").await? {
        true => {
            "coalesce(max(coalesce(finished, began)) <= (SELECT at FROM stepgate.baseline), false)"
        }
        false => "false",
    };
    let rows = client
        .query(
            &format!(
                "SELECT phase, version, pg_catalog.bool_or(finished IS NOT NULL), min(rollout), \
                   pg_catalog.to_char(max(coalesce(finished, began)) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), \
                   {is_old}, \
                   coalesce(pg_catalog.string_agg(file || ', ' || done || ' of ' || statements || ' statements', '; ') \
                     FILTER (WHERE finished IS NULL), '') \
                 FROM stepgate.files WHERE done > 0 OR finished IS NOT NULL GROUP BY phase, version \
                 UNION ALL \
                 SELECT 'backfill', version, true, '', '', false, '' FROM stepgate.batches GROUP BY version"
            ),
            &[],
        )
        .await?;
    let mut ledger = Ledger::new();
    for row in rows {
        let entry = Entry {
            finished: row.try_get(2)?,
            old: row.try_get(5)?,
            rollout: row.try_get(3)?,
            at: row.try_get(4)?,
            half: row.try_get(6)?,
        };
        let known = ledger.entry((row.try_get(0)?, row.try_get(1)?));
        let known = known.or_insert_with(|| entry.clone());
        known.finished |= entry.finished;
    }
    Ok(Some(ledger))
}
