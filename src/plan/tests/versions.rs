//! What runs after the release of a schema version.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::fixture::{World, second};
use crate::{
    api::{
        DatabaseRecord, PhaseKind, RolloutSpec,
        database::{Approved, Done, Holder, VersionRecord},
    },
    plan::{
        facts::{PodOfJob, Question, SharerFacts, UserFacts},
        intent::Write,
        reason::Reason,
    },
};

/// A revision of version 2 is stable, and asks for a backfill and a contract.
pub(super) fn world() -> World {
    released(World::new(), |spec| {
        spec.schema = serde_json::from_value(json!({
            "database": "db",
            "version": 2,
            "expand": {"command": ["x"]},
            "backfill": {"command": ["fill"], "verify": {"command": ["prove"]}},
            "contract": {"command": ["drop"], "afterSeconds": 10, "approval": "Manual"},
        }))
        .expect("a schema");
    })
}

/// A revision of version 2 of this spec is stable.
pub(super) fn released(mut world: World, edit: impl FnOnce(&mut RolloutSpec)) -> World {
    world.seen.answers.overlaps = Some(Vec::new());
    world.seen.answers.revisions_live = true;
    world.edit_spec(edit);
    for _ in 0..4 {
        world.settle();
        world.hold(1000);
    }
    for revision in &mut world.seen.objects.revisions {
        revision.schema_version = Some(2);
    }
    world
}

/// What goes on record of version 2, but for what people read of it.
pub(super) fn recorded(world: &World) -> Option<VersionRecord> {
    let database = world.seen.objects.database.as_ref();
    let now = database.map(|d| (*d.record).clone()).unwrap_or_default();
    world
        .plan()
        .writes
        .into_iter()
        .find_map(|write| match write {
            Write::RecordDatabase { record, .. } => {
                let told = DatabaseRecord {
                    waiting: now.waiting.clone(),
                    summary: now.summary.clone(),
                    ..(*record).clone()
                };
                (told != now).then(|| record.version(2).cloned())?
            }
            _ => None,
        })
}

fn done() -> Option<Done> {
    Some(Done {
        attempt: 1,
        job: "shop-b-backfill-1".into(),
        began: Time(second(0)),
        ended: Time(second(1)),
        sql: true,
    })
}

/// Version 2 is released; its backfill ended after the last pod below it.
pub(super) fn filled() -> World {
    filled_in(world())
}

/// The same of a version that is released.
pub(super) fn filled_in(mut world: World) -> World {
    let database = world.seen.objects.database.as_ref();
    let version = database.and_then(|d| d.record.version(2).cloned());
    let mut version = version.expect("the version on record");
    version.backfilled = done();
    version.alone_since = Some(Time(second(0)));
    let record = world.database_mut();
    record.backfill_holder = None;
    record.versions = vec![version];
    world
}

/// A person approves the contract as it is, so many seconds after the first; its digest.
pub(super) fn approve(world: &mut World, at: i64) -> String {
    let version = world.database_mut().version_mut(2).expect("the version");
    let asked = version.asks(PhaseKind::Contract).expect("a contract");
    let digest = asked.digest.clone();
    version.approved = Some(Approved {
        digest: digest.clone(),
        user: "dba".into(),
        at: Time(second(at)),
    });
    digest
}

#[test]
fn a_digest_is_of_the_image_and_the_command_and_of_nothing_else() {
    let of = |edit: fn(&mut crate::api::RolloutSpec)| {
        let mut world = world();
        world.edit_spec(edit);
        world.spec.asked().to_vec()
    };
    let plain = of(|_| ());
    assert_eq!(plain.len(), 2);
    assert_eq!(plain[0].digest.len(), 12);
    assert_ne!(plain[0].digest, plain[1].digest);
    let deadline = of(|spec| {
        let contract = spec.schema.as_mut().and_then(|s| s.contract.as_mut());
        contract.expect("a contract").run.deadline_seconds = 5;
    });
    assert_eq!(plain[1].digest, deadline[1].digest);
    let other = of(|spec| {
        let contract = spec.schema.as_mut().and_then(|s| s.contract.as_mut());
        contract.expect("a contract").run.command = vec!["rm".into()];
    });
    assert_eq!(plain[0].digest, other[0].digest);
    assert_ne!(plain[1].digest, other[1].digest);
}

#[test]
fn nobody_reads_live_while_the_caches_know_who_is_below() {
    let mut world = filled();
    world.seen.objects.sharers = vec![SharerFacts {
        rollout: "worker".into(),
        wanted: Some(Some(1)),
        moves: Vec::new(),
        running: [("w1".to_owned(), Some(1))].into(),
        former: [].into(),
        was_stable: [].into(),
        kept: [].into(),
        adopted: None,
    }];
    let version = world.database_mut().version_mut(2).expect("the version");
    version.alone_since = None;
    assert_eq!(world.plan().questions, []);
    world.seen.objects.sharers.clear();
    assert_eq!(world.plan().questions, [Question::Users("db".into())]);
}

#[test]
fn whoever_is_below_again_voids_the_proof() {
    let mut world = filled();
    world.seen.objects.sharers = vec![SharerFacts {
        rollout: "worker".into(),
        wanted: Some(None),
        moves: Vec::new(),
        running: [].into(),
        former: [].into(),
        was_stable: [].into(),
        kept: [].into(),
        adopted: None,
    }];
    let version = recorded(&world).expect("a record");
    assert_eq!(version.alone_since, None);
}

#[test]
fn the_floor_is_on_record_with_the_hold_of_the_contract() {
    let mut world = filled();
    world.now = second(60);
    assert!(recorded(&world).is_none(), "nobody has approved it");
    let version = world.database_mut().version_mut(2).expect("the version");
    let digest = version
        .asks(PhaseKind::Contract)
        .expect("it")
        .digest
        .clone();
    let approved = |digest: &str| {
        Some(Approved {
            digest: digest.into(),
            user: "dba".into(),
            at: Time(second(2)),
        })
    };
    version.approved = approved("something-else");
    assert!(recorded(&world).is_none(), "something else was approved");
    let version = world.database_mut().version_mut(2).expect("the version");
    version.approved = approved(&digest);
    world.now = second(9);
    assert!(recorded(&world).is_none(), "its time is not over");
    world.now = second(60);
    let writes = world.plan().writes;
    let Some(Write::RecordDatabase { record, .. }) = writes.first() else {
        panic!("{writes:?}");
    };
    assert_eq!(record.undo_floor, Some(2));
    let holder = record.holder.as_ref().expect("a holder");
    assert_eq!(holder.phase, PhaseKind::Contract);
    assert_eq!(holder.job_uid, None, "and nothing runs yet");
}

#[test]
fn a_contract_that_is_run_again_keeps_the_flags_frozen_of_its_first_attempt() {
    let mut world = filled();
    world.now = second(60);
    approve(&mut world, 2);
    let version = world.database_mut().version_mut(2).expect("the version");
    version.frozen_flags = vec!["full-name".to_owned()];
    let version = recorded(&world).expect("a record");
    assert_eq!(version.frozen_flags, ["full-name"]);
}

/// Version 2 is released; its backfill of SQL runs.
fn filling() -> World {
    let mut world = world();
    world.step();
    let jobs = &mut world.seen.objects.jobs;
    let job = jobs.iter_mut().find(|j| j.base.name.contains("backfill"));
    let job = job.expect("the Job of the backfill");
    (job.runs, job.ended) = (true, None);
    let (name, uid) = (job.base.name.clone(), job.base.uid.clone());
    let record = world.database_mut();
    record.waiting.clear();
    let version = record.version_mut(2).expect("the version");
    version.backfilled = None;
    for asked in &mut version.asked {
        asked.sql = true;
    }
    record.backfill_holder = Some(Holder {
        rollout: "shop".into(),
        revision: version.revision.clone(),
        version: Some(2),
        phase: PhaseKind::Backfill,
        attempt: 1,
        job: name,
        job_uid: Some(uid),
        since: Time(second(0)),
        floor_before: None,
    });
    world
}

#[test]
fn nobody_is_asked_how_far_a_backfill_is_while_a_read_stays_without_an_answer() {
    let mut world = filling();
    let asks = |world: &World| {
        let questions = world.plan().questions;
        questions
            .iter()
            .any(|q| matches!(q, Question::Progress(..)))
    };
    assert!(asks(&world), "{:?}", world.plan());
    world.seen.unread = Some("Service shop: no answer".to_owned());
    assert!(!asks(&world));
}

/// The Job of a backfill has had no pod that runs for a minute; the name of the Job.
fn without_a_pod() -> (World, String) {
    let mut world = filling();
    let record = world.database_mut();
    record.phases.retain(|p| p.phase != PhaseKind::Backfill);
    let (now, job) = (world.now, world.seen.objects.jobs.len() - 1);
    let job = &mut world.seen.objects.jobs[job];
    (job.runs, job.started) = (false, Some(crate::plan::draft::later(now, -60)));
    let name = job.base.name.clone();
    (world, name)
}

#[test]
fn a_backfill_on_a_node_that_says_nothing_is_not_said_to_have_no_pod() {
    let (mut world, _) = without_a_pod();
    let silent = "pod fill-x is on node n, which has not reported since noon";
    for (killed, said) in [(0, ", but "), (1, "killed (exit code 137)")] {
        world.seen.answers.job_pod = Some(PodOfJob {
            silent: Some(silent.to_owned()),
            killed,
            ..PodOfJob::default()
        });
        world.seen.status_written = None;
        world.record();
        let schema = world.status().schema.clone().expect("the schema");
        assert_eq!(schema.state, "Running");
        let message = &schema.message;
        assert!(
            message.contains(said) && message.ends_with(silent),
            "{message}"
        );
        assert!(!message.contains("does not start"), "{message}");
        assert!(world.plan().events.is_empty(), "it was said");
    }
}

#[test]
fn pods_of_a_backfill_that_are_killed_are_counted_and_said_once_each() {
    let (mut world, name) = without_a_pod();
    assert_eq!(world.plan().questions, [Question::JobPod(name.clone())]);
    let events = |world: &World| {
        let events = world.plan().events.into_iter();
        let killed = events.filter(|event| event.reason == Reason::PodKilled);
        killed.map(|event| event.message).collect::<Vec<_>>()
    };
    let pod = |killed| PodOfJob {
        killed,
        oom: true,
        ..PodOfJob::default()
    };
    for killed in [2, 3] {
        world.seen.answers.job_pod = Some(pod(killed));
        let told = events(&world);
        let words = format!("Job {name}: {killed} of its pods were killed for want of memory");
        assert!(told[0].starts_with(&words), "{told:?}");
        world.seen.status_written = None;
        world.record();
        let schema = world.status().schema.clone().expect("the schema");
        assert!(
            schema.message.contains("raise that, or split large files"),
            "{schema:?}"
        );
        assert_eq!(events(&world), Vec::<String>::new(), "it was said");
    }
    // While it runs nobody asks.
    world.seen.answers.job_pod = None;
    world
        .seen
        .objects
        .jobs
        .iter_mut()
        .for_each(|job| job.runs = true);
    let questions = world.plan().questions;
    assert!(
        !questions.contains(&Question::JobPod(name)),
        "{questions:?}"
    );
}

#[test]
fn a_contract_whose_gate_closes_before_it_runs_gives_the_floor_back() {
    let mut world = filled();
    world.now = second(60);
    approve(&mut world, 2);
    world.step();
    assert_eq!(world.database_mut().undo_floor, Some(2));
    world.seen.answers.users = Some([UserFacts::of("CronJob nightly".into(), None, true)].into());
    for _ in 0..20 {
        world.step();
    }
    let record = world.database_mut();
    assert_eq!(record.holder, None);
    assert_eq!(record.undo_floor, None);
    assert_eq!(record.version(2).expect("it").alone_since, None);
}

#[test]
fn what_is_changed_after_its_approval_does_not_run() {
    let mut world = filled();
    world.now = second(60);
    let digest = approve(&mut world, 2);
    world.step();
    assert!(world.database_mut().holder.is_some(), "it is taken");
    world.edit_spec(|spec| {
        let contract = spec.schema.as_mut().and_then(|s| s.contract.as_mut());
        contract.expect("a contract").run.command = vec!["drop".into(), "more".into()];
    });
    for _ in 0..10 {
        for write in world.plan().writes {
            let job = super::makes_a_job(&write);
            assert!(!job, "nobody approved that");
            world.apply(write);
        }
    }
    let record = world.database_mut();
    assert_eq!((&record.holder, record.undo_floor), (&None, None));
    let version = record.version(2).expect("the version");
    assert_eq!(version.approved, None, "what changes voids it");
    let now = &version.asks(PhaseKind::Contract).expect("it").digest;
    assert_ne!(*now, digest);
}

#[test]
fn an_approval_that_did_not_know_of_a_later_expand_does_not_count() {
    let mut world = filled();
    world.now = second(60);
    let record = world.database_mut();
    let mut later = record.phases[0].clone();
    (later.version, later.ended) = (Some(3), Time(second(30)));
    record.phases.push(later);
    approve(&mut world, 20);
    assert!(recorded(&world).is_none());
    approve(&mut world, 40);
    assert!(recorded(&world).is_some());
}
