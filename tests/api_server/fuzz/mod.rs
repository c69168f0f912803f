//! Mutated Rollouts and DatabaseSchemas on a real API server, with the operator running: nothing
//! panics, nothing goes round in circles, and nothing is silent.
//!
//! `make fuzz` makes a thousand mutations. `SEED=` plays one run again; what it finds is written as
//! a file, and becomes a test when it is put into `kept/`.

mod around;
mod counting;
mod mutate;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};
use stepgate::simulate::random::Random;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
};

use self::{
    around::{apart, kubelet, silence},
    counting::{Count, Counting},
    mutate::Mutator,
};
use super::{
    fixture::{Home, minimal},
    mistakes::{right, set},
};

/// Manifests that are there at the same time.
const TOGETHER: usize = 60;
/// Times that each is edited.
const EDITS: usize = 2;
/// In which whatever was accepted must be spoken of.
const SPOKEN_OF: Duration = Duration::from_secs(30);
/// In which a deleted Rollout must be gone.
const GONE: Duration = Duration::from_secs(60);
/// How long is looked whether it is quiet, once everything was spoken of.
const QUIET: Duration = Duration::from_secs(8);
/// Requests about one object in that time: what is not done is tried again, later each time.
const IN_QUIET: u32 = 24;
/// Requests about one object from its creation to its end.
const IN_A_LIFE: u32 = 400;
/// What a process with so few Rollouts may take.
const MEMORY_KIB: u64 = 256 * 1024;

fn is_ours(name: &str) -> bool {
    let digits = name.strip_prefix(['f', 'd']);
    digits.is_some_and(|d| d.len() == 5 && d.bytes().all(|b| b.is_ascii_digit()))
}

/// A manifest as it was sent first, and after each edit; what was done to it, in words.
struct Case {
    name: String,
    told: Vec<String>,
    sent: Vec<Value>,
    /// The last that was accepted, with what the API server made of it.
    lives: Option<DynamicObject>,
}

impl Case {
    fn is_rollout(&self) -> bool {
        self.sent[0]["kind"] == "Rollout"
    }
}

/// An operator behind a way that counts, in a namespace of its own.
struct Run {
    home: Home,
    counting: Counting,
    operator: Child,
    port: u16,
    log: PathBuf,
    kubelet: JoinHandle<()>,
    folder: PathBuf,
    found: Vec<String>,
    refused: usize,
    accepted: usize,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.kubelet.abort();
    }
}

impl Run {
    async fn new(test: &str) -> Self {
        let home = Home::new(test).await;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&home.namespace);
        std::fs::create_dir_all(&folder).expect("a folder");
        // Two thousand million pods are asked for now and then.
        let quota = serde_json::from_value::<ResourceQuota>(json!({
            "metadata": {"name": "pods"}, "spec": {"hard": {"pods": "150"}}}));
        Api::namespaced(home.client.clone(), &home.namespace)
            .create(&PostParams::default(), &quota.expect("a ResourceQuota"))
            .await
            .expect("a ResourceQuota");
        let counting = Counting::new(&folder, is_ours).await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let port = free.expect("a free port").port();
        let sources = folder.join("sources.yaml");
        // Nobody listens there.
        let nobody = json!({"sources": [{"name": "prometheus", "url": "http://127.0.0.1:9"}]});
        std::fs::write(&sources, nobody.to_string()).expect("a file");
        let log = folder.join("operator.log");
        let operator = Command::new(env!("CARGO_BIN_EXE_stepgate"))
            .args(["run", "--leader-elect=false", "--probes-listen=127.0.0.1:0"])
            .args(["--sql-image=sql:1", "--rollout-metrics"])
            .arg(format!("--namespace={}", home.namespace))
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg("--metric-sources")
            .arg(&sources)
            .env("KUBECONFIG", &counting.kubeconfig)
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("the operator");
        let kubelet = tokio::spawn(kubelet(Home {
            clients: home.clients.clone(),
            client: home.client.clone(),
            namespace: home.namespace.clone(),
        }));
        Self {
            home,
            counting,
            operator,
            port,
            log,
            kubelet,
            folder,
            found: Vec::new(),
            refused: 0,
            accepted: 0,
        }
    }

    fn api(&self, case: &Case) -> Api<DynamicObject> {
        match case.is_rollout() {
            true => self.home.rollouts(),
            false => self.home.databases(),
        }
    }

    /// Keeps the manifests of a case, and says what is wrong with it.
    fn find(&mut self, case: &Case, wrong: &str) {
        let path = self.folder.join(format!("{}.yaml", case.name));
        let mut text = String::new();
        for (sent, told) in case.sent.iter().zip(&case.told) {
            let _ = writeln!(text, "# {}\n{sent}\n---", told.replace('\n', " "));
        }
        std::fs::write(&path, text).expect("a file");
        let told = case.told.join("; then ");
        let kept = path.display();
        self.found
            .push(format!("{}: {wrong}\n  {told}\n  {kept}", case.name));
    }

    /// Sends the newest manifest of a case. As it is: our own types do not hold all of them.
    async fn send(&mut self, case: &mut Case, strict: bool) {
        let api = self.api(case);
        let mut sent = case.sent.last().expect("a manifest").clone();
        let validation = if strict { "Strict" } else { "Warn" };
        loop {
            let request = match &case.lives {
                None => hyper::Request::post(format!(
                    "{}?fieldValidation={validation}",
                    api.resource_url()
                )),
                Some(_) => {
                    let Ok(lives) = api.get(&case.name).await else {
                        return self.find(case, "it cannot be read");
                    };
                    if sent["metadata"].is_object() {
                        sent["metadata"]["resourceVersion"] =
                            json!(lives.metadata.resource_version);
                    }
                    hyper::Request::put(format!(
                        "{}/{}?fieldValidation={validation}",
                        api.resource_url(),
                        case.name
                    ))
                }
            };
            let request = request.header("content-type", "application/json");
            let request = request.body(sent.to_string().into_bytes());
            let request = request.expect("a request");
            match self.home.client.request::<DynamicObject>(request).await {
                Ok(object) => {
                    self.accepted += 1;
                    case.lives = Some(object);
                }
                // The operator was faster.
                Err(kube::Error::Api(status)) if status.code == 409 && case.lives.is_some() => {
                    continue;
                }
                Err(kube::Error::Api(status)) => self.judge_refusal(case, &status.message),
                Err(other) => self.find(case, &format!("no answer: {other}")),
            }
            return;
        }
    }

    fn judge_refusal(&mut self, case: &Case, message: &str) {
        self.refused += 1;
        let fields = [
            "spec.",
            "spec:",
            "metadata.",
            "Go struct field ",
            "unknown field ",
            "allowedRollouts",
            "record.",
            "record:",
            "\"metadata\"",
        ];
        // Nothing of it was read.
        let whole = [
            "request is too large",
            "Request entity too large",
            "limit is 3145728",
        ];
        if !fields
            .iter()
            .chain(&whole)
            .any(|field| message.contains(field))
        {
            self.find(case, &format!("refused without a field: {message}"));
        }
    }

    /// Waits until each that was accepted is spoken of.
    async fn hear(&mut self, cases: &[Case]) {
        let began = Instant::now();
        let api = self.home.rollouts();
        loop {
            let list = api.list(&ListParams::default()).await.expect("Rollouts");
            let silent: BTreeMap<String, String> = list
                .items
                .iter()
                .filter_map(|o| Some((o.metadata.name.clone()?, silence(o)?)))
                .collect();
            if silent.is_empty() {
                return;
            }
            if began.elapsed() > SPOKEN_OF {
                for case in cases.iter().filter(|case| case.is_rollout()) {
                    if let Some(silence) = silent.get(&case.name) {
                        self.find(case, silence);
                    }
                }
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// While nobody does anything, the operator does next to nothing.
    async fn listen(&mut self, cases: &[Case]) {
        self.kubelet.abort();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = (self.counting.counts(), self.passes().await);
        tokio::time::sleep(QUIET).await;
        let after = (self.counting.counts(), self.passes().await);
        for case in cases {
            let now = after.0.get(&case.name).copied().unwrap_or_default();
            let then = before.0.get(&case.name).copied().unwrap_or_default();
            let sent = now.reads + now.writes;
            let new = sent - (then.reads + then.writes);
            if new > IN_QUIET || sent > IN_A_LIFE {
                let now = format!("{new} requests in {QUIET:?} without a change, {sent} in all");
                self.find(case, &now);
            }
        }
        let passes = after.1 - before.1;
        let most = QUIET.as_secs() * u64::try_from(cases.len()).expect("few") * 2;
        if passes > most {
            self.found
                .push(format!("{passes} passes in {QUIET:?} without a change"));
        }
        self.kubelet = tokio::spawn(kubelet(Home {
            clients: self.home.clients.clone(),
            client: self.home.client.clone(),
            namespace: self.home.namespace.clone(),
        }));
    }

    async fn remove(&mut self, cases: &[Case]) {
        for case in cases.iter().filter(|case| case.lives.is_some()) {
            let api = self.api(case);
            let deleted = api.delete(&case.name, &DeleteParams::default()).await;
            if let Err(error) = deleted {
                self.find(case, &format!("cannot be deleted: {error}"));
            }
        }
        let began = Instant::now();
        loop {
            let mut left = Vec::new();
            for api in [self.home.rollouts(), self.home.databases()] {
                let list = api.list(&ListParams::default()).await.expect("a list");
                left.extend(list.items.into_iter().filter_map(|o| o.metadata.name));
            }
            // Databases that no case made are the operator's.
            let left: Vec<_> = cases.iter().filter(|c| left.contains(&c.name)).collect();
            if left.is_empty() {
                break;
            }
            if began.elapsed() > GONE {
                for case in left {
                    self.find(case, "deleted, and not gone");
                }
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let all = ListParams::default();
        let databases = self.home.databases();
        let _ = databases
            .delete_collection(&DeleteParams::default(), &all)
            .await;
    }

    async fn metrics(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    }

    async fn passes(&self) -> u64 {
        let text = self.metrics().await.unwrap_or_default();
        let lines = text.lines();
        let passes = lines.filter(|line| line.starts_with("stepgate_reconciles_total{"));
        passes
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum()
    }

    /// That the process lives, has not panicked, and takes no more than it may.
    async fn examine(&mut self) {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        for line in log.lines().filter(|line| line.contains("panicked")) {
            self.found
                .push(format!("a panic: {line}; see {}", self.log.display()));
        }
        if let Some(status) = self.operator.try_wait().expect("its status") {
            self.found.push(format!(
                "the operator ended: {status}; see {}",
                self.log.display()
            ));
            return;
        }
        let text = self.metrics().await.unwrap_or_default();
        if !text.contains("stepgate_reconciles_total{outcome=\"Panicked\"} 0\n") {
            self.found
                .push("a pass panicked, or there are no metrics".into());
        }
        let peak = self.peak_kib();
        if peak > MEMORY_KIB {
            self.found.push(format!("{peak} KiB of memory"));
        }
    }

    fn peak_kib(&self) -> u64 {
        let id = self.operator.id().unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.split_whitespace().next());
        peak.and_then(|number| number.parse().ok())
            .unwrap_or_default()
    }

    /// Creates, edits, listens, deletes.
    async fn round(&mut self, cases: &mut [Case], mut edits: impl FnMut(usize, &mut Case) -> bool) {
        // As kubectl does, and as most others do.
        for (number, case) in cases.iter_mut().enumerate() {
            self.send(case, number % 2 == 0).await;
        }
        self.hear(cases).await;
        for edit in 0..EDITS {
            for (number, case) in cases.iter_mut().enumerate() {
                if edits(number, case) {
                    self.send(case, (number + edit) % 2 == 0).await;
                }
            }
            self.hear(cases).await;
        }
        self.listen(cases).await;
        self.remove(cases).await;
        self.examine().await;
    }

    fn end(&self, words: &str) {
        let most = self.counting.counts().into_iter();
        let most = most.max_by_key(|(_, Count { reads, writes })| reads + writes);
        println!(
            "{words}: {} accepted, {} refused; most requests about one object: {most:?}; {} KiB",
            self.accepted,
            self.refused,
            self.peak_kib()
        );
        assert!(
            self.found.is_empty(),
            "{words}: {} found\n{}",
            self.found.len(),
            self.found.join("\n")
        );
    }
}

/// Every manifest that there is to begin with.
fn bases() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut bases = Vec::new();
    let mut files = vec![
        root.join("tests/cli/manifests/mistakes.yaml"),
        root.join("tests/packaging/overlay/base.yaml"),
        root.join("tests/programs/shop/manifests/releases/base/rollout.yaml"),
    ];
    for entry in std::fs::read_dir(root.join("deploy/examples")).expect("examples") {
        files.push(entry.expect("a file").path());
    }
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a manifest");
        let all = serde_saphyr::from_multiple::<Value>(&text);
        let all = all.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        bases.extend(all.into_iter().filter(|object| object["kind"] == "Rollout"));
    }
    assert!(bases.len() > 15, "the examples");
    for (at, value) in right()
        .into_iter()
        .filter(|(at, _)| at.starts_with("/spec"))
    {
        let mut rollout = minimal("shop");
        set(&mut rollout, at, value);
        bases.push(rollout);
    }
    bases
}

/// Manifests for one round, each with a mutation or two.
fn draw(bases: &[Value], mutator: &Mutator, random: &mut Random, first: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for number in first..first + TOGETHER {
        let database = format!("d{:05}", number - number % 4);
        let is_database = number % 4 == 0 && random.chance(60);
        let (name, mut object) = if is_database {
            let object = json!({
                "apiVersion": "stepgate.io/v1alpha1", "kind": "DatabaseSchema",
                "allowedRollouts": [format!("f{:05}", number + 1), format!("f{:05}", number + 2)],
            });
            (database, object)
        } else {
            let name = format!("f{number:05}");
            let mut object = random.one_of(bases).expect("some").clone();
            apart(&mut object, &name, &database);
            (name, object)
        };
        object["metadata"] = json!({"name": name});
        let mut told = Vec::new();
        for _ in 0..random.between(1, 2) {
            told.push(mutator.mutate(&mut object, random));
        }
        object["metadata"]["name"] = json!(name);
        cases.push(Case {
            name,
            told: vec![told.join(", ")],
            sent: vec![object],
            lives: None,
        });
    }
    cases
}

async fn run(test: &str, seed: u64, mutations: usize) {
    let words = format!("SEED={seed} MUTATIONS={mutations}");
    println!("{words}");
    let (bases, mutator) = (bases(), Mutator::new());
    let mut random = Random::new(seed);
    let mut run = Run::new(test).await;
    let mut made = 0;
    while made < mutations {
        let first = made;
        let mut cases = draw(&bases, &mutator, &mut random, first);
        made += cases.len();
        run.round(&mut cases, |_, case| {
            // What is refused at creation is not there to be edited.
            let Some(object) = case.lives.as_ref().and(case.sent.last()) else {
                return false;
            };
            let mut object = object.clone();
            let told = mutator.mutate(&mut object, &mut random);
            object["metadata"]["name"] = json!(case.name);
            case.told.push(told);
            case.sent.push(object);
            made += 1;
            true
        })
        .await;
        println!("{made} mutations, {} found", run.found.len());
    }
    run.end(&words);
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make fuzz"]
async fn a_thousand_mutations() {
    let seed = setting("SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("after 1970").as_secs()
    });
    let mutations = setting("MUTATIONS").unwrap_or(1000);
    let mutations = usize::try_from(mutations).expect("a number");
    run("fuzz", seed, mutations).await;
}

/// Every case that was found once, and the beginning of a run.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_once_is_not_found_again() {
    const SEED: u64 = 7;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api_server/fuzz/kept");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("kept cases")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    let mut later = Vec::new();
    let mut cases = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let text = std::fs::read_to_string(file).expect("a case");
        let name = format!("f{number:05}");
        let mut all: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        for object in &mut all {
            object["metadata"]["name"] = json!(name);
        }
        assert!((1..=EDITS + 1).contains(&all.len()), "{}", file.display());
        let edits = all.split_off(1);
        later.push(edits);
        let told = file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        cases.push(Case {
            name,
            told: told.into_iter().collect(),
            sent: all,
            lives: None,
        });
    }
    let (mut random, mutator) = (Random::new(SEED), Mutator::new());
    let drawn = draw(&bases(), &mutator, &mut random, 1000);
    cases.extend(drawn.into_iter().take(20));
    let mut run = Run::new("kept").await;
    run.round(&mut cases, |number, case| {
        let left = later.get(number).is_some_and(|edits| !edits.is_empty());
        if case.lives.is_none() || !left {
            return false;
        }
        case.told.push("edited".into());
        case.sent.push(later[number].remove(0));
        true
    })
    .await;
    run.end("kept");
}
