//! What in a spec is measured: its checks, and the probes that are no users.

use serde_json::Value;

use crate::{
    api::{Analysis, Check},
    evidence::{CheckKind, CheckSpec},
};

/// What is to be judged.
pub(super) fn checks(analysis: &Analysis) -> Vec<CheckSpec> {
    analysis.checks.iter().filter_map(check).collect()
}

/// A check as the evidence wants it. One that cannot be read is left out: it then has no reading,
/// and a check without a reading passes nothing.
pub(super) fn check(check: &Check) -> Option<CheckSpec> {
    let kind = match (&check.error_rate, &check.latency) {
        (Some(rate), _) => CheckKind::ErrorRate {
            max_percent: rate.max_percent.parse().ok()?,
        },
        #[expect(
            clippy::cast_precision_loss,
            reason = "bounded by the CRD, far below 2^53"
        )]
        (None, Some(latency)) => CheckKind::Latency {
            percentile: latency.percentile as f64,
            max_milliseconds: latency.max_milliseconds as f64,
        },
        (None, None) => return None,
    };
    Some(CheckSpec {
        name: check.name.clone(),
        kind,
        min_requests: check.min_requests,
        warm_up_seconds: check.latency.as_ref().map_or(0, |l| l.warm_up_seconds),
        convention: check.metric.clone().unwrap_or_default(),
    })
}

/// Seconds between two requests of each probe in a template. Only probes by HTTP and gRPC are
/// requests that a process may count.
#[must_use]
pub fn probes(template: &Value) -> Vec<i64> {
    const USUAL: i64 = 10;
    let spec = &template["spec"];
    let lists = ["containers", "initContainers"].map(|list| spec[list].as_array());
    let containers = lists.into_iter().flatten().flatten();
    containers
        .flat_map(|container| {
            ["startupProbe", "readinessProbe", "livenessProbe"].map(|probe| &container[probe])
        })
        .filter(|probe| probe["httpGet"].is_object() || probe["grpc"].is_object())
        .map(|probe| {
            probe["periodSeconds"]
                .as_i64()
                .filter(|s| *s > 0)
                .unwrap_or(USUAL)
        })
        .collect()
}
