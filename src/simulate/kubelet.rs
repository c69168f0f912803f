//! Scheduler and kubelets: from a pod's birth to its end, and the endpoints of Services.

use jiff::{SignedDuration, Timestamp};

use super::{
    event::{Occurrence, PodStep},
    ledger::Happened,
    object::{Name, Object, PodObject},
    setting::Health,
    story::Pods,
    world::World,
};

/// The longest wait between two starts of a container that keeps exiting.
const LONGEST_BACKOFF: i64 = 300;

/// Seconds between two attempts to attach a disk.
const ATTACHES_EVERY: i64 = 2;

/// Seconds that a pod is given to end, if it needs no more.
const GRACE: i64 = 30;

impl World {
    /// The next step with a pod; what was planned before is overtaken.
    pub(super) fn plan_step(&mut self, pod: &Name, step: PodStep, delay: SignedDuration) {
        if let Some(container) = self.containers.get_mut(pod) {
            container.turn += 1;
            let (pod, turn) = (pod.clone(), container.turn);
            self.after(delay, Occurrence::Kubelet { pod, step, turn });
        }
    }

    pub(super) fn kubelet(&mut self, name: &Name, step: PodStep, turn: u32) {
        let (Some(pod), Some(container)) = (self.live.pods.get(name), self.containers.get(name))
        else {
            return;
        };
        if container.turn != turn {
            return;
        }
        let pod = (**pod).clone();
        match step {
            PodStep::Schedule => self.schedule(pod),
            PodStep::Start => self.start(pod),
            PodStep::Ready => {
                self.traffic.ready(name, self.now);
                let next = PodObject {
                    ready_since: Some(whole_seconds(self.now)),
                    lost: None,
                    silent: None,
                    ..pod
                };
                let image = self.image(name);
                if let Health::Crashes { after } = self.setting.behaviour(&image).health {
                    let left = (after - self.setting.behaviour(&image).start_seconds).max(0);
                    self.plan_step(name, PodStep::Exit, SignedDuration::from_secs(left));
                }
                if let Health::Flaps { ready, .. } = self.setting.behaviour(&image).health {
                    self.plan_step(name, PodStep::Unready, SignedDuration::from_secs(ready));
                }
                let next = self.store(next);
                self.pod_writes(&next);
            }
            PodStep::Unready => self.stops_being_ready(pod),
            PodStep::Exit => self.exit(pod),
            PodStep::Gone => {
                self.traffic.stopped(name, self.now);
                self.pod_writes(&pod);
                self.containers.remove(name);
                self.erase(&Object::Pod(pod.into()));
            }
        }
    }

    fn image(&self, pod: &str) -> Name {
        let container = self.containers.get(pod);
        container.map_or_else(|| Name::from(""), |c| c.image.clone())
    }

    fn schedule(&mut self, pod: PodObject) {
        let placed = self.containers.values().filter(|c| c.placed).count();
        let name = pod.meta.name.clone();
        if placed >= self.setting.capacity {
            let words = "0/3 nodes are available: 3 Insufficient cpu.";
            self.store(PodObject {
                unschedulable: Some(words.into()),
                ..pod
            });
            return;
        }
        let behaviour = self.setting.behaviour(&self.image(&name));
        if let Some(container) = self.containers.get_mut(&name) {
            container.placed = true;
        }
        self.store(PodObject {
            unschedulable: None,
            placed: Some(whole_seconds(self.now)),
            ..pod
        });
        let pull = SignedDuration::from_secs(behaviour.pull_seconds);
        self.plan_step(&name, PodStep::Start, pull);
    }

    fn start(&mut self, pod: PodObject) {
        let name = pod.meta.name.clone();
        let behaviour = self.setting.behaviour(&self.image(&name));
        if self.setting.disk_of_one_node && self.is_attached_elsewhere(&pod) {
            let again = SignedDuration::from_secs(ATTACHES_EVERY);
            self.plan_step(&name, PodStep::Start, again);
            let waiting = Some(("ContainerCreating".into(), String::new()));
            if pod.waiting != waiting {
                self.store(PodObject { waiting, ..pod });
            }
            return;
        }
        if behaviour.health == Health::NoImage {
            let waiting = ("ImagePullBackOff", "Back-off pulling image: not found");
            self.store(PodObject {
                waiting: Some((waiting.0.into(), waiting.1.into())),
                ..pod
            });
            return;
        }
        self.traffic
            .started(&name, &pod.rollout, &pod.revision, &behaviour, self.now);
        self.flags_are_read(&pod.rollout);
        let start = behaviour.start_seconds;
        match behaviour.health {
            Health::Crashes { after } if after <= start => {
                self.plan_step(&name, PodStep::Exit, SignedDuration::from_secs(after));
            }
            Health::NeverReady | Health::NoImage => {}
            Health::Good | Health::Crashes { .. } | Health::Flaps { .. } => {
                self.plan_step(&name, PodStep::Ready, SignedDuration::from_secs(start));
            }
        }
        self.store(PodObject {
            waiting: None,
            ..pod
        });
    }

    /// A pod of another revision has the disk still.
    fn is_attached_elsewhere(&self, pod: &PodObject) -> bool {
        let mut pods = self.live.pods.values();
        pods.any(|other| {
            let placed = self
                .containers
                .get(&other.meta.name)
                .is_some_and(|c| c.placed);
            placed && other.rollout == pod.rollout && other.revision != pod.revision
        })
    }

    /// Its probe fails, and its container runs on.
    fn stops_being_ready(&mut self, pod: PodObject) {
        self.pod_writes(&pod);
        let name = pod.meta.name.clone();
        self.ledger.harmed.insert(pod.rollout.clone());
        if let Health::Flaps { unready, .. } = self.setting.behaviour(&self.image(&name)).health {
            self.plan_step(&name, PodStep::Ready, SignedDuration::from_secs(unready));
        }
        self.store(PodObject {
            ready_since: None,
            lost: Some(whole_seconds(self.now)),
            silent: None,
            ..pod
        });
    }

    /// A container exits: it is not ready, and started again, at once the first time, then after a
    /// while.
    fn exit(&mut self, pod: PodObject) {
        self.pod_writes(&pod);
        let name = pod.meta.name.clone();
        self.ledger.harmed.insert(pod.rollout.clone());
        self.traffic.stopped(&name, self.now);
        let Some(container) = self.containers.get_mut(&name) else {
            return;
        };
        let wait = match container.exits {
            0 => 0,
            exits => (10_i64 << (exits - 1).min(5)).min(LONGEST_BACKOFF),
        };
        container.exits += 1;
        self.plan_step(&name, PodStep::Start, SignedDuration::from_secs(wait));
        let words = format!("back-off {wait}s restarting failed container");
        self.store(PodObject {
            ready_since: None,
            lost: None,
            silent: None,
            restarts: pod.restarts + 1,
            ended: Some(whole_seconds(self.now)),
            waiting: (wait > 0).then(|| ("CrashLoopBackOff".into(), words)),
            ..pod
        });
    }

    /// A container is killed from outside, once.
    pub(super) fn kill_container(&mut self, name: &str) {
        if let Some(pod) = self.live.pods.get(name).cloned()
            && !pod.meta.deleting
            && self.containers.get(name).is_some_and(|c| c.placed)
        {
            self.exit((*pod).clone());
        }
    }

    /// A pod is asked to end, and gets its time.
    pub(super) fn delete_pod(&mut self, name: &str) {
        let Some(pod) = self.live.pods.get(name).cloned() else {
            return;
        };
        if pod.meta.deleting {
            return;
        }
        let name = pod.meta.name.clone();
        let stop = self.setting.behaviour(&self.image(&name)).stop_seconds;
        let placed = self.containers.get(&name).is_some_and(|c| c.placed);
        let stop = if placed { stop } else { 0 };
        self.plan_step(&name, PodStep::Gone, SignedDuration::from_secs(stop));
        let mut next = (*pod).clone();
        next.meta.deleting = true;
        let grace = SignedDuration::from_secs(stop.max(GRACE));
        next.ends_by = self.now.checked_add(grace).ok().map(whole_seconds);
        self.store(next);
        if pod.ready_since.is_some() {
            let rollout = pod.rollout.clone();
            let serving = |p: &&std::sync::Arc<PodObject>| {
                p.rollout == rollout && p.ready_since.is_some() && !p.meta.deleting
            };
            let ready = self.live.pods.values().filter(serving).count();
            let ready = i32::try_from(ready).unwrap_or(i32::MAX);
            let revision = pod.revision.clone();
            self.happened.push(Happened::PodTaken {
                rollout,
                revision,
                ready,
            });
        }
    }

    /// The node says nothing, or is back: its pods run all the time, and count as ready only when it
    /// says so. Where it finds those that ended meanwhile is a step of its own.
    pub(super) fn node_is_silent(&mut self, silent: bool) {
        if self.silenced.is_some() == silent {
            return;
        }
        let words = if silent {
            "stops reporting"
        } else {
            "reports again"
        };
        self.struck("", &format!("the node {words}"));
        for event in self.silenced.take().into_iter().flatten() {
            self.after(SignedDuration::ZERO, event);
        }
        self.silenced = silent.then(Vec::new);
        let now = Some(whole_seconds(self.now));
        let pods: Vec<_> = self.live.pods.values().cloned().collect();
        for pod in pods.iter().filter(|pod| !pod.meta.deleting) {
            let next = match (silent, pod.ready_since, pod.silent) {
                (true, Some(_), _) => PodObject {
                    ready_since: None,
                    silent: now,
                    ..(**pod).clone()
                },
                (false, None, Some(_)) => PodObject {
                    ready_since: now,
                    silent: None,
                    ..(**pod).clone()
                },
                _ => continue,
            };
            self.ledger.harmed.insert(pod.rollout.clone());
            self.store(next);
        }
    }

    /// A pod is gone at once, as when its node dies.
    pub(super) fn lose_pod(&mut self, name: &str) {
        if let Some(pod) = self.live.pods.get(name).cloned() {
            self.traffic.stopped(name, self.now);
            self.pod_writes(&pod);
            self.containers.remove(name);
            self.erase(&Object::Pod(pod));
        }
    }

    pub(super) fn sync_scheduler(&mut self) {
        let waiting = self
            .live
            .pods
            .values()
            .filter(|p| p.unschedulable.is_some());
        let waiting: Vec<Name> = waiting.map(|p| p.meta.name.clone()).collect();
        for pod in waiting {
            self.plan_step(&pod, PodStep::Schedule, SignedDuration::ZERO);
        }
    }

    pub(super) fn sync_endpoints(&mut self, rollout: &str) {
        let mut ready: Vec<Name> = self.ready_of(rollout, None);
        let mut weighed: Vec<Name> = Vec::new();
        let services: Vec<_> = self.live.services_of(rollout).cloned().collect();
        for service in services {
            let selected = self.ready_of(rollout, service.revision());
            let name = &service.meta.name;
            if let Some(revision) = service.revision().filter(|r| !self.leads_to(name, r)) {
                self.happened.push(Happened::Led {
                    rollout: rollout.into(),
                    revision: revision.into(),
                    service: name.clone(),
                    before: self.endpoints_ready(name),
                });
            }
            let endpoints = selected.iter().cloned().collect();
            self.endpoints.insert(name.clone(), endpoints);
            match self.users_address(rollout, &service.meta.name) {
                true => ready = selected,
                false => weighed = selected,
            }
        }
        let rate = self.setting.requests_per_second;
        let share = self.routed(rollout).map_or(0, |route| route.share);
        let canary = rate * f64::from(share) / 100.0;
        let streams = [(&*ready, rate - canary), (&*weighed, canary)];
        self.traffic.spread(rollout, &streams, self.now);
        self.tell_pods(rollout);
    }

    /// Pods of a Rollout that are ready, or those of one revision.
    fn ready_of(&self, rollout: &str, revision: Option<&str>) -> Vec<Name> {
        let pods = self.live.pods.values();
        let ready = pods.filter(|p| {
            &*p.rollout == rollout
                && p.ready_since.is_some()
                && !p.meta.deleting
                && revision.is_none_or(|revision| &*p.revision == revision)
        });
        ready.map(|p| p.meta.name.clone()).collect()
    }

    /// Whether endpoints of a Service, as they are until they follow it, are pods of a revision.
    pub(super) fn leads_to(&self, service: &str, revision: &str) -> bool {
        let mut endpoints = self.endpoints.get(service).into_iter().flatten();
        endpoints.any(|pod| {
            let pod = self.live.pods.get(pod);
            pod.is_some_and(|pod| &*pod.revision == revision)
        })
    }

    /// Endpoints of a Service, as they are until they follow it, that are ready pods.
    pub(super) fn endpoints_ready(&self, service: &str) -> usize {
        let endpoints = self.endpoints.get(service).into_iter().flatten();
        let pods = endpoints.filter_map(|pod| self.live.pods.get(pod));
        let ready = pods.filter(|p| p.ready_since.is_some() && !p.meta.deleting);
        ready.count()
    }

    /// Whether this is the Service that users of a Rollout address.
    pub(super) fn users_address(&self, rollout: &str, service: &str) -> bool {
        let spec = self.live.rollouts.get(rollout).map(|r| r.spec.as_ref());
        let traffic = spec.and_then(|spec| spec.ok()?.traffic.as_ref());
        traffic.is_some_and(|traffic| traffic.stable_service == service)
    }

    fn tell_pods(&mut self, rollout: &str) {
        let mut counts = Vec::new();
        for child in self.live.children(rollout) {
            let pods: Vec<_> = self.live.pods_of(&child.meta.name).collect();
            let ready = pods.iter().filter(|p| p.ready_since.is_some()).count();
            if !pods.is_empty() || child.replicas > 0 {
                counts.push(Pods {
                    image: child.image.clone(),
                    ready,
                    asked: child.replicas,
                });
            }
        }
        self.story.pods(self.now, rollout, counts);
    }
}

/// In Kubernetes' objects times are whole seconds.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
