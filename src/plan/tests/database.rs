//! What a database does with its own record and Jobs, whatever became of the Rollouts.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::fixture::second;
use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{Dirty, Holder, PhaseRecord},
        keys,
    },
    plan::{
        database::{self, Shown},
        facts::{Base, DatabaseFacts, DatabaseObjects, JobEnd, JobFacts},
        intent::Write,
    },
};

/// A Job that has ended well, `n` seconds after the first.
fn job(n: i64) -> JobFacts {
    JobFacts {
        base: Base {
            name: format!("job-{n:02}"),
            uid: format!("u-{n}"),
            resource_version: "1".into(),
        },
        rollout: "shop".into(),
        revision: "r1".into(),
        test: false,
        owner_uid: Some("u-db".into()),
        epoch: Some(1),
        suspended: false,
        started: Some(second(n)),
        runs: false,
        live_pods: 0,
        failed_pods: 0,
        ended: Some(JobEnd {
            refusal: None,
            sql: false,
            nothing_applied: false,
            succeeded: true,
            message: String::new(),
            at: second(n),
        }),
        deleting: false,
    }
}

fn phase(job: &JobFacts) -> PhaseRecord {
    PhaseRecord {
        refusal: None,
        sql: false,
        floor_before: None,
        nothing_applied: false,
        undone_by: None,
        rollout: "shop".into(),
        revision: "r1".into(),
        version: None,
        phase: PhaseKind::Expand,
        attempt: 1,
        succeeded: true,
        job: job.base.name.clone(),
        began: None,
        ended: Time(second(0)),
        message: String::new(),
    }
}

fn seen(jobs: Vec<JobFacts>, record: DatabaseRecord) -> DatabaseObjects {
    DatabaseObjects {
        database: DatabaseFacts {
            annotations: Arc::default(),
            base: Base {
                name: "db".into(),
                uid: "u-db".into(),
                resource_version: "1".into(),
            },
            finalizers: record.holder.iter().map(|_| keys::HELD.into()).collect(),
            record: Arc::new(record),
            allowed: None,
            deleting: false,
        },
        jobs,
        rollouts: BTreeMap::from([("shop".into(), "u-shop".into())]),
    }
}

fn held_by(job: &JobFacts) -> DatabaseRecord {
    DatabaseRecord {
        holder: Some(Holder {
            floor_before: None,
            rollout: "shop".into(),
            revision: "r1".into(),
            version: None,
            phase: PhaseKind::Expand,
            attempt: 1,
            job: job.base.name.clone(),
            job_uid: Some(job.base.uid.clone()),
            since: Time(second(0)),
        }),
        ..DatabaseRecord::default()
    }
}

fn deleted(seen: &DatabaseObjects) -> Vec<String> {
    let writes = database::plan(seen, &Shown::default(), second(0), 1).writes;
    let name = |write: Write| match write {
        Write::Delete { base, .. } => base.name,
        other => panic!("{other:?}"),
    };
    writes.into_iter().map(name).collect()
}

fn recorded(seen: &DatabaseObjects) -> Option<DatabaseRecord> {
    let write = database::plan(seen, &Shown::default(), second(0), 1)
        .writes
        .into_iter()
        .next()?;
    match write {
        Write::RecordDatabase { record, .. } => Some(*record),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_ten_finished_jobs_are_kept_for_their_logs() {
    let jobs: Vec<_> = (0..14).map(job).collect();
    let mut record = DatabaseRecord {
        phases: jobs.iter().map(phase).collect(),
        ..DatabaseRecord::default()
    };
    let mut world = seen(jobs, record.clone());
    let oldest = ["job-03", "job-02", "job-01", "job-00"];
    assert_eq!(deleted(&world), oldest);
    // One whose end is on no record is not known to have been read; one that has a pod, or goes
    // already, is left alone.
    record.phases.remove(0);
    world.database.record = Arc::new(record);
    world.jobs[1].live_pods = 1;
    world.jobs[2].deleting = true;
    assert_eq!(deleted(&world), ["job-03"]);
    // While a phase runs nothing is tidied.
    let last = world.jobs[13].clone();
    Arc::make_mut(&mut world.database.record).holder = held_by(&last).holder;
    assert!(recorded(&world).is_some());
}

#[test]
fn the_end_that_is_recorded_is_that_of_the_job_that_holds() {
    let (other, mut own) = (job(1), job(2));
    own.ended = None;
    let mut world = seen(vec![other, own.clone()], held_by(&own));
    assert_eq!(recorded(&world), None, "it still runs");
    // One of the same name that somebody made anew is another.
    world.jobs[1] = job(2);
    world.jobs[1].base.uid = "u-anew".into();
    assert_eq!(recorded(&world), None);
    world.jobs[1].base.uid = own.base.uid;
    let record = recorded(&world).unwrap();
    assert_eq!((record.holder, record.dirty), (None, None));
    assert_eq!(record.phases[0].job, "job-02");
}

#[test]
fn a_phase_that_failed_is_told_and_leaves_the_database_dirty() {
    let mut failed = job(1);
    failed.ended = Some(JobEnd {
        refusal: None,
        sql: false,
        nothing_applied: false,
        succeeded: false,
        message: "BackoffLimitExceeded".into(),
        at: second(5),
    });
    let mut world = seen(vec![failed.clone()], held_by(&failed));
    let record = recorded(&world).unwrap();
    assert_eq!(record.phases[0].message, "BackoffLimitExceeded");
    assert_eq!(record.dirty.unwrap().job, failed.base.name);
    let events = database::plan(&world, &Shown::default(), second(0), 1).events;
    assert_eq!(events.len(), 1);
    assert!(events[0].warning && events[0].message.contains("BackoffLimitExceeded"));
    world.jobs[0] = job(1);
    assert_eq!(
        database::plan(&world, &Shown::default(), second(0), 1).events,
        []
    );
}

#[test]
fn a_phase_that_has_applied_nothing_leaves_the_database_as_it_was() {
    for dirty_before in [false, true] {
        let mut failed = job(1);
        failed.ended = Some(JobEnd {
            refusal: None,
            sql: false,
            nothing_applied: true,
            succeeded: false,
            message: "BackoffLimitExceeded".into(),
            at: second(5),
        });
        let mut record = held_by(&failed);
        let dirty = Dirty {
            rollout: "other".into(),
            revision: "r0".into(),
            phase: PhaseKind::Expand,
            attempt: 1,
            job: "other-r0-expand-1".into(),
            since: Time(second(1)),
        };
        record.dirty = dirty_before.then_some(dirty);
        let before = record.dirty.clone();
        let record = recorded(&seen(vec![failed], record)).unwrap();
        assert_eq!(record.dirty, before, "nobody else's is cleared either");
        assert!(record.phases[0].nothing_applied && !record.phases[0].succeeded);
    }
}

/// A Job may be called failed while its pod still ends (Kubernetes waits for that since 1.31, so the
/// simulator's cluster does too), and that may still change the schema.
#[test]
fn an_end_is_put_on_record_when_the_pods_are_gone() {
    let mut ending = job(1);
    ending.live_pods = 1;
    let record = held_by(&ending);
    assert_eq!(recorded(&seen(vec![ending.clone()], record.clone())), None);
    ending.live_pods = 0;
    let recorded = recorded(&seen(vec![ending], record)).expect("a record");
    assert!(recorded.holder.is_none());
    assert_eq!(recorded.phases.len(), 1);
}

/// The contract of version 7 has ended so, attempt by attempt; the floor was 5 before it.
fn contracts(ends: &[bool]) -> DatabaseRecord {
    let attempt = |(n, nothing_applied): (usize, &bool)| {
        let attempt = i64::try_from(n).unwrap() + 1;
        PhaseRecord {
            phase: PhaseKind::Contract,
            version: Some(7),
            attempt,
            succeeded: false,
            nothing_applied: *nothing_applied,
            floor_before: Some(if attempt == 1 { 5 } else { 7 }),
            ..phase(&job(attempt))
        }
    };
    DatabaseRecord {
        undo_floor: Some(7),
        phases: ends.iter().enumerate().map(attempt).collect(),
        ..DatabaseRecord::default()
    }
}

/// What a person's wish comes to: the floor after it, and the words.
fn lowered(record: DatabaseRecord, text: &str) -> (Option<i64>, String) {
    let mut world = seen(Vec::new(), record);
    let annotations = [(keys::LOWER_FLOOR.to_owned(), text.to_owned())];
    world.database.annotations = Arc::new(annotations.into());
    let record = recorded(&world).expect("an answer");
    (record.undo_floor, record.commands[0].message.clone())
}

#[test]
fn the_floor_goes_down_only_where_every_attempt_proves_that_nothing_was_applied() {
    let (floor, said) = lowered(contracts(&[true, true]), "7 please");
    assert_eq!(floor, Some(5));
    assert_eq!(
        said,
        "nothing of the contract of version 7 was applied: the undo floor is 5 again"
    );
    for (record, text, why) in [
        (
            contracts(&[true, false]),
            "7 a",
            "job-02 of the contract of version 7 may have removed",
        ),
        (
            contracts(&[false, true]),
            "7 a",
            "job-01 of the contract of version 7 may have removed",
        ),
        (contracts(&[]), "7 a", "not all on record any more"),
        (
            contracts(&[true]),
            "6 a",
            "the undo floor is 7, so the contract of version 6",
        ),
        (contracts(&[true]), "x a", "is not a version"),
        (
            DatabaseRecord {
                undo_floor: None,
                ..contracts(&[true])
            },
            "7 a",
            "there is no undo floor",
        ),
    ] {
        let before = record.undo_floor;
        let (floor, said) = lowered(record, text);
        assert_eq!(floor, before);
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn the_floor_never_goes_below_what_another_contract_removed() {
    let mut record = contracts(&[true]);
    // As an older operator kept it, or as it was before the other contract.
    record.phases[0].floor_before = None;
    let other = PhaseRecord {
        phase: PhaseKind::Contract,
        version: Some(5),
        attempt: 1,
        succeeded: true,
        nothing_applied: false,
        ..phase(&job(3))
    };
    record.phases.insert(0, other);
    let (floor, said) = lowered(record, "7 a");
    assert_eq!(floor, Some(5));
    assert!(said.ends_with("the undo floor is 5 again"), "{said}");
}

#[test]
fn a_contract_that_applied_nothing_takes_its_floor_back() {
    for (floor_before, earlier, then) in [
        (Some(5), &[][..], Some(5)),
        (None, &[][..], None),
        (Some(7), &[false][..], Some(7)),
    ] {
        let mut failed = job(9);
        failed.ended = Some(JobEnd {
            refusal: None,
            sql: false,
            nothing_applied: true,
            succeeded: false,
            message: "BackoffLimitExceeded".into(),
            at: second(9),
        });
        let held = held_by(&failed).holder.unwrap();
        let record = DatabaseRecord {
            holder: Some(Holder {
                phase: PhaseKind::Contract,
                version: Some(7),
                attempt: i64::try_from(earlier.len()).unwrap() + 1,
                floor_before,
                ..held
            }),
            ..contracts(earlier)
        };
        let world = seen(vec![failed], record);
        assert_eq!(
            recorded(&world).unwrap().undo_floor,
            then,
            "{floor_before:?}"
        );
        let events = database::plan(&world, &Shown::default(), second(0), 1).events;
        let told = events.iter().any(|e| e.reason.word() == "FloorLowered");
        assert_eq!(told, then != Some(7));
    }
}
