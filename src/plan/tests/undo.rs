//! The way back: when it is over, and what is said while it is not.

use super::fixture::{World, reading, stalled};
use crate::{
    api::OnInconclusive,
    evidence::Verdict,
    plan::{
        draft::later,
        facts::{ChildFacts, Refusal, Refused},
        intent::{Plan, UndoCause, Write},
    },
};

/// `v2` has failed; all its pods are gone, and stable has come as far as `edit` says.
fn coming_back(edit: impl Fn(&mut ChildFacts)) -> World {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    world.fails("p95");
    world.step();
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    for child in &mut world.seen.objects.children {
        let size = if child.revision == v2 { 0 } else { 8 };
        (child.replicas, child.status_replicas, child.available) = (size, size, size);
        child.possible = (size, size);
        if child.revision == v1 {
            edit(child);
        }
    }
    world
}

#[test]
fn it_is_over_when_stable_has_all_its_pods_and_enough_of_them_serve() {
    let over = |edit: &dyn Fn(&mut ChildFacts)| {
        let mut world = coming_back(edit);
        world.step();
        world.status().release.is_none()
    };
    assert!(over(&|_| ()));
    assert!(over(&|c| c.available = 6));
    assert!(!over(&|c| c.available = 5), "below the floor");
    assert!(!over(&|c| c.current = false));
    assert!(!over(&|c| {
        (c.replicas, c.status_replicas, c.available) = (7, 7, 7);
        c.possible = (7, 7);
    }));
}

/// A raise of the canary that nobody answered may still arrive, after its undo.
#[test]
fn it_is_not_over_while_an_unanswered_write_may_still_bring_the_canary_back() {
    let mut world = coming_back(|_| ());
    let v2 = world.revision("v2");
    let mut children = world.seen.objects.children.iter();
    let index = children.position(|c| c.revision == v2).unwrap();
    world.seen.objects.children[index].possible = (0, 1);
    let plan = world.plan();
    let [
        Write::Scale {
            base,
            from: 0,
            to: 0,
            ..
        },
        ..,
    ] = plan.writes.as_slice()
    else {
        panic!("it is settled first: {:?}", plan.writes);
    };
    assert_eq!(base.uid, world.seen.objects.children[index].base.uid);
    world.step();
    assert!(world.status().release.is_some());
    world.step();
    assert!(world.status().release.is_none());
}

#[test]
fn what_keeps_stable_from_coming_back_is_said_when_it_has_had_its_time() {
    let mut world = coming_back(|c| c.available = 2);
    let limit = world.spec.strategy.progress_deadline_seconds;
    let began = world.now;
    world.settle();
    assert_eq!(world.plan().wake_at, Some(later(began, limit)));
    world.now = later(began, limit - 1);
    assert!(
        world
            .plan()
            .wake_at
            .is_some_and(|at| at <= later(began, limit))
    );
    world.now = later(began, limit);
    world.seen.refusals.push(Refusal {
        what: Refused::Scale,
        message: "exceeded quota: pods".into(),
        transient: true,
    });
    let status = world.record();
    assert_eq!(stalled(&status), "UndoBlocked");
    let message = &super::fixture::condition(&status, "Stalled").message;
    assert!(message.contains("exceeded quota: pods"), "{message}");
    // What was refused of something else does not say why pods are missing.
    world.seen.refusals[0].what = Refused::Other;
    world.hold(1000);
    let status = world.record();
    let message = &super::fixture::condition(&status, "Stalled").message;
    let (why, besides) = message.split_once("; besides, ").expect("both are said");
    assert!(!why.contains("exceeded quota"), "{why}");
    assert_eq!(
        besides,
        "the API server refuses a write: exceeded quota: pods"
    );
}

/// What is counted of the first plan that counts anything, while `edit` has its effect; what the
/// plans after its record count is nothing.
fn counted(mut world: World, edit: impl FnOnce(&mut World)) -> Vec<UndoCause> {
    let causes = |plan: &Plan| {
        let causes = plan.events.iter().filter_map(|event| event.undo);
        causes.collect::<Vec<_>>()
    };
    edit(&mut world);
    let mut all = Vec::new();
    for _ in 0..30 {
        let plan = world.plan();
        let counts = causes(&plan);
        assert!(counts.is_empty() || matches!(plan.writes[0], Write::RecordStatus { .. }));
        // A crash before the record, and the same is decided once more.
        assert_eq!(causes(&world.plan()), counts);
        all.extend(counts);
        world.step();
    }
    all
}

#[test]
fn an_undo_is_counted_once_with_its_record_and_by_its_cause() {
    let on_its_way = || World::stable("v1").wants("v2").at_step(1);
    let released = || {
        let mut world = World::stable("v1").wants("v2").at_step(2);
        world.hold(1000);
        world.settle();
        world
    };
    let check = counted(on_its_way(), |world| world.fails("p95"));
    assert_eq!(check, [UndoCause::Check]);
    let crash = counted(on_its_way(), |world| {
        let v2 = world.revision("v2");
        world.pod(&v2).waiting = Some(("CrashLoopBackOff".into(), "back-off 10s".into()));
    });
    assert_eq!(crash, [UndoCause::Crash]);
    let deadline = counted(on_its_way(), |world| {
        let v2 = world.revision("v2");
        let mut children = world.seen.objects.children.iter_mut();
        children.find(|c| c.revision == v2).unwrap().available = 0;
        world.step();
        world.hold(10_000);
    });
    assert_eq!(deadline, [UndoCause::Deadline]);
    let inconclusive = counted(on_its_way().with_check("p95"), |world| {
        world.edit_spec(|spec| {
            for step in spec.strategy.steps_mut() {
                step.on_inconclusive = OnInconclusive::Undo;
            }
        });
        world.says(vec![reading("p95", Verdict::Inconclusive)]);
        world.hold(100_000);
    });
    assert_eq!(inconclusive, [UndoCause::Inconclusive]);
    let person = counted(on_its_way(), |world| {
        let v2 = world.revision("v2");
        world.command("undo", &format!("{v2} back"));
    });
    assert_eq!(person, [UndoCause::Person]);
    let person = counted(released(), |world| {
        let v2 = world.revision("v2");
        world.command("undo", &format!("{v2} back"));
    });
    assert_eq!(person, [UndoCause::Person], "of what is stable already");
    let superseded = counted(on_its_way(), |world| *world = world.clone().wants("v3"));
    assert_eq!(superseded, [UndoCause::Superseded]);
    let returned = counted(released(), |world| *world = world.clone().wants("v1"));
    assert_eq!(returned, [UndoCause::Returned]);
    let good = counted(on_its_way(), |world| world.hold(1000));
    assert_eq!(good, []);
}
