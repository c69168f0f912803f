//! The objects of the cluster in memory: what the API server keeps, as far as anybody here
//! reads it, and what a ReplicaSet and a kubelet know besides.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::{
    api::{
        DatabaseRecord, PhaseKind, RolloutStatus, SchemaSpec, database::AskedPhase, keys,
        sql::KeyRef, status::Outcome,
    },
    plan::{
        facts::{Base, JobEnd, Reach},
        revision::Whole,
    },
};

/// Image of the runner.
pub(crate) const SQL_IMAGE: &str = "stepgate-sql";

/// A name; cloned often.
pub type Name = Arc<str>;

/// What every object has.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Its name.
    pub name: Name,
    /// Its uid.
    pub uid: Name,
    /// Its resourceVersion.
    pub version: u64,
    /// Raised by every change of its spec.
    pub generation: i64,
    /// When it was made.
    pub created: Timestamp,
    /// Uid of the object that it belongs to.
    pub owner: Option<Name>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl Meta {
    /// What a write of this version rests on.
    #[must_use]
    pub fn base(&self) -> Base {
        Base {
            name: self.name.to_string(),
            uid: self.uid.to_string(),
            resource_version: self.version.to_string(),
        }
    }

    /// Whether it is a later state of the same object.
    #[must_use]
    pub(crate) fn is_newer(&self, than: &Self) -> bool {
        self.uid == than.uid && self.version > than.version
    }
}

/// A Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutObject {
    /// Name, uid, versions.
    pub meta: Meta,
    /// Its annotations.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// What keeps it while it is being deleted.
    pub finalizers: Vec<String>,
    /// When somebody began to delete it.
    pub deleted: Option<Timestamp>,
    /// What the user asked for, or why it cannot be read.
    pub spec: Result<Arc<Whole>, String>,
    /// What the operator recorded.
    pub status: Arc<RolloutStatus>,
}

/// A ControllerRevision.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionObject {
    /// Name, uid, versions.
    pub meta: Meta,
    /// Label: the Rollout.
    pub rollout: Name,
    /// Label: the revision's hash.
    pub revision: Name,
    /// `.revision`.
    pub number: i64,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why.
    pub reason: String,
    /// The pod template.
    pub template: Arc<Value>,
    /// The phases that it asks for after its release.
    pub asked: Arc<[AskedPhase]>,
    /// The schema block.
    pub schema: Option<Arc<SchemaSpec>>,
}

/// A Deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct DeploymentObject {
    /// Name, uid, versions.
    pub meta: Meta,
    /// Label: the Rollout.
    pub rollout: Name,
    /// Label: the revision's hash.
    pub revision: Name,
    /// Label: the epoch that may write it.
    pub epoch: Option<i64>,
    /// Image of the first container: names the behaviour of its pods.
    pub image: Name,
    /// Somebody else's, which a Rollout may adopt: `rollout` is then the one whose selector selects
    /// its pods, and `epoch` that by which Stepgate owns its replicas.
    pub foreign: Option<Foreign>,
    /// Its template is no longer the one it was made with.
    pub edited: bool,
    /// How many times its pods were told to start anew.
    pub restarts: u32,
    /// `maxSurge` and `maxUnavailable` of its strategy.
    pub bounds: [IntOrString; 2],
    /// `spec.replicas`.
    pub replicas: i32,
    /// `status.observedGeneration`.
    pub observed: i64,
    /// `status.replicas`.
    pub status_replicas: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// Message of the condition `ReplicaFailure`.
    pub problem: Option<String>,
}

/// What Kubernetes takes for a bound of a Deployment that is left out.
pub(super) fn default_bound() -> IntOrString {
    IntOrString::String("25%".into())
}

/// What is known of a Deployment of somebody else.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// What it belongs to.
    pub owner: Option<String>,
    /// `spec.paused`.
    pub paused: bool,
    /// Who wrote its replicas last.
    pub writer: String,
}

/// A pod of a Deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct PodObject {
    /// Name, uid, versions.
    pub meta: Meta,
    /// Label: the Rollout.
    pub rollout: Name,
    /// Label: the revision's hash.
    pub revision: Name,
    /// Its Deployment.
    pub deployment: Name,
    /// When it was given a node.
    pub placed: Option<Timestamp>,
    /// Since when it is not ready again, though its container runs on.
    pub lost: Option<Timestamp>,
    /// Since when it does not count as ready because its node says nothing.
    pub silent: Option<Timestamp>,
    /// Since when it is ready.
    pub ready_since: Option<Timestamp>,
    /// Restarts of its container.
    pub restarts: i32,
    /// When its container last ended.
    pub ended: Option<Timestamp>,
    /// Why its container waits.
    pub waiting: Option<(String, String)>,
    /// Why it is not scheduled.
    pub unschedulable: Option<String>,
    /// By when it will be gone, while it is ending.
    pub ends_by: Option<Timestamp>,
}

/// A Job of a schema phase, or of a test of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct JobObject {
    /// Name, uid, versions.
    pub meta: Meta,
    /// Label: the Rollout it was made for.
    pub rollout: Name,
    /// Label: the revision it was made for.
    pub revision: Name,
    /// Label: the database; empty for a test.
    pub database: Name,
    /// Label: which phase; nothing for a test.
    pub phase: Option<PhaseKind>,
    /// Label: which test; nothing for a phase.
    pub test: Option<Name>,
    /// Label: the epoch that may write it.
    pub epoch: Option<i64>,
    /// Image of the first container: names the behaviour of the migration.
    pub image: Name,
    /// `spec.activeDeadlineSeconds`.
    pub deadline: Option<i64>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// When it was let run.
    pub started: Option<Timestamp>,
    /// Whether its pod runs.
    pub runs: bool,
    /// Pods that are not terminal.
    pub live_pods: i32,
    /// Pods that failed.
    pub failed_pods: i32,
    /// `spec.backoffLimit`: how many of them may.
    pub backoff_limit: i64,
    /// It has a pod failure policy.
    pub has_policy: bool,
    /// Files of SQL that it runs, each with the hash that it must have.
    pub files: Vec<(KeyRef, String)>,
    /// What Stepgate's own runner is told in it; null for everything else.
    pub order: Arc<Value>,
    /// It proves first that every row is filled in.
    pub proves: bool,
    /// How it ended.
    pub ended: Option<JobEnd>,
}

impl JobObject {
    /// Whether it may still change the database.
    #[must_use]
    pub(crate) const fn may_run(&self) -> bool {
        !self.suspended && (self.ended.is_none() || self.live_pods > 0)
    }

    /// Whether Stepgate's own runner is what it runs.
    #[must_use]
    pub(crate) fn is_sql(&self) -> bool {
        *self.image == *SQL_IMAGE
    }
}

/// A DatabaseSchema.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseObject {
    /// Name, uid, versions.
    pub meta: Meta,
    /// Its annotations.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// What ran, and who holds it.
    pub record: Arc<DatabaseRecord>,
    /// Names of the Rollouts that may use it; `None`: all.
    pub allowed: Option<Arc<[String]>>,
    /// What keeps it while it is being deleted.
    pub finalizers: Vec<String>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceObject {
    /// Name, uid, versions.
    pub meta: Meta,
    /// The Rollout that it was made for, if the operator made it.
    pub rollout: Option<Name>,
    /// Label: the epoch that may write it.
    pub epoch: Option<i64>,
    /// Label: the version at which an unanswered write was settled.
    pub settled: Option<String>,
    /// Which pods it selects.
    pub selector: BTreeMap<String, String>,
    /// How clients reach them.
    pub reach: Reach,
    /// Its ports and session affinity.
    pub ports: Arc<Value>,
    /// Annotation: no user reaches pods through it.
    pub not_for_users: bool,
}

impl ServiceObject {
    /// The revision that it selects.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.selector.get(keys::REVISION).map(String::as_str)
    }
}

/// A ConfigMap that holds flags.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigMapObject {
    /// Name, uid, versions.
    pub meta: Meta,
    /// The Rollout that it was made for, if the operator made it.
    pub rollout: Option<Name>,
    /// Label: the epoch that wrote it.
    pub epoch: Option<i64>,
    /// The file.
    pub file: String,
    /// Annotation: what the operator wrote.
    pub notes: Option<String>,
}

/// Kinds of objects that are watched, each with a cache of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// Rollouts.
    Rollouts,
    /// ControllerRevisions.
    Revisions,
    /// Deployments.
    Deployments,
    /// Pods.
    Pods,
    /// Jobs.
    Jobs,
    /// DatabaseSchemas.
    Databases,
    /// Services.
    Services,
    /// ConfigMaps that hold flags; the operator reads them live.
    ConfigMaps,
}

impl Watched {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rollouts,
        Self::Revisions,
        Self::Deployments,
        Self::Pods,
        Self::Jobs,
        Self::Databases,
        Self::Services,
        Self::ConfigMaps,
    ];
}

/// One version of an object.
#[derive(Clone, Debug)]
pub enum Object {
    /// A Rollout.
    Rollout(Arc<RolloutObject>),
    /// A ControllerRevision.
    Revision(Arc<RevisionObject>),
    /// A Deployment.
    Deployment(Arc<DeploymentObject>),
    /// A pod.
    Pod(Arc<PodObject>),
    /// A Job.
    Job(Arc<JobObject>),
    /// A DatabaseSchema.
    Database(Arc<DatabaseObject>),
    /// A Service.
    Service(Arc<ServiceObject>),
    /// A ConfigMap.
    ConfigMap(Arc<ConfigMapObject>),
}

impl Object {
    /// Which watch tells of it.
    #[must_use]
    pub const fn watched(&self) -> Watched {
        match self {
            Self::Rollout(_) => Watched::Rollouts,
            Self::Revision(_) => Watched::Revisions,
            Self::Deployment(_) => Watched::Deployments,
            Self::Pod(_) => Watched::Pods,
            Self::Job(_) => Watched::Jobs,
            Self::Database(_) => Watched::Databases,
            Self::Service(_) => Watched::Services,
            Self::ConfigMap(_) => Watched::ConfigMaps,
        }
    }

    /// Its name, uid and versions.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Rollout(o) => &o.meta,
            Self::Revision(o) => &o.meta,
            Self::Deployment(o) => &o.meta,
            Self::Pod(o) => &o.meta,
            Self::Job(o) => &o.meta,
            Self::Database(o) => &o.meta,
            Self::Service(o) => &o.meta,
            Self::ConfigMap(o) => &o.meta,
        }
    }
}

/// One state of all objects: the API server's, or a cache's.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Rollouts by name.
    pub rollouts: BTreeMap<Name, Arc<RolloutObject>>,
    /// ControllerRevisions by name.
    pub revisions: BTreeMap<Name, Arc<RevisionObject>>,
    /// Deployments by name.
    pub deployments: BTreeMap<Name, Arc<DeploymentObject>>,
    /// Pods by name.
    pub pods: BTreeMap<Name, Arc<PodObject>>,
    /// Jobs by name.
    pub jobs: BTreeMap<Name, Arc<JobObject>>,
    /// DatabaseSchemas by name.
    pub databases: BTreeMap<Name, Arc<DatabaseObject>>,
    /// Services by name.
    pub services: BTreeMap<Name, Arc<ServiceObject>>,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<Name, Arc<ConfigMapObject>>,
}

impl Objects {
    /// Takes in one version of an object.
    pub fn put(&mut self, object: Object) {
        let name = Arc::clone(&object.meta().name);
        match object {
            Object::Rollout(o) => drop(self.rollouts.insert(name, o)),
            Object::Revision(o) => drop(self.revisions.insert(name, o)),
            Object::Deployment(o) => drop(self.deployments.insert(name, o)),
            Object::Pod(o) => drop(self.pods.insert(name, o)),
            Object::Job(o) => drop(self.jobs.insert(name, o)),
            Object::Database(o) => drop(self.databases.insert(name, o)),
            Object::Service(o) => drop(self.services.insert(name, o)),
            Object::ConfigMap(o) => drop(self.config_maps.insert(name, o)),
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, kind: Watched, name: &str) {
        match kind {
            Watched::Rollouts => drop(self.rollouts.remove(name)),
            Watched::Revisions => drop(self.revisions.remove(name)),
            Watched::Deployments => drop(self.deployments.remove(name)),
            Watched::Pods => drop(self.pods.remove(name)),
            Watched::Jobs => drop(self.jobs.remove(name)),
            Watched::Databases => drop(self.databases.remove(name)),
            Watched::Services => drop(self.services.remove(name)),
            Watched::ConfigMaps => drop(self.config_maps.remove(name)),
        }
    }

    /// Replaces everything of one kind, as a new list does.
    pub(crate) fn relist(&mut self, kind: Watched, from: &Self) {
        match kind {
            Watched::Rollouts => self.rollouts.clone_from(&from.rollouts),
            Watched::Revisions => self.revisions.clone_from(&from.revisions),
            Watched::Deployments => self.deployments.clone_from(&from.deployments),
            Watched::Pods => self.pods.clone_from(&from.pods),
            Watched::Jobs => self.jobs.clone_from(&from.jobs),
            Watched::Databases => self.databases.clone_from(&from.databases),
            Watched::Services => self.services.clone_from(&from.services),
            Watched::ConfigMaps => self.config_maps.clone_from(&from.config_maps),
        }
    }

    /// The ControllerRevision of a revision.
    #[must_use]
    pub fn revision(&self, rollout: &str, revision: &str) -> Option<&Arc<RevisionObject>> {
        let mut revisions = self.revisions.values();
        revisions.find(|r| &*r.rollout == rollout && &*r.revision == revision)
    }

    /// Deployments of a Rollout.
    pub fn children<'a>(&'a self, rollout: &'a str) -> impl Iterator<Item = &'a DeploymentObject> {
        self.deployments
            .values()
            .map(AsRef::as_ref)
            .filter(move |d| &*d.rollout == rollout)
    }

    /// Services that were made for a Rollout.
    pub(crate) fn services_of<'a>(
        &'a self,
        rollout: &'a str,
    ) -> impl Iterator<Item = &'a Arc<ServiceObject>> {
        let services = self.services.values();
        services.filter(move |s| s.rollout.as_deref() == Some(rollout))
    }

    /// Pods of a Deployment that are not going away.
    pub fn pods_of<'a>(&'a self, deployment: &'a str) -> impl Iterator<Item = &'a Arc<PodObject>> {
        self.pods
            .values()
            .filter(move |p| &*p.deployment == deployment && !p.meta.deleting)
    }
}

/// An object that is stored under its name.
pub trait Stored: Clone + PartialEq {
    /// Its name, uid and versions.
    fn meta(&self) -> &Meta;
    /// The same, to be changed.
    fn meta_mut(&mut self) -> &mut Meta;
    /// As one of all kinds.
    fn wrap(object: Arc<Self>) -> Object;
    /// Where it is kept.
    fn table(objects: &Objects) -> &BTreeMap<Name, Arc<Self>>;
}

macro_rules! stored {
    ($type:ident, $variant:ident, $table:ident) => {
        impl Stored for $type {
            fn meta(&self) -> &Meta {
                &self.meta
            }
            fn meta_mut(&mut self) -> &mut Meta {
                &mut self.meta
            }
            fn wrap(object: Arc<Self>) -> Object {
                Object::$variant(object)
            }
            fn table(objects: &Objects) -> &BTreeMap<Name, Arc<Self>> {
                &objects.$table
            }
        }
    };
}

stored!(RolloutObject, Rollout, rollouts);
stored!(RevisionObject, Revision, revisions);
stored!(DeploymentObject, Deployment, deployments);
stored!(PodObject, Pod, pods);
stored!(JobObject, Job, jobs);
stored!(DatabaseObject, Database, databases);
stored!(ServiceObject, Service, services);
stored!(ConfigMapObject, ConfigMap, config_maps);

/// The ReplicaSet behind a Deployment: it learns of a new size, and reports, on its own time.
#[derive(Clone, Debug, Default)]
pub struct ReplicaSet {
    pub(super) desired: i32,
    pub(super) replicas: i32,
    pub(super) available: i32,
    pub(super) problem: Option<String>,
    pub(super) made: u32,
}

/// A pod's container, as its kubelet knows it.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its image: names how it behaves.
    pub image: Name,
    /// Of its Deployment, when it was made.
    pub(super) restarts: u32,
    pub(super) turn: u32,
    pub(super) placed: bool,
    pub(super) exits: u32,
}

impl Container {
    pub(super) const fn new(image: Name, restarts: u32) -> Self {
        Self {
            image,
            restarts,
            turn: 0,
            placed: false,
            exits: 0,
        }
    }
}

/// What a watcher is told.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The object as it is now; as it was last, when it is gone.
    pub object: Object,
    /// Whether it is gone.
    pub gone: bool,
}

/// A route with one rule, which names both Services of a Rollout.
#[derive(Clone, Debug)]
pub struct RouteObject {
    pub(super) uid: String,
    pub(super) version: u64,
    pub(super) generation: i64,
    pub(super) observed: i64,
    /// Percent for the Service of users, and for that of the canary.
    pub weights: (i32, i32),
    /// What the latter was before that.
    pub former: i32,
    /// Percent of the requests that go to the latter.
    pub share: i32,
    /// Somebody else wrote it last.
    pub by_hand: bool,
    /// When somebody else wrote it.
    pub touched: Option<Timestamp>,
    /// The operator has written last what it had told the route of this name before.
    pub told_again: bool,
}
