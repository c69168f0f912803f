//! `spec.after`: other Rollouts that go first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::SERVICE_NAME;

/// Another Rollout of the namespace that goes first: a release waits for it, before its schema
/// phases and its first pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct After {
    /// Name of the Rollout.
    #[schemars(length(min = 1, max = 40), regex(pattern = SERVICE_NAME))]
    pub rollout: String,

    /// The release waits until the stable revision of that Rollout needs this schema version or a
    /// higher one. Left out: until that Rollout is Ready in the generation that it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub schema_version: Option<i64>,
}
