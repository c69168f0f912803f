//! Replica arithmetic: what a step means in pods, and the bounds that no write may cross.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::{Step, Strategy};

/// Pods of stable and canary at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Pods of the stable revision.
    pub stable: i32,
    /// Pods of the canary.
    pub canary: i32,
}

/// How far the sum of pods may lie from `spec.replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No own write lowers assured pods below it.
    pub floor: i32,
    /// No own write raises the sum of requested pods above it.
    pub ceiling: i32,
}

/// The bounds for `total` pods: surge rounded up, unavailable rounded down; one surge pod when
/// both come to 0.
#[must_use]
pub fn bounds(strategy: &Strategy, total: i32) -> Bounds {
    let mut surge = pods(&strategy.max_surge, total, Round::Up);
    let unavailable = pods(&strategy.max_unavailable, total, Round::Down);
    if surge == 0 && unavailable == 0 {
        surge = 1;
    }
    Bounds {
        floor: (total - unavailable).max(0),
        ceiling: total.saturating_add(surge),
    }
}

/// Pods of each revision at step `index` of `steps`, for `total` pods.
///
/// canary = min(max(share, 1, previous step's canary), max(total − 1, 1)) and
/// stable = max(total − canary, 1) below 100%; all canary at 100%; nothing when `total` is 0.
#[must_use]
pub fn split(steps: &[Step], index: usize, total: i32) -> Split {
    if total <= 0 {
        return Split {
            stable: 0,
            canary: 0,
        };
    }
    let mut canary = 0;
    for step in steps.iter().take(index + 1) {
        if is_full(step) {
            return Split {
                stable: 0,
                canary: total,
            };
        }
        let share = pods(&step.replicas, total, Round::Up);
        canary = share.max(1).max(canary).min((total - 1).max(1));
    }
    Split {
        stable: (total - canary).max(1),
        canary,
    }
}

/// Whether a step gives the whole workload to the canary.
#[must_use]
pub fn is_full(step: &Step) -> bool {
    matches!(&step.replicas, IntOrString::String(s) if s == "100%")
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A number of pods, or a share of `total`. What cannot be read counts as 0; the CRD refuses it
/// before.
fn pods(value: &IntOrString, total: i32, round: Round) -> i32 {
    match value {
        IntOrString::Int(count) => (*count).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.clamp(0, 100) * i64::from(total.max(0));
            let count = match round {
                Round::Up => (product + 99) / 100,
                Round::Down => product / 100,
            };
            i32::try_from(count).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::{Strategy, strategy::Canary};

    fn steps(shares: &[&str]) -> Vec<Step> {
        let mut steps = Canary::default().steps;
        let template = steps.remove(0);
        shares
            .iter()
            .map(|share| Step {
                replicas: share
                    .parse()
                    .map_or_else(|_| IntOrString::String((*share).into()), IntOrString::Int),
                ..template.clone()
            })
            .collect()
    }

    #[test]
    fn steps_in_pods() {
        let default = steps(&["1", "25%", "100%"]);
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
            assert_eq!(
                split(&default, index, total),
                Split { stable, canary },
                "{total} {index}"
            );
        }
        // A count larger than the workload leaves a stable pod until the last step.
        assert_eq!(
            split(&steps(&["5", "100%"]), 0, 3),
            Split {
                stable: 1,
                canary: 2
            }
        );
        // A percentage that comes to less than an earlier count does not go back.
        assert_eq!(
            split(&steps(&["4", "25%", "100%"]), 1, 8),
            Split {
                stable: 4,
                canary: 4
            }
        );
    }

    #[test]
    fn bounds_round_towards_safety() {
        let mut strategy = Strategy::default();
        assert_eq!(
            bounds(&strategy, 8),
            Bounds {
                floor: 6,
                ceiling: 10
            }
        );
        assert_eq!(
            bounds(&strategy, 3),
            Bounds {
                floor: 3,
                ceiling: 4
            }
        );
        assert_eq!(
            bounds(&strategy, 1),
            Bounds {
                floor: 1,
                ceiling: 2
            }
        );
        strategy.max_surge = IntOrString::Int(0);
        assert_eq!(
            bounds(&strategy, 8),
            Bounds {
                floor: 6,
                ceiling: 8
            }
        );
        assert_eq!(
            bounds(&strategy, 3),
            Bounds {
                floor: 3,
                ceiling: 4
            },
            "both 0: surge 1"
        );
    }

    proptest! {
        #[test]
        fn every_split_adds_up(total in 0..500_i32, share in 1..100_i32, count in 1..600_i32) {
            let steps = steps(&[&count.to_string(), &format!("{share}%"), "100%"]);
            let mut before = 0;
            for index in 0..3 {
                let split = split(&steps, index, total);
                prop_assert!(split.canary >= before.min(total));
                before = split.canary;
                prop_assert!(split.stable + split.canary >= total);
                prop_assert!(split.stable + split.canary <= total + i32::from(total == 1));
                if index < 2 && total > 0 {
                    prop_assert!(split.stable >= 1 && split.canary >= 1);
                }
            }
            prop_assert_eq!(before, total);
        }
    }
}
