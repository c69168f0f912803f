//! Parts of a spec.

pub mod templates;

use serde_json::{Value, json};

use super::Mistake;

pub fn mistake(name: &'static str, at: &'static str, value: Value, told: &'static str) -> Mistake {
    Mistake {
        name,
        at,
        value,
        told,
    }
}

pub fn step(name: &str, replicas: Value) -> Value {
    json!({"name": name, "replicas": replicas})
}

/// Steps of these weights.
pub fn weighted(weights: &[i32]) -> Value {
    let steps = weights.iter().enumerate();
    let steps = steps.map(|(n, weight)| json!({"name": format!("s{n}"), "weight": weight}));
    json!({"canary": {"steps": steps.collect::<Vec<_>>()}})
}

pub fn traffic(from: &str, stable: &str, canary: &str) -> Value {
    json!({"portsFrom": {"name": from}, "stableService": stable, "canaryService": canary})
}

pub fn flags(percents: &[i32], on: &str, off: &str) -> Value {
    let named = percents.iter().enumerate();
    let ramp: Vec<Value> = named
        .map(|(index, percent)| json!({"name": format!("s{index}"), "percent": percent}))
        .collect();
    json!([{
        "key": "full-name", "configMap": {"name": "shop-flags"}, "onVariant": on,
        "offVariant": off, "ramp": ramp,
    }])
}

pub fn steps(replicas: &[Value]) -> Value {
    let named = replicas.iter().enumerate();
    let steps: Vec<Value> = named
        .map(|(index, r)| step(&format!("s{index}"), r.clone()))
        .collect();
    json!({"canary": {"steps": steps}})
}

pub fn tested(tests: Value) -> Value {
    let step = json!({"name": "full", "replicas": "100%", "tests": tests});
    json!({"canary": {"steps": [step]}})
}

pub fn checks(check: Value) -> Value {
    json!({"checks": [check]})
}

pub fn metric(metric: Value) -> Value {
    json!({"name": "a", "errorRate": {"maxPercent": "1"}, "metric": metric})
}

/// Sets a value, making the objects on the way to it.
pub fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for part in pointer.split('/').skip(1) {
        place = &mut place[part];
    }
    *place = value;
}
