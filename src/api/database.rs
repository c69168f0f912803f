//! The `DatabaseSchema` resource: the memory of what ran on a database, and who holds it.
//!
//! Made by the operator, or beforehand by whoever administers the database. Its `record` is not in
//! `status`, so that a backup keeps it.

#![expect(
    clippy::duplicated_attributes,
    reason = "one attribute per printed column"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    PhaseKind,
    schema::{Approval, HolderSlot, KeptBy},
    sql::KeyRef,
};

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
        name = "Holder",
        type_ = "string",
        json_path = ".record.holder.rollout"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".record.holder.phase"),
    printcolumn(
        name = "Backfill",
        type_ = "string",
        json_path = ".record.backfillHolder.job"
    ),
    printcolumn(name = "Dirty", type_ = "string", json_path = ".record.dirty.job"),
    printcolumn(name = "Floor", type_ = "integer", json_path = ".record.undoFloor"),
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

    /// A failed phase that may have left the database inconsistent. The next phase needs a `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty: Option<Dirty>,

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
}

/// What became of one schema version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionRecord {
    /// The version.
    pub version: i64,
    /// The Rollout whose phases run for this version: the first one with a stable revision of it.
    /// Before that, the Rollout whose release failed and whose revert is to run.
    pub rollout: String,
    /// The last revision of that Rollout and this version that became stable, or that failed. Its
    /// pods are what the phases run in.
    pub revision: String,
    /// Since when a revision of it is stable; absent while none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_since: Option<Time>,
    /// The phases that are to run after the release: of a version that was never stable, the revert.
    pub asked: Vec<AskedPhase>,
    /// The last backfill that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfilled: Option<Done>,
    /// Since when every workload on the database is at the version or above. Absent while one is below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone_since: Option<Time>,
    /// The approval of the contract, or of the revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
    /// Stable as it was measured before the contract, once everything else was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_before: Option<Measured>,
    /// The same after the contract, compared with what it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_after: Option<Measured>,
    /// The contract, once it has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contracted: Option<Done>,
    /// Flags that its contract relies on, once that has begun: they stay on for everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub frozen_flags: Vec<String>,
    /// The revert, once it has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted: Option<Done>,
    /// A person cancelled the remaining phases of the version (`stepgate.io/drop`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

impl VersionRecord {
    /// What is asked of this phase, if it is asked for.
    #[must_use]
    pub(crate) fn asks(&self, phase: PhaseKind) -> Option<&AskedPhase> {
        self.asked.iter().find(|asked| asked.phase == phase)
    }

    /// A backfill is asked for, and none has succeeded.
    #[must_use]
    pub(crate) fn lacks_backfill(&self) -> bool {
        !self.dropped && self.asks(PhaseKind::Backfill).is_some() && self.backfilled.is_none()
    }

    /// The contract is asked for, and has not succeeded.
    #[must_use]
    pub(crate) fn lacks_contract(&self) -> bool {
        !self.dropped && self.asks(PhaseKind::Contract).is_some() && self.contracted.is_none()
    }

    /// A person has approved what this phase runs.
    #[must_use]
    pub(crate) fn is_approved(&self, phase: PhaseKind) -> bool {
        let asked = self.asks(phase);
        let given = self.approved.as_ref().zip(asked);
        given.is_some_and(|(given, asked)| given.digest == asked.digest)
    }

    /// The revert is asked for, and has not succeeded.
    #[must_use]
    pub(crate) fn lacks_revert(&self) -> bool {
        !self.dropped && self.asks(PhaseKind::Revert).is_some() && self.reverted.is_none()
    }

    /// The phase that a person may approve now.
    #[must_use]
    pub(crate) fn to_approve(&self) -> Option<PhaseKind> {
        if self.lacks_contract() {
            return Some(PhaseKind::Contract);
        }
        self.lacks_revert().then_some(PhaseKind::Revert)
    }

    /// Something is still to run for it.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.lacks_backfill() || self.lacks_contract() || self.lacks_revert()
    }
}

/// Stable, measured by its Rollout's checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The revision.
    pub revision: String,
    /// Since when.
    pub since: Time,
    /// Until when; absent while it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// What was found then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Found>,
    /// What the checks said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2000))]
    pub message: String,
}

impl Measured {
    /// From now on.
    #[must_use]
    pub(crate) fn begins(revision: &str, since: Time) -> Self {
        Self {
            revision: revision.to_owned(),
            since,
            until: None,
            verdict: None,
            message: String::new(),
        }
    }
}

/// What was found of stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Found {
    /// Every check has passed.
    Passed,
    /// A check has failed.
    Failed,
    /// Neither could be said.
    NoVerdict,
}

impl Found {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Passed, Self::Failed, Self::NoVerdict];
}

/// A phase that is to run for a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskedPhase {
    /// Which.
    pub phase: PhaseKind,
    /// Digest of what runs: the image as it is written and the command, or the template, or the
    /// batches and the texts of the files of SQL.
    pub digest: String,
    /// It is SQL for Stepgate's runner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sql: bool,
    /// Its files of SQL, with what they held when this was put on record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub files: Vec<FileRecord>,
    /// Of a backfill: what keeps the data filled in.
    #[serde(default)]
    pub kept_by: KeptBy,
    /// Of a contract: seconds to wait after nothing below the version is left.
    #[serde(default)]
    pub after_seconds: i64,
    /// Of a contract: flags that must be on for everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub flags: Vec<String>,
    /// Of a contract or a revert: whether a person must approve it.
    #[serde(default)]
    pub approval: Approval,
}

/// A file of SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileRecord {
    /// Where it is.
    pub config_map: KeyRef,
    /// SHA-256 of its text, in hexadecimal; empty while it cannot be read.
    #[serde(default)]
    pub sha256: String,
}

/// A phase of a version that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// Its attempt.
    pub attempt: i64,
    /// Name of the Job.
    pub job: String,
    /// When it took the database.
    pub began: Time,
    /// When it ended.
    pub ended: Time,
    /// Stepgate's own runner did it: the ledger in the database has it.
    #[serde(default)]
    pub sql: bool,
}

/// Who approved what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approved {
    /// Digest of what was approved.
    pub digest: String,
    /// Who did, as the annotation says; proven only where the shipped policy is installed.
    pub user: String,
    /// When it was put on record.
    pub at: Time,
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
    /// Which phase.
    pub phase: PhaseKind,
    /// Its attempt.
    pub attempt: i64,
    /// Name of the Job.
    pub job: String,
    /// When it failed; where its Job was gone before its end was seen, when it took the database.
    pub since: Time,
}
