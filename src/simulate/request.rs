//! The operator's requests, and what may befall them.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    event::Life,
    object::Object,
    process::{Seen, Trust},
    random::Random,
};
use crate::{
    api::{RolloutStatus, database::Holder},
    cluster::{Key, WriteError, Written},
    plan::intent::{self, Kind, Write},
};

/// What befalls one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Arrives,
    /// Somebody else changes the object first.
    Overtaken,
    /// The API server does not take it (429).
    NotTaken,
    /// No answer. It is handled after so many milliseconds; or never.
    Unanswered(Option<i64>),
    /// It takes so many milliseconds to arrive.
    Late(i64),
    /// The operator dies before it is sent.
    CrashBefore,
    /// The operator dies after it was handled, before the answer.
    CrashAfter,
}

/// What befalls the operator's requests.
#[derive(Clone, Debug)]
pub struct Faults {
    /// What befalls the n-th write, from 0.
    pub scripted: BTreeMap<u64, Fate>,
    /// Percent of writes that something befalls.
    pub percent: u32,
    /// Percent of live reads that get no answer.
    pub reads_percent: u32,
    /// The kind of object whose writes a policy denies.
    pub denied: Option<Kind>,
    /// When random faults stop.
    pub until: Timestamp,
    /// The API server takes nothing and answers nothing.
    pub away: bool,
    /// The webhook that judges Deployments is down: whoever writes one gets no answer.
    pub webhook_down: bool,
    /// Writes that were begun.
    pub begun: u64,
    /// Draws them, apart from everything else.
    pub random: Random,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            scripted: BTreeMap::new(),
            percent: 0,
            reads_percent: 0,
            denied: None,
            until: Timestamp::MAX,
            away: false,
            webhook_down: false,
            begun: 0,
            random: Random::new(0),
        }
    }
}

impl Faults {
    /// What befalls the next write.
    pub(super) fn next(&mut self, now: Timestamp, write: &Write) -> Fate {
        let number = self.begun;
        self.begun += 1;
        if let Some(fate) = self.scripted.get(&number) {
            return *fate;
        }
        if self.away {
            return Fate::NotTaken;
        }
        let of_deployment = matches!(
            write,
            Write::Create {
                kind: intent::Kind::Deployment,
                ..
            } | Write::Scale { .. }
                | Write::Resize { .. }
                | Write::Fence { .. }
        );
        if self.webhook_down && of_deployment {
            return Fate::Unanswered(None);
        }
        if now >= self.until || !self.random.chance(self.percent) {
            return Fate::Arrives;
        }
        match self.random.below(8) {
            0 => Fate::Overtaken,
            1 => Fate::NotTaken,
            2 => Fate::Unanswered(None),
            3 => Fate::Unanswered(Some(self.random.between(1, 20_000))),
            4 => Fate::Late(self.random.between(100, 8_000)),
            5 => Fate::CrashBefore,
            6 => Fate::CrashAfter,
            _ => Fate::Unanswered(Some(self.random.between(1, 100))),
        }
    }

    /// Whether a live read fails.
    pub(super) fn read_fails(&mut self, now: Timestamp) -> bool {
        self.away || (now < self.until && self.random.chance(self.reads_percent))
    }
}

/// A write under way.
#[derive(Debug)]
pub struct Request {
    pub(super) life: Life,
    pub(super) key: Key,
    pub(super) write: Arc<Write>,
    pub(super) fate: Fate,
    pub(super) epoch: i64,
    pub(super) sent: Timestamp,
    pub(super) trust: Trust,
    pub(super) on_record: OnRecord,
    pub(super) seen: Option<Arc<Seen>>,
    pub(super) answer: Option<Result<Written, WriteError>>,
    /// The object as the write left it.
    pub(super) after: Option<Object>,
    pub(super) handled: bool,
    pub(super) returned: bool,
}

/// What was on record when a write was sent.
#[derive(Clone, Debug, Default)]
pub struct OnRecord {
    /// Status of the Rollout.
    pub status: Option<Arc<RolloutStatus>>,
    /// For a Job that is made or released: who held its database.
    pub holder: Option<Holder>,
}

/// A write in a few words.
#[must_use]
pub fn describe(write: &Write) -> String {
    match write {
        Write::RecordStatus { base, .. } => format!("status of {}", base.name),
        Write::Create { kind, .. } => format!("create {} {}", word(*kind), write.name()),
        Write::MarkRevision { base, outcome, .. } => match outcome {
            Some(outcome) => format!("mark {} {outcome:?}", base.name),
            None => format!("unmark {}", base.name),
        },
        Write::Adopt { base, .. } => format!("adopt {}", base.name),
        Write::Scale { base, from, to, .. } => format!("scale {} {from} -> {to}", base.name),
        Write::Resize {
            base,
            epoch,
            from,
            to,
            settles,
        } => match (settles, from == to) {
            (false, true) => format!("fence {} epoch {epoch}", base.name),
            _ => format!("scale {} {from} -> {to}", base.name),
        },
        Write::Finalize { base, finalizers } => {
            format!("finalizers of {}: {}", base.name, finalizers.join(", "))
        }
        Write::Fence { base, epoch, .. } => format!("fence {} epoch {epoch}", base.name),
        Write::RecordDatabase { base, .. } => format!("record of database {}", base.name),
        Write::ReleaseJob { base } => format!("release {}", base.name),
        Write::Select {
            base,
            revision,
            settles,
            ..
        } => match settles {
            true => format!("settle {} at {revision}", base.name),
            false => format!("select {} -> {revision}", base.name),
        },
        Write::Weigh { base, canary, .. } => format!("weigh {} -> {canary}", base.name),
        Write::Flags { base, .. } => format!("flags of {}", base.name),
        Write::Delete { base, .. } => format!("delete {}", base.name),
    }
}

const fn word(kind: intent::Kind) -> &'static str {
    match kind {
        intent::Kind::Revision => "revision",
        intent::Kind::Deployment => "deployment",
        intent::Kind::Database => "database",
        intent::Kind::Job => "job",
        intent::Kind::Service => "service",
        intent::Kind::HttpRoute | intent::Kind::GrpcRoute | intent::Kind::VirtualService => "route",
        intent::Kind::ConfigMap => "configmap",
    }
}
