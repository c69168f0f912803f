//! What administrators permit of schema phases.

use super::fixture::{World, stalled};
use crate::{
    api::database::Holder,
    plan::{
        facts::{DatabaseFacts, Limits},
        intent::{Kind, Write},
    },
};

fn database(world: &mut World) -> &mut DatabaseFacts {
    world.database_mut();
    world.seen.objects.database.as_mut().unwrap()
}

fn allow(world: &mut World, rollouts: Option<&[&str]>) {
    let all = rollouts.map(|all| all.iter().map(ToString::to_string).collect());
    database(world).allowed = all;
}

fn holder(world: &World) -> Option<Holder> {
    world.seen.objects.database.as_ref()?.record.holder.clone()
}

/// The Job that is made for the next phase, within some steps.
fn job(world: &mut World) -> Option<serde_json::Value> {
    for _ in 0..30 {
        for write in world.plan().writes {
            if let Write::Create {
                kind: Kind::Job,
                manifest,
            } = &write
            {
                return Some(manifest.clone());
            }
            world.apply(write);
        }
    }
    None
}

#[test]
fn a_rollout_that_the_database_does_not_allow_begins_nothing_there() {
    let mut world = World::stable("v1").wants("v2");
    allow(&mut world, Some(&["worker"]));
    let status = world.record();
    assert_eq!(stalled(&status), "DatabaseNotAllowed");
    assert_eq!(status.release, None, "nothing has happened for it");
    let words = super::fixture::condition(&status, "Stalled")
        .message
        .clone();
    for part in [
        "does not allow Rollout shop",
        "has worker,",
        "kubectl edit -n",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert_eq!(job(&mut world), None);
    allow(&mut world, Some(&["worker", "shop"]));
    assert!(job(&mut world).is_some());
    // None at all is none, and nothing said is everybody.
    for (allowed, may) in [(Some(&[][..]), false), (None, true)] {
        let mut world = World::stable("v1").wants("v2");
        allow(&mut world, allowed);
        assert_eq!(job(&mut world).is_some(), may);
    }
}

#[test]
fn who_is_no_longer_allowed_lets_the_database_go_before_its_job_is_made() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    while holder(&world).is_none() {
        world.step();
    }
    allow(&mut world, Some(&[]));
    assert_eq!(job(&mut world), None);
    assert_eq!(holder(&world), None, "others wait for it");
    assert_eq!(stalled(world.status()), "DatabaseNotAllowed");
    // It goes on by itself.
    allow(&mut world, None);
    assert!(job(&mut world).is_some());
}

#[test]
fn a_job_that_runs_is_nobodys_to_cut() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    while !world.seen.objects.jobs.iter().any(|job| !job.suspended) {
        world.step();
    }
    allow(&mut world, Some(&[]));
    assert_eq!(
        world
            .plan()
            .writes
            .iter()
            .find(|w| w.kind() == Some(Kind::Job)),
        None
    );
    assert!(holder(&world).is_some());
}

#[test]
fn a_phase_asks_for_no_more_time_than_is_permitted() {
    let mut world = World::stable("v1").wants("v2");
    let asked = world.seen.objects.rollout.spec.as_ref().unwrap();
    let schema = asked.schema.as_ref().unwrap();
    let asked = schema.expand.as_ref().unwrap().run.deadline_seconds;
    world.seen.limits = Limits {
        phase_seconds: Some(asked - 1),
        grace_seconds: None,
    };
    let status = world.record();
    assert_eq!(stalled(&status), "PhaseTooLong");
    let words = super::fixture::condition(&status, "Stalled")
        .message
        .clone();
    let field = format!("spec.schema.expand.deadlineSeconds is {asked}");
    assert!(words.contains(&field), "{words}");
    assert_eq!(job(&mut world), None);

    world.seen.limits.phase_seconds = Some(asked);
    world.seen.limits.grace_seconds = Some(5);
    let job = job(&mut world).unwrap();
    assert_eq!(job["spec"]["activeDeadlineSeconds"], asked);
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 5);
}
