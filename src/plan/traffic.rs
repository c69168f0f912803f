//! Who gets the requests: the mover's counterpart for weights.
//!
//! The mover brings pods to a [`Target`]; [`weights`] says what a traffic router is to be told on
//! the way there. Where none is told, requests follow the pods.

use super::course::{Active, Target};

/// Percent of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// To the stable revision.
    pub stable: i32,
    /// To the new revision.
    pub canary: i32,
}

/// Which revisions have an endpoint that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The stable revision.
    pub stable: bool,
    /// The new revision.
    pub canary: bool,
}

/// The weights wanted on the way to a target; nothing where no router is told. No weight goes to a
/// revision without a ready endpoint while the other has one.
#[must_use]
pub fn weights(target: &Target, ready: Ready) -> Option<Weights> {
    let canary = match (ready.stable, ready.canary) {
        (true, false) => 0,
        (false, true) => 100,
        _ => target.weight?,
    };
    target.weight.map(|_| Weights {
        stable: 100 - canary,
        canary,
    })
}

/// The share of the requests that the new revision gets at a target, from 0 to 1: by weight where a
/// router is told, else by pods.
#[must_use]
pub fn share(target: &Target) -> f64 {
    match (target.active, target.weight) {
        (Active::Stable, _) => 0.0,
        (Active::Canary, _) => 1.0,
        (Active::Both, Some(weight)) => f64::from(weight) / 100.0,
        (Active::Both, None) => {
            f64::from(target.canary) / f64::from(target.canary + target.stable).max(1.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::RolloutSpec, plan::course};

    fn target() -> Target {
        let spec = serde_json::json!({
            "replicas": 8, "selector": {"matchLabels": {"a": "b"}}, "template": {},
        });
        let spec: RolloutSpec = serde_json::from_value(spec).unwrap();
        course::course(&spec).targets.remove(1)
    }

    #[test]
    fn requests_follow_the_pods_unless_a_router_is_told() {
        let both = Ready {
            stable: true,
            canary: true,
        };
        let plain = target();
        assert_eq!(weights(&plain, both), None);
        assert!((share(&plain) - 0.25).abs() < 1e-9);
        let weighted = Target {
            weight: Some(5),
            ..target()
        };
        let five = Weights {
            stable: 95,
            canary: 5,
        };
        assert_eq!(weights(&weighted, both), Some(five));
        assert!((share(&weighted) - 0.05).abs() < 1e-9);
        let hidden = Target {
            active: Active::Stable,
            ..target()
        };
        assert!(share(&hidden) < 1e-9);
    }

    #[test]
    fn no_weight_goes_where_nobody_is_ready() {
        let weighted = Target {
            weight: Some(5),
            ..target()
        };
        for (stable, canary, expected) in [(true, false, 0), (false, true, 100), (false, false, 5)]
        {
            let given = weights(&weighted, Ready { stable, canary }).unwrap();
            assert_eq!(given.canary, expected, "{stable} {canary}");
            assert_eq!(given.stable + given.canary, 100);
        }
    }
}
