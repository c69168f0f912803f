//! What is around a run: a kubelet that there is not, and what a status must say.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    fixture::Home,
    process::{pods, say_ready},
};

/// There is no kubelet: pods of Deployments become ready, those of Jobs end.
pub async fn kubelet(home: Home) {
    let api = Api::<Pod>::namespaced(home.client.clone(), &home.namespace);
    loop {
        let of_job = |pod: &Pod| {
            let labels = pod.metadata.labels.as_ref();
            labels.is_some_and(|labels| labels.contains_key("batch.kubernetes.io/job-name"))
        };
        let (ends, serves): (Vec<_>, Vec<_>) = pods(&home).await.into_iter().partition(of_job);
        say_ready(&home, serves).await;
        for name in ends.into_iter().filter_map(|pod| pod.metadata.name) {
            // One in eight fails.
            let fails = name.bytes().map(u32::from).sum::<u32>() % 8 == 0;
            let phase = if fails { "Failed" } else { "Succeeded" };
            let patch = Patch::Merge(json!({"status": {"phase": phase}}));
            let _ = api
                .patch_status(&name, &PatchParams::default(), &patch)
                .await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Why a Rollout is silent, if it is.
pub fn silence(object: &DynamicObject) -> Option<String> {
    let generation = object.metadata.generation;
    let status = &object.data["status"];
    if status["observedGeneration"].as_i64() != generation {
        return Some(format!(
            "silent: generation {generation:?}, status of {}",
            status["observedGeneration"]
        ));
    }
    let conditions = status["conditions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for kind in ["Ready", "Reconciling", "Stalled"] {
        let Some(condition) = conditions.iter().find(|c| c["type"] == kind) else {
            return Some(format!("silent: no condition {kind}"));
        };
        if condition["observedGeneration"].as_i64() != generation {
            return Some(format!("silent: {kind} is of another generation"));
        }
        if condition["message"].as_str().is_none_or(str::is_empty) {
            return Some(format!("silent: {kind} says nothing"));
        }
    }
    None
}

/// A selector and a database for itself, so that it is not only told of its neighbours.
pub fn apart(object: &mut Value, name: &str, database: &str) {
    let spec = &mut object["spec"];
    spec["selector"] = json!({"matchLabels": {"app": name}});
    let labels = &mut spec["template"]["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    labels["app"] = json!(name);
    if spec["schema"]["database"].is_string() {
        spec["schema"]["database"] = json!(database);
    }
}
