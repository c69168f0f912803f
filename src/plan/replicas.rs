//! Replica arithmetic: counts and shares of pods, and the bounds that no write may cross.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::Strategy;

/// How far the sum of pods may lie from `spec.replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No own write lowers assured pods below it.
    pub floor: i32,
    /// No own write raises the sum of requested pods above it.
    pub ceiling: i32,
}

impl Bounds {
    /// Pods that are worth a write of their own while others start: an eighth of what may be under
    /// way at once.
    #[must_use]
    pub fn batch(self) -> i32 {
        ((self.ceiling - self.floor + 7) / 8).max(1)
    }

    /// All that serves may go before anything new is there: no pod is added, and none need be left.
    #[must_use]
    pub(crate) fn may_serve_nobody(self, total: i32) -> bool {
        total > 0 && self.floor == 0 && self.ceiling <= total
    }

    /// Of so many of `total` pods, those that may be missing: their share of what may be
    /// unavailable, rounded down.
    #[must_use]
    pub(crate) fn may_lack(self, of: i32, total: i32) -> i32 {
        let product = i64::from(of) * i64::from(total - self.floor);
        i32::try_from(product / i64::from(total.max(1))).unwrap_or(0)
    }
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

/// `maxSurge` and `maxUnavailable` for Kubernetes to keep when it replaces pods of one revision by
/// itself: where both come to 0 for `total` pods it would stop a pod first, and refuses them where
/// they are written so.
pub(super) fn for_kubernetes(strategy: &Strategy, total: i32) -> [IntOrString; 2] {
    let (surge, unavailable) = (&strategy.max_surge, &strategy.max_unavailable);
    let total = total.max(1);
    if pods(surge, total, Round::Up) == 0 && pods(unavailable, total, Round::Down) == 0 {
        return [IntOrString::Int(1), IntOrString::Int(0)];
    }
    [surge.clone(), unavailable.clone()]
}

/// Which way a share of a pod is rounded.
#[derive(Clone, Copy)]
pub(crate) enum Round {
    Up,
    Down,
}

/// A number of pods, or a share of `total`. What cannot be read counts as 0; the CRD refuses it
/// before.
pub(crate) fn pods(value: &IntOrString, total: i32, round: Round) -> i32 {
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
    use super::*;

    #[test]
    fn kubernetes_replaces_pods_by_the_same_bounds() {
        let text = |text: &str| IntOrString::String(text.into());
        let (zero, one, quarter) = (IntOrString::Int(0), IntOrString::Int(1), text("25%"));
        let of = |surge: &IntOrString, unavailable: &IntOrString, total| {
            let strategy = Strategy {
                max_surge: surge.clone(),
                max_unavailable: unavailable.clone(),
                ..Strategy::default()
            };
            for_kubernetes(&strategy, total)
        };
        let as_given = [quarter.clone(), quarter.clone()];
        assert_eq!(of(&quarter, &quarter, 8), as_given);
        assert_eq!(of(&quarter, &quarter, 0), as_given, "scaled to 0");
        assert_eq!(of(&zero, &one, 1), [zero.clone(), one.clone()]);
        assert_eq!(
            of(&zero, &quarter, 8),
            [zero.clone(), quarter.clone()],
            "two may be missing"
        );
        let one_more = [one.clone(), zero.clone()];
        assert_eq!(of(&zero, &quarter, 3), one_more, "none may be missing");
        assert_eq!(of(&zero, &zero, 3), one_more);
        assert_eq!(of(&text("0%"), &zero, 3), one_more);
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
        assert!(!bounds(&strategy, 1).may_serve_nobody(1));
        strategy.max_unavailable = IntOrString::Int(1);
        assert!(bounds(&strategy, 1).may_serve_nobody(1));
        assert!(!bounds(&strategy, 2).may_serve_nobody(2));
        assert!(
            !bounds(&strategy, 0).may_serve_nobody(0),
            "nobody is to be served"
        );
    }
}
