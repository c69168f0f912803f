//! A process of the operator: caches that lag, a queue, what it remembers, what it measures.
//!
//! This stands for kube-runtime's loop and the sampler; what they run is the real code.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    event::Life,
    object::{
        DeploymentObject, Name, Object, Objects, PodObject, RolloutObject, ServiceObject, Watched,
    },
    setting::NAMESPACE,
};
use crate::{
    cluster::{Key, pass::Memory},
    evidence::Board,
};

/// A process of the operator.
#[derive(Debug)]
pub struct Process {
    /// Which life of which process.
    pub life: Life,
    /// Whether it runs.
    pub running: bool,
    /// Whether it believes that it leads.
    pub leading: bool,
    /// Epoch of the leadership it has or had.
    pub epoch: i64,
    /// From when on its clock is trusted.
    pub trusted_since: Timestamp,
    /// How far its clock is ahead of the world's.
    pub skew: SignedDuration,
    /// What its caches hold.
    pub caches: Objects,
    /// What it measures.
    pub board: Board,
    /// What the passes under way had before them when they last looked.
    pub seen: BTreeMap<Key, Arc<Seen>>,
    /// What its clock and measurements are worth to the passes under way: one time each.
    pub trust: BTreeMap<Key, Trust>,
    /// When the metric source last answered a poll whole, by Rollout and the process's clock.
    pub answered: BTreeMap<Name, Timestamp>,
    pub(super) queues: BTreeMap<Watched, VecDeque<(Timestamp, Object, bool)>>,
    pub(super) blocked: BTreeMap<Watched, Timestamp>,
    pub(super) memories: BTreeMap<Key, Memory>,
    pub(super) told: Objects,
    pub(super) due: BTreeMap<Key, Timestamp>,
    pub(super) busy: BTreeSet<Key>,
    pub(super) failures: BTreeMap<Key, u32>,
    pub(super) poll_at: Option<Timestamp>,
}

/// What a sender's clock and measurements were worth to his pass. It has one time: a clock that
/// jumps between its beginning and a write is trusted by the next pass alone.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// When the pass began.
    pub began: Timestamp,
    /// His clock then.
    pub clock: Timestamp,
    /// From when on he trusted it.
    pub since: Timestamp,
    /// When the metric source last answered him whole about this Rollout, at the pass's last look.
    pub answered: Option<Timestamp>,
}

/// What a pass had before it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The Rollout.
    pub rollout: Arc<RolloutObject>,
    /// Its Deployments, each as fresh as the process knew it.
    pub children: BTreeMap<Name, Arc<DeploymentObject>>,
    /// Its Services, likewise.
    pub services: BTreeMap<Name, Arc<ServiceObject>>,
    /// The Rollouts that it names in `spec.after`, as far as they were there.
    pub earlier: BTreeMap<Name, Arc<RolloutObject>>,
    /// The revisions of which it knew a ControllerRevision.
    pub revisions: BTreeSet<Name>,
    /// Its pods that are not going away.
    pub pods: Vec<Arc<PodObject>>,
}

impl Process {
    /// A process that does not run yet.
    #[must_use]
    pub fn new(process: usize) -> Self {
        Self {
            life: Life {
                process,
                incarnation: 0,
            },
            running: false,
            leading: false,
            epoch: 0,
            trusted_since: Timestamp::MIN,
            skew: SignedDuration::ZERO,
            caches: Objects::default(),
            board: Board::default(),
            seen: BTreeMap::new(),
            trust: BTreeMap::new(),
            answered: BTreeMap::new(),
            queues: BTreeMap::new(),
            blocked: BTreeMap::new(),
            memories: BTreeMap::new(),
            told: Objects::default(),
            due: BTreeMap::new(),
            busy: BTreeSet::new(),
            failures: BTreeMap::new(),
            poll_at: None,
        }
    }

    /// The API server has answered a write or a read with the object as it is now.
    pub(super) fn learned(&mut self, object: Option<Object>) {
        if let Some(object @ (Object::Deployment(_) | Object::Rollout(_) | Object::Service(_))) =
            object
        {
            self.told.put(object);
        }
    }

    /// Keeps what a pass has before it.
    pub(super) fn looks(&mut self, key: &Key, name: &str) {
        // Readings are read anew at each look, the clock is not.
        if let Some(trust) = self.trust.get_mut(key) {
            trust.answered = self.answered.get(name).copied();
        }
        let Some(rollout) = self.caches.rollouts.get(name).cloned() else {
            return;
        };
        let rollout = match self.told.rollouts.get(name) {
            Some(told) if told.meta.is_newer(&rollout.meta) => Arc::clone(told),
            _ => rollout,
        };
        let fresher =
            |cached: &Arc<DeploymentObject>| match self.told.deployments.get(&cached.meta.name) {
                Some(told) if told.meta.is_newer(&cached.meta) => Arc::clone(told),
                _ => Arc::clone(cached),
            };
        let children = self.caches.deployments.values();
        let children = children
            .filter(|d| &*d.rollout == name)
            .map(|d| (d.meta.name.clone(), fresher(d)))
            .collect();
        let revisions = self.caches.revisions.values();
        let revisions = revisions
            .filter(|r| &*r.rollout == name && !r.meta.deleting)
            .map(|r| r.revision.clone())
            .collect();
        let pods = self.caches.pods.values();
        let pods = pods.filter(|p| &*p.rollout == name && !p.meta.deleting);
        let services = self.caches.services_of(name).map(|cached| {
            let told = self.told.services.get(&cached.meta.name);
            let fresher = told.filter(|told| told.meta.is_newer(&cached.meta));
            (
                cached.meta.name.clone(),
                Arc::clone(fresher.unwrap_or(cached)),
            )
        });
        let named = rollout.spec.as_deref().ok();
        let named = named.into_iter().flat_map(|spec| &spec.after);
        let earlier = named.filter_map(|one| {
            let known = self.caches.rollouts.get_key_value(one.rollout.as_str())?;
            Some((known.0.clone(), Arc::clone(known.1)))
        });
        let seen = Seen {
            earlier: earlier.collect(),
            rollout: Arc::clone(&rollout),
            children,
            services: services.collect(),
            revisions,
            pods: pods.cloned().collect(),
        };
        self.seen.insert(key.clone(), Arc::new(seen));
    }
}

/// The key of a Rollout.
#[must_use]
pub fn rollout_key(name: &str) -> Key {
    Key::Rollout {
        namespace: NAMESPACE.into(),
        name: name.into(),
    }
}

/// The key of a DatabaseSchema.
#[must_use]
pub fn database_key(name: &str) -> Key {
    Key::Database {
        namespace: NAMESPACE.into(),
        name: name.into(),
    }
}
