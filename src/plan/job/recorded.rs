//! What is on record of a database, for Stepgate's own runner: it compares that with the ledger,
//! since one of the two may have been restored from a backup.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{PhaseRecord, VersionRecord},
        keys,
    },
    plan::draft::Draft,
};

/// Phases kept on record per database.
pub(super) const KEPT_PHASES: usize = 400;

/// Phases that the ledger has.
const IN_THE_LEDGER: [PhaseKind; 4] = [
    PhaseKind::Expand,
    PhaseKind::Backfill,
    PhaseKind::Contract,
    PhaseKind::Revert,
];

/// What the order of a phase says of that; nothing where nothing is on record: whatever the ledger
/// has is the baseline then.
pub(in crate::plan) fn order(record: &DatabaseRecord) -> Option<Value> {
    let counts = |p: &&PhaseRecord| p.phase != PhaseKind::Preflight && !p.nothing_applied;
    let ran = || record.phases.iter().filter(counts);
    let done = |v: &VersionRecord| v.backfilled.is_some() || v.contracted.is_some();
    if ran().next().is_none() && !record.versions.iter().any(done) && record.baseline.is_none() {
        return None;
    }
    let all = IN_THE_LEDGER.map(|kind| {
        let of = || ran().filter(|p| p.phase == kind);
        let baseline = record.baseline.as_ref().map(|b| match kind {
            PhaseKind::Expand | PhaseKind::Revert => b.expanded,
            _ => b.contracted,
        });
        // The oldest ends are kept by nobody; what has become of a version is.
        let rotated = record.phases.len() >= KEPT_PHASES && kind != PhaseKind::Contract;
        let kept = of().filter_map(|p| p.version).min();
        let highest = || record.phases.iter().filter_map(|p| p.version).max();
        let from = match rotated {
            true => kept.or_else(|| highest().map(|v| v + 1)).unwrap_or(0),
            false => 0,
        };
        let from = from.max(baseline.map_or(from, |b| b + 1));
        let succeeded = |p: &&PhaseRecord| p.succeeded && p.sql && p.undone_by.is_none();
        let of_versions = record.versions.iter().filter(|v| is_done_in_sql(v, kind));
        let done = of().filter(succeeded).filter_map(|p| p.version);
        let done = done.chain(of_versions.map(|v| v.version));
        let done: BTreeSet<i64> = done.filter(|v| Some(*v) > baseline).collect();
        // What a person has taken off the record is known no more.
        let ended = of().filter(|p| p.undone_by.as_deref() != Some(keys::BASELINE));
        let ended = ended.filter_map(|p| p.version);
        let holders = record.holders().filter(|h| h.phase == kind);
        let others = ended.chain(holders.filter_map(|h| h.version));
        let others: BTreeSet<i64> = others.filter(|v| !done.contains(v)).collect();
        json!({"phase": kind, "from": from, "done": done, "others": others})
    });
    Some(json!({ "phases": all }))
}

fn is_done_in_sql(version: &VersionRecord, kind: PhaseKind) -> bool {
    let done = match kind {
        PhaseKind::Backfill => &version.backfilled,
        PhaseKind::Contract => &version.contracted,
        PhaseKind::Preflight | PhaseKind::Expand | PhaseKind::Revert => return false,
    };
    done.as_ref().is_some_and(|done| done.sql)
}

/// What people read where the runner has said that the two disagree; what exactly is in the log of
/// its Job.
pub(in crate::plan) fn words(draft: &Draft<'_>, phase: PhaseKind, version: Option<i64>) -> String {
    let namespace = &draft.seen.objects.rollout.namespace;
    let name = draft.spec.database().unwrap_or_default();
    let version = version.map(|v| format!(" of version {v}"));
    format!(
        "the {}{} did not begin: the record of DatabaseSchema {name} and the ledger in the database \
         (schema stepgate) disagree, as the log of the Job says. Nothing ran. If one of them was restored \
         from a backup, restore the other to the same time. If a file that has run was changed, restore \
         its text. Or record the versions of the database, with the two numbers from the log: \
         kubectl annotate -n {namespace} databaseschema {name} --overwrite \
         stepgate.io/baseline=\"<expanded>/<contracted> $(date +%s)\"",
        phase.word(),
        version.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::database::{Baseline, Done, Holder};

    fn ran(phase: PhaseKind, version: i64, sql: bool) -> PhaseRecord {
        let holder = Holder {
            rollout: "shop".into(),
            revision: "r".into(),
            version: Some(version),
            phase,
            attempt: 1,
            job: format!("shop-r-{}-1", phase.word()),
            job_uid: None,
            since: Time(jiff::Timestamp::UNIX_EPOCH),
            floor_before: None,
        };
        PhaseRecord {
            sql,
            ..holder.ended(true, Time(jiff::Timestamp::UNIX_EPOCH), String::new())
        }
    }

    fn of(record: &DatabaseRecord, phase: PhaseKind) -> Value {
        let order = order(record).unwrap();
        let mut phases = order["phases"].as_array().unwrap().iter();
        phases.find(|p| p["phase"] == json!(phase)).unwrap().clone()
    }

    #[test]
    fn an_empty_record_says_nothing_and_so_does_one_of_what_changed_nothing() {
        let mut record = DatabaseRecord::default();
        assert_eq!(order(&record), None);
        record.phases = vec![
            ran(PhaseKind::Preflight, 3, true),
            PhaseRecord {
                succeeded: false,
                nothing_applied: true,
                ..ran(PhaseKind::Expand, 4, true)
            },
        ];
        assert_eq!(order(&record), None);
    }

    #[test]
    fn what_ran_in_sql_is_told_apart_from_what_is_known_otherwise() {
        let undone = PhaseRecord {
            undone_by: Some("a-revert".into()),
            ..ran(PhaseKind::Expand, 8, true)
        };
        let failed = PhaseRecord {
            succeeded: false,
            ..ran(PhaseKind::Contract, 6, true)
        };
        let mut record = DatabaseRecord {
            phases: vec![
                ran(PhaseKind::Expand, 5, false),
                ran(PhaseKind::Expand, 6, true),
                undone,
                failed,
                ran(PhaseKind::Backfill, 6, true),
            ],
            ..DatabaseRecord::default()
        };
        let expand = json!({"phase": "Expand", "from": 0, "done": [6], "others": [5, 8]});
        assert_eq!(of(&record, PhaseKind::Expand), expand);
        let contract = json!({"phase": "Contract", "from": 0, "done": [], "others": [6]});
        assert_eq!(of(&record, PhaseKind::Contract), contract);
        assert_eq!(of(&record, PhaseKind::Backfill)["done"], json!([6]));
        // What a person has put on record of the database counts from there on.
        record.baseline = Some(Baseline {
            expanded: 6,
            contracted: 4,
            half: false,
        });
        let expand = json!({"phase": "Expand", "from": 7, "done": [], "others": [5, 6, 8]});
        assert_eq!(of(&record, PhaseKind::Expand), expand);
        assert_eq!(of(&record, PhaseKind::Contract)["from"], 5);
        assert_eq!(of(&record, PhaseKind::Backfill)["done"], json!([6]));
    }

    #[test]
    fn what_became_of_a_version_is_told_when_its_end_is_kept_no_more() {
        let version = json!({
            "version": 6, "rollout": "shop", "revision": "r",
            "asked": [{"phase": "Contract", "digest": "d", "sql": true}],
        });
        let mut version: VersionRecord = serde_json::from_value(version).unwrap();
        version.contracted = Some(Done {
            attempt: 1,
            job: "j".into(),
            began: Time(jiff::Timestamp::UNIX_EPOCH),
            ended: Time(jiff::Timestamp::UNIX_EPOCH),
            sql: true,
        });
        let record = DatabaseRecord {
            versions: vec![version],
            phases: vec![ran(PhaseKind::Expand, 900, true); KEPT_PHASES],
            ..DatabaseRecord::default()
        };
        assert_eq!(of(&record, PhaseKind::Contract)["done"], json!([6]));
        assert_eq!(of(&record, PhaseKind::Expand)["from"], 900);
        // An old revert may be in the ledger whose end is kept no more.
        assert_eq!(of(&record, PhaseKind::Revert)["from"], 901);
        // What ran counts, and not what the spec says of it since.
        let mut record = record;
        if let Some(done) = &mut record.versions[0].contracted {
            done.sql = false;
        }
        assert_eq!(of(&record, PhaseKind::Contract)["done"], json!([]));
    }
}
