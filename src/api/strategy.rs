//! `spec.strategy`: the steps a release takes, and the bounds it keeps on the way.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::DNS_LABEL;

/// How a new revision replaces the stable one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Maximum number of pods above `spec.replicas` during a release: a number, or a percentage
    /// rounded up.
    #[serde(default = "quarter")]
    #[schemars(schema_with = "super::crd::count_or_percent")]
    pub max_surge: IntOrString,

    /// Maximum number of pods below `spec.replicas` that may be unavailable during a release: a
    /// number, or a percentage rounded down. If both bounds round to 0, one surge pod is used.
    #[serde(default = "quarter")]
    #[schemars(schema_with = "super::crd::count_or_percent")]
    pub max_unavailable: IntOrString,

    /// Seconds without progress at a step after which the release is undone. Only time in which the
    /// target is not reached counts, from the last batch of pods that became available. It starts
    /// again at 0 after the target was held for this many seconds. Pods that appear and disappear
    /// are not progress.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 1, max = 604800))]
    pub progress_deadline_seconds: i64,

    /// Former stable revisions to which a return skips the steps.
    #[serde(default)]
    pub rollback_window: RollbackWindow,

    /// What happens to a release whose pods run when the spec asks for a newer revision.
    #[serde(default)]
    pub on_new_revision: OnNewRevision,

    /// The steps of a canary release. Default: one pod for 300 s, 25% for 600 s, 100% for 900 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// What a newer revision does to a release whose pods run. While `spec.paused` is true, it does
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNewRevision {
    /// The running release is withdrawn at once, also at its last step, and the newer one begins at
    /// the first step.
    #[default]
    Replace,
    /// The running release ends first, unless it fails; then the newest revision begins. Revisions
    /// in between are skipped. A first deployment is replaced all the same.
    Finish,
}

/// How far back a return to a former stable revision skips the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackWindow {
    /// Number of former stable revisions, counted from the latest.
    #[serde(default = "default_window")]
    #[schemars(range(min = 0, max = 100))]
    pub revisions: i64,
}

/// The steps of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// Target states in ascending order. The last must be 100%.
    #[serde(default = "default_steps")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self[size(self) - 1].replicas == '100%'")
            .message("the last step must have replicas: \"100%\": add one, so that the release ends whole"),
        // The API server reckons with strings of any length here, so no rule may turn them into
        // numbers: "5%" and "25%" are ordered by length, then as text.
        validation = Rule::new("self.filter(s, type(s.replicas) == string).map(s, size(s.replicas)).isSorted() && [2, 3].all(l, self.filter(s, type(s.replicas) == string && size(s.replicas) == l).map(s, s.replicas).isSorted())")
            .message("steps must rise: order the percentages from small to large"),
        validation = Rule::new("self.filter(s, type(s.replicas) == int).map(s, int(s.replicas)).isSorted()")
            .message("steps must rise: order the pod counts from small to large"),
    )]
    pub steps: Vec<Step>,
}

/// A target state: how many pods run the new revision, and how long that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the step, shown in status and used in commands.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = DNS_LABEL)
    )]
    pub name: String,

    /// Pods of the new revision: a number (at least 1), or a percentage of `spec.replicas` rounded
    /// up. Below 100%, at least one pod of each revision runs.
    #[schemars(schema_with = "super::crd::step_replicas")]
    pub replicas: IntOrString,

    /// Seconds for which the target must be reached before the step can be passed.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2592000))]
    pub hold_seconds: i64,

    /// Seconds after the hold within which every check must have a verdict, and no container of the
    /// revision may have ended recently.
    #[serde(default = "default_step_deadline")]
    #[schemars(range(min = 1, max = 2592000))]
    pub deadline_seconds: i64,

    /// What happens at that deadline if a check is still inconclusive.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
}

/// What happens if a step's checks have no verdict in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInconclusive {
    /// Wait for a person.
    #[default]
    Pause,
    /// Roll back to stable.
    Undo,
    /// Continue without a verdict.
    Proceed,
}

fn quarter() -> IntOrString {
    IntOrString::String("25%".into())
}

const fn default_progress_deadline() -> i64 {
    600
}

const fn default_window() -> i64 {
    3
}

const fn default_step_deadline() -> i64 {
    3600
}

fn default_steps() -> Vec<Step> {
    let step = |name: &str, replicas: IntOrString, hold_seconds| Step {
        name: name.into(),
        replicas,
        hold_seconds,
        deadline_seconds: default_step_deadline(),
        on_inconclusive: OnInconclusive::default(),
    };
    vec![
        step("canary", IntOrString::Int(1), 300),
        step("quarter", quarter(), 600),
        step("full", IntOrString::String("100%".into()), 900),
    ]
}

impl Default for RollbackWindow {
    fn default() -> Self {
        Self {
            revisions: default_window(),
        }
    }
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            steps: default_steps(),
        }
    }
}

impl Strategy {
    /// The steps of its canary, written out, to be changed.
    pub(crate) fn steps_mut(&mut self) -> &mut Vec<Step> {
        &mut self.canary.get_or_insert_default().steps
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            max_surge: quarter(),
            max_unavailable: quarter(),
            progress_deadline_seconds: default_progress_deadline(),
            rollback_window: RollbackWindow::default(),
            on_new_revision: OnNewRevision::default(),
            canary: None,
        }
    }
}
