//! What stands beside a Rollout in its files: autoscalers, disks, nodes.

use serde_json::{Value, json};

use super::program::{Ran, simulate};

fn rollout(replicas: Option<i32>, pod: Value) -> Value {
    let mut pod_spec = json!({"containers": [{
        "name": "web", "image": "registry.example/web:1.2",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
    }]});
    pod_spec
        .as_object_mut()
        .unwrap()
        .extend(pod.as_object().unwrap().clone());
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec},
        "strategy": {"canary": {"steps": [{"name": "full", "replicas": "100%", "holdSeconds": 60}]}},
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = json!(replicas);
    }
    json!({"apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": spec})
}

fn scaled_object(kind: &str, least: Option<i32>) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": {"kind": kind, "name": "web"}, "minReplicaCount": least, "maxReplicaCount": 120},
    })
}

fn together(all: &[Value]) -> Ran {
    let texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    simulate(&texts.join("\n---\n"), &[])
}

#[test]
fn kedas_minimum_counts() {
    for (least, played) in [(Some(6), "6 pods"), (None, "1 pod,")] {
        let ran = together(&[rollout(None, json!({})), scaled_object("Rollout", least)]);
        assert!(
            ran.told.contains(&format!("Rollout web: {played}")),
            "{}",
            ran.told
        );
        assert!(
            ran.told.contains("by minReplicaCount of ScaledObject web"),
            "{}",
            ran.told
        );
    }
}

#[test]
fn replicas_beside_an_autoscaler_are_warned_of() {
    let ran = together(&[
        rollout(Some(3), json!({})),
        scaled_object("Rollout", Some(6)),
    ]);
    assert!(
        ran.told.contains("sets it back to 3: leave replicas out"),
        "{}",
        ran.told
    );
    assert!(ran.told.contains("Rollout web: 6 pods"), "{}", ran.told);
    let ran = together(&[rollout(None, json!({})), scaled_object("Rollout", Some(6))]);
    assert!(!ran.told.contains("leave replicas out"), "{}", ran.told);
}

#[test]
fn an_autoscaler_of_the_former_deployment_is_warned_of() {
    let ran = together(&[
        rollout(Some(3), json!({})),
        scaled_object("Deployment", Some(6)),
    ]);
    assert!(
        ran.told
            .contains("scales a Deployment of this name, not the Rollout"),
        "{}",
        ran.told
    );
}

#[test]
fn a_disk_of_one_node_is_warned_of() {
    let volumes =
        json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    let claim = |mode: &str| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": [mode]},
        })
    };
    let warning =
        "warning: spec.template.spec.volumes[0]: PersistentVolumeClaim data is for one node";
    for (replicas, way_out) in [(1, "users are unserved"), (3, "strategy.type: Rolling")] {
        let ran = together(&[
            rollout(Some(replicas), volumes.clone()),
            claim("ReadWriteOnce"),
        ]);
        assert!(
            ran.told.contains(warning) && ran.told.contains(way_out),
            "{}",
            ran.told
        );
    }
    let ran = together(&[rollout(Some(3), volumes), claim("ReadWriteMany")]);
    assert!(!ran.told.contains("volumes[0]"), "{}", ran.told);
}

/// One pod, one disk: beside each other the new one never starts; in turn both work.
#[test]
fn of_one_pod_with_a_disk_the_old_one_goes_first_where_that_is_written() {
    let pod = json!({
        "containers": [{"name": "wiki", "image": "registry.example/wiki:5.0.2"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"]},
    });
    let with = |strategy: Value| {
        let mut wiki = rollout(Some(1), pod.clone());
        wiki["spec"]["strategy"] = strategy;
        together(&[wiki, claim.clone()])
    };
    let beside = with(json!({"type": "Rolling"}));
    assert!(
        beside
            .told
            .contains("Not as it should be: new was taken back")
            && beside.told.contains("ContainerCreating"),
        "{}",
        beside.told
    );
    let in_turn = with(json!({"type": "Rolling", "maxSurge": 0, "maxUnavailable": 1}));
    assert!(
        in_turn.told.contains("As it should be: new is stable")
            && in_turn.told.contains("note: spec.strategy.maxUnavailable")
            && in_turn.told.contains("found no pod that served them"),
        "{}",
        in_turn.told
    );
}
