//! About what is measured, and whether there is enough to measure it by.

use super::super::{
    finding::Finding,
    report::duration,
    scenario::{Assumed, checks},
};
use crate::{
    api::{Analysis, Check, OnInconclusive, RolloutSpec},
    plan::{
        course::{Target, course},
        measurable, traffic,
    },
};

/// The highest bounds, in milliseconds, of the histograms that client libraries make by default.
const HIGHEST_BUCKET: i64 = 10_000;
/// Bounds of those histograms, in milliseconds.
const USUAL_BUCKETS: [i64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

pub(super) fn measured(spec: &RolloutSpec, found: &mut Vec<Finding>) {
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
    if checks(spec).all(|check| check.latency.is_none()) {
        found.push(Finding::note(
            "spec.analysis.checks",
            "no check of latency: a revision that is slow goes out; add one if that would hurt",
        ));
    }
    let course = course(spec);
    if course.targets.iter().all(Target::is_blind) {
        found.push(Finding::warning(
            course.field,
            "onInconclusive: Proceed at every step: while Prometheus is down every release goes \
             out unseen; take Pause or Undo for the first",
        ));
    }
}

pub(super) fn latency_limits(spec: &RolloutSpec, found: &mut Vec<Finding>) {
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

/// Spring Boot's timers of requests: Prometheus gets buckets of them only where that is switched on.
const SPRING: [(&str, &str); 2] = [
    ("http_server_requests_seconds", "http.server.requests"),
    ("http_client_requests_seconds", "http.client.requests"),
];

/// Checks that cannot be read as they are written, as far as the manifest tells.
pub(super) fn metrics(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    for (index, check) in checks(spec).enumerate() {
        let Some(metric) = &check.metric else {
            continue;
        };
        let field = |name: &str| format!("spec.analysis.checks[{index}].metric.{name}");
        for (name, given) in [
            ("errorValues", &metric.error_values),
            ("successValues", &metric.success_values),
        ] {
            if given.is_some() && metric.status_label.is_none() {
                found.push(Finding::warning(
                    field(name),
                    "unless the metric source names the label, nobody knows whose values these \
                     are: set metric.statusLabel",
                ));
            }
        }
        for (name, given) in [
            ("counter", &metric.counter),
            ("histogram", &metric.histogram),
        ] {
            let wrong: &[&str] = match name {
                "counter" => &["_sum", "_max"],
                _ => &["_count", "_sum", "_max"],
            };
            let suffix = wrong
                .iter()
                .find(|s| given.as_deref().is_some_and(|name| name.ends_with(*s)));
            if let Some(suffix) = suffix {
                found.push(Finding::warning(
                    field(name),
                    format!(
                        "{suffix} is the suffix of one part of a histogram or summary: a {name} is \
                         named {}",
                        match name {
                            "counter" => "with _count or _total",
                            _ => "without it",
                        }
                    ),
                ));
            }
        }
        let histogram = metric.histogram.as_deref();
        let spring = SPRING.iter().find(|(name, _)| histogram == Some(*name));
        if let Some((_, timer)) = spring.filter(|_| check.latency.is_some()) {
            found.push(Finding::note(
                field("histogram"),
                format!(
                    "Spring Boot counts these requests without buckets, and the check then never \
                     comes to a verdict, unless the application has \
                     management.metrics.distribution.percentiles-histogram.{timer}=true"
                ),
            ));
        }
    }
}

/// Whether probes alone could pass a check.
fn probed(spec: &RolloutSpec, assumed: &Assumed, step: &Target, found: &mut Vec<Finding>) {
    let probes = measurable::probes(&spec.template);
    let filtered = |check: &Check| {
        check
            .metric
            .as_ref()
            .is_some_and(|m| !m.matchers.is_empty())
    };
    let Some(check) = checks(spec).find(|check| !filtered(check)) else {
        return;
    };
    let rate = f64::from(step.canary) * probes.iter().map(|s| often(*s)).sum::<f64>();
    let users = assumed.requests_per_second * traffic::share(step);
    if rate <= 0.0 || users > rate {
        return;
    }
    found.push(Finding::warning(
        format!("{}.replicas", step.field),
        format!(
            "step {}: at {users:.1} requests a second, its share, there are no more users than \
             probes ({rate:.1} a second): check {} does not pass by what may be probes alone; say \
             with metric.matchers which requests are users'",
            step.name, check.name
        ),
    ));
}

/// How often a second.
fn often(period: i64) -> f64 {
    1.0 / f64::from(i32::try_from(period).unwrap_or(i32::MAX))
}

/// Whether a check's warm-up leaves time to count.
fn warm_up(spec: &RolloutSpec, step: &Target, found: &mut Vec<Finding>) {
    let limits = checks(spec).filter_map(|check| Some((check, check.latency.as_ref()?)));
    let longest = limits.max_by_key(|(_, latency)| latency.warm_up_seconds);
    let Some((check, latency)) = longest.filter(|(_, l)| l.warm_up_seconds > 0) else {
        return;
    };
    if latency.warm_up_seconds >= step.hold_seconds + step.deadline_seconds {
        found.push(Finding::warning(
            format!("{}.deadlineSeconds", step.field),
            format!(
                "step {}: its pods warm up for {} s, and check {} counts nothing before the step's \
                 deadline: raise it, or lower warmUpSeconds",
                step.name, latency.warm_up_seconds, check.name
            ),
        ));
    } else if latency.warm_up_seconds >= step.hold_seconds && step.hold_seconds > 0 {
        found.push(Finding::note(
            format!("{}.holdSeconds", step.field),
            format!(
                "step {}: its pods warm up for {} s, so it is held for longer than its {} s",
                step.name, latency.warm_up_seconds, step.hold_seconds
            ),
        ));
    }
}

/// Polls and requests at each step, against those that a check asks for.
pub(super) fn traffic(spec: &RolloutSpec, assumed: &Assumed, found: &mut Vec<Finding>) {
    let Some(analysis) = &spec.analysis else {
        return;
    };
    let wanted = checks(spec).max_by_key(|check| check.min_requests);
    let course = course(spec);
    let mut targets: Vec<_> = course.way().collect();
    if course.batch.is_some() && targets.len() > 2 {
        // Of batches the first says what there is to say of those before the last.
        targets.drain(1..targets.len() - 1);
    }
    // Where no user reaches the new revision a lack of requests holds nothing up.
    targets.retain(|target| !target.is_hidden());
    for target in targets {
        polls(analysis, target, found);
        warm_up(spec, target, found);
        let rate = assumed.requests_per_second * traffic::share(target);
        if let Some(check) = wanted.filter(|_| target.canary > 0) {
            enough(check, target, rate, found);
            probed(spec, assumed, target, found);
        }
    }
}

/// Whether a step leaves time for polls.
fn polls(analysis: &Analysis, step: &Target, found: &mut Vec<Finding>) {
    let (name, field, every) = (&step.name, &step.field, analysis.interval_seconds);
    if step.deadline_seconds < 2 * every {
        found.push(Finding::warning(
            format!("{field}.deadlineSeconds"),
            format!(
                "step {name}: {} s after its hold is hardly time for a poll every {every} s: \
                 raise it",
                step.deadline_seconds
            ),
        ));
    }
    if step.hold_seconds < every {
        found.push(Finding::note(
            format!("{field}.{}", step.held_by),
            format!(
                "step {name}: there is a poll only every {every} s, so it is held for longer than \
                 its {} s; raise it above the interval",
                step.hold_seconds
            ),
        ));
    }
}

/// Whether a step's share of requests is enough for a check.
fn enough(check: &Check, step: &Target, rate: f64, found: &mut Vec<Finding>) {
    let field = step.field.as_str();
    #[expect(clippy::cast_precision_loss, reason = "bounded by the definition")]
    let (least, hold, most) = (
        check.min_requests as f64,
        step.hold_seconds as f64,
        (step.hold_seconds + step.deadline_seconds) as f64,
    );
    let needs = least / rate;
    let told = format!(
        "step {}: at {rate:.1} requests a second, its share, check {} has its minRequests ({})",
        step.name, check.name, check.min_requests
    );
    if needs > most {
        let instead = match step.on_inconclusive {
            OnInconclusive::Pause => "every release stops here for a person",
            OnInconclusive::Undo => "every release is undone here",
            OnInconclusive::Proceed => "every release passes here unseen",
        };
        found.push(Finding::warning(
            field,
            format!(
                "{told} never before the step's deadline: {instead}; lower minRequests, or give \
                 the step more pods or time"
            ),
        ));
    } else if needs > hold && hold > 0.0 {
        let after = duration(whole_seconds(needs));
        found.push(Finding::note(
            field,
            format!(
                "{told} after {after}: it is held for longer than {}",
                step.held_by
            ),
        ));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates: never is long enough"
)]
fn whole_seconds(seconds: f64) -> i64 {
    seconds.ceil() as i64
}
