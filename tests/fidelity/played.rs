//! Scheduler and kubelets beside the real controllers, played by hand: there is a node in the API
//! and nobody on it.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{ContainerState, Node, Pod, ResourceQuota},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    fixture::{Home, eventually},
    side::Deed,
};

/// A node that says nothing for 40 s is taken for dead, and its pods for not ready.
const HEARTBEAT: Duration = Duration::from_secs(5);

pub struct Played {
    client: Client,
    namespace: String,
    pods: Api<Pod>,
    /// How many pods the node has room for.
    room: usize,
    heartbeat: Instant,
}

impl Played {
    /// With a node of this namespace alone.
    pub async fn new(home: &Home) -> Self {
        let played = Self {
            client: home.client.clone(),
            namespace: home.namespace.clone(),
            pods: Api::namespaced(home.client.clone(), &home.namespace),
            room: usize::MAX,
            heartbeat: Instant::now(),
        };
        let node = serde_json::from_value(json!({"metadata": {"name": home.namespace}}));
        let node = node.expect("a Node");
        let (nodes, params) = (played.nodes(), PostParams::default());
        nodes.create(&params, &node).await.expect("a Node");
        played.is_alive().await;
        // Admission wants it in every namespace with pods; a controller makes it.
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(home.client.clone(), &home.namespace);
        eventually("the default ServiceAccount", async || {
            accounts.get_opt("default").await.expect("an answer")
        })
        .await;
        played
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    async fn is_alive(&self) {
        let now = Time(Timestamp::now());
        let ready = json!([{"type": "Ready", "status": "True", "reason": "Played",
                            "lastHeartbeatTime": now, "lastTransitionTime": now}]);
        let patch = json!({"status": {"conditions": ready}});
        let params = PatchParams::default();
        let (nodes, patch) = (self.nodes(), Patch::Merge(patch));
        let said = nodes.patch_status(&self.namespace, &params, &patch).await;
        said.expect("the Node's status");
    }

    async fn list(&self, of: &str) -> Vec<Pod> {
        let list = self.pods.list(&ListParams::default().labels(of)).await;
        let mut list = list.expect("pods").items;
        list.sort_by_key(|p| {
            (
                p.metadata.creation_timestamp.clone().map(|t| t.0),
                p.name_any(),
            )
        });
        list
    }

    /// One round of the scheduler.
    pub async fn schedule(&mut self) {
        if self.heartbeat.elapsed() > HEARTBEAT {
            self.heartbeat = Instant::now();
            self.is_alive().await;
        }
        let pods = self.list("").await;
        let placed = |p: &&Pod| p.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        let mut taken = pods.iter().filter(placed).count();
        for pod in pods
            .iter()
            .filter(|p| !placed(p) && p.metadata.deletion_timestamp.is_none())
        {
            let name = pod.name_any();
            if taken < self.room {
                taken += 1;
                self.bind(&name).await;
            } else if condition(pod, "PodScheduled").is_none() {
                let no = json!({"type": "PodScheduled", "status": "False",
                                "reason": "Unschedulable", "message": "no room",
                                "lastTransitionTime": Time(Timestamp::now())});
                self.report(&name, json!({"conditions": [no]})).await;
            }
        }
    }

    async fn bind(&self, pod: &str) {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.namespace},
        });
        let params = PostParams::default();
        let done: Result<Value, _> = self
            .pods
            .create_subresource("binding", pod, &params, &binding)
            .await;
        unless_gone(done);
    }

    /// A pod's status, with what is said here replaced.
    async fn report(&self, pod: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        unless_gone(
            self.pods
                .patch_status(pod, &PatchParams::default(), &patch)
                .await,
        );
    }

    /// What its kubelet says of a pod.
    async fn says(&self, name: &str, phase: &str, ready: bool, state: Value) {
        let (restarts, last) = self.past(name).await;
        let container = json!({"restartCount": restarts, "state": state, "lastState": last});
        self.tells(name, phase, ready, container).await;
    }

    /// Restarts of a pod's container, and how it ended the last time.
    async fn past(&self, pod: &str) -> (i32, ContainerState) {
        let pod = self.pods.get(pod).await.expect("the pod");
        let containers = pod.status.and_then(|s| s.container_statuses);
        let container = containers.unwrap_or_default().into_iter().next();
        container.map_or_else(Default::default, |c| {
            (c.restart_count, c.last_state.unwrap_or_default())
        })
    }

    /// A container exits: it is started again at once, the first time, and then after a while.
    async fn crashes(&self, pod: &str, runs: Value) {
        let (before, _) = self.past(pod).await;
        let now = Time(Timestamp::now());
        let state = if before == 0 {
            runs
        } else {
            json!({"waiting": {"reason": "CrashLoopBackOff"}})
        };
        let ended = json!({"exitCode": 1, "startedAt": now, "finishedAt": now});
        let container = json!({"restartCount": before + 1, "state": state,
                               "lastState": {"terminated": ended}});
        self.tells(pod, "Running", false, container).await;
    }

    async fn tells(&self, name: &str, phase: &str, ready: bool, mut container: Value) {
        let named = json!({"name": "app", "image": "app", "imageID": "", "ready": ready});
        if let (Some(all), Value::Object(named)) = (container.as_object_mut(), named) {
            all.extend(named);
        }
        let now = Time(Timestamp::now());
        let is = |yes| if yes { "True" } else { "False" };
        let condition =
            |kind: &str, yes| json!({"type": kind, "status": is(yes), "lastTransitionTime": now});
        let status = json!({
            "phase": phase,
            "startTime": now,
            "conditions": [condition("PodScheduled", true), condition("ContainersReady", ready),
                           condition("Ready", ready)],
            "containerStatuses": [container],
        });
        self.report(name, status).await;
    }

    async fn delete(&self, pod: &str, params: &DeleteParams) {
        self.pods.delete(pod, params).await.expect("deleted");
    }

    /// Plays everything that is no write.
    pub async fn happens(&mut self, deed: &Deed) {
        let now = Time(Timestamp::now());
        let runs = json!({"running": {"startedAt": now}});
        match deed {
            Deed::Ready(pod) => self.says(pod, "Running", true, runs).await,
            Deed::Crash(pod) => self.crashes(pod, runs).await,
            Deed::DeletePod(pod) => self.delete(pod, &DeleteParams::default()).await,
            Deed::Stopped(pod) | Deed::Lost(pod) => self.delete(pod, &at_once()).await,
            Deed::Room(pods) => self.room = *pods,
            Deed::Quota(pods) => self.permit(*pods).await,
            Deed::JobRuns(job) => {
                let pod = self.pod_of(job).await;
                self.says(&pod, "Running", true, runs).await;
            }
            Deed::JobEnds(job, well) => {
                let pod = self.pod_of(job).await;
                let (phase, code) = if *well {
                    ("Succeeded", 0)
                } else {
                    ("Failed", 1)
                };
                let ended = json!({"terminated": {"exitCode": code, "startedAt": now,
                                                  "finishedAt": now}});
                self.says(&pod, phase, false, ended).await;
            }
            Deed::JobCutOff(job, _) => self.is_cut_off(job).await,
            Deed::JobPodStopped(job) => {
                for pod in self
                    .list(&format!("batch.kubernetes.io/job-name={job}"))
                    .await
                {
                    let name = pod.name_any();
                    let killed = json!({"terminated": {"exitCode": 137, "startedAt": now,
                                                       "finishedAt": now}});
                    self.says(&name, "Failed", false, killed).await;
                    self.delete(&name, &at_once()).await;
                }
            }
            Deed::Seconds(seconds) => self.age(SignedDuration::from_secs(*seconds)).await,
            Deed::Person(_) => unreachable!("people are played elsewhere"),
        }
    }

    /// The pod of a Job, once it is there and has its place.
    async fn pod_of(&mut self, job: &str) -> String {
        let label = format!("batch.kubernetes.io/job-name={job}");
        eventually("the Job's pod", async || {
            self.schedule().await;
            let pods = self.list(&label).await;
            let pod = pods.first()?;
            pod.spec.as_ref()?.node_name.as_ref()?;
            Some(pod.name_any())
        })
        .await
    }

    /// The Job controller deletes what has run for too long.
    async fn is_cut_off(&self, job: &str) {
        let label = format!("batch.kubernetes.io/job-name={job}");
        eventually("the Job's pod to be deleted", async || {
            let pods = self.list(&label).await;
            let mut pods = pods.iter();
            pods.all(|p| p.metadata.deletion_timestamp.is_some())
                .then_some(())
        })
        .await;
    }

    /// What is ready has been so for longer.
    async fn age(&self, by: SignedDuration) {
        for pod in self.list("stepgate.io/rollout").await {
            if condition(&pod, "Ready").is_none() {
                continue;
            }
            let name = pod.name_any();
            let status = pod.status.unwrap_or_default();
            let mut conditions = status.conditions.unwrap_or_default();
            for condition in &mut conditions {
                if let Some(at) = &mut condition.last_transition_time {
                    at.0 = at.0.checked_sub(by).expect("in range");
                }
            }
            self.report(&name, json!({"conditions": conditions})).await;
        }
    }

    /// A quota, once its controller has counted.
    async fn permit(&self, pods: usize) {
        let quotas: Api<ResourceQuota> = Api::namespaced(self.client.clone(), &self.namespace);
        let hard = json!({"pods": pods.to_string()});
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
                           "metadata": {"name": "pods"}, "spec": {"hard": hard}});
        let params = PatchParams::apply("script").force();
        quotas
            .patch("pods", &params, &Patch::Apply(quota))
            .await
            .expect("a quota");
        eventually("the quota to be counted", async || {
            let status = quotas.get("pods").await.ok()?.status?;
            status.used.as_ref()?;
            (serde_json::to_value(status.hard?).ok()? == hard).then_some(())
        })
        .await;
    }
}

fn at_once() -> DeleteParams {
    DeleteParams::default().grace_period(0)
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let found = conditions.iter().find(|c| c.type_ == kind)?;
    Some(&found.status)
}

/// A controller may have been faster.
fn unless_gone<T>(done: Result<T, kube::Error>) {
    match done {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => panic!("{error}"),
    }
}
