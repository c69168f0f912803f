//! Routes of the real gateways that `tests/programs/gateways/install` puts on a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Error, Namespace, Result};

/// Name of every route here.
pub const ROUTE: &str = "shop";
/// Name of its only rule.
pub const RULE: &str = "web";
/// Header of the answers by which a route tells what it has been told.
const MARK: &str = "x-route: ";
/// How long a gateway may take to follow a new route.
const PATIENCE: Duration = Duration::from_secs(90);

/// A gateway, with the kind of route that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// An HTTPRoute through Envoy Gateway.
    Envoy,
    /// A GRPCRoute through Envoy Gateway, which speaks HTTP/2 to the pods then.
    EnvoyGrpc,
    /// An HTTPRoute through istiod.
    Istio,
    /// A VirtualService through istiod.
    VirtualService,
}

impl Gateway {
    /// Where clients reach it.
    #[must_use]
    pub const fn url(self) -> &'static str {
        match self {
            Self::Envoy | Self::EnvoyGrpc => "http://10.96.0.201",
            Self::Istio => "http://10.96.0.211:81",
            Self::VirtualService => "http://10.96.0.211",
        }
    }

    /// The kind of its routes, as `spec.traffic.routes` has it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Envoy | Self::Istio => "HTTPRoute",
            Self::EnvoyGrpc => "GRPCRoute",
            Self::VirtualService => "VirtualService",
        }
    }

    /// It is Envoy Gateway, and not istiod.
    #[must_use]
    pub const fn is_envoy(self) -> bool {
        matches!(self, Self::Envoy | Self::EnvoyGrpc)
    }

    /// Deletes its controller's pod; the proxy stays. Another pod takes its place.
    ///
    /// # Errors
    /// With kubectl's words.
    pub async fn restart_controller(self, ns: &Namespace) -> Result<()> {
        let (namespace, app) = if self.is_envoy() {
            ("envoy-gateway-system", "app=envoy-gateway")
        } else {
            ("istio-system", "app=istiod")
        };
        let delete = ["delete", "pods", "-n", namespace, "-l", app];
        ns.testbed().run_kubectl(&delete).await.map(drop)
    }

    fn resource(self) -> ApiResource {
        let (group, plural) = match self {
            Self::Envoy | Self::Istio => ("gateway.networking.k8s.io", "httproutes"),
            Self::EnvoyGrpc => ("gateway.networking.k8s.io", "grpcroutes"),
            Self::VirtualService => ("networking.istio.io", "virtualservices"),
        };
        ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version: format!("{group}/v1"),
            kind: self.kind().into(),
            plural: plural.into(),
        }
    }

    fn routes(self, ns: &Namespace) -> Api<DynamicObject> {
        Api::namespaced_with(ns.testbed().client(), ns.name(), &self.resource())
    }
}

/// The host that a namespace's route is for.
#[must_use]
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

/// A route to these Services with these weights, as Git has it.
fn manifest(gateway: Gateway, ns: &Namespace, backends: &[(&str, u32)]) -> Value {
    let mark = mark(backends);
    let spec = if gateway == Gateway::VirtualService {
        let destinations = backends.iter().map(|(name, weight)| {
            let host = format!("{name}.{}.svc.cluster.local", ns.name());
            json!({"destination": {"host": host, "port": {"number": 80}}, "weight": weight})
        });
        json!({
            "hosts": [host(ns)],
            "gateways": ["istio-system/ingress"],
            "http": [{
                "name": RULE,
                "route": destinations.collect::<Vec<_>>(),
                "headers": {"response": {"set": {"x-route": mark}}},
            }],
        })
    } else {
        let parent = if gateway.is_envoy() {
            "envoy-gateway-system"
        } else {
            "istio-system"
        };
        let backends = backends
            .iter()
            .map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight}));
        json!({
            "parentRefs": [{"name": "gateway", "namespace": parent}],
            "hostnames": [host(ns)],
            "rules": [{
                "name": RULE,
                "backendRefs": backends.collect::<Vec<_>>(),
                "filters": [{
                    "type": "ResponseHeaderModifier",
                    "responseHeaderModifier": {"set": [{"name": "x-route", "value": mark}]},
                }],
            }],
        })
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
///
/// # Errors
/// When it is refused, or the gateway does not follow in time.
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
///
/// # Errors
/// When it is refused.
pub async fn re_apply(gateway: Gateway, ns: &Namespace, backends: &[(&str, u32)]) -> Result<()> {
    let route = manifest(gateway, ns, backends);
    let how = PatchParams::apply("git").force();
    let routes = gateway.routes(ns);
    let applied = routes.patch(ROUTE, &how, &Patch::Apply(&route)).await;
    applied
        .map(drop)
        .map_err(Error::api(format!("{gateway:?}: the route")))
}

/// The weights of a route's rule, by Service.
///
/// # Errors
/// When it cannot be read.
pub async fn weights(gateway: Gateway, ns: &Namespace) -> Result<BTreeMap<String, i64>> {
    let route = gateway.routes(ns).get(ROUTE).await;
    let route = route.map_err(Error::api(format!("{gateway:?}: the route")))?;
    let (rules, backends, name) = match gateway {
        Gateway::VirtualService => ("http", "route", "/destination/host"),
        _ => ("rules", "backendRefs", "/name"),
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
