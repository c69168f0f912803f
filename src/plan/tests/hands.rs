//! What people and the world do to children behind the planner's back.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::fixture::{World, condition, stalled};
use crate::{
    api::status::Outcome,
    plan::{
        facts::{Question, Refusal, Refused},
        intent::{Kind, Write},
    },
};

#[test]
fn a_deployment_without_pods_and_memory_is_on_its_way_out() {
    let mut world = World::stable("v1").wants("v2").at_step(2);
    world.hold(1000);
    world.settle();
    // History was cleaned up; the garbage collector has not come to the Deployment yet.
    let v1 = world.revision("v1");
    world.seen.objects.revisions.retain(|r| r.revision != v1);
    assert!(world.seen.objects.child(&v1).is_some());
    world.seen.answers.revisions_live = false;
    let asked = world.plan().questions;
    assert_eq!(asked, [Question::Revisions], "a cache may lag");
    world.seen.answers.revisions_live = true;
    world.settle();
    assert!(world.seen.objects.child(&v1).is_none());
    assert_eq!(condition(world.status(), "Ready").status, "True");
}

#[test]
fn a_cache_that_lags_makes_nobody_try_a_failed_revision_again() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.fails("p95");
    world.settle();
    // The status is lost, and the cache knows nothing of v2 yet.
    let v2 = world.revision("v2");
    let failed = world.seen.objects.revision(&v2).cloned().unwrap();
    world.seen.objects.revisions.retain(|r| r.revision != v2);
    world.seen.objects.children.retain(|c| c.revision != v2);
    world.seen.objects.rollout.status = std::sync::Arc::default();
    world.seen.answers.revisions_live = false;
    assert_eq!(world.plan().questions, [Question::Revisions]);
    world.seen.objects.revisions.push(failed);
    world.seen.answers.revisions_live = true;
    world.settle();
    assert_eq!(stalled(world.status()), "CheckFailed");
}

#[test]
fn whoever_deletes_what_remembers_stable_does_not_hold_up_the_way_back() {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    let v1 = world.revision("v1");
    world.seen.objects.revisions.retain(|r| r.revision != v1);
    world.settle();
    let status = world.status();
    assert_eq!(condition(status, "UndoPossible").reason, "StableKept");
    // Nothing is promoted onto a stable that could not be made again,
    world.hold(5000);
    world.settle();
    assert_eq!(stalled(world.status()), "UndoImpossible");
    assert_eq!(
        world
            .status()
            .release
            .as_ref()
            .unwrap()
            .step()
            .unwrap()
            .index,
        1
    );
    // but its pods are there, and take over.
    world.fails("p95");
    world.settle();
    assert_eq!(stalled(world.status()), "CheckFailed");
    assert_eq!(world.seen.objects.child(&v1).unwrap().replicas, 8);
    assert_eq!(
        world
            .seen
            .objects
            .child(&world.revision("v2"))
            .unwrap()
            .replicas,
        0
    );
}

#[test]
fn time_in_which_pods_crash_is_no_hold() {
    let mut world = World::new().wants("v1");
    world.seen.answers.overlaps = Some(Vec::new());
    world.seen.answers.revisions_live = true;
    world.edit_spec(|spec| spec.schema = None);
    world.settle();
    let revision = world.revision("v1");
    world.pod(&revision).waiting = Some(("CrashLoopBackOff".into(), "back-off 10s".into()));
    world.settle();
    assert_eq!(stalled(world.status()), "CrashLooping");
    world.hold(5000);
    // For a moment it runs again.
    world.pod(&revision).waiting = None;
    world.settle();
    assert!(world.status().stable.is_none(), "nothing was held");
}

#[test]
fn a_failure_is_marked_before_the_undo_has_ended() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.fails("p95");
    world.step();
    let writes = world.plan().writes;
    let moves = writes
        .iter()
        .position(|w| matches!(w, Write::Scale { .. }))
        .expect("pods move");
    let mark = writes
        .iter()
        .position(|w| matches!(w, Write::MarkRevision { .. }))
        .expect("whoever loses the status must not try it again");
    assert!(moves < mark, "a record holds up no undo: {writes:?}");
    world.step();
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
    assert_eq!(
        world.status().release.as_ref().map(|r| r.stage.word()),
        Some("undo")
    );
}

#[test]
fn what_the_api_server_refuses_is_said() {
    for (what, reason) in [
        (Refused::Scale, "ScaleRefused"),
        (Refused::Other, "WriteRefused"),
        (Refused::Deployment, "DeploymentRefused"),
    ] {
        let mut world = World::stable("v1").wants("v2").at_step(0);
        world.seen.refusals.push(Refusal {
            what,
            message: "denied by policy".into(),
            transient: false,
        });
        let status = world.record();
        let ready = condition(&status, "Ready");
        assert_eq!(ready.reason, reason);
        assert!(ready.message.contains("denied by policy"), "{ready:?}");
        assert_eq!(condition(&status, "Reconciling").status, "True");
    }
}

#[test]
fn a_mark_that_is_refused_holds_up_no_move() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.edit_spec(|spec| spec.replicas = 10);
    for revision in &mut world.seen.objects.revisions {
        revision.outcome = None;
    }
    let marks = |w: &World| {
        let writes = w.plan().writes;
        let mark = writes
            .iter()
            .any(|w| matches!(w, Write::MarkRevision { .. }));
        let moved = writes.iter().any(|w| matches!(w, Write::Scale { .. }));
        (mark, moved)
    };
    world.step();
    assert_eq!(marks(&world), (true, false));
    world.seen.refusals.push(Refusal {
        what: Refused::Other,
        message: "data: field is immutable".into(),
        transient: false,
    });
    assert_eq!(marks(&world), (false, true));
}

#[test]
fn a_stable_that_somebody_edited_is_no_sure_way_back() {
    let mut world = World::stable("v1");
    let v1 = world.revision("v1");
    for child in &mut world.seen.objects.children {
        child.edited = child.revision == v1;
    }
    let status = world.record();
    let undo = condition(&status, "UndoPossible");
    assert_eq!((&*undo.status, &*undo.reason), ("False", "ChildEdited"));
}

#[test]
fn stable_gives_up_no_pod_for_a_deployment_that_cannot_be_made() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.hold(1000);
    world.record();
    let v2 = world.revision("v2");
    world.seen.objects.children.retain(|c| c.revision != v2);
    world.seen.objects.pods.retain(|p| p.revision != v2);
    world.seen.refusals.push(Refusal {
        what: Refused::Deployment,
        message: "denied by policy".into(),
        transient: false,
    });
    let writes = world.plan().writes;
    let moved = writes.iter().any(|w| matches!(w, Write::Scale { .. }));
    assert!(!moved, "{writes:?}");
}

#[test]
fn pods_that_nothing_remembers_are_seen_in_either_count() {
    for (replicas, status_replicas, lost) in [(3, 0, true), (0, 3, true), (0, 0, false)] {
        let mut world = World::stable("v1").wants("v2").at_step(2);
        world.hold(1000);
        world.settle();
        let v1 = world.revision("v1");
        world.seen.objects.revisions.retain(|r| r.revision != v1);
        let mut children = world.seen.objects.children.iter_mut();
        let child = children.find(|c| c.revision == v1).unwrap();
        (child.replicas, child.status_replicas) = (replicas, status_replicas);
        world.hold(1000);
        world.step();
        let ready = condition(world.status(), "Ready");
        let told = ready.reason == "MemoryLost";
        assert_eq!(told, lost, "{replicas} {status_replicas}: {ready:?}");
    }
}

#[test]
fn a_mark_that_is_refused_is_not_tried_again_in_the_pass_of_an_undo() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.fails("p95");
    world.step();
    let marks = |w: &World| {
        let writes = w.plan().writes;
        let mut marks = writes.iter();
        marks.any(|w| matches!(w, Write::MarkRevision { .. }))
    };
    assert!(marks(&world));
    world.seen.refusals.push(Refusal {
        what: Refused::Other,
        message: "data: field is immutable".into(),
        transient: false,
    });
    assert!(!marks(&world));
}

/// A former stable that goes through the steps again, because the window does not reach so far.
fn former_stable_again() -> World {
    let mut world = World::stable("v1").wants("v2").at_step(2);
    world.hold(1000);
    world.settle();
    world.edit_spec(|spec| spec.strategy.rollback_window.revisions = 0);
    let world = world.wants("v1").at_step(0);
    assert_eq!(world.outcome("v1"), Some(Outcome::Stable));
    world
}

#[test]
fn a_former_stable_that_is_withdrawn_stays_one_and_that_fails_does_not() {
    let mut world = former_stable_again().wants("v2");
    world.settle();
    assert!(world.status().release.is_none());
    assert_eq!(world.outcome("v1"), Some(Outcome::Stable));
    let mut world = former_stable_again();
    world.fails("p95");
    world.settle();
    assert_eq!(world.outcome("v1"), Some(Outcome::Failed));
}

#[test]
fn no_step_is_reached_while_pods_of_a_third_revision_run() {
    let held = |third: i32| {
        let mut world = World::stable("v1").wants("v2").at_step(2);
        world.hold(1000);
        world.settle();
        let mut world = world.wants("v3").at_step(0);
        let v1 = world.revision("v1");
        let mut children = world.seen.objects.children.iter_mut();
        children.find(|c| c.revision == v1).unwrap().replicas = third;
        world.hold(1);
        world.step();
        let step = world.status().release.as_ref().unwrap().step().cloned();
        step.unwrap().held.since.is_some()
    };
    assert!(held(0));
    assert!(!held(1));
}

/// Goes on to a write of a kind.
fn next<T>(world: &mut World, find: impl Fn(&Write) -> Option<T>) -> T {
    for _ in 0..40 {
        let writes = world.plan().writes;
        if let Some(found) = writes.iter().find_map(&find) {
            return found;
        }
        for write in writes {
            world.apply(write);
        }
    }
    panic!("it does not come to that: {:?}", world.plan());
}

#[test]
fn a_deployment_has_the_bounds_of_its_rollout_for_whoever_restarts_it() {
    let mut world = World::stable("v1").wants("v2");
    world.edit_spec(|spec| {
        spec.schema = None;
        spec.strategy.max_surge = IntOrString::Int(3);
        spec.strategy.max_unavailable = IntOrString::Int(2);
    });
    let made = next(&mut world, |write| match write {
        Write::Create {
            kind: Kind::Deployment,
            manifest,
        } => Some(manifest.clone()),
        _ => None,
    });
    assert_eq!(
        made["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
    );
}

#[test]
fn a_template_is_put_on_record_together_with_a_scaling() {
    let mut world = World::stable("v1");
    world.settle();
    let v1 = world.revision("v1");
    let mut children = world.seen.objects.children.iter_mut();
    let child = children.find(|c| c.revision == v1).unwrap();
    child.template = Some("hash".into());
    assert!(world.plan().writes.is_empty(), "never for itself");
    world.edit_spec(|spec| spec.replicas += 1);
    let recorded = next(&mut world, |write| match write {
        Write::Scale { template, .. } => Some(template.clone()),
        _ => None,
    });
    assert_eq!(recorded.as_deref(), Some("hash"));
}
