//! Blue-green: two whole sets, of which users reach one.

use super::target::{Active, Strategic, Target, tests};
use crate::{
    api::{BlueGreen, OnInconclusive, Promotion, Strategy, TestAfter},
    plan::replicas::{self, Bounds},
};

const FIELD: &str = "spec.strategy.blueGreen";

/// Seconds for which a set is watched before any user reaches it: its containers must stay up.
const HOLD: i64 = 30;

/// Seconds after its hold in which a set must prove itself.
const DEADLINE: i64 = 3600;

pub(super) const STRATEGY: Strategic = Strategic {
    field: FIELD,
    targets,
    bounds,
    batch: |_| None,
    shrinks: |_| false,
};

/// The new set is shown with few pods, made whole, and then users are switched to it. The old one is
/// left as it is until the last state has been held.
fn targets(strategy: &Strategy, total: i32) -> Vec<Target> {
    let asked = strategy.blue_green.clone().unwrap_or_default();
    let BlueGreen {
        preview_replicas,
        promotion,
        scale_down_delay_seconds,
        tests: all,
    } = asked;
    let total = total.max(0);
    let target = |name: &str, canary, active| Target {
        name: name.to_owned(),
        field: FIELD.to_owned(),
        canary,
        stable: total,
        active,
        weight: None,
        promotion: Promotion::Automatic,
        held_by: "scaleDownDelaySeconds",
        hold_seconds: HOLD,
        deadline_seconds: DEADLINE,
        on_inconclusive: OnInconclusive::Pause,
        tests: Vec::new(),
        final_tests: Vec::new(),
    };
    vec![
        Target {
            tests: tests(&all, TestAfter::Target),
            ..target("preview", preview_replicas.min(total), Active::Stable)
        },
        Target {
            promotion,
            ..target("switch", total, Active::Stable)
        },
        Target {
            hold_seconds: scale_down_delay_seconds,
            // Before the old set's time begins: the way back is one write for all of it.
            tests: tests(&all, TestAfter::Release),
            ..target("live", total, Active::Canary)
        },
    ]
}

/// There are two sets by definition.
fn bounds(strategy: &Strategy, total: i32) -> Bounds {
    Bounds {
        ceiling: total.saturating_mul(2),
        ..replicas::bounds(strategy, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_set_stays_and_users_reach_one_at_a_time() {
        let mut strategy = Strategy::default();
        strategy.blue_green_mut().preview_replicas = 3;
        let pods = |total| -> Vec<_> {
            let targets = targets(&strategy, total).into_iter();
            targets.map(|t| (t.canary, t.stable, t.active)).collect()
        };
        let (old, new) = (Active::Stable, Active::Canary);
        assert_eq!(pods(8), [(3, 8, old), (8, 8, old), (8, 8, new)]);
        assert_eq!(pods(2), [(2, 2, old), (2, 2, old), (2, 2, new)]);
        assert_eq!(pods(0), [(0, 0, old), (0, 0, old), (0, 0, new)]);
        let bounds = bounds(&strategy, 8);
        assert_eq!((bounds.floor, bounds.ceiling), (6, 16));
    }

    #[test]
    fn a_person_switches_unless_that_is_left_to_the_operator() {
        let mut strategy = Strategy::default();
        let who = |strategy: &Strategy| targets(strategy, 4).remove(1).promotion;
        strategy.blue_green_mut();
        assert_eq!(who(&strategy), Promotion::Manual);
        strategy.blue_green_mut().promotion = Promotion::Automatic;
        assert_eq!(who(&strategy), Promotion::Automatic);
        let live = targets(&strategy, 4).remove(2);
        assert_eq!(live.hold_seconds, 600);
    }
}
