//! What is to be measured of a canary.

use super::{draft::Draft, revision::child_name};
use crate::{
    api::{Analysis, Check},
    evidence::{CheckKind, CheckSpec, Measure, PodSeen},
};

/// What the sampler should measure now; `None` while no pod of a canary has been ready.
pub(super) fn measure(draft: &Draft<'_>) -> Option<Measure> {
    let analysis = draft.spec.analysis.as_ref()?;
    let release = draft.status.release.as_ref()?;
    let step = release.step()?;
    let since = draft.measured_since()?;
    let rollout = &draft.seen.objects.rollout;
    let pods = draft
        .seen
        .objects
        .pods_of(&release.revision)
        .map(|pod| PodSeen {
            name: pod.name.clone(),
            ready_since: pod.ready_since,
            created: pod.created,
        });
    Some(Measure {
        namespace: rollout.namespace.clone(),
        rollout: rollout.base.name.clone(),
        revision: release.revision.clone(),
        pod_prefix: format!("{}-", child_name(&rollout.base.name, &release.revision)),
        pods: pods.collect(),
        since,
        hold_since: step.reached.as_ref().map(|t| t.0),
        source: analysis.source.clone(),
        interval_seconds: analysis.interval_seconds,
        checks: checks(analysis),
    })
}

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
        convention: check.metric.clone().unwrap_or_default(),
    })
}
