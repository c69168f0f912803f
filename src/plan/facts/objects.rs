//! Objects of each kind, as far as a decision needs them.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    api::{
        DatabaseRecord, RolloutStatus,
        database::{AskedPhase, SqlRefusal},
        keys,
        status::Outcome,
    },
    plan::{revision::Wanted, template::ConfigRef},
};

/// One version of an object: what a write of it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

/// A Rollout.
#[derive(Clone, Debug)]
pub struct RolloutFacts {
    /// Its namespace.
    pub namespace: String,
    /// Name, uid, and the version this is a copy of.
    pub base: Base,
    /// When it was made.
    pub created: Timestamp,
    /// `metadata.generation`.
    pub generation: i64,
    /// Its annotations.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// `metadata.finalizers`.
    pub finalizers: Vec<String>,
    /// When somebody began to delete it.
    pub deleted: Option<Timestamp>,
    /// What the user asked for; or why it could not be read.
    pub spec: Result<Arc<Wanted>, String>,
    /// What was recorded.
    pub status: Arc<RolloutStatus>,
}

/// A ControllerRevision: the durable memory of what a revision is and how it ended.
#[derive(Clone, Debug)]
pub struct RevisionFacts {
    /// Name, uid, and the version this is a copy of.
    pub base: Base,
    /// The revision's hash.
    pub revision: String,
    /// `.revision`: rises when the revision becomes stable; 0 before.
    pub number: i64,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why, as `Reason: message`.
    pub outcome_reason: String,
    /// The images of its containers, for people.
    pub images: Arc<str>,
    /// ConfigMaps and Secrets that its pod template cannot start without. The template itself is
    /// read when a Deployment is rendered from it.
    pub config: Arc<[ConfigRef]>,
    /// Seconds between two requests of each probe of its pods that a process may count.
    pub probes: Arc<[i64]>,
    /// The schema version that it needs.
    pub schema_version: Option<i64>,
    /// The database that it uses.
    pub database: Option<String>,
    /// The phases that were to run after its release when it was made.
    pub asked: Arc<[AskedPhase]>,
    /// When it was made.
    pub created: Timestamp,
    /// The Rollout it says it belongs to.
    pub owner_uid: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// What of a Deployment is only known of one that is somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// `metadata.generation`.
    pub generation: i64,
    /// Who wrote its replicas last, if that was not Stepgate.
    pub writer: Option<String>,
    /// Epochs of the leaderships that own its replicas. Anybody may give his field manager such a
    /// name, and keeps it as long as he agrees with what is written.
    pub epochs: Vec<i64>,
}

/// A Deployment of one revision.
#[derive(Clone, Debug)]
pub struct ChildFacts {
    /// Name, uid, and the version this is a copy of.
    pub base: Base,
    /// The revision's hash.
    pub revision: String,
    /// The Rollout it says it belongs to.
    pub owner_uid: Option<String>,
    /// The epoch that may write it; of one that is adopted, the highest.
    pub epoch: Option<i64>,
    /// `spec.replicas`.
    pub replicas: i32,
    /// The lowest and highest `spec.replicas` that may hold now: they differ from `replicas` only
    /// while a write of this process is unanswered.
    pub possible: (i32, i32),
    /// Whether its controller has seen the present spec.
    pub current: bool,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// It is somebody else's, and adopted.
    pub adopted: Option<Adopted>,
    /// Somebody changed its template after it was made. A restart of its pods is no change.
    pub edited: bool,
    /// A hash of its template, where that is certain and is not on record with it yet.
    pub template: Option<Arc<str>>,
    /// Why it cannot make pods, in the words of its controller (quota, refused pods).
    pub problem: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl ChildFacts {
    /// The leadership of this epoch has written to it, so that late writes of others are refused.
    #[must_use]
    pub fn is_fenced_by(&self, epoch: i64) -> bool {
        match &self.adopted {
            Some(adopted) => adopted.epochs.contains(&epoch),
            None => self.epoch == Some(epoch),
        }
    }
}

/// A pod of one revision. Pods of a phase's Job are not among them.
#[derive(Clone, Debug)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// The revision's hash.
    pub revision: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was given a node.
    pub placed: Option<Timestamp>,
    /// Since when it is ready.
    pub ready_since: Option<Timestamp>,
    /// Since when it is not ready again, though its containers run on: its own probes say so.
    pub lost: Option<Timestamp>,
    /// Since when it does not count as ready because its node says nothing: its own probes had
    /// nothing to say against it.
    pub silent: Option<Timestamp>,
    /// Its node, while it is not ready.
    pub node: Option<String>,
    /// Restarts of its containers, added up. Init containers are to end, so of them only sidecars
    /// count, here and in what follows.
    pub restarts: i32,
    /// When a container of it last ended, by its node's clock.
    pub ended: Option<Timestamp>,
    /// Why a container waits, e.g. `CrashLoopBackOff`, with its words.
    pub waiting: Option<(String, String)>,
    /// Why it is not scheduled, in the scheduler's words.
    pub unschedulable: Option<String>,
    /// Whether it is going away, or over already: evicted, or lost with its node.
    pub deleting: bool,
    /// By when it will be gone, if it is ending now and keeps its room until then.
    pub ends_by: Option<Timestamp>,
}

/// A Job of one schema phase, or of a test of a step.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// Name, uid, and the version this is a copy of.
    pub base: Base,
    /// The Rollout it was made for.
    pub rollout: String,
    /// The revision it was made for.
    pub revision: String,
    /// It runs a test of a step.
    pub test: bool,
    /// The DatabaseSchema, or of a test the Rollout, that it says it belongs to.
    pub owner_uid: Option<String>,
    /// The epoch that may write it.
    pub epoch: Option<i64>,
    /// Whether it is still suspended.
    pub suspended: bool,
    /// When it was let run.
    pub started: Option<Timestamp>,
    /// Whether its pod runs.
    pub runs: bool,
    /// Pods that are not terminal yet.
    pub live_pods: i32,
    /// Pods that failed; where the Job goes on all the same, it is tried again.
    pub failed_pods: i32,
    /// How it ended.
    pub ended: Option<JobEnd>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// It failed, and every run of its command exited with the code that says so before it had
    /// applied anything.
    pub nothing_applied: bool,
    /// Why Stepgate's own runner has refused to begin, where more follows from that.
    pub refusal: Option<SqlRefusal>,
    /// It was Stepgate's own runner.
    pub sql: bool,
    /// The Job controller's words.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// A DatabaseSchema.
#[derive(Clone, Debug)]
pub struct DatabaseFacts {
    /// Name, uid, and the version this is a copy of.
    pub base: Base,
    /// Its annotations of Stepgate.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// What ran, and who holds it.
    pub record: Arc<DatabaseRecord>,
    /// Names of the Rollouts that may use it; `None`: all.
    pub allowed: Option<Arc<[String]>>,
    /// `metadata.finalizers`: [`keys::HELD`] while it has a holder, and
    /// those of others.
    pub finalizers: Vec<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceFacts {
    /// Name, uid, and the version this is a copy of.
    pub base: Base,
    /// The Rollout that it was made for, if Stepgate made it.
    pub rollout: Option<String>,
    /// The Rollout it says it belongs to.
    pub owner_uid: Option<String>,
    /// The epoch that may write it.
    pub epoch: Option<i64>,
    /// Which pods it selects.
    pub selector: BTreeMap<String, String>,
    /// How clients reach them.
    pub reach: Reach,
    /// What is copied of it: ports and session affinity.
    pub ports: Arc<Value>,
    /// Somebody says that no user reaches pods through it.
    pub not_for_users: bool,
    /// A write of this process is unanswered: it may select other pods by now.
    pub uncertain: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// How clients reach what a Service names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By an address of its own.
    Address,
    /// By the addresses of the pods: `clusterIP: None`.
    Headless,
    /// By another name: `type: ExternalName`.
    ExternalName,
}

impl RolloutFacts {
    /// Whether it is being deleted.
    #[must_use]
    pub const fn is_deleting(&self) -> bool {
        self.deleted.is_some()
    }
}

impl ServiceFacts {
    /// The revision whose pods it selects, if it selects those of one revision.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.selector.get(keys::REVISION).map(String::as_str)
    }

    /// Whether it selects pods with these labels.
    #[must_use]
    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut wanted = self.selector.iter();
        !self.selector.is_empty() && wanted.all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl JobFacts {
    /// Whether its command may have begun, though somebody may have suspended it since.
    #[must_use]
    pub(crate) const fn has_begun(&self) -> bool {
        !self.suspended || self.started.is_some() || self.live_pods > 0 || self.ended.is_some()
    }

    /// Whether its command may change the database still.
    #[must_use]
    pub(crate) const fn may_run(&self) -> bool {
        self.has_begun() && (self.ended.is_none() || self.live_pods > 0)
    }
}

impl PodFacts {
    /// From when on it could start: since it has a node, or was made while it has none.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.placed.unwrap_or(self.created)
    }

    /// Why it does not run, in the words of the scheduler or the kubelet, if they have said so.
    #[must_use]
    pub(crate) fn why_it_waits(&self) -> Option<String> {
        let waiting = self
            .waiting
            .as_ref()
            .map(|(reason, words)| match words.as_str() {
                "" => reason.clone(),
                words => format!("{reason}: {words}"),
            });
        self.unschedulable.clone().or(waiting)
    }

    /// Which node does not say how it is, if that is why it does not count as ready.
    #[must_use]
    pub(crate) fn why_nobody_knows(&self) -> Option<String> {
        let (since, node, name) = (self.silent?, self.node.as_ref()?, &self.name);
        Some(format!(
            "pod {name} is on node {node}, which has not reported since {since:.0}: see kubectl \
             describe node {node}"
        ))
    }
}
