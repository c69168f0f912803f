//! What a person reads after an undo, and as the answer to what he says.

use std::sync::Arc;

use super::fixture::{World, condition, reading, second};
use crate::evidence::Verdict;

/// v2 failed a check and is out; v1 serves.
fn undone() -> World {
    let mut world = World::stable("v1").wants("v2").with_check("c").at_step(0);
    world.says(vec![reading("c", Verdict::Fail)]);
    world.settle();
    assert!(world.status().release.is_none());
    world
}

#[test]
fn after_an_undo_it_is_said_what_when_why_what_serves_and_how_to_go_on() {
    let world = undone();
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    let status = world.status();
    let ended = &status.history[0];
    let told = &condition(status, "Stalled").message;
    for part in [
        &format!("revision {v2} was undone at {:.0}", ended.ended.0),
        "is not tried again",
        &format!("stable {v1} serves"),
        &ended.message,
        &format!(
            "kubectl annotate --overwrite -n ns rollouts.stepgate.io/shop \
             stepgate.io/retry=\"{v2} $(date +%s)\""
        ),
    ] {
        assert!(told.contains(part), "{part:?} is not in {told:?}");
    }
    assert_eq!(status.summary.failed, v2, "the column");
    let column = &status.summary.message;
    assert!(column.chars().count() < 120, "{column}");
    assert!(column.contains(&v2) && column.ends_with('…'), "{column}");
    // The command does what it says.
    let mut world = world;
    world.command("retry", &format!("{v2} 1"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done");
    assert_eq!(world.status().summary.failed, "");
}

#[test]
fn images_stand_beside_hashes_in_the_status_and_in_the_history() {
    let world = undone();
    let status = world.status();
    let stable = status.stable.as_ref().unwrap();
    assert_eq!(stable.images, "shop:v1");
    assert_eq!(status.history[0].images, "shop:v2");
}

#[test]
fn a_command_of_another_revision_is_told_what_that_revision_is() {
    let mut world = undone();
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    world = world.wants("v3").at_step(0);
    let v3 = world.revision("v3");
    let failed = format!("which failed at {:.0}", world.status().history[0].ended.0);
    for (number, (said, meaning)) in [
        (v1.as_str(), "which is stable"),
        (v2.as_str(), failed.as_str()),
        ("r9", "which is no revision of Rollout shop"),
    ]
    .into_iter()
    .enumerate()
    {
        world.command("undo", &format!("{said} {number}"));
        let status = world.record();
        let answer = &status.commands[0];
        assert_eq!(answer.result, "Ignored");
        let told = &answer.message;
        assert!(told.contains(meaning), "{meaning:?} is not in {told:?}");
        let present = format!("the present revision is {v3}");
        assert!(told.contains(&present), "{told:?}");
    }
}

#[test]
fn a_command_that_there_is_not_is_answered_once() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let v2 = world.revision("v2");
    world.command("promot", &format!("{v2}/canary 1"));
    let status = world.record();
    let answer = &status.commands[0];
    assert_eq!((&*answer.command, &*answer.result), ("promot", "Ignored"));
    assert!(
        answer.message.contains("Did you mean promote?"),
        "{answer:?}"
    );
    world.settle();
    let annotations = Arc::make_mut(&mut world.seen.objects.rollout.annotations);
    annotations.clear();
    world.command("approve", "7/contract/abc 1 me");
    let status = world.record();
    let told = &status.commands[0].message;
    assert!(told.contains("DatabaseSchema"), "{told}");
    let mut commands = status.commands.iter();
    assert!(!commands.any(|c| c.command == "promot"), "it is gone");
}

/// Whatever stands on a Rollout, it comes to rest, with a status that stays small.
#[test]
fn hundreds_of_annotations_are_no_loop() {
    let mut world = World::stable("v1");
    let annotations = Arc::make_mut(&mut world.seen.objects.rollout.annotations);
    for n in 0..300 {
        annotations.insert(format!("stepgate.io/x{n}"), "é ".repeat(400));
    }
    world.settle();
    world.now = second(100_000);
    world.settle();
    let commands = &world.status().commands;
    assert!((1..=8).contains(&commands.len()), "{commands:?}");
}
