//! `metric` of a check, and of a metric source: under which names requests are counted. What
//! becomes of them is in [`crate::evidence`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A metric's name as a pattern, and a label's; [`crate::evidence`] reads them in the same way.
const METRIC_NAME: &str = "^[a-zA-Z_:][a-zA-Z0-9_:]*$";
const LABEL_NAME: &str = "^[a-zA-Z_][a-zA-Z0-9_]*$";

/// A well-known set of metric and label names.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum BuiltIn {
    /// `http_requests_total` with the label `status` or `code`;
    /// `http_request_duration_seconds`.
    #[default]
    Prometheus,
    /// `http_server_request_duration_seconds` with `http_response_status_code`, as
    /// OpenTelemetry's HTTP conventions are written for Prometheus; `error_type` marks requests
    /// that got no status.
    Opentelemetry,
}

/// Unit in which a histogram's bounds are given.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum TimeUnit {
    /// Seconds, as Prometheus advises.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Metric and label names, as far as they differ from the convention they are based on.
/// The same block is used for a metric source and, narrower, for one check. The label that
/// holds the namespace is not among them: only the administrator says what keeps namespaces
/// apart.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Convention {
    /// The built-in convention the rest differs from. Default: the metric source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convention: Option<BuiltIn>,
    /// Counter of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 200),
        regex(pattern = METRIC_NAME)
    )]
    pub counter: Option<String>,
    /// Label of the counter that holds the status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 100),
        regex(pattern = LABEL_NAME)
    )]
    pub status_label: Option<String>,
    /// Regular expression (RE2, anchored) of the status values that are errors. Default: `5..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub error_values: Option<String>,
    /// Histogram of request durations, without `_bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 200),
        regex(pattern = METRIC_NAME)
    )]
    pub histogram: Option<String>,
    /// Unit of the histogram's bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<TimeUnit>,
    /// Label that holds the name of the pod. Default: `pod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 100),
        regex(pattern = LABEL_NAME)
    )]
    pub pod_label: Option<String>,
}
