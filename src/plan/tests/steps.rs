//! Steps and checks that are edited while a release is at one of them.

use serde_json::json;

use super::fixture::{World, condition, reading, second};
use crate::{
    api::{ErrorRate, OnInconclusive, Step, release::StepStatus, status::Outcome},
    evidence::{Reason, Verdict},
};

fn step(world: &World) -> StepStatus {
    let release = world.status().release.clone().unwrap();
    release.step().unwrap().clone()
}

fn named(name: &str, replicas: &str) -> Step {
    serde_json::from_value(json!({"name": name, "replicas": replicas, "holdSeconds": 300})).unwrap()
}

/// `v2` is a canary with one check.
fn checked() -> World {
    let world = World::stable("v1").wants("v2");
    world.with_check("errors").at_step(0)
}

#[test]
fn a_step_that_is_moved_is_gone_on_with() {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    let before = step(&world);
    world.edit_spec(|spec| {
        let steps = spec.strategy.steps_mut();
        steps.insert(0, named("first", "10%"));
    });
    world.settle();
    let now = step(&world);
    assert_eq!((now.index, now.name), (2, before.name));
    assert_eq!(now.reached, before.reached, "its hold goes on");
    assert_eq!(now.held, before.held);
}

#[test]
fn a_step_that_is_gone_begins_again_at_the_first() {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    world.edit_spec(|spec| spec.strategy.steps_mut()[1] = named("third", "33%"));
    let release = world.record().release.unwrap();
    let now = release.step().unwrap();
    assert_eq!((now.index, now.name.as_str()), (0, "canary"));
    assert_eq!(now.reached, None, "nothing of it has been held");
    world.settle();
    assert_eq!(
        world
            .seen
            .objects
            .child(&world.revision("v2"))
            .unwrap()
            .replicas,
        1
    );
}

/// What was judged by the limit of before is no reason, neither to go back nor to go on.
#[test]
fn a_limit_that_was_edited_is_judged_anew() {
    for verdict in [Verdict::Fail, Verdict::Pass] {
        let mut world = checked();
        world.settle();
        world.says(vec![reading("errors", verdict)]);
        world.edit_spec(|spec| {
            let checks = &mut spec.analysis.as_mut().unwrap().checks;
            checks[0].error_rate = Some(ErrorRate {
                max_percent: "5".into(),
            });
        });
        let before = step(&world);
        world.hold(1000);
        world.settle();
        assert_eq!(step(&world).name, before.name, "{verdict:?}");
        assert!(world.status().release.as_ref().unwrap().undo().is_none());

        let measure = world.plan().measure.expect("a measure");
        world.says(vec![reading("errors", verdict)]);
        let judged = world.seen.readings.as_ref().unwrap();
        assert_eq!(judged.checks, measure.checks);
        world.settle();
        let release = world.status().release.clone();
        let gone_on = release
            .and_then(|r| r.step().cloned())
            .is_some_and(|s| s.name != before.name);
        let failed = world.outcome("v2") == Some(Outcome::Failed);
        let fails = verdict == Verdict::Fail;
        assert_eq!((failed, gone_on), (fails, !fails));
    }
}

/// Whoever edits a check while the release is paused, for long, wants it measured.
#[test]
fn an_edited_check_is_not_timed_out_before_its_first_poll() {
    let mut world = checked();
    world.says(vec![reading("errors", Verdict::Inconclusive)]);
    world.edit_spec(|spec| spec.paused = true);
    world.hold(100_000);
    world.settle();
    let before = step(&world);
    world.edit_spec(|spec| {
        spec.paused = false;
        spec.analysis.as_mut().unwrap().checks[0].min_requests = 10;
        for step in spec.strategy.steps_mut() {
            step.on_inconclusive = OnInconclusive::Undo;
        }
    });
    let waits = |world: &World| {
        assert_eq!(step(world).name, before.name);
        let condition = condition(world.status(), "Reconciling");
        assert_eq!(condition.reason, "Inconclusive");
    };
    world.settle();
    waits(&world);
    // A poll that was out when it was edited said nothing of it.
    let mut other = reading("errors", Verdict::Inconclusive);
    other.reason = Reason::NotYetPolled;
    world.says(vec![other]);
    world.settle();
    waits(&world);
    // Nor is a release timed out that nobody has measured: the checks may have been added now.
    world.seen.readings = None;
    world.settle();
    waits(&world);

    world.says(vec![reading("errors", Verdict::Inconclusive)]);
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
}

/// Harm that is told by a check which stays as it was is harm, whatever is edited beside it.
#[test]
fn a_check_that_fails_is_heard_while_another_is_added() {
    let mut world = checked();
    world.says(vec![reading("errors", Verdict::Fail)]);
    world.edit_spec(|spec| {
        let checks = &mut spec.analysis.as_mut().unwrap().checks;
        let mut another = checks[0].clone();
        another.name = "another".into();
        checks.push(another);
    });
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
}

/// A leader that was deposed for a while still has what it measured of the attempt before.
#[test]
fn readings_of_another_attempt_or_source_fail_nobody() {
    let at_step = || {
        let mut world = checked();
        world.says(vec![reading("errors", Verdict::Fail)]);
        world
    };
    let mut earlier = at_step();
    earlier.seen.readings.as_mut().unwrap().since = second(-500);
    let mut elsewhere = at_step();
    elsewhere.edit_spec(|spec| spec.analysis.as_mut().unwrap().source = "another".into());
    for mut world in [earlier, elsewhere] {
        world.settle();
        assert_eq!(world.outcome("v2"), None);
        assert_eq!(step(&world).name, "canary");
    }
    let mut now = at_step();
    now.settle();
    assert_eq!(now.outcome("v2"), Some(Outcome::Failed));
}
