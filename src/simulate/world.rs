//! The world: one clock, one agenda, the API server's store, and everybody who acts on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    alone::Told,
    controllers::ReplicaSet,
    coverage::Coverage,
    event::{Event, Sync, Turn},
    kubelet::Container,
    object::{Meta, Name, Object, Objects, Stored, Watched},
    people::Command,
    process::Process,
    prometheus::Outage,
    random::Random,
    request::{Faults, Request},
    rules::{Happened, Ledger},
    setting::{Delay, Setting},
    story::Story,
    traffic::Traffic,
};
use crate::{api::RolloutSpec, plan::facts::ConfigRef};

/// Name of the one namespace.
pub const NAMESPACE: &str = "default";

/// When every world begins: 2027-01-15 08:00:00 UTC.
pub const DAWN: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// A cluster in memory, the processes of the operator in it, and the people around it.
#[derive(Debug)]
pub struct World {
    /// The time.
    pub now: Timestamp,
    /// How it behaves.
    pub setting: Setting,
    /// What the API server holds.
    pub live: Objects,
    /// Processes of the operator.
    pub processes: Vec<Process>,
    /// What pods have served.
    pub traffic: Traffic,
    /// How the metric source fails.
    pub outage: Outage,
    /// ConfigMaps and Secrets that exist.
    pub configs: BTreeSet<ConfigRef>,
    /// Deployments of others, with the labels of their pods.
    pub foreign: BTreeMap<String, BTreeMap<String, String>>,
    /// What Git says of a Rollout that an agent keeps.
    pub git: BTreeMap<Name, RolloutSpec>,
    /// Commands that people gave.
    pub commands: Vec<Command>,
    /// What people read afterwards.
    pub story: Story,
    /// What the rules remember.
    pub ledger: Ledger,
    /// What happened in this event, for the rules.
    pub happened: Vec<Happened>,
    /// What befalls the operator's writes.
    pub faults: Faults,
    /// The Lease's `leaseTransitions`.
    pub epoch: i64,
    /// Writes that arrived at the API server, accepted or not.
    pub arrived: u64,
    /// Changes of objects that are not the operator's writes.
    pub others_changes: u64,
    /// The operator's last write, in words.
    pub last_write: String,
    /// Events that have happened.
    pub events: u64,
    /// What befell the operator.
    pub coverage: Coverage,
    /// What the autoscaler of a Rollout would have had lately.
    pub(super) advices: BTreeMap<Name, Vec<(Timestamp, i32)>>,
    pub(super) random: Random,
    pub(super) requests: BTreeMap<u64, Request>,
    pub(super) replica_sets: BTreeMap<Name, ReplicaSet>,
    pub(super) containers: BTreeMap<Name, Container>,
    pub(super) job_starts: BTreeMap<(Name, crate::api::PhaseKind), usize>,
    pub(super) started_jobs: BTreeSet<Name>,
    pub(super) turns: Vec<Turn>,
    /// The API server handles a write of the operator.
    pub(super) handling: bool,
    /// What watchers of everything are told, if there are any.
    pub(super) told: Option<Vec<Told>>,
    agenda: BTreeMap<(Timestamp, u64), Event>,
    sequence: u64,
    pending: BTreeSet<Sync>,
    version: u64,
    uids: u64,
}

impl World {
    /// An empty world; the seed decides all delays.
    #[must_use]
    pub fn new(setting: Setting, seed: u64) -> Self {
        Self {
            now: DAWN,
            setting,
            live: Objects::default(),
            processes: Vec::new(),
            traffic: Traffic::default(),
            outage: Outage::default(),
            configs: BTreeSet::new(),
            foreign: BTreeMap::new(),
            git: BTreeMap::new(),
            commands: Vec::new(),
            story: Story::default(),
            ledger: Ledger::default(),
            happened: Vec::new(),
            faults: Faults::default(),
            epoch: 0,
            arrived: 0,
            others_changes: 0,
            last_write: String::new(),
            events: 0,
            coverage: Coverage::default(),
            advices: BTreeMap::new(),
            random: Random::new(seed),
            requests: BTreeMap::new(),
            replica_sets: BTreeMap::new(),
            containers: BTreeMap::new(),
            job_starts: BTreeMap::new(),
            started_jobs: BTreeSet::new(),
            turns: Vec::new(),
            handling: false,
            told: None,
            agenda: BTreeMap::new(),
            sequence: 0,
            pending: BTreeSet::new(),
            version: 1,
            uids: 0,
        }
    }

    /// Something happens so much later.
    pub fn after(&mut self, delay: SignedDuration, event: Event) {
        let at = self.now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        self.at(at, event);
    }

    /// Something happens then; at once if that is past.
    pub fn at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.agenda.insert((at.max(self.now), self.sequence), event);
    }

    /// A delay, drawn.
    pub(super) fn draw(&mut self, delay: Delay) -> SignedDuration {
        SignedDuration::from_millis(delay.draw(&mut self.random))
    }

    /// A controller will look at it; looks that are planned already are not planned twice.
    pub(super) fn sync(&mut self, sync: Sync) {
        if self.pending.insert(sync.clone()) {
            let delay = self.draw(self.setting.timing.controllers);
            self.after(delay, Event::Sync(sync));
        }
    }

    /// When the next event happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Timestamp> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Lets the next event happen; what the passes have to do after it, or `None` at the end.
    pub fn step(&mut self) -> Option<Vec<Turn>> {
        let ((at, _), event) = self.agenda.pop_first()?;
        self.now = at;
        self.events += 1;
        self.handle(event);
        Some(std::mem::take(&mut self.turns))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Sync(sync) => {
                self.pending.remove(&sync);
                match sync {
                    Sync::Deployment(name) => self.sync_deployment(&name),
                    Sync::Replicas(name) => self.sync_replicas(&name),
                    Sync::Job(name) => self.sync_job(&name),
                    Sync::Garbage => self.collect_garbage(),
                    Sync::Endpoints(rollout) => self.sync_endpoints(&rollout),
                    Sync::Scheduler => self.sync_scheduler(),
                }
            }
            Event::Kubelet { pod, step, turn } => self.kubelet(&pod, step, turn),
            Event::JobEnds {
                job,
                uid,
                succeeded,
                message,
            } => self.job_ends(&job, &uid, succeeded, message),
            Event::JobPodGone { job, uid } => self.job_pod_gone(&job, &uid),
            Event::Deliver(life, kind) => self.deliver(life, kind),
            Event::Arrive(ticket) => self.arrive(ticket),
            Event::Return(ticket) => self.return_answer(ticket),
            Event::Start(life, key) => self.start_pass(life, key),
            Event::Poll(life) => self.poll(life),
            Event::Answered(life, answered) => self.polled(life, &answered.0, answered.1),
            Event::Boot(process) => self.boot(process),
            Event::Deposed(life) => self.deposed(life),
            Event::Act(action) => self.act(*action),
        }
    }

    /// A new object's name, uid and versions.
    pub(super) fn meta(&mut self, name: &str, owner: Option<Name>) -> Meta {
        self.uids += 1;
        Meta {
            name: name.into(),
            uid: format!("uid-{:04}", self.uids).into(),
            version: 0,
            generation: 1,
            created: self.now,
            owner,
            deleting: false,
        }
    }

    /// Stores an object. Nothing happens when nothing changes, as on a real API server.
    pub(super) fn store<T: Stored>(&mut self, mut object: T) -> Arc<T> {
        let present = T::table(&self.live).get(&object.meta().name);
        if let Some(present) = present {
            object.meta_mut().version = present.meta().version;
            if **present == object {
                return Arc::clone(present);
            }
        }
        let owner = object.meta().owner.as_ref();
        let news = present.is_none_or(|p| p.meta().owner.as_ref() != owner);
        if news && owner.is_some_and(|owner| !self.stands(owner)) {
            self.sync(Sync::Garbage);
        }
        self.version += 1;
        self.others_changes += u64::from(!self.handling);
        object.meta_mut().version = self.version;
        let object = Arc::new(object);
        let stored = T::wrap(Arc::clone(&object));
        self.live.put(stored.clone());
        self.controllers_see(&stored);
        self.tell_caches(&stored, false);
        object
    }

    /// Removes an object from the store.
    pub(super) fn erase(&mut self, object: &Object) {
        self.version += 1;
        self.live.remove(object.watched(), &object.meta().name);
        self.tell_caches(object, true);
        self.sync(Sync::Garbage);
        match object {
            Object::Pod(pod) => {
                self.sync(Sync::Replicas(pod.deployment.clone()));
                self.sync(Sync::Endpoints(pod.rollout.clone()));
                self.sync(Sync::Scheduler);
            }
            Object::Deployment(deployment) => {
                self.replica_sets.remove(&deployment.meta.uid);
            }
            _ => {}
        }
    }

    /// A new version of an object with nothing else new.
    pub(super) fn bump<T: Stored>(&mut self, object: &T) -> T {
        self.version += 1;
        let mut next = object.clone();
        next.meta_mut().version = self.version;
        let stored = T::wrap(Arc::new(next.clone()));
        self.live.put(stored.clone());
        self.tell_caches(&stored, false);
        next
    }

    fn controllers_see(&mut self, object: &Object) {
        if let Object::Deployment(child) = object {
            self.ledger.sized(child);
        }
        match object {
            Object::Deployment(d) if d.observed != d.meta.generation => {
                self.sync(Sync::Deployment(d.meta.name.clone()));
            }
            Object::Pod(pod) => {
                self.sync(Sync::Replicas(pod.deployment.clone()));
                self.sync(Sync::Endpoints(pod.rollout.clone()));
            }
            Object::Job(job) if !job.suspended && job.ended.is_none() => {
                self.sync(Sync::Job(job.meta.name.clone()));
            }
            _ => {}
        }
    }

    /// Objects of any kind by name.
    #[must_use]
    pub fn find(&self, kind: Watched, name: &str) -> Option<Object> {
        match kind {
            Watched::Rollouts => self.live.rollouts.get(name).cloned().map(Object::Rollout),
            Watched::Revisions => self.live.revisions.get(name).cloned().map(Object::Revision),
            Watched::Deployments => {
                let found = self.live.deployments.get(name).cloned();
                found.map(Object::Deployment)
            }
            Watched::Pods => self.live.pods.get(name).cloned().map(Object::Pod),
            Watched::Jobs => self.live.jobs.get(name).cloned().map(Object::Job),
            Watched::Databases => self.live.databases.get(name).cloned().map(Object::Database),
        }
    }
}
