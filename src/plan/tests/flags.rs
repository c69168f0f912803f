//! `spec.flags`.

use serde_json::{Value, json};

use super::fixture::{World, condition, reading};
use crate::{
    api::{
        Flag,
        flags::{FlagState, FlagStatus},
        keys,
    },
    evidence::{Readings, Verdict},
    plan::{
        facts::{Base, Observed, Question, Refusal, Refused},
        flags::{
            REACHES_PODS_WITHIN,
            file::{ConfigMapFacts, FILE, Look},
        },
        intent::{Kind, Write},
        measurable,
    },
};

pub(crate) const MAP: &str = "shop-flags";

/// What a write makes of a ConfigMap.
pub fn write(seen: &mut Observed, name: &str, change: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let version = match seen.answers.flags.get(name) {
        Some(Look::Read(Some(map))) => map.base.resource_version.parse::<i64>().unwrap() + 1,
        _ => 1,
    };
    let metadata = &change["metadata"];
    let map = ConfigMapFacts {
        base: Base {
            name: name.into(),
            uid: "u-map".into(),
            resource_version: version.to_string(),
        },
        rollout: text(&metadata["labels"][keys::ROLLOUT]),
        owner_uid: text(&metadata["ownerReferences"][0]["uid"]),
        deleting: false,
        file: text(&change["data"][FILE]),
        notes: text(&metadata["annotations"][keys::FLAGS]),
    };
    let map = Look::Read(Some(map.into()));
    seen.answers.flags.insert(name.into(), map);
}

fn flag(key: &str) -> Flag {
    serde_json::from_value(json!({
        "key": key,
        "configMap": {"name": MAP},
        "onVariant": "new",
        "offVariant": "old",
        "ramp": [
            {"name": "one", "percent": 1, "holdSeconds": 100},
            {"name": "all", "percent": 100, "holdSeconds": 100},
        ],
    }))
    .unwrap()
}

pub fn map(world: &mut World) -> &mut ConfigMapFacts {
    match world.seen.answers.flags.get_mut(MAP) {
        Some(Look::Read(Some(map))) => map,
        other => panic!("{other:?}"),
    }
}

pub fn file(world: &mut World) -> Value {
    serde_json::from_str(map(world).file.as_ref().unwrap()).unwrap()
}

pub fn status(world: &World) -> FlagStatus {
    world.status().flags[0].clone()
}

pub fn told(world: &World) -> (String, String) {
    let condition = condition(world.status(), "FlagsReady");
    (condition.reason.clone(), condition.message.clone())
}

/// `v1` is stable, with a flag and a check; its ConfigMap does not exist.
fn world() -> World {
    let mut world = World::stable("v1").with_check("errors");
    world.edit_spec(|spec| spec.flags = vec![flag("full-name")]);
    let none = Look::Read(None);
    world.seen.answers.flags.insert(MAP.into(), none);
    world
}

/// The flag is on for 1%, and every pod has it.
pub(crate) fn at_one() -> World {
    let mut world = world();
    world.settle();
    world
}

/// The checks say this since the hold of the step began.
fn says(world: &mut World, verdict: Verdict) {
    let flag = status(world);
    let (revision, since) = (flag.revision.unwrap(), flag.since.unwrap().0);
    let hold = flag.reaches_pods_by.map(|t| t.0);
    let analysis = world.spec.analysis.as_ref().unwrap();
    world.seen.readings = Some(Readings {
        revision,
        since,
        source: analysis.source.clone(),
        checks: measurable::checks(analysis),
        hold_since: hold,
        polled_at: Some(world.now),
        split: None,
        complete_polls: 3,
        readings: vec![reading("errors", verdict)],
    });
}

/// The hold of the step is over.
pub(crate) fn hold_ends(world: &mut World) {
    world.now += jiff::SignedDuration::from_secs(REACHES_PODS_WITHIN + 100);
}

#[test]
fn a_config_map_is_read_before_anything_is_decided() {
    let mut world = world();
    world.seen.answers.flags.clear();
    assert_eq!(world.plan().questions, [Question::Flags(MAP.into())]);
}

#[test]
fn a_flag_begins_off_and_is_raised_by_a_record_that_comes_first() {
    let mut world = world();
    // Listed, made, raised, written, and each by itself.
    world.step();
    assert_eq!(status(&world).state, FlagState::Waiting);
    world.step();
    assert_eq!(
        file(&mut world)["flags"]["full-name"]["defaultVariant"],
        "old"
    );
    assert_eq!(
        file(&mut world)["flags"]["full-name"].get("targeting"),
        None
    );
    world.record();
    assert_eq!(
        (status(&world).state, status(&world).percent),
        (FlagState::Ramping, 1)
    );
    assert_eq!(
        file(&mut world)["flags"]["full-name"].get("targeting"),
        None
    );
    world.settle();
    let written = file(&mut world)["flags"]["full-name"].clone();
    assert_eq!(
        written["targeting"],
        json!({"fractional": [["new", 1], ["old", 99]]})
    );
    assert_eq!(written["variants"], json!({"new": true, "old": false}));
    let reaches = status(&world).reaches_pods_by.unwrap().0;
    assert_eq!(
        reaches.duration_since(world.now).as_secs(),
        REACHES_PODS_WITHIN
    );
    assert_eq!(condition(world.status(), "Ready").status, "True");
    assert_eq!(told(&world).0, "FlagRamping");
    assert_eq!(world.status().summary.step, "full-name one 1/2");
    assert_eq!(world.status().summary.share, "1%");
}

#[test]
fn a_step_is_left_after_its_hold_when_the_checks_have_passed() {
    let mut world = at_one();
    says(&mut world, Verdict::Pass);
    world.settle();
    assert_eq!(status(&world).percent, 1);
    hold_ends(&mut world);
    says(&mut world, Verdict::Inconclusive);
    world.settle();
    assert_eq!(status(&world).percent, 1);
    says(&mut world, Verdict::Pass);
    world.settle();
    assert_eq!(status(&world).percent, 100);
    assert_eq!(
        file(&mut world)["flags"]["full-name"]["defaultVariant"],
        "new"
    );
    assert_eq!(
        file(&mut world)["flags"]["full-name"].get("targeting"),
        None
    );
    hold_ends(&mut world);
    says(&mut world, Verdict::Pass);
    world.settle();
    assert_eq!(status(&world).state, FlagState::On);
    assert_eq!(condition(world.status(), "FlagsReady").status, "True");
    assert_eq!(world.plan().measure, None);
}

#[test]
fn a_check_that_fails_takes_the_flag_back_and_nothing_else() {
    let mut world = at_one();
    says(&mut world, Verdict::Fail);
    world.settle();
    assert_eq!(
        (status(&world).state, status(&world).percent),
        (FlagState::TakenBack, 0)
    );
    assert_eq!(
        file(&mut world)["flags"]["full-name"].get("targeting"),
        None
    );
    assert_eq!(condition(world.status(), "Ready").status, "True");
    let (reason, words) = told(&world);
    assert_eq!(reason, "FlagTakenBack");
    assert!(
        words.contains("check errors") && words.contains("retry"),
        "{words}"
    );
    // It stays off until somebody acts.
    hold_ends(&mut world);
    world.settle();
    assert_eq!(status(&world).state, FlagState::TakenBack);
    world.edit_spec(|spec| spec.flags[0].ramp[0].hold_seconds = 7);
    world.settle();
    assert_eq!(
        (status(&world).state, status(&world).percent),
        (FlagState::Ramping, 1)
    );
}

#[test]
fn a_late_write_of_what_was_raised_is_refused_after_it_was_taken_back() {
    let mut world = world();
    world.step();
    world.step();
    world.record();
    // It was raised, and never written; now it is taken back.
    let before = map(&mut world).base.resource_version.clone();
    world.command("undo", "full-name");
    world.settle();
    assert_eq!(status(&world).percent, 0);
    assert_ne!(map(&mut world).base.resource_version, before);
}

#[test]
fn a_change_by_hand_is_left_alone_and_named_until_somebody_says_retry() {
    let mut world = at_one();
    let by_hand = map(&mut world)
        .file
        .clone()
        .unwrap()
        .replace("ENABLED", "DISABLED");
    map(&mut world).file = Some(by_hand.clone());
    world.settle();
    let (reason, words) = told(&world);
    assert_eq!(reason, "FlagChangedByHand");
    assert!(words.contains("DISABLED"), "{words}");
    hold_ends(&mut world);
    world.settle();
    assert_eq!(map(&mut world).file, Some(by_hand));
    world.command("retry", "full-name");
    world.settle();
    assert_eq!(file(&mut world)["flags"]["full-name"]["state"], "ENABLED");
    assert_eq!(status(&world).percent, 1);
    assert!(!status(&world).overwrites);
}

#[test]
fn what_others_put_into_the_file_stays() {
    let mut world = at_one();
    let mut all = file(&mut world);
    all["flags"]["theirs"] = json!({"state": "ENABLED"});
    map(&mut world).file = Some(all.to_string());
    world.command("undo", "full-name");
    world.settle();
    assert_eq!(file(&mut world)["flags"]["theirs"]["state"], "ENABLED");
    world.edit_spec(|spec| spec.flags.clear());
    world.settle();
    assert_eq!(
        file(&mut world)["flags"],
        json!({"theirs": {"state": "ENABLED"}})
    );
    assert_eq!(world.status().flags, []);
}

#[test]
fn a_config_map_of_somebody_else_is_told_and_holds_up_no_release() {
    let mut world = world();
    let name = MAP.to_owned();
    write(&mut world.seen, &name, &json!({"data": {FILE: "{}"}}));
    let mut world = world.wants("v2");
    world.settle();
    assert_eq!(told(&world).0, "FlagsNotOurs");
    assert!(world.status().release.is_some());
    assert_eq!(map(&mut world).file.as_deref(), Some("{}"));
}

/// Under `v2` the flag was turned on.
pub(crate) fn on_under_v2() -> World {
    let mut world = World::stable("v1").wants("v2");
    for _ in 0..4 {
        world.settle();
        world.hold(1000);
    }
    world.settle();
    assert_eq!(
        world.status().stable.as_ref().unwrap().revision,
        world.revision("v2")
    );
    world.edit_spec(|spec| spec.flags = vec![flag("full-name")]);
    world
        .seen
        .answers
        .flags
        .insert(MAP.into(), Look::Read(None));
    world.settle();
    assert_eq!(status(&world).percent, 1);
    world
}

#[test]
fn a_release_that_goes_back_takes_its_flag_along_first() {
    let mut world = on_under_v2();
    let v2 = world.revision("v2");
    world.command("undo", &v2);
    let status = world.decide();
    assert!(status.release.is_some_and(|r| r.undo().is_some()));
    assert_eq!(
        (status.flags[0].state, status.flags[0].percent),
        (FlagState::Waiting, 0)
    );
    world.step();
    let writes = world.plan().writes;
    assert!(
        matches!(writes.first(), Some(Write::Flags { .. })),
        "{writes:?}"
    );
}

#[test]
fn an_undo_goes_on_where_its_flag_cannot_be_written_or_read() {
    for unread in [false, true] {
        let mut world = on_under_v2();
        let v2 = world.revision("v2");
        world.command("undo", &v2);
        world.step();
        if unread {
            let look = Look::Unread("no answer".into());
            world.seen.answers.flags.insert(MAP.into(), look);
        } else {
            world.seen.refusals = vec![Refusal {
                what: Refused::Flags(MAP.into()),
                message: "a policy denies it".into(),
                transient: true,
            }];
        }
        let writes = world.plan().writes;
        assert!(
            writes.iter().any(|w| w.kind() == Some(Kind::Deployment)),
            "{writes:?}"
        );
        world.settle();
        let (reason, words) = told(&world);
        assert_eq!(reason, "FlagsForbidden");
        assert!(words.contains("rbac.flags"), "{words}");
        assert!(world.status().release.is_none());
    }
}

#[test]
fn a_flag_that_was_on_before_a_canary_stays_when_that_goes_back() {
    let mut world = on_under_v2().wants("v3");
    for _ in 0..4 {
        world.settle();
    }
    let v3 = world.revision("v3");
    world.command("undo", &v3);
    let status = world.decide();
    assert!(status.release.is_some_and(|r| r.undo().is_some()));
    assert_eq!(status.flags[0].percent, 1);
}

#[test]
fn a_flag_that_was_on_under_a_revision_that_is_forgotten_stays_when_a_canary_goes_back() {
    let mut world = on_under_v2().wants("v3");
    for _ in 0..4 {
        world.settle();
    }
    let mut old = world.status().clone();
    old.flags[0].revision = Some("long-gone".into());
    world.seen.objects.rollout.status = old.into();
    let v3 = world.revision("v3");
    world.command("undo", &v3);
    let status = world.decide();
    assert!(status.release.is_some_and(|r| r.undo().is_some()));
    assert_eq!(status.flags[0].percent, 1);
}

#[test]
fn no_person_raises_a_flag_while_another_revision_is_asked_for() {
    let mut world = on_under_v2();
    world.edit_spec(|spec| spec.paused = true);
    let mut world = world.wants("v3");
    world.settle();
    assert!(world.status().release.is_none());
    world.command("promote", "full-name/one");
    world.settle();
    assert_eq!(status(&world).percent, 1);
    let told = &world.status().commands[0];
    assert_eq!(told.result, "Ignored");
    assert!(told.message.contains("is not stable"), "{told:?}");
}

#[test]
fn a_lost_status_is_rebuilt_from_what_the_config_map_notes() {
    let mut world = at_one();
    says(&mut world, Verdict::Fail);
    world.settle();
    let mut lost = world.status().clone();
    lost.flags.clear();
    world.seen.objects.rollout.status = lost.into();
    world.settle();
    assert_eq!(status(&world).state, FlagState::TakenBack);
}

/// The flag is on for everybody, and every pod has it.
pub fn on() -> World {
    let mut world = at_one();
    for _ in 0..3 {
        hold_ends(&mut world);
        says(&mut world, Verdict::Pass);
        world.settle();
        if status(&world).state == FlagState::On {
            break;
        }
    }
    assert_eq!(status(&world).state, FlagState::On);
    world
}

#[test]
fn a_config_map_that_was_deleted_reaches_the_pods_so_long_after_it_is_made_again() {
    for at in [on(), at_one()] {
        let mut world = at;
        hold_ends(&mut world);
        world.settle();
        let before = status(&world);
        assert!(before.reaches_pods_by.is_some_and(|at| at.0 <= world.now));
        let none = Look::Read(None);
        world.seen.answers.flags.insert(MAP.into(), none);
        world.record();
        assert_eq!(status(&world).reaches_pods_by, None);
        world.settle();
        let reaches = status(&world).reaches_pods_by.unwrap().0;
        let takes = reaches.duration_since(world.now).as_secs();
        assert_eq!(takes, REACHES_PODS_WITHIN);
        assert_eq!(status(&world).percent, before.percent);
    }
}

#[test]
fn a_flag_stays_frozen_when_the_spec_leaves_the_database_of_the_contract() {
    let mut world = on();
    world.seen.objects.frozen.insert("full-name".into(), 2);
    world.command("undo", "full-name");
    world.settle();
    let told = world.status().commands[0].clone();
    assert_eq!(told.result, "Ignored");
    assert!(
        told.message.contains("the contract of version 2"),
        "{told:?}"
    );
    world.edit_spec(|spec| spec.flags.clear());
    world.settle();
    assert_eq!(world.status().flags, []);
    let stays = file(&mut world)["flags"]["full-name"].clone();
    assert_eq!(stays["defaultVariant"], "new");
}

/// A contract of version 2 names the flag, and has not begun as far as is known.
fn named_by_a_contract() -> World {
    let mut world = on();
    world.edit_spec(|spec| {
        spec.schema = serde_json::from_value(json!({
            "database": "db", "expand": {"command": ["x"]},
        }))
        .unwrap();
    });
    world.settle();
    let version = json!({
        "version": 2, "rollout": "shop", "revision": "r", "stableSince": "2026-01-01T00:00:00Z",
        "asked": [{"phase": "Contract", "digest": "d", "flags": ["full-name"]}],
    });
    let versions = &mut world.database_mut().versions;
    *versions = serde_json::from_value(json!([version])).unwrap();
    world
}

#[test]
fn whether_a_contract_has_begun_is_read_live_before_its_flag_is_lowered() {
    let hold = [Question::Hold("db".into())];
    let mut world = named_by_a_contract();
    world.seen.answers.hold_live = None;
    assert_eq!(world.plan().questions, []);
    world.command("undo", "full-name");
    assert_eq!(world.plan().questions, hold);
    world.seen.answers.hold_live = Some("u-db".into());
    world.settle();
    assert_eq!(status(&world).state, FlagState::TakenBack);

    let mut world = named_by_a_contract();
    world.seen.answers.hold_live = None;
    world.edit_spec(|spec| spec.flags.clear());
    assert_eq!(world.plan().questions, hold);
}

#[test]
fn a_paused_rollout_raises_nothing_and_still_takes_back() {
    let mut world = at_one();
    world.edit_spec(|spec| spec.paused = true);
    hold_ends(&mut world);
    says(&mut world, Verdict::Pass);
    world.settle();
    assert_eq!(status(&world).percent, 1);
    says(&mut world, Verdict::Fail);
    world.settle();
    assert_eq!(status(&world).state, FlagState::TakenBack);
}
