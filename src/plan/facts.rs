//! What the planner reads: facts about one Rollout and everything that belongs to it.
//!
//! Small copies of what the cluster said, without client types, so that a decision can be
//! replayed from a value.

mod adopted;
mod earlier;
mod heard;
mod objects;
mod questions;
mod sharers;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

pub use self::{
    adopted::{Adoptee, DeploymentFacts},
    earlier::{EarlierFacts, Stands},
    heard::{Heard, Report},
    objects::{
        Adopted, Base, ChildFacts, DatabaseFacts, JobEnd, JobFacts, PodFacts, Reach, RevisionFacts,
        RolloutFacts, ServiceFacts,
    },
    questions::{
        Answers, ConfigFacts, JobLog, Overlap, PodOfJob, Question, Remembered, Text, Texts,
    },
    sharers::{KnownUsers, SharerFacts, UserFacts},
};
pub use super::template::ConfigRef;
use crate::evidence::Readings;

/// A Rollout and everything that belongs to it, as the caches hold it. They may lag, each on its
/// own.
#[derive(Clone, Debug)]
pub struct Objects {
    /// The Rollout itself.
    pub rollout: RolloutFacts,
    /// ControllerRevisions with its label, in no order.
    pub revisions: Vec<RevisionFacts>,
    /// Deployments with its label, in no order.
    pub children: Vec<ChildFacts>,
    /// Their pods, in no order, terminating ones too.
    pub pods: Vec<PodFacts>,
    /// Jobs of its phases, in no order.
    pub jobs: Vec<JobFacts>,
    /// The DatabaseSchema that `spec.schema.database` names.
    pub database: Option<DatabaseFacts>,
    /// Its flags that contracts on other databases of the namespace rely on: the spec may have left
    /// the database whose contract has run.
    pub frozen: Frozen,
    /// Names of the older Rollouts of the namespace whose selector overlaps.
    pub neighbours: Vec<String>,
    /// The other Rollouts on the database, while a version of this one waits for them.
    pub sharers: Vec<SharerFacts>,
    /// The Rollouts that go before it, as `spec.after` says.
    pub earlier: Vec<EarlierFacts>,
    /// Services of the namespace that concern it.
    pub services: Services,
    /// The Deployment that it adopts or has adopted; nothing where it adopts none.
    pub adopted: Option<Adoptee>,
    /// Another Rollout that adopts the same Deployment, and goes first.
    pub rival: Option<String>,
}

/// Keys of flags that a contract relies on, and the version whose contract it is.
pub type Frozen = BTreeMap<String, i64>;

/// Services of the namespace that concern a Rollout: those that carry its label and, where it asks
/// for `spec.traffic`, all others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Services {
    /// The Services, in the order of their names.
    pub all: Vec<ServiceFacts>,
    /// Why they are not known, if they are not: they have not been listed yet, or may not be.
    pub unread: Option<Unread>,
}

/// Why Services are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// They are being listed.
    NotYet,
    /// The API server does not let them be listed, in its words.
    Refused(String),
}

/// A DatabaseSchema and everything that belongs to it, as the caches hold it.
#[derive(Clone, Debug)]
pub struct DatabaseObjects {
    /// The DatabaseSchema itself.
    pub database: DatabaseFacts,
    /// Jobs with its label, in no order.
    pub jobs: Vec<JobFacts>,
    /// Names and uids of the Rollouts that name it.
    pub rollouts: BTreeMap<String, String>,
}

/// Everything that one pass of the planner reads.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What the caches hold, with what this process knows before them.
    pub objects: Objects,
    /// Answers to the questions that an earlier plan of this pass asked.
    pub answers: Answers,
    /// What the API server refused in this pass, with its words.
    pub refusals: Vec<Refusal>,
    /// What a live read of this pass said instead of an answer, once that has lasted.
    pub unread: Option<String>,
    /// Why the metric source that the spec names cannot be used, if it cannot.
    pub source_problem: Option<String>,
    /// Image of the program that runs SQL; empty where the administrator gave none.
    pub sql_image: Arc<str>,
    /// What the operator's administrator permits of a phase.
    pub limits: Limits,
    /// What the sampler last read of the canary.
    pub readings: Option<Readings>,
    /// What the runner of a backfill last said, and when it was asked.
    pub heard: Option<Heard>,
    /// Who used the database when this process read that last.
    pub users: Option<Arc<KnownUsers>>,
    /// When this process last read the ConfigMaps of its flags.
    pub flags_looked: Option<Timestamp>,
    /// When this was looked at. A pass has one time, but its writes take some.
    pub looked: Timestamp,
    /// From when on the clock is trusted: start of the process, of the leadership, or the last
    /// jump of the clock.
    pub trusted_since: Timestamp,
    /// When status was last written by this process, if ever.
    pub status_written: Option<Timestamp>,
    /// In its present leadership this process has read the Rollout live, or written to it: what an
    /// earlier leader put on record is known.
    pub confirmed: bool,
    /// In its present leadership this process has listed the Rollout's ControllerRevisions live: what
    /// an earlier leader marked is known, and what was marked since it has marked itself.
    pub listed: bool,
    /// Epoch of the present leadership.
    pub epoch: i64,
    /// The highest epoch that is known to be of no later leadership.
    pub outranks: i64,
}

/// What the operator's administrator permits of a schema phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most seconds that its Job may run.
    pub phase_seconds: Option<i64>,
    /// The most seconds that its pod may take to end when it is told to.
    pub grace_seconds: Option<i64>,
}

/// A write that the API server refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused.
    pub what: Refused,
    /// The API server's words.
    pub message: String,
    /// It may pass later (quota, a missing permission); otherwise the object itself is wrong.
    pub transient: bool,
}

/// What the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A new Deployment.
    Deployment,
    /// To fence or scale one.
    Scale,
    /// The Job of this name, or to release it.
    Job(String),
    /// The Service of this name, or to change it.
    Service(String),
    /// To change the route of this name.
    Route(String),
    /// The ConfigMap of this name that holds flags, or to change it.
    Flags(String),
    /// Anything else.
    Other,
}

impl Objects {
    /// The Rollouts on its database, this one first, as the caches hold them.
    #[must_use]
    pub(crate) fn on_database(&self) -> Vec<SharerFacts> {
        self.with_sharers(&self.rollout)
    }

    /// The same, where this is how the Rollout itself stands.
    #[must_use]
    pub(crate) fn with_sharers(&self, rollout: &RolloutFacts) -> Vec<SharerFacts> {
        let itself = SharerFacts::of(
            rollout,
            self.revisions.iter(),
            self.children.iter(),
            self.pods.iter(),
        );
        let others = self.sharers.iter().cloned();
        std::iter::once(itself).chain(others).collect()
    }

    /// The child of this revision that is not being deleted.
    #[must_use]
    pub fn child(&self, revision: &str) -> Option<&ChildFacts> {
        self.children
            .iter()
            .find(|c| c.revision == revision && !c.deleting)
    }

    /// The Service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceFacts> {
        self.services.all.iter().find(|s| s.base.name == name)
    }

    /// The ControllerRevision of this revision that is not being deleted.
    #[must_use]
    pub fn revision(&self, revision: &str) -> Option<&RevisionFacts> {
        self.revisions
            .iter()
            .find(|r| r.revision == revision && !r.deleting)
    }

    /// Pods of this revision that are not going away.
    pub fn pods_of<'a>(&'a self, revision: &'a str) -> impl Iterator<Item = &'a PodFacts> {
        self.pods
            .iter()
            .filter(move |p| p.revision == revision && !p.deleting)
    }

    /// Pods of this revision that are available as its Deployment says, and ready as they say
    /// themselves. Watches lag, each on its own: either may have been heard before what has become
    /// of them since.
    #[must_use]
    pub fn available(&self, revision: &str) -> i32 {
        let pods = self.pods_of(revision);
        let ready = pods.filter(|pod| pod.ready_since.is_some()).count();
        let ready = i32::try_from(ready).unwrap_or(i32::MAX);
        self.child(revision)
            .map_or(0, |child| child.available.min(ready))
    }
}
