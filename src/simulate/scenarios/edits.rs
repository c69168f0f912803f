//! How a release goes is edited on its way.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{
    api::{RolloutSpec, Step},
    simulate::{
        action::Action,
        action::Amendment,
        scenario::{SETTLED, Scenario, good, name, shop, v2, wrong},
    },
};

fn amend(amendment: Amendment) -> Action {
    Action::Amend {
        rollout: name(),
        amendment,
    }
}

/// The steps of `shop`, changed so.
fn steps(change: impl FnOnce(&mut Vec<Step>)) -> Action {
    let mut steps = shop("v1", 4, None).strategy.steps_mut().clone();
    change(&mut steps);
    amend(Amendment::Steps(steps))
}

/// The checks of `shop`, changed so.
fn checks(change: impl FnOnce(&mut RolloutSpec)) -> Action {
    let mut spec = shop("v1", 4, None);
    change(&mut spec);
    amend(Amendment::Analysis(spec.analysis))
}

fn at_most(percent: &str) -> Action {
    checks(|spec| {
        for check in spec.analysis.iter_mut().flat_map(|a| &mut a.checks) {
            if let Some(errors) = &mut check.error_rate {
                errors.max_percent = percent.into();
            }
        }
    })
}

pub(super) fn edits() -> Vec<Scenario> {
    let half = SETTLED + 120;
    vec![
        // The hold of the step that it is at goes on.
        good("a-step-is-put-before")
            .then(
                half,
                steps(|steps| {
                    let quarter = Step {
                        name: "quarter".into(),
                        replicas: Some(IntOrString::String("25%".into())),
                        ..steps[1].clone()
                    };
                    steps.insert(1, quarter);
                }),
            )
            .lasts(500),
        good("its-step-is-taken-out")
            .then(half, steps(|steps| drop(steps.remove(1))))
            .lasts(600),
        v2("checks-become-stricter", wrong(0.3))
            .then(half, at_most("0.1"))
            .lasts(500),
        v2("checks-are-taken-out", wrong(0.3))
            .then(half, amend(Amendment::Analysis(None)))
            .lasts(500),
    ]
}
