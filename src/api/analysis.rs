//! `spec.analysis`: what is measured at every step, and what a failed check does.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Convention, name::DNS_LABEL};

/// Measurements of the new revision, and their limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// Name of a metric source that the operator's administrator configured.
    #[serde(default = "default_source")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = DNS_LABEL)
    )]
    pub source: String,

    /// Seconds between two polls of the metric source.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i64,

    /// The checks. A step is passed when all of them pass.
    #[schemars(length(min = 1, max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub checks: Vec<Check>,
}

/// One measured condition with a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.errorRate) != has(self.latency)")
        .message("give a check either errorRate or latency; two conditions are two checks")
)]
pub struct Check {
    /// Name of the check, shown in status and Events.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = DNS_LABEL)
    )]
    pub name: String,

    /// Limits the share of requests that fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<ErrorRate>,

    /// Limits a percentile of the response time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,

    /// Number of requests that must be counted since the hold began before the check can pass.
    #[serde(default = "default_min_requests")]
    #[schemars(range(min = 1, max = 1000000000))]
    pub min_requests: i64,

    /// Metric and label names that differ from those of the metric source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Convention>,

    /// What happens when the check fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// A limit on the share of failed requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("double(self.maxPercent) > 0.0 && double(self.maxPercent) < 100.0")
        .message("errorRate.maxPercent must lie between 0 and 100, both excluded, e.g. \"0.5\"")
)]
pub struct ErrorRate {
    /// Maximum percentage of failed requests, as a decimal string, e.g. "0.5"; between 0 and 100,
    /// both excluded.
    #[schemars(
        length(min = 1, max = 12),
        regex(pattern = r"^[0-9]{1,3}(\.[0-9]{1,6})?$")
    )]
    pub max_percent: String,
}

/// A limit on a latency percentile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// The percentile, e.g. 95.
    #[serde(default = "default_percentile")]
    #[schemars(range(min = 1, max = 99))]
    pub percentile: i64,

    /// Maximum response time of this percentile, in milliseconds.
    #[schemars(range(min = 1, max = 3600000))]
    pub max_milliseconds: i64,

    /// Seconds after a pod has become ready in which its requests are not counted here, for
    /// processes that answer their first requests slowly. Each pod has them for itself; checks of
    /// `errorRate` count from the first. Default: 0.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    #[schemars(range(min = 0, max = 3600))]
    pub warm_up_seconds: i64,
}

/// What happens when a check fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Roll back to stable.
    #[default]
    Undo,
    /// Wait for a person.
    Pause,
}

fn default_source() -> String {
    "default".into()
}

const fn default_interval() -> i64 {
    15
}

const fn default_percentile() -> i64 {
    95
}

const fn default_min_requests() -> i64 {
    100
}
