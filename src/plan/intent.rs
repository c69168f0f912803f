//! What the planner wants: writes in order, and what to tell people.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    facts::{Base, Question, Refused},
    reason::Reason,
};
use crate::{
    api::{
        DatabaseRecord, RolloutStatus, database::Found, keys, status::Outcome, traffic::RouteKind,
    },
    evidence::Measure,
};

/// What is to be done now.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Answer these first and plan again; nothing else in the plan counts then.
    pub questions: Vec<Question>,
    /// Writes, in order. When one fails, those after it are dropped: they may rest on it.
    pub writes: Vec<Write>,
    /// Told once the writes have succeeded.
    pub events: Vec<Event>,
    /// What the sampler should measure; `None`: nothing.
    pub measure: Option<Measure>,
    /// How the Rollout stands by now; `None` where nothing was found out.
    pub stands: Option<Stands>,
    /// When to look again if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// Why, one line per decision.
    pub notes: Notes,
}

/// How a Rollout stands, in a word, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// The word.
    pub state: RolloutState,
    /// Its condition's reason, where that is one of ours.
    pub reason: Option<Reason>,
    /// For how many percent of users each of its flags is on, but for those that somebody changed.
    pub flags: BTreeMap<String, i32>,
}

/// How a Rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RolloutState {
    /// What the spec asks for is stable and serves.
    Ready,
    /// It is on its way, or waits for time or somebody else.
    Reconciling,
    /// A person paused it.
    Paused,
    /// Its release goes on when a person says so.
    WaitsForPerson,
    /// Nothing goes on before a person has changed something.
    Stalled,
}

impl RolloutState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ready,
        Self::Reconciling,
        Self::Paused,
        Self::WaitsForPerson,
        Self::Stalled,
    ];
}

/// One write. Every update names the uid and resourceVersion it rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The Rollout's status: decisions, and what people read.
    RecordStatus {
        /// The Rollout as it was read.
        base: Base,
        /// The whole status.
        status: Box<RolloutStatus>,
    },
    /// A new object: a Deployment at 0 replicas, a Job suspended, a Service.
    Create {
        /// What kind of object.
        kind: Kind,
        /// The object.
        manifest: Value,
    },
    /// A ControllerRevision's outcome and number.
    MarkRevision {
        /// The ControllerRevision as it was read.
        base: Base,
        /// How it ended; `None` takes an outcome back (retry).
        outcome: Option<Outcome>,
        /// Why.
        reason: String,
        /// `.revision`, when it changes.
        number: Option<i64>,
    },
    /// Ownership of a child whose owner is gone or another (a restored backup).
    Adopt {
        /// What kind of child.
        kind: Kind,
        /// The child as it was read.
        base: Base,
        /// The new `ownerReferences`.
        owner: Value,
    },
    /// A Deployment's replicas. Where `to` is what they are already, the write settles an
    /// unanswered one: it gives the Deployment a new resourceVersion, so that the unanswered one
    /// is refused if it is still on its way.
    Scale {
        /// The Deployment as it was read.
        base: Base,
        /// Replicas now.
        from: i32,
        /// Replicas wanted.
        to: i32,
        /// A hash of its template, which is put on record with it.
        template: Option<Arc<str>>,
    },
    /// The replicas of a Deployment that is adopted, by server-side apply: nothing else of it is
    /// written. Who applies them is called by the epoch, so this fences too. Where `to` is what they
    /// are already it does nothing else, or settles an unanswered one.
    Resize {
        /// The Deployment as it was read.
        base: Base,
        /// The present epoch.
        epoch: i64,
        /// Replicas now.
        from: i32,
        /// Replicas wanted.
        to: i32,
        /// It settles an unanswered one.
        settles: bool,
    },
    /// All finalizers of the Rollout.
    Finalize {
        /// The Rollout as it was read.
        base: Base,
        /// The finalizers.
        finalizers: Vec<String>,
    },
    /// The epoch on a Deployment or suspended Job, so that a deposed leader's writes are refused.
    Fence {
        /// What kind of object.
        kind: Kind,
        /// The object as it was read.
        base: Base,
        /// The present epoch.
        epoch: i64,
    },
    /// A DatabaseSchema's record.
    RecordDatabase {
        /// The DatabaseSchema as it was read.
        base: Base,
        /// The whole record.
        record: Box<DatabaseRecord>,
        /// All its finalizers: while it has a holder a deletion waits, for the Job that runs is
        /// owned by it.
        finalizers: Vec<String>,
    },
    /// Lets a suspended Job run.
    ReleaseJob {
        /// The Job as it was read.
        base: Base,
    },
    /// Which pods a Service selects, and by which ports they are reached. Where nothing of that
    /// changes, the write settles an unanswered one, as a scaling does.
    Select {
        /// The Service as it was read.
        base: Base,
        /// The revision whose pods it is to select.
        revision: String,
        /// Selector, ports and session affinity, as the API has them.
        spec: Box<Value>,
        /// It settles an unanswered one.
        settles: bool,
    },
    /// The weights of the two Services in a route.
    Weigh {
        /// What kind of route.
        kind: Kind,
        /// The route as it was read.
        base: Base,
        /// Each weight, by the JSON pointer at which it stands.
        weights: Vec<(String, i32)>,
        /// Percent of the requests that the Service of the new revision gets.
        canary: i32,
    },
    /// Flags in a ConfigMap, and what is noted of them.
    Flags {
        /// The ConfigMap as it was read.
        base: Base,
        /// What is changed: a merge patch.
        change: Box<Value>,
    },
    /// Deletes a child that is no longer needed.
    Delete {
        /// What kind of object.
        kind: Kind,
        /// The object as it was read.
        base: Base,
    },
}

/// Kinds of objects that belong to a Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A ControllerRevision.
    Revision,
    /// A Deployment.
    Deployment,
    /// A Job.
    Job,
    /// A DatabaseSchema.
    Database,
    /// A Service.
    Service,
    /// An HTTPRoute, somebody else's.
    HttpRoute,
    /// A GRPCRoute, somebody else's.
    GrpcRoute,
    /// A VirtualService, somebody else's.
    VirtualService,
    /// A ConfigMap that holds flags.
    ConfigMap,
}

/// Why something was done, line by line, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(Vec<Note>);

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// What an Event says too.
    Event {
        /// Its reason.
        reason: Reason,
        /// What happened.
        what: String,
        /// What caused it, where that is said apart.
        because: Option<String>,
    },
    /// Anything else.
    Words(String),
}

impl Notes {
    /// One more line.
    pub fn push(&mut self, note: impl Into<Note>) {
        self.0.push(note.into());
    }

    /// The lines, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0.iter()
    }

    /// Those of another after these.
    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether a line is among them.
    #[must_use]
    pub(crate) fn contain(&self, note: &Note) -> bool {
        self.0.contains(note)
    }
}

impl<N: Into<Note>> From<N> for Notes {
    fn from(note: N) -> Self {
        Self(vec![note.into()])
    }
}

impl From<String> for Note {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Note {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Event {
                reason,
                what,
                because,
            } => {
                write!(f, "{reason}: {what}")?;
                because.iter().try_for_each(|why| write!(f, ": {why}"))
            }
        }
    }
}

/// An Event for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Why.
    pub reason: Reason,
    /// With the figures that decided.
    pub message: String,
    /// Whether it is a warning.
    pub warning: bool,
    /// Set where it says that an undo begins, or that a flag is taken back: why, as it is counted.
    pub undo: Option<UndoCause>,
    /// Set where it says how a measurement of stable has ended, as it is counted.
    pub measured: Option<Measurement>,
}

/// How a measurement of stable has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Measurement {
    /// Which.
    pub around: Around,
    /// What was found.
    pub verdict: Found,
}

/// What stable is measured around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Around {
    /// After an expand (its soak).
    AfterExpand,
    /// Before a contract.
    BeforeContract,
    /// After a contract.
    AfterContract,
}

impl Around {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AfterExpand, Self::BeforeContract, Self::AfterContract];
}

/// Why a release or a flag is taken back, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UndoCause {
    /// A check failed.
    Check,
    /// A test of a step failed.
    Test,
    /// Its containers crash again and again.
    Crash,
    /// Pods stopped being ready again and again.
    Readiness,
    /// A step was not reached within the progress deadline.
    Deadline,
    /// The checks came to no verdict, and the step says to undo then.
    Inconclusive,
    /// A person said so.
    Person,
    /// The spec asks for another revision.
    Superseded,
    /// The spec asks for a former stable revision within the rollback window.
    Returned,
    /// A flag goes with the release under which it was turned on.
    Release,
    /// Nobody knows: the status was edited by hand.
    Unknown,
}

impl UndoCause {
    /// What an undo for this reason counts as.
    #[must_use]
    pub const fn of(reason: Reason) -> Self {
        match reason {
            Reason::CheckFailed => Self::Check,
            Reason::TestFailed => Self::Test,
            Reason::CrashLooping => Self::Crash,
            Reason::ReadinessLost => Self::Readiness,
            Reason::ProgressDeadlineExceeded => Self::Deadline,
            Reason::Inconclusive => Self::Inconclusive,
            Reason::UndoneByPerson => Self::Person,
            Reason::Superseded => Self::Superseded,
            Reason::ReturnedToFormerStable => Self::Returned,
            Reason::FlagWithRelease => Self::Release,
            _ => Self::Unknown,
        }
    }

    /// Those of flags.
    pub(crate) const OF_FLAGS: [Self; 5] = [
        Self::Check,
        Self::Crash,
        Self::Person,
        Self::Release,
        Self::Unknown,
    ];

    /// Those of releases.
    pub(crate) const OF_RELEASES: [Self; 10] = [
        Self::Check,
        Self::Test,
        Self::Crash,
        Self::Readiness,
        Self::Deadline,
        Self::Inconclusive,
        Self::Person,
        Self::Superseded,
        Self::Returned,
        Self::Unknown,
    ];
}

impl Write {
    /// The object that an update rests on; nothing for a create.
    #[must_use]
    pub const fn base(&self) -> Option<&Base> {
        match self {
            Self::RecordStatus { base, .. }
            | Self::MarkRevision { base, .. }
            | Self::Adopt { base, .. }
            | Self::Scale { base, .. }
            | Self::Resize { base, .. }
            | Self::Finalize { base, .. }
            | Self::Fence { base, .. }
            | Self::RecordDatabase { base, .. }
            | Self::ReleaseJob { base }
            | Self::Select { base, .. }
            | Self::Weigh { base, .. }
            | Self::Flags { base, .. }
            | Self::Delete { base, .. } => Some(base),
            Self::Create { .. } => None,
        }
    }

    /// What kind of object it is about; `None`: the Rollout itself.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match self {
            Self::RecordStatus { .. } | Self::Finalize { .. } => None,
            Self::MarkRevision { .. } => Some(Kind::Revision),
            Self::Scale { .. } | Self::Resize { .. } => Some(Kind::Deployment),
            Self::RecordDatabase { .. } => Some(Kind::Database),
            Self::ReleaseJob { .. } => Some(Kind::Job),
            Self::Select { .. } => Some(Kind::Service),
            Self::Flags { .. } => Some(Kind::ConfigMap),
            Self::Create { kind, .. }
            | Self::Adopt { kind, .. }
            | Self::Fence { kind, .. }
            | Self::Weigh { kind, .. }
            | Self::Delete { kind, .. } => Some(*kind),
        }
    }

    /// What a refusal of this write means to the planner; nothing, where it could not be said: in the
    /// status.
    #[must_use]
    pub(crate) fn refused(&self) -> Option<Refused> {
        Some(match self {
            Self::RecordStatus { .. } => return None,
            Self::Create {
                kind: Kind::Deployment,
                ..
            } => Refused::Deployment,
            Self::Scale { .. }
            | Self::Resize { .. }
            | Self::Fence {
                kind: Kind::Deployment,
                ..
            } => Refused::Scale,
            Self::Select { .. }
            | Self::Create {
                kind: Kind::Service,
                ..
            }
            | Self::Fence {
                kind: Kind::Service,
                ..
            }
            | Self::Delete {
                kind: Kind::Service,
                ..
            } => Refused::Service(self.name().to_owned()),
            Self::Flags { .. }
            | Self::Create {
                kind: Kind::ConfigMap,
                ..
            } => Refused::Flags(self.name().to_owned()),
            Self::Weigh { .. } => Refused::Route(self.object()),
            Self::ReleaseJob { base }
            | Self::Fence {
                kind: Kind::Job,
                base,
                ..
            } => Refused::Job(base.name.clone()),
            Self::Create {
                kind: Kind::Job, ..
            } => Refused::Job(self.name().to_owned()),
            _ => Refused::Other,
        })
    }

    /// The name of the object that it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        let Self::Create { manifest, .. } = self else {
            return self.base().map_or("", |base| &base.name);
        };
        manifest["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Kind and name of the object that it is about, for messages.
    #[must_use]
    pub fn object(&self) -> String {
        let kind = match self {
            Self::Finalize { .. } => "Rollout",
            _ => self.kind().map_or("status of Rollout", Kind::name),
        };
        format!("{kind} {}", self.name())
    }
}

impl From<RouteKind> for Kind {
    fn from(route: RouteKind) -> Self {
        match route {
            RouteKind::Http => Self::HttpRoute,
            RouteKind::Grpc => Self::GrpcRoute,
            RouteKind::VirtualService => Self::VirtualService,
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Revision,
        Self::Deployment,
        Self::Job,
        Self::Database,
        Self::Service,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::VirtualService,
        Self::ConfigMap,
    ];

    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.terms().1
    }

    /// Group and version of it in the API.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        self.terms().0
    }

    const fn terms(self) -> (&'static str, &'static str) {
        match self {
            Self::Revision => ("apps/v1", "ControllerRevision"),
            Self::Deployment => ("apps/v1", "Deployment"),
            Self::Job => ("batch/v1", "Job"),
            Self::Database => (keys::API_VERSION, "DatabaseSchema"),
            Self::Service => ("v1", "Service"),
            Self::HttpRoute => ("gateway.networking.k8s.io/v1", RouteKind::Http.name()),
            Self::GrpcRoute => ("gateway.networking.k8s.io/v1", RouteKind::Grpc.name()),
            Self::VirtualService => ("networking.istio.io/v1", RouteKind::VirtualService.name()),
            Self::ConfigMap => ("v1", "ConfigMap"),
        }
    }
}
