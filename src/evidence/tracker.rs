//! All checks of one canary, from its first ready pod to the end of its bake.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::increments::{Ledger, Tally, Terms, Uncounted};
use super::judge::{Before, Metric, Standing, judge};
use super::recent::Recent;
use super::split::Splitter;
use super::{
    Answer, Answered, CheckKind, CheckSpec, Fault, Measure, Missing, PodSeen, Readings, Reason,
    Sequential, Snapshot,
};

/// Stake a test must earn per check: with `100 × checks` in all, at most one release in a
/// hundred that keeps its limits is failed by any of its checks.
const STAKE_PER_CHECK: f64 = 100.0;

/// What is known about one canary. It is fed with answers, in order of time, and never reset
/// while the canary is under test; a check whose limit, metric or source changes starts again and
/// wants its history.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    source: String,
    checks: BTreeMap<String, Track>,
    hold_since: Option<Timestamp>,
    polled_at: Option<Timestamp>,
    complete_polls: u64,
    splitter: Splitter,
}

#[derive(Clone, Debug)]
struct Track {
    spec: CheckSpec,
    ledger: Ledger,
    test: Sequential,
    recent: Recent,
    all: Tally,
    hold: Tally,
    /// What was served before that of which it is asked whether it hurts.
    before: Tally,
    /// A pod that serves, and of whose requests none is known to have come after the hold began.
    uncounted: Option<Uncounted>,
    /// What the latest answer says of the metric itself.
    metric: Metric,
    /// Whether what happened before the first poll is accounted for.
    caught_up: bool,
    /// What stood in the way at the latest poll; empty when it was answered whole.
    obstacle: Option<Fault>,
    /// The bucket that stands for the limit, in milliseconds.
    bound: Option<f64>,
}

impl Track {
    fn new(spec: &CheckSpec) -> Self {
        Self {
            spec: spec.clone(),
            ledger: Ledger::default(),
            test: Sequential::new(spec.kind.share()),
            recent: Recent::default(),
            all: Tally::default(),
            hold: Tally::default(),
            before: Tally::default(),
            uncounted: None,
            metric: Metric::default(),
            caught_up: false,
            obstacle: Some(fault(Reason::NotYetPolled, "not polled yet")),
            bound: None,
        }
    }

    /// The share that fails the check if it is exceeded. What may have been above its limit before may
    /// stay as it was: that is nobody's doing. Few requests say little of a share, so it is the highest
    /// that is likely.
    fn share(&self) -> f64 {
        let limit = self.spec.kind.share();
        let Tally { bad, total, .. } = self.before;
        if total <= 0.0 {
            return limit;
        }
        highest_likely(bad, total).clamp(limit, 1.0)
    }

    /// Enough is known of what was before.
    fn is_compared(&self) -> bool {
        self.before.total > 0.0 && self.before.total >= self.spec.min_requests as f64
    }

    /// Counts begin anew; what was before stays.
    fn begin(&mut self) {
        self.test = Sequential::new(self.share());
        self.recent = Recent::default();
        self.all = Tally::default();
    }

    fn measures(&self, spec: &CheckSpec) -> bool {
        self.spec.kind == spec.kind
            && self.spec.convention == spec.convention
            && self.spec.warm_up_seconds == spec.warm_up_seconds
    }

    fn limit_milliseconds(&self) -> f64 {
        match self.spec.kind {
            CheckKind::ErrorRate { .. } => 0.0,
            CheckKind::Latency {
                max_milliseconds, ..
            } => max_milliseconds,
        }
    }
}

impl Tracker {
    /// Takes over what the measure says now: checks come, go and change.
    pub(crate) fn follow(&mut self, measure: &Measure) {
        if self.source != measure.source {
            self.source.clone_from(&measure.source);
            self.checks.clear();
        }
        self.checks.retain(|name, track| {
            measure
                .checks
                .iter()
                .any(|spec| spec.name == *name && track.measures(spec))
        });
        for spec in &measure.checks {
            let track = self
                .checks
                .entry(spec.name.clone())
                .or_insert_with(|| Track::new(spec));
            track.spec.min_requests = spec.min_requests;
        }
        if self.hold_since != measure.hold_since {
            self.hold_since = measure.hold_since;
            self.splitter = Splitter::default();
            for track in self.checks.values_mut() {
                track.hold = Tally::default();
                if measure.before.is_some() {
                    track.begin();
                }
            }
        }
    }

    /// Whether a check's past, from the beginning of the test, is wanted beside its present. Not
    /// once it is known, nor when there is hardly any: pods born in the window count from zero.
    pub(crate) fn wants_history(
        &self,
        measure: &Measure,
        check: &CheckSpec,
        at: Timestamp,
    ) -> bool {
        const HARDLY_ANY: SignedDuration = SignedDuration::from_secs(3);
        let caught_up = self.checks.get(&check.name).is_some_and(|t| t.caught_up);
        !caught_up && at.duration_since(measure.since) > HARDLY_ANY
    }

    /// Takes in the outcome of one poll sent at `at` and says how the checks stand.
    pub(crate) fn absorb(&mut self, measure: &Measure, answer: Answer, at: Timestamp) -> Readings {
        self.follow(measure);
        if self.hold_since.is_some() {
            // One check is asked for them, and one alone.
            let answered = answer
                .iter()
                .filter_map(|(_, outcome)| outcome.as_ref().ok());
            answered.for_each(|answered| self.splitter.count(&answered.now));
        }
        for (spec, outcome) in answer {
            let Some(track) = self.checks.get_mut(&spec.name) else {
                continue;
            };
            if !track.measures(&spec) {
                continue;
            }
            track.obstacle = match outcome {
                Err(fault) => Some(fault),
                Ok(answered) => track.take(measure, answered, at),
            };
        }
        self.polled_at = Some(at);
        if self.checks.values().all(|t| t.obstacle.is_none()) {
            self.complete_polls += 1;
        }
        self.readings(measure)
    }

    /// How the checks stand after the latest poll.
    pub(crate) fn readings(&self, measure: &Measure) -> Readings {
        let threshold = STAKE_PER_CHECK * measure.checks.len().max(1) as f64;
        let readings = measure.checks.iter().filter_map(|spec| {
            let track = self.checks.get(&spec.name)?;
            Some(judge(&Standing {
                spec: &track.spec,
                all: &track.all,
                hold: &track.hold,
                share: track.share(),
                before: measure.before.map(|_| Before {
                    tally: &track.before,
                    is_known: track.is_compared(),
                }),
                uncounted: track.uncounted.as_ref(),
                metric: track.metric,
                probes: self.probes(measure, track),
                holding: self.hold_since.is_some(),
                test: &track.test,
                recent: track.recent.counts(),
                threshold,
                obstacle: track.obstacle.as_ref(),
                bound: track.bound,
            }))
        });
        Readings {
            revision: measure.revision.clone(),
            since: measure.since,
            source: measure.source.clone(),
            checks: measure.checks.clone(),
            hold_since: self.hold_since,
            polled_at: self.polled_at,
            complete_polls: self.complete_polls,
            readings: readings.collect(),
            split: self.splitter.split(),
        }
    }
}

impl Tracker {
    /// How many of the requests that are counted may be probes and scrapes; `None` where that cannot
    /// be said: nobody has looked for long enough, or matchers say what a user's request is.
    fn probes(&self, measure: &Measure, track: &Track) -> Option<f64> {
        const LONG_ENOUGH: f64 = 30.0;
        let since = match (self.hold_since, track.hold.total > 0.0) {
            (Some(hold), true) => hold,
            _ => measure.since,
        };
        let seconds = self.polled_at?.duration_since(since).as_secs_f64();
        if track.metric.filtered || seconds < LONG_ENOUGH {
            return None;
        }
        let ready = measure.pods.iter().filter(|p| p.ready_since.is_some());
        let interval = Some(track.metric.scrape_interval).filter(|i| *i > 0.0);
        Some(ready.count() as f64 * measure.probes(seconds, interval))
    }
}

impl Track {
    /// Takes in one check's answer; returns what keeps it from being whole.
    fn take(&mut self, measure: &Measure, answered: Answered, at: Timestamp) -> Option<Fault> {
        if !self.caught_up {
            for (then, snapshot) in answered.history.iter().filter(|(then, _)| *then < at) {
                // What stood in the way long ago stands in nobody's way now.
                let _ = self.count(measure, snapshot, *then);
            }
            self.caught_up = true;
        }
        let obstacle = self.count(measure, &answered.now, at);
        obstacle.or_else(|| self.unseen(measure, &answered.now, at))
    }

    /// Counts one moment, unless its figures cannot be trusted.
    fn count(&mut self, measure: &Measure, now: &Snapshot, at: Timestamp) -> Option<Fault> {
        if let Some(obstacle) = untrustworthy(now) {
            return Some(obstacle);
        }
        let limit = self.limit_milliseconds();
        let terms = Terms {
            limit,
            warm_up_seconds: self.spec.warm_up_seconds,
        };
        let step = self.ledger.absorb(measure, now, at, terms);
        self.metric = Metric {
            filtered: now.filtered,
            unmatched: now.unmatched,
            scrape_interval: now.scrape_interval,
        };
        if measure.before.is_some_and(|before| at <= before) {
            self.before.add(&step.tally);
            self.begin();
        } else {
            let counted = match measure.before {
                Some(_) => &step.hold,
                None => &step.tally,
            };
            self.judge(counted, measure.since, at);
        }
        self.hold.add(&step.hold);
        self.uncounted = step.uncounted;
        if let Some(bound) = step.bound {
            self.bound = Some(bound);
        }
        if step.limit_above {
            return Some(fault(
                Reason::LimitAboveBuckets,
                format!(
                    "no finite histogram bucket reaches the limit of {limit} ms: add a bucket at \
                     the limit to the application, or lower maxMilliseconds"
                ),
            ));
        }
        if now.native && now.counted.is_empty() {
            return Some(fault(
                Reason::NativeHistogram,
                "durations are there as a native histogram only, which is not read: set \
                 always_scrape_classic_histograms for this scrape job",
            ));
        }
        step.dropped.then(|| {
            fault(
                Reason::PartialData,
                "there are more targets than Stepgate tracks: the counts are incomplete",
            )
        })
    }

    /// Takes in requests that are judged.
    fn judge(&mut self, counted: &Tally, since: Timestamp, at: Timestamp) {
        let Tally { bad, total, .. } = *counted;
        let share = self.share();
        self.recent.absorb(bad, total, since, at);
        let lasting = self.recent.is_above(share)
            && match self.spec.kind {
                CheckKind::ErrorRate { .. } => true,
                CheckKind::Latency { .. } => self.recent.is_sustained(share),
            };
        self.test.absorb(bad, total - bad, lasting);
        self.all.add(counted);
    }

    /// A ready pod that is not scraped makes the answer partial: it may be the one that fails.
    fn unseen(&self, measure: &Measure, now: &Snapshot, at: Timestamp) -> Option<Fault> {
        let patience = 2.0 * now.scrape_interval;
        let unseen: Vec<&PodSeen> = measure
            .pods
            .iter()
            .filter(|pod| {
                pod.ready_since
                    .is_some_and(|r| at.duration_since(r).as_secs_f64() > patience)
            })
            .filter(|pod| !self.is_seen(&pod.name, now, patience))
            .collect();
        let first = unseen.first()?;
        let others = match unseen.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(fault(
            Reason::PartialData,
            format!(
                "pod {}{others} is ready, but was not scraped for more than two scrape \
                 intervals: check that the metric source scrapes it, and that its series name the \
                 pod in the label podLabel and the namespace in the source's namespaceLabel",
                first.name
            ),
        ))
    }

    /// Seen: a target of the pod was scraped lately; if it has counted requests before, one of
    /// those that did (a sidecar's metrics do not stand in for the application's).
    fn is_seen(&self, pod: &str, now: &Snapshot, patience: f64) -> bool {
        let lately = |last: f64| now.clock - last <= patience;
        let mut fresh = now
            .scraped
            .iter()
            .filter(|s| *s.target.pod == *pod && lately(s.last));
        let counted: Vec<_> = self.ledger.targets_of(pod).collect();
        fresh.any(|s| counted.is_empty() || counted.contains(&&s.target))
    }
}

/// The highest share that is likely where so many of all were bad: two standard errors above what was
/// seen (Wilson's score, 1927).
fn highest_likely(bad: f64, total: f64) -> f64 {
    const ERRORS: f64 = 2.0;
    let square = ERRORS * ERRORS;
    let seen = bad / total;
    let spread = (seen * (1.0 - seen) / total + square / (4.0 * total * total)).max(0.0);
    (seen + square / (2.0 * total) + ERRORS * spread.sqrt()) / (1.0 + square / total)
}

/// Why a moment's figures are not to be counted at all.
fn untrustworthy(now: &Snapshot) -> Option<Fault> {
    if now.warned {
        return Some(fault(
            Reason::PartialData,
            "the metric source warned that its answer is incomplete",
        ));
    }
    if !now.counted.iter().all(|c| c.counters.are_counts()) {
        return Some(fault(
            Reason::NotANumber,
            "the answer has values that are no counts (NaN, infinite, negative, or a histogram \
             without its +Inf bucket)",
        ));
    }
    now.missing.map(|missing| match missing {
        Missing::StatusLabel => fault(
            Reason::NoStatusLabel,
            "requests are counted without the label that tells errors: name it in \
             metric.statusLabel",
        ),
        Missing::Buckets => fault(
            Reason::NoBuckets,
            "requests are counted under the name in metric.histogram, but without buckets, so \
             that nobody knows how long they took: switch the histogram on in the application \
             (Spring: management.metrics.distribution.percentiles-histogram.http.server.requests=true), \
             or name another metric",
        ),
        Missing::Failures => fault(
            Reason::NoFailedCounter,
            "requests are counted, but nothing in the namespace has the counter in \
             metric.failedCounter: correct its name, or let the application show it at 0 from its \
             start",
        ),
    })
}

fn fault(reason: Reason, message: impl Into<String>) -> Fault {
    Fault {
        reason,
        message: message.into(),
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "before_tests.rs"]
mod before_tests;
