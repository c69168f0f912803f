//! What a person says, and what comes of it.

use serde_json::json;

use super::adopting::legacy;
use super::fixture::{World, condition, reading};
use crate::{
    api::{RolloutSpec, RolloutStatus, status::Outcome},
    evidence::Verdict,
    plan::reason::Reason,
};

fn checks_that_pause(spec: &mut RolloutSpec) {
    spec.analysis = serde_json::from_value(json!({"checks": [
        {"name": "errors", "errorRate": {"maxPercent": "0.5"}, "onFailure": "Pause"}]}))
    .unwrap();
}

#[test]
fn resume_does_not_pretend_to_help_against_a_check_that_failed() {
    let mut world = World::stable("v1").wants("v2");
    world.edit_spec(checks_that_pause);
    let mut world = world.at_step(0);
    world.says(vec![reading("errors", Verdict::Fail)]);
    let status = world.record();
    assert!(status.release.unwrap().paused().is_some());
    let message = &condition(world.status(), "Stalled").message;
    assert!(message.contains("(promote or undo)"), "{message}");
    let v2 = world.revision("v2");
    world.command("resume", &format!("{v2} r1"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Ignored");
    assert!(status.release.unwrap().paused().is_some());
    // The limit was raised: it no longer fails.
    world.says(vec![reading("errors", Verdict::Inconclusive)]);
    world.command("resume", &format!("{v2} r2"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done", "{:?}", status.commands);
    assert!(status.release.unwrap().paused().is_none());
}

#[test]
fn nobody_returns_below_the_undo_floor() {
    let mut world = World::stable("v1").wants("v2").at_step(2);
    world.hold(1000);
    world.settle();
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    for revision in &mut world.seen.objects.revisions {
        revision.schema_version = Some(if revision.revision == v1 { 1 } else { 2 });
    }
    world.database_mut().undo_floor = Some(2);
    world.command("undo", &format!("{v2} r1"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Ignored");
    assert!(status.commands[0].message.contains("contract of version 2"));
    world.database_mut().undo_floor = Some(1);
    world.command("undo", &format!("{v2} r2"));
    assert_eq!(world.record().stable.unwrap().revision, v1);
}

#[test]
fn what_stops_it_is_told_once() {
    let mut world = World::stable("v1").wants("v2");
    world.seen.answers.overlaps = Some(vec![legacy()]);
    let told = |world: &World| {
        let events = world.plan().events;
        events
            .iter()
            .filter(|e| e.reason == Reason::Stalled)
            .count()
    };
    assert_eq!(told(&world), 1);
    world.step();
    assert_eq!(told(&world), 0);
}

#[test]
fn a_retry_starts_nothing_that_a_first_try_would_not() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let v2 = world.revision("v2");
    world.fails("p95");
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
    world.seen.source_problem = Some("there is no metric source of that name".into());
    world.command("retry", &format!("{v2} r1"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Ignored");
    assert!(status.commands[0].message.contains("no metric source"));
    world.seen.source_problem = None;
    world.seen.objects.neighbours = vec!["twin".into()];
    world.command("retry", &format!("{v2} r2"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Ignored");
    assert!(status.commands[0].message.contains("Rollout twin"));
    world.seen.objects.neighbours.clear();
    world.seen.answers.overlaps = None;
    world.command("retry", &format!("{v2} r3"));
    assert_eq!(world.plan().questions, [world.overlaps()]);
    world.seen.answers.overlaps = Some(Vec::new());
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done", "{:?}", status.commands);
    assert_eq!(status.release.unwrap().highest_attempt(), 2);
}

/// A promote that was typed while the step before was held, and comes late, skips nothing.
#[test]
fn a_promote_leaves_no_step_but_the_one_it_names() {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    let present = |status: &RolloutStatus| {
        let step = status.release.as_ref().and_then(|r| r.step());
        step.map(|s| (s.index, s.name.clone())).unwrap()
    };
    let v2 = world.revision("v2");
    let (index, name) = present(world.status());
    let first = "canary";
    assert_ne!(first, name);
    for (id, other) in [("p1", format!("{v2}/{first}")), ("p2", v2.clone())] {
        world.command("promote", &format!("{other} {id}"));
        let status = world.record();
        let said = status.commands.iter().find(|c| c.id == id).unwrap();
        assert_eq!(said.result, "Ignored", "{said:?}");
        assert!(said.message.contains(&name), "{said:?}");
        assert_eq!(present(&status), (index, name.clone()));
    }
    world.command("promote", &format!("{v2}/{name} p3"));
    let status = world.record();
    let said = status.commands.iter().find(|c| c.id == "p3").unwrap();
    assert_eq!(said.result, "Done", "{said:?}");
    assert_eq!(present(&status).0, index + 1);
}

#[test]
fn a_second_retry_is_the_third_attempt_and_the_history_names_a_revision_once() {
    let mut world = World::stable("v1").wants("v2");
    world.edit_spec(|spec| spec.schema = None);
    let v2 = world.revision("v2");
    for attempt in 1..=3 {
        world = world.at_step(0);
        let release = world.status().release.as_ref().unwrap();
        assert_eq!(release.highest_attempt(), attempt);
        world.fails("p95");
        world.settle();
        let ended: Vec<_> = world.status().history.iter().collect();
        let of_v2: Vec<_> = ended.iter().filter(|e| e.revision == v2).collect();
        assert_eq!(of_v2.len(), 1, "{ended:?}");
        assert_eq!((of_v2[0].attempt, ended.len()), (attempt, 2), "{ended:?}");
        world.edit_spec(|spec| spec.analysis = None);
        world.seen.readings = None;
        world.command("retry", &format!("{v2} r{attempt}"));
        let history = world.record().history;
        assert!(history.iter().all(|e| e.revision != v2), "{history:?}");
    }
}

#[test]
fn a_former_stable_that_returns_has_not_ended_and_what_it_replaces_has() {
    let mut world = World::stable("v1").wants("v2").at_step(2);
    world.hold(1000);
    world.settle();
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    world.command("undo", &format!("{v2} u1"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done", "{:?}", status.commands);
    let ended = |status: &RolloutStatus| {
        let names: Vec<_> = status.history.iter().map(|e| e.revision.as_str()).collect();
        names.join(", ")
    };
    assert_eq!(ended(&status), v2);
    world.settle();
    assert_eq!(ended(world.status()), v2);
    assert_eq!(world.status().stable.as_ref().unwrap().revision, v1);
}
