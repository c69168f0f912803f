//! `spec.traffic`: the Services by which users and testers reach one revision alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::{OBJECT_NAME, SERVICE_NAME};

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

    /// Routes of the namespace whose rules name both Services. During a release whose steps have a
    /// weight, Stepgate changes the weights of these two and nothing else; at rest they are 100 and
    /// 0, as they stand in Git.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    pub routes: Vec<RouteRef>,
}

/// A route, and those of its rules that are weighed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteRef {
    /// What kind of route: `HTTPRoute` and `GRPCRoute` of the Gateway API
    /// (`gateway.networking.k8s.io/v1`), or `VirtualService` of Istio (`networking.istio.io/v1`).
    pub kind: RouteKind,

    /// Name of the route, in the Rollout's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,

    /// Names of the rules that are weighed. Left out: every rule that names both Services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub rules: Vec<String>,
}

/// Kinds of routes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum RouteKind {
    /// HTTP, by the Gateway API.
    #[serde(rename = "HTTPRoute")]
    Http,
    /// gRPC, by the Gateway API.
    #[serde(rename = "GRPCRoute")]
    Grpc,
    /// Istio's.
    VirtualService,
}

impl RouteKind {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::VirtualService => "VirtualService",
        }
    }
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
    pub since: Time,
}

/// What the two Services select.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficStatus {
    /// The Service that users address.
    pub stable_service: ServiceStatus,
    /// The Service of the revision that is being released.
    pub canary_service: ServiceStatus,
    /// The last weight given to the routes. Absent once they have been at rest for a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<WeightStatus>,
    /// The share of the requests that the new revision really gets while a weight splits them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<MeasuredStatus>,
}

/// A share of the requests, as the pods count them: in the hold of the step, from 100 requests on. It is
/// read with the first of the checks and decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredStatus {
    /// The step in whose hold it was counted.
    pub step: String,
    /// Percent of the requests that the new revision got, e.g. `4.9%`.
    pub percent: String,
    /// Requests that both revisions got.
    pub requests: i64,
}

/// The weight that the routes were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightStatus {
    /// The routes.
    pub routes: Vec<RouteRef>,
    /// Percent of the requests that they are to send to `canaryService`.
    pub canary: i32,
    /// The previous percent, if it was higher and requests may still follow it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub former: i32,
    /// When this weight was requested, or last changed by another writer.
    pub since: Time,
    /// Whether all routes have been seen with this weight.
    #[serde(default, skip_serializing_if = "is_false")]
    pub seen: bool,
    /// Since when all routes have this weight and, where their kind reports it, have accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Time>,
    /// How often another writer has changed it since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resets: i32,
    /// Whether stable has fewer pods because of the weight, or has not yet got all of them back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shrinks: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl Traffic {
    /// Names of the Services that Stepgate makes: that of users first.
    #[must_use]
    pub(crate) fn own(&self) -> [&str; 2] {
        [&self.stable_service, &self.canary_service]
    }
}
