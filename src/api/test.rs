//! `tests` of a step: commands that must succeed before its hold begins.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    OnFailure,
    name::DNS_LABEL,
    schema::{is_yes, yes},
};

/// A command that runs to completion in a Job of its own, once in a release: when the step's target
/// is reached and before its hold begins, or after the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.command) != has(self.template)")
        .message("give a test either a command (run with the revision's own image) or a template (a pod template of its own), not both and not none")
)]
pub struct StepTest {
    /// Name of the test, unique in its step.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = DNS_LABEL)
    )]
    pub name: String,

    /// When it runs. `Release` is for the last step of a canary, and for `rolling.tests` and
    /// `blueGreen.tests`.
    #[serde(default)]
    pub after: TestAfter,

    /// Command and arguments. They run in the revision's own pod spec, without probes, ports,
    /// lifecycle and labels. `STEPGATE_ROLLOUT`, `STEPGATE_REVISION` and `STEPGATE_STEP` are in the
    /// environment; with `spec.traffic` also `STEPGATE_STABLE_SERVICE` and `STEPGATE_CANARY_SERVICE`,
    /// the names of the two Services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,

    /// Container of the pod template whose image and environment are used for a `command`. Left
    /// out: the first container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,

    /// A separate pod template. Its labels must not match the Rollout's selector. The environment
    /// of its containers has what that of a command has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::crd::pod_template")]
    pub template: Option<Value>,

    /// Maximum number of seconds that the test may run; after that it has failed.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 1, max = 86400))]
    pub deadline_seconds: i64,

    /// What happens when the test fails.
    #[serde(default)]
    pub on_failure: OnFailure,

    /// Whether the end of a failed test's log is repeated in the status and the Events of the
    /// Rollout, which more people may read than logs. What looks like a credential is always left
    /// out of it. Default: true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub show_log: bool,
}

/// When a test runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TestAfter {
    /// When the target of its step is reached, before the hold begins; in a rolling release that of
    /// the first batch, in a blue-green one that of the preview, before any user.
    #[default]
    Target,
    /// Once in a release, when every user has the new revision: after the last step's hold and
    /// checks; in a blue-green release right after the switch. The revision is stable when it has
    /// succeeded, and not before.
    Release,
}

const fn default_deadline() -> i64 {
    300
}
