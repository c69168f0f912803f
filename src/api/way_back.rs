//! `Rollout.status.undo`: what an undo would do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an undo would do now. Apart from releases it has only the revisions and the floor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WayBack {
    /// Since when it is so.
    pub at: Time,
    /// The revision that would go.
    pub from: String,
    /// The revision that would come back; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Pods of `to` that would be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<i32>,
    /// Pods of `from` that would be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops: Option<i32>,
    /// Estimated seconds to start these pods, from the start times of running pods. Absent if no pod
    /// must start or no start time is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about_seconds: Option<i64>,
    /// The highest schema version that was applied to the database: an undo leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expanded: Option<i64>,
    /// The undo floor of the database: no revision of a lower schema version can come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<i64>,
    /// What stands in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub obstacles: Vec<String>,
}
