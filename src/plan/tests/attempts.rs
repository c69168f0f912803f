//! Which attempt of an expand is which, when a release is tried again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::config::settings;
use super::fixture::{World, second, stalled};
use crate::{
    api::{PhaseKind, database::PhaseRecord},
    plan::intent::Write,
};

fn phase(rollout: &str, revision: &str, attempt: i64) -> PhaseRecord {
    PhaseRecord {
        refusal: None,
        sql: false,
        floor_before: None,
        nothing_applied: false,
        undone_by: None,
        rollout: rollout.into(),
        revision: revision.into(),
        version: None,
        phase: PhaseKind::Expand,
        attempt,
        succeeded: false,
        job: format!("{rollout}-{revision}-expand-{attempt}"),
        began: None,
        ended: Time(second(0)),
        message: String::new(),
    }
}

fn makes_a_job(world: &World) -> bool {
    world.plan().writes.iter().any(super::makes_a_job)
}

/// `v2` has been at its first step, and failed there.
fn failed() -> World {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.fails("p95");
    world.settle();
    assert_eq!(stalled(world.status()), "CheckFailed");
    world.edit_spec(|spec| spec.analysis = None);
    world.seen.readings = None;
    world
}

#[test]
fn the_record_of_the_database_knows_the_attempts_that_a_lost_status_forgot() {
    let mut world = failed();
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    let phases = &mut world.database_mut().phases;
    phases.push(phase("shop", &v2, 3));
    phases.push(phase("shop", &v1, 7));
    phases.push(phase("cart", &v2, 9));
    world.seen.objects.rollout.status = std::sync::Arc::default();
    world.settle();
    assert!(world.status().history.is_empty());
    world.command("retry", &format!("{v2} r1"));
    assert_eq!(world.record().release.unwrap().highest_attempt(), 4);
}

#[test]
fn an_expand_that_has_succeeded_is_not_run_again_while_a_retry_waits() {
    let mut world = failed();
    let v2 = world.revision("v2");
    world.needs("v1", "settings");
    world.lacks(&[settings()]);
    world.command("retry", &format!("{v2} r1"));
    let mut world = world.at_stage("expand");
    for _ in 0..5 {
        for write in world.plan().writes {
            assert!(!matches!(write, Write::RecordDatabase { .. }), "{write:?}");
            world.apply(write);
        }
    }
    assert_eq!(stalled(world.status()), "UndoImpossible");
    assert_eq!(
        world.status().release.as_ref().unwrap().highest_attempt(),
        2
    );
}

#[test]
fn an_attempt_that_was_begun_is_gone_on_with_whatever_failed_before() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    while !makes_a_job(&world) {
        world.step();
    }
    // The status was lost, and with it the number of the attempt.
    let v2 = world.revision("v2");
    let record = world.database_mut();
    record.phases.push(phase("shop", &v2, 1));
    let holder = record.holder.as_mut().unwrap();
    holder.attempt = 2;
    holder.job = holder.job.replace("-1", "-2");
    assert!(makes_a_job(&world));
}

/// A person let another revision go on past its Job that was gone; now it is asked for again.
#[test]
fn an_attempt_whose_job_was_gone_is_not_made_a_second_time() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    while !world.seen.objects.jobs.iter().any(|job| !job.suspended) {
        world.step();
    }
    let v2 = world.revision("v2");
    world.seen.objects.jobs.clear();
    let mut world = world.wants("v3");
    for _ in 0..4 {
        world.settle();
    }
    assert_eq!(stalled(world.status()), "JobVanished");
    let v3 = world.revision("v3");
    world.command("retry", &format!("{v3} r1"));
    while !makes_a_job(&world) {
        world.step();
    }
    let record = &world.seen.objects.database.as_ref().unwrap().record;
    assert_eq!(record.holder.as_ref().unwrap().revision, v3);
    let [gone] = record.phases.as_slice() else {
        panic!("{:?}", record.phases);
    };
    assert_eq!(
        (&gone.revision, gone.attempt, gone.succeeded),
        (&v2, 1, false)
    );
    assert!(gone.message.contains("gone"), "{}", gone.message);
}
