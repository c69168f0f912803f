//! `spec.adopt`: a running Deployment that is moved in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::OBJECT_NAME;

/// A Deployment of the namespace that runs already. Nothing of it is written but its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adopt {
    /// Name of the Deployment.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub deployment: String,
}

/// The Deployment that was adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptedStatus {
    /// Its name.
    pub deployment: String,
    /// Its uid: another Deployment of that name is not the one that was adopted.
    pub uid: String,
    /// The replicas that it had when it was adopted.
    pub replicas: i32,
    /// Generation of the Deployment at which Stepgate last accepted its replicas. What somebody else
    /// writes later is not overwritten.
    pub generation: i64,
}
