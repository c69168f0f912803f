//! The documented way out: the operator goes, the Rollouts go, the pods stay.

use std::process::Command;

use super::{
    Namespace, definitions, eventually, kubectl, output,
    process::{Credentials, Operator},
};

/// The commands between two marks of a page.
fn documented(mark: &str) -> String {
    let page = include_str!("../../docs/operations.md");
    let (_, rest) = page
        .split_once(&format!("<!-- tested: {mark} -->"))
        .expect(mark);
    let (block, _) = rest.split_once("<!-- end of tested -->").expect("its end");
    let (_, commands) = block.split_once("```\n").expect("a block");
    commands
        .split_once("```")
        .expect("the block's end")
        .0
        .to_owned()
}

fn shell(script: &str) {
    let ran = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{script}\n{said}");
}

/// Generation, requested pods and owners of the namespace's Deployments.
fn deployments(namespace: &str) -> String {
    let path = "jsonpath={range .items[*]}{.metadata.uid} {.metadata.generation} \
                {.spec.replicas} {.metadata.ownerReferences[*].kind}{'\\n'}{end}";
    kubectl(&["-n", namespace, "get", "deployments", "-o", path])
}

#[test]
#[ignore = "alone: it removes what the other tests use"]
fn the_pods_outlive_the_operator_and_the_definitions() {
    definitions();
    super::manifest::apply();
    let namespace = Namespace::new("uninstall");
    let ns = namespace.0.as_str();
    let credentials = Credentials::of_the_operator();
    let mut operator = Operator::start(&credentials, ns);
    kubectl(&["-n", ns, "apply", "-f", "deploy/examples/minimal.yaml"]);
    eventually("the first revision's Deployment to be scaled", || {
        deployments(ns).contains(" 4 Rollout")
    });

    // The operator alone: everything else stays, and it goes on when it is back.
    let before = deployments(ns);
    kubectl(&["delete", "-f", "deploy/install.yaml", "--timeout=60s"]);
    assert!(operator.end().success(), "a clean stop exits with 0");
    assert_eq!(
        deployments(ns),
        before,
        "nothing changed at the Deployments"
    );
    kubectl(&["-n", ns, "get", "sro", "hello"]);
    super::manifest::apply();
    let credentials = Credentials::of_the_operator();
    let mut operator = Operator::start(&credentials, ns);
    eventually("it to lead", || {
        operator.get("/metrics").contains("\nstepgate_leader 1\n")
    });
    let path = "jsonpath={.status.conditions[?(@.type==\"Stalled\")].status}";
    let stalled = kubectl(&["-n", ns, "get", "sro", "hello", "-o", path]);
    assert_eq!(stalled, "False", "it knows the Rollout again");
    assert!(operator.end().success(), "a clean stop exits with 0");

    // A move and a phase that nobody ends any more.
    let moving = r#"{"metadata":{"finalizers":["stepgate.io/adopting"]}}"#;
    kubectl(&[
        "-n", ns, "patch", "sro", "hello", "--type", "merge", "-p", moving,
    ]);
    let held = format!(
        "kubectl -n {ns} create -f - <<'E'\n\
         apiVersion: stepgate.io/v1alpha1\nkind: DatabaseSchema\n\
         metadata: {{name: db, finalizers: [{}]}}\nE",
        stepgate::api::keys::HELD
    );
    shell(&held);
    shell(&documented("uninstall"));
    let definitions = kubectl(&["get", "crd", "-o", "name"]);
    assert!(!definitions.contains("stepgate.io"), "{definitions}");
    let left = deployments(ns);
    assert!(left.contains(" 4 ") && !left.contains("Rollout"), "{left}");
    // The garbage collector had its chance: it acts on what it hears of, and has heard of this one.
    kubectl(&["-n", ns, "create", "configmap", "marker"]);
    let owned = r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"gone","uid":"00000000-0000-0000-0000-000000000000"}]}}"#;
    kubectl(&["-n", ns, "patch", "configmap", "marker", "-p", owned]);
    eventually("the garbage collector to take an orphan", || {
        !output("kubectl", &["-n", ns, "get", "configmap", "marker"])
            .status
            .success()
    });
    assert_eq!(deployments(ns), left, "the Deployment stays");
}
