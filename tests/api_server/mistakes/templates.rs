//! Mistakes in pod templates, which the API server finds when the Deployment is made:
//! `stepgate simulate` finds them before.

use serde_json::{Value, json};

/// A container with this beside its name and image.
fn with(field: &str, value: Value) -> Value {
    let mut container = json!({"name": "app", "image": "app:1"});
    container[field] = value;
    json!([container])
}

fn probe(probe: Value) -> Value {
    with("readinessProbe", probe)
}

fn ports(ports: Value) -> Value {
    with("ports", ports)
}

fn resources(requests: Value, limits: Value) -> Value {
    with("resources", json!({"requests": requests, "limits": limits}))
}

/// Where in the pod template something is written, what, and which field is at fault.
pub fn templates() -> Vec<(&'static str, Value, &'static str)> {
    let twice = json!([
        {"name": "app", "image": "app:1"}, {"name": "app", "image": "app:2"},
    ]);
    let get = json!({"path": "/", "port": 80});
    let mounts = json!([{"name": "a", "mountPath": "/data"}, {"name": "b", "mountPath": "/data"}]);
    let volumes = json!([{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}]);
    let same = json!([{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]);
    let http = |number: i64| json!({"name": "http", "containerPort": number});
    let of_containers = [
        (with("name", json!("App")), "[0].name"),
        (with("name", json!("a".repeat(64))), "[0].name"),
        (twice, "[1].name"),
        (
            ports(json!([{"containerPort": 70_000}])),
            "[0].ports[0].containerPort",
        ),
        (
            ports(json!([{"name": "Http", "containerPort": 80}])),
            "[0].ports[0].name",
        ),
        (
            ports(json!([{"name": "a-very-long-name", "containerPort": 80}])),
            "[0].ports[0].name",
        ),
        (ports(json!([http(80), http(81)])), "[0].ports[1].name"),
        (
            ports(json!([{"containerPort": 80, "protocol": "HTTP"}])),
            "[0].ports[0].protocol",
        ),
        (
            with(
                "volumeMounts",
                json!([{"name": "data", "mountPath": "/data"}]),
            ),
            "[0].volumeMounts[0].name",
        ),
        (
            with("env", json!([{"name": "", "value": "a"}])),
            "[0].env[0].name",
        ),
        (
            resources(json!({"cpu": "2"}), json!({"cpu": "500m"})),
            "[0].resources.requests",
        ),
        (
            resources(json!({"memory": "1Gi"}), json!({"memory": "1G"})),
            "[0].resources.requests",
        ),
        (
            probe(json!({"httpGet": get, "tcpSocket": {"port": 80}})),
            "[0].readinessProbe",
        ),
        (probe(json!({"periodSeconds": 5})), "[0].readinessProbe"),
        (
            probe(json!({"httpGet": {"path": "/", "port": 0}})),
            "[0].readinessProbe.httpGet.port",
        ),
        (
            with(
                "livenessProbe",
                json!({"httpGet": get, "successThreshold": 2}),
            ),
            "[0].livenessProbe.successThreshold",
        ),
        (
            with(
                "lifecycle",
                json!({"preStop": {"httpGet": get, "exec": {"command": ["x"]}}}),
            ),
            "[0].lifecycle.preStop",
        ),
    ];
    let of_containers = of_containers.into_iter();
    let mut all: Vec<_> = of_containers
        .map(|(value, field)| ("/spec/containers", value, field))
        .collect();
    all.extend([
        ("/metadata/labels/tier", json!("a b"), "labels"),
        ("/metadata/labels/-tier", json!("a"), "labels"),
        (
            "/spec",
            json!({"volumes": volumes, "containers": with("volumeMounts", mounts)}),
            "containers[0].volumeMounts[1].mountPath",
        ),
        ("/spec/volumes", same, "volumes[1].name"),
        (
            "/spec/initContainers",
            json!([{"name": "app", "image": "app:1"}]),
            "ontainers[0].name",
        ),
    ]);
    all
}
