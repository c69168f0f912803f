//! Tests after the last step, tests of blue-green, and what a test is told.

use serde_json::{Value, json};

use super::{
    fixture::{World, reading, stalled},
    services::{foreign, lead_users},
};
use crate::{
    api::{
        OnFailure, StepTest,
        release::{TestResult, TestStatus},
        status::Outcome,
    },
    evidence::Verdict,
    plan::{
        facts::{JobEnd, JobLog},
        intent::{Kind, Write},
        services::SETTLES_WITHIN,
    },
};

fn test(name: &str, after: &str, on_failure: OnFailure) -> StepTest {
    let test = json!({"name": name, "command": ["shop", "test"], "after": after});
    StepTest {
        on_failure,
        ..serde_json::from_value(test).unwrap()
    }
}

/// `v2` is at its last step, which is held.
fn at_the_last_step(on_failure: OnFailure) -> World {
    let mut world = World::stable("v1");
    world.edit_spec(|spec| {
        let last = spec.strategy.steps_mut().last_mut().unwrap();
        last.tests = vec![test("journey", "Release", on_failure)];
    });
    world.wants("v2").at_step(2)
}

fn tests(world: &World) -> Vec<TestStatus> {
    let release = world.status().release.as_ref();
    release.map(|r| r.tests.clone()).unwrap_or_default()
}

/// Goes on until nothing is wanted; no Job of a test ends meanwhile.
fn quiet(world: &mut World) {
    for _ in 0..30 {
        let plan = world.plan();
        assert_eq!(plan.questions, [], "{plan:?}");
        if plan.writes.is_empty() {
            return;
        }
        world.step();
    }
    panic!("it does not settle: {:?}", world.plan());
}

/// Its hold is over, and its test runs.
fn running(on_failure: OnFailure) -> World {
    let mut world = at_the_last_step(on_failure);
    world.hold(1000);
    quiet(&mut world);
    world
}

fn ends(world: &mut World, succeeded: bool) {
    let at = world.now;
    let mut jobs = world.seen.objects.jobs.iter_mut();
    let job = jobs.find(|job| job.test && job.ended.is_none());
    job.expect("the Job of the test").ended = Some(JobEnd {
        refusal: None,
        sql: false,
        succeeded,
        nothing_applied: false,
        message: "BackoffLimitExceeded".into(),
        at,
    });
    world.seen.answers.job_log = Some(JobLog::Ends("no order arrived".into()));
}

#[test]
fn it_begins_when_the_last_step_is_passed_and_the_release_ends_after_it() {
    let mut world = at_the_last_step(OnFailure::Undo);
    assert_eq!(tests(&world), [], "the hold is not over");
    world.hold(1000);
    quiet(&mut world);
    let begun = tests(&world);
    assert_eq!((begun.len(), begun[0].result), (1, None));
    assert_eq!(world.outcome("v2"), None, "not stable yet");
    ends(&mut world, true);
    quiet(&mut world);
    assert_eq!(world.outcome("v2"), Some(Outcome::Stable));
}

#[test]
fn its_failure_goes_back_to_the_old_revision_with_the_end_of_the_log() {
    let mut world = running(OnFailure::Undo);
    ends(&mut world, false);
    let release = world.record().release.unwrap();
    let undo = release.undo().expect("an undo");
    assert_eq!(undo.reason, "TestFailed");
    assert!(undo.message.contains("no order arrived"), "{undo:?}");
}

#[test]
fn a_failure_that_pauses_is_passed_by_a_person() {
    let mut world = running(OnFailure::Pause);
    ends(&mut world, false);
    quiet(&mut world);
    assert_eq!(stalled(world.status()), "TestFailed");
    let revision = world.revision("v2");
    world.command("promote", &format!("{revision}/full p1"));
    quiet(&mut world);
    assert_eq!(world.outcome("v2"), Some(Outcome::Stable));
}

#[test]
fn a_promotion_of_the_last_step_begins_it_and_the_next_one_goes_on_without() {
    let mut world = at_the_last_step(OnFailure::Undo);
    let revision = world.revision("v2");
    world.command("promote", &format!("{revision}/full p1"));
    quiet(&mut world);
    assert_eq!(tests(&world).len(), 1);
    assert_eq!(world.outcome("v2"), None);
    world.command("promote", &format!("{revision}/full p2"));
    quiet(&mut world);
    assert_eq!(world.outcome("v2"), Some(Outcome::Stable));
}

#[test]
fn a_resume_runs_the_last_test_again_and_none_that_a_person_has_passed_over() {
    let mut world = World::stable("v1");
    world.edit_spec(|spec| {
        let last = spec.strategy.steps_mut().last_mut().unwrap();
        last.tests = vec![
            test("smoke", "Target", OnFailure::Pause),
            test("journey", "Release", OnFailure::Pause),
        ];
    });
    let mut world = world.wants("v2").at_step(1);
    world.hold(1000);
    quiet(&mut world);
    ends(&mut world, false);
    quiet(&mut world);
    let revision = world.revision("v2");
    world.command("promote", &format!("{revision}/full p1"));
    quiet(&mut world);
    ends(&mut world, false);
    quiet(&mut world);
    assert_eq!(stalled(world.status()), "TestFailed");
    world.command("resume", &format!("{revision} r1"));
    quiet(&mut world);
    let open: Vec<_> = tests(&world)
        .into_iter()
        .filter(|test| test.result.is_none())
        .map(|test| (test.name, test.attempt, test.job_uid.is_some()))
        .collect();
    assert_eq!(open, [("journey".to_owned(), 2, true)]);
}

#[test]
fn a_check_that_a_person_went_past_does_not_hold_up_the_last_test() {
    let mut world = at_the_last_step(OnFailure::Undo);
    world.edit_spec(|spec| {
        spec.analysis = serde_json::from_value(json!({"checks": [
            {"name": "errors", "errorRate": {"maxPercent": "0.5"}, "onFailure": "Pause"}]}))
        .unwrap();
    });
    world.says(vec![reading("errors", Verdict::Fail)]);
    quiet(&mut world);
    let revision = world.revision("v2");
    world.command("promote", &format!("{revision}/full p1"));
    quiet(&mut world);
    let begun = tests(&world);
    assert_eq!((begun.len(), begun[0].job_uid.is_some()), (1, true));
}

#[test]
fn it_does_not_begin_before_the_last_step_is_reached() {
    let mut world = at_the_last_step(OnFailure::Undo);
    let revision = world.revision("v2");
    let mut children = world.seen.objects.children.iter_mut();
    let child = children.find(|child| child.revision == revision).unwrap();
    child.available = 0;
    world.command("promote", &format!("{revision}/full p1"));
    for _ in 0..5 {
        let writes = world.plan().writes;
        if writes.is_empty() {
            break;
        }
        let begins = writes.iter().any(|w| {
            matches!(
                w,
                Write::Create {
                    kind: Kind::Job,
                    ..
                }
            )
        });
        assert!(!begins, "{writes:?}");
        writes.into_iter().for_each(|write| world.apply(write));
    }
}

#[test]
fn a_pause_holds_the_end_of_the_release_and_not_its_test() {
    let mut world = running(OnFailure::Undo);
    world.edit_spec(|spec| spec.paused = true);
    ends(&mut world, true);
    quiet(&mut world);
    assert_eq!(tests(&world)[0].result, Some(TestResult::Passed));
    assert_eq!(world.outcome("v2"), None);
    world.edit_spec(|spec| spec.paused = false);
    quiet(&mut world);
    assert_eq!(world.outcome("v2"), Some(Outcome::Stable));
}

/// The preview of `v2` is up, and `canaryService` has just been led to it.
fn previewed() -> World {
    let mut world = World::stable("v1");
    world.seen.objects.services.all.push(foreign("shop"));
    world.edit_spec(lead_users);
    world.edit_spec(|spec| {
        spec.strategy.blue_green_mut().tests = vec![
            test("smoke", "Target", OnFailure::Undo),
            test("journey", "Release", OnFailure::Undo),
        ];
    });
    world.settle();
    let mut world = world.wants("v2").at_stage("step");
    quiet(&mut world);
    world
}

fn leads_to(world: &World, service: &str, version: &str) -> bool {
    let service = world.seen.objects.service(service).unwrap();
    service.revision() == Some(world.revision(version).as_str())
}

/// The manifest of the Job that is about to be made.
fn made(world: &mut World) -> Value {
    for _ in 0..10 {
        for write in world.plan().writes {
            if let Write::Create {
                kind: Kind::Job,
                manifest,
            } = &write
            {
                return manifest.clone();
            }
            world.apply(write);
        }
    }
    panic!("no Job is made: {:?}", world.plan());
}

fn environment(job: &Value, name: &str) -> Vec<Value> {
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let all = container["env"].as_array().cloned().unwrap_or_default();
    let named = all.into_iter().filter(|one| one["name"] == name);
    named.map(|one| one["value"].clone()).collect()
}

#[test]
fn a_preview_is_tested_before_any_user_and_once_everybody_has_heard_of_its_service() {
    let mut world = previewed();
    assert!(leads_to(&world, "shop-canary", "v2"));
    assert_eq!(tests(&world), [], "its Service has just been written");
    world.now += jiff::SignedDuration::from_secs(SETTLES_WITHIN);
    let job = made(&mut world);
    assert_eq!(tests(&world)[0].name, "smoke");
    assert!(leads_to(&world, "shop-stable", "v1"), "no user is there");
    assert_eq!(
        environment(&job, "STEPGATE_STABLE_SERVICE"),
        ["shop-stable"]
    );
    assert_eq!(
        environment(&job, "STEPGATE_CANARY_SERVICE"),
        ["shop-canary"]
    );
}

#[test]
fn without_traffic_no_service_is_named() {
    let mut world = World::stable("v1");
    world.edit_spec(|spec| {
        let first = spec.strategy.steps_mut().first_mut().unwrap();
        first.tests = vec![test("smoke", "Target", OnFailure::Undo)];
    });
    let mut world = world.wants("v2").at_stage("step");
    let job = made(&mut world);
    assert_eq!(environment(&job, "STEPGATE_STEP"), ["canary"]);
    assert_eq!(
        environment(&job, "STEPGATE_STABLE_SERVICE"),
        [Value::Null; 0]
    );
}
