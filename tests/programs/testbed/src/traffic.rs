//! Steady traffic through a Service, and what its clients got.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use load::{Follower, Record};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::{Error, Result, program};

/// The load generator at work. It ends with this.
#[derive(Debug)]
pub struct Traffic {
    child: Child,
    follower: Follower,
    records: Vec<Record>,
    _folder: tempfile::TempDir,
}

impl Traffic {
    /// Begins to send so many requests a second, each over a connection of its own.
    ///
    /// # Errors
    /// When the load generator cannot be started.
    pub fn start(url: &str, per_second: u32) -> Result<Self> {
        Self::begin(&["--shop", url], per_second)
    }

    /// The same, asking for this host: gateways go by it.
    ///
    /// # Errors
    /// As [`Traffic::start`].
    pub fn start_to(host: &str, url: &str, per_second: u32) -> Result<Self> {
        Self::begin(&["--host", host, "--shop", url], per_second)
    }

    fn begin(targets: &[&str], per_second: u32) -> Result<Self> {
        let cannot = |error: std::io::Error| Error::refused(format!("load generator: {error}"));
        let folder = tempfile::tempdir().map_err(cannot)?;
        let file = folder.path().join("records.csv");
        std::fs::File::create(&file).map_err(cannot)?;
        let mut command = program::script("tests/programs/load/load");
        command
            .args(["run", "--rate", &per_second.to_string(), "--out"])
            .arg(&file)
            .args(targets)
            .stdout(Stdio::null())
            // An interrupt from the terminal is ours to hear.
            .process_group(0);
        let child = command.spawn().map_err(cannot)?;
        Ok(Self {
            child,
            follower: Follower::open(&file)?,
            records: Vec::new(),
            _folder: folder,
        })
    }

    /// Builds the load generator, if that was not done before.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn build() -> Result<()> {
        let mut command = program::script("tests/programs/load/load");
        program::output(command.arg("build")).await.map(drop)
    }

    /// All requests that have ended by now, in that order.
    ///
    /// # Errors
    /// When the load generator is gone, or writes what it should not.
    pub fn records(&mut self) -> Result<&[Record]> {
        if let Ok(Some(status)) = self.child.try_wait() {
            let words = format!("the load generator has ended by itself: {status}");
            return Err(Error::refused(words));
        }
        self.records.extend(self.follower.next_records()?);
        Ok(&self.records)
    }

    /// Waits until every request that was sent before this time has been answered, or given up.
    ///
    /// # Errors
    /// As [`Traffic::records`], and when it takes longer than requests may.
    pub async fn settled(&mut self, before: SystemTime) -> Result<()> {
        // Requests may take 2 s, and then are given up.
        let after = before + Duration::from_millis(2500);
        let limit = Duration::from_secs(15);
        let wait = async {
            while !self.records()?.iter().rev().any(|r| r.at > after) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        let waited = tokio::time::timeout(limit, wait).await;
        waited.unwrap_or_else(|_| {
            let what = "the last answers to the load generator".to_owned();
            Err(Error::NotInTime { what, limit })
        })
    }

    /// Ends it, after the requests under way.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(mut self) -> Result<Vec<Record>> {
        let cannot = |why: String| Error::refused(format!("the load generator: {why}"));
        self.records()?;
        let id = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let id = id.ok_or_else(|| cannot("it has no process".into()))?;
        kill_process(id, Signal::TERM).map_err(|error| cannot(error.to_string()))?;
        let status = self.child.wait().await;
        let status = status.map_err(|error| cannot(error.to_string()))?;
        if !status.success() {
            return Err(cannot(status.to_string()));
        }
        self.records.extend(self.follower.next_records()?);
        Ok(self.records)
    }
}
