//! A metric source that fails, or has nothing to say.

use crate::simulate::{
    action::Action,
    prometheus::Outage,
    scenario::{SETTLED, Scenario, good, requests, v2, wrong},
};

pub(super) fn metrics() -> Vec<Scenario> {
    let outage = |name: &'static str, outage: Outage| {
        good(name)
            .then(SETTLED, Action::Metrics(outage))
            .then(350, Action::Metrics(Outage::None))
            .lasts(800)
    };
    vec![
        outage("metrics-down", Outage::Down),
        outage("metrics-empty", Outage::Empty),
        outage("metrics-not-a-number", Outage::Nan),
        outage("metrics-partial", Outage::Partial),
        outage("metrics-slow", Outage::Slow),
        good("metrics-down-for-good")
            .then(SETTLED, Action::Metrics(Outage::Down))
            .lasts(900),
        v2("metrics-down-while-wrong", wrong(5.0))
            .then(SETTLED, Action::Metrics(Outage::Down))
            .then(250, Action::Metrics(Outage::None)),
        good("hardly-any-requests")
            .then(110, requests(0.05))
            .lasts(1_200),
    ]
}
