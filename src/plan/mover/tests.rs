use proptest::prelude::*;

use super::*;
use crate::plan::facts::Base;

fn child(revision: &str, replicas: i32, available: i32) -> ChildFacts {
    ChildFacts {
        base: Base {
            name: format!("shop-{revision}"),
            uid: revision.into(),
            resource_version: "1".into(),
        },
        revision: revision.into(),
        owner_uid: None,
        epoch: None,
        replicas,
        possible: (replicas, replicas),
        current: true,
        status_replicas: replicas,
        available,
        adopted: None,
        edited: false,
        template: None,
        problem: None,
        deleting: false,
    }
}

fn step(
    children: &[ChildFacts],
    stable: i32,
    canary: i32,
    direction: Direction,
) -> Vec<(String, i32)> {
    let targets = BTreeMap::from([("stable", stable), ("canary", canary)]);
    let bounds = Bounds {
        floor: 6,
        ceiling: 10,
    };
    moves(children, &targets, bounds, direction, 1)
        .into_iter()
        .map(|m| (m.uid, m.to))
        .collect()
}

fn to(moves: &[(&str, i32)]) -> Vec<(String, i32)> {
    moves
        .iter()
        .map(|(uid, to)| ((*uid).to_owned(), *to))
        .collect()
}

#[test]
fn forward_raises_then_lowers_what_the_floor_can_spare() {
    use Direction::Forward;
    let go = |stable, canary, available| {
        step(
            &[
                child("stable", stable, stable),
                child("canary", canary, available),
            ],
            0,
            8,
            Forward,
        )
    };
    assert_eq!(go(6, 2, 2), to(&[("canary", 4)]), "to the ceiling");
    assert_eq!(go(6, 4, 0), to(&[]), "one of them must be available");
    assert_eq!(go(6, 4, 3), to(&[("stable", 3)]), "to the floor");
    assert_eq!(go(6, 4, 4), to(&[("stable", 2)]), "to the floor");
    assert_eq!(go(2, 4, 4), to(&[("canary", 8)]));
    assert_eq!(go(2, 8, 8), to(&[("stable", 0)]));
    assert_eq!(go(0, 8, 8), to(&[]));
}

#[test]
fn while_pods_start_few_are_not_worth_a_write() {
    let children = [child("stable", 6, 6), child("canary", 4, 2)];
    let targets = BTreeMap::from([("stable", 0), ("canary", 8)]);
    let bounds = Bounds {
        floor: 6,
        ceiling: 10,
    };
    let lowered = |children: &[ChildFacts], least| {
        let moves = moves(children, &targets, bounds, Direction::Forward, least);
        moves.iter().map(|m| m.to).next()
    };
    assert_eq!(lowered(&children, 2), Some(4));
    assert_eq!(lowered(&children, 3), None, "two may go");
    let whole = [child("stable", 4, 4), child("canary", 4, 4)];
    let whole = [
        whole[0].clone(),
        ChildFacts {
            replicas: 6,
            ..whole[1].clone()
        },
    ];
    assert_eq!(lowered(&whole, 3), None, "two start");
}

#[test]
fn pods_that_are_lost_all_the_time_hold_nothing_up() {
    // Some are always starting; what is spare goes all the same.
    let children = [child("stable", 6, 6), child("canary", 4, 2)];
    assert_eq!(
        step(&children, 0, 8, Direction::Forward),
        to(&[("stable", 4)])
    );
}

#[test]
fn an_undo_lowers_first() {
    use Direction::Back;
    let go = |stable, ready, canary| {
        step(
            &[
                child("stable", stable, ready),
                child("canary", canary, canary),
            ],
            8,
            0,
            Back,
        )
    };
    assert_eq!(
        go(7, 7, 1),
        to(&[("canary", 0), ("stable", 8)]),
        "at once, in one pass"
    );
    assert_eq!(go(0, 0, 8), to(&[("canary", 6), ("stable", 4)]));
    assert_eq!(go(4, 4, 6), to(&[("canary", 2), ("stable", 8)]));
}

#[test]
fn pods_that_never_came_up_go_at_once() {
    let children = [child("stable", 6, 6), child("canary", 4, 0)];
    assert_eq!(
        step(&children, 8, 0, Direction::Back),
        to(&[("canary", 0), ("stable", 8)]),
        "they serve nobody, so the floor does not hold them"
    );
}

#[test]
fn a_child_that_is_still_being_lowered_is_not_raised() {
    let mut stable = child("stable", 2, 8);
    stable.status_replicas = 8;
    assert_eq!(step(&[stable.clone()], 8, 0, Direction::Back), to(&[]));
    stable.status_replicas = 2;
    stable.current = false;
    assert_eq!(step(&[stable], 8, 0, Direction::Back), to(&[]));
}

#[test]
fn nothing_is_lowered_before_a_child_that_should_rise_may() {
    let mut canary = child("canary", 0, 0);
    canary.current = false;
    assert_eq!(
        step(&[child("stable", 8, 8), canary], 7, 1, Direction::Forward),
        to(&[])
    );
}

#[test]
fn without_surge_it_lowers_first() {
    let children = [child("stable", 8, 8), child("canary", 0, 0)];
    let targets = BTreeMap::from([("stable", 6), ("canary", 2)]);
    let bounds = Bounds {
        floor: 6,
        ceiling: 8,
    };
    let moves = moves(&children, &targets, bounds, Direction::Forward, 1);
    assert_eq!(
        moves.iter().map(|m| (&*m.uid, m.to)).collect::<Vec<_>>(),
        [("stable", 6)]
    );
}

#[test]
fn an_unanswered_write_is_settled_first_and_counts_as_its_worse_value() {
    let mut stable = child("stable", 6, 6);
    stable.possible = (2, 6);
    let children = [stable, child("canary", 4, 4)];
    assert_eq!(assured(&children), 6);
    assert_eq!(
        step(&children, 0, 8, Direction::Forward),
        to(&[("stable", 6)])
    );
}

#[test]
fn a_lowering_that_was_not_answered_is_not_done_again_when_pods_have_died_since() {
    let mut canary = child("canary", 1, 1);
    canary.possible = (0, 1);
    let children = [child("stable", 7, 5), canary];
    assert_eq!(
        step(&children, 7, 0, Direction::Back),
        to(&[("canary", 1)]),
        "at the floor already: nothing is lowered further"
    );
}

#[test]
fn children_that_rise_together_share_the_room() {
    let children = [
        child("canary", 3, 3),
        child("other", 3, 3),
        child("stable", 1, 1),
    ];
    let risen = step(&children, 4, 4, Direction::Forward);
    assert_eq!(risen, to(&[("canary", 4), ("stable", 3)]), "10 in all");
}

#[test]
fn a_raise_that_was_not_answered_counts_as_done() {
    for (possible, stable) in [(6, 4), (7, 3)] {
        let mut canary = child("canary", 2, 2);
        canary.possible = (2, possible);
        assert_eq!(
            step(&[canary, child("stable", 2, 2)], 8, 2, Direction::Forward),
            to(&[("canary", 2), ("stable", stable)]),
            "10 in all, if it was done"
        );
    }
}

proptest! {
    /// Floor and ceiling after every single write, whatever the children look like.
    #[test]
    fn no_write_crosses_a_bound(
        total in 0..40_i32, surge in 0..20_i32, unavailable in 0..20_i32, canary_target in 0..40_i32,
        a in (0..50_i32, 0..50_i32, any::<bool>(), 0..3_i32),
        b in (0..50_i32, 0..50_i32, any::<bool>(), 0..3_i32),
        c in (0..50_i32, 0..50_i32, any::<bool>(), 0..3_i32),
        back in any::<bool>(),
    ) {
        let canary_target = canary_target.min(total);
        let bounds = Bounds { floor: (total - unavailable).max(0), ceiling: total + surge };
        let mut children: Vec<_> = [("stable", a), ("canary", b), ("other", c)]
            .into_iter()
            .map(|(name, (replicas, available, current, low))| ChildFacts {
                current,
                possible: ((replicas - low).max(0), replicas),
                ..child(name, replicas, available)
            })
            .collect();
        let targets = BTreeMap::from([("stable", total - canary_target), ("canary", canary_target)]);
        let direction = if back { Direction::Back } else { Direction::Forward };
        for m in moves(&children, &targets, bounds, direction, 1) {
            let before = assured(&children);
            let requested = |children: &[ChildFacts]| children.iter().map(|c| c.possible.1).sum::<i32>();
            let asked = requested(&children);
            let child = children.iter_mut().find(|c| c.base.uid == m.uid).unwrap();
            child.replicas = m.to;
            child.possible = (m.to, m.to);
            let after = assured(&children);
            prop_assert!(after >= before.min(bounds.floor), "{m:?} {before} {after} {bounds:?}");
            let now = requested(&children);
            prop_assert!(now <= asked.max(bounds.ceiling), "{m:?} {asked} {now} {bounds:?}");
        }
    }

    /// From any healthy state the targets are reached in a bounded number of rounds.
    #[test]
    fn it_arrives(
        total in 0..40_i32, surge in 0..5_i32, unavailable in 0..5_i32, share in 0..40_i32,
        stable in 0..40_i32, canary in 0..40_i32, back in any::<bool>(),
    ) {
        prop_assume!(surge + unavailable > 0);
        let share = share.min(total);
        let bounds = Bounds { floor: (total - unavailable).max(0), ceiling: total + surge };
        let mut children = vec![child("stable", stable, stable), child("canary", canary, canary)];
        let targets = BTreeMap::from([("stable", total - share), ("canary", share)]);
        let direction = if back { Direction::Back } else { Direction::Forward };
        for _ in 0..200 {
            for m in moves(&children, &targets, bounds, direction, 1) {
                let child = children.iter_mut().find(|c| c.base.uid == m.uid).unwrap();
                *child = ChildFacts { current: true, ..super::tests::child(&m.uid, m.to, m.to) };
            }
        }
        prop_assert_eq!(children[0].replicas, total - share);
        prop_assert_eq!(children[1].replicas, share);
    }
}
