//! What is right by the letter, and would hurt one day: each with its field and a way out.

mod checks;
mod pods;

pub(in crate::cli) use pods::has_disk_of_one_node;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    finding::Finding,
    manifest::{Documents, Manifest},
    play::expected_seconds,
    pod,
    report::duration,
    scenario::Assumed,
};
use crate::{
    api::{Approval, RolloutSpec},
    plan::{
        course::{self, course},
        replicas::Bounds,
    },
};

/// How long `helm --wait`, a Flux `HelmRelease` and many pipelines wait by default, in seconds.
const USUAL_TIMEOUT: i64 = 300;

/// Everything that is worth a reader's time.
#[must_use]
pub(in crate::cli) fn advice(
    on: &Manifest,
    documents: &Documents,
    assumed: &Assumed,
) -> Vec<Finding> {
    let spec = &on.spec;
    let mut found = pod::dropped(&spec.template, "spec.template");
    pods::image(spec, &mut found);
    pods::probes(spec, assumed, &mut found);
    pods::requests(spec, &mut found);
    pods::one_a_node(spec, &mut found);
    pods::disks(spec, documents, &mut found);
    checks::measured(spec, &mut found);
    checks::metrics(spec, &mut found);
    checks::latency_limits(spec, &mut found);
    checks::traffic(spec, assumed, &mut found);
    steps(spec, &mut found);
    bounds(spec, documents, assumed, &mut found);
    schema(spec, &mut found);
    time(spec, assumed, &mut found);
    found.sort_by_key(|finding| finding.level);
    found
}

fn steps(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    let course = course(spec);
    let targets: Vec<_> = course.way().collect();
    for pair in targets.windows(2) {
        if let [before, here] = pair
            && before.canary == here.canary
            && before.active == here.active
            && before.weight == here.weight
            && spec.replicas > 1
        {
            let message = format!(
                "of {} pods step {} runs as many ({}) as step {}: it only adds time",
                spec.replicas, here.name, here.canary, before.name
            );
            found.push(Finding::note(here.field.clone(), message));
        }
    }
    if let Some(first) = targets.first()
        && first.canary > 1
        && !first.is_hidden()
        && first.canary * 2 >= spec.replicas
    {
        let message = format!(
            "the first step gives {} of {} pods to the new revision: that share of users \
             meets it before anything was measured; begin with fewer",
            first.canary, spec.replicas
        );
        found.push(Finding::warning(first.field.clone(), message));
    }
    if spec.replicas == 1
        && targets
            .first()
            .is_some_and(|first| first.stable > 0 && !first.is_hidden())
    {
        found.push(Finding::note(
            "spec.replicas",
            "with one replica, the canary gets half of the requests at the first step; with more \
             replicas it gets fewer",
        ));
    }
    let last = targets.last().filter(|last| last.hold_seconds == 0);
    if let Some(last) = last.filter(|_| spec.analysis.is_some()) {
        found.push(Finding::warning(
            format!("{}.{}", last.field, last.held_by),
            "the new revision becomes stable as soon as all its pods run, so problems that appear \
             only under full load cause no undo; hold the last step for some minutes",
        ));
    }
}

fn bounds(spec: &RolloutSpec, documents: &Documents, assumed: &Assumed, found: &mut Vec<Finding>) {
    let strategy = &spec.strategy;
    let bounds = course::bounds(spec);
    let Bounds { floor, ceiling } = bounds;
    let is_zero = |value: &IntOrString| {
        matches!(value, IntOrString::Int(0)) || matches!(value, IntOrString::String(s) if s == "0%")
    };
    if is_zero(&strategy.max_surge) && floor == spec.replicas && ceiling == spec.replicas + 1 {
        let message = format!(
            "of {} pods maxUnavailable comes to 0, and so does maxSurge: one pod more is run all \
             the same; where there is no room for it set maxUnavailable: 1",
            spec.replicas
        );
        found.push(Finding::note("spec.strategy.maxSurge", message));
    }
    let startup = assumed.pull_seconds + assumed.startup_seconds;
    if bounds.may_serve_nobody(spec.replicas) {
        let message = format!(
            "the old pods go before the new ones come (maxSurge is 0): in each release, and in each \
             undo, users are unserved until a pod is ready, {startup} s and what the old one needs \
             to end"
        );
        let meant = pods::has_disk_of_one_node(spec, documents) && spec.replicas == 1;
        found.push(if meant {
            Finding::note("spec.strategy.maxUnavailable", message)
        } else {
            let message = format!("{message}; where that need not be, set maxSurge to 1");
            Finding::warning("spec.strategy.maxUnavailable", message)
        });
    } else if floor == 0 && spec.replicas > 0 {
        found.push(Finding::warning(
            "spec.strategy.maxUnavailable",
            "every pod may be taken away at once: users would be served by nobody; lower it",
        ));
    }
}

fn schema(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    if let Some(schema) = &spec.schema
        && schema.version.is_none()
        && schema.expand.is_some()
    {
        found.push(Finding::note(
            "spec.schema.version",
            "without it nothing orders the releases of Rollouts that share the database; give \
             each schema change a number",
        ));
    }
    let Some(contract) = spec.schema.as_ref().and_then(|s| s.contract.as_ref()) else {
        return;
    };
    let after = duration(contract.after_seconds);
    let hold = course(spec).targets.last().map_or(0, |t| t.hold_seconds);
    let measured = match &spec.analysis {
        Some(analysis) if !analysis.checks.is_empty() => format!(
            ". Then stable is measured for {}, and once more after it; without a verdict it asks \
             for an approval",
            duration(hold)
        ),
        _ => String::new(),
    };
    found.push(match contract.approval {
        Approval::Manual => Finding::note(
            "spec.schema.contract.approval",
            format!(
                "after the release the contract waits until nothing below its version is left, for \
                 {after} more, and for an approval: status.schema.message has the command{measured}"
            ),
        ),
        Approval::Automatic => Finding::warning(
            "spec.schema.contract.approval",
            format!(
                "the contract removes what older code needs {after} after the last of that is gone \
                 in this namespace; what uses the database from elsewhere is not seen. Leave it \
                 Manual unless nothing does{measured}"
            ),
        ),
    });
}

fn time(spec: &RolloutSpec, assumed: &Assumed, found: &mut Vec<Finding>) {
    let seconds = expected_seconds(spec, assumed);
    if seconds > USUAL_TIMEOUT {
        found.push(Finding::note(
            course(spec).field,
            format!(
                "a good release takes about {}: helm --wait and Flux give up after {}; set their \
                 timeout above it, or do not wait there",
                duration(seconds),
                duration(USUAL_TIMEOUT)
            ),
        ));
    }
}

#[cfg(test)]
mod tests;
