//! What the planner asks for, where no cache holds it, and the answers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;

use super::{adopted::DeploymentFacts, sharers::UserFacts};
use crate::{
    api::{SchemaSpec, sql::KeyRef},
    plan::{
        flags::file::Look,
        revision::{Wanted, Whole},
        routes::{RouteFacts, RoutesAsked},
        template::ConfigRef,
    },
};

/// Something the planner must know that no cache holds, or that a cache may be too old to tell. It
/// is asked only when a decision needs it.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// The Rollout of this name, with its pod templates: replaces the cached one.
    Rollout(String),
    /// What the ControllerRevision of this name remembers.
    Template(String),
    /// The Deployments of the namespace that are not the Rollout's own and whose selector overlaps
    /// that of this spec.
    Overlaps(Arc<Wanted>),
    /// The Deployment of this name, which is somebody else's.
    Deployment(String),
    /// A live list of the Rollout's ControllerRevisions: replaces the cached one.
    Revisions,
    /// The DatabaseSchema of this name, and then the Jobs of its holders: they replace the cached
    /// ones.
    Hold(String),
    /// Everything of the namespace that uses the database of this name.
    Users(String),
    /// Which of these ConfigMaps and Secrets exist.
    Config(Vec<ConfigRef>),
    /// The texts of these keys of ConfigMaps.
    Texts(Vec<KeyRef>),
    /// These routes, and what they do with the requests.
    Routes(Arc<RoutesAsked>),
    /// The ConfigMap of this name, which holds flags.
    Flags(String),
    /// The Job of this name: replaces the cached one.
    Job(String),
    /// The end of the log of this Job's pods, for a message.
    JobLog(String),
    /// Why the pod of this Job does not run, for a message.
    JobPod(String),
    /// How far the batches of the Job of this name and uid are, by what its pod says. Nothing waits
    /// for it.
    Progress(String, String),
}

impl fmt::Display for Question {
    /// What is read, as it is called in a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rollout(name) => write!(f, "Rollout {name}"),
            Self::Template(name) => write!(f, "ControllerRevision {name}"),
            Self::Overlaps(_) => f.write_str("Deployments"),
            Self::Deployment(name) => write!(f, "Deployment {name}"),
            Self::Revisions => f.write_str("ControllerRevisions"),
            Self::Hold(name) => write!(f, "DatabaseSchema {name} and its Job"),
            Self::Users(name) => write!(f, "the users of database {name}"),
            Self::Config(refs) => {
                let names: Vec<String> = refs.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(", "))
            }
            Self::Texts(keys) => {
                let names: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
                write!(f, "ConfigMap {}", names.join(", "))
            }
            Self::Routes(asked) => {
                let names: Vec<String> = asked.routes.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(", "))
            }
            Self::Flags(name) => write!(f, "ConfigMap {name}"),
            Self::Job(job) => write!(f, "Job {job}"),
            Self::JobLog(job) => write!(f, "the log of Job {job}"),
            Self::JobPod(job) => write!(f, "the pod of Job {job}"),
            Self::Progress(job, _) => write!(f, "the progress of Job {job}"),
        }
    }
}

/// What became of looking for ConfigMaps and Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFacts {
    /// Those that do not exist.
    pub missing: Vec<ConfigRef>,
    /// Those that the operator may not read. They count as there: a missing right must not hold up
    /// a release.
    pub unread: Vec<ConfigRef>,
}

/// The end of a Job's log, for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobLog {
    /// Its last lines; empty where it has none.
    Ends(String),
    /// It was not read: why, and what to do.
    Unread(String),
}

impl fmt::Display for JobLog {
    /// As it follows what failed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ends(log) if log.is_empty() => Ok(()),
            Self::Ends(log) => write!(f, "; its log ends: {log}"),
            Self::Unread(why) => write!(f, "; its log was not read: {why}"),
        }
    }
}

/// Answers to [`Question`]s. `None`: not asked in this pass.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// What the Rollout asks for in this generation, with the pod templates.
    pub whole: Option<(i64, Arc<Whole>)>,
    /// A ControllerRevision's name, and what it remembers.
    pub template: Option<(String, Arc<Remembered>)>,
    /// What uses the database.
    pub users: Option<Arc<[UserFacts]>>,
    /// What the routes do with the requests, in the order in which they were asked for.
    pub routes: Option<Arc<[RouteFacts]>>,
    /// The ConfigMaps of its flags, by name.
    pub flags: BTreeMap<String, Look>,
    /// Overlapping Deployments.
    pub overlaps: Option<Vec<Overlap>>,
    /// The Deployment that is adopted; `Some(None)`: there is none.
    pub deployment: Option<Option<Arc<DeploymentFacts>>>,
    /// The ControllerRevisions were read live in this pass.
    pub revisions_live: bool,
    /// The DatabaseSchema of this uid was read live in this pass, with the Job of its holder, or
    /// its record was written.
    pub hold_live: Option<String>,
    /// What became of looking for ConfigMaps and Secrets.
    pub config: Option<ConfigFacts>,
    /// What was read of keys of ConfigMaps.
    pub texts: Texts,
    /// The Job of this name was read live in this pass.
    pub job_live: Option<String>,
    /// The end of a Job's log.
    pub job_log: Option<JobLog>,
    /// Why a Job's pod does not run.
    pub job_pod: Option<PodOfJob>,
}

/// Why a Job that goes on has no pod that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodOfJob {
    /// What the newest waits for, in the words of whoever knows; empty when nobody does.
    pub waits: String,
    /// Its node does not say how it is: which one, and what to do. It may run.
    pub silent: Option<String>,
    /// So many of its pods were killed.
    pub killed: usize,
    /// One of them for want of memory.
    pub oom: bool,
}

impl PodOfJob {
    /// One that waits.
    #[must_use]
    pub(crate) fn that_waits(words: impl Into<String>) -> Self {
        Self {
            waits: words.into(),
            ..Self::default()
        }
    }
}

/// A Deployment that selects the same pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overlap {
    /// Its name.
    pub deployment: String,
    /// It asks for no pods and has none.
    pub empty: bool,
}

/// What was read of keys of ConfigMaps.
pub type Texts = BTreeMap<KeyRef, Text>;

/// A key of a ConfigMap, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// SHA-256 of its bytes, in hexadecimal.
    Is(String),
    /// It cannot be used: why, and what to do.
    Unusable(String),
}

/// What a ControllerRevision remembers of its revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The pod template.
    pub template: Value,
    /// What it asked of the database.
    pub schema: Option<SchemaSpec>,
}
