//! What the operator counts about itself. Every label has a small, fixed set of values: no names of
//! objects, no texts of errors.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::api::database::Found;
use crate::evidence::PollResult;
use crate::plan::intent::{Around, Kind, Measurement, RolloutState, Stands, UndoCause};
use crate::plan::reason::Reason;

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum PassResult {
    /// Nothing was to be written.
    Unchanged,
    /// Something was written.
    Changed,
    /// Waiting for something; nothing was written.
    Waiting,
    /// It failed and will be tried again.
    Failed,
    /// It panicked; the object is left alone for a while.
    Panicked,
}

impl PassResult {
    const ALL: [Self; 5] = [
        Self::Unchanged,
        Self::Changed,
        Self::Waiting,
        Self::Failed,
        Self::Panicked,
    ];
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WriteKind {
    /// An object that belongs to a Rollout, but for what follows.
    Object(Kind),
    /// A Rollout's status.
    RolloutStatus,
    /// The replicas of a Deployment.
    Scale,
    /// An Event.
    Event,
    /// The Lease.
    Lease,
}

impl WriteKind {
    fn all() -> impl Iterator<Item = Self> {
        let others = [Self::RolloutStatus, Self::Scale, Self::Event, Self::Lease];
        Kind::ALL.into_iter().map(Self::Object).chain(others)
    }
}

impl EncodeLabelValue for WriteKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Self::Object(kind) => kind.name(),
            Self::RolloutStatus => "RolloutStatus",
            Self::Scale => "Scale",
            Self::Event => "Event",
            Self::Lease => "Lease",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum WriteResult {
    /// The server accepted it.
    Accepted,
    /// The object was another one, or another version of it.
    Conflict,
    /// The server refused it for another reason.
    Refused,
    /// No answer came: it was done or it was not.
    Unanswered,
}

impl WriteResult {
    const ALL: [Self; 4] = [
        Self::Accepted,
        Self::Conflict,
        Self::Refused,
        Self::Unanswered,
    ];
}

/// What is counted by its reason alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum ErrorReason {
    /// An Event was not published, as too many wait.
    EventDropped,
    /// The Lease can neither be read nor written.
    LeaseUnreachable,
}

impl ErrorReason {
    const ALL: [Self; 2] = [Self::EventDropped, Self::LeaseUnreachable];
}

impl EncodeLabelValue for PollResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self:?}")
    }
}

impl EncodeLabelValue for UndoCause {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self:?}")
    }
}

impl EncodeLabelValue for RolloutState {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self:?}")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MeasuredLabels {
    around: &'static str,
    verdict: &'static str,
}

impl MeasuredLabels {
    const fn of(measured: Measurement) -> Self {
        Self {
            around: match measured.around {
                Around::AfterExpand => "AfterExpand",
                Around::BeforeContract => "BeforeContract",
                Around::AfterContract => "AfterContract",
            },
            verdict: match measured.verdict {
                Found::Passed => "Passed",
                Found::Failed => "Failed",
                Found::NoVerdict => "NoVerdict",
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: RolloutState,
}

/// Not `namespace`: that is the operator's own, where Prometheus adds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RolloutLabels {
    rollout_namespace: String,
    rollout: String,
    state: RolloutState,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlagLabels {
    rollout_namespace: String,
    rollout: String,
    flag: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: PassResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: WriteKind,
    result: WriteResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: ErrorReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PollLabels {
    result: PollResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UndoLabels {
    cause: UndoCause,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    code: &'static str,
}

/// Buckets from 1 ms to 16 s: a reconcile takes milliseconds, a slow API server takes seconds.
#[derive(Clone, Debug)]
struct DurationBuckets;

impl MetricConstructor<Histogram> for DurationBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new((0..8).map(|power| 0.001 * 4f64.powi(power)))
    }
}

/// The metrics of one process. Clones count into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<OutcomeLabels, Counter>,
    durations: Family<OutcomeLabels, Histogram, DurationBuckets>,
    writes: Family<WriteLabels, Counter>,
    errors: Family<ReasonLabels, Counter>,
    polls: Family<PollLabels, Counter>,
    undos: Family<UndoLabels, Counter>,
    flags_taken_back: Family<UndoLabels, Counter>,
    measured: Family<MeasuredLabels, Counter>,
    states: Family<StateLabels, Gauge>,
    /// How each Rollout stands, where that is asked for.
    rollouts: Option<Family<RolloutLabels, Gauge>>,
    /// For how many users its flags are on; shown with the former.
    flags: Family<FlagLabels, Gauge>,
    /// What these were made from.
    standings: Arc<Mutex<BTreeMap<(String, String), Stands>>>,
    leader: Gauge,
    epoch: Gauge,
    requests: Family<RequestLabels, Counter>,
}

impl Metrics {
    /// All families, with every series that is known beforehand at nothing.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// The same, with a series for each Rollout.
    pub fn naming_rollouts() -> Self {
        Self::with(Some(Family::default()))
    }

    fn with(rollouts: Option<Family<RolloutLabels, Gauge>>) -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            reconciles: Family::default(),
            durations: Family::new_with_constructor(DurationBuckets),
            writes: Family::default(),
            errors: Family::default(),
            polls: Family::default(),
            undos: Family::default(),
            flags_taken_back: Family::default(),
            measured: Family::default(),
            states: Family::default(),
            rollouts,
            flags: Family::default(),
            standings: Arc::default(),
            leader: Gauge::default(),
            epoch: Gauge::default(),
            requests: Family::default(),
        };
        metrics.registry = Arc::new(metrics.registered());
        metrics.start_at_nothing();
        metrics
    }

    /// Makes every series whose labels are known. A counter that first appears at 1 shows no
    /// increase to Prometheus, and the first failure would be missed.
    fn start_at_nothing(&self) {
        for outcome in PassResult::ALL {
            drop(self.reconciles.get_or_create(&OutcomeLabels { outcome }));
            drop(self.durations.get_or_create(&OutcomeLabels { outcome }));
        }
        for kind in WriteKind::all() {
            for result in WriteResult::ALL {
                drop(self.writes.get_or_create(&WriteLabels { kind, result }));
            }
        }
        for reason in ErrorReason::ALL {
            drop(self.errors.get_or_create(&ReasonLabels { reason }));
        }
        for result in PollResult::ALL {
            drop(self.polls.get_or_create(&PollLabels { result }));
        }
        for state in RolloutState::ALL {
            drop(self.states.get_or_create(&StateLabels { state }));
        }
        for cause in UndoCause::OF_RELEASES {
            drop(self.undos.get_or_create(&UndoLabels { cause }));
        }
        for around in Around::ALL {
            for verdict in Found::ALL {
                let labels = MeasuredLabels::of(Measurement { around, verdict });
                drop(self.measured.get_or_create(&labels));
            }
        }
        for cause in UndoCause::OF_FLAGS {
            drop(self.flags_taken_back.get_or_create(&UndoLabels { cause }));
        }
    }

    fn registered(&self) -> Registry {
        let mut r = Registry::with_prefix("stepgate");
        r.register(
            "reconciles",
            "Reconciles of Rollouts, by outcome",
            self.reconciles.clone(),
        );
        r.register_with_unit(
            "reconcile_duration",
            "Time that a reconcile took, by outcome",
            Unit::Seconds,
            self.durations.clone(),
        );
        r.register(
            "writes",
            "Writes to the API server, by kind and result",
            self.writes.clone(),
        );
        r.register("errors", "Errors, by reason", self.errors.clone());
        r.register(
            "evidence_polls",
            "Answers of metric sources, one for each check of a poll, by result",
            self.polls.clone(),
        );
        r.register(
            "rollouts",
            "Rollouts, by how they stand; shown by the process that leads",
            self.states.clone(),
        );
        if let Some(rollouts) = &self.rollouts {
            r.register(
                "rollout_state",
                "1 for how each Rollout stands, and why; shown by the process that leads",
                rollouts.clone(),
            );
            r.register(
                "flag_percent",
                "Percentage of users for whom each flag is on, but for flags that somebody changed by hand; shown by the process that leads",
                self.flags.clone(),
            );
        }
        r.register(
            "flags_taken_back",
            "Flags turned off again, by cause",
            self.flags_taken_back.clone(),
        );
        r.register(
            "stable_measurements",
            "How measurements of stable around a schema change have ended",
            self.measured.clone(),
        );
        r.register("undos", "Releases taken back, by cause", self.undos.clone());
        r.register("leader", "1 while this process leads", self.leader.clone());
        r.register(
            "leader_epoch",
            "The epoch of this process's newest term",
            self.epoch.clone(),
        );
        r.register(
            "client_requests",
            "Requests to the API server, by verb and class of the answer (403, 404, 409 and 429 by themselves)",
            self.requests.clone(),
        );
        r
    }

    /// Counts a reconcile.
    pub(crate) fn reconciled(&self, outcome: PassResult, took: Duration) {
        self.reconciles
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
        self.durations
            .get_or_create(&OutcomeLabels { outcome })
            .observe(took.as_secs_f64());
    }

    /// Counts a write.
    pub(crate) fn wrote(&self, kind: WriteKind, result: WriteResult) {
        self.writes
            .get_or_create(&WriteLabels { kind, result })
            .inc();
    }

    /// Counts an error.
    pub(crate) fn error(&self, reason: ErrorReason) {
        self.errors.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts what became of one check's part of a poll.
    pub(crate) fn polled(&self, result: PollResult) {
        self.polls.get_or_create(&PollLabels { result }).inc();
    }

    /// Counts a release taken back; once it is on record.
    pub(crate) fn undone(&self, cause: UndoCause) {
        self.undos.get_or_create(&UndoLabels { cause }).inc();
    }

    /// Counts how a measurement of stable has ended; once it is on record.
    pub(crate) fn measured(&self, measured: Measurement) {
        let labels = MeasuredLabels::of(measured);
        self.measured.get_or_create(&labels).inc();
    }

    /// Counts a flag taken back; once it is on record.
    pub(crate) fn flag_taken_back(&self, cause: UndoCause) {
        let labels = UndoLabels { cause };
        self.flags_taken_back.get_or_create(&labels).inc();
    }

    /// Shows how a Rollout stands; `None`: it is gone, or another process sees to it.
    pub fn stands(&self, namespace: &str, rollout: &str, stands: Option<Stands>) {
        let mut standings = self
            .standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), rollout.to_owned());
        let before = match stands.clone() {
            Some(stands) => standings.insert(key, stands),
            None => standings.remove(&key),
        };
        if before == stands {
            return;
        }
        let named = |stands: &Stands| RolloutLabels {
            rollout_namespace: namespace.to_owned(),
            rollout: rollout.to_owned(),
            state: stands.state,
            reason: stands.reason.map_or("Other", Reason::word),
        };
        let flag = |key: &String| FlagLabels {
            rollout_namespace: namespace.to_owned(),
            rollout: rollout.to_owned(),
            flag: key.clone(),
        };
        if let Some(before) = before {
            let state = before.state;
            self.states.get_or_create(&StateLabels { state }).dec();
            if let Some(rollouts) = &self.rollouts {
                rollouts.remove(&named(&before));
                for key in before.flags.keys() {
                    self.flags.remove(&flag(key));
                }
            }
        }
        if let Some(stands) = stands {
            let state = stands.state;
            self.states.get_or_create(&StateLabels { state }).inc();
            if let Some(rollouts) = &self.rollouts {
                rollouts.get_or_create(&named(&stands)).set(1);
                for (key, percent) in &stands.flags {
                    self.flags.get_or_create(&flag(key)).set((*percent).into());
                }
            }
        }
    }

    /// Shows whether this process leads, and in which term.
    pub(crate) fn leads(&self, epoch: Option<i64>) {
        self.leader.set(epoch.is_some().into());
        if let Some(epoch) = epoch {
            self.epoch.set(epoch);
        }
    }

    /// Counts a request to the API server; `status` is `None` when no answer came.
    pub fn requested(&self, method: &str, status: Option<u16>) {
        let labels = RequestLabels {
            verb: verb(method),
            code: class(status),
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The media type of [`Metrics::render`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn verb(method: &str) -> &'static str {
    match method {
        "GET" => "get",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

fn class(status: Option<u16>) -> &'static str {
    match status {
        None => "none",
        Some(403) => "403",
        Some(404) => "404",
        Some(409) => "409",
        Some(429) => "429",
        Some(200..=299) => "2xx",
        Some(300..=399) => "3xx",
        Some(400..=499) => "4xx",
        Some(_) => "5xx",
    }
}

#[cfg(test)]
mod tests;
