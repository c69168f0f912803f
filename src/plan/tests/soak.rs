//! The soak after the expand.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::fixture::{World, condition, reading, second, stalled};
use crate::{
    api::{PhaseKind, database::PhaseRecord, release::SoakStatus},
    evidence::{Readings, Verdict},
    plan::{draft::later, measurable, soak},
};

/// `v1` is stable, and `v2`'s expand is soaked for 100 seconds.
fn world(on_inconclusive: &str) -> World {
    let mut world = World::stable("v1").with_check("errors");
    world.edit_spec(|spec| {
        let schema = json!({"database": "db", "expand": {"command": ["migrate"], "soak": {
            "holdSeconds": 100, "deadlineSeconds": 200, "onInconclusive": on_inconclusive,
        }}});
        spec.schema = serde_json::from_value(schema).unwrap();
    });
    world.wants("v2")
}

fn soaking(on_inconclusive: &str) -> World {
    world(on_inconclusive).at_stage("soak")
}

fn soak_of(world: &World) -> SoakStatus {
    let release = world.status().release.as_ref().unwrap();
    release.soak().unwrap().clone()
}

/// The checks say this of stable, since this soak began.
fn says(world: &mut World, verdict: Verdict) {
    let soak = soak_of(world);
    let analysis = world.spec.analysis.as_ref().unwrap();
    world.seen.readings = Some(Readings {
        revision: world.revision("v1"),
        since: soak.before_from.0,
        source: analysis.source.clone(),
        checks: measurable::checks(analysis),
        hold_since: Some(soak.since.0),
        polled_at: Some(world.now),
        split: None,
        complete_polls: 3,
        readings: vec![reading("errors", verdict)],
    });
}

fn stage(world: &World) -> &'static str {
    let release = world.status().release.as_ref();
    release.map_or("none", |release| release.stage.word())
}

fn command(world: &World, verb: &str, target: &str) -> (World, String) {
    let mut world = world.clone();
    world.command(verb, &format!("{target} id-{verb}"));
    let status = world.record();
    (world, status.commands[0].message.clone())
}

#[test]
fn stable_is_measured_and_no_pod_of_the_revision_is_asked_for() {
    let mut world = soaking("Pause");
    world.settle();
    let soak = soak_of(&world);
    let measure = world.plan().measure.unwrap();
    assert_eq!(measure.revision, world.revision("v1"));
    assert_eq!(measure.since, soak.before_from.0);
    assert_eq!(measure.before, Some(soak.before_until.0));
    assert_eq!(measure.hold_since, Some(soak.since.0));
    // As long before as after.
    assert_eq!(later(soak.before_from.0, 100), soak.before_until.0);
    let v2 = world.revision("v2");
    assert_eq!(world.seen.objects.child(&v2).unwrap().replicas, 0);
    assert_eq!(condition(world.status(), "Reconciling").reason, "Soaking");
    // Nor is the database held.
    let database = world.seen.objects.database.as_ref().unwrap();
    assert!(database.record.holder.is_none());
}

#[test]
fn it_ends_with_its_hold_and_a_verdict() {
    let mut world = soaking("Pause");
    says(&mut world, Verdict::Pass);
    world.settle();
    assert_eq!(stage(&world), "soak", "the hold is not over");
    world.now = later(soak_of(&world).since.0, 100);
    says(&mut world, Verdict::Pass);
    let status = world.record();
    assert_eq!(stage(&world), "step");
    assert!(status.checks.is_empty(), "they were stable's");
}

#[test]
fn what_hurts_stops_the_release_with_every_way_out() {
    let mut world = soaking("Pause");
    says(&mut world, Verdict::Fail);
    let status = world.record();
    assert_eq!(stalled(&status), "ExpandHurts");
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    let message = &condition(&status, "Stalled").message;
    for words in [
        format!("stable {v1} has become worse since the expand of revision {v2}"),
        "check errors: ".into(),
        "not the new code".into(),
        "The schema stays expanded".into(),
        format!("stepgate.io/promote=\"{v2}/expand $(date +%s)\""),
        format!("stepgate.io/resume=\"{v2} $(date +%s)\""),
        format!("stepgate.io/undo=\"{v2} $(date +%s)\""),
    ] {
        assert!(message.contains(&words), "{words}: {message}");
    }
    // As a step's, for whoever reads it from there.
    let stored = serde_json::to_value(&status).unwrap();
    assert_eq!(stored["release"]["paused"]["reason"], "ExpandHurts");
    let read: crate::api::RolloutStatus = serde_json::from_value(stored).unwrap();
    assert_eq!(read, status);
    // It stays so, whatever is measured later.
    world.now = later(world.now, 1_000);
    says(&mut world, Verdict::Pass);
    world.settle();
    assert_eq!(stage(&world), "soak");

    let (promoted, said) = command(&world, "promote", &format!("{v2}/{}", soak::NAME));
    assert_eq!(
        (stage(&promoted), &*said),
        ("step", "the soak after the expand is left")
    );
    let (kept, said) = command(&world, "promote", &v2);
    assert_eq!(stage(&kept), "soak");
    assert!(said.contains(&format!("say {v2}/expand")), "{said}");
    let (undone, _) = command(&world, "undo", &v2);
    assert_eq!(stage(&undone), "undo");
    // What was measured before the resume says nothing any more.
    says(&mut world, Verdict::Fail);
    let (mut resumed, _) = command(&world, "resume", &v2);
    resumed.settle();
    assert_eq!(condition(resumed.status(), "Reconciling").reason, "Soaking");
    assert_eq!(soak_of(&resumed).before_until, soak_of(&world).before_until);
}

#[test]
fn without_a_verdict_the_spec_decides_at_the_deadline() {
    for (on_inconclusive, then) in [("Pause", "soak"), ("Undo", "undo"), ("Proceed", "step")] {
        let mut world = soaking(on_inconclusive);
        world.now = later(soak_of(&world).since.0, 299);
        says(&mut world, Verdict::Inconclusive);
        world.settle();
        assert_eq!(
            condition(world.status(), "Reconciling").reason,
            "Inconclusive"
        );
        world.now = later(soak_of(&world).since.0, 300);
        says(&mut world, Verdict::Inconclusive);
        let status = world.record();
        assert_eq!(stage(&world), then);
        if then == "soak" {
            assert_eq!(stalled(&status), "Inconclusive");
        }
    }
}

#[test]
fn a_clock_that_was_not_watched_times_nothing_out() {
    let mut world = soaking("Undo");
    world.now = later(soak_of(&world).since.0, 10_000);
    world.seen.trusted_since = later(world.now, -199);
    says(&mut world, Verdict::Inconclusive);
    world.settle();
    assert_eq!(stage(&world), "soak");
}

#[test]
fn a_pause_holds_the_release_and_not_the_measurement() {
    let mut world = soaking("Pause");
    world.edit_spec(|spec| spec.paused = true);
    world.now = later(soak_of(&world).since.0, 100);
    says(&mut world, Verdict::Pass);
    world.settle();
    assert_eq!(condition(world.status(), "Reconciling").reason, "Paused");
    assert!(world.plan().measure.is_some());
    world.edit_spec(|spec| spec.paused = false);
    world.settle();
    assert_eq!(stage(&world), "step");
}

/// How the release goes on after its expand, with this on record before it.
fn after(edit: impl FnOnce(&mut World)) -> &'static str {
    let mut world = world("Pause");
    edit(&mut world);
    for _ in 0..40 {
        if ["soak", "step", "none"].contains(&stage(&world)) && world.status().stable.is_some() {
            let version = world.status().canary.as_ref();
            if version.is_some() {
                return stage(&world);
            }
        }
        world.settle();
    }
    panic!("{:?}", world.status().release);
}

fn version(spec: &mut crate::api::RolloutSpec, version: i64) {
    let schema = spec.schema.as_mut().unwrap();
    schema.version = Some(version);
}

fn expanded(rollout: &str, version: i64, ended: i64) -> PhaseRecord {
    PhaseRecord {
        refusal: None,
        sql: false,
        floor_before: None,
        rollout: rollout.into(),
        revision: "other".into(),
        version: Some(version),
        phase: PhaseKind::Expand,
        attempt: 1,
        succeeded: true,
        nothing_applied: false,
        undone_by: None,
        job: format!("{rollout}-expand"),
        began: Some(Time(second(ended - 10))),
        ended: Time(second(ended)),
        message: String::new(),
    }
}

#[test]
fn it_is_left_out_where_there_is_nothing_to_find_out() {
    assert_eq!(after(|_| {}), "soak");
    assert_eq!(
        after(|world| world.edit_spec(|spec| spec.analysis = None)),
        "step"
    );
    assert_eq!(
        after(|world| world.edit_spec(|spec| spec.replicas = 0)),
        "step"
    );
    let other = |world: &mut World, number: i64, ended| {
        world.edit_spec(|spec| version(spec, 7));
        *world = world.clone().at_stage("expand");
        world.step();
        world
            .database_mut()
            .phases
            .push(expanded("worker", number, ended));
    };
    assert_eq!(
        after(|world| other(world, 7, -10)),
        "step",
        "applied before"
    );
    assert_eq!(
        after(|world| other(world, 6, -10)),
        "soak",
        "another version"
    );
    assert_eq!(
        after(|world| other(world, 7, 1_000_000)),
        "soak",
        "after ours"
    );
    let taken_back = |world: &mut World| {
        other(world, 7, -10);
        let phase = world.database_mut().phases.last_mut().unwrap();
        phase.undone_by = Some("worker-revert".into());
    };
    assert_eq!(after(taken_back), "soak", "applied, and taken back");
    let of_an_older_operator = |world: &mut World| {
        world.edit_spec(|spec| version(spec, 7));
        *world = world.clone().at_stage("expand");
        world.step();
        let mut known = expanded("shop", 7, -10);
        known.began = None;
        world.database_mut().phases.push(known);
    };
    assert_eq!(after(of_an_older_operator), "step", "when is not known");
}

/// Since when stable may be hurt, with these expands on record before that of the release.
fn compared_until(before: &[PhaseRecord]) -> Timestamp {
    let mut world = world("Pause");
    world.edit_spec(|spec| version(spec, 7));
    world = world.at_stage("expand");
    world.step();
    world.database_mut().phases.extend_from_slice(before);
    soak_of(&world.at_stage("soak")).before_until.0
}

#[test]
fn stable_is_compared_with_the_time_before_the_first_expand_that_may_have_changed_something() {
    // Another revision of the version.
    let first = expanded("shop", 7, -500);
    assert_eq!(compared_until(std::slice::from_ref(&first)), second(-510));
    // One that failed half-way may be what hurts; one that has applied nothing is not.
    let failed = PhaseRecord {
        succeeded: false,
        ..expanded("shop", 7, -900)
    };
    let both = [failed.clone(), first.clone()];
    assert_eq!(compared_until(&both), second(-910));
    let nothing = PhaseRecord {
        nothing_applied: true,
        ..failed.clone()
    };
    assert_eq!(compared_until(&[nothing, first.clone()]), second(-510));
    // What was taken back hurts nobody any more.
    let taken_back = PhaseRecord {
        undone_by: Some("shop-revert".into()),
        ..failed
    };
    assert_eq!(compared_until(&[taken_back, first]), second(-510));
}

#[test]
fn a_pause_for_a_person_outlasts_what_cannot_be_measured_any_more() {
    for reason in ["ExpandHurts", "Inconclusive"] {
        let mut world = soaking("Pause");
        if reason == "Inconclusive" {
            world.now = later(soak_of(&world).since.0, 300);
        }
        says(
            &mut world,
            match reason {
                "ExpandHurts" => Verdict::Fail,
                _ => Verdict::Inconclusive,
            },
        );
        world.settle();
        world.edit_spec(|spec| spec.replicas = 0);
        world.settle();
        assert_eq!((stage(&world), &*stalled(world.status())), ("soak", reason));
        let promote = format!("{}/{}", world.revision("v2"), soak::NAME);
        assert_eq!(stage(&command(&world, "promote", &promote).0), "step");
    }
}

#[test]
fn what_is_stored_is_read_back() {
    let world = soaking("Pause");
    let stored = serde_json::to_value(world.status()).unwrap();
    assert_eq!(stored["release"]["stage"], "Soak");
    let read: crate::api::RolloutStatus = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(read, *world.status());
    // By hand, or by a version that knew no soaks: the expand has succeeded, and it begins again.
    let mut without = stored;
    without["release"]["soak"] = Value::Null;
    let read: crate::api::RolloutStatus = serde_json::from_value(without).unwrap();
    assert_eq!(read.release.unwrap().stage.word(), "expand");
}
