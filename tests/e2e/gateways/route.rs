//! Routes, and what clients get through them.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use load::Record;
use serde_json::{Value, json};
use testbed::view::State;
use testbed::{Error, Namespace, Result};

use crate::play::PATIENCE;

/// Name of every route here.
pub const ROUTE: &str = "shop";
/// How long a route that is answered for may still take until requests follow it: istiod reports before
/// its proxies know.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);
/// The same of a VirtualService, which has no status.
const ARRIVES_UNSEEN_WITHIN: Duration = Duration::from_secs(5);

/// A gateway, with the kind of route that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// An HTTPRoute through Envoy Gateway.
    Envoy,
    /// An HTTPRoute through istiod.
    Istio,
    /// A VirtualService through istiod.
    VirtualService,
}

impl Gateway {
    /// Where clients reach it.
    pub const fn url(self) -> &'static str {
        match self {
            Self::Envoy => "http://10.96.0.201",
            Self::Istio => "http://10.96.0.211:81",
            Self::VirtualService => "http://10.96.0.211",
        }
    }

    fn resource(self) -> ApiResource {
        let (group, kind, plural) = match self {
            Self::Envoy | Self::Istio => ("gateway.networking.k8s.io", "HTTPRoute", "httproutes"),
            Self::VirtualService => ("networking.istio.io", "VirtualService", "virtualservices"),
        };
        ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version: format!("{group}/v1"),
            kind: kind.into(),
            plural: plural.into(),
        }
    }

    /// The routes in a namespace.
    pub fn routes(self, ns: &Namespace) -> Api<DynamicObject> {
        Api::namespaced_with(ns.testbed().client(), ns.name(), &self.resource())
    }
}

/// The host that a namespace's route is for.
pub fn host(ns: &Namespace) -> String {
    format!("{}.test", ns.name())
}

/// A route to these Services with these weights, as Git has it. Its rule is called `web`.
pub fn manifest(gateway: Gateway, ns: &Namespace, backends: &[(&str, u32)]) -> Value {
    let spec = match gateway {
        Gateway::Envoy | Gateway::Istio => {
            let parent = match gateway {
                Gateway::Envoy => "envoy-gateway-system",
                _ => "istio-system",
            };
            let backends = backends
                .iter()
                .map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight}));
            json!({
                "parentRefs": [{"name": "gateway", "namespace": parent}],
                "hostnames": [host(ns)],
                "rules": [{"name": "web", "backendRefs": backends.collect::<Vec<_>>()}],
            })
        }
        Gateway::VirtualService => {
            let destinations = backends.iter().map(|(name, weight)| {
                let host = format!("{name}.{}.svc.cluster.local", ns.name());
                json!({"destination": {"host": host, "port": {"number": 80}}, "weight": weight})
            });
            json!({
                "hosts": [host(ns)],
                "gateways": ["istio-system/ingress"],
                "http": [{"name": "web", "route": destinations.collect::<Vec<_>>()}],
            })
        }
    };
    let resource = gateway.resource();
    json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": ROUTE},
        "spec": spec,
    })
}

/// Applies a route, as a Git agent does, and waits until requests follow it.
pub async fn apply(gateway: Gateway, ns: &Namespace, backends: &[(&str, u32)]) -> Result<()> {
    re_apply(gateway, ns, backends).await?;
    followed(gateway, ns).await
}

/// Applies a route, as a Git agent does that finds it changed.
pub async fn re_apply(gateway: Gateway, ns: &Namespace, backends: &[(&str, u32)]) -> Result<()> {
    let route = manifest(gateway, ns, backends);
    let how = PatchParams::apply("git").force();
    let routes = gateway.routes(ns);
    let applied = routes.patch(ROUTE, &how, &Patch::Apply(&route)).await;
    applied
        .map(drop)
        .map_err(Error::api(format!("{gateway:?}: the route")))
}

/// Waits until the route as it is now is answered for, and has had time to arrive.
pub async fn followed(gateway: Gateway, ns: &Namespace) -> Result<()> {
    if gateway == Gateway::VirtualService {
        tokio::time::sleep(ARRIVES_UNSEEN_WITHIN).await;
        return Ok(());
    }
    let wait = async {
        loop {
            let route = read(gateway, ns).await?;
            if is_answered(&route) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| {
        Err(Error::NotInTime {
            what: format!("a word of {gateway:?} about its route"),
            limit: PATIENCE,
        })
    })?;
    tokio::time::sleep(ARRIVES_WITHIN).await;
    Ok(())
}

async fn read(gateway: Gateway, ns: &Namespace) -> Result<DynamicObject> {
    let route = gateway.routes(ns).get(ROUTE).await;
    route.map_err(Error::api(format!("{gateway:?}: the route")))
}

/// Whether its parent accepts it as it is now, and found all its backends.
fn is_answered(route: &DynamicObject) -> bool {
    let generation = route.metadata.generation;
    let parents = route.data["status"]["parents"].as_array();
    let mut parents = parents.into_iter().flatten();
    parents.any(|parent| {
        ["Accepted", "ResolvedRefs"].iter().all(|kind| {
            let conditions = parent["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|c| {
                c["type"] == *kind
                    && c["status"] == "True"
                    && c["observedGeneration"].as_i64() == generation
            })
        })
    })
}

/// The weights of a route's rule, by Service.
pub async fn weights(gateway: Gateway, ns: &Namespace) -> Result<BTreeMap<String, i64>> {
    let route = read(gateway, ns).await?;
    let (rules, backends, name) = match gateway {
        Gateway::Envoy | Gateway::Istio => ("rules", "backendRefs", "/name"),
        Gateway::VirtualService => ("http", "route", "/destination/host"),
    };
    let found = route.data["spec"][rules][0][backends].as_array();
    let pairs = found.into_iter().flatten().filter_map(|backend| {
        let name = backend.pointer(name)?.as_str()?;
        let name = name.split('.').next()?.to_owned();
        // One backend alone gets everything.
        Some((name, backend["weight"].as_i64().unwrap_or(1)))
    });
    Ok(pairs.collect())
}

/// How many requests were answered by pods of each revision; those of pods without one, and answers that
/// come from no pod, are under the empty name.
pub fn answers<'r>(
    state: &State,
    records: impl IntoIterator<Item = &'r Record>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        let revision = state.born.get(&record.pod).cloned().flatten();
        *counts.entry(revision.unwrap_or_default()).or_default() += 1;
    }
    counts
}

/// Demands that so many of all requests are what a weight of so many percent gives. Where it is left to
/// chance, a right share is refused in one of a million cases.
pub fn is_share(of: usize, all: usize, percent: u32) -> bool {
    let (all, share) = (all as f64, f64::from(percent) / 100.0);
    let spread = (all * share * (1.0 - share)).sqrt();
    (of as f64 - all * share).abs() <= 5.0 * spread
}
