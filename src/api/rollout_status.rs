//! `Rollout.status`: the authority for where a rollout stands, and what people read.

use super::{
    AdoptedStatus,
    flags::FlagStatus,
    release::Release,
    status::{CheckStatus, CommandStatus, Ended, RevisionStatus, SchemaStatus, Summary},
    traffic::TrafficStatus,
    way_back::WayBack,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// The `metadata.generation` that this status is about; −1 until the operator has seen the
    /// object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`, `Reconciling` and `Stalled`, as kstatus reads them; `Available`, `SchemaReady`,
    /// `UndoPossible`, and `FlagsReady` where there are flags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), schema_with = "super::crd::conditions")]
    pub conditions: Vec<Condition>,

    /// The label selector of the pods that users reach, as a string; autoscalers read it. With
    /// `type: BlueGreen` that is one revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Number of pods that `selector` selects.
    pub replicas: i32,
    /// Number of available pods that `selector` selects.
    pub available_replicas: i32,

    /// The last revision that passed its bake at 100%. It serves users during the next release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,
    /// The revision that is being released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<RevisionStatus>,

    /// The release in progress, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,

    /// The Deployment that was moved in, or is being moved in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<AdoptedStatus>,
    /// What an undo would do now. It is brought up to date together with the rest of the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<WayBack>,

    /// What the Services of `spec.traffic` select.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficStatus>,

    /// Where the flags of `spec.flags` stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub flags: Vec<FlagStatus>,

    /// Result of the last poll of each check, as of the last change of a verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,

    /// The last schema phase of this Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaStatus>,

    /// Jobs after the release that a person has retried, by schema version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub version_jobs: Vec<VersionJobs>,

    /// Past releases, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Ended>,

    /// The last commands and their results, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandStatus>,

    /// When a `pause` command paused the rollout; absent while none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Time>,

    /// Short texts for the columns of `kubectl get`.
    pub summary: Summary,
}

/// The Jobs that run after the release of a schema version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionJobs {
    /// The version.
    pub version: i64,
    /// Jobs that are past their first attempt, or for which a person accepted something.
    #[schemars(length(max = 16))]
    pub jobs: Vec<super::release::JobStatus>,
    /// When a person asked for a new measurement of stable around the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_from: Option<Time>,
}

impl VersionJobs {
    /// Of a version of which nothing is to be said yet.
    #[must_use]
    pub(crate) const fn of(version: i64) -> Self {
        Self {
            version,
            jobs: Vec::new(),
            measured_from: None,
        }
    }
}
