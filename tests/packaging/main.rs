//! The chart, the kustomize base and the install manifest say the same, and say it rightly.
//!
//! Needs `helm` (or `HELM=…`) and `kubectl`; no cluster.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chart;
mod overlay;
mod rendered;
mod rights;

use std::path::{Path, PathBuf};

use rendered::{base, chart, read, yaml};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The YAML files of a folder, in order.
fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect(folder);
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    files
}

#[test]
fn the_install_manifest_is_the_rendered_base() {
    let kept = read("deploy/install.yaml");
    assert!(
        kept == rendered::kustomize("deploy/base"),
        "deploy/install.yaml is old: make generate"
    );
}

#[test]
fn the_chart_has_the_definitions_as_they_are_generated() {
    let names = |folder| -> Vec<_> {
        yaml_files(folder)
            .iter()
            .map(|f| f.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names("charts/stepgate/files/crds"),
        names("crds"),
        "make generate"
    );
    for file in yaml_files("crds") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let copy = read(&format!("charts/stepgate/files/crds/{name}"));
        assert!(
            read(&format!("crds/{name}")) == copy,
            "{name} in the chart is old: make generate"
        );
    }
}

/// Who removes the operator by the manifest that installed it keeps every Rollout and its pods.
#[test]
fn the_definitions_are_in_a_manifest_of_their_own() {
    let all = yaml_files("crds").len();
    assert_eq!(base().of_kind("CustomResourceDefinition").count(), 0);
    let kept = read("deploy/crds.yaml");
    assert!(
        kept == rendered::kustomize("crds"),
        "deploy/crds.yaml is old: make generate"
    );
    let kinds = yaml(&kept).into_iter().map(|object| object["kind"].clone());
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(
        kinds,
        vec!["CustomResourceDefinition"; all],
        "crds/Kustomization does not list them all"
    );
}

#[test]
fn chart_and_base_run_the_same_pod() {
    let spec = |objects: &rendered::Objects| {
        objects.only("Deployment")["spec"]["template"]["spec"].clone()
    };
    assert_eq!(spec(&chart(&[])), spec(&base()));
}

/// OpenShift gives a namespace's pods a user of its own, and refuses those that name another.
#[test]
fn the_pod_names_no_user_and_is_never_root() {
    let deployment = base().only("Deployment").clone();
    let pod = &deployment["spec"]["template"]["spec"];
    for context in [
        &pod["securityContext"],
        &pod["containers"][0]["securityContext"],
    ] {
        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert!(context[field].is_null(), "{field}");
        }
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
}

#[test]
fn chart_and_base_configure_the_same_metric_sources() {
    let sources = |objects: &rendered::Objects| {
        let file = objects.only("ConfigMap")["data"]["sources.yaml"].clone();
        yaml(file.as_str().expect("sources.yaml"))
    };
    assert_eq!(sources(&chart(&[])), sources(&base()));
}

#[test]
fn the_operator_can_read_the_metric_sources() {
    use stepgate::prometheus::SourcesFile;
    // Every field that the chart's schema knows.
    let all = [
        "name=mimir",
        "url=https://mimir.example/prometheus",
        "convention=opentelemetry",
        "metric.histogram=request_seconds",
        "metric.matchers[0].label=reporter",
        "metric.matchers[0].equals=destination",
        "namespaceLabel=k8s_namespace_name",
        "basicAuth.usernameFile=/etc/stepgate-secrets/mimir/user",
        "basicAuth.passwordFile=/etc/stepgate-secrets/mimir/password",
        "caFile=/etc/stepgate-secrets/mimir/ca.crt",
        "headers.X-Team=platform",
        "tenant=shop",
        "tenantHeader=X-Scope-OrgID",
        "namespaces={shop}",
        "timeoutSeconds=5",
        "scrapeIntervalSeconds=15",
    ]
    .map(|field| format!("metricSources[0].{field}"));
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let token = [
        "metricSources[0].name=token",
        "metricSources[0].url=http://prometheus:9090",
        "metricSources[0].bearerTokenFile=/etc/stepgate-secrets/p/token",
    ];
    for objects in [base(), chart(&[]), chart(&all), chart(&token)] {
        let text = &objects.only("ConfigMap")["data"]["sources.yaml"];
        let text = text.as_str().expect("sources.yaml");
        let read = SourcesFile::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(read.sources.len(), 1);
    }
}

#[test]
fn every_variable_of_the_pod_is_a_setting_of_the_operator() {
    use clap::{Args, Command};
    let command = stepgate::operator::config::OperatorArgs::augment_args(Command::new("run"));
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(clap::Arg::get_env)
        .collect();
    let flags = [
        "namespaces={a,b}",
        "metrics.rolloutNames=true",
        "leaderElection.leaseDurationSeconds=30",
        "leaderElection.renewDeadlineSeconds=20",
        "leaderElection.retryPeriodSeconds=4",
    ];
    let alone = ["leaderElection.enabled=false", "replicas=1"];
    for objects in [chart(&flags), chart(&alone), base()] {
        let deployment = objects.only("Deployment");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        for variable in container["env"].as_array().expect("env") {
            let name = variable["name"].as_str().expect("a name");
            assert!(
                known.iter().any(|k| *k == name),
                "{name} is no setting of the operator"
            );
        }
    }
}

#[test]
fn examples_are_rollouts_that_can_be_read() {
    let mut rollouts = 0;
    for file in yaml_files("deploy/examples") {
        let text = std::fs::read_to_string(&file).expect("the example");
        for object in yaml(&text)
            .into_iter()
            .filter(|object| object["kind"] == "Rollout")
        {
            let read = serde_json::from_value::<stepgate::api::Rollout>(object);
            read.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            rollouts += 1;
        }
    }
    assert!(rollouts >= 5, "only {rollouts} examples");
}
