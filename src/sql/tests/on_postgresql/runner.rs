//! The program itself, with an order.

use std::{
    fs,
    io::{BufRead, BufReader},
    marker::PhantomData,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::server::{SECRET, Server, wait_for};

/// An order in parts, as the operator hands over a long one: a short first one, so that each run
/// puts parts together.
fn parts(order: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    for letter in order.chars() {
        let full = if parts.len() == 1 { 100 } else { 100_000 };
        if parts[parts.len() - 1].len() >= full {
            parts.push(String::new());
        }
        let last = parts.len() - 1;
        parts[last].push(letter);
    }
    let name = |part: usize| match part {
        0 => "STEPGATE_PHASE".to_owned(),
        part => format!("STEPGATE_PHASE_{}", part + 1),
    };
    let parts = parts.into_iter().enumerate();
    parts.map(|(part, text)| (name(part), text)).collect()
}

/// A folder with the files of a phase, and its order.
pub struct Task {
    folder: TempDir,
    pub order: Value,
    pub url: String,
    arguments: Vec<String>,
}

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status; −1 after a signal.
    pub status: i32,
    pub report: Value,
    pub log: String,
}

impl Outcome {
    pub fn reason(&self) -> &str {
        self.report["reason"].as_str().unwrap_or("")
    }

    pub fn message(&self) -> &str {
        self.report["message"].as_str().unwrap_or("")
    }

    /// How often something was tried again for this reason.
    pub fn again(&self, reason: &str) -> u64 {
        self.report["triedAgain"][reason].as_u64().unwrap_or(0)
    }

    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.status, 0, "{self:#?}");
        assert_eq!(self.report["result"], "Done");
        self
    }

    #[track_caller]
    /// It failed for good: the exit status says whether something of the phase is committed.
    pub fn failed(self, reason: &str) -> Self {
        let status = if self.report["applied"] == true {
            1
        } else {
            64
        };
        self.is(status, reason)
    }

    #[track_caller]
    pub fn is(self, status: i32, reason: &str) -> Self {
        assert_eq!((self.status, self.reason()), (status, reason), "{self:#?}");
        self
    }
}

impl Task {
    pub fn new(server: &Server, phase: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            order: json!({
                "namespace": "shop", "rollout": "web", "revision": "web-5d8f", "database": "shop-db",
                "version": 7, "phase": phase, "attempt": 1, "deadlineSeconds": 60,
            }),
            url: server.url(),
            arguments: Vec::new(),
        }
    }

    /// With files of these names and texts.
    pub fn files(server: &Server, phase: &str, files: &[(&str, &str)]) -> Self {
        let mut task = Self::new(server, phase);
        let files: Vec<Value> = files
            .iter()
            .map(|(name, text)| {
                let path = task.folder.path().join(name);
                fs::write(&path, text).unwrap();
                let digest: String = Sha256::digest(text.as_bytes())
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                json!({"name": name, "path": path, "sha256": digest})
            })
            .collect();
        task.order["files"] = files.into();
        task
    }

    /// An expand of one file.
    pub fn expand(server: &Server, text: &str) -> Self {
        Self::files(server, "Expand", &[("expand.sql", text)])
    }

    /// A backfill of one batch.
    pub fn batch(server: &Server, batch: Value) -> Self {
        let mut task = Self::new(server, "Backfill");
        task.order["batches"] = json!([batch]);
        task
    }

    /// Sets a field of the order.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.order[field] = value.into();
        self
    }

    pub fn limit(mut self, field: &str, value: u64) -> Self {
        self.order["limits"][field] = value.into();
        self
    }

    pub fn at(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    fn report(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }

    pub fn spawn(&self) -> Running<'_> {
        let _ = fs::remove_file(self.report());
        let mut child = Command::new(env!("CARGO_BIN_EXE_stepgate-sql"))
            .arg("run")
            .arg("--report")
            .arg(self.report())
            .args(&self.arguments)
            .envs(parts(&self.order.to_string()))
            .env("STEPGATE_DATABASE_URL", &self.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(String::new()));
        let (output, kept) = (child.stdout.take().unwrap(), lines.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line.unwrap());
                kept.push('\n');
            }
        });
        Running {
            child,
            lines,
            reader: Some(reader),
            report: self.report(),
            task: PhantomData,
        }
    }

    pub fn run(&self) -> Outcome {
        self.spawn().end()
    }
}

/// A run that is not over. The task must live as long: it has the files.
pub struct Running<'a> {
    pub child: Child,
    lines: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    report: PathBuf,
    task: PhantomData<&'a Task>,
}

impl Running<'_> {
    pub fn log(&self) -> String {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for words in its log.
    pub fn says(&self, words: &str) {
        wait_for(words, || self.log().contains(words).then_some(()));
    }

    /// The most memory that it has used so far, in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn end(mut self) -> Outcome {
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        self.reader.take().unwrap().join().unwrap();
        let log = self.log();
        let text = fs::read_to_string(&self.report).unwrap_or_default();
        assert!(text.len() <= 4000, "{} bytes", text.len());
        assert!(
            !log.contains(SECRET) && !text.contains(SECRET),
            "the password is told: {log}\n{text}"
        );
        Outcome {
            status,
            report: serde_json::from_str(&text).unwrap_or(Value::Null),
            log,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
