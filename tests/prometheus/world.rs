//! A real Prometheus, the pods it scrapes, and a sampler that asks it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use stepgate::api::Convention;
use stepgate::evidence::{CheckKind, CheckSpec, Measure, PodSeen, Reading, Readings};
use stepgate::prometheus::{Sampler, SourcesFile};
use tokio::task::JoinSet;

use super::server;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// The metrics each pod shows, in Prometheus' text format; a pod without is down.
type Pages = Arc<Mutex<BTreeMap<String, String>>>;

pub struct World {
    folder: PathBuf,
    pages: Pages,
    scraped: SocketAddr,
    port: u16,
    process: Option<Child>,
}

impl World {
    /// Starts Prometheus.
    pub fn new(name: &str) -> Self {
        Self::with_rules(name, "")
    }

    /// The same, with a list of alerting rules.
    pub fn with_rules(name: &str, rules: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("stepgate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let pages = Pages::default();
        let shown = Arc::clone(&pages);
        let scraped = server::serve(move |request| {
            let pod = request.path.trim_start_matches('/');
            match shown.lock().unwrap().get(pod) {
                Some(text) => (
                    "200 OK\r\nContent-Type: text/plain; version=0.0.4".to_owned(),
                    text.clone().into_bytes(),
                ),
                None => ("503 Service Unavailable".to_owned(), Vec::new()),
            }
        });
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let jobs: Vec<String> = ["pods", "again", "native"]
            .iter()
            .map(|job| {
                let native = *job == "native";
                format!(
                    "- job_name: {job}\n  convert_classic_histograms_to_nhcb: {native}\n  \
                     scrape_native_histograms: {native}\n  file_sd_configs: [{{files: [{}]}}]\n",
                    folder.join(format!("{job}.json")).display()
                )
            })
            .collect();
        let config = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}\n\
             rule_files: [rules.yml]\nscrape_configs:\n{}",
            jobs.concat()
        );
        let rules = rules.replace('\n', "\n  ");
        let groups = match rules.trim() {
            "" => "groups: []\n".to_owned(),
            rules => format!("groups:\n- name: stepgate\n  rules:\n  {rules}\n"),
        };
        std::fs::write(folder.join("rules.yml"), groups).unwrap();
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let mut world = Self {
            folder,
            pages,
            scraped,
            port,
            process: None,
        };
        for job in ["pods", "again", "native"] {
            world.scrape(job, "shop", &[]);
        }
        world.start();
        world
    }

    pub fn start(&mut self) {
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let child = Command::new(binary())
            .arg(format!(
                "--config.file={}",
                self.folder.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                self.folder.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg("--scrape.discovery-reload-interval=100ms")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                Instant::now() < until,
                "Prometheus did not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Says which pods of a namespace a job scrapes.
    pub fn scrape(&self, job: &str, namespace: &str, pods: &[&str]) {
        let groups: Vec<_> = pods
            .iter()
            .map(|pod| {
                serde_json::json!({
                    "targets": [self.scraped.to_string()],
                    "labels": {
                        "namespace": namespace, "pod": pod, "instance": format!("{pod}:80"),
                        "__metrics_path__": format!("/{pod}"),
                    },
                })
            })
            .collect();
        let path = self.folder.join(format!("{job}.json"));
        // Whole or not at all: Prometheus watches the file.
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(&groups).unwrap()).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// What a pod shows when it is scraped.
    pub fn show(&self, pod: &str, text: &str) {
        self.pages
            .lock()
            .unwrap()
            .insert(pod.to_owned(), text.to_owned());
    }

    /// Requests answered by a pod so far.
    pub fn count(&self, pod: &str, ok: u32, wrong: u32) {
        let series = |status: u32, path: &str, n: u32| {
            format!(
                "http_requests_total{{method=\"GET\",path=\"{path}\",status=\"{status}\"}} {n}\n"
            )
        };
        let text = format!(
            "# TYPE http_requests_total counter\n{}{}{}",
            series(200, "/", ok / 2),
            series(404, "/a", ok - ok / 2),
            series(503, "/", wrong)
        );
        self.show(pod, &text);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// A new sampler, as after a start of the operator; it lives as long as the set.
    pub fn sampler(&self) -> (Sampler, JoinSet<()>) {
        let yaml = format!(
            "sources: [{{name: default, url: \"{}\", scrapeIntervalSeconds: 1, timeoutSeconds: 5}}]",
            self.url()
        );
        let file = SourcesFile::parse(&yaml).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sampler = Sampler::new(file, |_| {}, |_, _| {}).unwrap();
        let mut running = JoinSet::new();
        let handle = sampler.clone();
        running.spawn(async move { handle.run().await });
        (sampler, running)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STEPGATE_PROMETHEUS") {
        return path.into();
    }
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = var("STEPGATE_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|c| c.join("stepgate")))
        .or_else(|| var("HOME").map(|h| h.join(".cache/stepgate")))
        .unwrap_or_default();
    let found = std::fs::read_dir(&cache).ok().and_then(|entries| {
        let folders = entries.flatten().map(|e| e.path());
        let programs = folders
            .filter(|p| is_prometheus_folder(p))
            .map(|p| p.join("prometheus"));
        programs.filter(|p| p.is_file()).max()
    });
    found.unwrap_or_else(|| {
        panic!(
            "no prometheus in {}: build it with `tests/programs/cluster/cluster build prometheus`, or \
             name one (version 3) in STEPGATE_PROMETHEUS",
            cache.display()
        )
    })
}

fn is_prometheus_folder(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str());
    name.is_some_and(|n| n.starts_with("prometheus-"))
}

pub fn error_rate(name: &str) -> CheckSpec {
    CheckSpec {
        name: name.to_owned(),
        kind: CheckKind::ErrorRate { max_percent: 1.0 },
        min_requests: 100,
        warm_up_seconds: 0,
        convention: Convention::default(),
    }
}

pub fn p95(name: &str, max_milliseconds: f64) -> CheckSpec {
    CheckSpec {
        kind: CheckKind::Latency {
            percentile: 95.0,
            max_milliseconds,
        },
        ..error_rate(name)
    }
}

/// A measure of these pods, all ready now, without a hold yet.
pub fn measure(rollout: &str, pods: &[&str], checks: Vec<CheckSpec>) -> Measure {
    let now = Timestamp::now();
    Measure {
        namespace: "shop".to_owned(),
        rollout: rollout.to_owned(),
        revision: "r1".to_owned(),
        pod_prefix: format!("{rollout}-r1-"),
        beside: None,
        pods: pods.iter().map(|name| seen(name)).collect(),
        probe_seconds: Vec::new(),
        since: now,
        hold_since: None,
        before: None,
        source: "default".to_owned(),
        interval_seconds: 1,
        checks,
    }
}

/// A pod that has just become ready.
pub fn seen(name: &str) -> PodSeen {
    let now = Timestamp::now();
    PodSeen {
        name: name.to_owned(),
        ready_since: Some(now),
        created: now,
    }
}

/// Waits until the readings are as wanted.
pub async fn until(
    sampler: &Sampler,
    rollout: &str,
    wanted: impl Fn(&Readings) -> bool,
) -> Readings {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let readings = sampler.readings("shop", rollout, "r1").unwrap();
        if wanted(&readings) {
            return readings;
        }
        assert!(Instant::now() < deadline, "still {readings:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the first check's reading is as wanted.
pub async fn until_first(
    sampler: &Sampler,
    rollout: &str,
    wanted: impl Fn(&Reading) -> bool,
) -> Reading {
    let readings = until(sampler, rollout, |r| wanted(&r.readings[0])).await;
    readings.readings.into_iter().next().unwrap()
}

/// Waits for so many more polls that were answered whole.
pub async fn more_polls(sampler: &Sampler, rollout: &str, polls: u64) {
    let so_far = sampler
        .readings("shop", rollout, "r1")
        .unwrap()
        .complete_polls;
    until(sampler, rollout, |r| r.complete_polls >= so_far + polls).await;
}
