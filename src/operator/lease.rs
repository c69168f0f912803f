//! The lead: one process acts, the others stand by.
//!
//! [`election`] decides, [`record`] reads and writes the Lease object; here is the thin part that
//! talks to the API server and tells the rest of the process, through a [`Leadership`].
//!
//! What an actor does: before each write it asks [`Leadership::epoch`] and labels what it writes to
//! with the epoch. The answer depends on the clock at that moment, not on a task having noticed, so
//! a process that was stopped and continued does not act on a term that is over.

mod election;
mod record;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use self::election::Election;
pub use self::election::Timing;
pub(crate) use self::election::TimingError;
use self::election::{Action, LeaseFacts, Term};
use super::metrics::{ErrorReason, Metrics, WriteKind, WriteResult};
use super::shutdown::Stop;

/// The most askers of [`Leadership::confirm`] that wait for one renewal; more wait in line.
const ASKERS: usize = 64;
/// Silence of the API server that lasts so long has cut off connections too.
const SILENCE: Duration = Duration::from_secs(2);

/// What this process may believe about the lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// Another process leads, or nobody.
    Standby,
    /// This process leads.
    Leading {
        /// The term's number: higher than that of every term before it, by whomever.
        epoch: i64,
        /// The end of the term unless it is renewed. `None`: there is no election.
        until: Option<Instant>,
    },
}

/// Tells whether this process leads. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Leadership {
    lead: watch::Receiver<Lead>,
    confirm: Option<mpsc::Sender<oneshot::Sender<Option<i64>>>>,
}

impl Leadership {
    /// For a process that acts without an election: it leads from now on, in a term that is numbered
    /// by the microsecond, as those of Leases are, so that a later process outranks an earlier one.
    pub(crate) fn without_election(metrics: &Metrics) -> Self {
        let epoch = Timestamp::now().as_microsecond();
        metrics.leads(Some(epoch));
        // The sender is dropped; the value stays.
        let (_, lead) = watch::channel(Lead::Leading { epoch, until: None });
        Self {
            lead,
            confirm: None,
        }
    }

    /// What a test says.
    #[cfg(test)]
    pub(super) const fn told(lead: watch::Receiver<Lead>) -> Self {
        Self {
            lead,
            confirm: None,
        }
    }

    /// The epoch to act under at this moment; `None`: do not act.
    pub fn epoch(&self) -> Option<i64> {
        match *self.lead.borrow() {
            Lead::Standby => None,
            Lead::Leading { epoch, until } => until
                .is_none_or(|until| Instant::now() < until)
                .then_some(epoch),
        }
    }

    /// Waits until this process leads and returns the epoch; `None` when it never will again.
    pub async fn led(&mut self) -> Option<i64> {
        loop {
            if let Some(epoch) = self.epoch() {
                return Some(epoch);
            }
            self.lead.changed().await.ok()?;
        }
    }

    /// Waits until this process no longer leads in the term `epoch`.
    pub async fn lost(&mut self, epoch: i64) {
        while self.epoch() == Some(epoch) {
            let until = match *self.lead.borrow_and_update() {
                Lead::Leading { until, .. } => until,
                Lead::Standby => return,
            };
            tokio::select! {
                changed = self.lead.changed() => match (changed, until) {
                    (Ok(()), _) => {}
                    // The elector is gone: nobody renews any more.
                    (Err(_), Some(until)) => sleep_until(until).await,
                    (Err(_), None) => std::future::pending().await,
                },
                () = sleep_until(until.unwrap_or_else(far)) => {}
            }
        }
    }

    /// Renews the Lease now and returns the epoch if the API server accepted that, which proves that
    /// no later term had begun when this was called.
    ///
    /// For whoever meets an object with a higher epoch than their own. `None`: stop acting. `Some`:
    /// the object's epoch is not of this Lease (the Lease was made anew, or somebody wrote it by
    /// hand), and the object may be labelled anew.
    pub async fn confirm(&self) -> Option<i64> {
        let Some(asker) = &self.confirm else {
            return self.epoch();
        };
        let (answer, answered) = oneshot::channel();
        asker.send(answer).await.ok()?;
        let epoch = answered.await.ok()??;
        self.epoch().filter(|now| *now == epoch)
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// How an elector is set up.
#[derive(Clone, Debug)]
pub struct ElectorConfig {
    /// Name of the Lease.
    pub name: String,
    /// This process's own name in it.
    pub identity: String,
    /// The election's times.
    pub timing: Timing,
}

/// Takes part in the election, as one task.
pub struct Elector {
    api: Api<Lease>,
    config: ElectorConfig,
    election: Election,
    started: Instant,
    /// The Lease as the last accepted write left it.
    stored: Option<LeaseFacts>,
    lead: watch::Sender<Lead>,
    asked: mpsc::Receiver<oneshot::Sender<Option<i64>>>,
    askers: Vec<oneshot::Sender<Option<i64>>>,
    /// Since when the API server gives no answer.
    silent: Option<Instant>,
    answers_again: Box<dyn Fn() + Send + Sync>,
    metrics: Metrics,
    /// The last trouble logged, so that an outage is one line.
    trouble: String,
}

impl std::fmt::Debug for Elector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elector")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a request to the API server did not succeed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Client(#[from] kube::Error),
    #[error("{0}")]
    Record(#[from] record::RecordError),
    #[error("{0}")]
    Body(#[from] serde_json::Error),
}

impl Trouble {
    /// The Lease is not as it was observed. (It cannot be created where the namespace is missing,
    /// which is a 404 as well, but nothing that looking again would cure.)
    fn conflict(&self) -> bool {
        matches!(self, Self::Client(kube::Error::Api(status)) if match status.code {
            409 => true,
            404 => status.details.as_ref().is_some_and(|details| details.kind == "leases"),
            _ => false,
        })
    }

    /// Nobody has said anything.
    fn is_silence(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Client(error) => !matches!(error, kube::Error::Api(_)),
            Self::Record(_) | Self::Body(_) => false,
        }
    }

    fn result(&self) -> WriteResult {
        match self {
            Self::Client(kube::Error::Api(_)) if self.conflict() => WriteResult::Conflict,
            Self::Client(kube::Error::Api(status)) if status.code < 500 => WriteResult::Refused,
            _ => WriteResult::Unanswered,
        }
    }
}

impl Elector {
    /// An elector and the handle that tells its result. `api` must be of a client that repeats no
    /// write by itself (see [`super::client::Clients::writes`]) and of the Lease's namespace.
    pub fn new(api: Api<Lease>, config: ElectorConfig, metrics: Metrics) -> (Self, Leadership) {
        let (lead, told) = watch::channel(Lead::Standby);
        let (confirm, asked) = mpsc::channel(ASKERS);
        let elector = Self {
            election: Election::new(config.identity.clone(), config.timing),
            api,
            config,
            started: Instant::now(),
            stored: None,
            lead,
            asked,
            askers: Vec::new(),
            silent: None,
            answers_again: Box::new(|| {}),
            metrics,
            trouble: String::new(),
        };
        (
            elector,
            Leadership {
                lead: told,
                confirm: Some(confirm),
            },
        )
    }

    /// `answers_again` is called when the API server has given an answer after it gave none for some
    /// time.
    #[must_use]
    pub fn telling(mut self, answers_again: impl Fn() + Send + Sync + 'static) -> Self {
        self.answers_again = Box::new(answers_again);
        self
    }

    /// Takes part until `stop`, then gives the Lease back. Stop it only when nothing in this process
    /// acts any more. `beat` is called at every turn, at least once per renew deadline.
    pub async fn run(mut self, mut stop: Stop, beat: impl Fn()) {
        loop {
            beat();
            if stop.requested() {
                self.election.stop();
            }
            let Some(wait) = self.turn().await else {
                return;
            };
            self.publish();
            let wake = self.not_past_the_term(Instant::now() + wait);
            tokio::select! {
                () = sleep_until(wake) => {}
                () = stop.wait(), if !stop.requested() => {}
                Some(asker) = self.asked.recv(), if self.askers.len() < ASKERS => {
                    self.askers.push(asker);
                    self.election.hasten();
                    if self.election.term(self.now()).is_none() {
                        self.answer();
                    }
                }
            }
        }
    }

    /// One look at the Lease and what follows from it. Returns how long to wait before the next;
    /// `None` when the election is over.
    async fn turn(&mut self) -> Option<Duration> {
        let retry = self.config.timing.standby_poll();
        self.publish();
        let observed = match self.stored.clone() {
            Some(stored) => Ok(Some(stored)),
            None => self.read().await,
        };
        self.note(observed.as_ref().err());
        let observed = match observed {
            Ok(observed) => observed,
            Err(trouble) => {
                self.report("read", &trouble);
                // While it ends, a Lease that cannot be read is left to expire.
                return (!self.election.stopping()).then_some(retry);
            }
        };
        let action = self.election.step(observed.as_ref(), self.now());
        self.publish();
        let spec = match &action {
            Action::Done => return None,
            Action::Wait(wait) => {
                self.keep_only_own(observed);
                return Some(*wait);
            }
            Action::Release => record::released(Timestamp::now()),
            Action::Renew { .. } => record::renewed(Timestamp::now()),
            Action::Create { epoch } | Action::Acquire { epoch } => {
                self.election.sending(*epoch);
                let timing = &self.config.timing;
                record::acquired(&self.config.identity, timing, *epoch, Timestamp::now())
            }
        };
        let sent = self.now();
        let written = self.write(observed.as_ref(), spec).await;
        self.settle(written, sent, retry)
    }

    fn settle(
        &mut self,
        written: Result<LeaseFacts, Trouble>,
        sent: Duration,
        retry: Duration,
    ) -> Option<Duration> {
        self.note(written.as_ref().err());
        let result = written
            .as_ref()
            .map_or_else(Trouble::result, |_| WriteResult::Accepted);
        self.metrics.wrote(WriteKind::Lease, result);
        match written {
            Ok(stored) => {
                self.trouble.clear();
                self.election.accepted(stored.clone(), sent, self.now());
                self.keep_only_own(Some(stored));
                self.publish();
                self.answer();
                (!self.election.stopping()).then_some(Duration::ZERO)
            }
            Err(trouble) => {
                self.stored = None;
                if trouble.conflict() {
                    debug!(lease = %self.config.name, "the Lease has changed: {trouble}");
                    return Some(retry / 10);
                }
                self.report("write", &trouble);
                (!self.election.stopping()).then_some(retry)
            }
        }
    }

    /// Takes note of whether the API server has answered.
    fn note(&mut self, trouble: Option<&Trouble>) {
        match trouble {
            Some(trouble) if trouble.is_silence() => {
                self.silent.get_or_insert_with(Instant::now);
            }
            _ => {
                let silent = self.silent.take();
                if silent.is_some_and(|since| since.elapsed() >= SILENCE) {
                    (self.answers_again)();
                }
            }
        }
    }

    /// A leader goes by the answer to its last write; everybody else reads afresh each time.
    fn keep_only_own(&mut self, facts: Option<LeaseFacts>) {
        self.stored = facts.filter(|_| self.election.term(self.now()).is_some());
    }

    async fn read(&self) -> Result<Option<LeaseFacts>, Trouble> {
        let lease = timeout_at(self.patience(), self.api.get_opt(&self.config.name)).await;
        let lease = lease.map_err(|_| Trouble::Timeout)??;
        Ok(lease
            .map(|lease| record::facts(&lease, &self.config.timing))
            .transpose()?)
    }

    async fn write(
        &self,
        observed: Option<&LeaseFacts>,
        spec: Value,
    ) -> Result<LeaseFacts, Trouble> {
        let name = &self.config.name;
        let params = PostParams::default();
        let lease = match observed {
            None => {
                let lease = record::created(name, spec)?;
                timeout_at(self.patience(), self.api.create(&params, &lease)).await
            }
            Some(observed) => {
                let patch = Patch::Merge(record::guarded(observed, spec));
                let params = PatchParams::default();
                timeout_at(self.patience(), self.api.patch(name, &params, &patch)).await
            }
        };
        Ok(record::facts(
            &lease.map_err(|_| Trouble::Timeout)??,
            &self.config.timing,
        )?)
    }

    /// Until when a request may take.
    fn patience(&self) -> Instant {
        self.not_past_the_term(Instant::now() + self.config.timing.request_timeout())
    }

    /// No wait lasts past the end of the term, so that it is announced when it comes.
    fn not_past_the_term(&self, longest: Instant) -> Instant {
        match self.election.term(self.now()) {
            Some(term) => longest.min(self.started + term.until),
            None => longest,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells what is believed now. Waiters are only woken when an epoch begins or ends.
    fn publish(&mut self) {
        let term = self.election.term(self.now());
        let next = self.lead_of(term);
        let mut changed = None;
        self.lead.send_if_modified(|lead| {
            let before = epoch_of(*lead);
            *lead = next;
            if before != epoch_of(next) {
                changed = Some((before, epoch_of(next)));
            }
            changed.is_some()
        });
        let Some((before, after)) = changed else {
            return;
        };
        self.metrics.leads(after);
        let (lease, identity) = (&self.config.name, &self.config.identity);
        match after {
            Some(epoch) => info!(%lease, %identity, epoch, "leading"),
            None => info!(%lease, %identity, epoch = before, "no longer leading"),
        }
        if after.is_none() {
            self.answer();
        }
    }

    fn lead_of(&self, term: Option<Term>) -> Lead {
        match term {
            None => Lead::Standby,
            Some(Term { epoch, until }) => Lead::Leading {
                epoch,
                until: Some(self.started + until),
            },
        }
    }

    fn answer(&mut self) {
        let epoch = self.election.term(self.now()).map(|term| term.epoch);
        for asker in self.askers.drain(..) {
            // Whoever no longer waits does not need to know.
            let _ = asker.send(epoch);
        }
    }

    fn report(&mut self, doing: &'static str, trouble: &Trouble) {
        let text = trouble.to_string();
        let namespace = self.api.namespace().unwrap_or_default();
        if text == self.trouble {
            debug!(lease = %self.config.name, namespace, "cannot {doing} the Lease: {text}");
            return;
        }
        let forbidden = "; the ServiceAccount needs get, create and patch on leases there";
        let advice = if text.contains("forbidden") {
            forbidden
        } else {
            "; trying again"
        };
        warn!(lease = %self.config.name, namespace, "cannot {doing} the Lease: {text}{advice}");
        self.metrics.error(ErrorReason::LeaseUnreachable);
        self.trouble = text;
    }
}

fn epoch_of(lead: Lead) -> Option<i64> {
    match lead {
        Lead::Standby => None,
        Lead::Leading { epoch, .. } => Some(epoch),
    }
}

#[cfg(test)]
mod contenders;
#[cfg(test)]
mod tests;
