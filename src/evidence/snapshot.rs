//! The raw counters of one moment, as a metric source has them.

use std::sync::Arc;

use jiff::Timestamp;

use super::{CheckSpec, Reason};

/// One scraped process: a pod, and which of its ports or containers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Name of the pod; shared, as each moment of a history has it.
    pub pod: Arc<str>,
    /// The source's `instance` label; empty when it has none.
    pub instance: Arc<str>,
}

/// What a metric source knows about one check's pods at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The source's own clock at that moment, Unix seconds. Ages are judged by it, so that a
    /// difference between its clock and ours does no harm.
    pub clock: f64,
    /// Seconds between two scrapes of a pod.
    pub scrape_interval: f64,
    /// Targets that are up, and when each was last scraped.
    pub scraped: Vec<Scraped>,
    /// Targets with request series.
    pub counted: Vec<Counted>,
    /// All requests of each target that serves beside the revision, where they are asked for.
    pub beside: Option<Vec<(Target, f64)>>,
    /// What the check needs beside the requests that are counted.
    pub missing: Option<Missing>,
    /// Matchers say which requests are counted.
    pub filtered: bool,
    /// Requests are counted, and the matchers let none of their series through.
    pub unmatched: bool,
    /// There are native histograms, which are not read.
    pub native: bool,
    /// The source warned that its answer is not whole.
    pub warned: bool,
}

/// What is not there, though requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The label that tells the wrong ones: no series has it.
    StatusLabel,
    /// Buckets: they are counted under the histogram's name without any.
    Buckets,
    /// The counter of failures: nobody in the namespace has it.
    Failures,
}

impl Snapshot {
    fn knows_pods(&self) -> bool {
        !self.scraped.is_empty() || !self.counted.is_empty()
    }
}

/// A target that is up.
#[derive(Clone, Debug, PartialEq)]
pub struct Scraped {
    /// Which.
    pub target: Target,
    /// Time of its latest scrape by the source's clock, Unix seconds.
    pub last: f64,
}

/// A target's request counters.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Which.
    pub target: Target,
    /// Its counters since its process started.
    pub counters: Counters,
}

/// Raw counters: they rise, and start at zero with the process.
#[derive(Clone, Debug, PartialEq)]
pub enum Counters {
    /// For an error rate.
    Requests {
        /// Requests answered with an error.
        bad: f64,
        /// All requests.
        total: f64,
    },
    /// For a latency: the buckets, in any order; the one at infinity counts all requests.
    Histogram(Vec<Bucket>),
}

/// Requests that took at most `le`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Upper bound in milliseconds, infinite for the last.
    pub le: f64,
    /// Requests up to that bound.
    pub count: f64,
}

impl Counters {
    /// All requests, where they are counted.
    pub(crate) fn total(&self) -> Option<f64> {
        match self {
            Self::Requests { total, .. } => Some(*total),
            Self::Histogram(buckets) => {
                let mut buckets = buckets.iter();
                buckets.find(|b| b.le == f64::INFINITY).map(|b| b.count)
            }
        }
    }

    /// Whether every figure is one that a counter can have, and all requests are counted.
    pub(crate) fn are_counts(&self) -> bool {
        let count = |v: f64| v.is_finite() && v >= 0.0;
        match self {
            Self::Requests { bad, total } => count(*bad) && count(*total),
            Self::Histogram(buckets) => {
                buckets.iter().all(|b| !b.le.is_nan() && count(b.count))
                    && buckets.iter().any(|b| b.le == f64::INFINITY)
            }
        }
    }
}

/// Why a check could not be measured at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The fixed reason.
    pub reason: Reason,
    /// One line for people, without a word of what the source answered.
    pub message: String,
}

/// One check's part of a poll.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Earlier moments, when the history was asked for, in order of time.
    pub history: Vec<(Timestamp, Snapshot)>,
    /// The moment of the poll.
    pub now: Snapshot,
}

/// What became of one check's part of a poll, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PollResult {
    /// The source knows its pods.
    Data,
    /// The source knows none of its pods.
    Empty,
    /// The source warned that its answer is not whole.
    Partial,
    /// No answer, or none that can be used.
    Failed,
}

impl PollResult {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Data, Self::Empty, Self::Partial, Self::Failed];

    /// `None` where no source was asked: the Rollout names none that it may use, or no metric
    /// that can be.
    pub(crate) fn of(outcome: &Result<Answered, Fault>) -> Option<Self> {
        Some(match outcome {
            Ok(answered) if answered.now.warned => Self::Partial,
            Ok(answered) if answered.now.knows_pods() => Self::Data,
            Ok(_) => Self::Empty,
            Err(fault) => match fault.reason {
                Reason::SourceUnknown | Reason::SourceForbidden | Reason::BadConvention => {
                    return None;
                }
                _ => Self::Failed,
            },
        })
    }
}

/// The outcome of one poll: for each check that was asked about, in any order.
pub type Answer = Vec<(CheckSpec, Result<Answered, Fault>)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_by_what_it_tells_of_the_pods() {
        let scraped = Scraped {
            target: Target {
                pod: "shop-r1-x".into(),
                instance: "".into(),
            },
            last: 0.0,
        };
        let answered = |now: Snapshot| {
            let history = Vec::new();
            PollResult::of(&Ok(Answered { history, now }))
        };
        let failed = |reason| {
            let message = String::new();
            PollResult::of(&Err(Fault { reason, message }))
        };
        let silent = Snapshot {
            scraped: vec![scraped],
            ..Snapshot::default()
        };
        let warned = Snapshot {
            warned: true,
            ..silent.clone()
        };
        assert_eq!(answered(silent), Some(PollResult::Data));
        assert_eq!(answered(Snapshot::default()), Some(PollResult::Empty));
        assert_eq!(answered(warned), Some(PollResult::Partial));
        assert_eq!(failed(Reason::Unreachable), Some(PollResult::Failed));
        assert_eq!(failed(Reason::TimedOut), Some(PollResult::Failed));
        assert_eq!(failed(Reason::SourceForbidden), None);
    }
}
