//! What people, programs and fate do: the nouns of every script.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    object::{Name, Watched},
    prometheus::Outage,
    setting::Behaviour,
    sql_ledger::Half,
};
use crate::{
    api::{Analysis, BlueGreen, Rolling, RolloutSpec, Step, sql::KeyRef},
    plan::intent::Kind,
};

/// What somebody does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Applies a manifest: creates the Rollout, or replaces its spec.
    Apply {
        /// The Rollout.
        rollout: Name,
        /// Its spec; `replicas` of an existing Rollout is kept when `keep_replicas`.
        spec: Box<RolloutSpec>,
        /// The manifest does not name `replicas`.
        keep_replicas: bool,
    },
    /// Applies a manifest that cannot be read.
    ApplyNonsense(Name),
    /// Changes the image, and the schema version if one is given.
    Release {
        /// The Rollout.
        rollout: Name,
        /// The image.
        image: Name,
        /// The schema version.
        version: Option<i64>,
    },
    /// Changes what makes no other revision.
    Amend {
        /// The Rollout.
        rollout: Name,
        /// What is changed.
        amendment: Amendment,
    },
    /// Scales, as an autoscaler or `kubectl scale` does.
    Scale {
        /// The Rollout.
        rollout: Name,
        /// `spec.replicas`.
        replicas: i32,
    },
    /// Sets `spec.paused`.
    Pause {
        /// The Rollout.
        rollout: Name,
        /// Whether it is paused.
        paused: bool,
    },
    /// Gives a command, bound to what is in motion.
    Command {
        /// The Rollout.
        rollout: Name,
        /// `promote`, `undo`, `retry`, `pause` or `resume`; `promote-without-undo` lets a release go
        /// on though stable could not come back.
        verb: &'static str,
    },
    /// Approves the contract or the revert that waits on a database: what would run now, or another digest.
    Approve {
        /// The DatabaseSchema.
        database: Name,
        /// Whether it is what would run.
        right: bool,
    },
    /// The administrator says which Rollouts may use a database; all of them where none is named.
    Allow {
        /// The DatabaseSchema.
        database: Name,
        /// The Rollouts.
        rollouts: Option<Vec<String>>,
    },
    /// Gives up what is open of the lowest version of a database.
    Drop(Name),
    /// Asks that the undo floor of a database goes back to where it was.
    LowerFloor(Name),
    /// Says that what was left half-way on a database first is put right.
    Clean(Name),
    /// Puts on record how far a database is, by its ledger.
    Baseline(Name),
    /// Deletes the Rollout.
    Delete(Name),
    /// Deletes the Rollout in the foreground: it stays, marked, until its children are gone.
    DeleteInForeground(Name),
    /// Scales a child by hand.
    ScaleChild {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
        /// Its `spec.replicas`.
        replicas: i32,
    },
    /// Edits a child's template by hand.
    EditChild {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
        /// The image it gets.
        to: Name,
    },
    /// `kubectl rollout restart` of a child.
    RestartChild {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
    },
    /// Deletes a child by hand.
    DeleteChild {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
    },
    /// Deletes a child's ControllerRevision by hand.
    ForgetRevision {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
    },
    /// Deletes every Job of a Rollout by hand.
    DeleteJobs(Name),
    /// Deletes a DatabaseSchema: what ran on the database is forgotten.
    DeleteDatabase(Name),
    /// Creates or deletes a ConfigMap, as an agent that prunes does.
    Config {
        /// Its name.
        name: String,
        /// Whether it exists from now on.
        exists: bool,
    },
    /// Writes a key of a ConfigMap with a file of SQL, or deletes it.
    Sql {
        /// Which.
        key: KeyRef,
        /// What it holds from now on; `None`: it is gone.
        text: Option<&'static str>,
    },
    /// Containers are killed, one in each of so many pods.
    KillContainers {
        /// The Rollout.
        rollout: Name,
        /// How many.
        count: usize,
    },
    /// Pods are gone at once, as with their node.
    LosePods {
        /// The Rollout.
        rollout: Name,
        /// How many.
        count: usize,
    },
    /// Every so many seconds a pod is gone with its node, where the floor leaves one to spare.
    Churn {
        /// The Rollout.
        rollout: Name,
        /// Seconds between two of them.
        every: i64,
        /// Until then.
        until: Timestamp,
    },
    /// Status is lost, as in a restore.
    LoseStatus(Name),
    /// A backup is made of a database, and of its DatabaseSchema.
    BackUp(Name),
    /// One of the two is restored from it.
    RestoreHalf {
        /// The database.
        database: Name,
        /// Which.
        half: Half,
    },
    /// Everything is restored from a backup: new uids, no status, no owners.
    Restore,
    /// So many percent of live reads get no answer.
    Reads(u32),
    /// The metric source fails so, or works again.
    Metrics(Outage),
    /// The nodes have room for so many pods.
    Capacity(usize),
    /// The quota permits so many pods.
    Quota(usize),
    /// A policy denies the operator's writes of this kind; `None`: no longer.
    Deny(Option<Kind>),
    /// A watch of a process breaks for so many seconds.
    BreakWatch {
        /// Which process.
        process: usize,
        /// Which watch.
        kind: Watched,
        /// Seconds until it is replayed.
        seconds: i64,
    },
    /// A process of the operator dies.
    Crash(usize),
    /// The lease changes hands; the deposed leader notices so many milliseconds later.
    HandOver {
        /// Milliseconds in which both believe that they lead.
        overlap: i64,
    },
    /// A process's clock jumps.
    JumpClock {
        /// Which process.
        process: usize,
        /// By how many seconds.
        seconds: i64,
    },
    /// Something around the Rollouts changes.
    Around(Circumstance),
    /// So many requests per second arrive from now on.
    Load(f64),
    /// An autoscaler looks every so many seconds.
    Autoscale {
        /// Which.
        autoscaler: Autoscaler,
        /// Seconds between two looks.
        every: i64,
        /// Until then.
        until: Timestamp,
    },
    /// An agent makes the cluster look like Git every so many seconds.
    GitOps {
        /// Which.
        agent: GitOps,
        /// Seconds between two looks.
        every: i64,
        /// Until then.
        until: Timestamp,
    },
    /// Somebody commits another image to Git.
    Commit {
        /// The Rollout.
        rollout: Name,
        /// The image.
        image: Name,
        /// The schema version.
        version: Option<i64>,
    },
    /// An agent applies the manifest again and again.
    Reapply {
        /// What it applies.
        apply: Box<Action>,
        /// Every so many seconds.
        every: i64,
        /// Until then.
        until: Timestamp,
    },
}

/// What becomes of a Deployment of somebody else that may be adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoptable {
    /// It runs an image with so many pods.
    Runs {
        /// The image.
        image: &'static str,
        /// `spec.replicas`.
        replicas: i32,
    },
    /// Its replicas are written.
    Scaled {
        /// By whom.
        by: &'static str,
        /// `spec.replicas`.
        replicas: i32,
    },
    /// It is paused, or not.
    Paused(bool),
    /// It belongs to another controller, or not.
    Owned(bool),
    /// Its pods have another label.
    Labelled(&'static str),
    /// It is deleted, and its pods with it.
    Gone,
}

/// How somebody makes a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// With an address, and one port.
    Ordinary,
    /// The same, with another port.
    OtherPort,
    /// The same, and it is said that no user reaches pods through it.
    NotForUsers,
    /// Without an address.
    Headless,
    /// Without a selector.
    Selectorless,
    /// Its selector is set by hand to that of all revisions.
    Edited,
    /// It is deleted.
    Gone,
}

/// What somebody does to the ConfigMap of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// He makes one of his own.
    Foreign,
    /// He turns its flags off.
    Off,
    /// He makes it unreadable.
    Broken,
    /// He deletes it.
    Gone,
}

/// A command that a person gave.
#[derive(Clone, Debug)]
pub struct Command {
    /// The Rollout.
    pub rollout: Name,
    /// What was asked for.
    pub verb: &'static str,
    /// The request.
    pub id: String,
    /// The revision it is bound to.
    pub revision: String,
    /// The step it is bound to, if it is.
    pub step: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A HorizontalPodAutoscaler on requests per second and pod, as the Kubernetes documentation
/// describes its algorithm.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    /// The Rollout whose scale subresource it writes.
    pub rollout: Name,
    /// Requests per second that a pod is to have.
    pub per_pod: f64,
    /// `minReplicas` and `maxReplicas`.
    pub between: (i32, i32),
}

/// An agent that makes the cluster look like Git.
#[derive(Clone, Debug)]
pub struct GitOps {
    /// The Rollout.
    pub rollout: Name,
    /// The manifest names `spec.replicas`; otherwise that field is somebody else's.
    pub names_replicas: bool,
    /// Each image has a ConfigMap of its own, and those that Git no longer names are pruned.
    pub prunes: bool,
}

/// Something around the Rollouts that is so from now on.
#[derive(Clone, Debug)]
pub enum Circumstance {
    /// Pods of an image behave so when they are started again: what they need has changed.
    Behaves {
        /// The image.
        image: Name,
        /// How.
        behaviour: Box<Behaviour>,
    },
    /// A Deployment of somebody else, `legacy`, selects the pods of `shop` too.
    Deployment {
        /// Whether it exists.
        exists: bool,
    },
    /// A Deployment of somebody else, `web`, is so from now on; Rollout `shop` selects its pods, and
    /// may adopt it.
    Adoptable(Adoptable),
    /// A Service of this name is so from now on; it selects the pods of `shop`.
    Service {
        /// Its name.
        name: &'static str,
        /// How it is.
        is: Given,
    },
    /// A route of this name is so from now on.
    Route {
        /// Its name.
        name: &'static str,
        /// How it is.
        is: Routed,
    },
    /// The gateway's controller.
    Gateway {
        /// Whether it is down.
        away: bool,
    },
    /// What an expand has done to the code before it is put right in the database of this Rollout.
    Mended(Name),
    /// Something in the database makes pods of this Rollout answer so many percent with an error.
    Hurt(Name, f64),
    /// Somebody does something to the ConfigMap of the flags.
    Flags(Tampering),
    /// The API server takes no request.
    ApiServer {
        /// Whether it is away.
        away: bool,
    },
    /// The kubelet of the node.
    Kubelet {
        /// Whether it says nothing: its pods run on, and none of them counts as ready.
        silent: bool,
    },
    /// A CronJob of somebody else, `nightly`, uses the database of `shop`.
    Consumer {
        /// The schema version that its annotation gives: nothing where it has none. `None`: it is
        /// deleted.
        version: Option<Option<i64>>,
    },
    /// Whoever makes backups of the databases says when the last one was made.
    Backup {
        /// So many seconds ago; `None`: what it says is no time.
        seconds_ago: Option<i64>,
    },
    /// A webhook that judges Deployments.
    Webhook {
        /// Whether it is down: nobody knows then what became of a write.
        down: bool,
    },
}

/// How somebody makes a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// As Git has it: at 100 and 0.
    AtRest,
    /// So many percent for the canary's Service.
    At(i32),
    /// It is deleted.
    Gone,
    /// The definition of its kind is removed, and with it the route, until somebody writes it again.
    Undefined,
}

/// What a person changes beside the pods themselves.
#[derive(Clone, Debug)]
pub enum Amendment {
    /// `spec.strategy.canary.steps`.
    Steps(Vec<Step>),
    /// `spec.strategy.rolling`.
    Rolling(Rolling),
    /// `spec.strategy.blueGreen`, with `spec.traffic`.
    BlueGreen(BlueGreen),
    /// `spec.strategy.maxSurge` and `spec.strategy.maxUnavailable`.
    Bounds {
        /// Pods more than `spec.replicas`.
        surge: IntOrString,
        /// Pods fewer.
        unavailable: IntOrString,
    },
    /// `spec.analysis.checks`, or all of `spec.analysis`.
    Analysis(Option<Analysis>),
    /// `spec.strategy.progressDeadlineSeconds`.
    Deadline(i64),
    /// `spec.strategy.rollbackWindow.revisions`.
    Window(i64),
}
