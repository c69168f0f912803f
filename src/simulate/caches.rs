//! What a process's caches hear, each watch in its own time.

use std::collections::{BTreeSet, VecDeque};

use jiff::SignedDuration;

use super::{
    event::{Life, Occurrence},
    object::{Object, Objects, Watched},
    process::{database_key, rollout_key},
    world::World,
};
use crate::cluster::Key;

impl World {
    /// A watch breaks; later it is replayed from a new list.
    pub(super) fn break_watch(&mut self, index: usize, kind: Watched, seconds: i64) {
        let until = self
            .now
            .saturating_add(SignedDuration::from_secs(seconds))
            .unwrap_or(self.now);
        let process = &mut self.processes[index];
        if !process.running {
            return;
        }
        process.blocked.insert(kind, until);
        let life = process.life;
        self.at(until, Occurrence::Deliver(life, kind));
    }

    /// A cache takes in what is due.
    pub(super) fn deliver(&mut self, life: Life, kind: Watched) {
        let now = self.now;
        if self.processes.get(life.process).map(|p| p.life) != Some(life) {
            return;
        }
        if let Some(until) = self.processes[life.process].blocked.get(&kind).copied() {
            if now < until {
                self.at(until, Occurrence::Deliver(life, kind));
                return;
            }
            self.replay(life, kind);
            return;
        }
        let mut keys = BTreeSet::new();
        let process = &mut self.processes[life.process];
        let mut next = None;
        while let Some((due, ..)) = process.queues.get(&kind).and_then(VecDeque::front) {
            if *due > now {
                next = Some(*due);
                break;
            }
            let Some((_, object, gone)) =
                process.queues.get_mut(&kind).and_then(VecDeque::pop_front)
            else {
                break;
            };
            concerned(&process.caches, &object, gone, &mut keys);
            if gone {
                process.caches.remove(kind, &object.meta().name);
            } else {
                process.caches.put(object);
            }
        }
        if let Some(next) = next {
            self.at(next, Occurrence::Deliver(life, kind));
        }
        self.wake(life, keys);
    }

    fn replay(&mut self, life: Life, kind: Watched) {
        let live = self.live.clone();
        let process = &mut self.processes[life.process];
        process.blocked.remove(&kind);
        process.queues.remove(&kind);
        process.caches.relist(kind, &live);
        let rollouts = process.caches.rollouts.keys().map(|n| rollout_key(n));
        let databases = process.caches.databases.keys().map(|n| database_key(n));
        let keys = rollouts.chain(databases).collect();
        self.wake(life, keys);
    }
}

/// The keys that a change concerns.
fn concerned(caches: &Objects, object: &Object, gone: bool, keys: &mut BTreeSet<Key>) {
    match object {
        Object::Rollout(o) => {
            keys.insert(rollout_key(&o.meta.name));
            let known = caches.rollouts.get(&o.meta.name);
            let follow = caches.rollouts.values().filter(|r| {
                let spec = r.spec.as_deref().ok();
                spec.is_some_and(|spec| !spec.after.is_empty())
            });
            keys.extend(follow.map(|r| rollout_key(&r.meta.name)));
            if known.is_none_or(|k| gone || k.meta.generation != o.meta.generation) {
                // Its hold may be let go, its neighbours may have waited for it.
                keys.extend(caches.rollouts.keys().map(|n| rollout_key(n)));
                keys.extend(caches.databases.keys().map(|n| database_key(n)));
            }
        }
        Object::Revision(o) => drop(keys.insert(rollout_key(&o.rollout))),
        Object::Deployment(o) => drop(keys.insert(rollout_key(&o.rollout))),
        Object::Pod(o) => drop(keys.insert(rollout_key(&o.rollout))),
        Object::Service(o) => {
            keys.extend(o.rollout.iter().map(|rollout| rollout_key(rollout)));
            let asks = caches.rollouts.values().filter(|r| {
                let spec = r.spec.as_deref().ok();
                spec.is_some_and(|spec| spec.traffic.is_some())
            });
            keys.extend(asks.map(|r| rollout_key(&r.meta.name)));
        }
        Object::ConfigMap(_) => {}
        Object::Job(o) => {
            keys.insert(rollout_key(&o.rollout));
            if o.test.is_none() {
                keys.insert(database_key(&o.database));
            }
        }
        Object::Database(o) => {
            keys.insert(database_key(&o.meta.name));
            let users = caches.rollouts.values().filter(|r| {
                let spec = r.spec.as_deref().ok();
                spec.and_then(|spec| spec.database()) == Some(&*o.meta.name)
            });
            keys.extend(users.map(|r| rollout_key(&r.meta.name)));
            let versions = o.record.versions.iter();
            let frozen = versions.filter(|v| !v.frozen_flags.is_empty());
            keys.extend(frozen.map(|v| rollout_key(&v.rollout)));
        }
    }
}
