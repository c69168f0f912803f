//! The chart, with the real Helm.

use std::time::Duration;

use kube::{Api, Config};
use stepgate::operator::client::Clients;
use stepgate::operator::lease::{Elector, ElectorConfig, Timing};
use stepgate::operator::metrics::Metrics;
use stepgate::operator::shutdown::StopSource;

use super::{Namespace, PATIENCE, definitions, eventually, helm, kubectl, may, output};

/// A release of this test alone, in a namespace of its own; no operator runs.
struct Release {
    name: String,
    namespace: Namespace,
}

impl Release {
    fn install(test: &str, values: &[&str]) -> Self {
        let namespace = Namespace::new(test);
        let name = namespace.0.clone();
        let release = Self { name, namespace };
        helm(&release.arguments(
            "install",
            &[&["replicas=0", "commands.policy=false"], values].concat(),
        ));
        release
    }

    fn arguments<'a>(&'a self, verb: &'a str, values: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec![verb, self.name.as_str(), "charts/stepgate"];
        arguments.extend(["--namespace", self.namespace.0.as_str()]);
        for value in values {
            arguments.extend(["--set", value]);
        }
        arguments
    }

    /// `namespace:name` of its ServiceAccount.
    fn account(&self) -> String {
        format!("{}:{}", self.namespace.0, self.full_name())
    }

    fn full_name(&self) -> String {
        format!("{}-stepgate", self.name)
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        let helm = std::env::var("HELM").unwrap_or_else(|_| "helm".into());
        output(
            &helm,
            &["uninstall", &self.name, "--namespace", &self.namespace.0],
        );
    }
}

#[test]
fn a_release_for_some_namespaces_has_no_rights_elsewhere() {
    definitions();
    let (ours, other) = (Namespace::new("ours"), Namespace::new("other"));
    let namespaces = format!("namespaces={{{}}}", ours.0);
    let release = Release::install(
        "some",
        &["crds.enabled=false", "rbac.getSecrets=true", &namespaces],
    );
    let account = release.account();
    eventually("the roles to count", || {
        may(&account, &ours.0, "watch", "rollouts.stepgate.io")
    });
    assert!(may(&account, &ours.0, "patch", "deployments.apps"));
    assert!(may(&account, &ours.0, "get", "secrets"), "it was asked for");
    assert!(!may(&account, &ours.0, "list", "secrets"));
    for (verb, resource) in [
        ("watch", "rollouts.stepgate.io"),
        ("patch", "deployments.apps"),
        ("get", "secrets"),
    ] {
        assert!(
            !may(&account, &other.0, verb, resource),
            "it may {verb} {resource} elsewhere"
        );
    }
    let values = [
        "replicas=0",
        "crds.enabled=false",
        "commands.policy=false",
        "workers=3",
        &namespaces,
    ];
    helm(&release.arguments("upgrade", &values));
    let name = format!("deployment/{}", release.full_name());
    let container =
        "jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"STEPGATE_WORKERS\")].value}";
    let workers = kubectl(&["-n", &release.namespace.0, "get", &name, "-o", container]);
    assert_eq!(workers, "3");
}

#[test]
fn the_definitions_outlive_their_release() {
    definitions();
    // They are there already, as they are after an earlier release.
    let namespace = Namespace::new("crds");
    let set = [
        "--set",
        "replicas=0",
        "--set",
        "rbac.aggregateToUserRoles=false",
    ];
    let mut install = vec![
        "install",
        "crds",
        "charts/stepgate",
        "--namespace",
        &namespace.0,
    ];
    install.extend(set);
    install.extend(["--take-ownership", "--force-conflicts"]);
    helm(&install);
    let owner = || {
        let path = "jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-name}";
        kubectl(&["get", "crd", "rollouts.stepgate.io", "-o", path])
    };
    assert_eq!(owner(), "crds", "the chart brought the definition");
    helm(&["uninstall", "crds", "--namespace", &namespace.0]);
    assert_eq!(owner(), "crds", "and it is still there");
    kubectl(&["-n", &namespace.0, "get", "rollouts.stepgate.io"]);
}

/// With just the rights of the chart, a process can get, keep and give back the lead.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_come_with_the_chart_are_enough_for_the_lead() {
    definitions();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let values = ["crds.enabled=false", "rbac.aggregateToUserRoles=false"];
    let release = Release::install("lead", &values);
    let (account, namespace) = (release.account(), release.namespace.0.clone());
    eventually("the roles to count", || {
        may(&account, &namespace, "create", "leases.coordination.k8s.io")
    });

    let mut config = Config::infer()
        .await
        .expect("KUBECONFIG must name a usable configuration");
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{account}"));
    let clients = Clients::new(config, &Metrics::new()).expect("a client");
    let api = Api::namespaced(clients.writes.client(), &namespace);
    let setup = ElectorConfig {
        name: release.full_name(),
        identity: "tested".into(),
        timing: Timing::default(),
    };
    let (elector, mut leadership) = Elector::new(api.clone(), setup, Metrics::new());
    let stop = StopSource::new();
    let running = tokio::spawn(elector.run(stop.stop(), || ()));
    let led = tokio::time::timeout(PATIENCE, leadership.led())
        .await
        .expect("to lead");
    let epoch = led.expect("an elector");
    assert_eq!(leadership.confirm().await, Some(epoch), "it may renew");
    stop.pull();
    tokio::time::timeout(Duration::from_secs(10), running)
        .await
        .expect("to end")
        .expect("no panic");
    let lease = api.get(&release.full_name()).await.expect("the Lease");
    let spec = lease.spec.expect("a spec");
    assert_eq!(
        spec.holder_identity.as_deref(),
        Some(""),
        "it was given back"
    );
    let created = lease.metadata.creation_timestamp.expect("a time").0;
    let transitions = i64::from(spec.lease_transitions.expect("a count"));
    assert_eq!(created.as_microsecond() + transitions, epoch);
}
