//! A small application: busybox, whose revisions differ in a variable.

use serde_json::{Value, json};

/// Name of the Rollout.
pub const APP: &str = "app";

/// A Rollout of four pods that goes out in three steps, each held for a second, without checks.
pub fn app(release: &str) -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": APP},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": APP}},
            "template": {
                "metadata": {"labels": {"app": APP}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "app",
                        "image": "localhost/stepgate/busybox:test",
                        "imagePullPolicy": "Never",
                        "command": ["sleep", "3600"],
                        "env": [{"name": "RELEASE", "value": release}],
                        "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}},
                    }],
                },
            },
            "strategy": {
                "maxSurge": 1,
                "maxUnavailable": 1,
                "progressDeadlineSeconds": 60,
                "canary": {"steps": [
                    {"name": "canary", "replicas": 1, "holdSeconds": 1},
                    {"name": "half", "replicas": "50%", "holdSeconds": 1},
                    {"name": "full", "replicas": "100%", "holdSeconds": 1},
                ]},
            },
        },
    })
}

/// Changes a Rollout before it is applied.
pub trait Change: Sized {
    /// Sets what is at this place of the spec, such as `/template/spec`.
    fn with(self, place: &str, value: Value) -> Self;
    /// Sets a field of its container.
    fn container(self, field: &str, value: Value) -> Self;
    /// Holds this step for so long.
    fn hold(self, step: usize, seconds: i64) -> Self;
    /// Runs this shell script as the expand of the database `db`.
    fn expand(self, script: &str) -> Self;
}

impl Change for Value {
    fn with(mut self, place: &str, value: Value) -> Self {
        let (parent, field) = place.rsplit_once('/').expect("a place begins with a slash");
        let parent = self["spec"].pointer_mut(parent).expect(place);
        parent[field] = value;
        self
    }

    fn container(self, field: &str, value: Value) -> Self {
        self.with(&format!("/template/spec/containers/0/{field}"), value)
    }

    fn hold(self, step: usize, seconds: i64) -> Self {
        let place = format!("/strategy/canary/steps/{step}/holdSeconds");
        self.with(&place, json!(seconds))
    }

    fn expand(self, script: &str) -> Self {
        let expand = json!({"command": ["sh", "-c", script], "deadlineSeconds": 60});
        self.with("/schema", json!({"database": "db", "expand": expand}))
    }
}
