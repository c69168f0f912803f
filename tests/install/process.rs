//! The real program under the rights that it is installed with.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use serde_json::{Value, json};

use super::{Namespace, definitions, eventually, kubectl};

/// A kubeconfig for the operator's ServiceAccount, deleted with this.
pub struct Credentials(PathBuf);

impl Credentials {
    pub fn of_the_operator() -> Self {
        let token = kubectl(&["-n", "stepgate-system", "create", "token", "stepgate"]);
        let view = [
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "-o",
            "json",
        ];
        let mut config: Value = serde_json::from_str(&kubectl(&view)).expect("a kubeconfig");
        config["users"][0]["user"] = json!({ "token": token.trim() });
        let path = std::env::temp_dir().join(format!("stepgate-test-{}", std::process::id()));
        fs::write(&path, config.to_string()).expect("a temporary file");
        Self(path)
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The running operator. Killed when dropped.
pub struct Operator {
    child: Child,
    metrics: u16,
    probes: u16,
}

impl Operator {
    pub fn start(credentials: &Credentials, namespace: &str) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = || free().expect("a free port").port();
        let (metrics, probes) = (port(), port());
        let child = Command::new(env!("CARGO_BIN_EXE_stepgate"))
            .args([
                "run",
                "--namespace",
                namespace,
                "--lease-namespace",
                "stepgate-system",
            ])
            .args(["--listen", &format!("127.0.0.1:{metrics}")])
            .args(["--probes-listen", &format!("127.0.0.1:{probes}")])
            .env("KUBECONFIG", &credentials.0)
            .spawn()
            .expect("the operator");
        Self {
            child,
            metrics,
            probes,
        }
    }

    /// The whole answer, or nothing when there is none.
    pub fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        let port = match path {
            "/metrics" => self.metrics,
            _ => self.probes,
        };
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let asked = stream.write_all(request.as_bytes());
            let _ = asked.and_then(|()| stream.read_to_string(&mut answer));
        }
        answer
    }

    pub fn end(&mut self) -> ExitStatus {
        let sent = Command::new("kill")
            .args(["-s", "TERM", &self.child.id().to_string()])
            .status();
        assert!(sent.expect("the program `kill`").success());
        self.child.wait().expect("its exit status")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_program_works_with_just_the_rights_of_the_manifest() {
    definitions();
    super::manifest::apply();
    let namespace = Namespace::new("process");
    let credentials = Credentials::of_the_operator();
    let mut operator = Operator::start(&credentials, &namespace.0);
    eventually("the operator to be ready", || {
        operator.get("/readyz").starts_with("HTTP/1.1 200")
    });
    eventually("it to lead", || {
        operator.get("/metrics").contains("\nstepgate_leader 1\n")
    });

    kubectl(&[
        "-n",
        &namespace.0,
        "apply",
        "-f",
        "deploy/examples/minimal.yaml",
    ]);
    eventually("the first revision's Deployment to be scaled", || {
        let path = "jsonpath={.items[*].spec.replicas}";
        let owned = "stepgate.io/rollout=hello";
        kubectl(&[
            "-n",
            &namespace.0,
            "get",
            "deployments",
            "-l",
            owned,
            "-o",
            path,
        ]) == "4"
    });
    let path = "jsonpath={.status.conditions[?(@.type==\"Reconciling\")].status}";
    let reconciling = kubectl(&["-n", &namespace.0, "get", "sro", "hello", "-o", path]);
    assert_eq!(reconciling, "True", "its status is written");

    let metrics = operator.get("/metrics");
    let refused = metrics.lines().find(|line| line.contains("code=\"403\""));
    assert_eq!(refused, None, "it asked for something that it may not do");
    assert!(operator.get("/healthz").starts_with("HTTP/1.1 200"));

    assert!(operator.end().success(), "a clean stop exits with 0");
    let path = "jsonpath={.spec.holderIdentity}";
    let holder = kubectl(&[
        "-n",
        "stepgate-system",
        "get",
        "lease",
        "stepgate",
        "-o",
        path,
    ]);
    assert_eq!(holder, "", "the lead was given back");
}
