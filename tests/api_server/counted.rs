//! What the operator counts of its decisions and of metric sources, read from its own port as a
//! Prometheus reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Instant,
};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Child};

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, free_port, metrics, operator_with, pods, say_ready},
};

/// Pods by name.
type Names = Arc<Mutex<BTreeSet<String>>>;

/// A metric source that knows these pods. All that is asked of them ends with an error.
async fn source(known: Names) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let began = Instant::now();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let known = known.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = match request.uri().path() {
                    "/api/v1/query" => vector(&known.lock().expect("the names"), began),
                    // Of the time before it nothing is known.
                    _ => result("matrix", &[]),
                };
                async move { Ok::<_, Infallible>(Response::new(answer.to_string())) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    address
}

fn vector(pods: &BTreeSet<String>, began: Instant) -> Value {
    let clock = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    let requests = began.elapsed().as_secs_f64().mul_add(100.0, 1000.0).round();
    let sample = |value: f64| json!([clock, value.to_string()]);
    let mut series = vec![json!({"metric": {"stepgate_part": "clock"}, "value": sample(clock)})];
    for pod in pods {
        let parts = [
            ("up", clock),
            ("series", clock),
            ("total", requests),
            ("bad", requests),
        ];
        series.extend(parts.map(|(part, value)| {
            json!({"metric": {"stepgate_part": part, "pod": pod}, "value": sample(value)})
        }));
    }
    result("vector", &series)
}

fn result(kind: &str, series: &[Value]) -> Value {
    json!({"status": "success", "data": {"resultType": kind, "result": series}})
}

/// The operator as a process, and where it shows its metrics.
struct Operator {
    process: Child,
    port: u16,
}

impl Operator {
    fn start(home: &Home, sources: &str) -> Self {
        let port = free_port();
        let listen = format!("--listen=127.0.0.1:{port}");
        let arguments = ["--leader-elect=false", "--metric-sources", sources, &listen];
        Self {
            process: operator_with(home, &arguments),
            port,
        }
    }

    async fn metrics(&self) -> Option<String> {
        metrics(self.port).await
    }

    /// The series of a counter that are above nothing, by their only label.
    async fn counts(&self, counter: &str) -> Option<BTreeMap<String, u64>> {
        let text = self.metrics().await?;
        let series = text.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix(counter)?.split_once(' ')?;
            let (_, label) = labels.trim_end_matches("\"}").split_once("=\"")?;
            Some((label.to_owned(), value.parse().expect("a count")))
        });
        let series: BTreeMap<_, _> = series.collect();
        assert!(!series.is_empty(), "no {counter} before the first event");
        Some(series.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    async fn undos(&self) -> Option<BTreeMap<String, u64>> {
        self.counts("stepgate_undos_total").await
    }

    async fn polls(&self) -> Option<BTreeMap<String, u64>> {
        self.counts("stepgate_evidence_polls_total").await
    }
}

fn causes<const N: usize>(causes: [&str; N]) -> BTreeMap<String, u64> {
    causes.map(|cause| (cause.to_owned(), 1)).into()
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().expect("a name")
}

/// Changes the Rollout.
async fn patch(home: &Home, patch: Value) {
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let patched = home.rollouts().patch("shop", &params, &patch).await;
    patched.expect("patched");
}

/// Another revision, judged by this metric source.
async fn release(home: &Home, image: &str, source: &str) {
    let containers = json!([{"name": "app", "image": image}]);
    let checks = json!([{"name": "errors", "errorRate": {"maxPercent": "0.5"}}]);
    let analysis = json!({"source": source, "intervalSeconds": 1, "checks": checks});
    let template = json!({"spec": {"containers": containers}});
    patch(
        home,
        json!({"spec": {"template": template, "analysis": analysis}}),
    )
    .await;
}

/// The release in motion.
async fn in_motion(home: &Home) -> Option<Value> {
    let object = home.rollouts().get("shop").await.ok()?;
    object.data.pointer("/status/release").cloned()
}

/// A file that is deleted with this.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn undos_are_counted_once_by_their_cause_and_polls_by_their_result() {
    let home = Home::new("counted").await;
    let known = Names::default();
    let (answers, down) = (source(known.clone()).await, free_port());
    let file = File(std::env::temp_dir().join(format!("{}.yaml", home.namespace)));
    let sources = json!({"sources": [
        {"name": "answers", "url": format!("http://{answers}")},
        {"name": "down", "url": format!("http://127.0.0.1:{down}")},
    ]});
    std::fs::write(&file.0, sources.to_string()).expect("a temporary file");
    let path = file.0.to_str().expect("a path");
    let mut operator = Operator::start(&home, path);

    let mut first = minimal("shop");
    first["spec"]["replicas"] = json!(2);
    first["spec"]["strategy"] = json!({"maxSurge": 1, "maxUnavailable": 0, "canary": {"steps": [
        {"name": "canary", "replicas": 1, "holdSeconds": 600},
        {"name": "full", "replicas": "100%", "holdSeconds": 1}]}});
    home.create(&first).await.expect("a Rollout");
    let ready = async || {
        say_ready(&home, pods(&home).await).await;
        let ready = condition(&home, "shop", "Ready").await?;
        (ready["status"] == "True").then_some(())
    };
    eventually("the first release to be Ready", ready).await;
    let text = operator.metrics().await.expect("metrics");
    assert!(text.contains("\nstepgate_leader 1\n"), "{text}");
    assert_eq!(operator.undos().await, Some(causes([])));
    assert_eq!(operator.polls().await, Some(causes([])));

    // All that is asked of the canary ends with an error.
    let stable: BTreeSet<_> = pods(&home).await.iter().map(name).collect();
    release(&home, "app:2", "answers").await;
    let undone = async |cause: &str| {
        let all = pods(&home).await;
        let canary = all.iter().map(name).filter(|name| !stable.contains(name));
        known.lock().expect("the names").extend(canary);
        say_ready(&home, all).await;
        operator.undos().await?.contains_key(cause).then_some(())
    };
    eventually("the canary to be undone by its check", || undone("Check")).await;
    eventually("stable to be whole", async || {
        say_ready(&home, pods(&home).await).await;
        in_motion(&home).await.is_none().then_some(())
    })
    .await;
    assert_eq!(operator.undos().await, Some(causes(["Check"])));
    let polls = operator.polls().await.expect("polls");
    let results: Vec<_> = polls.keys().map(String::as_str).collect();
    assert_eq!(results, ["Data"], "{polls:?}");

    // Nobody answers.
    release(&home, "app:3", "down").await;
    let revision = eventually("the next canary to be held", async || {
        say_ready(&home, pods(&home).await).await;
        let release = in_motion(&home).await?;
        release.pointer("/step/reached")?;
        Some(release["revision"].as_str()?.to_owned())
    })
    .await;
    let failed = eventually("a poll to fail", async || {
        let polls = operator.polls().await?;
        polls.contains_key("Failed").then_some(polls)
    })
    .await;
    assert_eq!(failed["Data"], polls["Data"]);
    assert_eq!(operator.undos().await, Some(causes(["Check"])));

    // A person says so, and the pod that stable gets back is not ready before another process
    // has taken over.
    let undo = json!({"stepgate.io/undo": format!("{revision} back")});
    patch(&home, json!({"metadata": {"annotations": undo}})).await;
    let both = causes(["Check", "Person"]);
    eventually("the undo to be counted", async || {
        (operator.undos().await? == both).then_some(())
    })
    .await;
    operator.process.kill().await.expect("killed");
    let release = in_motion(&home).await.expect("an undo under way");
    assert_eq!(release["undo"]["reason"], "UndoneByPerson");
    operator = Operator::start(&home, path);
    eventually("the undo to end", async || {
        say_ready(&home, pods(&home).await).await;
        in_motion(&home).await.is_none().then_some(())
    })
    .await;
    assert_eq!(operator.undos().await, Some(causes([])), "counted before");
}
