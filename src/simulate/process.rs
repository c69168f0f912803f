//! A process of the operator: caches that lag, a queue, what it remembers, what it measures.
//!
//! This stands for kube-runtime's loop and the sampler; what they run is the real code.

mod caches;
mod polls;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    coverage::Kind,
    event::{Event, Life, Turn},
    object::{DeploymentObject, Name, Object, Objects, RolloutObject, Watched},
    rules::Trust,
    world::{NAMESPACE, World},
};
use crate::{
    cluster::{
        Key, WriteError,
        pass::{Memory, Ran, Stopped},
    },
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
    queues: BTreeMap<Watched, VecDeque<(Timestamp, Object, bool)>>,
    blocked: BTreeMap<Watched, Timestamp>,
    memories: BTreeMap<Key, Memory>,
    told: Objects,
    due: BTreeMap<Key, Timestamp>,
    busy: BTreeSet<Key>,
    failures: BTreeMap<Key, u32>,
    poll_at: Option<Timestamp>,
}

/// What a pass had before it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The Rollout.
    pub rollout: Arc<RolloutObject>,
    /// Its Deployments, each as fresh as the process knew it.
    pub children: BTreeMap<Name, Arc<DeploymentObject>>,
    /// The revisions of which it knew a ControllerRevision.
    pub revisions: BTreeSet<Name>,
    /// When containers of its pods last ended, with the pod's revision.
    pub ends: Vec<(Name, Timestamp)>,
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
        if let Some(object @ (Object::Deployment(_) | Object::Rollout(_))) = object {
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
        let ends = pods.filter_map(|p| Some((p.revision.clone(), p.ended?)));
        let seen = Seen {
            rollout,
            children,
            revisions,
            ends: ends.collect(),
        };
        self.seen.insert(key.clone(), Arc::new(seen));
    }
}

impl World {
    /// A process of the operator comes up: with fresh caches, and nothing remembered.
    pub(super) fn boot(&mut self, index: usize) {
        let (now, live) = (self.now, self.live.clone());
        let process = &mut self.processes[index];
        if process.running {
            return;
        }
        let incarnation = process.life.incarnation + 1;
        *process = Process {
            life: Life {
                process: index,
                incarnation,
            },
            running: true,
            skew: process.skew,
            caches: live,
            ..Process::new(index)
        };
        process.trusted_since = now.saturating_add(process.skew).unwrap_or(now);
        if self.processes.iter().all(|p| !p.leading) {
            self.lead(index);
        }
    }

    /// A process takes the lease.
    pub(super) fn lead(&mut self, index: usize) {
        self.epoch += 1;
        let (now, epoch) = (self.now, self.epoch);
        let process = &mut self.processes[index];
        process.leading = true;
        process.epoch = epoch;
        process.trusted_since = now.saturating_add(process.skew).unwrap_or(now);
        let rollouts = process.caches.rollouts.keys().map(|n| rollout_key(n));
        let databases = process.caches.databases.keys().map(|n| database_key(n));
        let keys: Vec<Key> = rollouts.chain(databases).collect();
        for key in keys {
            self.enqueue(index, key, SignedDuration::ZERO);
        }
    }

    /// A process dies where it stands, and is started again after a while.
    pub(super) fn crash(&mut self, index: usize) {
        let process = &mut self.processes[index];
        if !process.running {
            return;
        }
        self.coverage.count(Kind::Crash);
        let was_leading = process.leading;
        process.running = false;
        process.leading = false;
        process.life.incarnation += 1;
        self.turns.push(Turn::Died(index));
        self.story.fault(self.now, "", "the operator dies");
        let away = SignedDuration::from_secs(self.setting.restart_seconds);
        self.after(away, Event::Boot(index));
        let heir = self.processes.iter().position(|p| p.running && !p.leading);
        let vacant = self.processes.iter().all(|p| !p.leading);
        if let (true, true, Some(heir)) = (was_leading, vacant, heir) {
            self.lead(heir);
        }
    }

    /// The lease goes to another process. The present leader notices only after a while, and
    /// what it has sent may arrive later still.
    pub(super) fn hand_over(&mut self, overlap: SignedDuration) {
        let Some(from) = self.processes.iter().position(|p| p.running && p.leading) else {
            return;
        };
        let heir = self.processes.iter().position(|p| p.running && !p.leading);
        self.story.fault(self.now, "", "the lease changes hands");
        self.after(overlap, Event::Deposed(self.processes[from].life));
        if let Some(heir) = heir {
            self.lead(heir);
        }
    }

    /// A deposed leader notices, and ends; what it has sent may still arrive.
    pub(super) fn deposed(&mut self, life: Life) {
        if self.processes[life.process].life == life {
            self.crash(life.process);
        }
    }

    /// A process's clock jumps; it notices.
    pub(super) fn jump_clock(&mut self, index: usize, by: SignedDuration) {
        let now = self.now;
        let process = &mut self.processes[index];
        process.skew += by;
        process.trusted_since = now.saturating_add(process.skew).unwrap_or(now);
    }

    /// Time as a process's clock shows it.
    #[must_use]
    pub fn clock(&self, index: usize) -> Timestamp {
        let skew = self
            .processes
            .get(index)
            .map_or(SignedDuration::ZERO, |p| p.skew);
        self.now.saturating_add(skew).unwrap_or(self.now)
    }

    fn wake(&mut self, life: Life, keys: BTreeSet<Key>) {
        for key in keys {
            let debounce = self.draw(self.setting.timing.debounce);
            self.enqueue(life.process, key, debounce);
        }
    }

    /// A pass falls due; at the earlier moment if one was planned already.
    pub(super) fn enqueue(&mut self, index: usize, key: Key, delay: SignedDuration) {
        let at = self.now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        let process = &mut self.processes[index];
        if !process.running || !process.leading {
            return;
        }
        if process.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        process.due.insert(key.clone(), at);
        let life = process.life;
        self.at(at, Event::Start(life, key));
    }

    /// A pass begins, if it is still due and none is under way for the same object.
    pub(super) fn start_pass(&mut self, life: Life, key: Key) {
        let now = self.now;
        let process = &mut self.processes[life.process];
        if process.life != life || !process.leading || process.busy.contains(&key) {
            return;
        }
        if process.due.get(&key).is_none_or(|due| *due > now) {
            return;
        }
        process.due.remove(&key);
        process.busy.insert(key.clone());
        let second = now.as_second();
        let count = self.ledger.passes.entry((life, key.clone())).or_default();
        *count = if count.0 == second {
            (second, count.1 + 1)
        } else {
            (second, 1)
        };
        self.turns.push(Turn::Start(life, key));
    }

    /// What this process remembers of an object, for the pass that begins.
    pub(super) fn take_memory(&mut self, life: Life, key: &Key) -> Memory {
        let process = &mut self.processes[life.process];
        process.memories.remove(key).unwrap_or_default()
    }

    /// A pass begins: it has one time, that of its beginning.
    pub(super) fn begins(&mut self, life: Life, key: &Key) -> Trust {
        let (began, clock) = (self.now, self.clock(life.process));
        let process = &mut self.processes[life.process];
        let trust = Trust {
            began,
            clock,
            since: process.trusted_since,
            answered: process.answered.get(key.name()).copied(),
        };
        process.trust.insert(key.clone(), trust);
        trust
    }

    /// A pass has ended.
    pub fn finished(&mut self, life: Life, key: &Key, memory: Memory, ran: Ran) {
        if self.processes[life.process].life != life {
            return;
        }
        self.tell_pass(key, &ran);
        let process = &mut self.processes[life.process];
        process.busy.remove(key);
        process.memories.insert(key.clone(), memory);
        let missed = process.due.get(key).copied();
        if let Some(at) = missed {
            self.at(at, Event::Start(life, key.clone()));
        }
        // A pass that was stopped half-way may not have come to what is measured.
        if let Key::Rollout { name, .. } = key
            && (ran.error.is_none() || ran.measure.is_some())
        {
            self.measure(life, name, ran.measure);
        }
        if ran.error.is_some() {
            let delay = self.backoff(life, key, ran.error.as_ref());
            self.enqueue(life.process, key.clone(), delay);
            return;
        }
        let process = &mut self.processes[life.process];
        process.failures.remove(key);
        if let Some(at) = ran.wake_at {
            let skew = process.skew;
            let delay = at
                .saturating_sub(skew)
                .unwrap_or(at)
                .duration_since(self.now);
            let delay = delay.max(SignedDuration::from_millis(10));
            self.enqueue(life.process, key.clone(), delay);
        }
    }

    fn backoff(&mut self, life: Life, key: &Key, error: Option<&Stopped>) -> SignedDuration {
        let process = &mut self.processes[life.process];
        let failures = process.failures.entry(key.clone()).or_default();
        let base = match error {
            Some(Stopped::Write(WriteError::Conflict { .. } | WriteError::Exists { .. })) => 50,
            Some(Stopped::Unfinished) => 10,
            _ => 500,
        };
        let wait = base << (*failures).min(6);
        *failures += 1;
        SignedDuration::from_millis(wait)
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
