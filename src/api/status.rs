//! `Rollout.status`: the authority for where a rollout stands, and what people read.

use super::{flags::FlagStatus, release::Release, traffic::TrafficStatus, way_back::WayBack};
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

    /// The Jobs that run after the release of a schema version, as far as people said something of
    /// them, by version.
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

/// A revision and its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// The revision's hash.
    pub revision: String,
    /// Number of requested pods.
    #[serde(default)]
    pub replicas: i32,
    /// Number of available pods.
    #[serde(default)]
    pub available: i32,
    /// Schema version that it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
}

/// A sum of seconds that can be interrupted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Stopwatch {
    /// Seconds before the current run.
    #[serde(skip_serializing_if = "is_zero")]
    pub seconds: i64,
    /// Start of the current run; absent while stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// How a revision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// It passed its bake at 100%.
    Stable,
    /// A check, a deadline, its expand or a person's `undo` ended it.
    Failed,
    /// The spec asked for another revision first.
    Withdrawn,
}

/// A past release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The revision.
    pub revision: String,
    /// How it ended.
    pub outcome: Outcome,
    /// One CamelCase word.
    pub reason: String,
    /// For people, with the figures that decided.
    pub message: String,
    /// When its release began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// The highest attempt of this release and its Jobs.
    #[serde(default = "one")]
    pub attempt: i64,
}

/// The last result of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// The check's name.
    pub name: String,
    /// `Pass`, `Fail` or `Inconclusive`.
    pub verdict: String,
    /// One CamelCase word.
    pub reason: String,
    /// The measured value with its unit, e.g. "0.21%" or "93ms".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The limit with its unit.
    pub limit: String,
    /// Number of bad requests since the revision's first pod was ready.
    pub bad: i64,
    /// Number of all requests since then.
    pub total: i64,
    /// The figures that decided.
    pub message: String,
}

/// The last schema phase of a Rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaStatus {
    /// The database.
    pub database: String,
    /// Schema version of the revision it ran for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Which phase.
    pub phase: super::PhaseKind,
    /// Its revision.
    pub revision: String,
    /// Its attempt.
    pub attempt: i64,
    /// `Waiting`, `Running`, `Succeeded` or `Failed`.
    pub state: String,
    /// The Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// A message; after a failure it has the end of the Job's log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How far the batches of a backfill are, as its own runner says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
}

/// How far the batches of a backfill are. Read every ten seconds, recorded each minute and at each
/// quarter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressStatus {
    /// Which batch of the spec runs.
    pub batch: String,
    /// Its number, from 1.
    pub number: i64,
    /// How many batches there are.
    pub of: i64,
    /// Rows that are filled in.
    pub rows_done: i64,
    /// About how many rows there are to fill in: they were counted when the batch began, and more
    /// may come.
    pub rows_total: i64,
    /// Rows of the last half minute, for each second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<i64>,
    /// About how long this batch still takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,
    /// Why nothing moves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub paused: String,
    /// When the runner said it.
    pub at: Time,
}

/// The Jobs that run after the release of a schema version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionJobs {
    /// The version.
    pub version: i64,
    /// Those of which more is to be said than that they are at their first attempt.
    #[schemars(length(max = 16))]
    pub jobs: Vec<super::release::JobStatus>,
    /// When a person asked that stable be measured anew around its contract.
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

/// A command and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandStatus {
    /// `promote`, `undo`, `retry`, `pause` or `resume`.
    pub command: String,
    /// Id of the request.
    pub id: String,
    /// `Done` or `Ignored`.
    pub result: String,
    /// What the command did, or why it was ignored.
    pub message: String,
}

/// Short texts for the columns of `kubectl get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// e.g. `canary 1/3`, `expand`, `undo`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// Share of pods that run the canary, e.g. `2/8`; with the weight of its requests, e.g. `2/8 25%`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub share: String,
    /// e.g. `error-rate Pass 0.1%`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub checks: String,
    /// e.g. `shop-db v7 expanded`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// How far the backfill is, e.g. `names 41% of about 2000000 rows, 12 min left`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backfill: String,
    /// What paused it: the command or the spec.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub paused: String,
}

pub(super) const fn one() -> i64 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(value: &i64) -> bool {
    *value == 0
}
