//! What people read: the columns of `kubectl get`, figures, selectors, events.

use serde_json::json;

use super::config::settings;
use super::fixture::{World, condition, reading, stalled};
use crate::{
    evidence::Verdict,
    plan::facts::{JobEnd, JobLog},
    plan::reason::Reason,
};

#[test]
fn the_columns_say_where_it_stands() {
    let mut world = World::stable("v1");
    let summary = |world: &World| world.status().summary.clone();
    assert_eq!(summary(&world).step, "", "nothing to say");
    world.edit_spec(|spec| spec.replicas = 0);
    world.settle();
    assert_eq!(summary(&world).step, "", "as asked");

    let world = World::stable("v1").wants("v2").at_stage("expand");
    assert_eq!(summary(&world).step, "expand");

    let mut world = World::stable("v1")
        .wants("v2")
        .with_check("errors")
        .at_step(1);
    let v2 = world.revision("v2");
    world.says(vec![reading("errors", Verdict::Pass)]);
    world.command("pause", &format!("{v2} p1"));
    world.record();
    let said = summary(&world);
    assert_eq!(
        (said.step.as_str(), said.share.as_str()),
        ("quarter 2/3", "2/8")
    );
    assert_eq!(said.checks, "errors Pass 0.1%");
    assert_eq!(said.schema, "db Succeeded");
    assert_eq!(world.status().checks[0].reason, "Passed");
    assert_eq!(said.paused, "the pause command");
}

#[test]
fn figures_have_no_decimals_that_say_nothing() {
    let shown = |value: Option<f64>| {
        let mut world = World::stable("v1").wants("v2").with_check("c").at_step(0);
        let mut said = reading("c", Verdict::Pass);
        (said.value, said.limit) = (value, 200.0);
        world.says(vec![said]);
        world.hold(1000);
        let check = world.decide().checks[0].clone();
        (check.value, check.limit)
    };
    let text = |value: &str| (Some(value.to_owned()), "200%".to_owned());
    assert_eq!(shown(Some(0.25)), text("0.25%"));
    assert_eq!(shown(Some(1.0)), text("1%"));
    assert_eq!(shown(Some(0.000_4)), text("0%"));
    assert_eq!(shown(None), (None, "200%".to_owned()));
}

#[test]
fn the_selector_is_one_that_kubectl_takes() {
    let mut world = World::stable("v1");
    world.edit_spec(|spec| {
        spec.selector = serde_json::from_value(json!({
            "matchLabels": {"app": "shop", "tier": "web"},
            "matchExpressions": [
                {"key": "zone", "operator": "In", "values": ["a", "b"]},
                {"key": "track", "operator": "NotIn", "values": ["old"]},
                {"key": "owner", "operator": "Exists"},
                {"key": "legacy", "operator": "DoesNotExist"},
            ],
        }))
        .unwrap();
    });
    world.hold(1000);
    let selector = world.decide().selector.unwrap();
    assert_eq!(
        selector,
        "app=shop,tier=web,zone in (a,b),track notin (old),owner,!legacy"
    );
}

#[test]
fn a_command_that_is_ignored_is_a_warning_and_one_that_is_done_is_none() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    for (text, reason, warning) in [
        ("another p1".to_owned(), "CommandIgnored", true),
        (format!("{} p2", world.revision("v2")), "CommandDone", false),
    ] {
        world.command("pause", &text);
        let events = world.plan().events;
        let said = events.iter().find(|e| e.reason.word() == reason);
        assert_eq!(said.map(|e| e.warning), Some(warning), "{events:?}");
    }
}

#[test]
fn a_spec_that_cannot_be_read_is_said_once_with_the_time_when_that_began() {
    let mut world = World::stable("v1");
    world.hold(100);
    let began = world.now;
    world.seen.objects.rollout.spec = Err("spec.steps: wrong".into());
    let status = world.record();
    assert_eq!(stalled(&status), "InvalidSpec");
    let since = |kind: &str| condition(&status, kind).last_transition_time.0;
    assert_eq!((since("Stalled"), since("Ready")), (began, began));
    assert!(since("Reconciling") < began, "it was not before either");
    world.hold(1000);
    assert_eq!(world.plan().writes, []);
}

/// What stops it is told beside the command that met it.
#[test]
fn a_promotion_that_cannot_be_says_so_and_what_stops_it() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.needs("v1", "settings");
    world.lacks(&[settings()]);
    let v2 = world.revision("v2");
    world.command("promote", &format!("{v2}/canary p1"));
    let events = world.plan().events;
    let told: Vec<_> = events.iter().map(|e| (e.reason, e.warning)).collect();
    assert_eq!(
        told,
        [(Reason::CommandIgnored, true), (Reason::Stalled, true)]
    );
}

#[test]
fn an_undo_is_a_warning_where_something_has_failed() {
    let undone = |world: &World| {
        let events = world.plan().events;
        let undo = events.iter().find(|e| e.reason == Reason::UndoStarted);
        undo.map(|e| e.warning)
    };
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.fails("p95");
    assert_eq!(undone(&world), Some(true));
    let world = World::stable("v1").wants("v2").at_step(0).wants("v3");
    assert_eq!(undone(&world), Some(false));
}

/// The expand of v2 has failed, and its end is on record.
fn expand_failed(show_log: bool) -> World {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    while !world.seen.objects.jobs.iter().any(|job| !job.suspended) {
        world.step();
    }
    world.edit_spec(|spec| spec.schema.as_mut().unwrap().show_log = show_log);
    let at = world.now;
    world.seen.objects.jobs[0].ended = Some(JobEnd {
        refusal: None,
        sql: false,
        nothing_applied: false,
        succeeded: false,
        message: "BackoffLimitExceeded".into(),
        at,
    });
    world.finish_database();
    world
}

#[test]
fn a_log_that_is_not_to_be_shown_is_neither_read_nor_repeated() {
    let mut world = expand_failed(false);
    assert_eq!(world.plan().questions, []);
    world.settle();
    let told = condition(world.status(), "Stalled").clone();
    let job = &world.seen.objects.jobs[0].base.name;
    let command = format!("kubectl logs -n ns job/{job}");
    assert!(told.message.contains(&command), "{told:?}");
}

#[test]
fn an_expand_that_failed_says_how_its_log_ends() {
    let mut world = expand_failed(true);
    world.seen.answers.job_log = Some(JobLog::Ends("relation does not exist".into()));
    world.record();
    world.settle();
    let told = condition(world.status(), "SchemaReady");
    assert_eq!((&*told.status, &*told.reason), ("False", "Failed"));
    assert!(told.message.contains("relation does not exist"), "{told:?}");
    // What is on record of it may be cleaned up, and it is still known how it ended.
    world.database_mut().phases.clear();
    world.edit_spec(|spec| spec.replicas = 9);
    world.settle();
    assert_eq!(condition(world.status(), "SchemaReady").reason, "Failed");
    world.edit_spec(|spec| {
        spec.schema = serde_json::from_value(json!({"database": "db"})).unwrap();
    });
    world.settle();
    assert_eq!(condition(world.status(), "SchemaReady").reason, "NotAsked");
}

#[test]
fn a_release_that_ends_well_keeps_its_last_verdicts() {
    let mut world = World::stable("v1").wants("v2").with_check("c").at_step(2);
    world.hold(1000);
    world.says(vec![reading("c", Verdict::Pass)]);
    world.settle();
    assert!(world.status().release.is_none());
    assert_eq!(world.status().checks[0].verdict, "Pass");
    world.settle();
    assert_eq!(world.status().summary.checks, "c Pass 0.1%");
}
