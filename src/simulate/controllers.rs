//! The controllers of kube-controller-manager: Deployments, ReplicaSets, garbage.

use std::collections::BTreeSet;

use super::{
    event::{Event, Step, Sync},
    kubelet::Container,
    object::{DeploymentObject, Name, Object, PodObject, Stored},
    rules::Happened,
    world::World,
};

/// The ReplicaSet behind a Deployment: it learns of a new size, and reports, on its own time.
#[derive(Clone, Debug, Default)]
pub struct ReplicaSet {
    desired: i32,
    replicas: i32,
    available: i32,
    problem: Option<String>,
    made: u32,
}

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
        let set = self
            .replica_sets
            .entry(deployment.meta.uid.clone())
            .or_default();
        let desired = usize::try_from(set.desired).unwrap_or(0);
        let missing = desired.saturating_sub(pods.len());
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
        let news = (set.replicas, set.available, &set.problem) != (report.0, report.1, &report.2);
        (set.replicas, set.available, set.problem) = report;
        if news {
            self.sync(Sync::Deployment(name.into()));
        }
        for _ in 0..room {
            self.make_pod(&deployment);
        }
        for pod in surplus(&pods, desired) {
            self.delete_pod(&pod);
        }
        if room < missing {
            // The real one comes back with backoff, and when pods go away.
            self.after(
                jiff::SignedDuration::from_secs(10),
                Event::Sync(Sync::Replicas(name.into())),
            );
        }
        self.replace_outdated(&deployment, &pods);
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
            ready_since: None,
            restarts: 0,
            ended: None,
            waiting: None,
            unschedulable: None,
        };
        let container = Container::new(deployment.image.clone());
        let pod = self.store(pod);
        self.containers.insert(pod.meta.name.clone(), container);
        let behaviour = self.setting.behaviour(&deployment.image);
        self.coverage.pods_behave(&behaviour);
        self.happened.push(Happened::PodMade {
            rollout: pod.rollout.clone(),
            revision: pod.revision.clone(),
            deployment: pod.deployment.clone(),
        });
        let delay = self.draw(self.setting.timing.controllers);
        self.plan_step(&pod.meta.name, Step::Schedule, delay);
    }

    /// A template edited by hand: its pods are replaced one by one.
    fn replace_outdated(
        &mut self,
        deployment: &DeploymentObject,
        pods: &[std::sync::Arc<PodObject>],
    ) {
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

    /// Removes what belongs to something that is gone, in the background.
    pub(super) fn collect_garbage(&mut self) {
        let uids: BTreeSet<&Name> = owners(&self.live.rollouts)
            .chain(owners(&self.live.revisions))
            .chain(owners(&self.live.deployments))
            .chain(owners(&self.live.databases))
            .collect();
        let orphaned = |object: &Object| {
            let owner = object.meta().owner.as_ref();
            owner.is_some_and(|owner| !uids.contains(owner))
        };
        let revisions = self.live.revisions.values().cloned().map(Object::Revision);
        let deployments = self.live.deployments.values().cloned();
        let jobs = self.live.jobs.values().cloned().map(Object::Job);
        let pods = self.live.pods.values().cloned().map(Object::Pod);
        let doomed: Vec<Object> = revisions
            .chain(deployments.map(Object::Deployment))
            .chain(jobs)
            .chain(pods)
            .filter(orphaned)
            .collect();
        for object in doomed {
            match object {
                Object::Pod(pod) => self.delete_pod(&pod.meta.name),
                other => self.erase(&other),
            }
        }
    }
}

fn owners<T: Stored>(
    table: &std::collections::BTreeMap<Name, std::sync::Arc<T>>,
) -> impl Iterator<Item = &Name> {
    table.values().map(|object| &object.meta().uid)
}

/// Which pods go first: those that are not ready, then the youngest.
fn surplus(pods: &[std::sync::Arc<PodObject>], desired: usize) -> Vec<Name> {
    let mut ranked: Vec<_> = pods.iter().collect();
    ranked.sort_by_key(|pod| {
        let young = std::cmp::Reverse(pod.meta.created);
        (pod.ready_since.is_some(), young, pod.meta.name.clone())
    });
    let surplus = pods.len().saturating_sub(desired);
    ranked
        .into_iter()
        .take(surplus)
        .map(|pod| pod.meta.name.clone())
        .collect()
}
