//! The scenarios whose stories are kept, by theme.

mod commands;
mod edits;
mod hands;
mod lives;
mod metrics;
mod releases;
mod schemas;
mod sizes;

use super::{
    scenario::{Scenario, apply, release, shop},
    setting::Behaviour,
};

/// When `v1` is stable in each scenario that is about a later release.
const SETTLED: i64 = 120;

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        releases::releases(),
        schemas::schemas(),
        commands::commands(),
        edits::edits(),
        sizes::sizes(),
        hands::hands(),
        sizes::limits(),
        metrics::metrics(),
        lives::lives(),
    ]
    .concat()
}

/// The one of that name.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

/// `v1` runs with 4 pods, and `v2` is released behaving so.
fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, release("v2", Some(2)))
}

fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}
