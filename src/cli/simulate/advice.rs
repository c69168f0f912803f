//! What is right by the letter, and would hurt one day: each with its field and a way out.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{
    finding::Finding,
    manifest::Manifest,
    play::expected_seconds,
    pod,
    report::duration,
    scenario::{Assumed, checks},
};
use crate::{
    api::{OnInconclusive, RolloutSpec, Step},
    plan::replicas::{self, Bounds},
};

/// How long `helm --wait`, a Flux `HelmRelease` and many pipelines wait by default, in seconds.
const USUAL_TIMEOUT: i64 = 300;
/// The highest bounds, in milliseconds, of the histograms that client libraries make by default.
const HIGHEST_BUCKET: i64 = 10_000;
/// Bounds of those histograms, in milliseconds.
const USUAL_BUCKETS: [i64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// Everything that is worth a reader's time.
#[must_use]
pub fn advice(on: &Manifest, assumed: &Assumed) -> Vec<Finding> {
    let spec = &on.spec;
    let mut found = pod::dropped(&spec.template, "spec.template");
    image(spec, &mut found);
    probes(spec, assumed, &mut found);
    requests(spec, &mut found);
    measured(spec, &mut found);
    latency_limits(spec, &mut found);
    traffic(spec, assumed, &mut found);
    steps(spec, &mut found);
    bounds(spec, &mut found);
    schema(spec, &mut found);
    time(spec, assumed, &mut found);
    found.sort_by_key(|finding| finding.level);
    found
}

fn containers(spec: &RolloutSpec) -> impl Iterator<Item = (String, &Value)> {
    let all = spec
        .template
        .pointer("/spec/containers")
        .and_then(Value::as_array);
    let named = all.into_iter().flatten().enumerate();
    named.map(|(index, container)| (format!("spec.template.spec.containers[{index}]"), container))
}

/// The revision is named by the template: what changes behind a tag is no release.
fn image(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    for (field, container) in containers(spec) {
        let image = container["image"].as_str().unwrap_or_default();
        let last = image.rsplit('/').next().unwrap_or_default();
        let tag = last.split_once(':').map(|(_, tag)| tag);
        if !image.contains('@') && matches!(tag, None | Some("latest")) {
            found.push(Finding::warning(
                format!("{field}.image"),
                format!(
                    "{image} moves: a new image behind it is no new revision, so it goes out \
                     without steps, and an undo starts it again; name a version or a digest"
                ),
            ));
        }
    }
}

fn probes(spec: &RolloutSpec, assumed: &Assumed, found: &mut Vec<Finding>) {
    let limit = spec.strategy.progress_deadline_seconds;
    for (field, container) in containers(spec) {
        if has_ports(container) && container["readinessProbe"].is_null() {
            found.push(Finding::warning(
                format!("{field}.readinessProbe"),
                "without it a pod counts as ready, and gets requests, as soon as its process has \
                 started; add one",
            ));
        }
        let probe = &container["startupProbe"];
        let number = |name: &str, otherwise| probe[name].as_i64().unwrap_or(otherwise);
        let permitted = number("initialDelaySeconds", 0)
            + number("periodSeconds", 10) * number("failureThreshold", 3);
        if !probe.is_null() && permitted > limit {
            found.push(Finding::warning(
                "spec.strategy.progressDeadlineSeconds",
                format!(
                    "{limit} s is less than the {permitted} s that {field}.startupProbe gives a \
                     start: slow starts would be undone; raise it above {permitted}"
                ),
            ));
        }
    }
    let startup = assumed.pull_seconds + assumed.startup_seconds;
    if startup >= limit {
        found.push(Finding::warning(
            "spec.strategy.progressDeadlineSeconds",
            format!(
                "pods need {startup} s to become ready, after {limit} s the release is undone: \
                 raise it to several times {startup}"
            ),
        ));
    }
}

fn has_ports(container: &Value) -> bool {
    container["ports"]
        .as_array()
        .is_some_and(|ports| !ports.is_empty())
}

fn requests(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    let without: Vec<_> = containers(spec)
        .filter(|(_, c)| c["resources"]["requests"].is_null() && c["resources"]["limits"].is_null())
        .filter_map(|(_, c)| c["name"].as_str())
        .collect();
    if !without.is_empty() {
        found.push(Finding::note(
            "spec.template.spec.containers",
            format!(
                "{} asks for no resources: the scheduler cannot tell whether old and new pods fit \
                 side by side; set resources.requests",
                without.join(", ")
            ),
        ));
    }
}

fn measured(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    if spec.paused {
        found.push(Finding::warning(
            "spec.paused",
            "no release starts while it is set",
        ));
    }
    if spec.analysis.is_none() {
        found.push(Finding::warning(
            "spec.analysis",
            "nothing is measured: a revision whose pods are ready goes out whole, whatever it \
             answers; add checks of errorRate and latency",
        ));
        return;
    }
    if checks(spec).all(|check| check.error_rate.is_none()) {
        found.push(Finding::warning(
            "spec.analysis.checks",
            "no check of errorRate: a revision that fails fast goes out; add one",
        ));
    }
    let steps = &spec.strategy.canary.steps;
    let blind = |step: &&Step| step.on_inconclusive == OnInconclusive::Proceed;
    let blind: Vec<_> = steps
        .iter()
        .filter(blind)
        .map(|s| s.name.as_str())
        .collect();
    if blind.len() == steps.len() {
        found.push(Finding::warning(
            "spec.strategy.canary.steps",
            "onInconclusive: Proceed at every step: while Prometheus is down every release goes \
             out unseen; take Pause or Undo for the first",
        ));
    }
}

fn latency_limits(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    for (index, check) in checks(spec).enumerate() {
        let Some(latency) = &check.latency else {
            continue;
        };
        let field = format!("spec.analysis.checks[{index}].latency.maxMilliseconds");
        let limit = latency.max_milliseconds;
        if limit > HIGHEST_BUCKET {
            found.push(Finding::warning(
                field,
                format!(
                    "{limit} ms lies above the highest bucket of usual histograms ({HIGHEST_BUCKET} \
                     ms): without one of your own the check never comes to a verdict"
                ),
            ));
        } else if let Some(next) = USUAL_BUCKETS.iter().find(|bucket| **bucket >= limit)
            && *next != limit
        {
            found.push(Finding::note(
                field,
                format!(
                    "usual histograms have no bucket at {limit} ms: unless yours has, requests \
                     are counted as slow from {next} ms on"
                ),
            ));
        }
    }
}

/// Requests that the new revision gets at each step, against those that a check asks for.
fn traffic(spec: &RolloutSpec, assumed: &Assumed, found: &mut Vec<Finding>) {
    let Some(analysis) = &spec.analysis else {
        return;
    };
    let steps = &spec.strategy.canary.steps;
    let Some(wanted) = checks(spec).max_by_key(|check| check.min_requests) else {
        return;
    };
    for (index, step) in steps.iter().enumerate() {
        let field = format!("spec.strategy.canary.steps[{index}]");
        let name = &step.name;
        if step.deadline_seconds < 2 * analysis.interval_seconds {
            let message = format!(
                "step {name}: {} s after its hold is hardly time for a poll every {} s: raise \
                 deadlineSeconds",
                step.deadline_seconds, analysis.interval_seconds
            );
            found.push(Finding::warning(
                format!("{field}.deadlineSeconds"),
                message,
            ));
        }
        let split = replicas::split(steps, index, spec.replicas);
        if split.canary == 0 {
            continue;
        }
        let share = f64::from(split.canary) / f64::from(split.canary + split.stable);
        let rate = assumed.requests_per_second * share;
        #[expect(clippy::cast_precision_loss, reason = "bounded by the definition")]
        let (least, hold, most) = (
            wanted.min_requests as f64,
            step.hold_seconds as f64,
            (step.hold_seconds + step.deadline_seconds) as f64,
        );
        let needs = least / rate;
        let told = format!(
            "step {name}: at {rate:.1} requests a second (its share of {}) check {} has its {} \
             requests after {}",
            assumed.requests_per_second,
            wanted.name,
            wanted.min_requests,
            duration(whole_seconds(needs)),
        );
        if needs > most {
            let message = format!(
                "{told}, its deadline passes before: {} every time; lower minRequests, or give \
                 the step more pods or time",
                word(step.on_inconclusive)
            );
            found.push(Finding::warning(field, message));
        } else if needs > hold.max(1.0) && least > 100.0 {
            let message = format!("{told}: it is held for longer than holdSeconds until then");
            found.push(Finding::note(field, message));
        }
    }
}

const fn word(instead: OnInconclusive) -> &'static str {
    match instead {
        OnInconclusive::Pause => "Pause",
        OnInconclusive::Undo => "Undo",
        OnInconclusive::Proceed => "Proceed",
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates: never is long enough"
)]
fn whole_seconds(seconds: f64) -> i64 {
    seconds.ceil() as i64
}

fn steps(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    let steps = &spec.strategy.canary.steps;
    let canary = |index| replicas::split(steps, index, spec.replicas).canary;
    let field = |index: usize| format!("spec.strategy.canary.steps[{index}]");
    for index in 1..steps.len() {
        if canary(index) == canary(index - 1) && spec.replicas > 1 {
            let (before, here) = (&steps[index - 1].name, &steps[index].name);
            let message = format!(
                "of {} pods step {here} runs as many ({}) as step {before}: it only adds time",
                spec.replicas,
                canary(index)
            );
            found.push(Finding::note(field(index), message));
        }
    }
    let first = canary(0);
    if spec.replicas > 1 && first * 2 >= spec.replicas {
        let message = format!(
            "the first step gives {first} of {} pods to the new revision: that share of users \
             meets it before anything was measured; begin with fewer",
            spec.replicas
        );
        found.push(Finding::warning(field(0), message));
    }
    if spec.replicas == 1 {
        found.push(Finding::note(
            "spec.replicas",
            "of one pod the canary is the second: half of the requests reach it at the first \
             step; with more pods fewer would",
        ));
    }
    let last = steps.len().saturating_sub(1);
    if steps.last().is_some_and(|step| step.hold_seconds == 0) && spec.analysis.is_some() {
        found.push(Finding::warning(
            format!("{}.holdSeconds", field(last)),
            "the new revision is stable as soon as it runs whole, and what shows only under full \
             load is not undone any more; hold the last step for some minutes",
        ));
    }
}

fn bounds(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    let strategy = &spec.strategy;
    let Bounds { floor, ceiling } = replicas::bounds(strategy, spec.replicas);
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
    if floor == 0 && spec.replicas > 0 {
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
}

fn time(spec: &RolloutSpec, assumed: &Assumed, found: &mut Vec<Finding>) {
    let seconds = expected_seconds(spec, assumed);
    if seconds > USUAL_TIMEOUT {
        found.push(Finding::note(
            "spec.strategy.canary.steps",
            format!(
                "a good release takes {}: helm --wait and Flux give up after {}; set their \
                 timeout above it, or do not wait there",
                duration(seconds),
                duration(USUAL_TIMEOUT)
            ),
        ));
    }
}
