//! What PostgreSQL says of itself, twice a second.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use testbed::{Error, Namespace, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const INTERVAL: Duration = Duration::from_millis(500);

/// The longest wait of a user for a lock in seconds, rows updated so far.
const QUERY: &str = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0), \
 (SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'users') \
 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'shop';\n";

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When.
    pub at: SystemTime,
    /// The longest that a session of the application had waited for a lock, in seconds.
    pub longest: f64,
    /// Rows of the table that were updated since it was made.
    pub updated: u64,
}

/// Looks on until it is stopped.
pub struct Sampler {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Vec<Sample>>>,
}

impl Sampler {
    /// Begins. One session for all looks, so that they cost next to nothing.
    ///
    /// # Errors
    /// When `kubectl exec` does not start.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let words = [
            "--namespace",
            namespace.name(),
            "exec",
            "-i",
            "deploy/postgres",
            "--",
            "psql",
            "-h",
            "127.0.0.1",
            "-U",
            "shop",
            "-tAq",
            "-F",
            " ",
        ];
        let mut command = namespace.testbed().kubectl(&words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let cannot = |why: String| Error::refused(format!("psql in the database's pod: {why}"));
        let mut child = command.spawn().map_err(|error| cannot(error.to_string()))?;
        let (Some(queries), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(cannot("it has no pipes".to_owned()));
        };
        let (stop, stopped) = oneshot::channel();
        let session = Session {
            _child: child,
            queries,
            answers: BufReader::new(answers).lines(),
        };
        Ok(Self {
            stop,
            task: tokio::spawn(session.look(stopped)),
        })
    }

    /// Ends it; all looks.
    ///
    /// # Errors
    /// When the session had ended before.
    pub async fn stop(self) -> Result<Vec<Sample>> {
        let _ = self.stop.send(());
        let looked = self.task.await;
        looked.map_err(|error| Error::refused(format!("the sampler: {error}")))?
    }
}

struct Session {
    /// Ends with this.
    _child: Child,
    queries: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Session {
    async fn look(mut self, mut stopped: oneshot::Receiver<()>) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                _ = &mut stopped => return Ok(samples),
                _ = ticks.tick() => samples.push(self.ask().await?),
            }
        }
    }

    async fn ask(&mut self) -> Result<Sample> {
        let cannot = |why: String| Error::refused(format!("psql in the database's pod: {why}"));
        let at = SystemTime::now();
        let asked = self.queries.write_all(QUERY.as_bytes()).await;
        asked.map_err(|error| cannot(error.to_string()))?;
        let answer = self.answers.next_line().await;
        let answer = answer.map_err(|error| cannot(error.to_string()))?;
        let answer = answer.ok_or_else(|| cannot("it has ended".to_owned()))?;
        let strange = || cannot(format!("it answered {answer:?}"));
        let words: Vec<&str> = answer.split(' ').collect();
        let [longest, updated] = words.as_slice() else {
            return Err(strange());
        };
        Ok(Sample {
            at,
            longest: longest.parse().map_err(|_| strange())?,
            updated: updated.parse().map_err(|_| strange())?,
        })
    }
}
