//! What the audience sees: one line for each change, as `kubectl get sro -w` shows it, with what
//! the clients got since the line before.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use load::{Record, Summary};
use stepgate::api::Rollout;

/// The lines on the terminal.
#[derive(Debug)]
pub struct Screen {
    began: SystemTime,
    width: usize,
    /// What people call a revision.
    names: BTreeMap<String, String>,
    /// The last line, without time and figures.
    last: String,
    /// How many requests have been shown.
    shown: usize,
}

impl Screen {
    /// Begins to count the time.
    pub fn new() -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stdout());
        Self {
            began: SystemTime::now(),
            width: size.map_or(160, |size| usize::from(size.ws_col)).max(110),
            names: BTreeMap::new(),
            last: String::new(),
            shown: 0,
        }
    }

    /// A chapter, and the command that starts it.
    pub fn chapter(&mut self, title: &str, command: &str) {
        println!("\n== {title}\n$ {command}");
        println!(
            "{:>6}  {:5}  {:12}  {:5}  {:8}  {:13}  {:>5} {:>6} {:>6}  MESSAGE",
            "TIME", "READY", "STEP", "SHARE", "STABLE", "CANARY", "SENT", "FAILED", "P95"
        );
        self.last.clear();
    }

    /// Something that happened beside the Rollout.
    pub fn aside(&self, text: &str) {
        println!("{:>6}  {text}", self.time(SystemTime::now()));
    }

    /// What people call this revision.
    pub fn name(&mut self, revision: &str, name: &str) {
        let name = name.to_owned();
        self.names.entry(revision.to_owned()).or_insert(name);
    }

    /// A version of the Rollout, if it reads differently from the last one.
    pub fn line(&mut self, at: SystemTime, rollout: &Rollout, records: &[Record]) {
        let status = rollout.status.clone().unwrap_or_default();
        // Until the operator has seen a new spec, the status speaks of the one before.
        if status.observed_generation != rollout.metadata.generation {
            return;
        }
        let Some(ready) = status.conditions.iter().find(|c| c.type_ == "Ready") else {
            return;
        };
        let called = |revision: Option<&String>| {
            let name = revision.map(|r| self.names.get(r).unwrap_or(r));
            name.cloned().unwrap_or_default()
        };
        let head = format!(
            "{:5}  {:12}  {:5}  {:8}  {:13}",
            ready.status,
            status.summary.step,
            status.summary.share,
            called(status.stable.as_ref().map(|r| &r.revision)),
            called(status.canary.as_ref().map(|r| &r.revision)),
        );
        let mut message = ready.message.clone();
        for (revision, name) in &self.names {
            // Not within the name of a Job: people may want to look at that.
            message = message.replace(&format!(" {revision}"), &format!(" {name}"));
        }
        let line = format!("{head} {message}");
        if line == self.last {
            return;
        }
        self.last = line;
        let since = Summary::of(records.get(self.shown..).unwrap_or_default());
        self.shown = records.len();
        let p95 = if since.sent == 0 {
            String::new()
        } else {
            format!("{:.0}ms", since.p95_ms)
        };
        let line = format!(
            "{:>6}  {head}  {:>5} {:>6} {p95:>6}  {message}",
            self.time(at),
            since.sent,
            since.failed
        );
        println!(
            "{}",
            line.chars().take(self.width).collect::<String>().trim_end()
        );
    }

    fn time(&self, at: SystemTime) -> String {
        let since = at.duration_since(self.began).unwrap_or(Duration::ZERO);
        format!("{}:{:02}", since.as_secs() / 60, since.as_secs() % 60)
    }
}
