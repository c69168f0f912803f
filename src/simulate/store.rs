//! What the API server keeps: whoever changes it, controllers see it and every watch is told.

use std::sync::Arc;

use super::{
    event::{Occurrence, Sync},
    object::{Name, Notice, Object, Stored},
    world::World,
};

impl World {
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
                self.code.remove(&pod.meta.name);
                self.sync(Sync::Replicas(pod.deployment.clone()));
                self.sync(Sync::Endpoints(pod.rollout.clone()));
                self.sync(Sync::Scheduler);
            }
            Object::Deployment(deployment) => {
                self.replica_sets.remove(&deployment.meta.uid);
            }
            Object::Service(service) => {
                self.endpoints.remove(&service.meta.name);
                if let Some(rollout) = &service.rollout {
                    self.sync(Sync::Endpoints(rollout.clone()));
                }
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
            Object::Service(service) => {
                if let Some(rollout) = &service.rollout {
                    self.sync(Sync::Endpoints(rollout.clone()));
                }
            }
            Object::ConfigMap(map) => self.flags_travel(map),
            Object::Job(job) if !job.suspended && job.ended.is_none() => {
                self.sync(Sync::Job(job.meta.name.clone()));
            }
            _ => {}
        }
    }

    /// Whether there is an owner of this uid, and it stays.
    pub(super) fn stands(&self, uid: &Name) -> bool {
        let mut owners = self.owners();
        owners.any(|o| o.meta().uid == *uid && !o.meta().deleting)
    }

    /// What may own something.
    pub(super) fn owners(&self) -> impl Iterator<Item = Object> {
        let live = &self.live;
        let rollouts = live.rollouts.values().cloned().map(Object::Rollout);
        let revisions = live.revisions.values().cloned().map(Object::Revision);
        let deployments = live.deployments.values().cloned().map(Object::Deployment);
        let databases = live.databases.values().cloned().map(Object::Database);
        rollouts
            .chain(revisions)
            .chain(deployments)
            .chain(databases)
    }

    /// Every cache hears of a change, each in its own time, in order.
    fn tell_caches(&mut self, object: &Object, gone: bool) {
        if let Some(notices) = &mut self.notices {
            let object = object.clone();
            notices.push(Notice { object, gone });
        }
        let kind = object.watched();
        for index in 0..self.processes.len() {
            if !self.processes[index].running {
                continue;
            }
            let lag = self.draw(self.setting.timing.caches);
            let mut due = self.now.saturating_add(lag).unwrap_or(self.now);
            let process = &mut self.processes[index];
            let life = process.life;
            if let Some(until) = process.blocked.get(&kind) {
                due = due.max(*until);
            }
            let queue = process.queues.entry(kind).or_default();
            if let Some((last, ..)) = queue.back() {
                due = due.max(*last);
            }
            queue.push_back((due, object.clone(), gone));
            if queue.len() == 1 {
                self.at(due, Occurrence::Deliver(life, kind));
            }
        }
    }
}
