//! `spec.traffic`: the Services by which users and testers reach one revision alone.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::SERVICE_NAME;

/// The Services through which users reach one revision at a time. Stepgate makes and owns
/// `stableService` and `canaryService`; their ports and session affinity are those of `portsFrom`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.stableService != self.canaryService")
        .message("traffic.stableService and traffic.canaryService must be two Services: give one of them another name"),
    validation = Rule::new("self.portsFrom.name != self.stableService && self.portsFrom.name != self.canaryService")
        .message("traffic.portsFrom is only read: give stableService and canaryService names of their own, which Stepgate makes"),
)]
pub struct Traffic {
    /// The ordinary Service of the workload. It stays yours: it is read, never written. It selects
    /// the pods of every revision, so users must not address it during a release.
    pub ports_from: PortsFrom,

    /// Name of the Service that users address. It selects the pods of the revision that serves, and
    /// no others.
    #[schemars(length(min = 1, max = 63), regex(pattern = SERVICE_NAME))]
    pub stable_service: String,

    /// Name of the Service that selects the pods of the revision that is being released; those of
    /// the stable revision while there is none.
    #[schemars(length(min = 1, max = 63), regex(pattern = SERVICE_NAME))]
    pub canary_service: String,
}

/// A Service of the namespace whose ports and session affinity are copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortsFrom {
    /// Name of the Service. It must select the Rollout's pods, have ports, and be no headless and no
    /// ExternalName Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = SERVICE_NAME))]
    pub name: String,
}

/// What a Service of Stepgate's own selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Name of the Service.
    pub name: String,
    /// The revision whose pods it selects.
    pub revision: String,
    /// Since when, as far as the operator has seen it. Pods of another revision go only some seconds
    /// later.
    pub since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time,
}

/// What the two Services select.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficStatus {
    /// The Service that users address.
    pub stable_service: ServiceStatus,
    /// The Service of the revision that is being released.
    pub canary_service: ServiceStatus,
}

impl Traffic {
    /// Names of the Services that Stepgate makes: that of users first.
    #[must_use]
    pub(crate) fn own(&self) -> [&str; 2] {
        [&self.stable_service, &self.canary_service]
    }
}
