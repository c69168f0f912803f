//! What happens next in the world.

use super::{
    action::Action,
    object::{Name, Watched},
};
use crate::{
    cluster::Key,
    evidence::{Answer, Ask},
};

/// How a Job's pod has ended, or is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Succeeded,
    /// With an error.
    Failed,
    /// With the exit code that says that nothing was applied.
    NothingApplied,
    /// With the exit code by which the runner of SQL says that, and that trying again is no use.
    Refused,
    /// With that by which it says that rows are not filled in.
    Unproven,
    /// With that by which it says that its ledger is not what is on record.
    Disagrees,
    /// By the Job's deadline.
    Deadline,
}

/// One thing that happens at one moment.
#[derive(Debug)]
pub enum Occurrence {
    /// A controller looks at an object.
    Sync(Sync),
    /// A kubelet takes the next step with a pod.
    Kubelet {
        /// The pod.
        pod: Name,
        /// What is next.
        step: PodStep,
        /// The pod's turn when it was planned: overtaken steps do nothing.
        turn: u32,
    },
    /// A Job's pod has run its time.
    JobEnds {
        /// Name of the Job.
        job: Name,
        /// Its uid.
        uid: Name,
        /// How.
        end: End,
    },
    /// A Job's next pod is made, after a pause.
    JobTries {
        /// Name of the Job.
        job: Name,
        /// Its uid.
        uid: Name,
    },
    /// The last pod of a Job that was cut off is gone.
    JobPodGone {
        /// Name of the Job.
        job: Name,
        /// Its uid.
        uid: Name,
    },
    /// What a ConfigMap says of flags has reached the pods of a Rollout.
    Flagged {
        /// The Rollout.
        rollout: Name,
        /// For which share of users a flag is on.
        share: f64,
    },
    /// A cache takes in what is due.
    Deliver(Life, Watched),
    /// A request arrives at the API server.
    Arrive(u64),
    /// Its answer arrives at the operator.
    Return(u64),
    /// A pass falls due.
    Start(Life, Key),
    /// A poll falls due.
    Poll(Life),
    /// A poll is answered.
    Answered(Life, Box<(Ask, Answer)>),
    /// A process of the operator comes up.
    Boot(usize),
    /// A deposed leader notices.
    Deposed(Life),
    /// A gateway follows a route, or its controller reports it.
    Gateway {
        /// The route.
        route: Name,
        /// Requests follow it; otherwise it is reported.
        data: bool,
    },
    /// A person, an agent or fate acts.
    Act(Box<Action>),
}

/// One life of one process of the operator: what was planned for an earlier one never happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Which process.
    pub process: usize,
    /// How often it has been started.
    pub incarnation: u32,
}

/// A look of a controller at an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sync {
    /// The Deployment controller.
    Deployment(Name),
    /// The ReplicaSet controller.
    Replicas(Name),
    /// The Job controller.
    Job(Name),
    /// The garbage collector.
    Garbage,
    /// The endpoints of a Rollout's Service.
    Endpoints(Name),
    /// The scheduler's look at pods that found no room.
    Scheduler,
}

/// What a kubelet does next with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodStep {
    /// Finds room.
    Schedule,
    /// Starts the container.
    Start,
    /// Finds it ready.
    Ready,
    /// Finds it not ready any more.
    Unready,
    /// Sees it exit.
    Exit,
    /// Has stopped it.
    Gone,
}

/// What the passes have to do after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A pass begins.
    Start(Life, Key),
    /// A pass goes on.
    Resume(Life, Key),
    /// A process has died: its passes are dropped where they stand.
    Died(usize),
}
