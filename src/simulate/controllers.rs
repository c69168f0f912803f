//! The controllers of kube-controller-manager: Deployments, ReplicaSets, garbage.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    action::Action,
    event::{Occurrence, PodStep, Sync},
    ledger::Happened,
    object::{Container, DeploymentObject, Name, Object, PodObject, Watched},
    world::World,
};
use crate::plan::replicas::{self, Round};

impl World {
    /// How many pods a Deployment, by uid, has ever had.
    #[must_use]
    pub fn pods_made(&self, deployment: &str) -> usize {
        let set = self.replica_sets.get(deployment);
        set.map_or(0, |set| set.made as usize)
    }

    /// Hands the size down and the ReplicaSet's last report up: a fresh `observedGeneration` may
    /// stand beside counts from before.
    pub(super) fn sync_deployment(&mut self, name: &str) {
        let Some(deployment) = self.live.deployments.get(name).cloned() else {
            return;
        };
        let uid = deployment.meta.uid.clone();
        let set = self.replica_sets.entry(uid).or_default();
        set.desired = deployment.replicas;
        let next = DeploymentObject {
            observed: deployment.meta.generation,
            status_replicas: set.replicas,
            available: set.available,
            problem: set.problem.clone(),
            ..(*deployment).clone()
        };
        self.store(next);
        self.sync(Sync::Replicas(name.into()));
    }

    /// Reports the pods there were, then makes or deletes some.
    pub(super) fn sync_replicas(&mut self, name: &str) {
        let Some(deployment) = self.live.deployments.get(name).cloned() else {
            return;
        };
        let pods: Vec<_> = self.live.pods_of(name).cloned().collect();
        let ready = pods.iter().filter(|p| p.ready_since.is_some()).count();
        let all: usize = self.live.pods.len();
        let quota = self.setting.quota;
        let set = self.replica_sets.get(&deployment.meta.uid);
        let desired = set.map_or(0, |set| usize::try_from(set.desired).unwrap_or(0));
        let (missing, surplus) = match deployment.meta.deleting {
            // Nothing is made or taken any more; its pods go with it.
            true => (0, Vec::new()),
            false => self.wanting(&deployment, &pods, desired),
        };
        let room = quota.saturating_sub(all).min(missing);
        let problem = (room < missing).then(|| {
            format!(
                "pods \"{name}\" is forbidden: exceeded quota: pods, used: {all}, limited: {quota}"
            )
        });
        let report = (
            i32::try_from(pods.len()).unwrap_or(i32::MAX),
            i32::try_from(ready).unwrap_or(i32::MAX),
            problem,
        );
        let set = self
            .replica_sets
            .entry(deployment.meta.uid.clone())
            .or_default();
        let news = (set.replicas, set.available, &set.problem) != (report.0, report.1, &report.2);
        (set.replicas, set.available, set.problem) = report;
        if news {
            self.sync(Sync::Deployment(name.into()));
        }
        for _ in 0..room {
            self.make_pod(&deployment);
        }
        for pod in surplus {
            self.delete_pod(&pod);
        }
        if room < missing {
            // The real one comes back with backoff, and when pods go away.
            self.after(
                jiff::SignedDuration::from_secs(10),
                Occurrence::Sync(Sync::Replicas(name.into())),
            );
        }
        if !deployment.meta.deleting {
            self.replace_outdated(&deployment, &pods);
        }
    }

    fn make_pod(&mut self, deployment: &DeploymentObject) {
        let uid = deployment.meta.uid.clone();
        let set = self.replica_sets.entry(uid.clone()).or_default();
        set.made += 1;
        let name = format!("{}-{:03}", deployment.meta.name, set.made);
        let pod = PodObject {
            meta: self.meta(&name, Some(uid)),
            rollout: deployment.rollout.clone(),
            revision: deployment.revision.clone(),
            deployment: deployment.meta.name.clone(),
            placed: None,
            lost: None,
            silent: None,
            ready_since: None,
            restarts: 0,
            ended: None,
            waiting: None,
            unschedulable: None,
            ends_by: None,
        };
        let container = Container::new(deployment.image.clone(), deployment.restarts);
        if let Some(code) = self.code_of(&pod.rollout, &pod.revision) {
            self.code.insert(pod.meta.name.clone(), code);
        }
        let pod = self.store(pod);
        self.containers.insert(pod.meta.name.clone(), container);
        let behaviour = self.setting.behaviour(&deployment.image);
        self.coverage.pods_behave(&behaviour);
        self.happened.push(Happened::PodMade {
            pod: pod.meta.name.clone(),
            deployment: pod.deployment.clone(),
        });
        let delay = self.draw(self.setting.timing.controllers);
        self.plan_step(&pod.meta.name, PodStep::Schedule, delay);
    }

    /// How many pods are to be made, and which are to go. Pods of before a restart are replaced
    /// within the Deployment's own bounds.
    fn wanting(
        &self,
        deployment: &DeploymentObject,
        pods: &[Arc<PodObject>],
        desired: usize,
    ) -> (usize, Vec<Name>) {
        let is_old = |pod: &Arc<PodObject>| {
            let container = self.containers.get(&pod.meta.name);
            container.is_some_and(|c| c.restarts != deployment.restarts)
        };
        let (old, new): (Vec<_>, Vec<_>) = pods.iter().cloned().partition(is_old);
        if old.is_empty() {
            let missing = desired.saturating_sub(pods.len());
            return (missing, self.surplus(pods, desired));
        }
        let total = i32::try_from(desired).unwrap_or(i32::MAX);
        let share = |bound, round| usize::try_from(replicas::pods(bound, total, round));
        let surge = share(&deployment.bounds[0], Round::Up).unwrap_or(0);
        let unavailable = share(&deployment.bounds[1], Round::Down).unwrap_or(0);
        // As Kubernetes does where both are rounded to 0.
        let unavailable = unavailable.max(usize::from(surge == 0));
        let room = (desired + surge).saturating_sub(pods.len());
        let missing = desired.saturating_sub(new.len()).min(room);
        let ready = |pods: &[Arc<PodObject>]| {
            let ready = pods.iter().filter(|p| p.ready_since.is_some());
            ready.count()
        };
        let spare = ready(pods).saturating_sub(desired.saturating_sub(unavailable));
        let mut going = self.surplus(&old, ready(&old).saturating_sub(spare));
        going.extend(self.surplus(&new, desired));
        (missing, going)
    }

    /// A template edited by hand: its pods are replaced one by one.
    fn replace_outdated(&mut self, deployment: &DeploymentObject, pods: &[Arc<PodObject>]) {
        let outdated = |pod: &PodObject| {
            let container = self.containers.get(&pod.meta.name);
            container.is_some_and(|c| c.image != deployment.image)
        };
        let whole = usize::try_from(deployment.replicas).is_ok_and(|n| pods.len() == n)
            && pods.iter().all(|p| p.ready_since.is_some());
        let Some(pod) = pods.iter().find(|p| outdated(p)) else {
            return;
        };
        if whole || pod.ready_since.is_none() {
            let name = pod.meta.name.clone();
            self.delete_pod(&name);
        }
    }

    /// Removes what belongs to something that is gone. What is being deleted in the foreground
    /// takes its own with it first, and goes when they have gone.
    pub(super) fn collect_garbage(&mut self) {
        let gone = self.owned(|owner| owner.is_none());
        for object in gone {
            if let Object::Job(job) = &object
                && job.may_run()
                && job.test.is_none()
            {
                self.happened.push(Happened::JobCut(job.meta.name.clone()));
            }
            match object {
                Object::Pod(pod) => self.delete_pod(&pod.meta.name),
                other => self.erase(&other),
            }
        }
        let going = self.owned(|owner| {
            let kind = owner.map(Object::watched);
            let waits = matches!(kind, Some(Watched::Rollouts | Watched::Deployments));
            waits && owner.is_some_and(|o| o.meta().deleting)
        });
        for object in going {
            match object {
                Object::Pod(pod) => self.delete_pod(&pod.meta.name),
                // It has its own to take with it.
                Object::Deployment(deployment) => self.delete_after_its_pods(&deployment),
                other => self.erase(&other),
            }
        }
        let owned = self.owned(|_| true);
        let waits: BTreeSet<&Name> = owned
            .iter()
            .filter_map(|o| o.meta().owner.as_ref())
            .collect();
        let going = self.owners().filter(|o| o.meta().deleting);
        let going: Vec<Object> = going.filter(|o| !waits.contains(&o.meta().uid)).collect();
        for object in going {
            match object {
                Object::Rollout(rollout) => {
                    self.act(Action::Delete(rollout.meta.name.clone()));
                }
                Object::Deployment(_) => self.erase(&object),
                _ => {}
            }
        }
    }

    fn delete_after_its_pods(&mut self, deployment: &DeploymentObject) {
        if !deployment.meta.deleting {
            let mut next = deployment.clone();
            next.meta.deleting = true;
            next.meta.generation += 1;
            self.store(next);
            self.sync(Sync::Garbage);
        }
    }

    /// Whatever has an owner of which this is so; `None`: it is gone.
    fn owned(&self, is_so: impl Fn(Option<&Object>) -> bool) -> Vec<Object> {
        let owners: BTreeMap<Name, Object> =
            self.owners().map(|o| (o.meta().uid.clone(), o)).collect();
        let live = &self.live;
        let revisions = live.revisions.values().cloned().map(Object::Revision);
        let deployments = live.deployments.values().cloned().map(Object::Deployment);
        let jobs = live.jobs.values().cloned().map(Object::Job);
        let pods = live.pods.values().cloned().map(Object::Pod);
        let services = live.services.values().cloned().map(Object::Service);
        let config_maps = live.config_maps.values().cloned().map(Object::ConfigMap);
        revisions
            .chain(deployments)
            .chain(jobs)
            .chain(pods)
            .chain(services)
            .chain(config_maps)
            .filter(|object| {
                let owner = object.meta().owner.as_ref();
                owner.is_some_and(|owner| is_so(owners.get(owner)))
            })
            .collect()
    }

    /// Which pods go first: those that have no place, then those that are not ready, then those
    /// that have been ready for less time, by powers of two; then those that were restarted
    /// more often, then the youngest.
    fn surplus(&self, pods: &[Arc<PodObject>], desired: usize) -> Vec<Name> {
        let mut ranked: Vec<_> = pods.iter().collect();
        ranked.sort_by_key(|pod| {
            let time = |since| self.now.duration_since(since).as_nanos().max(1).ilog2();
            (
                pod.unschedulable.is_none(),
                // None, which is not ready, comes first.
                pod.ready_since.map(time),
                Reverse(pod.restarts),
                Reverse(pod.meta.created),
                pod.meta.name.clone(),
            )
        });
        let surplus = pods.len().saturating_sub(desired);
        let first = ranked.into_iter().take(surplus);
        first.map(|pod| pod.meta.name.clone()).collect()
    }
}
