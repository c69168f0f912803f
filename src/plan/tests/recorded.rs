//! The record of a database and the ledger in it disagree, as the runner says.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{
    fixture::{World, condition, second},
    phases::{steps, with_preflight},
    versions::filled,
};
use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{Baseline, Holder, PhaseRecord, SqlRefusal},
        keys,
    },
    plan::{
        self,
        database::Shown,
        facts::{DatabaseObjects, JobEnd, JobLog},
        intent::Write,
    },
};

/// The Job that runs is refused for that.
fn refused(world: &mut World) {
    let at = world.now;
    let jobs = world.seen.objects.jobs.iter_mut();
    for job in jobs.filter(|j| !j.suspended && j.ended.is_none()) {
        job.ended = Some(JobEnd {
            refusal: Some(SqlRefusal::RecordDisagrees),
            sql: true,
            nothing_applied: true,
            succeeded: false,
            message: "exit code 66".into(),
            at,
        });
    }
    world.finish_database();
}

const LOG: &str = "by the ledger the contract of version 7 has run";

fn assert_told(message: &str) {
    for words in [
        "DatabaseSchema db",
        "of version 2",
        "Nothing ran",
        "kubectl annotate -n ns databaseschema db --overwrite stepgate.io/baseline=\"",
        "stepgate.io/retry",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn an_expand_that_is_refused_for_that_has_its_own_reason() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    world.edit_spec(|spec| spec.schema.as_mut().expect("a schema").version = Some(2));
    while !world.seen.objects.jobs.iter().any(|job| !job.suspended) {
        world.step();
    }
    refused(&mut world);
    world.seen.answers.job_log = Some(JobLog::Ends(LOG.into()));
    world.record();
    world.settle();
    let stalled = condition(world.status(), "Stalled").clone();
    assert_eq!(
        (&*stalled.status, &*stalled.reason),
        ("True", "RecordDisagrees")
    );
    assert_told(&stalled.message);
    assert!(stalled.message.contains(LOG), "{stalled:?}");
    assert!(stalled.message.contains(" failed at "), "{stalled:?}");
    let ready = condition(world.status(), "SchemaReady");
    assert!(ready.message.contains(LOG), "{ready:?}");
    assert!(world.database_mut().dirty.is_empty());
}

#[test]
fn a_preflight_that_is_refused_for_that_is_not_tried_again_by_itself() {
    let mut world = with_preflight(json!({"deadlineSeconds": 600, "command": ["x"]}));
    steps(&mut world, 40);
    refused(&mut world);
    world.seen.answers.job_log = Some(JobLog::Ends(LOG.into()));
    steps(&mut world, 3);
    assert!(world.status().release.is_none());
    let stalled = condition(world.status(), "Stalled");
    assert_eq!(stalled.reason, "RecordDisagrees");
    assert_told(&stalled.message);
    let schema = world.status().schema.clone().expect("a schema");
    assert_eq!(schema.phase, PhaseKind::Preflight);
}

#[test]
fn a_contract_that_is_refused_for_that_stalls_its_rollout() {
    let mut world = filled();
    let revision = world.spec.revision().to_owned();
    let holder = Holder {
        rollout: "shop".into(),
        revision,
        version: Some(2),
        phase: PhaseKind::Contract,
        attempt: 1,
        job: "shop-b-contract-1".into(),
        job_uid: None,
        since: Time(second(0)),
        floor_before: None,
    };
    let ended = PhaseRecord {
        refusal: Some(SqlRefusal::RecordDisagrees),
        nothing_applied: true,
        sql: true,
        ..holder.ended(false, Time(second(1)), "exit code 66".into())
    };
    world.database_mut().phases.push(ended);
    let status = world.decide();
    let ready = condition(&status, "SchemaReady");
    assert_eq!(ready.reason, "RecordDisagrees");
    assert_told(&ready.message);
    assert!(
        ready
            .message
            .contains("kubectl logs -n ns job/shop-b-contract-1")
    );
    let stalled = condition(&status, "Stalled");
    assert_eq!(
        (&*stalled.status, &*stalled.reason),
        ("True", "RecordDisagrees")
    );
    assert_eq!(condition(&status, "Available").status, "True");
}

/// Expands of 5 to 7 have run in SQL, the one of 8 as a command; the contracts of 5 and 7 too.
fn record() -> DatabaseRecord {
    let ran = |phase: PhaseKind, version: i64, sql: bool| {
        let holder = Holder {
            rollout: "shop".into(),
            revision: format!("r{version}"),
            version: Some(version),
            phase,
            attempt: 1,
            job: format!("shop-r{version}-{}-1", phase.word()),
            job_uid: None,
            since: Time(second(0)),
            floor_before: None,
        };
        PhaseRecord {
            sql,
            ..holder.ended(true, Time(second(1)), String::new())
        }
    };
    let done =
        json!({"attempt": 1, "job": "j", "began": second(0), "ended": second(1), "sql": true});
    let version = json!({
        "version": 7, "rollout": "shop", "revision": "r7", "stableSince": second(0),
        "asked": [{"phase": "Backfill", "digest": "b", "sql": true},
                  {"phase": "Contract", "digest": "c", "sql": true}],
        "backfilled": done, "contracted": done, "aloneSince": second(0), "frozenFlags": ["new"],
        "approved": {"digest": "c", "user": "dba", "at": second(0)},
    });
    DatabaseRecord {
        phases: vec![
            ran(PhaseKind::Expand, 5, true),
            ran(PhaseKind::Contract, 5, true),
            ran(PhaseKind::Expand, 6, true),
            ran(PhaseKind::Expand, 7, true),
            ran(PhaseKind::Contract, 7, true),
            ran(PhaseKind::Expand, 8, false),
        ],
        versions: vec![serde_json::from_value(version).expect("a version")],
        stable_version: Some(8),
        undo_floor: Some(7),
        ..DatabaseRecord::default()
    }
}

/// What comes of a person's command, and the words for it.
fn said(record: DatabaseRecord, text: &str) -> (DatabaseRecord, String) {
    let mut world = World::new();
    *world.database_mut() = record;
    let mut database = world.seen.objects.database.clone().expect("a database");
    let annotations = [(keys::BASELINE.to_owned(), text.to_owned())];
    database.annotations = Arc::new(annotations.into());
    let seen = DatabaseObjects {
        database,
        jobs: Vec::new(),
        rollouts: BTreeMap::from([("shop".into(), "u-shop".into())]),
    };
    let plan = plan::database::plan(&seen, &Shown::default(), second(100), 1);
    let written = plan.writes.into_iter().find_map(|write| match write {
        Write::RecordDatabase { record, .. } => Some(*record),
        _ => None,
    });
    let record = written.expect("an answer");
    let words = record.commands[0].message.clone();
    (record, words)
}

#[test]
fn a_database_of_an_earlier_time_is_put_on_record() {
    let (after, words) = said(record(), "6/5 now");
    assert!(words.contains("the undo floor is 5"), "{words}");
    let counts = |p: &&PhaseRecord| p.undone_by.is_none();
    let left: Vec<_> = after.phases.iter().filter(counts).collect();
    let left: Vec<_> = left.iter().map(|p| (p.phase, p.version)).collect();
    assert_eq!(
        left,
        [
            (PhaseKind::Expand, Some(5)),
            (PhaseKind::Contract, Some(5)),
            (PhaseKind::Expand, Some(6)),
            // No ledger has what ran in another way.
            (PhaseKind::Expand, Some(8)),
        ]
    );
    let version = after.version(7).expect("the version");
    assert!(version.backfilled.is_none() && version.contracted.is_none());
    assert!(version.approved.is_none() && version.alone_since.is_none());
    assert!(version.frozen_flags.is_empty() && version.lacks_contract());
    assert_eq!((after.undo_floor, after.stable_version), (Some(5), Some(6)));
    let baseline = Baseline {
        expanded: 6,
        contracted: 5,
        half: false,
    };
    assert_eq!(after.baseline, Some(baseline));
    assert_eq!(said(record(), "0/0 now").0.undo_floor, None);
}

#[test]
fn a_database_ahead_of_its_record_raises_the_floor() {
    let mut old = record();
    old.phases.truncate(3);
    // Put on record anew, for stable.
    let version = &mut old.versions[0];
    (version.backfilled, version.contracted) = (None, None);
    (old.undo_floor, old.stable_version) = (Some(5), Some(6));
    let (after, words) = said(old, "7/7 now");
    assert!(words.contains("the undo floor is 7"), "{words}");
    assert_eq!((after.undo_floor, after.stable_version), (Some(7), Some(6)));
    assert!(after.phases.iter().all(|p| p.undone_by.is_none()));
    let version = after.version(7).expect("the version");
    assert!(version.dropped && !version.is_open(), "it has run");
}

#[test]
fn a_contract_that_stopped_half_way_is_no_whole_one_on_record() {
    let mut old = record();
    old.phases.truncate(3);
    let (after, words) = said(old, "7/7+ now");
    assert!(
        words.contains("contracted up to version 7 (stopped half-way"),
        "{words}"
    );
    assert_eq!(after.undo_floor, Some(7), "something is gone");
    assert!(after.baseline.is_some_and(|baseline| baseline.half));
}

#[test]
fn what_is_no_baseline_is_ignored_with_the_reason() {
    let mut held = record();
    held.holder = Some(Holder {
        rollout: "shop".into(),
        revision: "r9".into(),
        version: Some(9),
        phase: PhaseKind::Expand,
        attempt: 1,
        job: "shop-r9-expand-1".into(),
        job_uid: None,
        since: Time(second(0)),
        floor_before: None,
    });
    for (before, text, why) in [
        (record(), "7 a", "is not <expanded>/<contracted>"),
        (record(), "7/x a", "is not <expanded>/<contracted>"),
        (record(), "7/0+ a", "is not <expanded>/<contracted>"),
        (record(), "-1/0 a", "is not <expanded>/<contracted>"),
        (
            record(),
            "5/7 a",
            "contracted up to version 7, but expanded up to 5",
        ),
        (held, "7/5 a", "holds the database for Job shop-r9-expand-1"),
    ] {
        let (after, words) = said(before.clone(), text);
        assert!(words.contains(why), "{why}: {words}");
        assert_eq!(after.phases, before.phases);
        assert_eq!(after.undo_floor, before.undo_floor);
    }
}

#[test]
fn a_job_that_ran_while_an_older_record_has_no_uid_of_it_is_followed_to_its_end() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    while !world.seen.objects.jobs.iter().any(|job| !job.suspended) {
        world.step();
    }
    let uid = world.seen.objects.jobs[0].base.uid.clone();
    let job = &mut world.seen.objects.jobs[0];
    job.started = Some(world.now);
    let holder = world.database_mut().holder.as_mut().expect("a hold");
    assert_eq!(holder.job_uid.take(), Some(uid.clone()));
    let written = world
        .plan()
        .writes
        .into_iter()
        .find_map(|write| match write {
            Write::RecordDatabase { record, .. } => record.holder.and_then(|h| h.job_uid),
            _ => None,
        });
    assert_eq!(written, Some(uid));
    // One of an hour before the hold is of an attempt that the record has forgotten with a restore.
    world.seen.objects.jobs[0].started = Some(crate::plan::draft::later(world.now, -3600));
    let adopts = |write: &Write| match write {
        Write::RecordDatabase { record, .. } => record.holder.iter().any(|h| h.job_uid.is_some()),
        _ => false,
    };
    assert!(!world.plan().writes.iter().any(adopts));
}

#[test]
fn a_version_that_never_had_an_expand_lacks_none() {
    let mut world = filled();
    let record = world.database_mut();
    record.versions[0].backfilled = None;
    record.baseline = Some(Baseline {
        expanded: 1,
        contracted: 0,
        half: false,
    });
    record.phases.clear();
    let takes = |write: &Write| match write {
        Write::RecordDatabase { record, .. } => record.backfill_holder.is_some(),
        _ => false,
    };
    assert!(world.plan().writes.iter().any(takes), "its backfill begins");
}

#[test]
fn a_version_whose_expand_is_gone_runs_nothing_until_it_is_released_again() {
    let mut world = filled();
    let record = world.database_mut();
    record.versions[0].backfilled = None;
    record.baseline = Some(Baseline {
        expanded: 1,
        contracted: 0,
        half: false,
    });
    for phase in &mut record.phases {
        phase.undone_by = Some(keys::BASELINE.to_owned());
    }
    let takes = |write: &Write| match write {
        Write::RecordDatabase { record, .. } => record.holders().next().is_some(),
        _ => false,
    };
    assert!(!world.plan().writes.iter().any(takes));
    let ready = condition(&world.decide(), "SchemaReady").clone();
    let words = "release version 2 once more";
    assert!(ready.message.contains(words), "{ready:?}");
    for phase in &mut world.database_mut().phases {
        phase.undone_by = None;
    }
    let ready = condition(&world.decide(), "SchemaReady").clone();
    assert!(!ready.message.contains(words), "{ready:?}");
}
