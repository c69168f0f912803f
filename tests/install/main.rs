//! Installing on a real API server: the manifest, the chart, the examples, and what the rights that
//! come with them allow.
//!
//! Needs `KUBECONFIG` of a cluster whose administrator one is, `kubectl`, and `helm` (or `HELM=…`).
//! The custom resource definitions and the namespace `stepgate-system` stay; the rest is removed.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod author;
mod chart;
mod deciders;
mod manifest;
mod process;
mod uninstall;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program in the repository and returns what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8(output.stdout).expect("text")
}

fn output(program: &str, arguments: &[&str]) -> Output {
    let told = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    assert!(
        told,
        "these tests need a cluster: set KUBECONFIG to its configuration"
    );
    Command::new(program)
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap_or_else(|error| panic!("these tests need `{program}`: {error}"))
}

fn kubectl(arguments: &[&str]) -> String {
    run("kubectl", arguments)
}

fn helm(arguments: &[&str]) -> String {
    run(
        &std::env::var("HELM").unwrap_or_else(|_| "helm".into()),
        arguments,
    )
}

/// The definitions are installed and served, once for all tests of this process.
fn definitions() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        kubectl(&["apply", "--server-side", "--force-conflicts", "-k", "crds"]);
        for name in ["rollouts.stepgate.io", "databaseschemas.stepgate.io"] {
            established(name);
        }
    });
}

/// The definition is served. `kubectl wait` gives up on one that has no condition yet.
fn established(name: &str) {
    let path = r#"jsonpath={.status.conditions[?(@.type=="Established")].status}"#;
    eventually(&format!("CRD {name} to be established"), || {
        kubectl(&["get", "crd", name, "-o", path]) == "True"
    });
}

/// Asks until the answer is yes.
fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !ask() {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A namespace of this test alone, deleted with everything in it.
struct Namespace(String);

impl Namespace {
    fn new(test: &str) -> Self {
        let name = format!("{test}-{}", std::process::id());
        kubectl(&["create", "namespace", &name]);
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        output("kubectl", &["delete", "namespace", &self.0, "--wait=false"]);
    }
}

/// Whether the ServiceAccount may do that in the namespace. A slash begins a subresource.
fn may(account: &str, namespace: &str, verb: &str, resource: &str) -> bool {
    let account = format!("system:serviceaccount:{account}");
    // (kubectl itself takes what follows a slash for the name of an object.)
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    let arguments = [
        "auth",
        "can-i",
        verb,
        resource,
        &subresource,
        "-n",
        namespace,
        "--as",
        &account,
    ];
    let answer = output("kubectl", &arguments);
    match String::from_utf8_lossy(&answer.stdout).trim() {
        "yes" => true,
        "no" => false,
        other => panic!(
            "{arguments:?}: {other} {}",
            String::from_utf8_lossy(&answer.stderr)
        ),
    }
}
