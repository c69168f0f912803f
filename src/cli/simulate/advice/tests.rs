//! A manifest about which there is nothing to say, and what is said about each change of it.

use serde_json::{Value, json};

use super::*;
use crate::cli::simulate::{finding::Level, manifest};

fn faultless() -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "shop"},
        "spec": {
            "replicas": 8,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{
                    "name": "shop",
                    "image": "registry.example:5000/shop:1.2",
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
                    "resources": {"requests": {"cpu": "100m", "memory": 1_000_000}},
                }]},
            },
            "strategy": {"canary": {"steps": [
                {"name": "canary", "replicas": 1, "holdSeconds": 60},
                {"name": "full", "replicas": "100%", "holdSeconds": 60},
            ]}},
            "analysis": {"checks": [
                {"name": "errors", "errorRate": {"maxPercent": "0.5"}},
                {"name": "p95", "latency": {"maxMilliseconds": 250}},
            ]},
        },
    })
}

fn said(object: &Value) -> Vec<(Level, String)> {
    let on = manifest::check(object).unwrap_or_else(|errors| panic!("{errors:?}"));
    let found = advice(&on, &Documents::default(), &Assumed::default());
    found.into_iter().map(|f| (f.level, f.field)).collect()
}

#[test]
fn nothing_is_said_where_there_is_nothing_to_say() {
    assert_eq!(said(&faultless()), []);
    let digest = "registry.example/shop@sha256:0123";
    let mut pinned = faultless();
    *pinned
        .pointer_mut("/spec/template/spec/containers/0/image")
        .unwrap() = json!(digest);
    assert_eq!(said(&pinned), []);
}

#[test]
fn each_trap_is_named_with_its_field() {
    use Level::{Note, Warning};
    let container = "spec.template.spec.containers[0]";
    let steps = "spec.strategy.canary.steps";
    let (first, last) = (
        "/spec/strategy/canary/steps/0",
        "/spec/strategy/canary/steps/1",
    );
    let template = "/spec/template/spec/containers/0";
    let metric = "spec.analysis.checks[0].metric";
    let cases: Vec<(String, Value, Level, String)> = vec![
        (
            "/spec/analysis/checks/0/metric".into(),
            json!({"errorValues": "5.."}),
            Warning,
            format!("{metric}.errorValues"),
        ),
        (
            "/spec/analysis/checks/0/metric".into(),
            json!({"counter": "request_seconds_sum"}),
            Warning,
            format!("{metric}.counter"),
        ),
        (
            "/spec/analysis/checks/0/metric".into(),
            json!({"histogram": "request_seconds_count"}),
            Warning,
            format!("{metric}.histogram"),
        ),
        (
            "/spec/analysis/checks/1/metric".into(),
            json!({"histogram": "http_server_requests_seconds"}),
            Note,
            "spec.analysis.checks[1].metric.histogram".to_owned(),
        ),
        (
            "/spec/analysis/checks/1/latency/warmUpSeconds".into(),
            json!(90),
            Note,
            format!("{steps}[0].holdSeconds"),
        ),
        (
            format!("{template}/image"),
            json!("shop"),
            Warning,
            format!("{container}.image"),
        ),
        (
            format!("{template}/image"),
            json!("h:5000/shop:latest"),
            Warning,
            format!("{container}.image"),
        ),
        (
            format!("{template}/readinessProbe"),
            Value::Null,
            Warning,
            format!("{container}.readinessProbe"),
        ),
        (
            format!("{template}/lifecycles"),
            json!({"preStop": 1}),
            Warning,
            format!("{container}.lifecycles"),
        ),
        (
            format!("{template}/startupProbe"),
            json!({"failureThreshold": 100, "tcpSocket": {"port": 8080}}),
            Warning,
            "spec.strategy.progressDeadlineSeconds".into(),
        ),
        (
            format!("{template}/resources"),
            Value::Null,
            Note,
            "spec.template.spec.containers".into(),
        ),
        (
            "/spec/analysis".into(),
            Value::Null,
            Warning,
            "spec.analysis".into(),
        ),
        (
            "/spec/analysis/checks/0".into(),
            json!({"name": "a", "latency": {"maxMilliseconds": 50}}),
            Warning,
            "spec.analysis.checks".into(),
        ),
        (
            "/spec/analysis/checks/1/latency/maxMilliseconds".into(),
            json!(200),
            Note,
            "spec.analysis.checks[1].latency.maxMilliseconds".into(),
        ),
        (
            "/spec/analysis/checks/1/latency/maxMilliseconds".into(),
            json!(20_000),
            Warning,
            "spec.analysis.checks[1].latency.maxMilliseconds".into(),
        ),
        (
            "/spec/analysis/checks/0/minRequests".into(),
            json!(100_000),
            Warning,
            format!("{steps}[0]"),
        ),
        (
            "/spec/analysis/checks/0/minRequests".into(),
            json!(1_000),
            Note,
            format!("{steps}[0]"),
        ),
        (
            format!("{first}/deadlineSeconds"),
            json!(20),
            Warning,
            format!("{steps}[0].deadlineSeconds"),
        ),
        (
            format!("{last}/holdSeconds"),
            json!(5),
            Note,
            format!("{steps}[1].holdSeconds"),
        ),
        (
            format!("{first}/holdSeconds"),
            json!(3_000),
            Note,
            steps.into(),
        ),
        (
            format!("{first}/replicas"),
            json!("50%"),
            Warning,
            format!("{steps}[0]"),
        ),
        (
            "/spec/strategy/maxUnavailable".into(),
            json!("100%"),
            Warning,
            "spec.strategy.maxUnavailable".into(),
        ),
        (
            "/spec/strategy".into(),
            strategy(json!({"maxSurge": 0, "maxUnavailable": "5%"})),
            Note,
            "spec.strategy.maxSurge".into(),
        ),
        (
            "/spec/strategy/progressDeadlineSeconds".into(),
            json!(10),
            Warning,
            "spec.strategy.progressDeadlineSeconds".into(),
        ),
        (
            "/spec/template/spec/affinity".into(),
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": "shop"}},
            }]}}),
            Warning,
            "spec.template.spec.affinity.podAntiAffinity\
             .requiredDuringSchedulingIgnoredDuringExecution[0]"
                .into(),
        ),
        (
            format!("{template}/ports"),
            json!([{"containerPort": 80}, {"containerPort": 8080, "hostPort": 8080}]),
            Warning,
            format!("{container}.ports[1].hostPort"),
        ),
        (
            "/spec/template/spec/volumes".into(),
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]),
            Note,
            "spec.template.spec.volumes[0]".into(),
        ),
        (
            "/spec/paused".into(),
            json!(true),
            Warning,
            "spec.paused".into(),
        ),
        (
            "/spec/replicas".into(),
            json!(1),
            Note,
            "spec.replicas".into(),
        ),
        (
            "/spec/schema".into(),
            json!({"database": "db", "expand": {"command": ["a"]}}),
            Note,
            "spec.schema.version".into(),
        ),
        (
            "/spec/schema".into(),
            json!({"database": "db", "version": 2, "contract": {"command": ["a"]}}),
            Note,
            "spec.schema.contract.approval".into(),
        ),
        (
            "/spec/schema".into(),
            json!({"database": "db", "version": 2,
                   "contract": {"command": ["a"], "approval": "Automatic"}}),
            Warning,
            "spec.schema.contract.approval".into(),
        ),
    ];
    let mut wrong = Vec::new();
    for (at, value, level, field) in cases {
        let mut object = faultless();
        set(&mut object, &at, value.clone());
        let said = said(&object);
        if !said.contains(&(level, field.clone())) || said.len() > 2 {
            wrong.push(format!("{at} = {value}: {said:?}, not {level:?} {field}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pods_that_are_apart_are_no_trap_without_surge_or_from_others() {
    let apart = |app: &str| {
        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": app}},
        }]}})
    };
    let mut object = faultless();
    set(
        &mut object,
        "/spec/template/spec/affinity",
        apart("database"),
    );
    assert_eq!(said(&object), []);
    set(&mut object, "/spec/template/spec/affinity", apart("shop"));
    let surge = strategy(json!({"maxSurge": 0, "maxUnavailable": 1}));
    set(&mut object, "/spec/strategy", surge);
    assert_eq!(said(&object), []);
}

fn strategy(more: Value) -> Value {
    let mut strategy = faultless()["spec"]["strategy"].take();
    strategy
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    strategy
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{pointer}"));
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        parent => parent[name] = value,
    }
}

#[test]
fn users_fewer_than_probes_are_named() {
    let mut object = faultless();
    set(&mut object, "/spec/analysis/checks/0/minRequests", json!(1));
    set(&mut object, "/spec/analysis/checks/1/minRequests", json!(1));
    let few = Assumed {
        requests_per_second: 0.5,
        ..Assumed::default()
    };
    let said = |object: &Value| {
        let on = manifest::check(object).unwrap_or_else(|errors| panic!("{errors:?}"));
        let found = advice(&on, &Documents::default(), &few);
        let fields = found.into_iter().map(|f| f.field);
        fields.filter(|f| f.ends_with(".replicas")).count()
    };
    assert_eq!(said(&object), 2, "at both steps");
    let only = json!({"matchers": [{"label": "path", "notIn": ["/ready"]}]});
    for check in 0..2 {
        let at = format!("/spec/analysis/checks/{check}/metric");
        set(&mut object, &at, only.clone());
    }
    assert_eq!(said(&object), 0);
}
