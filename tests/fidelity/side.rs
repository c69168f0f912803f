//! What a script can do and see, in either world.

use jiff::Timestamp;
use stepgate::{
    cluster::{Answer, ReadError, WriteError, Written},
    plan::{
        facts::{
            ChildFacts, DatabaseFacts, JobFacts, PodFacts, Question, RevisionFacts, RolloutFacts,
            ServiceFacts,
        },
        flags::file::ConfigMapFacts,
        intent::Write,
    },
    simulate::{Action, object::Watched},
};

/// What an object says, as the operator reads it.
#[derive(Clone, Debug)]
pub enum Facts {
    Rollout(RolloutFacts),
    Revision(RevisionFacts),
    Deployment(ChildFacts),
    Pod(PodFacts),
    Job(JobFacts),
    Database(DatabaseFacts),
    Service(ServiceFacts),
    ConfigMap(ConfigMapFacts),
}

/// One object as a client sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Watched,
    pub name: String,
    pub uid: String,
    pub version: String,
    pub generation: i64,
    pub created: Timestamp,
    pub owner: Option<String>,
    pub deleting: bool,
    pub facts: Facts,
}

/// What a watcher is told.
#[derive(Clone, Debug)]
pub struct Heard {
    pub seen: Seen,
    pub gone: bool,
}

/// Something that is not a write of the operator.
#[derive(Clone, Debug)]
pub enum Deed {
    /// The kubelet finds a pod ready.
    Ready(String),
    /// A pod's container exits.
    Crash(String),
    /// The kubelet has stopped a pod that was to end.
    Stopped(String),
    /// A pod is gone with its node.
    Lost(String),
    /// Somebody deletes a pod.
    DeletePod(String),
    /// The nodes have room for so many pods.
    Room(usize),
    /// The quota permits so many pods.
    Quota(usize),
    /// The kubelet runs a Job's pod.
    JobRuns(String),
    /// A Job's pod ends, well or not.
    JobEnds(String, bool),
    /// A Job that may run for so many seconds has run for that long.
    JobCutOff(String, i64),
    /// What was left of a Job's pod is gone.
    JobPodStopped(String),
    /// So much time goes by for what is ready.
    Seconds(i64),
    /// Somebody acts.
    Person(Action),
}

/// One of the two worlds.
pub trait Side {
    /// A write of the operator.
    async fn write(&mut self, write: &Write) -> Result<Written, WriteError>;
    /// A live read of the operator about a Rollout.
    async fn ask(&mut self, rollout: &str, question: &Question) -> Result<Answer, ReadError>;
    /// Something else.
    async fn happens(&mut self, deed: &Deed);
    /// Scheduler and controllers get to work.
    async fn work(&mut self);
    /// Everything there is.
    async fn all(&mut self) -> Vec<Seen>;
    /// Everything a watcher has been told.
    async fn heard(&mut self) -> Vec<Heard>;
}
