//! What comes before an expand, and what takes it back.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::fixture::{World, condition, second, stalled};
use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{Approved, PhaseRecord, VersionRecord},
        keys,
        status::{Ended, Outcome},
    },
    plan::{
        draft::later,
        facts::{JobEnd, JobLog, Question, SharerFacts, UserFacts},
        intent::Write,
        job::protocol,
    },
};

pub fn world(schema: Value) -> World {
    let mut world = World::new();
    world.seen.answers.overlaps = Some(Vec::new());
    world.seen.answers.revisions_live = true;
    world.seen.answers.hold_live = Some("u-db".into());
    world.edit_spec(|spec| {
        let mut whole = json!({"database": "db", "version": 2, "expand": {"command": ["x"]}});
        if let (Some(all), Value::Object(more)) = (whole.as_object_mut(), schema) {
            all.extend(more);
        }
        spec.schema = serde_json::from_value(whole).expect("a schema");
    });
    world.database_mut();
    world
}

pub(crate) fn with_preflight(preflight: Value) -> World {
    world(json!({ "preflight": preflight }))
}

fn ran(phase: PhaseKind, version: i64, succeeded: bool) -> PhaseRecord {
    PhaseRecord {
        refusal: None,
        sql: false,
        floor_before: None,
        rollout: "other".into(),
        revision: "r".into(),
        version: Some(version),
        phase,
        attempt: 1,
        succeeded,
        nothing_applied: false,
        undone_by: None,
        job: "other-r-1".into(),
        began: None,
        ended: Time(second(0)),
        message: String::new(),
    }
}

fn stage(world: &World) -> &'static str {
    let release = world.status().release.as_ref();
    release.map_or("", |release| release.stage.word())
}

fn says(world: &World) -> String {
    condition(world.status(), "Reconciling").message.clone()
}

fn backed_up(world: &mut World, text: &str) {
    let database = world.seen.objects.database.as_mut().expect("a database");
    let said = BTreeMap::from([(keys::BACKUP_AT.to_owned(), text.to_owned())]);
    database.annotations = Arc::new(said);
}

/// The Job that runs ends so.
pub fn ends(world: &mut World, succeeded: bool) {
    let at = world.now;
    let jobs = world.seen.objects.jobs.iter_mut();
    for job in jobs.filter(|j| !j.suspended && j.ended.is_none()) {
        job.ended = Some(JobEnd {
            refusal: None,
            sql: false,
            nothing_applied: false,
            succeeded,
            message: "exit 1".into(),
            at,
        });
    }
    world.finish_database();
}

pub fn steps(world: &mut World, count: usize) {
    for _ in 0..count {
        world.step();
    }
}

#[test]
fn a_backup_is_asked_for_and_each_answer_has_its_words() {
    let mut world = with_preflight(json!({"deadlineSeconds": 300, "maxBackupAgeSeconds": 3600}));
    world.now = second(7200);
    steps(&mut world, 25);
    let say = "kubectl annotate -n ns databaseschema db --overwrite stepgate.io/backup-at=";
    for (text, words) in [
        ("", "no backup of db is known"),
        ("yesterday", "\"yesterday\", and not a time as"),
        ("2031-01-01T00:00:00Z", "which is still to come"),
        (
            "2027-01-15T08:00:00Z",
            "and one within the last 3600 seconds is asked for",
        ),
    ] {
        if !text.is_empty() {
            backed_up(&mut world, text);
        }
        // News are written every ten seconds.
        world.now = later(world.now, 11);
        steps(&mut world, 2);
        assert_eq!(stage(&world), "preflight");
        let said = says(&world);
        assert!(said.contains(words), "{said}");
        assert!(said.contains(say), "{said}");
    }
    let recent = second(7000);
    backed_up(&mut world, &format!("{recent:.0}"));
    steps(&mut world, 4);
    assert_eq!(stage(&world), "expand");
}

#[test]
fn without_a_backup_the_release_is_blocked_at_the_deadline_and_the_database_is_clean() {
    let mut world = with_preflight(json!({"deadlineSeconds": 300, "maxBackupAgeSeconds": 3600}));
    steps(&mut world, 25);
    assert_eq!(stage(&world), "preflight");
    world.now = second(299);
    steps(&mut world, 2);
    assert_eq!(stage(&world), "preflight");
    world.now = second(301);
    steps(&mut world, 5);
    assert_eq!(stalled(world.status()), "PreflightFailed");
    let record = world.database_mut();
    assert_eq!((record.dirty.len(), &record.holder), (0, &None));
    // It can be said again.
    let revision = world.spec.revision().to_owned();
    world.command("retry", &format!("{revision} 1"));
    steps(&mut world, 25);
    assert_eq!(stage(&world), "preflight");
    backed_up(&mut world, "2027-01-15T08:00:01Z");
    steps(&mut world, 6);
    assert_eq!(stage(&world), "expand");
}

#[test]
fn what_fails_is_tried_again_after_growing_pauses_and_never_leaves_the_database_dirty() {
    let mut world = with_preflight(json!({"command": ["check"], "deadlineSeconds": 60}));
    world.seen.answers.job_log = Some(JobLog::Ends("no".into()));
    let mut began = Vec::new();
    for at in 0..70 {
        world.now = second(at);
        steps(&mut world, 25);
        let holder = world.database_mut().holder.clone();
        if let Some(holder) = holder.filter(|h| h.job_uid.is_some()) {
            assert_eq!(holder.phase, PhaseKind::Preflight);
            began.push((at, holder.attempt));
            ends(&mut world, false);
            assert_eq!(world.database_mut().dirty, []);
            steps(&mut world, 25);
        }
    }
    assert_eq!(began, [(0, 1), (5, 2), (15, 3), (35, 4)]);
    assert_eq!(stalled(world.status()), "PreflightFailed");
    let said = condition(world.status(), "Stalled").message.clone();
    assert!(said.contains("its log ends: no"), "{said}");
    assert!(said.contains("the database is unchanged"), "{said}");
}

#[test]
fn a_version_that_is_expanded_needs_no_preflight() {
    let mut world = with_preflight(json!({"command": ["check"], "deadlineSeconds": 60}));
    let expanded = ran(PhaseKind::Expand, 2, true);
    world.database_mut().phases = vec![expanded.clone()];
    steps(&mut world, 25);
    assert_eq!(stage(&world), "expand");

    let mut world = with_preflight(json!({"command": ["check"], "deadlineSeconds": 60}));
    let undone = PhaseRecord {
        undone_by: Some("a-revert".into()),
        ..expanded
    };
    world.database_mut().phases = vec![undone];
    steps(&mut world, 25);
    assert_eq!(stage(&world), "preflight");
}

/// The release of version 2 does not begin, with a preflight or without.
#[test]
fn a_version_that_goes_down_is_refused_whether_there_is_a_preflight_or_not() {
    for preflight in [
        json!({}),
        json!({"preflight": {"command": ["check"], "deadlineSeconds": 60}}),
    ] {
        let mut world = world(preflight);
        world.database_mut().phases = vec![ran(PhaseKind::Expand, 5, true)];
        steps(&mut world, 25);
        assert!(world.status().release.is_none());
        assert_eq!(stalled(world.status()), "VersionGoesDown");
        let said = condition(world.status(), "Stalled").message.clone();
        assert!(said.contains("spec.schema.version is 2"), "{said}");
        assert!(said.contains("above 5"), "{said}");
        assert_eq!(world.database_mut().holder, None);
        // The higher one is reverted: there is nothing to go down from.
        let undone = PhaseRecord {
            undone_by: Some("a-revert".into()),
            ..ran(PhaseKind::Expand, 5, true)
        };
        world.database_mut().phases = vec![undone];
        steps(&mut world, 25);
        assert!(world.status().release.is_some());
    }
}

#[test]
fn a_version_that_was_there_comes_back_whatever_came_after_it() {
    type Known = fn(&mut World);
    let expanded: Known = |world| {
        world
            .database_mut()
            .phases
            .push(ran(PhaseKind::Expand, 2, true))
    };
    let reverted: Known = |world| {
        let mut expand = ran(PhaseKind::Expand, 2, true);
        expand.undone_by = Some("a-revert".into());
        world.database_mut().phases.push(expand);
    };
    // The record of its expand may be older than what is kept.
    let stable: Known = |world| {
        let asked = world.spec.asked().to_vec();
        let database = world.database_mut();
        database.versions.push(VersionRecord {
            version: 2,
            rollout: "other".into(),
            revision: "r".into(),
            stable_since: Some(Time(second(0))),
            asked,
            backfilled: None,
            alone_since: None,
            approved: None,
            stable_before: None,
            stable_after: None,
            contracted: None,
            frozen_flags: Vec::new(),
            reverted: None,
            dropped: false,
        });
    };
    for known in [expanded, reverted, stable] {
        let mut world = world(json!({}));
        world.database_mut().phases = vec![ran(PhaseKind::Expand, 5, true)];
        known(&mut world);
        steps(&mut world, 25);
        assert!(world.status().release.is_some(), "{:?}", world.status());
    }
}

/// Code that has no expand of its own says what it needs, and changes nothing.
#[test]
fn who_expands_nothing_may_need_a_lower_version() {
    let mut world = world(json!({}));
    world.edit_spec(|spec| spec.schema.as_mut().expect("a schema").expand = None);
    world.database_mut().phases = vec![ran(PhaseKind::Expand, 5, true)];
    steps(&mut world, 25);
    assert!(world.status().release.is_some());
}

/// Another Rollout expands a higher version while this release is on its way to the database.
#[test]
fn an_expand_that_was_overtaken_by_a_higher_one_does_not_run() {
    let mut world = world(json!({})).at_stage("expand");
    world.database_mut().phases = vec![ran(PhaseKind::Expand, 5, true)];
    steps(&mut world, 25);
    assert_eq!(stalled(world.status()), "VersionGoesDown");
    assert_eq!(world.database_mut().holder, None);
    assert!(world.seen.objects.jobs.is_empty());
}

#[test]
fn a_success_is_for_its_release() {
    let mut world = with_preflight(json!({"command": ["check"], "deadlineSeconds": 60}));
    let revision = world.spec.revision().to_owned();
    let before = PhaseRecord {
        rollout: "shop".into(),
        revision,
        attempt: 3,
        ..ran(PhaseKind::Preflight, 2, true)
    };
    world.database_mut().phases = vec![before];
    steps(&mut world, 25);
    let holder = world.database_mut().holder.clone().expect("a hold");
    assert_eq!((holder.phase, holder.attempt), (PhaseKind::Preflight, 4));
    ends(&mut world, true);
    steps(&mut world, 6);
    assert_eq!(stage(&world), "expand");
}

#[test]
fn what_only_looked_makes_room_on_record_first() {
    let mut record = DatabaseRecord::default();
    protocol::keep_phase(&mut record, ran(PhaseKind::Expand, 1, true));
    for _ in 0..600 {
        protocol::keep_phase(&mut record, ran(PhaseKind::Preflight, 2, false));
    }
    assert_eq!(record.phases.len(), 400);
    assert_eq!(record.phases[0].phase, PhaseKind::Expand);
}

/// A release of version 2 has failed; its revert is asked for.
pub fn failed(approval: &str) -> World {
    let mut world = world(json!({
        "revert": {"command": ["down"], "when": "AfterFailure", "approval": approval},
    }));
    let revision = world.spec.revision().to_owned();
    let expanded = PhaseRecord {
        rollout: "shop".into(),
        revision: revision.clone(),
        ..ran(PhaseKind::Expand, 2, true)
    };
    world.database_mut().phases = vec![expanded];
    // It is kept, as what a release has made.
    let rest = std::mem::take(&mut world.database_mut().phases);
    steps(&mut world, 6);
    world.database_mut().phases = rest;
    world.database_mut().holder = None;
    world.seen.objects.jobs.clear();
    let status = Arc::make_mut(&mut world.seen.objects.rollout.status);
    status.release = None;
    status.history = vec![Ended {
        revision,
        images: String::new(),
        outcome: Outcome::Failed,
        reason: "CheckFailed".into(),
        message: "it was bad".into(),
        started: Time(second(0)),
        ended: Time(second(1)),
        attempt: 1,
    }];
    world
}

pub(crate) fn on_record(world: &mut World) -> Option<VersionRecord> {
    world.database_mut().version(2).cloned()
}

fn waits_for(world: &World) -> String {
    let schema = world.status().schema.as_ref();
    schema.map(|s| s.message.clone()).unwrap_or_default()
}

#[test]
fn a_revert_needs_an_approval_of_its_own_and_reads_live_who_is_there() {
    let mut world = failed("Manual");
    steps(&mut world, 4);
    let version = on_record(&mut world).expect("on record");
    assert_eq!((version.stable_since, version.asked.len()), (None, 1));
    let said = waits_for(&world);
    assert!(said.contains("stepgate.io/approve=\"2/revert/"), "{said}");
    assert_eq!(
        world.plan().questions,
        [],
        "a gate that waits reads nothing"
    );
    let digest = version.asked[0].digest.clone();
    let known = world.database_mut().version_mut(2).expect("the version");
    assert!(!known.is_approved(PhaseKind::Revert));
    known.approved = Some(Approved {
        digest,
        user: "dba".into(),
        at: Time(second(2)),
    });
    assert!(known.is_approved(PhaseKind::Revert) && !known.is_approved(PhaseKind::Contract));
    assert_eq!(world.plan().questions, [Question::Users("db".into())]);
    // Its own Rollout asks for the version all the same.
    let users = |more: Option<UserFacts>| {
        let own = UserFacts::of_rollout("shop", &[Some(2), Some(1)]);
        let empty = UserFacts::of("Deployment shop-r".into(), Some(2), false);
        let all = [own, empty].into_iter().chain(more);
        Some(all.collect::<Vec<_>>().into())
    };
    world.seen.answers.users = users(Some(UserFacts::of("CronJob nightly".into(), None, true)));
    steps(&mut world, 3);
    assert_eq!(world.database_mut().holder, None);
    assert!(waits_for(&world).contains("CronJob nightly"));
    world.seen.answers.users = users(None);
    steps(&mut world, 1);
    let record = world.database_mut().clone();
    assert_eq!(record.holder.map(|h| h.phase), Some(PhaseKind::Revert));
    assert!(
        record.phases[0].undone_by.is_some(),
        "before its Job is made"
    );
    // Somebody has come meanwhile: nothing has run, and what was expanded counts again.
    world.seen.answers.users = users(Some(UserFacts::of("Pod w".into(), Some(3), true)));
    steps(&mut world, 25);
    let record = world.database_mut().clone();
    assert_eq!(
        (record.holder, record.phases[0].undone_by.clone()),
        (None, None)
    );
    world.seen.answers.users = users(None);
    steps(&mut world, 6);
    ends(&mut world, true);
    steps(&mut world, 3);
    let version = on_record(&mut world).expect("on record");
    assert!(version.reverted.is_some() && !version.is_open());
    assert_eq!(world.database_mut().dirty, []);
    assert!(world.database_mut().phases[0].undone_by.is_some());
    // Version 2 is expanded again, as another attempt, and its revert is open no more.
    let revision = world.spec.revision().to_owned();
    world.command("retry", &format!("{revision} 1"));
    steps(&mut world, 25);
    let holder = world.database_mut().holder.clone().expect("a hold");
    assert_eq!((holder.phase, holder.attempt), (PhaseKind::Expand, 2));
    assert_eq!(on_record(&mut world), None);
    let reverts = world.database_mut().phases.clone().into_iter();
    let mut reverts = reverts.filter(|p| p.phase == PhaseKind::Revert);
    assert!(reverts.all(|p| p.undone_by.is_some()));
}

type Edit = fn(&mut SharerFacts);

#[test]
fn whoever_is_at_the_version_or_above_keeps_the_gate_shut() {
    let sharer = |edit: fn(&mut SharerFacts)| {
        let mut sharer = SharerFacts {
            rollout: "worker".into(),
            wanted: Some(Some(1)),
            moves: Vec::new(),
            running: [("w1".to_owned(), Some(1))].into(),
            former: [].into(),
            was_stable: [].into(),
            kept: [].into(),
            adopted: None,
        };
        edit(&mut sharer);
        sharer
    };
    let cases: [(Edit, &str); 8] = [
        (
            |s| s.adopted = Some("web".into()),
            "Deployment web, which Rollout worker moved in, is still there",
        ),
        (
            |s| s.wanted = Some(Some(2)),
            "Rollout worker asks for version 2",
        ),
        (
            |s| s.wanted = Some(None),
            "Rollout worker gives no schema.version",
        ),
        (|s| s.moves = vec![Some(1), Some(3)], "is in motion"),
        (
            |s| s.running = [("w3".to_owned(), Some(3))].into(),
            "revision w3 of Rollout worker serves",
        ),
        (
            |s| s.former = [("w2".to_owned(), Some(2))].into(),
            "can be returned to",
        ),
        (
            |s| s.former = [("w0".to_owned(), None)].into(),
            "can be returned to",
        ),
        (
            |s| s.was_stable = [("w7".to_owned(), Some(7))].into(),
            "revision w7 of Rollout worker was stable, so the new columns",
        ),
    ];
    for (edit, words) in cases {
        let mut world = failed("Automatic");
        world.seen.objects.sharers = vec![sharer(edit)];
        steps(&mut world, 5);
        assert_eq!(world.database_mut().holder, None, "{words}");
        assert!(waits_for(&world).contains(words), "{}", waits_for(&world));
        assert_eq!(world.plan().questions, [], "the caches know");
    }
    let mut world = failed("Automatic");
    world.seen.objects.sharers = vec![sharer(|_| ())];
    steps(&mut world, 5);
    assert_eq!(world.plan().questions, [Question::Users("db".into())]);
}

#[test]
fn what_was_stable_before_a_person_undid_it_is_not_taken_back() {
    let mut world = failed("Automatic");
    let revision = world.spec.revision().to_owned();
    let mut known = world.seen.objects.revisions.iter_mut();
    let known = known.find(|r| r.revision == revision).expect("a revision");
    (known.schema_version, known.number) = (Some(2), 7);
    steps(&mut world, 5);
    assert_eq!(world.database_mut().holder, None);
    assert_eq!(world.plan().questions, []);
    let words = format!("revision {revision} of Rollout shop was stable, so the new columns");
    assert!(waits_for(&world).contains(&words), "{}", waits_for(&world));
}

#[test]
fn what_nobody_remembers_is_not_taken_back() {
    let mut world = failed("Automatic");
    world
        .database_mut()
        .phases
        .push(ran(PhaseKind::Expand, 2, true));
    steps(&mut world, 5);
    assert_eq!(world.plan().questions, []);
    let said = waits_for(&world);
    assert!(said.contains("revision r of Rollout other"), "{said}");
}

#[test]
fn what_was_stable_is_never_taken_back() {
    let mut world = failed("Automatic");
    world.database_mut().stable_version = Some(2);
    steps(&mut world, 5);
    assert_eq!(on_record(&mut world), None);
    assert!(waits_for(&world).contains("was stable on this database"));
}

#[test]
fn a_later_release_goes_first_and_one_that_runs_is_waited_for() {
    let mut world = failed("Manual");
    steps(&mut world, 4);
    assert!(on_record(&mut world).is_some());
    world.edit_spec(|spec| {
        spec.template["spec"]["containers"][0]["image"] = json!("shop:next");
    });
    let told = (0..25).any(|_| {
        let events = world.plan().events;
        world.step();
        events.iter().any(|e| e.reason.word() == "RevertGivesWay")
    });
    assert!(told);
    assert_eq!(on_record(&mut world), None);
}

#[test]
fn an_expand_that_failed_is_not_reverted() {
    let mut world = failed("Automatic");
    let dirty = world.database_mut().phases[0].clone();
    world.database_mut().dirty = vec![crate::api::database::Dirty {
        rollout: dirty.rollout,
        revision: dirty.revision,
        version: None,
        phase: PhaseKind::Expand,
        attempt: 1,
        job: "shop-x-expand-1".into(),
        since: Time(second(0)),
    }];
    steps(&mut world, 5);
    let write = world.plan().writes.into_iter().next();
    assert!(!matches!(write, Some(Write::Create { .. })));
    assert_eq!(world.database_mut().holder, None);
}
