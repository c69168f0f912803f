//! One contender as a process of its own: this test program, started again for one ignored test.
//! While it leads it acts every few milliseconds, which is a line on its standard output.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stepgate::operator::lease::{Elector, ElectorConfig, Leadership, Timing};
use stepgate::operator::metrics::Metrics;
use stepgate::operator::shutdown::{Phase, Signals, Stop, Supervisor, TaskError};

const IDENTITY: &str = "STEPGATE_TEST_IDENTITY";
const LEASE: &str = "STEPGATE_TEST_LEASE";
/// What it says before each look at the Lease.
const TURN: &str = "turn";

/// Something a contender did: when (microseconds since 1970, the same clock for all) and under
/// which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    pub at: u64,
    pub epoch: i64,
}

impl Act {
    /// Time from an earlier act to this one; nothing when it was not earlier.
    pub fn since(self, earlier: Act) -> Duration {
        Duration::from_micros(self.at.saturating_sub(earlier.at))
    }
}

/// A running contender. Killed when dropped.
pub struct Contender {
    child: Child,
    acts: Arc<Mutex<Vec<Act>>>,
    turns: Arc<AtomicUsize>,
}

impl Contender {
    pub fn start(lease: &str, identity: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program's path"))
            .args(["--ignored", "--exact", "contender::contend", "--nocapture"])
            .env(IDENTITY, identity)
            .env(LEASE, lease)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process of this program");
        let acts = Arc::new(Mutex::new(Vec::new()));
        let turns = Arc::new(AtomicUsize::new(0));
        let (lines, told) = (child.stdout.take().expect("its output"), acts.clone());
        let turned = turns.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                told.lock().unwrap().extend(parse(&line));
                turned.fetch_add(usize::from(line == TURN), Ordering::SeqCst);
            }
        });
        Self { child, acts, turns }
    }

    /// It looked at the Lease twice, and would have taken it had it wanted to.
    pub fn has_looked_twice(&self) -> bool {
        self.turns.load(Ordering::SeqCst) > 2
    }

    pub fn acts(&self) -> Vec<Act> {
        self.acts.lock().unwrap().clone()
    }

    pub fn first(&self) -> Option<Act> {
        self.acts.lock().unwrap().first().copied()
    }

    pub fn last(&self) -> Option<Act> {
        self.acts.lock().unwrap().last().copied()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(
            sent.expect("the program `kill`").success(),
            "cannot send {name}"
        );
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("its exit status")
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Option<Act> {
    let mut words = line.strip_prefix("act ")?.split(' ');
    Some(Act {
        at: words.next()?.parse().ok()?,
        epoch: words.next()?.parse().ok()?,
    })
}

async fn act(leadership: Leadership, stop: Stop) -> Result<(), TaskError> {
    while !stop.requested() {
        // The stamp comes first: an act is stamped with a time at which it was still allowed, also
        // when the process is stopped between the two.
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        if let Some(epoch) = leadership.epoch() {
            println!("act {at} {epoch}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests as a process of its own"]
async fn contend() {
    let told = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let signals = Signals::install().unwrap();
    let config = ElectorConfig {
        name: told(LEASE),
        identity: told(IDENTITY),
        timing: Timing::default(),
    };
    let (elector, leadership) = Elector::new(super::leases().await, config, Metrics::new());
    let mut supervisor = Supervisor::new(Duration::from_secs(5));
    let (working, leading) = (supervisor.stop(Phase::Work), supervisor.stop(Phase::Lease));
    supervisor.spawn(Phase::Work, "actor", act(leadership, working));
    supervisor.spawn(Phase::Lease, "elector", async move {
        elector.run(leading, || println!("{TURN}")).await;
        Ok::<_, TaskError>(())
    });
    supervisor.run(signals.first()).await.unwrap();
}
