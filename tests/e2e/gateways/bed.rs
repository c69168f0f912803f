//! The gateways do what routes say: proof of the bed that the other tests stand on.

use std::time::SystemTime;

use serde_json::json;
use testbed::route::{self, Gateway};
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Namespace, Result, install};

use super::shares;
use crate::clients::all_served;
use crate::play::{PATIENCE, play};
use crate::shop::{SHOP, apply_so};

/// The other Service.
const OTHER: &str = "other";
const REQUESTS: usize = 2000;
const RATE: u32 = 200;

/// Two Services: `shop`, of a Rollout, and `other`, of a Deployment of the same application.
async fn two_services(ns: &Namespace) -> Result<()> {
    ns.add_database_and_service().await?;
    apply_so(ns, "v1", |spec| spec["replicas"] = json!(2)).await?;
    ns.until("pods in the Service", PATIENCE, |state| {
        State::serves(state).then_some(())
    })
    .await?;
    let folder = "tests/programs/shop/manifests/releases/v1";
    let text = ns.testbed().run_kubectl(&["kustomize", folder]).await?;
    let mut pods = install::documents(&text)?.remove(0)["spec"]["template"].take();
    pods["metadata"]["labels"] = json!({"app": OTHER});
    let metadata = json!({"name": OTHER, "namespace": ns.name()});
    let selector = json!({"app": OTHER});
    ns.testbed()
        .apply(&[
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                "spec": {"replicas": 2, "selector": {"matchLabels": selector}, "template": pods},
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata,
                "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
            }),
        ])
        .await?;
    let wait = ["rollout", "status", "deployment/other", "--timeout=90s"];
    ns.kubectl(&wait).await.map(drop)
}

async fn requests_follow_weights(gateway: Gateway, name: &str) {
    play(name, async |ns| {
        two_services(ns).await?;
        route::apply(gateway, ns, &[(SHOP, 90), (OTHER, 10)]).await?;
        let weights = route::weights(gateway, ns).await?;
        assert_eq!(weights, [(SHOP.into(), 90), (OTHER.into(), 10)].into());
        let mut traffic = Traffic::start_to(&route::host(ns), gateway.url(), RATE)?;
        while traffic.records()?.len() < REQUESTS {
            ns.view.changed(std::time::Duration::from_millis(100)).await;
        }
        route::apply(gateway, ns, &[(SHOP, 50), (OTHER, 50)]).await?;
        let second = SystemTime::now();
        let so_far = traffic.records()?.len();
        while traffic.records()?.len() < so_far + REQUESTS {
            ns.view.changed(std::time::Duration::from_millis(100)).await;
        }
        let records = traffic.stop().await?;
        all_served(ns, &records, SystemTime::UNIX_EPOCH);
        let state = ns.view.now();
        let later = records.iter().filter(|r| r.at >= second);
        for (records, percent) in [
            (records.iter().take(REQUESTS).collect::<Vec<_>>(), 10),
            (later.collect(), 50),
        ] {
            let all = records.len();
            let by = shares::answers(&state, records);
            assert!(all >= REQUESTS, "only {all} requests");
            assert_eq!(by.len(), 2, "{by:?}");
            let other = by[""];
            assert!(shares::is_share(other, all, percent), "{percent}%: {by:?}");
            println!("{gateway:?} {percent}%: {other} of {all}, 0 failed");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn requests_follow_the_weights_of_an_http_route() {
    requests_follow_weights(Gateway::Envoy, "bed-envoy").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn requests_follow_the_weights_of_a_grpc_route() {
    requests_follow_weights(Gateway::EnvoyGrpc, "bed-grpc").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn requests_follow_the_weights_of_an_http_route_through_istio() {
    requests_follow_weights(Gateway::Istio, "bed-istio").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn requests_follow_the_weights_of_a_virtual_service() {
    requests_follow_weights(Gateway::VirtualService, "bed-virtual").await;
}
