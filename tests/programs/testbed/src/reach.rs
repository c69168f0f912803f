//! A way from here to a Service, as clients have it.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Api, api::ListParams};
use tokio::net::TcpStream;

use crate::{Error, Namespace, Result};

/// How long an address may take to take a connection.
const LIMIT: Duration = Duration::from_secs(2);
/// How long nodes may take to learn where a Service's pods are.
const PATIENCE: Duration = Duration::from_secs(15);

/// Addresses of a Service: in the cluster's network its own, outside a node's with the node port.
///
/// # Errors
/// When there is no such Service, or none of its addresses takes connections.
pub async fn service(namespace: &Namespace, name: &str) -> Result<String> {
    let service = namespace.api::<Service>().get(name).await;
    let service = service.map_err(Error::api(format!("Service {name}")))?;
    let spec = service.spec.unwrap_or_default();
    let port = spec.ports.unwrap_or_default().into_iter().next();
    let port = port.ok_or_else(|| Error::refused(format!("Service {name} has no port")))?;
    let own = spec.cluster_ip.map(|ip| format!("{ip}:{}", port.port));
    let mut candidates: Vec<_> = own.into_iter().collect();
    if let Some(port) = port.node_port {
        let nodes = node_addresses(namespace).await?;
        candidates.extend(nodes.iter().map(|ip| format!("{ip}:{port}")));
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        for address in &candidates {
            let attempt = tokio::time::timeout(LIMIT, TcpStream::connect(address)).await;
            if matches!(attempt, Ok(Ok(_))) {
                return Ok(format!("http://{address}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let words = format!(
        "no way from here to the Service {name} (tried {}): give --url with an address that ends \
         there, such as a load balancer's",
        candidates.join(", ")
    );
    Err(Error::refused(words))
}

async fn node_addresses(namespace: &Namespace) -> Result<Vec<String>> {
    let nodes: Api<Node> = Api::all(namespace.testbed().client());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.map_err(Error::api("nodes"))?;
    let addresses = nodes
        .into_iter()
        .filter_map(|node| node.status?.addresses)
        .flatten()
        .filter(|address| address.type_ == "InternalIP")
        .map(|address| address.address);
    Ok(addresses.collect())
}
