//! From counts to a verdict and the line people read.

use super::histogram::{Quantile, quantile};
use super::increments::{Tally, Uncounted};
use super::{CheckKind, CheckSpec, Fault, Reading, Reason, Sequential, Unit, Verdict};

/// What an answer says of a metric, whatever it counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metric {
    /// Matchers say which requests are counted.
    pub filtered: bool,
    /// They let none of those through that there are.
    pub unmatched: bool,
    /// Seconds between two scrapes of a pod.
    pub scrape_interval: f64,
}

/// How one check stands.
pub(super) struct Standing<'a> {
    pub spec: &'a CheckSpec,
    pub all: &'a Tally,
    pub hold: &'a Tally,
    /// The share that may be bad; more fails the check beyond doubt.
    pub share: f64,
    /// What was before, where that is what counts are compared with.
    pub before: Option<Before<'a>>,
    /// A pod of whose requests it is not known yet how many came since the hold began.
    pub uncounted: Option<&'a Uncounted>,
    pub metric: Metric,
    /// How many requests may have been probes and scrapes, where that can be said.
    pub probes: Option<f64>,
    pub holding: bool,
    pub test: &'a Sequential,
    /// Bad requests and all of the last half minute.
    pub recent: (f64, f64),
    pub threshold: f64,
    pub obstacle: Option<&'a Fault>,
    pub bound: Option<f64>,
}

/// What counts are compared with.
pub(super) struct Before<'a> {
    pub tally: &'a Tally,
    /// There is enough of it.
    pub is_known: bool,
}

/// Judges one check. A test that has failed stays failed, whatever the source says now;
/// everything that stands in the way of a whole answer comes before a pass.
pub(super) fn judge(s: &Standing<'_>) -> Reading {
    let (verdict, reason) = verdict(s);
    let failed = reason == Reason::Failing;
    let (value, figure) = figure(s, if failed { s.all } else { shown(s) });
    let mut message = message(s, reason, &figure);
    if let Some(before) = s.before.as_ref().filter(|_| rests_on_counts(reason)) {
        message.push_str(&said_of(s, before.tally));
    }
    let (unit, limit) = match s.spec.kind {
        CheckKind::ErrorRate { max_percent } => (Unit::Percent, max_percent),
        CheckKind::Latency {
            max_milliseconds, ..
        } => (Unit::Milliseconds, max_milliseconds),
    };
    Reading {
        name: s.spec.name.clone(),
        verdict,
        reason,
        bad: s.all.bad,
        total: s.all.total,
        hold_bad: s.hold.bad,
        hold_total: s.hold.total,
        value,
        unit,
        limit: if limit.is_finite() { limit } else { 0.0 },
        test: if failed {
            s.test.peak()
        } else {
            s.test.current()
        },
        threshold: s.threshold,
        message,
    }
}

/// Nothing was counted that need have been a user's request.
fn probes_only(s: &Standing<'_>) -> bool {
    let total = shown(s).total;
    total > 0.0 && s.probes.is_some_and(|most| total <= most)
}

fn verdict(s: &Standing<'_>) -> (Verdict, Reason) {
    let inconclusive = |reason| (Verdict::Inconclusive, reason);
    if s.test.peak() >= s.threshold {
        // Nobody knows whether it was better before.
        return match s.before.as_ref().is_some_and(|before| !before.is_known) {
            true => inconclusive(Reason::NotCompared),
            false => (Verdict::Fail, Reason::Failing),
        };
    }
    if let Some(fault) = s.obstacle {
        return inconclusive(fault.reason);
    }
    if !s.holding {
        return inconclusive(Reason::NotHolding);
    }
    // The others may be the ones that do well.
    let warms_up = s.uncounted.is_some_and(|u| u.warms_up_until.is_some());
    if warms_up || (s.uncounted.is_some() && s.hold.total > 0.0) {
        return inconclusive(Reason::PartialData);
    }
    if s.hold.total <= 0.0 {
        return inconclusive(Reason::NoData);
    }
    if probes_only(s) {
        return inconclusive(Reason::OnlyProbes);
    }
    if s.hold.total < s.spec.min_requests as f64 {
        return inconclusive(Reason::TooFewRequests);
    }
    // Written so that a figure that is no number would not pass; 29 of 100 is 29%, whatever
    // binary fractions make of it.
    if s.hold.bad <= passing_share(s) * s.hold.total * (1.0 + 1e-9) {
        (Verdict::Pass, Reason::Passed)
    } else {
        inconclusive(Reason::AboveLimit)
    }
}

/// Whether more was bad before than the limit allows.
fn was_above(s: &Standing<'_>) -> bool {
    s.before.as_ref().is_some_and(|before| {
        let Tally { bad, total, .. } = *before.tally;
        bad > s.spec.kind.share() * total * (1.0 + 1e-9)
    })
}

/// The share that may be bad in a pass. What was only not seen to be within its limit before, for there
/// was little to see, fails nobody; nor does it pass.
fn passing_share(s: &Standing<'_>) -> f64 {
    if was_above(s) {
        s.share
    } else {
        s.spec.kind.share()
    }
}

/// The counts a reader is shown: those of the hold, as soon as there are any.
fn shown<'a>(s: &Standing<'a>) -> &'a Tally {
    if s.hold.total > 0.0 { s.hold } else { s.all }
}

/// The figure, and how a sentence says it.
fn figure(s: &Standing<'_>, of: &Tally) -> (Option<f64>, String) {
    if of.total <= 0.0 {
        return (None, "no requests".to_owned());
    }
    let percent = 100.0 * of.bad / of.total;
    match s.spec.kind {
        CheckKind::ErrorRate { max_percent } => (
            Some(percent),
            format!(
                "{percent:.2}% errors ({:.0} of {:.0} requests), limit {max_percent}%",
                of.bad, of.total
            ),
        ),
        CheckKind::Latency {
            percentile,
            max_milliseconds,
        } => {
            let (value, said) = match quantile(&of.slots, percentile / 100.0) {
                Some(Quantile::At(ms)) => (Some(ms), format!("{ms:.0} ms")),
                Some(Quantile::Above(ms)) => (Some(ms), format!("above {ms:.0} ms")),
                None => (None, "unknown".to_owned()),
            };
            let bound = s.bound.filter(|b| *b > max_milliseconds * (1.0 + 1e-9));
            // A bound in seconds times 1000 may have a tail of binary dust.
            let bound = bound.map_or(max_milliseconds, |b| (b * 1e6).round() / 1e6);
            let mut text = format!(
                "p{percentile} {said}, limit {max_milliseconds} ms; {percent:.2}% ({:.0} of \
                 {:.0} requests) slower than {bound} ms",
                of.bad, of.total
            );
            if bound > max_milliseconds {
                text.push_str(", the next higher bucket");
            }
            (value, text)
        }
    }
}

/// Whether what was counted before belongs to what is said.
fn rests_on_counts(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Failing | Reason::Passed | Reason::AboveLimit | Reason::NotCompared
    )
}

/// What was before, for the same sentence.
fn said_of(s: &Standing<'_>, before: &Tally) -> String {
    let (_, figure) = figure(s, before);
    let figure = figure.split(", limit").next().unwrap_or_default();
    let of = |share: f64| format!("{:.2}%", 100.0 * share);
    let slow = match s.spec.kind {
        CheckKind::Latency { .. } if before.total > 0.0 => {
            format!(", {} slower", of(before.bad / before.total))
        }
        _ => String::new(),
    };
    let may = if s.share <= s.spec.kind.share() * (1.0 + 1e-9) {
        String::new()
    } else if was_above(s) {
        format!(
            ": above the limit already, so up to {} may be bad",
            of(s.share)
        )
    } else {
        format!(
            ": with so few requests, a bad share of up to {} cannot be ruled out",
            of(s.share)
        )
    };
    format!("; before: {figure}{slow}{may}")
}

fn message(s: &Standing<'_>, reason: Reason, figure: &str) -> String {
    match (reason, s.obstacle) {
        (Reason::Failing, _) => {
            let (bad, total) = s.recent;
            format!(
                "{figure}, {bad:.0} of {total:.0} in the last half minute: above the limit beyond \
                 doubt (test {:.0}, fails at {:.0})",
                s.test.peak(),
                s.threshold
            )
        }
        (Reason::Passed, _) => figure.to_owned(),
        (Reason::NotHolding, _) => format!("{figure}; the hold has not begun"),
        (Reason::NoData, _) if s.metric.unmatched => {
            "no requests since the hold began: there are some, but metric.matchers lets none of \
             them through; check its labels and values, and that traffic reaches the pods"
                .to_owned()
        }
        (Reason::NoData, _) => {
            let field = match s.spec.kind {
                CheckKind::ErrorRate { .. } => "metric.counter",
                CheckKind::Latency { .. } => "metric.histogram",
            };
            format!(
                "no requests since the hold began: check that traffic reaches the pods and that \
                 {field} is right"
            )
        }
        (Reason::TooFewRequests, _) => format!(
            "{figure}; fewer than the {} requests asked for since the hold began",
            s.spec.min_requests
        ),
        (Reason::OnlyProbes, _) => format!(
            "{figure}; all of these may be probes and scrapes (up to {:.0}): set metric.matchers to \
             count user requests only",
            s.probes.unwrap_or_default().floor()
        ),
        (Reason::NotCompared, _) => format!(
            "{figure}: above the limit beyond doubt (test {:.0}, fails at {:.0}), but there are \
             fewer than {} requests from before the expand to compare with",
            s.test.peak(),
            s.threshold,
            s.spec.min_requests.max(1)
        ),
        (Reason::AboveLimit, _) => {
            let but = if s.hold.bad <= s.share * s.hold.total {
                "perhaps no more than before"
            } else {
                "not significantly"
            };
            format!(
                "{figure}: above the limit, but {but} (test {:.0}, fails at {:.0})",
                s.test.current(),
                s.threshold
            )
        }
        (_, Some(fault)) => fault.message.clone(),
        (Reason::PartialData, None) => {
            let pod = s.uncounted.map_or("", |u| u.pod.as_str());
            match s.uncounted.and_then(|u| u.warms_up_until) {
                Some(until) => format!("{figure}; pod {pod} warms up until {until:.0}"),
                None => format!(
                    "{figure}; requests of pod {pod} since the hold began count from the next \
                     poll on"
                ),
            }
        }
        (_, None) => figure.to_owned(),
    }
}
