//! The `DatabaseSchema` resource: the memory of what ran on a database, and who holds it.
//!
//! Made by the operator only. Its `record` is not in `status`, so that a backup keeps it.

#![expect(
    clippy::duplicated_attributes,
    reason = "one attribute per printed column"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PhaseKind;

/// The record of the schema phases of one database. Only the operator writes it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "stepgate.io",
    version = "v1alpha1",
    kind = "DatabaseSchema",
    plural = "databaseschemas",
    shortname = "sdb",
    category = "stepgate",
    namespaced,
    no_spec,
    derive = "PartialEq",
    doc = "The record of the schema phases of one database. Only the operator writes it.",
    printcolumn(
        name = "Holder",
        type_ = "string",
        json_path = ".record.holder.rollout"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".record.holder.phase"),
    printcolumn(name = "Dirty", type_ = "string", json_path = ".record.dirty.job"),
    printcolumn(name = "Floor", type_ = "integer", json_path = ".record.undoFloor"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct DatabaseSchemaSpec {
    /// The phases that ran, and the current holder of the database.
    #[serde(default)]
    pub record: DatabaseRecord,
}

/// The phases that ran on a database, and its current holder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatabaseRecord {
    /// The current phase. The hold ends when its Job is terminal, the result is recorded and the
    /// Job's pods are gone; or a person removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,

    /// Completed and failed phases, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub phases: Vec<PhaseRecord>,

    /// A failed phase that may have left the database inconsistent. The next phase needs a `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty: Option<Dirty>,

    /// The highest contracted version. No return to a revision below it is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_floor: Option<i64>,
}

/// The holder of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Name of the Rollout.
    pub rollout: String,
    /// Revision that the phase runs for.
    pub revision: String,
    /// Schema version of that revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Which phase.
    pub phase: PhaseKind,
    /// Attempt, counted from 1.
    pub attempt: i64,
    /// Name of the Job.
    pub job: String,
    /// Uid of the Job, recorded while the Job is still suspended. The Job starts only after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// When the hold was taken.
    pub since: Time,
}

impl Holder {
    /// What is kept of the phase that holds, once it has ended.
    #[must_use]
    pub(crate) fn ended(&self, succeeded: bool, at: Time, message: String) -> PhaseRecord {
        PhaseRecord {
            rollout: self.rollout.clone(),
            revision: self.revision.clone(),
            version: self.version,
            phase: self.phase,
            attempt: self.attempt,
            succeeded,
            nothing_applied: false,
            job: self.job.clone(),
            ended: at,
            message,
        }
    }
}

/// A phase that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseRecord {
    /// Name of the Rollout.
    pub rollout: String,
    /// Revision that it ran for.
    pub revision: String,
    /// Schema version of that revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Which phase.
    pub phase: PhaseKind,
    /// Its attempt.
    pub attempt: i64,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// It failed before it had applied anything: every run of its command exited with 75.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nothing_applied: bool,
    /// Name of the Job.
    pub job: String,
    /// When it ended.
    pub ended: Time,
    /// A message; after a failure the Job's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A failed phase that may have left the database inconsistent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dirty {
    /// Name of the Rollout.
    pub rollout: String,
    /// The revision.
    pub revision: String,
    /// Which phase.
    pub phase: PhaseKind,
    /// Its attempt.
    pub attempt: i64,
    /// Name of the Job.
    pub job: String,
    /// When it failed.
    pub since: Time,
}
