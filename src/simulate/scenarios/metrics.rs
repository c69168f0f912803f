//! A metric source that fails, or has nothing to say.

use serde_json::json;

use crate::{
    api::{Matcher, RolloutSpec},
    simulate::{
        action::Action,
        prometheus::Outage,
        scenario::{SETTLED, Scenario, apply, good, release, requests, shop, v2, wrong},
        setting::Behaviour,
    },
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
        counted("probes-before-ready", probed(""), counting_probes()),
        counted("only-probes", probed(""), counting_probes())
            .then(110, requests(0.0))
            .then(700, requests(200.0))
            .lasts(1_200),
        counted("probes-left-out", probed("/ready"), counting_probes())
            .then(110, requests(0.0))
            .then(400, requests(200.0))
            .lasts(1_000),
        counted_at(240, "warm-up", warming(90), cold()),
        counted("warm-up-not-asked-for", warming(0), cold()),
    ]
}

/// `v1` runs as this spec says, and `v2` is released behaving so.
fn counted(name: &'static str, spec: RolloutSpec, behaviour: Behaviour) -> Scenario {
    counted_at(SETTLED, name, spec, behaviour)
}

/// The same, with the release at this second.
fn counted_at(
    second: i64,
    name: &'static str,
    spec: RolloutSpec,
    behaviour: Behaviour,
) -> Scenario {
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(spec))
        .then(second, release("v2", Some(2)))
        .lasts(900)
}

/// Pods that count each probe as a request, and answer half a minute of them with an error.
fn counting_probes() -> Behaviour {
    Behaviour {
        start_seconds: 30,
        counts_probes: Some(1),
        ..Behaviour::default()
    }
}

/// Pods of which a third of the requests are slow for a minute.
fn cold() -> Behaviour {
    Behaviour {
        cold: Some((60, 330.0)),
        ..Behaviour::default()
    }
}

/// A Rollout whose pods are probed each second; its checks leave out this path.
fn probed(left_out: &str) -> RolloutSpec {
    let mut spec = shop("v1", 4, Some(1));
    spec.template["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1});
    if !left_out.is_empty() {
        for check in spec.analysis.iter_mut().flat_map(|a| &mut a.checks) {
            let metric = check.metric.get_or_insert_default();
            metric.matchers.push(Matcher {
                label: "path".into(),
                not_in: Some(vec![left_out.into()]),
                ..Matcher::default()
            });
        }
    }
    spec
}

/// A Rollout whose pods may warm up for so long.
fn warming(seconds: i64) -> RolloutSpec {
    let mut spec = shop("v1", 4, Some(1));
    for check in spec.analysis.iter_mut().flat_map(|a| &mut a.checks) {
        if let Some(latency) = &mut check.latency {
            latency.warm_up_seconds = seconds;
        }
    }
    spec
}
