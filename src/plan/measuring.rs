//! What is to be measured of a canary.

use super::{
    adopting, draft::Draft, flags, life::around, measurable, revision::child_name, routes, soak,
};
use crate::{
    api::RolloutStatus,
    evidence::{Measure, PodSeen},
};

/// What the sampler should measure now; `None` while no pod of a canary has been ready.
pub(super) fn measure(draft: &Draft<'_>) -> Option<Measure> {
    let analysis = draft.spec.analysis.as_ref()?;
    // Apart from releases, what is measured is the stable revision while a flag is turned on.
    let ramp = flags::as_release(draft);
    let soak = soak::as_release(draft);
    let release = soak.as_ref().or(draft.status.release.as_ref());
    let contract = around::as_release(draft);
    let release = release.or(ramp.as_ref()).or(contract.as_ref())?;
    let of_a_contract = contract.as_ref().is_some_and(|c| std::ptr::eq(c, release));
    let step = release.step()?;
    let since = draft.measured_since_of(release)?;
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
        pod_prefix: prefix(draft, &release.revision),
        beside: draft
            .stable()
            .filter(|_| routes::share_users(draft))
            .map(|stable| prefix(draft, stable)),
        pods: pods.collect(),
        probe_seconds: probe_seconds(draft, &release.revision),
        since,
        hold_since: step.reached.as_ref().map(|t| t.0),
        before: match soak {
            Some(_) => soak::before(draft),
            None => around::before_until(draft).filter(|_| of_a_contract),
        },
        source: analysis.source.clone(),
        interval_seconds: analysis.interval_seconds,
        checks: measurable::checks(analysis),
    })
}

/// What the names of a revision's pods begin with.
fn prefix(draft: &Draft<'_>, revision: &str) -> String {
    match adopting::deployment_of(revision) {
        Some(deployment) => adopting::pod_prefix(draft, deployment),
        None => {
            let rollout = &draft.seen.objects.rollout.base.name;
            format!("{}-", child_name(rollout, revision))
        }
    }
}

/// The revision that is measured, by what is on record.
#[must_use]
pub fn measured(status: &RolloutStatus) -> Option<&str> {
    match &status.release {
        Some(release) if release.soak().is_some() => {
            status.stable.as_ref().map(|s| s.revision.as_str())
        }
        Some(release) => Some(&release.revision),
        // Around a contract it is stable, and what is known of it does no harm.
        None => flags::measured(&status.flags)
            .or_else(|| status.stable.as_ref().map(|s| s.revision.as_str())),
    }
}

/// How often the kubelet asks a pod of the revision, probe by probe.
fn probe_seconds(draft: &Draft<'_>, revision: &str) -> Vec<i64> {
    match draft.seen.objects.revision(revision) {
        Some(known) => known.probes.to_vec(),
        None => draft.spec.probes().to_vec(),
    }
}
