//! `spec.schema`: what a revision needs of its database, and the phases that bring it there.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::DNS_LABEL;

/// The database of a workload, and the commands that change its schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.version) || !(has(self.backfill) || has(self.contract))")
        .message("schema.version is needed with schema.backfill or schema.contract: give this schema change a number higher than the last one's")
)]
pub struct SchemaSpec {
    /// Name of the database. Rollouts in a namespace that name the same database share one
    /// DatabaseSchema: at most one schema phase runs on it at a time.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = DNS_LABEL)
    )]
    pub database: String,

    /// Schema version that the pods of this template need. Raise it with every schema change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9007199254740991_i64))]
    pub version: Option<i64>,

    /// Container of the pod template whose image and environment are used for a `command`.
    /// Default: the first container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,

    /// Whether the end of a failed Job's log is repeated in the status and the Events of the
    /// Rollout, which more people may read than logs. What looks like a credential is always left
    /// out of it. Default: true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub show_log: bool,

    /// Adds what the new revision needs, without breaking the old one. Runs before the first pod of
    /// the revision is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Phase>,

    /// Fills in what `expand` added. Runs after the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Phase>,

    /// Removes what no running revision needs. Runs last, when its gate is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Phase>,
}

impl SchemaSpec {
    /// What the spec asks this phase to run, if it asks for it.
    #[must_use]
    pub const fn phase(&self, kind: PhaseKind) -> Option<&Phase> {
        match kind {
            PhaseKind::Expand => self.expand.as_ref(),
            PhaseKind::Backfill => self.backfill.as_ref(),
            PhaseKind::Contract => self.contract.as_ref(),
        }
    }

    /// The pod template of its own that this phase has, if it has one.
    pub(crate) const fn template_mut(&mut self, kind: PhaseKind) -> Option<&mut Value> {
        let phase = match kind {
            PhaseKind::Expand => &mut self.expand,
            PhaseKind::Backfill => &mut self.backfill,
            PhaseKind::Contract => &mut self.contract,
        };
        match phase {
            Some(phase) => phase.template.as_mut(),
            None => None,
        }
    }
}

/// One schema phase: a command that runs to completion in a Job. It must be re-runnable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.command) != has(self.template)")
        .message("give a phase either a command (run with the revision's own image) or a template (a pod template of its own), not both and not none")
)]
pub struct Phase {
    /// Command and arguments. They run in the revision's own pod spec, without probes, ports,
    /// lifecycle and labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,

    /// A separate pod template. Its labels must not match the Rollout's selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::crd::pod_template")]
    pub template: Option<Value>,

    /// Maximum number of seconds that a phase may run; after that it has failed.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 1, max = 604800))]
    pub deadline_seconds: i64,

    /// How often a command that exits with 75 is run again, within `deadlineSeconds` and with
    /// growing pauses from ten seconds. A command must exit with 75 only when it has applied
    /// nothing, for example because the database does not answer yet; such an end never leaves the
    /// database dirty. Any other failure ends the phase at once. Default: 0.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    #[schemars(range(min = 0, max = 20))]
    pub retry_limit: i64,
}

const fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_yes(b: &bool) -> bool {
    *b
}

const fn default_deadline() -> i64 {
    3600
}

/// Which of the schema phases.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum PhaseKind {
    /// Adds to the schema, before the release.
    Expand,
    /// Fills in data, after the release.
    Backfill,
    /// Removes from the schema, last.
    Contract,
}

impl PhaseKind {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Expand, Self::Backfill, Self::Contract];

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
