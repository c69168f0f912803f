//! The lead on a real API server: contenders as processes that are ended, killed and stopped, and
//! contenders behind a connection that goes dead.
//!
//! Needs `KUBECONFIG` (any cluster; only Leases of its own names in `default` are touched) and the
//! program `kill`.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contender;
mod outage;
mod processes;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config};
use stepgate::operator::client::Clients;
use stepgate::operator::metrics::Metrics;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The cluster under test.
async fn config() -> Config {
    let told = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    assert!(
        told,
        "these tests need a cluster: set KUBECONFIG to its configuration"
    );
    // A second install is refused, which is all right: the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Config::infer()
        .await
        .expect("KUBECONFIG must name a usable configuration")
}

async fn client() -> Client {
    let clients = Clients::new(config().await, &Metrics::new()).expect("a client");
    clients.writes.client()
}

async fn leases() -> Api<Lease> {
    Api::namespaced(client().await, "default")
}

/// A Lease of this test alone.
fn lease_name(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

/// Asks until there is an answer.
async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
