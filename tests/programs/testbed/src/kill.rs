//! Killing what runs in a pod, as a node's out-of-memory killer would.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};

use crate::install::OPERATOR;
use crate::{Error, Result, Testbed, program};

/// Who leads, and the how manieth leadership this is.
///
/// # Errors
/// When there is no Lease.
pub async fn leader(testbed: &Testbed) -> Result<(String, i32)> {
    let leases: Api<Lease> = Api::namespaced(testbed.client(), OPERATOR);
    let lease = leases.get("stepgate").await;
    let lease = lease.map_err(Error::api("the operator's Lease"))?;
    let spec = lease.spec.unwrap_or_default();
    let holder = spec.holder_identity.unwrap_or_default();
    Ok((holder, spec.lease_transitions.unwrap_or_default()))
}

/// Kills the process of an operator's pod. Says how.
///
/// # Errors
/// As [`container`].
pub async fn kill(testbed: &Testbed, pod: &str) -> Result<&'static str> {
    container(testbed, OPERATOR, pod).await
}

/// Kills the process of a pod's container: without a word to it on the local cluster (`SIGKILL`);
/// elsewhere its pod is deleted without a grace period. Says which.
///
/// # Errors
/// When the pod is not there.
pub async fn container(testbed: &Testbed, namespace: &str, pod: &str) -> Result<&'static str> {
    let pods: Api<Pod> = Api::namespaced(testbed.client(), namespace);
    let Some(socket) = std::env::var_os("CONTAINERD_SOCKET") else {
        let now = DeleteParams::default().grace_period(0);
        let deleted = pods.delete(pod, &now).await;
        return deleted
            .map(|_| "its pod is deleted without a grace period")
            .map_err(Error::api(format!("pod {pod} cannot be deleted")));
    };
    let found = pods.get(pod).await;
    let found = found.map_err(Error::api(format!("pod {pod}")))?;
    let containers = found.status.and_then(|s| s.container_statuses);
    let id = containers
        .unwrap_or_default()
        .into_iter()
        .find_map(|c| c.container_id);
    let id = id.ok_or_else(|| Error::refused(format!("pod {pod} has no container")))?;
    let mut kill = program::command("ctr");
    kill.arg("--address")
        .arg(socket)
        .args(["--namespace", "k8s.io", "tasks", "kill"])
        .args([
            "--signal",
            "SIGKILL",
            id.trim_start_matches("containerd://"),
        ]);
    program::output(&mut kill).await.map(|_| "SIGKILL")
}
