//! Rolling: batch by batch until all pods are new.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::target::{Active, LAST_BATCH, Strategic, Target, tests};
use crate::{
    api::{Promotion, Rolling, Strategy, TestAfter},
    plan::replicas::{self, Round, pods},
};

/// The most batches of a release.
const MOST: i32 = 100;

const FIELD: &str = "spec.strategy.rolling";

pub(super) const STRATEGY: Strategic = Strategic {
    field: FIELD,
    targets,
    bounds: replicas::bounds,
    batch: |strategy| {
        let rolling = strategy.rolling.as_ref();
        Some(rolling.map_or_else(|| text(&Rolling::default().batch), |r| text(&r.batch)))
    },
    shrinks: |_| false,
};

fn text(batch: &IntOrString) -> String {
    match batch {
        IntOrString::Int(count) => count.to_string(),
        IntOrString::String(share) => share.clone(),
    }
}

/// One target for each batch. Their number follows a percentage alone, so that a release stands at
/// the same batch when it is scaled; a number of pods is that of pods then too.
fn targets(strategy: &Strategy, total: i32) -> Vec<Target> {
    let default;
    let rolling = match &strategy.rolling {
        Some(rolling) => rolling,
        None => {
            default = Rolling::default();
            &default
        }
    };
    let total = total.max(0);
    let sizes = sizes(&rolling.batch, total);
    let last = sizes.len();
    let name = |index| match index + 1 == last {
        true => LAST_BATCH.to_owned(),
        false => format!("batch-{}", index + 1),
    };
    let target = |(index, canary): (usize, i32)| Target {
        name: name(index),
        field: FIELD.to_owned(),
        canary,
        stable: total - canary,
        active: if canary == total {
            Active::Canary
        } else {
            Active::Both
        },
        weight: None,
        promotion: Promotion::Automatic,
        held_by: if index + 1 == last {
            "bakeSeconds"
        } else {
            "holdSeconds"
        },
        hold_seconds: if index + 1 == last {
            rolling.bake_seconds
        } else {
            rolling.hold_seconds
        },
        deadline_seconds: rolling.deadline_seconds,
        on_inconclusive: rolling.on_inconclusive,
        tests: match sizes.first() == Some(&canary) {
            true => tests(&rolling.tests, TestAfter::Target),
            false => Vec::new(),
        },
        final_tests: match index + 1 == last {
            true => tests(&rolling.tests, TestAfter::Release),
            false => Vec::new(),
        },
    };
    let numbered = sizes.iter().copied().enumerate();
    numbered.map(target).collect()
}

/// Pods of the new revision after each batch.
fn sizes(batch: &IntOrString, total: i32) -> Vec<i32> {
    match batch {
        IntOrString::Int(count) => {
            let size = (*count).max(1).max((total + MOST - 1) / MOST);
            let batches = ((total + size - 1) / size).max(1);
            (1..=batches)
                .map(|b| b.saturating_mul(size).min(total))
                .collect()
        }
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(100);
            let percent = percent.clamp(1, 100);
            let batches = (100 + percent - 1) / percent;
            let share = |b: i32| IntOrString::String(format!("{}%", (b * percent).min(100)));
            (1..=batches)
                .map(|b| pods(&share(b), total, Round::Up))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        api::{RolloutSpec, Strategy, StrategyType, release::StepStatus, status::Stopwatch},
        plan::course::{Course, course},
    };

    fn rolling(batch: &str, total: i32) -> Course {
        let mut spec: RolloutSpec = serde_json::from_value(serde_json::json!({
            "replicas": total, "selector": {}, "template": {},
        }))
        .unwrap();
        spec.strategy.rolling_mut().batch = batch
            .parse()
            .map_or_else(|_| IntOrString::String(batch.into()), IntOrString::Int);
        course(&spec)
    }

    fn at(course: &Course, index: i32) -> StepStatus {
        StepStatus {
            index,
            name: format!("batch-{}", index + 1),
            began: serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap(),
            reached: None,
            held: Stopwatch::default(),
            available: 0,
            batch: course.batch.clone(),
        }
    }

    /// Pods of the new revision at each batch that is entered, from the first to the last.
    fn way(batch: &str, total: i32) -> Vec<i32> {
        rolling(batch, total).way().map(|t| t.canary).collect()
    }

    #[test]
    fn batches_in_pods() {
        assert_eq!(way("25%", 8), [2, 4, 6, 8]);
        assert_eq!(way("25%", 10), [3, 5, 8, 10]);
        assert_eq!(way("30%", 10), [3, 6, 9, 10]);
        assert_eq!(way("3", 8), [3, 6, 8]);
        assert_eq!(way("1", 3), [1, 2, 3]);
        assert_eq!(way("100%", 8), [8]);
        assert_eq!(way("50", 8), [8]);
        // A batch that brings no further pod is not entered.
        assert_eq!(way("25%", 2), [1, 2]);
        assert_eq!(way("10%", 1), [1]);
        assert_eq!(way("1", 100_000).len(), 100, "at most a hundred");
    }

    #[test]
    fn without_a_member_the_documented_batches_are_made() {
        let strategy = Strategy {
            kind: Some(StrategyType::Rolling),
            ..Strategy::default()
        };
        let of = |t: &Target| (t.canary, t.stable, t.hold_seconds);
        let targets = targets(&strategy, 8);
        let asked: Vec<_> = targets.iter().map(of).collect();
        assert_eq!(asked, [(2, 6, 30), (4, 4, 30), (6, 2, 30), (8, 0, 300)]);
    }

    #[test]
    fn scaling_leaves_it_at_its_batch() {
        for (total, share, count) in [(8, 4, 4), (20, 10, 4), (3, 2, 3), (1, 1, 1), (0, 0, 0)] {
            for (batch, expected) in [("25%", share), ("2", count)] {
                let course = rolling(batch, total);
                let step = at(&course, 1);
                let target = course.at(&step).unwrap();
                assert_eq!(target.canary, expected, "{batch} of {total}");
            }
        }
        // Beyond the last batch it stands at the last.
        let few = rolling("2", 3);
        assert_eq!(few.at(&at(&few, 6)).unwrap().canary, 3);
        assert_eq!(few.after(&at(&few, 6)), None);
        // What was whole stays so.
        let mut whole = at(&few, 1);
        whole.name = LAST_BATCH.into();
        let many = rolling("2", 20);
        assert_eq!(many.at(&whole).unwrap().canary, 20);
        assert_eq!(many.number(&whole), "10/10");
    }

    #[test]
    fn another_size_goes_on_from_the_pods_that_it_has() {
        let (before, after) = (rolling("25%", 8), rolling("10%", 8));
        let step = at(&before, 2);
        assert_eq!(after.at(&step), None, "it was counted by another size");
        // 6 of 8 pods: at least 80%.
        assert_eq!(after.resume(&step, 6), Some(6));
        assert_eq!(after.targets[6].canary, 6);
        assert_eq!(after.resume(&step, 0), Some(0));
        assert_eq!(after.resume(&step, 50), Some(9));
    }

    proptest! {
        #[test]
        fn every_batch_rises_and_the_last_is_whole(total in 0..3_000_i32, share in 1..=100_i32, count in 1..600_i32) {
            for batch in [format!("{share}%"), count.to_string()] {
                let course = rolling(&batch, total);
                prop_assert!(course.targets.len() <= 100);
                let mut before = 0;
                for target in &course.targets {
                    prop_assert!(target.canary >= before);
                    prop_assert_eq!(target.canary + target.stable, total);
                    before = target.canary;
                }
                prop_assert_eq!(before, total);
                let way: Vec<_> = course.way().map(|t| t.canary).collect();
                prop_assert!(way.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert_eq!(way.last(), Some(&total));
            }
        }
    }
}
