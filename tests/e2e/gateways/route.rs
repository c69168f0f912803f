//! Routes, and what clients get through them.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use load::Record;
use serde_json::{Value, json};
use testbed::view::State;
use testbed::{Error, Namespace, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::play::PATIENCE;

/// Name of every route here.
pub const ROUTE: &str = "shop";
/// Header of the answers by which a route tells what it has been told.
const MARK: &str = "x-route: ";

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

    /// The kind of its routes, as `spec.traffic.routes` has it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Envoy | Self::Istio => "HTTPRoute",
            Self::VirtualService => "VirtualService",
        }
    }

    /// Deletes its controller's pod; the proxy stays. Another pod takes its place.
    pub async fn restart_controller(self, ns: &Namespace) -> Result<()> {
        let (namespace, app) = match self {
            Self::Envoy => ("envoy-gateway-system", "app=envoy-gateway"),
            Self::Istio | Self::VirtualService => ("istio-system", "app=istiod"),
        };
        let delete = ["delete", "pods", "-n", namespace, "-l", app];
        ns.testbed().run_kubectl(&delete).await.map(drop)
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

/// By what answers tell that a route has these weights.
fn mark(backends: &[(&str, u32)]) -> String {
    let pairs = backends
        .iter()
        .map(|(name, weight)| format!("{name}-{weight}"));
    pairs.collect::<Vec<_>>().join("-")
}

/// A route to these Services with these weights, as Git has it. Its rule is called `web`.
pub fn manifest(gateway: Gateway, ns: &Namespace, backends: &[(&str, u32)]) -> Value {
    let mark = mark(backends);
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
                "rules": [{
                    "name": "web",
                    "backendRefs": backends.collect::<Vec<_>>(),
                    "filters": [{
                        "type": "ResponseHeaderModifier",
                        "responseHeaderModifier": {"set": [{"name": "x-route", "value": mark}]},
                    }],
                }],
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
                "http": [{
                    "name": "web",
                    "route": destinations.collect::<Vec<_>>(),
                    "headers": {"response": {"set": {"x-route": mark}}},
                }],
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

/// Applies a route, as a Git agent does, and waits until answers tell that they came by it.
pub async fn apply(gateway: Gateway, ns: &Namespace, backends: &[(&str, u32)]) -> Result<()> {
    re_apply(gateway, ns, backends).await?;
    let mark = mark(backends);
    let wait = async {
        while told(gateway, ns).await.as_deref() != Some(&mark) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.map_err(|_| Error::NotInTime {
        what: format!("an answer of {gateway:?} by the new route"),
        limit: PATIENCE,
    })
}

/// The mark of an answer, if there is one.
async fn told(gateway: Gateway, ns: &Namespace) -> Option<String> {
    let address = gateway.url().trim_start_matches("http://");
    let address = match address.contains(':') {
        true => address.to_owned(),
        false => format!("{address}:80"),
    };
    let mut stream = TcpStream::connect(address).await.ok()?;
    let host = host(ns);
    let request = format!("GET /users/1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let mark = answer.lines().find_map(|line| line.strip_prefix(MARK));
    mark.map(str::to_owned)
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

async fn read(gateway: Gateway, ns: &Namespace) -> Result<DynamicObject> {
    let route = gateway.routes(ns).get(ROUTE).await;
    route.map_err(Error::api(format!("{gateway:?}: the route")))
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
