//! The chart's switches and its refusals.

use serde_json::Value;
use stepgate::{
    operator::metrics::Metrics,
    plan::{
        intent::{RolloutState, Stands},
        reason::Reason,
    },
};

use super::rendered::{chart, read, try_chart, yaml};

/// The error of rendering with these values.
fn refused(values: &[&str]) -> String {
    match try_chart(values) {
        Ok(_) => panic!("{values:?} was accepted"),
        Err(error) => error,
    }
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for (values, expected) in [
        (vec!["replica=3"], "'replica' not allowed"),
        (vec!["image.version=1"], "'version' not allowed"),
        (vec!["namespaces=shop"], "/namespaces"),
        (vec!["namespaces={Shop}"], "/namespaces/0"),
        (vec!["log.format=xml"], "/log/format"),
        (vec!["metricSources[0].name=a"], "missing property 'url'"),
        (
            vec!["metricSources[0].name=a", "metricSources[0].url=ftp://x"],
            "/metricSources/0/url",
        ),
        (vec!["leaderElection.enabled=false"], "replicas must be 1"),
        (
            vec!["serviceAccount.create=false"],
            "serviceAccount.name is needed",
        ),
    ] {
        let error = refused(&values);
        assert!(error.contains(expected), "{values:?}: {error}");
    }
}

#[test]
fn every_value_has_a_default_and_every_default_a_description() {
    fn compare(path: &str, values: &Value, schema: &Value) {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        for (name, described) in properties {
            assert!(
                described["description"].is_string(),
                "{path}.{name} has no description"
            );
            // Helm's own; nothing of ours.
            if name != "global" {
                assert!(
                    !values[name].is_null(),
                    "{path}.{name} is not in values.yaml"
                );
                compare(&format!("{path}.{name}"), &values[name], described);
            }
        }
    }
    let schema: Value = serde_json::from_str(&read("charts/stepgate/values.schema.json")).unwrap();
    let values = yaml(&read("charts/stepgate/values.yaml")).remove(0);
    compare("", &values, &schema);
}

#[test]
fn definitions_are_kept_unless_told_otherwise() {
    let keep = |values: &[&str]| -> Vec<Value> {
        let objects = chart(values);
        let definitions = objects.of_kind("CustomResourceDefinition");
        definitions
            .map(|crd| crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone())
            .collect()
    };
    assert_eq!(keep(&[]), ["keep", "keep"]);
    assert_eq!(keep(&["crds.keep=false"]), [Value::Null, Value::Null]);
    assert!(keep(&["crds.enabled=false"]).is_empty());
}

#[test]
fn definitions_come_through_the_template_whole() {
    for crd in chart(&[]).of_kind("CustomResourceDefinition") {
        let name = crd["spec"]["names"]["plural"].as_str().unwrap();
        let generated = yaml(&read(&format!("crds/{name}.yaml"))).remove(0);
        assert_eq!(crd["spec"], generated["spec"], "{name}");
    }
}

#[test]
fn what_is_optional_is_off_and_can_be_switched_on() {
    for (kind, value) in [
        ("NetworkPolicy", "networkPolicy.enabled=true"),
        ("Service", "metrics.service.enabled=true"),
        ("ServiceMonitor", "metrics.serviceMonitor.enabled=true"),
        ("Service", "metrics.serviceMonitor.enabled=true"),
        ("PodMonitor", "metrics.podMonitor.enabled=true"),
        ("PrometheusRule", "metrics.prometheusRule.enabled=true"),
    ] {
        assert_eq!(
            chart(&[]).of_kind(kind).count(),
            0,
            "{kind} is there by default"
        );
        assert_eq!(
            chart(&[value]).of_kind(kind).count(),
            1,
            "{kind} is not there with {value}"
        );
    }
    assert_eq!(
        chart(&["replicas=1"])
            .of_kind("PodDisruptionBudget")
            .count(),
        0
    );
}

#[test]
fn what_selects_the_pods_matches_them() {
    let objects = chart(&[
        "networkPolicy.enabled=true",
        "metrics.service.enabled=true",
        "metrics.podMonitor.enabled=true",
        "podLabels.team=platform",
    ]);
    let deployment = objects.only("Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["team"], "platform");
    for selector in [
        &deployment["spec"]["selector"]["matchLabels"],
        &objects.only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &objects.only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        &objects.only("PodMonitor")["spec"]["selector"]["matchLabels"],
        &objects.only("Service")["spec"]["selector"],
    ] {
        for (name, value) in selector.as_object().expect("a selector") {
            assert_eq!(&labels[name], value, "{name}");
        }
    }
}

#[test]
fn a_service_monitor_finds_its_service() {
    let objects = chart(&["metrics.serviceMonitor.enabled=true"]);
    let labels = &objects.only("Service")["metadata"]["labels"];
    let selector = &objects.only("ServiceMonitor")["spec"]["selector"]["matchLabels"];
    for (name, value) in selector.as_object().expect("a selector") {
        assert_eq!(&labels[name], value, "{name}");
    }
}

#[test]
fn alerts_name_metrics_that_exist() {
    alerts(false);
    alerts(true);
}

fn alerts(named: bool) {
    let metrics = match named {
        true => Metrics::naming_rollouts(),
        false => Metrics::new(),
    };
    // A family that has no series is not told.
    let stands = Stands {
        state: RolloutState::Stalled,
        reason: Some(Reason::CheckFailed),
        flags: [("new-search".to_owned(), 25)].into(),
    };
    metrics.stands("shop", "web", Some(stands));
    let metrics = metrics.render();
    let objects = chart(&[
        "metrics.prometheusRule.enabled=true",
        &format!("metrics.rolloutNames={named}"),
    ]);
    let env = objects.only("Deployment").to_string();
    assert_eq!(env.contains("STEPGATE_ROLLOUT_METRICS"), named);
    let rules = objects.only("PrometheusRule")["spec"]["groups"][0]["rules"].clone();
    let rules = rules.as_array().expect("rules");
    assert!(!rules.is_empty());
    for rule in rules {
        let expression = rule["expr"].as_str().expect("an expression");
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("stepgate_")) {
            let family = word.trim_end_matches("_total");
            assert!(
                metrics.contains(&format!("# TYPE {family} ")),
                "{word} does not exist"
            );
        }
    }
}

#[test]
fn a_dashboard_is_there_when_it_is_asked_for() {
    let objects = chart(&["metrics.dashboard.enabled=true"]);
    let maps: Vec<_> = objects.of_kind("ConfigMap").collect();
    let dashboard = maps
        .iter()
        .find(|map| map["metadata"]["labels"]["grafana_dashboard"] == "1")
        .expect("the dashboard");
    let text = dashboard["data"]["stepgate.json"]
        .as_str()
        .expect("its text");
    let read: serde_json::Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(read["title"], "Stepgate");
    assert!(text.contains("{{state}}"), "Grafana's own templates stay");
}

#[test]
fn secrets_of_metric_sources_are_mounted_where_it_is_said() {
    let objects = chart(&["metricSourceSecrets={mimir-token}"]);
    let pod = &objects.only("Deployment")["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"]
        .as_array()
        .expect("mounts");
    let mount = mounts
        .iter()
        .find(|m| m["mountPath"] == "/etc/stepgate-secrets/mimir-token");
    let mount = mount.expect("the mount");
    assert_eq!(mount["readOnly"], true);
    let volumes = pod["volumes"].as_array().expect("volumes");
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == mount["name"]);
    assert_eq!(
        volume.expect("the volume")["secret"]["secretName"],
        "mimir-token"
    );
}
