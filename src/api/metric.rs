//! `metric` of a check, and of a metric source: under which names requests are counted. What
//! becomes of them is in [`crate::evidence`].

use kube::KubeSchema;
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
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.namespaceLabel)")
        .message("namespaceLabel cannot be set here: it keeps namespaces apart, so the administrator sets it in the metric source; leave it out"),
    validation = Rule::new("!has(self.errorValues) || !has(self.successValues)")
        .message("give either errorValues or successValues"),
    validation = Rule::new("!has(self.failedCounter) || !(has(self.statusLabel) || has(self.errorValues) || has(self.successValues))")
        .message("failedCounter already counts the failed requests: leave out statusLabel, errorValues and successValues"),
    validation = Rule::new("!has(self.counter) || !self.counter.endsWith('_bucket')")
        .message("counter must count each request once: write the counter of all requests, such as the histogram's name with _count"),
    validation = Rule::new("!has(self.histogram) || !self.histogram.endsWith('_bucket')")
        .message("histogram must be written without _bucket"),
    // A pattern that RE2 cannot read is an error of the rule itself, whatever it is compared with.
    validation = Rule::new("!has(self.errorValues) || ''.matches(self.errorValues) || !''.matches(self.errorValues)")
        .message("errorValues must be a regular expression in RE2's syntax, which has no look-ahead: for \"all but OK\" write successValues: OK"),
    validation = Rule::new("!has(self.successValues) || ''.matches(self.successValues) || !''.matches(self.successValues)")
        .message("successValues must be a regular expression in RE2's syntax"),
)]
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
    /// Regular expression (RE2, anchored) of the status values that are no errors, instead of
    /// `errorValues`: every other value is an error then, e.g. `OK|NotFound`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub success_values: Option<String>,
    /// Counter of the requests that failed, where they are counted apart instead of by a label.
    /// `counter` counts all of them, those that failed too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 200),
        regex(pattern = METRIC_NAME)
    )]
    pub failed_counter: Option<String>,
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
    /// Which of the metric's series are counted; all of these must hold. Those of the metric
    /// source and those of the check add up. Use them to leave out what is no user's request:
    /// probes, scrapes, outbound calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["label".into()]))]
    pub matchers: Vec<Matcher>,
    /// Cannot be set in a Rollout: the administrator says in the metric source which label holds
    /// the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub namespace_label: Option<String>,
}

/// A condition on one label: exactly one of the fields beside `label`. A series without the label
/// has it with an empty value.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.equals), has(self.__in__), has(self.notIn), has(self.matches), has(self.notMatches)].exists_one(given, given)")
        .message("give a matcher exactly one of equals, in, notIn, matches and notMatches"),
    validation = Rule::new("!has(self.matches) || ''.matches(self.matches) || !''.matches(self.matches)")
        .message("matches must be a regular expression in RE2's syntax"),
    validation = Rule::new("!has(self.notMatches) || ''.matches(self.notMatches) || !''.matches(self.notMatches)")
        .message("notMatches must be a regular expression in RE2's syntax"),
)]
pub struct Matcher {
    /// Name of the label.
    #[schemars(
        length(min = 1, max = 100),
        regex(pattern = LABEL_NAME)
    )]
    pub label: String,
    /// The value that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub equals: Option<String>,
    /// The values of which it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 200)))]
    pub r#in: Option<Vec<String>>,
    /// The values of which it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 200)))]
    pub not_in: Option<Vec<String>>,
    /// A regular expression (RE2, anchored) that its value matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub matches: Option<String>,
    /// A regular expression (RE2, anchored) that its value does not match, e.g. `/actuator/.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub not_matches: Option<String>,
}
