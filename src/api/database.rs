//! The `DatabaseSchema` resource: the memory of what ran on a database, and who holds it.
//!
//! Made by the operator, or beforehand by whoever administers the database. Its `record` is not in
//! `status`, so that a backup keeps it.

#![expect(
    clippy::duplicated_attributes,
    reason = "one attribute per printed column"
)]

mod version;
mod waiting;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    version::{Approved, AskedPhase, Done, FileRecord, Found, Measured, VersionRecord},
    waiting::{Missing, Summary, Waiting},
};
use super::{PhaseKind, schema::HolderSlot};

/// The record of the schema phases of one database, which only the operator writes; and who may use
/// it, which its administrator says.
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
    doc = "The record of the schema phases of one database, which only the operator writes; and who may use it, which its administrator says.",
    printcolumn(
        name = "Version",
        type_ = "integer",
        json_path = ".record.summary.version"
    ),
    printcolumn(name = "Floor", type_ = "integer", json_path = ".record.undoFloor"),
    printcolumn(name = "Runs", type_ = "string", json_path = ".record.summary.runs"),
    printcolumn(name = "Dirty", type_ = "string", json_path = ".record.summary.dirty"),
    printcolumn(name = "Waits", type_ = "string", json_path = ".record.summary.waits"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct DatabaseSchemaSpec {
    /// Names of the Rollouts of the namespace that may run schema phases on the database, as its
    /// administrator says; at most 64. Left out: all may. The operator never writes it.
    #[serde(
        default,
        rename = "allowedRollouts",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 64), inner(length(min = 1, max = 40)))]
    pub allowed_rollouts: Option<Vec<String>>,

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

    /// The backfill that runs, beside whatever else does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill_holder: Option<Holder>,

    /// What became of each version that has a backfill or a contract, kept for good; and of those
    /// whose revert is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub versions: Vec<VersionRecord>,

    /// The last commands of people, and their results, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub commands: Vec<super::status::CommandStatus>,

    /// Completed and failed phases, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub phases: Vec<PhaseRecord>,

    /// Failed phases that may have left the database inconsistent: of each version and phase the last
    /// attempt that did. An entry stays until the same phase of the same version succeeds, a revert
    /// or a new expand takes back what that did, or a person confirms that it is fixed
    /// (`stepgate.io/clean`). Until then the next phase needs a `retry`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub dirty: Vec<Dirty>,

    /// What waits after a release, the lowest versions first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub waiting: Vec<Waiting>,

    /// The record in short, for the columns of `kubectl get`.
    #[serde(skip_serializing_if = "Summary::is_empty")]
    pub summary: Summary,

    /// Highest schema version that was ever stable, among Rollouts with a `revert`. Its expand is
    /// never reverted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_version: Option<i64>,

    /// The versions of the database that a person recorded with `stepgate.io/baseline` after a
    /// restore. Up to these, the runner's ledger is not compared with this record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,

    /// The highest contracted version. No return to a revision below it is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_floor: Option<i64>,
}

impl DatabaseRecord {
    /// Whoever holds the database now: a phase, and a backfill beside it.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.holder.iter().chain(&self.backfill_holder)
    }

    /// Who holds the place that a phase of this kind takes.
    #[must_use]
    pub(crate) const fn held_for(&self, phase: PhaseKind) -> Option<&Holder> {
        match phase.slot() {
            HolderSlot::Beside => self.backfill_holder.as_ref(),
            HolderSlot::Alone => self.holder.as_ref(),
        }
    }

    /// The backfill that runs, where nothing may run beside it.
    #[must_use]
    pub(crate) fn runs_alone(&self) -> Option<&Holder> {
        self.backfill_holder.as_ref().filter(|holder| {
            let version = holder.version.and_then(|version| self.version(version));
            let asked = version.and_then(|version| version.asks(holder.phase));
            asked.is_some_and(|asked| asked.exclusive)
        })
    }

    /// The same place, to be taken or let go.
    pub(crate) const fn place_of(&mut self, phase: PhaseKind) -> &mut Option<Holder> {
        match phase.slot() {
            HolderSlot::Beside => &mut self.backfill_holder,
            HolderSlot::Alone => &mut self.holder,
        }
    }

    /// What is on record of a version.
    #[must_use]
    pub(crate) fn version(&self, version: i64) -> Option<&VersionRecord> {
        self.versions.iter().find(|v| v.version == version)
    }

    /// Flags of a Rollout that contracts which have begun rely on, and whose contract it is.
    #[must_use]
    pub(crate) fn frozen_of(&self, rollout: &str) -> BTreeMap<String, i64> {
        let versions = self.versions.iter().filter(|v| v.rollout == rollout);
        let keys = |v: &VersionRecord| {
            let (version, keys) = (v.version, v.frozen_flags.clone());
            keys.into_iter().map(move |key| (key, version))
        };
        versions.flat_map(keys).collect()
    }

    /// The undo floor is lower from now on: what contracts above it relied on is not frozen any more.
    /// It never goes below a contract that has removed something, whatever it was before.
    pub(crate) fn lower_floor(&mut self, floor: Option<i64>) {
        let contracted = self.versions.iter().filter(|v| v.contracted.is_some());
        let contracted = contracted.map(|v| v.version).max();
        let phases = self.phases.iter();
        let removed = phases.filter(|p| p.phase == PhaseKind::Contract && !p.nothing_applied);
        let removed = removed.filter_map(|p| p.version).max();
        let floor = floor.max(contracted).max(removed);
        self.undo_floor = floor;
        for version in &mut self.versions {
            if Some(version.version) > floor {
                version.frozen_flags.clear();
            }
        }
    }

    /// A phase may have left the database inconsistent; what an earlier attempt of it has left is a
    /// part of that.
    pub(crate) fn leave_dirty(&mut self, dirty: Dirty) {
        self.dirty.retain(|known| !known.is_of_the_same(&dirty));
        self.dirty.push(dirty);
    }

    /// The same, to be changed.
    pub(crate) fn version_mut(&mut self, version: i64) -> Option<&mut VersionRecord> {
        self.versions.iter_mut().find(|v| v.version == version)
    }
}

/// How far a database is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// The highest version whose expand has run; 0: none.
    pub expanded: i64,
    /// The highest version whose contract has run; 0: none.
    pub contracted: i64,
    /// That contract stopped half-way, and Stepgate does not run the rest of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub half: bool,
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
    /// Of a contract: the undo floor before it, to which it goes back if the Job never runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_before: Option<i64>,
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
            undone_by: None,
            job: self.job.clone(),
            began: Some(self.since.clone()),
            ended: at,
            floor_before: self.floor_before,
            refusal: None,
            sql: false,
            message,
        }
    }

    /// That the phase that holds may have left the database inconsistent.
    #[must_use]
    pub(crate) fn left_dirty(&self, at: Time) -> Dirty {
        Dirty {
            rollout: self.rollout.clone(),
            revision: self.revision.clone(),
            version: self.version,
            phase: self.phase,
            attempt: self.attempt,
            job: self.job.clone(),
            since: at,
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
    /// It failed before it had applied anything: every run of its command exited with 75, its SQL
    /// was refused or rolled back (64, 65, 66), or no pod of it ever ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nothing_applied: bool,
    /// Name of the Job that reverted this phase, or `stepgate.io/baseline`. If it is set, the phase no
    /// longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_by: Option<String>,
    /// Name of the Job.
    pub job: String,
    /// When it took the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// When it ended.
    pub ended: Time,
    /// Of a contract: the undo floor before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_before: Option<i64>,
    /// Of SQL that was refused: why, where more follows from that than a `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<SqlRefusal>,
    /// It was Stepgate's own runner, whose ledger in the database has it too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sql: bool,
    /// A message; after a failure the Job's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Why Stepgate's own runner has refused SQL, in which nothing was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SqlRefusal {
    /// Rows that the backfill should have filled are not: a `retry` runs it once more first.
    ProofFailed,
    /// The ledger in the database disagrees with what is on record here, or with the file that is to
    /// run: a person says which of them is right.
    RecordDisagrees,
}

/// A failed phase that may have left the database inconsistent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dirty {
    /// Name of the Rollout.
    pub rollout: String,
    /// The revision.
    pub revision: String,
    /// Schema version of that revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Which phase.
    pub phase: PhaseKind,
    /// Its attempt.
    pub attempt: i64,
    /// Name of the Job.
    pub job: String,
    /// When it failed; where its Job was gone before its end was seen, when it took the database.
    pub since: Time,
}

impl Dirty {
    /// Whether both are of one phase of one version. Without versions it is that of one Rollout.
    #[must_use]
    pub(crate) fn is_of_the_same(&self, other: &Self) -> bool {
        self.phase == other.phase
            && self.version == other.version
            && (self.version.is_some() || self.rollout == other.rollout)
    }
}
