//! The run loop: takes keys that something happened to and runs a pass over each, while this
//! process leads.
//!
//! One key is never looked at twice at the same time, and what happens to it meanwhile is looked
//! at after. A panic costs one pass over one key.

use std::{
    collections::HashMap, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, error, info, warn};

use super::{
    clock::Clock,
    inbox::Inbox,
    lease::Leadership,
    metrics::{Metrics, PassResult},
    queue::{PassEnd, Queue},
    shutdown::Stop,
};
use crate::cluster::{
    Key,
    pass::{Memory, Ran},
};

/// How often the loop turns when nothing happens: the longest that a jump of the clock, or the end
/// of a lead whose end nobody announced, stays unnoticed.
const TURN: Duration = Duration::from_secs(1);

/// What a pass may go by, apart from the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    /// Epoch of the present leadership.
    pub epoch: i64,
    /// From when on the clock is trusted.
    pub trusted_since: Timestamp,
}

/// What the loop runs.
pub(crate) trait Reconcile: Send + Sync + 'static {
    /// One pass over a key, and whatever follows from it outside the cluster.
    fn pass(&self, key: &Key, memory: &mut Memory, term: Term) -> impl Future<Output = Ran> + Send;

    /// Whether there is an object of this key.
    fn knows(&self, key: &Key) -> bool;

    /// Keys of all objects there are.
    fn keys(&self) -> Vec<Key>;

    /// The object is gone: nothing about it is to be kept.
    fn forget(&self, key: &Key);

    /// The lead has ended: whoever has it next measures for himself.
    fn term_ended(&self);
}

/// The run loop.
pub(crate) struct RunLoop<R> {
    reconcile: Arc<R>,
    inbox: Inbox,
    clock: Arc<Clock>,
    metrics: Metrics,
    workers: usize,
}

impl<R> std::fmt::Debug for RunLoop<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunLoop")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// How a pass came back: nothing when it panicked.
type Back = (Key, Duration, Option<(Memory, Ran)>);

impl<R: Reconcile> RunLoop<R> {
    /// A loop that runs up to `workers` passes at the same time.
    pub(crate) const fn new(
        reconcile: Arc<R>,
        inbox: Inbox,
        clock: Arc<Clock>,
        metrics: Metrics,
        workers: usize,
    ) -> Self {
        Self {
            reconcile,
            inbox,
            clock,
            metrics,
            workers,
        }
    }

    /// Runs until `stop`, whenever this process leads. `beat` is called at least once per second
    /// while it leads, and before it waits to lead.
    pub(crate) async fn run(self, mut leadership: Leadership, mut stop: Stop, beat: impl Fn()) {
        loop {
            let epoch = tokio::select! {
                // The stop first: a lead that is still held must not begin another term.
                biased;
                () = stop.wait() => return,
                epoch = self.led(&mut leadership, &beat) => epoch,
            };
            let Some(epoch) = epoch else {
                return stop.wait().await;
            };
            self.lead(epoch, &mut leadership, &mut stop, &beat).await;
        }
    }

    /// Waits for the lead. What happens meanwhile is in the caches; the keys are all looked at
    /// once it leads.
    async fn led(&self, leadership: &mut Leadership, beat: &impl Fn()) -> Option<i64> {
        let mut turn = interval(TURN);
        loop {
            tokio::select! {
                epoch = leadership.led() => return epoch,
                _ = self.inbox.take() => {}
                _ = turn.tick() => beat(),
            }
        }
    }

    async fn lead(
        &self,
        epoch: i64,
        leadership: &mut Leadership,
        stop: &mut Stop,
        beat: &impl Fn(),
    ) {
        self.clock.trust_from_now();
        let mut term = Turns::new(self, epoch);
        let mut turn = interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            term.queue.wake(Instant::now());
            term.start();
            let timer = term.queue.next_timer();
            tokio::select! {
                // What ends the term first; what happens in the cluster last, as it may never stop.
                biased;
                () = stop.wait() => break,
                () = leadership.lost(epoch) => break,
                _ = turn.tick() => {
                    beat();
                    if self.clock.jumped() {
                        term.push_all();
                    }
                }
                Some(back) = term.running.join_next() => term.ended(back),
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {}
                keys = self.inbox.take() => keys.into_iter().for_each(|k| term.queue.push(k)),
            }
        }
        // No pass is cut off: its writes are refused from now on, or end within their time-out.
        while let Some(back) = term.running.join_next().await {
            term.ended(back);
            beat();
        }
        self.reconcile.term_ended();
    }
}

/// The passes of one term of leadership.
struct Turns<'a, R> {
    parent: &'a RunLoop<R>,
    epoch: i64,
    queue: Queue,
    memories: HashMap<Key, Memory>,
    running: JoinSet<Back>,
}

impl<'a, R: Reconcile> Turns<'a, R> {
    fn new(parent: &'a RunLoop<R>, epoch: i64) -> Self {
        let mut turns = Self {
            parent,
            epoch,
            queue: Queue::default(),
            memories: HashMap::new(),
            running: JoinSet::new(),
        };
        turns.push_all();
        turns
    }

    fn push_all(&mut self) {
        for key in self.parent.reconcile.keys() {
            self.queue.push(key);
        }
    }

    /// Starts as many passes as there are free workers.
    fn start(&mut self) {
        while self.running.len() < self.parent.workers
            && let Some(key) = self.queue.take()
        {
            let memory = self.memories.remove(&key).unwrap_or_default();
            let reconcile = self.parent.reconcile.clone();
            let (_, trusted_since) = self.parent.clock.now();
            let term = Term {
                epoch: self.epoch,
                trusted_since,
            };
            self.running
                .spawn(async move { pass(&*reconcile, key, memory, term).await });
        }
    }

    fn ended(&mut self, back: Result<Back, tokio::task::JoinError>) {
        let (key, took, back) = match back {
            Ok(back) => back,
            // Passes catch their panics and are not cancelled.
            Err(error) => return error!(%error, "a pass was lost"),
        };
        let ended = match back {
            None => {
                self.parent.metrics.reconciled(PassResult::Panicked, took);
                PassEnd::Failed
            }
            Some((memory, ran)) => {
                report(&key, &ran);
                self.parent.metrics.reconciled(outcome(&ran), took);
                self.memories.insert(key.clone(), memory);
                match &ran.error {
                    None => PassEnd::Well(ran.wake_at.map(|at| self.parent.clock.instant_of(at))),
                    Some(stopped) if stopped.is_conflict() => PassEnd::Conflict,
                    Some(_) => PassEnd::Failed,
                }
            }
        };
        let known = self.parent.reconcile.knows(&key);
        let ended = if known { ended } else { PassEnd::Well(None) };
        self.queue.done(key.clone(), ended, Instant::now());
        if !known {
            self.memories.remove(&key);
            self.queue.forget(&key);
            self.parent.reconcile.forget(&key);
        }
    }
}

async fn pass<R: Reconcile>(reconcile: &R, key: Key, mut memory: Memory, term: Term) -> Back {
    let began = Instant::now();
    let pass = reconcile.pass(&key, &mut memory, term);
    let ran = AssertUnwindSafe(pass).catch_unwind().await;
    let took = began.elapsed();
    match ran {
        Ok(ran) => (key, took, Some((memory, ran))),
        Err(panic) => {
            let words = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            error!(?key, panic = words, "a pass panicked; the others go on");
            (key, took, None)
        }
    }
}

fn outcome(ran: &Ran) -> PassResult {
    match (&ran.error, ran.writes, ran.wake_at) {
        (Some(_), ..) => PassResult::Failed,
        (None, 1.., _) => PassResult::Changed,
        (None, 0, Some(_)) => PassResult::Waiting,
        (None, 0, None) => PassResult::Unchanged,
    }
}

fn report(key: &Key, ran: &Ran) {
    let (namespace, name) = (key.namespace(), key.name());
    let kind = match key {
        Key::Rollout { .. } => "Rollout",
        Key::Database { .. } => "DatabaseSchema",
    };
    if ran.writes > 0 {
        for note in ran.notes.iter() {
            info!(kind, namespace, name, "{note}");
        }
    }
    match &ran.error {
        Some(error) if error.is_conflict() => {
            debug!(kind, namespace, name, %error, "again with a newer copy");
        }
        Some(error) => warn!(kind, namespace, name, %error, "to be tried again"),
        None => {}
    }
}

#[cfg(test)]
mod tests;
