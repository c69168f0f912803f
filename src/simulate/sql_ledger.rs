//! The ledger of Stepgate's own runner in a database, what it is compared with, and a backup of both.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::tables::Tables;
use crate::{
    api::{DatabaseRecord, PhaseKind},
    plan::job::{order_in, pod},
};

/// Phases of versions whose SQL has run.
#[derive(Clone, Debug, Default)]
pub struct SqlLedger {
    /// All of them.
    pub done: BTreeSet<(PhaseKind, i64)>,
    /// Those that were there when nothing was on record.
    pub old: BTreeSet<(PhaseKind, i64)>,
}

/// A database and its record at one time.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    pub record: Option<Arc<DatabaseRecord>>,
    pub tables: Option<Tables>,
    pub ledger: SqlLedger,
}

/// What is restored of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The DatabaseSchema.
    Record,
    /// The database.
    Database,
}

/// The order that the pod of a Job is given; null where it is none of Stepgate's own runner.
pub(super) fn order(template: &Value) -> Arc<Value> {
    let env = &template["spec"]["containers"][0]["env"];
    Arc::new(order_in(env).unwrap_or_default())
}

/// Whether a Job proves before anything else that every row is filled in.
pub(super) fn proves(template: &Value, order: &Value) -> bool {
    let init = template["spec"]["initContainers"].as_array();
    let mut names = init.into_iter().flatten().map(|c| c["name"].as_str());
    let counts = order["proofs"]
        .as_array()
        .is_some_and(|all| !all.is_empty());
    counts || names.any(|name| name.is_some_and(pod::is_proof))
}

/// Which phase of which version an order is for.
pub(super) fn phase_of(order: &Value) -> Option<(PhaseKind, i64)> {
    let phase = serde_json::from_value(order["phase"].clone()).ok()?;
    Some((phase, order["version"].as_i64()?))
}

/// Whether the runner finds in the ledger what it is told of the record, and nothing else.
pub(super) fn agrees(order: &Value, ledger: &SqlLedger) -> bool {
    let Some((own, version)) = phase_of(order) else {
        return true;
    };
    let beside = own == PhaseKind::Backfill;
    let phases = order["recorded"]["phases"].as_array();
    let Some(phases) = phases else {
        let mut all = ledger.done.iter();
        return !all.any(|(of, v)| *of == PhaseKind::Contract && *v > version);
    };
    phases.iter().all(|known| {
        let Ok(kind) = serde_json::from_value::<PhaseKind>(known["phase"].clone()) else {
            return false;
        };
        let listed = |field: &str| -> BTreeSet<i64> {
            let list = known[field].as_array().into_iter().flatten();
            list.filter_map(Value::as_i64).collect()
        };
        let (done, others) = (listed("done"), listed("others"));
        let from = known["from"].as_i64().unwrap_or_default();
        let in_ledger = |v: &i64| ledger.done.contains(&(kind, *v));
        let behind = done
            .iter()
            .any(|v| !in_ledger(v) && (!beside || *v <= version));
        let new = ledger.done.difference(&ledger.old);
        let mut all = new.filter(|(of, _)| *of == kind);
        let ahead = all.any(|(_, v)| {
            let minded = match (kind, beside) {
                (PhaseKind::Backfill, _) => false,
                (PhaseKind::Contract, true) => *v >= version,
                (_, beside) => !beside,
            };
            let is_own = (kind, *v) == (own, version);
            let known = done.contains(v) || others.contains(v);
            minded && !is_own && !known && *v >= from
        });
        !behind && !ahead
    })
}
