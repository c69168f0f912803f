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
    assert_eq!((record.holder, record.dirty), (None, Vec::new()));
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
    assert_eq!(record.dirty[0].job, failed.base.name);
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
            version: None,
            phase: PhaseKind::Expand,
            attempt: 1,
            job: "other-r0-expand-1".into(),
            since: Time(second(1)),
        };
        record.dirty = dirty_before.then_some(dirty).into_iter().collect();
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

/// This phase of a version holds the database.
fn holds(job: &JobFacts, phase: PhaseKind, version: Option<i64>, record: &mut DatabaseRecord) {
    let holder = held_by(job).holder.expect("a holder");
    record.holder = Some(Holder {
        phase,
        version,
        ..holder
    });
}

fn left(n: i64, phase: PhaseKind, version: Option<i64>, rollout: &str) -> Dirty {
    Dirty {
        rollout: rollout.into(),
        revision: "r0".into(),
        version,
        phase,
        attempt: 1,
        job: format!("left-{n}"),
        since: Time(second(0)),
    }
}

#[test]
fn one_success_clears_what_it_has_put_right_and_no_other() {
    use PhaseKind::{Contract, Expand, Revert};
    let dirty = || {
        vec![
            left(1, Contract, Some(5), "shop"),
            left(2, Expand, Some(6), "other"),
            left(3, Revert, Some(7), "shop"),
            left(4, Expand, None, "shop"),
            left(5, Expand, None, "other"),
        ]
    };
    for (phase, version, cleared) in [
        (Expand, Some(8), None),
        (Contract, Some(5), Some("left-1")),
        // Whose attempt it was does not matter: the version is expanded now.
        (Expand, Some(6), Some("left-2")),
        // What a revert had half removed is added anew, and the other way round.
        (Expand, Some(7), Some("left-3")),
        (Revert, Some(6), Some("left-2")),
        // Without versions nobody knows that two Rollouts do the same.
        (Expand, None, Some("left-4")),
    ] {
        let mut record = DatabaseRecord {
            dirty: dirty(),
            ..DatabaseRecord::default()
        };
        holds(&job(9), phase, version, &mut record);
        let record = recorded(&seen(vec![job(9)], record)).expect("a record");
        let mut expected = dirty();
        expected.retain(|d| Some(d.job.as_str()) != cleared);
        assert_eq!(record.dirty, expected, "{phase:?} of {version:?}");
    }
}

#[test]
fn a_failure_is_remembered_beside_those_of_others_and_in_the_place_of_its_own() {
    let mut failed = job(9);
    failed.ended = Some(JobEnd {
        refusal: None,
        sql: false,
        nothing_applied: false,
        succeeded: false,
        message: "BackoffLimitExceeded".into(),
        at: second(9),
    });
    let own = left(1, PhaseKind::Contract, Some(7), "shop");
    let other = left(2, PhaseKind::Contract, Some(5), "shop");
    let mut record = DatabaseRecord {
        dirty: vec![own, other.clone()],
        ..DatabaseRecord::default()
    };
    holds(&failed, PhaseKind::Contract, Some(7), &mut record);
    let record = recorded(&seen(vec![failed], record)).expect("a record");
    let jobs: Vec<_> = record.dirty.iter().map(|d| d.job.as_str()).collect();
    assert_eq!(jobs, [other.job.as_str(), "job-09"]);
    assert_eq!(record.summary.dirty, "5/contract, 7/contract");
}

#[test]
fn a_person_says_which_jobs_leftovers_are_put_right() {
    let record = DatabaseRecord {
        dirty: vec![
            left(1, PhaseKind::Expand, Some(6), "shop"),
            left(2, PhaseKind::Contract, Some(5), "shop"),
        ],
        ..DatabaseRecord::default()
    };
    for (text, done, stay) in [
        ("left-1 a", true, 1),
        ("left-9 a", false, 2),
        ("", false, 2),
    ] {
        let mut world = seen(Vec::new(), record.clone());
        let annotations = [(keys::CLEAN.to_owned(), text.to_owned())];
        world.database.annotations = Arc::new(annotations.into());
        let answer = recorded(&world).expect("an answer");
        assert_eq!(answer.dirty.len(), stay, "{text}");
        assert_eq!(answer.commands[0].result == "Done", done, "{text}");
        let said = &answer.commands[0].message;
        assert!(
            said.contains(if done { "left-1" } else { "left-1, left-2" }),
            "{said}"
        );
    }
}

#[test]
fn what_is_open_of_a_rollout_that_is_gone_waits_for_a_person() {
    let mut record = DatabaseRecord::default();
    let open = serde_json::json!({
        "version": 7, "rollout": "gone", "revision": "r1",
        "asked": [{"phase": "Contract", "digest": "abc"}],
    });
    record.versions = vec![serde_json::from_value(open).expect("a version")];
    let mut world = seen(Vec::new(), record);
    let record = recorded(&world).expect("it is told");
    assert_eq!(
        record.summary.waits,
        "contract of version 7: Rollout gone, which does not use this database any more"
    );
    let command = record.waiting[0].missing[0].command.clone();
    assert!(command.is_some_and(|command| command.contains("stepgate.io/drop=\"7 <id>\"")));
    // Once, and not while its Rollout is there.
    world.database.record = Arc::new(record);
    assert_eq!(recorded(&world), None);
    world.rollouts.insert("gone".into(), "u-gone".into());
    assert_eq!(recorded(&world), None, "it says itself what it waits for");
}
