//! Small measures and snapshots for the tests of this module.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::api::Convention;

/// Seconds after the test began.
pub(crate) fn second(s: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + s).unwrap()
}

/// The same, as a metric source's clock has it.
pub(crate) fn clock(s: i64) -> f64 {
    (1_800_000_000 + s) as f64
}

pub(crate) fn target(pod: &str) -> Target {
    Target {
        pod: pod.into(),
        instance: format!("{pod}:8080").into(),
    }
}

pub(crate) fn error_rate(name: &str, max_percent: f64, min_requests: i64) -> CheckSpec {
    CheckSpec {
        name: name.to_owned(),
        kind: CheckKind::ErrorRate { max_percent },
        min_requests,
        warm_up_seconds: 0,
        convention: Convention::default(),
    }
}

pub(crate) fn p95(name: &str, max_milliseconds: f64, min_requests: i64) -> CheckSpec {
    CheckSpec {
        kind: CheckKind::Latency {
            percentile: 95.0,
            max_milliseconds,
        },
        ..error_rate(name, 0.0, min_requests)
    }
}

/// A canary with one error-rate check of 1%, all its pods ready when the test begins.
pub(crate) fn measure(pods: &[&str]) -> Measure {
    let pods = pods.iter().map(|name| PodSeen {
        name: (*name).to_owned(),
        ready_since: Some(second(0)),
        created: second(0) - SignedDuration::from_secs(10),
    });
    Measure {
        namespace: "default".to_owned(),
        rollout: "shop".to_owned(),
        revision: "r1".to_owned(),
        pod_prefix: "shop-r1-".to_owned(),
        beside: None,
        pods: pods.collect(),
        probe_seconds: Vec::new(),
        since: second(0),
        hold_since: None,
        before: None,
        source: "default".to_owned(),
        interval_seconds: 1,
        checks: vec![error_rate("errors", 1.0, 100)],
    }
}

/// All pods up and scraped at `at`, with these bad and total requests since they started.
pub(crate) fn snapshot(at: i64, pods: &[(&str, f64, f64)]) -> Snapshot {
    Snapshot {
        clock: clock(at),
        scrape_interval: 1.0,
        scraped: pods
            .iter()
            .map(|p| Scraped {
                target: target(p.0),
                last: clock(at),
            })
            .collect(),
        counted: pods
            .iter()
            .map(|&(pod, bad, total)| Counted {
                target: target(pod),
                counters: Counters::Requests { bad, total },
            })
            .collect(),
        ..Snapshot::default()
    }
}

/// The same answer for every check of the measure.
pub(crate) fn answer(measure: &Measure, now: &Snapshot) -> Answer {
    let answered = Answered {
        history: Vec::new(),
        now: now.clone(),
    };
    measure
        .checks
        .iter()
        .map(|spec| (spec.clone(), Ok(answered.clone())))
        .collect()
}
