//! Observe and act: the narrow trait behind which the cluster lies, and what is built on it.
//!
//! The trait has two implementations, the Kubernetes API and the cluster in memory that the
//! simulator uses; [`pass`] is the same code over both.

pub mod kubernetes;
mod memory;
pub mod pass;

use std::future::Future;

use std::sync::Arc;
use thiserror::Error;

use crate::plan::{
    facts::{
        ChildFacts, DatabaseFacts, DatabaseObjects, DeploymentFacts, JobFacts, Objects, Overlap,
        Question, Remembered, Report, RevisionFacts, RolloutFacts, ServiceFacts, UserFacts,
    },
    flags::file::ConfigMapFacts,
    intent::Write,
    revision::Whole,
    routes::RouteFacts,
};

/// What is reconciled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A Rollout.
    Rollout {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A DatabaseSchema, in its own right.
    Database {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Key {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        let (Self::Rollout { namespace, .. } | Self::Database { namespace, .. }) = self;
        namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        let (Self::Rollout { name, .. } | Self::Database { name, .. }) = self;
        name
    }
}

/// A database and the Jobs of the names on its record, as they are. Whether those are the Jobs of
/// the holds is the planner's to say.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The DatabaseSchema; `None` when there is none.
    pub database: Option<DatabaseFacts>,
    /// The Jobs of its holders that are there, read after it.
    pub jobs: Vec<JobFacts>,
}

/// A Rollout as it is.
#[derive(Clone, Debug)]
pub struct Live {
    /// What is kept of it.
    pub facts: RolloutFacts,
    /// What it asks for, with the pod templates; `None` when that cannot be read.
    pub whole: Option<Arc<Whole>>,
}

/// The answer to one [`Question`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// The Rollout; `None` when there is none.
    Rollout(Option<Box<Live>>),
    /// What it remembers; `None` when the ControllerRevision is gone.
    Template(Option<Arc<Remembered>>),
    /// What uses a database.
    Users(Vec<UserFacts>),
    /// Overlapping Deployments.
    Overlaps(Vec<Overlap>),
    /// A Deployment of somebody else; `None` when there is none of its name.
    Deployment(Option<Arc<DeploymentFacts>>),
    /// The live list.
    Revisions(Vec<RevisionFacts>),
    /// A database, and who holds it.
    Hold(Box<Hold>),
    /// What routes do with the requests, in the order in which they were asked for.
    Routes(Vec<RouteFacts>),
    /// Missing ones.
    Config(crate::plan::facts::ConfigFacts),
    /// What keys of ConfigMaps hold.
    Texts(crate::plan::facts::Texts),
    /// The end of a log.
    JobLog(crate::plan::facts::JobLog),
    /// A Job; `None` when there is none of its name.
    Job(Option<Box<JobFacts>>),
    /// Why a Job's pod does not run.
    JobPod(crate::plan::facts::PodOfJob),
    /// How far the batches of a Job are; or why nobody says. `None` when others are being asked.
    Progress(Option<Result<Report, String>>),
    /// The ConfigMap; `None` when there is none of its name.
    Flags(Option<Box<ConfigMapFacts>>),
}

/// An object as the API server answered a write of it.
#[derive(Clone, Debug)]
pub enum Written {
    /// A Rollout.
    Rollout(RolloutFacts),
    /// A ControllerRevision.
    Revision(RevisionFacts),
    /// A Deployment.
    Child(ChildFacts),
    /// A Job.
    Job(JobFacts),
    /// A DatabaseSchema.
    Database(DatabaseFacts),
    /// A Service.
    Service(ServiceFacts),
    /// Something that is read live and not remembered.
    Unkept,
    /// Deleted.
    Gone,
}

/// Why a write did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The object has changed since it was read (409 on an update, 404, another uid).
    #[error("{object} has changed since it was read")]
    Conflict {
        /// Kind and name.
        object: String,
    },
    /// An object of that name exists already (409 on a create).
    #[error("{object} exists already")]
    Exists {
        /// Kind and name.
        object: String,
    },
    /// The API server refuses the object (400, 403 of admission, 422).
    #[error("{object}: {message}")]
    Refused {
        /// Kind and name.
        object: String,
        /// The API server's words.
        message: String,
        /// It may pass later: quota, or a missing permission.
        transient: bool,
    },
    /// The API server did not take it (429, 503 before it was handled, no connection).
    #[error("{object}: not taken: {message}")]
    NotTaken {
        /// Kind and name.
        object: String,
        /// What was said.
        message: String,
    },
    /// Nobody knows whether it happened: a time-out, a broken connection, 5xx.
    #[error("{object}: unanswered: {message}")]
    Unanswered {
        /// Kind and name.
        object: String,
        /// What was said.
        message: String,
    },
}

/// Why a question got no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}: {message}")]
pub struct ReadError {
    /// What was read.
    pub what: String,
    /// What was said.
    pub message: String,
}

/// The cluster, as narrow as it can be.
pub trait Cluster {
    /// What the caches hold of a Rollout; `None` when they do not know it.
    fn rollout(&self, namespace: &str, name: &str) -> Option<Objects>;

    /// What the caches hold of a DatabaseSchema; `None` when they do not know it.
    fn database(&self, namespace: &str, name: &str) -> Option<DatabaseObjects>;

    /// A live read for the object that is reconciled. Overlaps and Revisions are asked for a
    /// Rollout alone.
    ///
    /// # Errors
    /// When the API server gave no answer.
    fn ask(
        &self,
        key: &Key,
        question: &Question,
    ) -> impl Future<Output = Result<Answer, ReadError>> + Send;

    /// One write.
    ///
    /// # Errors
    /// When it did not happen, or nobody knows.
    fn write(
        &self,
        namespace: &str,
        write: &Write,
    ) -> impl Future<Output = Result<Written, WriteError>> + Send;
}
