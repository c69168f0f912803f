//! What waits after a release: how it is told, and how seldom it is looked for.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    fixture::{World, condition, second},
    versions::{approve, filled},
};
use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{Missing, Waiting},
    },
    plan::{
        draft::later,
        facts::{KnownUsers, Question, SharerFacts, UserFacts},
        intent::Write,
    },
};

fn told(world: &World) -> Option<DatabaseRecord> {
    let mut writes = world.plan().writes.into_iter();
    writes.find_map(|write| match write {
        Write::RecordDatabase { record, .. } => Some(*record),
        _ => None,
    })
}

/// Everything is there for the contract of version 2 but the approval.
fn unapproved() -> World {
    let mut world = filled();
    world.now = second(60);
    world
}

fn another(wanted: i64, at: &str) -> SharerFacts {
    SharerFacts {
        rollout: at.into(),
        wanted: Some(Some(wanted)),
        moves: Vec::new(),
        running: [].into(),
        former: [].into(),
        was_stable: [].into(),
        kept: [].into(),
        adopted: None,
    }
}

#[test]
fn what_a_contract_waits_for_stands_on_the_database_and_costs_one_write() {
    let mut world = unapproved();
    let record = told(&world).expect("it is told");
    let digest = &record
        .version(2)
        .unwrap()
        .asks(PhaseKind::Contract)
        .unwrap()
        .digest;
    let note = "image shop:v1 is unpinned: its tag may lead to another image by then";
    let command = format!(
        "kubectl annotate -n ns databaseschema db --overwrite \
         stepgate.io/approve=\"2/contract/{digest} <id> <user>\""
    );
    let approval = Missing {
        what: "an approval".into(),
        note: Some(note.into()),
        command: Some(command.clone()),
    };
    let waiting = Waiting {
        version: 2,
        rollout: "shop".into(),
        phase: PhaseKind::Contract,
        missing: vec![approval],
    };
    assert_eq!(record.waiting, [waiting]);
    assert_eq!(record.summary.version, Some(2));
    let waits = &record.summary.waits;
    assert_eq!(waits, "contract of version 2: an approval");
    // Once it is told, nothing of that is written again, however long it lasts.
    world.settle();
    for seconds in [1, 100, 100_000] {
        world.now = later(world.now, seconds);
        assert_eq!(told(&world), None);
    }
    // The Rollout says so too: whole in the condition, in short in the column.
    let status = world.status();
    let ready = condition(status, "Ready");
    assert_eq!(ready.status, "True");
    assert!(ready.message.contains(&command), "{}", ready.message);
    assert!(ready.message.contains(note), "{}", ready.message);
    let column = &status.summary.message;
    assert!(column.chars().count() < 120, "{column}");
    let short = "; contract of version 2 waits for: an approval (kubectl describe sro shop)";
    assert!(column.ends_with(short), "{column}");
    // Another thing that is missing is told, and when nothing is, nothing.
    world.seen.objects.sharers = vec![another(1, "worker")];
    let more = (0..5).find_map(|_| {
        let record = told(&world);
        world.step();
        record.filter(|record| record.waiting[0].missing.len() > 1)
    });
    let more = more.expect("it is told");
    assert_eq!(
        more.waiting[0].missing[0].what,
        "Rollout worker asks for version 1"
    );
}

#[test]
fn a_contract_that_takes_the_database_waits_no_more() {
    let mut world = unapproved();
    world.settle();
    assert_eq!(world.database_mut().waiting.len(), 1);
    approve(&mut world, 2);
    let record = told(&world).expect("it takes the database");
    assert!(record.holder.is_some());
    assert_eq!(record.waiting, []);
    assert_eq!(record.summary.waits, "");
    assert_eq!(record.summary.runs, "contract of version 2 (shop)");
}

#[test]
fn times_are_told_on_the_rollout_and_not_on_the_database() {
    let mut world = filled();
    approve(&mut world, 0);
    world.now = second(5);
    let record = told(&world).expect("it is told");
    assert_eq!(record.waiting[0].missing[0].what, "the end of afterSeconds");
    world.settle();
    let words = &condition(world.status(), "Ready").message;
    assert!(
        words.contains("the end of afterSeconds, at 2027-01-15T08:00:10Z"),
        "{words}"
    );
}

#[test]
fn what_others_wait_for_stays_as_they_have_said_it() {
    let mut world = unapproved();
    let theirs = Waiting {
        version: 1,
        rollout: "worker".into(),
        phase: PhaseKind::Backfill,
        missing: vec![Missing {
            what: "the sun".into(),
            note: None,
            command: None,
        }],
    };
    let record = world.database_mut();
    let mut version = record.version(2).unwrap().clone();
    (version.version, version.rollout) = (1, "worker".into());
    (version.backfilled, version.contracted) = (None, None);
    record.versions.push(version);
    record.waiting = vec![theirs.clone()];
    let record = told(&world).expect("it is told");
    assert_eq!(record.waiting.len(), 2);
    assert_eq!(record.waiting[0], theirs);
    let waits = &record.summary.waits;
    assert!(waits.contains("backfill of version 1: the sun"), "{waits}");
    assert!(waits.ends_with("and 1 more of other versions"), "{waits}");
}

#[test]
fn a_failed_contract_waits_for_a_retry() {
    let mut world = unapproved();
    let stable = world.status().stable.clone().expect("stable").revision;
    let record = world.database_mut();
    let mut failed = record.phases[0].clone();
    failed.phase = PhaseKind::Contract;
    (failed.version, failed.revision) = (Some(2), stable);
    (failed.succeeded, failed.job) = (false, "shop-contract-1".into());
    record.phases.push(failed);
    let record = told(&world).expect("it is told");
    let missing = &record.waiting[0].missing[0];
    assert_eq!(missing.what, "a retry: Job shop-contract-1 failed");
    assert!(
        missing
            .command
            .as_ref()
            .is_some_and(|c| c.contains("stepgate.io/retry="))
    );
}

/// Nobody is below version 2 by the caches, and a CronJob was when that was read.
fn lagging(same: u32) -> World {
    let mut world = filled();
    let version = world.database_mut().version_mut(2).expect("the version");
    version.alone_since = None;
    let rollouts = world.seen.objects.on_database();
    world.seen.users = Some(Arc::new(KnownUsers {
        database: "db".into(),
        users: [UserFacts::of("CronJob nightly".into(), Some(1), true)].into(),
        rollouts,
        at: world.now,
        same,
    }));
    world
}

#[test]
fn who_lags_is_asked_again_after_ever_longer_times() {
    let asks = [Question::Users("db".into())];
    for (same, seconds) in [(0, 30), (1, 60), (2, 120), (3, 240), (4, 300), (40, 300)] {
        let mut world = lagging(same);
        assert_eq!(world.plan().questions, []);
        let record = told(&world).expect("it is told meanwhile");
        let what = &record.waiting[0].missing[0].what;
        assert_eq!(what, "CronJob nightly needs version 1");
        world.now = later(world.now, seconds - 1);
        assert_eq!(world.plan().questions, []);
        world.now = later(world.now, 1);
        assert_eq!(world.plan().questions, asks);
    }
}

#[test]
fn who_lags_is_asked_at_once_when_the_caches_show_a_change() {
    let asks = [Question::Users("db".into())];
    let mut world = lagging(9);
    world.seen.objects.sharers = vec![another(2, "worker")];
    assert_eq!(world.plan().questions, asks);
    // Of another database nothing is known; and nobody waits for somebody who is at the version.
    for (database, version) in [("other", 1), ("db", 2)] {
        let mut world = lagging(9);
        let known = world.seen.users.take().expect("what is known");
        world.seen.users = Some(Arc::new(KnownUsers {
            database: database.into(),
            users: [UserFacts::of("CronJob nightly".into(), Some(version), true)].into(),
            ..(*known).clone()
        }));
        assert_eq!(world.plan().questions, asks);
    }
    // What is let run rests on what is read just then.
    let mut world = lagging(9);
    world.seen.answers.users = Some(Vec::new().into());
    let record = told(&world).expect("a record");
    let since = record.version(2).and_then(|v| v.alone_since.clone());
    assert_eq!(since, Some(Time(world.now)));
}
