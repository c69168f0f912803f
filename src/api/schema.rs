//! `spec.schema`: what a revision needs of its database, and the phases that bring it there.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::DNS_LABEL;

/// The database a workload uses, and how its schema is brought to the version the pods need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.version) || !(has(self.backfill) || has(self.contract))")
        .message("schema.version is needed with schema.backfill or schema.contract: give this schema change a number higher than the last one's")
)]
pub struct SchemaSpec {
    /// Name of the database. Rollouts of a namespace that name the same database share one
    /// DatabaseSchema, and at most one schema phase runs on it at a time.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = DNS_LABEL)
    )]
    pub database: String,

    /// Schema version the pods of this template need: an integer raised with every schema change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9007199254740991_i64))]
    pub version: Option<i64>,

    /// Container of the pod template whose image and environment a `command` runs with.
    /// Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,

    /// Adds what the new revision needs and breaks nothing for the old one. Runs before the first
    /// pod of the revision exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Phase>,

    /// Fills what `expand` added. Runs after the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Phase>,

    /// Removes what no running revision needs any more. Runs last, behind a gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Phase>,
}

/// One schema phase: a command that runs to completion in a Job. It must be re-runnable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.command) != has(self.template)")
        .message("give a phase either a command (run with the revision's own image) or a template (a pod template of its own), not both and not none")
)]
pub struct Phase {
    /// Command and arguments, run in the revision's own pod spec without probes, ports, lifecycle
    /// and labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,

    /// A pod template of its own. Its labels must not match the Rollout's selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::crd::pod_template")]
    pub template: Option<Value>,

    /// Seconds the phase may take before it counts as failed.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 1, max = 604800))]
    pub deadline_seconds: i64,
}

const fn default_deadline() -> i64 {
    3600
}

/// Which of the schema phases.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum PhaseKind {
    /// Additive change before the release.
    Expand,
    /// Fill after the release.
    Backfill,
    /// Removal, last.
    Contract,
}

impl PhaseKind {
    /// The word used in names and labels.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Contract => "contract",
        }
    }
}
