//! What became of one schema version.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    PhaseKind,
    schema::{Approval, KeptBy},
    sql::KeyRef,
};

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
    /// Images that it runs and that are written without a digest (`@sha256:…`): their tag may lead to
    /// another image after the approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1000)))]
    pub unpinned: Vec<String>,
    /// Its files of SQL, with what they held when this was put on record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub files: Vec<FileRecord>,
    /// Of a backfill: what keeps the data filled in.
    #[serde(default)]
    pub kept_by: KeptBy,
    /// Of a backfill: nothing runs beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
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
