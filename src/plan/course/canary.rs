//! Canary: the new revision gets more and more of the pods.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::target::{Active, Strategic, Target, tests};
use crate::{
    api::{StablePods, Step, Strategy, TestAfter, strategy::Canary},
    plan::replicas::{self, Bounds, Round, pods},
};

pub(super) const STRATEGY: Strategic = Strategic {
    field: "spec.strategy.canary.steps",
    targets,
    bounds,
    batch: |_| None,
    shrinks,
};

fn targets(strategy: &Strategy, total: i32) -> Vec<Target> {
    let default;
    let steps = match &strategy.canary {
        Some(canary) => &canary.steps,
        None => {
            default = Canary::default().steps;
            &default
        }
    };
    let mut before = Split::default();
    let mut targets = Vec::with_capacity(steps.len());
    let weighted = strategy.canary.as_ref().is_some_and(Canary::is_weighted);
    for (index, step) in steps.iter().enumerate() {
        let mut split = split(step, before, total);
        before = split;
        if weighted {
            split.stable = beside(strategy, step, split, total);
        }
        targets.push(Target {
            name: step.name.clone(),
            field: format!("spec.strategy.canary.steps[{index}]"),
            canary: split.canary,
            stable: split.stable,
            active: if split.full {
                Active::Canary
            } else {
                Active::Both
            },
            weight: step.weight,
            promotion: step.promotion,
            held_by: "holdSeconds",
            hold_seconds: step.hold_seconds,
            deadline_seconds: step.deadline_seconds,
            on_inconclusive: step.on_inconclusive,
            tests: tests(&step.tests, TestAfter::Target),
            final_tests: tests(&step.tests, TestAfter::Release),
        });
    }
    targets
}

fn shrinks(strategy: &Strategy) -> bool {
    let canary = strategy.canary.as_ref().filter(|c| c.is_weighted());
    canary.is_some_and(|canary| canary.stable_pods == Some(StablePods::Shrink))
}

/// Pods of each revision at a step.
#[derive(Clone, Copy, Default)]
struct Split {
    stable: i32,
    canary: i32,
    /// The canary has the whole workload.
    full: bool,
}

/// Pods of stable beside a revision that gets requests by weight: all of them, so that whoever goes
/// back finds everybody; or those that the rest of the requests need.
fn beside(strategy: &Strategy, step: &Step, split: Split, total: i32) -> i32 {
    if !shrinks(strategy) {
        return total.max(0);
    }
    if split.full || total <= 0 {
        return 0;
    }
    let rest = 100 - step.weight.unwrap_or(100);
    let rest = pods(&IntOrString::String(format!("{rest}%")), total, Round::Up);
    rest.max(total - split.canary).max(1)
}

/// canary = min(max(share, 1, the previous step's canary), max(total − 1, 1)) and
/// stable = max(total − canary, 1) below 100%; all canary at 100% and after it; nothing when
/// `total` is 0.
fn split(step: &Step, before: Split, total: i32) -> Split {
    let full = before.full || is_full(step);
    if total <= 0 || full {
        return Split {
            stable: 0,
            canary: total.max(0),
            full,
        };
    }
    let share = pods(&replicas(step), total, Round::Up);
    let canary = share.max(1).max(before.canary).min((total - 1).max(1));
    Split {
        stable: (total - canary).max(1),
        canary,
        full,
    }
}

/// Whether a step gives the whole workload to the canary.
fn is_full(step: &Step) -> bool {
    match step.weight {
        Some(weight) => weight >= 100,
        None => matches!(&step.replicas, Some(IntOrString::String(s)) if s == "100%"),
    }
}

/// Pods of a step, as they are written, or as its weight needs them.
fn replicas(step: &Step) -> IntOrString {
    let weight = step.weight.unwrap_or(100);
    let needed = || IntOrString::String(format!("{weight}%"));
    step.replicas.clone().unwrap_or_else(needed)
}

/// Stable stays whole beside a canary that shares users by weight, or its pods become fewer: then
/// no more run than the steps ask for.
fn bounds(strategy: &Strategy, total: i32) -> Bounds {
    let plain = replicas::bounds(strategy, total);
    let beside = strategy
        .canary
        .as_ref()
        .filter(|canary| canary.is_weighted());
    let asked = || {
        let targets = targets(strategy, total).into_iter();
        targets.map(|target| target.canary + target.stable).max()
    };
    Bounds {
        ceiling: match beside {
            Some(_) if shrinks(strategy) => plain.ceiling.max(asked().unwrap_or(total)),
            Some(_) => plain.ceiling.max(total.saturating_mul(2)),
            None => plain.ceiling,
        },
        ..plain
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::Strategy;

    /// Pods of stable and canary at each step.
    fn splits(shares: &[&str], total: i32) -> Vec<(i32, i32)> {
        let template = Canary::default().steps.remove(0);
        let step = |share: &&str| Step {
            replicas: Some(
                share
                    .parse()
                    .map_or_else(|_| IntOrString::String((*share).into()), IntOrString::Int),
            ),
            ..template.clone()
        };
        let canary = Canary {
            stable_pods: None,
            steps: shares.iter().map(step).collect(),
        };
        let strategy = Strategy {
            canary: Some(canary),
            ..Strategy::default()
        };
        let targets = targets(&strategy, total);
        targets.iter().map(|t| (t.stable, t.canary)).collect()
    }

    #[test]
    fn steps_in_pods() {
        let default = ["1", "25%", "100%"];
        for (total, index, stable, canary) in [
            (8, 0, 7, 1),
            (8, 1, 6, 2),
            (8, 2, 0, 8),
            (1, 0, 1, 1),
            (1, 1, 1, 1),
            (1, 2, 0, 1),
            (2, 0, 1, 1),
            (2, 1, 1, 1),
            (3, 1, 2, 1),
            (5, 1, 3, 2),
            (0, 1, 0, 0),
        ] {
            let split = splits(&default, total)[index];
            assert_eq!(split, (stable, canary), "{total} {index}");
        }
        // A count larger than the workload leaves a stable pod until the last step.
        assert_eq!(splits(&["5", "100%"], 3)[0], (1, 2));
        // A percentage that comes to less than an earlier count does not go back.
        assert_eq!(splits(&["4", "25%", "100%"], 8)[1], (4, 4));
        // Nor does a count after the whole.
        assert_eq!(splits(&["100%", "5", "100%"], 8)[1], (0, 8));
    }

    #[test]
    fn a_strategy_that_is_left_out_has_the_documented_steps() {
        let of = |strategy: Strategy| -> Vec<_> {
            let targets = targets(&strategy, 8).into_iter();
            targets
                .map(|t| (t.name, t.canary, t.hold_seconds))
                .collect()
        };
        let asked = of(Strategy::default());
        let expected = [("canary", 1, 300), ("quarter", 2, 600), ("full", 8, 900)];
        assert_eq!(asked, expected.map(|(n, c, h)| (n.to_owned(), c, h)));
    }

    proptest! {
        #[test]
        fn every_split_adds_up(total in 0..500_i32, share in 1..100_i32, count in 1..600_i32) {
            let splits = splits(&[&count.to_string(), &format!("{share}%"), "100%"], total);
            let mut before = 0;
            for (index, (stable, canary)) in splits.into_iter().enumerate() {
                prop_assert!(canary >= before.min(total));
                before = canary;
                prop_assert!(stable + canary >= total);
                prop_assert!(stable + canary <= total + i32::from(total == 1));
                if index < 2 && total > 0 {
                    prop_assert!(stable >= 1 && canary >= 1);
                }
            }
            prop_assert_eq!(before, total);
        }
    }
}
