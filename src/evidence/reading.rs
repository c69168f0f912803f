//! What is said about a check, and why.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CheckSpec, Split};

/// What the counts of one check say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Enough requests since the hold began, and a share within the limit.
    Pass,
    /// The share is above the limit, beyond reasonable doubt.
    Fail,
    /// Anything else. Silence is never a pass, and never by itself a fail.
    Inconclusive,
}

/// Why a check has its verdict. A closed list, for conditions, events and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// `Pass`: enough requests, within the limit.
    Passed,
    /// `Fail`: the test reached its threshold.
    Failing,
    /// No poll has ended yet since this process began to measure.
    NotYetPolled,
    /// The hold has not begun, so nothing can pass yet.
    NotHolding,
    /// Pods are scraped, but there has been no request since the hold began.
    NoData,
    /// Requests since the hold began, but fewer than the check asks for.
    TooFewRequests,
    /// No more requests were counted than the probes and scrapes of the pods may be.
    OnlyProbes,
    /// The share since the hold began is above the limit, but the test has not failed it.
    AboveLimit,
    /// The test would have failed it, but what was served before is not known well enough to compare
    /// it with.
    NotCompared,
    /// The answer is not whole: warnings, a ready pod that is not scraped, or one that was not
    /// counted yet since the hold began.
    PartialData,
    /// The answer has values that are no counts: NaN, infinite, negative.
    NotANumber,
    /// Requests are counted, but without the label that tells the wrong ones.
    NoStatusLabel,
    /// Requests are counted, but not by duration: there are no buckets.
    NoBuckets,
    /// Requests are counted, but the counter of failures is not there.
    NoFailedCounter,
    /// The latency metric is there as a native histogram only.
    NativeHistogram,
    /// No finite bucket of the histogram reaches the limit.
    LimitAboveBuckets,
    /// The Rollout names a metric source that is not configured.
    SourceUnknown,
    /// The metric source is not open to the Rollout's namespace.
    SourceForbidden,
    /// Metric or label names of the check cannot be used.
    BadConvention,
    /// The metric source did not answer in time.
    TimedOut,
    /// The metric source could not be reached.
    Unreachable,
    /// The metric source refused the credentials.
    Unauthorized,
    /// The metric source answered with an error.
    QueryFailed,
    /// The metric source cannot read the query, for a pattern in it that the user wrote.
    BadPattern,
    /// The metric source's answer could not be read.
    BadAnswer,
    /// The metric source's answer is larger than what is read.
    AnswerTooLarge,
}

impl Reason {
    /// The reason in CamelCase, as in status and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failing => "Failing",
            Self::NotYetPolled => "NotYetPolled",
            Self::NotHolding => "NotHolding",
            Self::NoData => "NoData",
            Self::TooFewRequests => "TooFewRequests",
            Self::OnlyProbes => "OnlyProbes",
            Self::AboveLimit => "AboveLimit",
            Self::NotCompared => "NotCompared",
            Self::PartialData => "PartialData",
            Self::NotANumber => "NotANumber",
            Self::NoStatusLabel => "NoStatusLabel",
            Self::NoBuckets => "NoBuckets",
            Self::NoFailedCounter => "NoFailedCounter",
            Self::NativeHistogram => "NativeHistogram",
            Self::LimitAboveBuckets => "LimitAboveBuckets",
            Self::SourceUnknown => "SourceUnknown",
            Self::SourceForbidden => "SourceForbidden",
            Self::BadConvention => "BadConvention",
            Self::TimedOut => "TimedOut",
            Self::Unreachable => "Unreachable",
            Self::Unauthorized => "Unauthorized",
            Self::BadPattern => "BadPattern",
            Self::QueryFailed => "QueryFailed",
            Self::BadAnswer => "BadAnswer",
            Self::AnswerTooLarge => "AnswerTooLarge",
        }
    }
}

impl Reason {
    /// Whether time alone does not change it: somebody must edit the check, the application or the
    /// metric source.
    pub(crate) fn needs_a_person(self) -> bool {
        matches!(
            self,
            Self::OnlyProbes
                | Self::NoStatusLabel
                | Self::NoBuckets
                | Self::NoFailedCounter
                | Self::NativeHistogram
                | Self::LimitAboveBuckets
                | Self::SourceUnknown
                | Self::SourceForbidden
                | Self::BadConvention
                | Self::BadPattern
                | Self::Unauthorized
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Unit of a reading's value and limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    /// Percent of requests.
    Percent,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    /// The sign people know: `%` or ` ms`.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Percent => "%",
            Self::Milliseconds => " ms",
        }
    }
}

/// One check: the verdict, and the figures it rests on. No figure is ever NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Name of the check.
    pub name: String,
    /// What the counts say.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Bad requests (wrong, or slower than the limit) since the test began.
    pub bad: f64,
    /// All requests since the test began.
    pub total: f64,
    /// Bad requests since the hold began.
    pub hold_bad: f64,
    /// All requests since the hold began.
    pub hold_total: f64,
    /// What people read: the error rate, or the percentile by interpolation. Since the hold
    /// began if it saw requests, else since the test began; `None` without any request.
    pub value: Option<f64>,
    /// Unit of `value` and `limit`.
    pub unit: Unit,
    /// The limit as the user wrote it.
    pub limit: f64,
    /// The test's figure: the sum of its stakes; its highest so far once the check has failed.
    pub test: f64,
    /// Where the test fails the check: 100 × the number of checks.
    pub threshold: f64,
    /// One line for people. Never holds a word of an answer's body.
    pub message: String,
}

/// All checks of one canary, after one poll.
#[derive(Clone, Debug, PartialEq)]
pub struct Readings {
    /// Revision they are about.
    pub revision: String,
    /// Where the test started; another attempt's starts elsewhere.
    pub since: Timestamp,
    /// Name of the metric source. The spec may name another by now.
    pub source: String,
    /// What was judged. The spec may ask for something else by now.
    pub checks: Vec<CheckSpec>,
    /// The hold that `hold_bad` and `hold_total` count from.
    pub hold_since: Option<Timestamp>,
    /// When the latest poll was sent, answered or not; `None` before the first has ended.
    pub polled_at: Option<Timestamp>,
    /// Polls in which every check was answered whole, since this process began to measure.
    pub complete_polls: u64,
    /// One per check, in the order of the checks.
    pub readings: Vec<Reading>,
    /// How many of the requests the revision got since the hold began.
    pub split: Option<Split>,
}
