//! What people read of a database: what runs there, and what waits for whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::PhaseKind;

/// A phase after the release that cannot run yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// The version.
    pub version: i64,
    /// The Rollout that runs the phase.
    pub rollout: String,
    /// The phase.
    pub phase: PhaseKind,
    /// What is missing. Times are not repeated here: `status.schema.message` of the Rollout has them.
    #[schemars(length(max = 9))]
    pub missing: Vec<Missing>,
}

/// Something that a phase waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// What, with names.
    #[schemars(length(max = 500))]
    pub what: String,
    /// What a person should know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub note: Option<String>,
    /// The command by which a person gives it; left out where nobody needs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub command: Option<String>,
}

/// The record in short, for the columns of `kubectl get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The highest version whose expand has succeeded and counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The phases that hold the database, each with its version and Rollout.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 500))]
    pub runs: String,
    /// What waits, and for what.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 500))]
    pub waits: String,
    /// The phases that may have left the database inconsistent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 500))]
    pub dirty: String,
}

impl Summary {
    /// There is nothing to say.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
