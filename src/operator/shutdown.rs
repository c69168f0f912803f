//! Start and end of the process: named vital tasks, ended in order.
//!
//! * SIGTERM or SIGINT ends everything in order: [`Phase::Work`] first, so that nothing is written
//!   any more; then [`Phase::Lease`], which hands the lead over; then [`Phase::Serve`], so that
//!   probes are answered to the last. A second signal ends the process at once.
//! * A vital task that ends by itself, by an error or by a panic, ends the process with an error:
//!   a half-dead operator would hold the lead and do nothing.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

/// What a task may fail with.
pub type TaskError = Box<dyn StdError + Send + Sync>;

/// Tells a task that it is to end. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Makes a [`Stop`] true. Dropping it does the same.
#[derive(Debug)]
pub struct StopSource(watch::Sender<bool>);

impl StopSource {
    /// A source nobody has pulled yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// A handle for a task.
    pub fn stop(&self) -> Stop {
        Stop(self.0.subscribe())
    }

    /// Tells every handle to end.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Default for StopSource {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// True once the task is to end.
    pub fn requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until the task is to end. May be dropped and called again.
    pub async fn wait(&mut self) {
        // An error means that the source is gone, which is a request as well.
        let _ = self.0.wait_for(|pulled| *pulled).await;
    }
}

/// The order in which tasks are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Whatever acts on the cluster.
    Work,
    /// The lead, given up once nothing acts any more.
    Lease,
    /// Probes and metrics.
    Serve,
}

const PHASES: [Phase; 3] = [Phase::Work, Phase::Lease, Phase::Serve];

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A vital task returned although nobody asked it to.
    #[error("the task `{0}` ended by itself")]
    ByItself(&'static str),
    /// A vital task failed.
    #[error("the task `{task}` failed: {cause}")]
    Failed {
        /// The task's name.
        task: &'static str,
        /// Its error, or its panic's message.
        cause: TaskError,
    },
    /// A task did not end when told to.
    #[error("the task `{0}` did not end in time and was cut off")]
    Stuck(&'static str),
}

#[derive(Default)]
struct Group {
    source: StopSource,
    tasks: JoinSet<Result<(), TaskError>>,
    names: HashMap<Id, &'static str>,
}

impl Group {
    /// Waits for any task; `None` when there is none left.
    async fn next(&mut self) -> Option<Result<(), Fatal>> {
        let joined = self.tasks.join_next_with_id().await?;
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let task = self.names.remove(&id).unwrap_or("unnamed");
        Some(match joined {
            Ok((_, Ok(()))) => Err(Fatal::ByItself(task)),
            Ok((_, Err(cause))) => Err(Fatal::Failed { task, cause }),
            Err(error) => Err(Fatal::Failed {
                task,
                cause: panic_message(error),
            }),
        })
    }

    /// Asks all tasks to end and waits for them until `deadline`. Returns the first that failed.
    async fn end(&mut self, deadline: Instant) -> Result<(), Fatal> {
        self.source.pull();
        let mut outcome = Ok(());
        loop {
            match timeout_at(deadline, self.next()).await {
                Ok(None) => return outcome,
                Ok(Some(Ok(()) | Err(Fatal::ByItself(_)))) => {}
                Ok(Some(Err(ended))) => {
                    error!(error = %ended, "a task failed while it ended");
                    outcome = outcome.and(Err(ended));
                }
                Err(_) => {
                    self.tasks.abort_all();
                    let task = self.names.values().next().copied().unwrap_or("unnamed");
                    return outcome.and(Err(Fatal::Stuck(task)));
                }
            }
        }
    }
}

fn panic_message(error: JoinError) -> TaskError {
    match error.try_into_panic() {
        Ok(payload) => {
            let message = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            format!("it panicked: {message}").into()
        }
        Err(error) => error.into(),
    }
}

/// Runs the vital tasks of the process.
pub struct Supervisor {
    groups: [Group; 3],
    grace: Duration,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor without tasks. `grace` is how long each phase may take to end; three of them
    /// must fit into the pod's `terminationGracePeriodSeconds`.
    pub fn new(grace: Duration) -> Self {
        Self {
            groups: Default::default(),
            grace,
        }
    }

    /// The handle that tasks of `phase` are told to end by.
    pub fn stop(&self, phase: Phase) -> Stop {
        self.groups[phase as usize].source.stop()
    }

    /// Starts a vital task. It is to end when the [`Stop`] of its phase says so, and not before.
    pub fn spawn<E>(
        &mut self,
        phase: Phase,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<TaskError> + 'static,
    {
        let group = &mut self.groups[phase as usize];
        let handle = group
            .tasks
            .spawn(async move { task.await.map_err(Into::into) });
        group.names.insert(handle.id(), name);
    }

    /// Runs until `signal` completes or a vital task ends, then ends the phases in order.
    ///
    /// # Errors
    ///
    /// When a task ended by itself, failed, panicked, or did not end in time. The process should
    /// then exit with a status other than 0.
    pub async fn run(mut self, signal: impl Future<Output = ()>) -> Result<(), Fatal> {
        let [work, lease, serve] = &mut self.groups;
        let mut outcome = tokio::select! {
            () = signal => Ok(()),
            Some(ended) = work.next() => ended,
            Some(ended) = lease.next() => ended,
            Some(ended) = serve.next() => ended,
        };
        if let Err(ended) = &outcome {
            error!(error = %ended, "a vital task ended; the process ends");
        }
        for phase in PHASES {
            let deadline = Instant::now() + self.grace;
            let ended = self.groups[phase as usize].end(deadline).await;
            let stuck = matches!(ended, Err(Fatal::Stuck(_)));
            outcome = outcome.and(ended);
            if stuck {
                // What still runs may write: the lead is then left to expire instead of handed on.
                warn!(?phase, "tasks did not end in time");
                break;
            }
        }
        outcome
    }
}

/// The signals that end the process. Install early: until then the first one kills.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Takes over SIGTERM and SIGINT. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.term.recv() => ("SIGTERM", 15),
            _ = self.int.recv() => ("SIGINT", 2),
        }
    }

    /// Waits for the first signal. From then on a second one exits the process with 128 + its
    /// number, as a shell would report it.
    pub async fn first(mut self) {
        let (name, _) = self.next().await;
        info!(signal = name, "ending; a second signal ends at once");
        tokio::spawn(async move {
            let (name, number) = self.next().await;
            error!(signal = name, "second signal: ending at once");
            std::process::exit(128 + number);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn spawn_logged(supervisor: &mut Supervisor, log: &Log, phase: Phase, name: &'static str) {
        let (mut stop, log) = (supervisor.stop(phase), log.clone());
        supervisor.spawn(phase, name, async move {
            stop.wait().await;
            log.lock().unwrap().push(name);
            Ok::<_, TaskError>(())
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_ends_the_phases_in_order() {
        let mut supervisor = Supervisor::new(Duration::from_secs(5));
        let log = Log::default();
        spawn_logged(&mut supervisor, &log, Phase::Serve, "serve");
        spawn_logged(&mut supervisor, &log, Phase::Lease, "lease");
        spawn_logged(&mut supervisor, &log, Phase::Work, "work");
        supervisor.run(async {}).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["work", "lease", "serve"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_by_itself_ends_the_process_and_the_lead_is_given_back() {
        let mut supervisor = Supervisor::new(Duration::from_secs(5));
        let log = Log::default();
        spawn_logged(&mut supervisor, &log, Phase::Lease, "lease");
        supervisor.spawn(Phase::Work, "sampler", async { Ok::<_, TaskError>(()) });
        let ended = supervisor.run(pending()).await.unwrap_err();
        assert_eq!(ended.to_string(), "the task `sampler` ended by itself");
        assert_eq!(*log.lock().unwrap(), ["lease"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_named() {
        let mut supervisor = Supervisor::new(Duration::from_secs(5));
        supervisor.spawn(Phase::Work, "controller", async {
            panic!("index out of bounds");
            #[allow(unreachable_code)]
            Ok::<_, TaskError>(())
        });
        let ended = supervisor.run(pending()).await.unwrap_err();
        assert_eq!(
            ended.to_string(),
            "the task `controller` failed: it panicked: index out of bounds"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn while_work_is_stuck_the_lead_is_not_handed_on() {
        let mut supervisor = Supervisor::new(Duration::from_secs(5));
        let log = Log::default();
        spawn_logged(&mut supervisor, &log, Phase::Lease, "lease");
        supervisor.spawn(Phase::Work, "writer", pending::<Result<(), TaskError>>());
        let ended = supervisor.run(async {}).await.unwrap_err();
        assert!(matches!(ended, Fatal::Stuck("writer")), "{ended}");
        assert!(log.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_dropped_source_is_a_request() {
        let source = StopSource::new();
        let mut stop = source.stop();
        assert!(!stop.requested());
        drop(source);
        stop.wait().await;
        assert!(stop.requested());
    }
}
