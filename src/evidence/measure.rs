//! What the planner asks to be measured.

use jiff::Timestamp;

use crate::api::Convention;

/// Names one measurement: the canary of one Rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace of the Rollout and of its pods.
    pub namespace: String,
    /// Name of the Rollout.
    pub rollout: String,
    /// Revision under test.
    pub revision: String,
}

/// What the planner asks to be measured for a canary. Its identity is namespace, rollout and
/// revision; everything else may change from one reconcile to the next without losing history.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// Namespace of the Rollout and of its pods; forced into every query.
    pub namespace: String,
    /// Name of the Rollout.
    pub rollout: String,
    /// Revision under test.
    pub revision: String,
    /// `<deployment>-`: every pod of the revision has it, also those that are gone.
    pub pod_prefix: String,
    /// The same of the pods that serve beside it, where routes share the requests between them.
    pub beside: Option<String>,
    /// Pods of the revision that exist now.
    pub pods: Vec<PodSeen>,
    /// Seconds between two requests of each of the kubelet's probes of a pod, as far as they are
    /// requests that the application may count.
    pub probe_seconds: Vec<i64>,
    /// When the first pod was ready: where the test starts. Never moved for one revision.
    pub since: Timestamp,
    /// Where the counts that can pass a step start; `None` while the target is not available.
    pub hold_since: Option<Timestamp>,
    /// Where something was done to the pods of which it is asked whether it hurts them: what they
    /// served before it is what they are compared with, and nothing counts between it and the hold.
    pub before: Option<Timestamp>,
    /// Name of the metric source.
    pub source: String,
    /// Seconds between two polls; values below 1 are read as 1.
    pub interval_seconds: i64,
    /// What is judged; names are unique.
    pub checks: Vec<CheckSpec>,
}

impl Measure {
    /// What names this measurement.
    pub(crate) fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            rollout: self.rollout.clone(),
            revision: self.revision.clone(),
        }
    }
}

impl Measure {
    /// The times whose counts are wanted at `at`, where the past is: all of it, or without what lies
    /// between the comparison and the hold, which may be days.
    pub(crate) fn past(&self, since: Timestamp, at: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        match (self.before, self.hold_since) {
            (Some(before), Some(hold)) if before < hold => {
                vec![(since, before.min(at)), (hold.min(at), at)]
            }
            _ => vec![(since, at)],
        }
    }

    /// Probes that a pod may have failed in the so many seconds before it was ready. The last of
    /// them succeeded, or it would not be ready.
    pub(crate) fn probes_before_ready(&self, seconds: f64) -> f64 {
        // Readiness is put on record in whole seconds.
        let failed = |period: &i64| ((seconds + 1.0) / (*period).max(1) as f64).floor();
        self.probe_seconds.iter().map(failed).sum()
    }

    /// Requests of probes and scrapes that a pod may have had in so many seconds, at the most.
    pub(crate) fn probes(&self, seconds: f64, scrape_interval: Option<f64>) -> f64 {
        let seconds = seconds.max(0.0);
        let periods = self.probe_seconds.iter().map(|s| (*s).max(1) as f64);
        // One at each end, and one that the kubelet makes out of turn.
        let within = |period: f64| seconds / period + 2.0;
        periods.chain(scrape_interval).map(within).sum()
    }
}

/// A pod of the canary as the planner sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSeen {
    /// Name of the pod.
    pub name: String,
    /// Since when it has been ready without a break; `None` when it is not ready.
    pub ready_since: Option<Timestamp>,
    /// When it was created.
    pub created: Timestamp,
}

/// One check of a Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckSpec {
    /// Its name in the Rollout.
    pub name: String,
    /// What is measured, and the limit.
    pub kind: CheckKind,
    /// Requests needed since the hold began before the check can pass; at least one is needed
    /// whatever this says, because silence never passes.
    pub min_requests: i64,
    /// Seconds after a pod has become ready in which its requests are not counted.
    pub warm_up_seconds: i64,
    /// Metric and label names that differ from those of the source;
    /// `Convention::default()` when none do.
    pub convention: Convention,
}

/// What a check measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CheckKind {
    /// The share of requests answered with an error.
    ErrorRate {
        /// Percent of all requests, 0 to 100; 0 means that one error fails the check.
        max_percent: f64,
    },
    /// A percentile of the time requests take.
    Latency {
        /// Which percentile, above 0 and below 100.
        percentile: f64,
        /// What it may be at most, in milliseconds.
        max_milliseconds: f64,
    },
}

impl CheckKind {
    /// The share of requests that may be bad, between 0 and 1: wrong for an error rate, slower
    /// than the limit for a latency ("p95 below 200 ms" is "at most 5% slower than 200 ms").
    pub(crate) fn share(&self) -> f64 {
        let share = match self {
            Self::ErrorRate { max_percent } => max_percent / 100.0,
            Self::Latency { percentile, .. } => (100.0 - percentile) / 100.0,
        };
        // A limit that is not a number forbids everything: it must not let anything pass.
        if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0)
        }
    }
}
