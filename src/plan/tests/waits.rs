//! What goes on, and what does not, while a release waits; and how long it may.

use serde_json::json;

use super::fixture::{World, condition, reading, stalled};
use crate::{
    api::{RolloutSpec, status::Outcome},
    evidence::Verdict,
    plan::{draft::later, intent::Write},
};

fn size(world: &World, version: &str) -> i32 {
    let revision = world.revision(version);
    world
        .seen
        .objects
        .child(&revision)
        .map_or(0, |c| c.replicas)
}

/// The last step has begun, and not all of its pods are there: 8 pods, of which v2 has 3.
fn on_its_way() -> World {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    world.hold(10_000);
    world.record();
    assert_eq!(step(&world).index, 2);
    assert!(moves(&world));
    world
}

fn step(world: &World) -> crate::api::release::StepStatus {
    let release = world.status().release.clone().unwrap();
    release.step().unwrap().clone()
}

fn moves(world: &World) -> bool {
    let writes = world.plan().writes;
    writes.iter().any(|w| matches!(w, Write::Scale { .. }))
}

fn checks_that_pause(spec: &mut RolloutSpec) {
    spec.analysis = serde_json::from_value(json!({"checks": [
        {"name": "errors", "errorRate": {"maxPercent": "0.5"}, "onFailure": "Pause"}]}))
    .unwrap();
}

#[test]
fn what_waits_for_a_person_gets_no_more_pods() {
    let mut world = on_its_way();
    world.edit_spec(checks_that_pause);
    world.says(vec![reading("errors", Verdict::Fail)]);
    let before = (size(&world, "v1"), size(&world, "v2"));
    world.settle();
    assert_eq!(stalled(world.status()), "CheckFailed");
    assert_eq!((size(&world, "v1"), size(&world, "v2")), before);
    // People may come and go all the same: stable takes them all.
    world.edit_spec(|spec| spec.replicas = 12);
    world.settle();
    assert_eq!(size(&world, "v2"), before.1);
    assert_eq!(size(&world, "v1"), 12 - before.1);
    world.edit_spec(|spec| spec.replicas = 4);
    world.settle();
    assert_eq!(size(&world, "v2"), before.1);
    assert_eq!(size(&world, "v1"), 4 - before.1);
}

#[test]
fn what_somebody_edited_gets_no_more_pods_and_still_comes_back() {
    let edited = || {
        let mut world = on_its_way();
        let v2 = world.revision("v2");
        let mut children = world.seen.objects.children.iter_mut();
        children.find(|c| c.revision == v2).unwrap().edited = true;
        world
    };
    let mut world = edited();
    let before = (size(&world, "v1"), size(&world, "v2"));
    world.settle();
    assert_eq!(stalled(world.status()), "ChildEdited");
    assert!(condition(world.status(), "Ready").message.contains("undo"));
    assert_eq!((size(&world, "v1"), size(&world, "v2")), before);
    let mut world = edited();
    world.fails("p95");
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
    assert_eq!(size(&world, "v2"), 0);
}

#[test]
fn one_end_in_a_hold_is_waited_out_however_short_the_deadline() {
    let mut world = World::stable("v1").wants("v2");
    world.edit_steps(|step| step["deadlineSeconds"] = json!(1));
    let mut world = world.at_step(0);
    // It is held for five minutes.
    let ended = later(world.now, 297);
    let v2 = world.revision("v2");
    world.pod(&v2).ended = Some(ended);
    for second in [5, 20, 50] {
        world.now = later(ended, second);
        world.settle();
        let ready = condition(world.status(), "Ready");
        let release = world.status().release.as_ref().unwrap();
        assert!(release.paused().is_none(), "{second}: {ready:?}");
        assert_eq!(step(&world).index, 0, "{second}: {ready:?}");
    }
    world.now = later(ended, 60);
    world.record();
    assert_eq!(step(&world).index, 1);
}

#[test]
fn restarts_of_long_ago_are_no_crash_loop() {
    let undone = |ago: i64| {
        let mut world = World::stable("v1").wants("v2").at_step(0);
        world.hold(5000);
        let ended = later(world.now, -ago);
        let v2 = world.revision("v2");
        let pod = world.pod(&v2);
        (pod.restarts, pod.ended) = (3, Some(ended));
        world.record().release.unwrap().undo().is_some()
    };
    assert!(undone(60));
    assert!(!undone(700));
}

#[test]
fn the_way_back_to_a_former_stable_needs_no_metric_source() {
    let mut world = World::stable("v1").wants("v2").at_step(2);
    world.hold(10_000);
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Stable));
    let mut world = world.wants("v1");
    world.seen.source_problem = Some("metric source main is gone".into());
    world.seen.answers.overlaps = None;
    world.settle();
    let stable = world.status().stable.as_ref().unwrap();
    assert_eq!(stable.revision, world.revision("v1"));
    // Anything new does need it.
    let mut world = world.wants("v3");
    world.settle();
    assert_eq!(stalled(world.status()), "InvalidSpec");
}

#[test]
fn a_wait_that_is_over_is_not_added_to_the_next() {
    let waited = |held: i64| {
        let mut world = World::stable("v1").wants("v2");
        world.edit_steps(|step| step["holdSeconds"] = json!(86_400));
        let mut world = world.at_step(0);
        let v2 = world.revision("v2");
        assert_eq!(
            world.status().release.as_ref().unwrap().unreached.seconds,
            0
        );
        // It is lost for five minutes twice; the deadline is at ten.
        for lost in [300, 1] {
            world.now = later(world.now, held);
            let child = |w: &mut World, n: i32| {
                let mut children = w.seen.objects.children.iter_mut();
                children.find(|c| c.revision == v2).unwrap().available = n;
            };
            child(&mut world, 0);
            world.settle();
            world.now = later(world.now, lost);
            child(&mut world, 1);
            world.settle();
        }
        world.status().release.as_ref().unwrap().unreached.seconds
    };
    // Pods that come and go prove nothing; ten minutes in a row do.
    assert!(waited(100) >= 300);
    assert!(waited(700) <= 2);
}

/// What was read before the clock jumped opens no gate, though the hold is over by that clock; the
/// next poll does, also when it says the same once more, of which nobody is told.
#[test]
fn a_hold_that_a_clock_has_jumped_over_waits_for_a_poll() {
    let mut world = World::stable("v1")
        .wants("v2")
        .with_check("errors")
        .at_step(0);
    let interval = world.spec.analysis.as_ref().unwrap().interval_seconds;
    world.says(vec![reading("errors", Verdict::Pass)]);
    world.hold(20);
    world.seen.trusted_since = world.now;
    world.settle();
    assert_eq!(step(&world).index, 0);
    let again = world.plan().wake_at.unwrap();
    assert!(again <= later(world.now, interval), "{again}");
    world.now = again;
    world.says(vec![reading("errors", Verdict::Pass)]);
    assert_eq!(world.record().release.unwrap().step().unwrap().index, 1);
}

/// What was counted in the hold of one step says nothing for the next.
#[test]
fn readings_of_the_hold_before_open_no_gate() {
    let mut world = World::stable("v1")
        .wants("v2")
        .with_check("errors")
        .at_step(0);
    world.says(vec![reading("errors", Verdict::Pass)]);
    let before = world.seen.readings.clone();
    let mut world = world.at_step(1);
    world.hold(20);
    let old = before.map(|readings| crate::evidence::Readings {
        polled_at: Some(world.now),
        ..readings
    });
    world.seen.readings = old;
    world.settle();
    assert_eq!(step(&world).index, 1);
    world.says(vec![reading("errors", Verdict::Pass)]);
    assert_eq!(world.record().release.unwrap().step().unwrap().index, 2);
}

/// What is known only from the past of another process waits for a whole answer to this one.
#[test]
fn nothing_is_promoted_before_a_poll_of_this_process() {
    let mut world = World::stable("v1")
        .wants("v2")
        .with_check("errors")
        .at_step(0);
    world.hold(20);
    for (polls, index) in [(0, 0), (1, 1)] {
        world.says(vec![reading("errors", Verdict::Pass)]);
        world.seen.readings.as_mut().unwrap().complete_polls = polls;
        world.settle();
        assert_eq!(step(&world).index, index, "{polls} polls");
    }
}

#[test]
fn readings_that_nobody_has_renewed_open_no_gate() {
    let left = |age: i64| {
        let mut world = World::stable("v1")
            .wants("v2")
            .with_check("errors")
            .at_step(0);
        world.hold(20);
        world.says(vec![reading("errors", Verdict::Pass)]);
        world.hold(age);
        world.settle();
        step(&world).index == 1
    };
    let interval = World::stable("v1").with_check("errors").spec;
    let interval = interval.analysis.as_ref().unwrap().interval_seconds;
    assert!(left(3 * interval + 30));
    assert!(!left(3 * interval + 31));
}

/// A pod that ends while a person is waited for does not put other words over what he is to do.
#[test]
fn what_waits_for_a_person_goes_on_saying_why() {
    let mut world = on_its_way();
    world.edit_spec(checks_that_pause);
    world.says(vec![reading("errors", Verdict::Fail)]);
    world.settle();
    assert_eq!(stalled(world.status()), "CheckFailed");
    let (v2, now) = (world.revision("v2"), world.now);
    world.pod(&v2).ended = Some(now);
    for seconds in [1, 1000] {
        world.hold(seconds);
        world.settle();
        assert_eq!(stalled(world.status()), "CheckFailed");
    }
}

#[test]
fn a_revision_below_the_undo_floor_is_not_begun() {
    for (version, expected) in [(1, "BelowUndoFloor"), (2, "")] {
        let mut world = World::stable("v1").wants("v2");
        world.database_mut().undo_floor = Some(2);
        world.edit_spec(|spec| {
            spec.schema = serde_json::from_value(json!({"database": "db", "version": version,
                "expand": {"command": ["migrate"]}}))
            .unwrap();
        });
        let status = world.record();
        assert_eq!(status.release.is_none(), version == 1);
        if version == 1 {
            assert_eq!(stalled(&status), expected);
        }
    }
}

/// A batch that came up while nobody looked is progress, however late that is seen.
#[test]
fn a_batch_that_is_seen_late_is_no_progress_missed() {
    let mut world = on_its_way();
    world.step();
    let limit = world.spec.strategy.progress_deadline_seconds;
    world.now = later(world.now, limit + 100);
    world.step();
    let release = world.status().release.clone().unwrap();
    assert!(release.undo().is_none(), "{release:?}");
}

/// Containers that end again and again are not waited out for ever.
#[test]
fn an_end_of_a_container_prolongs_the_deadline_of_a_step_only_once() {
    let paused = |over: i64| {
        let mut world = World::stable("v1").wants("v2").at_step(0);
        world.edit_steps(|step| step["deadlineSeconds"] = json!(100));
        world.hold(0);
        let (v2, hold) = (world.revision("v2"), 10);
        world.now = later(world.now, hold + over);
        // Ten seconds are to be proven after a hold of ten.
        let ended = later(world.now, -5);
        world.pod(&v2).ended = Some(ended);
        world.record().release.unwrap().paused().is_some()
    };
    assert!(!paused(109));
    assert!(paused(110));
}

#[test]
fn what_the_deployment_controller_has_not_looked_at_is_not_late() {
    let mut world = on_its_way();
    let v2 = world.revision("v2");
    let sees = |world: &mut World, current: bool| {
        let mut children = world.seen.objects.children.iter_mut();
        children.find(|c| c.revision == v2).unwrap().current = current;
    };
    sees(&mut world, false);
    world.now = later(world.now, 10_000);
    let status = world.record();
    let release = status.release.clone().unwrap();
    assert!(release.undo().is_none(), "{release:?}");
    assert_eq!(condition(&status, "Reconciling").reason, "NotObserved");
    assert_eq!(release.unreached, Default::default(), "no time runs");
    world.now = later(world.now, 10_000);
    world.settle();
    // It is back, and the step has all its time.
    sees(&mut world, true);
    let status = world.decide();
    let since = status.release.unwrap().unreached.since.map(|t| t.0);
    assert_eq!(since, Some(world.now));
}

#[test]
fn a_release_that_is_to_finish_ends_before_the_next_begins_unless_it_fails() {
    use crate::api::strategy::OnNewRevision;
    let in_motion = |how| {
        let mut world = World::stable("v1").wants("v2").at_step(0);
        world.edit_spec(|spec| spec.strategy.on_new_revision = how);
        let mut world = world.wants("v3");
        world.record();
        world
    };
    let moving = |world: &World| {
        let release = world.status().release.as_ref();
        release.map(|r| (r.revision.clone(), r.undo().is_some()))
    };
    let replaced = in_motion(OnNewRevision::Replace);
    let v2 = replaced.revision("v2");
    assert_eq!(moving(&replaced), Some((v2.clone(), true)));
    let mut finishing = in_motion(OnNewRevision::Finish);
    assert_eq!(moving(&finishing), Some((v2.clone(), false)));
    finishing.fails("p95");
    finishing.step();
    assert_eq!(moving(&finishing), Some((v2, true)), "it has failed");
}

#[test]
fn a_single_replica_without_surge_is_scaled_and_its_release_says_what_it_needs() {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let mut world = World::stable("v1");
    world.edit_spec(|spec| {
        spec.strategy.max_surge = IntOrString::Int(0);
        spec.strategy.max_unavailable = IntOrString::Int(1);
        spec.replicas = 1;
    });
    world.settle();
    assert_eq!(condition(world.status(), "Ready").status, "True");
    let mut world = world.wants("v2");
    world.settle();
    assert_eq!(stalled(world.status()), "SurgeNeeded");
    assert!(world.status().release.is_none(), "nothing was moved");
    world.edit_spec(|spec| spec.replicas = 2);
    world.settle();
    assert!(world.status().release.is_some());
}
