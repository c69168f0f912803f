//! Decisions in tables: one fact changed, one decision looked at.

mod adopting;
mod around;
mod attempts;
mod commands;
mod config;
mod database;
mod exits;
mod first;
mod fixture;
mod flags;
mod flags_at_rest;
mod gone;
mod hands;
mod history;
mod leaders;
mod left_out;
mod lost;
mod order;
mod permission;
mod phases;
mod proof;
mod recorded;
mod release_tests;
mod routes;
mod said;
mod schema;
mod services;
mod soak;
mod step_tests;
mod steps;
mod told;
mod undo;
mod versions;
mod waited_for;
mod waiting;
mod waits;
mod way_back;

use std::sync::Arc;

use serde_json::json;

use self::adopting::legacy;
use self::fixture::{World, reading, second};
use super::{
    facts::{Answers, JobLog, Question, Refusal, Refused},
    intent::{Kind, Write},
};
use crate::{
    api::{
        PhaseKind,
        database::{Dirty, PhaseRecord},
        status::Outcome,
    },
    evidence::Verdict,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Whether it makes a Job.
fn makes_a_job(write: &Write) -> bool {
    write.base().is_none() && write.kind() == Some(Kind::Job)
}

#[test]
fn a_first_deployment_is_told_by_a_live_list_alone() {
    let mut world = World::new();
    let asked = [world.overlaps(), Question::Revisions];
    assert_eq!(world.plan().questions, asked);
    world.seen.answers.overlaps = Some(Vec::new());
    assert_eq!(world.plan().questions, [Question::Revisions]);
    world.seen.answers.revisions_live = true;
    let release = world.decide().release.unwrap();
    assert!(release.first);
    assert_eq!(release.stage.word(), "preflight");
}

#[test]
fn a_release_asks_at_once_for_all_that_it_must_know_to_begin() {
    let mut world = World::stable("v1").wants("v2");
    world.seen.answers = Answers::default();
    let template = Question::Rollout("shop".into());
    let asked = world.plan().questions;
    assert_eq!(
        asked,
        [world.overlaps(), Question::Revisions, template.clone()]
    );
    // What others marked was listed once; since then nobody marks but this process.
    world.seen.listed = true;
    assert_eq!(world.plan().questions, [world.overlaps(), template.clone()]);
    // A status that was lost may have been another's.
    let mut lost = world.clone();
    Arc::make_mut(&mut lost.seen.objects.rollout.status).stable = None;
    assert_eq!(lost.plan().questions, [Question::Revisions]);
    // One that is on record already, as one that was withdrawn is, has its Deployment too.
    let mut known = world.seen.objects.revisions[0].clone();
    known.revision = world.revision("v2");
    known.outcome = Some(Outcome::Withdrawn);
    world.seen.objects.revisions.push(known);
    assert_eq!(world.plan().questions, [world.overlaps()]);
}

#[test]
fn a_decision_is_recorded_before_anything_rests_on_it() {
    let world = World::stable("v1").wants("v2");
    let plan = world.plan();
    assert!(
        matches!(plan.writes.as_slice(), [Write::RecordStatus { .. }]),
        "{:?}",
        plan.writes
    );
}

#[test]
fn an_overlapping_selector_stops_it_before_any_other_write() {
    let mut world = World::stable("v1").wants("v2");
    world.seen.answers.overlaps = Some(vec![legacy()]);
    let status = world.decide();
    assert!(status.release.is_none());
    assert_eq!(fixture::stalled(&status), "SelectorOverlap");
}

#[test]
fn nothing_is_written_when_nothing_has_changed() {
    let mut world = World::stable("v1");
    world.settle();
    assert_eq!(world.plan().writes, []);
    assert_eq!(world.plan().wake_at, None, "an idle Rollout costs nothing");
}

#[test]
fn no_pod_before_the_expand_has_succeeded() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    for _ in 0..6 {
        for write in world.plan().writes {
            assert!(!matches!(write, Write::Scale { .. }), "{write:?}");
            world.apply(write);
        }
    }
    let job = world.seen.objects.jobs.first().expect("a Job");
    assert!(!job.suspended, "released once its uid is on record");
    let holder = world
        .seen
        .objects
        .database
        .as_ref()
        .unwrap()
        .record
        .holder
        .clone()
        .unwrap();
    assert_eq!(holder.job_uid.as_ref(), Some(&job.base.uid));
}

#[test]
fn a_job_is_not_released_before_its_uid_is_on_record() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    while world.seen.objects.jobs.is_empty() {
        world.step();
    }
    let writes = world.plan().writes;
    assert!(
        matches!(writes.as_slice(), [Write::RecordDatabase { .. }, ..]),
        "{writes:?}"
    );
}

#[test]
fn a_failed_expand_starts_no_pod_and_says_so() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    let revision = world.revision("v2");
    world.database_mut().phases.push(PhaseRecord {
        refusal: None,
        sql: false,
        floor_before: None,
        nothing_applied: false,
        undone_by: None,
        rollout: "shop".into(),
        revision,
        version: None,
        phase: PhaseKind::Expand,
        attempt: 1,
        succeeded: false,
        job: "shop-expand".into(),
        began: None,
        ended: Time(second(1)),
        message: "BackoffLimitExceeded".into(),
    });
    assert_eq!(
        world.plan().questions,
        [Question::JobLog("shop-expand".into())]
    );
    world.seen.answers.job_log = Some(JobLog::Ends("relation does not exist".into()));
    let status = world.decide();
    assert!(status.release.is_none());
    assert_eq!(status.history[0].outcome, Outcome::Failed);
    assert!(
        status.history[0]
            .message
            .contains("relation does not exist")
    );
}

#[test]
fn a_dirty_database_waits_for_a_person() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    world.database_mut().dirty = vec![Dirty {
        rollout: "other".into(),
        revision: "x".into(),
        version: None,
        phase: PhaseKind::Expand,
        attempt: 1,
        job: "other-expand".into(),
        since: Time(second(0)),
    }];
    assert_eq!(fixture::stalled(&world.record()), "DatabaseDirty");
    world.command("retry", &format!("{} r1", world.revision("v2")));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done", "{:?}", status.commands);
    assert_eq!(
        status
            .release
            .unwrap()
            .job(PhaseKind::Expand)
            .accepted_dirty,
        ["other-expand"]
    );
    assert!(matches!(
        world.plan().writes.as_slice(),
        [Write::RecordDatabase { .. }, ..]
    ));
}

#[test]
fn a_failed_revision_is_not_tried_again_whatever_is_applied() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.fails("p95");
    assert_eq!(world.decide().release.unwrap().stage.word(), "undo");
    world.settle();
    let status = world.status();
    assert_eq!(status.history[0].outcome, Outcome::Failed);
    assert_eq!(fixture::stalled(status), "CheckFailed");
    world.seen.objects.rollout.generation += 1;
    world.settle();
    assert!(world.status().release.is_none());
    world.command("retry", &format!("{} again", world.revision("v2")));
    assert_eq!(world.decide().release.unwrap().highest_attempt(), 2);
}

#[test]
fn the_end_of_an_undo_says_at_once_why() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.fails("p95");
    while world.status().release.is_some() {
        world.step();
    }
    assert_eq!(
        fixture::stalled(world.status()),
        "CheckFailed",
        "with the record that ends it"
    );
}

#[test]
fn silence_passes_nothing() {
    let cases = [
        None,
        Some(reading("errors", Verdict::Inconclusive)),
        Some(reading("another", Verdict::Pass)),
    ];
    for said in cases {
        let mut world = World::stable("v1")
            .wants("v2")
            .with_check("errors")
            .at_step(0);
        world.hold(100);
        world.says(said.into_iter().collect());
        world.settle();
        let step = world.status().release.as_ref().unwrap().step().unwrap();
        assert_eq!(step.index, 0);
    }
    let mut world = World::stable("v1")
        .wants("v2")
        .with_check("errors")
        .at_step(0);
    world.hold(100);
    world.says(vec![reading("errors", Verdict::Pass)]);
    assert_eq!(world.decide().release.unwrap().step().unwrap().index, 1);
}

#[test]
fn without_a_verdict_the_steps_deadline_decides() {
    for (what, expected) in [("Pause", "step"), ("Undo", "undo"), ("Proceed", "step")] {
        let mut world = World::stable("v1")
            .wants("v2")
            .with_check("errors")
            .at_step(0);
        world.edit_steps(|step| {
            step["onInconclusive"] = json!(what);
            step["deadlineSeconds"] = json!(60);
        });
        world.hold(100);
        world.says(vec![reading("errors", Verdict::Inconclusive)]);
        let release = world.decide().release.unwrap();
        assert_eq!(release.stage.word(), expected, "{what}");
        assert_eq!(release.paused().is_some(), what == "Pause", "{what}");
        assert_eq!(
            release.step().map_or(0, |step| step.index),
            i32::from(what == "Proceed"),
            "{what}"
        );
    }
}

#[test]
fn a_clock_that_was_not_watched_times_nothing_out() {
    let mut world = World::stable("v1")
        .wants("v2")
        .with_check("errors")
        .at_step(0);
    world.edit_steps(|step| step["deadlineSeconds"] = json!(60));
    world.hold(100);
    world.seen.trusted_since = world.now;
    world.settle();
    assert!(world.status().release.as_ref().unwrap().paused().is_none());
}

/// An operator that was away while the target was not reached finds it reached: the time away is
/// not counted, neither at once nor when the target is lost again.
#[test]
fn time_that_nobody_watched_is_no_progress_missed() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let limit = world.spec.strategy.progress_deadline_seconds;
    let canary = world.revision("v2");
    let unready = |world: &mut World, ready: bool| {
        let mut children = world.seen.objects.children.iter_mut();
        let child = children.find(|c| c.revision == canary).unwrap();
        child.available = if ready { child.replicas } else { 0 };
    };
    unready(&mut world, false);
    world.record();
    world.hold(limit + 100);
    world.seen.trusted_since = world.now;
    unready(&mut world, true);
    world.record();
    unready(&mut world, false);
    world.hold(1);
    world.record();
    let release = world.status().release.clone().unwrap();
    assert!(release.undo().is_none(), "{release:?}");
    assert!(release.unreached.seconds < 5, "{release:?}");
}

#[test]
fn a_stale_command_is_ignored_and_that_is_said() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.command("promote", "other/canary 1");
    let status = world.record();
    assert_eq!(status.commands[0].result, "Ignored");
    assert_eq!(status.release.unwrap().step().unwrap().index, 0);
    world.command("promote", &format!("{}/canary 2", world.revision("v2")));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done", "{:?}", status.commands);
    assert_eq!(status.release.unwrap().step().unwrap().index, 1);
    // The annotation stays; it is not taken twice.
    world.settle();
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
}

#[test]
fn a_new_revision_in_mid_rollout_withdraws_the_one_before() {
    let mut world = World::stable("v1").wants("v2").at_step(1).wants("v3");
    let release = world.decide().release.unwrap();
    assert!(release.undo().is_some());
    assert_eq!(release.undo().unwrap().outcome, Outcome::Withdrawn);
    world.settle();
    let release = world.status().release.clone().unwrap();
    assert_eq!(release.revision, world.revision("v3"));
    assert!(release.undo().is_none());
}

#[test]
fn a_former_stable_returns_without_steps() {
    let mut world = World::stable("v1").wants("v2").at_step(2);
    world.hold(1000);
    world.settle();
    assert_eq!(
        world.status().stable.as_ref().unwrap().revision,
        world.revision("v2")
    );
    let mut world = world.wants("v1");
    let status = world.decide();
    assert_eq!(status.stable.unwrap().revision, world.revision("v1"));
    assert_eq!(status.release.unwrap().stage.word(), "undo");
    world.settle();
    assert_eq!(fixture::condition(world.status(), "Ready").status, "True");
    assert_eq!(
        world
            .seen
            .objects
            .child(&world.revision("v1"))
            .unwrap()
            .replicas,
        8
    );
    assert_eq!(
        world.outcome("v2"),
        Some(Outcome::Stable),
        "it may return in turn"
    );
}

/// What was good long ago proves itself again.
#[test]
fn a_former_stable_outside_the_window_takes_the_steps() {
    let mut world = World::stable("v1");
    for next in ["v2", "v3"] {
        world = world.wants(next).at_step(2);
        world.hold(1000);
        world.settle();
        let stable = world.status().stable.as_ref().map(|s| s.revision.clone());
        assert_eq!(stable, Some(world.revision(next)));
    }
    world.edit_spec(|spec| spec.strategy.rollback_window.revisions = 1);
    let back_to = |version: &str, world: World| {
        let world = world.wants(version);
        let (wanted, status) = (world.revision(version), world.decide());
        let release = status.release.map(|r| (r.revision, r.stage.word()));
        let stable = status.stable.map(|s| s.revision);
        (
            world,
            stable == Some(wanted.clone()),
            release == Some((wanted, "preflight")),
        )
    };
    let (world, at_once, in_steps) = back_to("v1", world);
    assert!(!at_once && in_steps, "two revisions back");
    let (_, at_once, in_steps) = back_to("v2", world);
    assert!(at_once && !in_steps, "one revision back");
}

#[test]
fn a_refused_template_ends_the_release_with_the_servers_words() {
    let mut world = World::stable("v1").wants("v2").at_stage("preflight");
    world.seen.refusals.push(Refusal {
        what: Refused::Deployment,
        message: "spec.template.spec.containers[0].image: Required value".into(),
        transient: false,
    });
    let status = world.decide();
    assert_eq!(status.history[0].reason, "TemplateRefused");
    assert!(status.history[0].message.contains("containers[0].image"));
}

#[test]
fn scaled_to_zero_waits_and_goes_on() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.edit_spec(|spec| spec.replicas = 0);
    world.settle();
    assert_eq!(
        fixture::condition(world.status(), "Ready").reason,
        "ScaledToZero"
    );
    assert_eq!(fixture::condition(world.status(), "Ready").status, "True");
    let available = fixture::condition(world.status(), "Available");
    assert_eq!(available.status, "True", "{available:?}");
    assert!(world.seen.objects.children.iter().all(|c| c.replicas == 0));
    world.hold(10_000);
    world.settle();
    assert_eq!(
        world
            .status()
            .release
            .as_ref()
            .unwrap()
            .step()
            .unwrap()
            .index,
        0
    );
    world.edit_spec(|spec| spec.replicas = 4);
    world.settle();
    assert_eq!(
        world
            .seen
            .objects
            .child(&world.revision("v1"))
            .unwrap()
            .replicas,
        3
    );
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

#[test]
fn old_revisions_go_and_stable_never() {
    let mut world = World::stable("v1");
    world.edit_spec(|spec| spec.revision_history_limit = 1);
    world.settle();
    for version in ["v2", "v3", "v4"] {
        world = world.wants(version);
        for _ in 0..4 {
            world.settle();
            world.hold(1000);
        }
        world.settle();
    }
    let mut left: Vec<_> = world
        .seen
        .objects
        .revisions
        .iter()
        .map(|r| r.revision.clone())
        .collect();
    let mut expected = vec![world.revision("v3"), world.revision("v4")];
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(
        world.status().stable.as_ref().unwrap().revision,
        world.revision("v4")
    );
}
