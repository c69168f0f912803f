//! Which share of the requests a target gives to the new revision.

use super::course::{Active, Target};

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
        let plain = target();
        assert!((share(&plain) - 0.25).abs() < 1e-9);
        let weighted = Target {
            weight: Some(5),
            ..target()
        };
        assert!((share(&weighted) - 0.05).abs() < 1e-9);
        let hidden = Target {
            active: Active::Stable,
            ..target()
        };
        assert!(share(&hidden) < 1e-9);
    }
}
