//! Asks for every canary on its own beat, apart from reconciling.
//!
//! Thin on purpose: what is due, what is asked and what it means is decided by
//! [`crate::evidence::Board`], which the simulator drives with a virtual clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::client::{Client, MetricSource};
use super::config::{ConfigError, SourceConfig, SourcesFile};
use super::error::Error;
use super::fair::{Fair, Who};
use super::query::{Pods, Query};
use super::room::{Budget, Room};
use crate::evidence::{
    Answer, Answered, Ask, Board, Change, CheckAsk, CheckSpec, Fault, Key, Measure, PollResult,
    Readings, Reason,
};

/// Polls that ask one source at a time, each one question after the other.
const POLLS_AT_A_TIME: usize = 8;

/// Questions of a poll that a source may leave unanswered in time; then the rest is not asked.
const PATIENCE: u32 = 2;

/// Longest poll, all its questions and the wait for a slot included; shorter than the board waits
/// for an answer.
const LONGEST_POLL: Duration = Duration::from_secs(100);

/// Longest nap; bounds what a jump of the wall clock can delay.
const LONGEST_NAP: Duration = Duration::from_secs(5);

/// A handle to the sampler; clones share one.
pub struct Sampler<S = Client> {
    shared: Arc<Shared<S>>,
}

impl<S> Clone for Sampler<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Is told what became of each check's part of a poll.
type Polled = dyn Fn(PollResult) + Send + Sync;

/// Is told whose readings changed, and how.
type Changed = dyn Fn(&Key, Change) + Send + Sync;

struct Shared<S> {
    board: Mutex<Board>,
    sources: BTreeMap<String, Source<S>>,
    budget: Budget,
    woken: Notify,
    polled: Box<Polled>,
    changed: Box<Changed>,
}

struct Source<S> {
    config: SourceConfig,
    api: S,
    slots: Arc<Fair>,
}

impl Sampler<Client> {
    /// A sampler for the configured sources. After every poll `polled` is called for each check
    /// that a source was asked about, and `changed` with whose readings it was and what changed;
    /// both from the sampler's own task: they must not block.
    ///
    /// # Errors
    /// If a source's `caFile` cannot be used.
    pub fn new(
        file: SourcesFile,
        polled: impl Fn(PollResult) + Send + Sync + 'static,
        changed: impl Fn(&Key, Change) + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let clients = file.sources.into_iter().map(|config| {
            let client = Client::new(config.clone())?;
            Ok((config, client))
        });
        let clients = clients.collect::<Result<Vec<_>, _>>()?;
        Ok(Self::with(clients, polled, changed))
    }
}

impl<S: MetricSource> Sampler<S> {
    /// The same for any kind of source.
    pub(crate) fn with(
        sources: Vec<(SourceConfig, S)>,
        polled: impl Fn(PollResult) + Send + Sync + 'static,
        changed: impl Fn(&Key, Change) + Send + Sync + 'static,
    ) -> Self {
        let sources = sources.into_iter().map(|(config, api)| {
            let slots = Fair::new(POLLS_AT_A_TIME);
            (config.name.clone(), Source { config, api, slots })
        });
        Self {
            shared: Arc::new(Shared {
                board: Mutex::default(),
                sources: sources.collect(),
                budget: Budget::new(),
                woken: Notify::new(),
                polled: Box::new(polled),
                changed: Box::new(changed),
            }),
        }
    }

    /// Measures a canary from now on, or takes over what changed about it; cheap when nothing
    /// did. History is kept as long as `since` stays.
    pub fn measure(&self, measure: Measure) {
        self.shared.board().measure(measure, Timestamp::now());
        self.shared.woken.notify_one();
    }

    /// Stops measuring all revisions of a Rollout but one, or all of them.
    pub(crate) fn keep_only(&self, namespace: &str, rollout: &str, revision: Option<&str>) {
        let mut board = self.shared.board();
        board.keep_only(namespace, rollout, revision);
    }

    /// How a canary's checks stand; `None` if it is not measured.
    pub fn readings(&self, namespace: &str, rollout: &str, revision: &str) -> Option<Readings> {
        let key = Key {
            namespace: namespace.to_owned(),
            rollout: rollout.to_owned(),
            revision: revision.to_owned(),
        };
        self.shared.board().readings(&key)
    }

    /// Whether a Rollout of the namespace may use the source.
    ///
    /// # Errors
    /// With the reason and the remedy, for the Rollout's status.
    pub(crate) fn admits(&self, source: &str, namespace: &str) -> Result<(), Fault> {
        self.shared.source(source, namespace).map(|_| ())
    }

    /// Polls until it is dropped; what is under way is then cancelled.
    pub async fn run(&self) {
        let mut polls = JoinSet::new();
        loop {
            let now = Timestamp::now();
            let (asks, next) = {
                let mut board = self.shared.board();
                let asks = board.due(now);
                (asks, board.next_due(now))
            };
            for ask in asks {
                let shared = Arc::clone(&self.shared);
                polls.spawn(async move { shared.poll(ask).await });
            }
            tokio::select! {
                () = self.shared.woken.notified() => {}
                () = tokio::time::sleep(nap(now, next)) => {}
                Some(ended) = polls.join_next() => {
                    // One that panicked is asked again when its ask is given up.
                    if let Err(e) = ended {
                        error!(error = %e, "a poll of a metric source ended abnormally");
                    }
                }
            }
        }
    }
}

fn nap(now: Timestamp, next: Option<Timestamp>) -> Duration {
    let Some(next) = next else {
        return LONGEST_NAP;
    };
    // Due already: not before others had their turn.
    let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
    wait.clamp(Duration::from_millis(1), LONGEST_NAP)
}

impl<S: MetricSource> Shared<S> {
    /// A panic elsewhere leaves the board whole enough: its entries do not depend on each other.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self, name: &str, namespace: &str) -> Result<&Source<S>, Fault> {
        let source = self.sources.get(name).ok_or_else(|| Fault {
            reason: Reason::SourceUnknown,
            message: format!(
                "metric source {name:?} is not configured: name another in analysis.source, or \
                 ask the administrator for it"
            ),
        })?;
        source.config.admits(namespace)?;
        Ok(source)
    }

    async fn poll(&self, ask: Ask) {
        let who = Who {
            namespace: ask.key.namespace.clone(),
            rollout: ask.key.rollout.clone(),
        };
        let history = ask.checks.iter().any(|c| c.history_since.is_some());
        // Held until the answer has become counts.
        let room = self.budget.room(who.clone(), history);
        let answer = tokio::time::timeout(LONGEST_POLL, self.find_out(&ask, who, &room)).await;
        let answer = answer.unwrap_or_else(|_| {
            let seconds = LONGEST_POLL.as_secs();
            unanswered(&ask, &Error::TimedOut { seconds }.into())
        });
        for (check, outcome) in &answer {
            if let Some(result) = PollResult::of(outcome) {
                (self.polled)(result);
            }
            if let Err(fault) = outcome {
                debug!(
                    namespace = ask.key.namespace,
                    rollout = ask.key.rollout,
                    check = check.name,
                    reason = fault.reason.as_str(),
                    message = fault.message,
                    "a check was not answered"
                );
            }
        }
        let change = self.board().answer(&ask, answer);
        if let Some(change) = change {
            (self.changed)(&ask.key, change);
        }
    }

    /// Asks every different question once, one after the other.
    async fn find_out(&self, ask: &Ask, who: Who, room: &Room) -> Answer {
        let source = match self.source(&ask.measure.source, &ask.key.namespace) {
            Ok(source) => source,
            Err(fault) => return unanswered(ask, &fault),
        };
        let mut answer = Answer::new();
        let mut questions = BTreeMap::<(Query, Option<Timestamp>), Vec<CheckSpec>>::new();
        for check in &ask.checks {
            match source.query(&ask.measure, check, true) {
                Ok(query) => questions
                    .entry((query, check.history_since))
                    .or_default()
                    .push(check.spec.clone()),
                Err(fault) => answer.push((check.spec.clone(), Err(fault))),
            }
        }
        if questions.is_empty() {
            return answer;
        }
        let _slot = source.slots.take(who, 1).await;
        let mut unanswered = 0;
        for ((query, since), specs) in questions {
            let outcome = if unanswered < PATIENCE {
                let specs: &[CheckSpec] = &specs;
                source.ask_at_least(&query, since, specs, ask, room).await
            } else {
                let seconds = source.config.timeout_seconds.into();
                Err(Error::TimedOut { seconds })
            };
            if matches!(outcome, Err(Error::TimedOut { .. } | Error::Unreachable)) {
                unanswered += 1;
            }
            let told = specs.into_iter().map(|spec| {
                let outcome = outcome.clone().map_err(|error| fault(error, &spec));
                (spec, outcome)
            });
            answer.extend(told);
        }
        answer
    }
}

/// What is said of a check whose query was not answered. A query that cannot be read is so for what
/// the user put into it.
fn fault(error: Error, spec: &CheckSpec) -> Fault {
    let patterns = spec.convention.patterns();
    let unread = matches!(
        error,
        Error::Refused {
            kind: "bad_data",
            ..
        }
    );
    if !unread || patterns.is_empty() {
        return error.into();
    }
    Fault {
        reason: Reason::BadPattern,
        message: format!(
            "{error}: correct the regular expression in {} (RE2's syntax, without look-ahead)",
            patterns.join(" or ")
        ),
    }
}

/// The same fault for every check.
fn unanswered(ask: &Ask, fault: &Fault) -> Answer {
    let same = |check: &CheckAsk| (check.spec.clone(), Err(fault.clone()));
    ask.checks.iter().map(same).collect()
}

impl<S: MetricSource> Source<S> {
    /// The query of a check; the first one's asks for the pods beside its own too, where that is
    /// wanted.
    fn query(&self, measure: &Measure, check: &CheckAsk, beside: bool) -> Result<Query, Fault> {
        let names = check.spec.convention.resolve(&self.config.names());
        let names = names.map_err(|e| Fault {
            reason: Reason::BadConvention,
            message: format!("metric.{e}"),
        })?;
        let first = measure.checks.first().map(|first| &first.name);
        let pods = Pods {
            namespace_label: &self.config.namespace_label,
            namespace: &measure.namespace,
            prefix: &measure.pod_prefix,
            // One answer says it for all.
            beside: measure
                .beside
                .as_deref()
                .filter(|_| beside && first == Some(&check.spec.name)),
        };
        let scrape_interval = self.config.scrape_interval_seconds;
        Ok(Query::new(&check.spec.kind, &names, pods, scrape_interval))
    }

    /// One question. Where the source cannot answer it whole, once more without what decides
    /// nothing: stable may have far more series than the source reads for a check of the canary.
    async fn ask_at_least(
        &self,
        query: &Query,
        since: Option<Timestamp>,
        specs: &[CheckSpec],
        ask: &Ask,
        room: &Room,
    ) -> Result<Answered, Error> {
        let answer = self.ask(query, since, ask, room).await;
        let whole = match &answer {
            Ok(answered) => !answered.now.warned,
            // Nobody is there to be asked again.
            Err(Error::TimedOut { .. } | Error::Unreachable) => true,
            Err(_) => false,
        };
        if whole || !query.beside {
            return answer;
        }
        let first = ask.checks.iter().find(|check| specs.contains(&check.spec));
        let alone = first.and_then(|check| self.query(&ask.measure, check, false).ok());
        match alone {
            Some(alone) => self.ask(&alone, since, ask, room).await,
            None => answer,
        }
    }

    /// One question.
    async fn ask(
        &self,
        query: &Query,
        since: Option<Timestamp>,
        ask: &Ask,
        room: &Room,
    ) -> Result<Answered, Error> {
        let mut history = Vec::new();
        let past = since.map(|since| ask.measure.past(since, ask.at));
        for (since, until) in past.into_iter().flatten() {
            let step = ask.measure.interval_seconds;
            history.extend(self.api.history(query, since, until, step, room).await?);
        }
        let now = self.api.now(query, room).await?;
        Ok(Answered { history, now })
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
