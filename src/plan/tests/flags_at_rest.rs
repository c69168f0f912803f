//! `spec.flags` at rest, and what a person says then.

use jiff::SignedDuration;
use serde_json::json;

use super::{
    fixture::World,
    flags::{MAP, at_one, file, hold_ends, map, on, on_under_v2, status, told},
};
use crate::{
    api::flags::FlagState,
    plan::{facts::Question, flags::file::Look, reason::Reason},
};

/// What a pass asks that begins with nothing read; this process read the ConfigMap a moment ago.
fn asks(world: &mut World) -> Vec<Question> {
    world.seen.answers.flags.clear();
    world.seen.looked = world.now;
    world.plan().questions
}

/// The flag is on for everybody, in every pod, and the Rollout has come to rest.
fn at_rest() -> World {
    let mut world = on();
    hold_ends(&mut world);
    world.settle();
    world.seen.flags_looked = Some(world.now);
    world
}

fn looks() -> [Question; 1] {
    [Question::Flags(MAP.into())]
}

#[test]
fn at_rest_no_config_map_is_read_and_nothing_is_said_anew() {
    let mut world = at_rest();
    let before = world.status().clone();
    assert_eq!(asks(&mut world), []);
    let plan = world.plan();
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);
    assert_eq!(plan.wake_at, None);
    assert_eq!(*world.status(), before);
    // Nor where a check has turned it off.
    let mut world = on_under_v2();
    world.command("undo", "full-name");
    world.settle();
    assert_eq!(asks(&mut world), looks(), "it has not reached every pod");
    world.seen.answers.flags = at_one().seen.answers.flags;
}

#[test]
fn a_flag_that_was_taken_back_is_at_rest_once_every_pod_has_it_off() {
    let mut world = on();
    world.command("undo", "full-name");
    world.settle();
    let off = status(&world).reaches_pods_by.unwrap();
    let words = told(&world).1;
    let by = format!("every pod has it off by {:.0}", off.0);
    assert!(words.contains(&by), "{words}");
    world.seen.flags_looked = Some(world.now);
    assert_eq!(asks(&mut world), looks());
    hold_ends(&mut world);
    world.seen.flags_looked = Some(world.now);
    assert_eq!(asks(&mut world), []);
}

#[test]
fn whatever_moves_has_the_config_map_read() {
    let moves: [fn(&mut World); 7] = [
        |world| world.seen.flags_looked = None,
        |world| world.now += SignedDuration::from_mins(10),
        |world| world.command("retry", "full-name"),
        |world| world.edit_spec(|spec| spec.replicas += 1),
        |world| world.seen.objects.children[0].available -= 1,
        |world| {
            let versions = &mut world.database_mut().versions;
            *versions = serde_json::from_value(json!([{
                "version": 2, "rollout": "shop", "revision": "r",
                "asked": [{"phase": "Contract", "digest": "d", "flags": ["full-name"]}],
                "frozenFlags": ["full-name"],
            }]))
            .unwrap();
        },
        |world| {
            let mut status = world.status().clone();
            status.flags[0].reaches_pods_by = None;
            world.seen.objects.rollout.status = status.into();
        },
    ];
    for (index, moves) in moves.into_iter().enumerate() {
        let mut world = at_rest();
        moves(&mut world);
        assert_eq!(asks(&mut world), looks(), "{index}");
    }
}

#[test]
fn what_stands_against_a_config_map_is_looked_at_until_it_is_gone() {
    let mut world = at_rest();
    let unread = Look::Unread("no answer".into());
    world.seen.answers.flags.insert(MAP.into(), unread);
    world.now += SignedDuration::from_secs(60);
    world.settle();
    assert_eq!(told(&world).0, "FlagsForbidden");
    world.seen.flags_looked = Some(world.now);
    assert_eq!(asks(&mut world), looks());
}

/// Somebody turned the flag off in the ConfigMap.
fn by_hand(mut world: World) -> World {
    let off = map(&mut world).file.clone().unwrap();
    map(&mut world).file = Some(off.replace("ENABLED", "DISABLED"));
    world.settle();
    assert_eq!(status(&world).state, FlagState::ChangedByHand);
    world
}

#[test]
fn a_person_turns_off_at_once_what_was_changed_by_hand() {
    let mut world = by_hand(at_one());
    let words = told(&world).1;
    assert!(
        words.contains("stepgate.io/undo: \"full-name <id>\""),
        "{words}"
    );
    world.command("undo", "full-name 7");
    world.settle();
    let flag = status(&world);
    assert_eq!((flag.state, flag.percent), (FlagState::TakenBack, 0));
    assert!(!flag.overwrites);
    let written = &file(&mut world)["flags"]["full-name"];
    assert_eq!(written["state"], "ENABLED");
    assert_eq!(written["defaultVariant"], "old");
    assert_eq!(written.get("targeting"), None);
}

#[test]
fn a_release_goes_back_at_once_and_names_the_flag_that_somebody_changed() {
    let mut world = by_hand(on_under_v2());
    let left = map(&mut world).file.clone();
    let v2 = world.revision("v2");
    world.command("undo", &v2);
    let plan = world.plan();
    let named = plan
        .events
        .iter()
        .find(|event| event.reason == Reason::FlagChangedByHand);
    let words = &named.expect("an Event").message;
    assert!(
        words.contains("stepgate.io/undo: \"full-name <id>\""),
        "{words}"
    );
    let status = world.decide();
    assert!(status.release.is_some_and(|r| r.undo().is_some()));
    world.settle();
    assert!(world.status().release.is_none());
    assert_eq!(map(&mut world).file, left);
}
