//! A live view of one namespace: what is there, and what was seen when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::{
    apps::v1::Deployment, batch::v1::Job, core::v1::Pod, discovery::v1::EndpointSlice,
};
use kube::runtime::{watcher, watcher::Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use stepgate::api::{DatabaseSchema, Rollout, RolloutStatus, keys};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Error, Result};

/// Delay before a broken watch is tried again: what happens meanwhile is not seen.
const RETRY: Duration = Duration::from_millis(300);

/// Objects by name.
pub type Table<K> = BTreeMap<String, Arc<K>>;

/// What is in the namespace, as of the last watch event of each kind.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Rollouts.
    pub rollouts: Table<Rollout>,
    /// Records of databases.
    pub databases: Table<DatabaseSchema>,
    /// Deployments.
    pub deployments: Table<Deployment>,
    /// Jobs.
    pub jobs: Table<Job>,
    /// Pods.
    pub pods: Table<Pod>,
    /// Endpoints of Services.
    pub slices: Table<EndpointSlice>,
    /// Every version of every Rollout that was seen, and when.
    pub versions: Vec<(SystemTime, Arc<Rollout>)>,
    /// Every pod that was ever seen, with the revision on its label.
    pub born: BTreeMap<String, Option<String>>,
    /// The pods that Services send requests to, each time that changed.
    pub serving: Vec<(SystemTime, BTreeSet<String>)>,
    /// How many pods of all revisions were ready, each time that changed.
    pub ready: Vec<(SystemTime, usize)>,
}

impl State {
    /// A Rollout's status; all empty while there is none.
    #[must_use]
    pub fn status(&self, rollout: &str) -> RolloutStatus {
        let found = self.rollouts.get(rollout);
        found.and_then(|r| r.status.clone()).unwrap_or_default()
    }

    /// Pods of this revision, those on their way out too.
    pub fn pods_of<'a>(&'a self, revision: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        let of_revision = move |pod: &&Arc<Pod>| revision_of(pod).is_some_and(|r| r == revision);
        self.pods.values().filter(of_revision)
    }

    /// Whether a pod of another revision is there, be it on its way out.
    #[must_use]
    pub fn has_pods_beside(&self, revision: &str) -> bool {
        let mut revisions = self.pods.values().filter_map(|pod| revision_of(pod));
        revisions.any(|other| other != revision)
    }

    /// The revision of each pod that is ready and not on its way out.
    pub fn ready_pods(&self) -> impl Iterator<Item = &str> {
        let ready = self.pods.values().filter(|pod| is_ready(pod));
        ready.filter_map(|pod| revision_of(pod).map(String::as_str))
    }

    /// The fewest pods that were ready at a time since then.
    #[must_use]
    pub fn fewest_ready_since(&self, since: SystemTime) -> usize {
        let before = self.ready.iter().rev().find(|(at, _)| *at <= since);
        let later = self.ready.iter().filter(|(at, _)| *at > since);
        let counts = before.into_iter().chain(later).map(|(_, count)| *count);
        counts.min().unwrap_or_default()
    }

    /// The pods that all revisions ask for.
    #[must_use]
    pub fn requested_now(&self) -> i32 {
        let children = self.deployments.values();
        let children = children.filter(|child| child.labels().contains_key(keys::REVISION));
        children
            .filter_map(|child| child.spec.as_ref()?.replicas)
            .sum()
    }

    /// Whether a serving pod of this revision was ever seen. Pods of its Jobs are none.
    #[must_use]
    pub fn ever_had_pods(&self, revision: &str) -> bool {
        self.born.values().any(|of| of.as_deref() == Some(revision))
    }

    /// The serving pods of this revision that were ever seen, also those that are gone.
    #[must_use]
    pub fn all_pods_of(&self, revision: &str) -> BTreeSet<String> {
        let own = self.born.keys().filter(|pod| self.is_of(pod, revision));
        own.cloned().collect()
    }

    /// Whether this pod, which may be gone, was one of this revision.
    #[must_use]
    pub fn is_of(&self, pod: &str, revision: &str) -> bool {
        let born = self.born.get(pod);
        born.is_some_and(|of| of.as_deref() == Some(revision))
    }

    /// Whether a Service sends requests to a pod of any revision.
    #[must_use]
    pub fn serves(&self) -> bool {
        let of_revision = |pod: &String| self.born.get(pod).is_some_and(Option::is_some);
        let now = self.serving.last();
        now.is_some_and(|(_, pods)| pods.iter().any(of_revision))
    }

    /// When the last pod of this revision left the Services; `None` while one is there, and when
    /// none ever was.
    #[must_use]
    pub fn left_service(&self, revision: &str) -> Option<SystemTime> {
        let of_revision =
            |pod: &String| self.born.get(pod).and_then(Option::as_deref) == Some(revision);
        let mut changes = self.serving.iter().rev();
        let mut left = None;
        changes.find_map(|(at, pods)| {
            if pods.iter().any(of_revision) {
                return Some(left);
            }
            left = Some(*at);
            None
        })?
    }

    fn keep_version(&mut self, at: SystemTime, rollout: &Arc<Rollout>) {
        self.versions.push((at, rollout.clone()));
    }

    fn keep_birth(&mut self, _: SystemTime, pod: &Arc<Pod>) {
        self.born.insert(pod.name_any(), revision_of(pod).cloned());
    }

    fn keep_ready(&mut self, at: SystemTime) {
        let now = self.ready_pods().count();
        if self.ready.last().is_none_or(|(_, before)| *before != now) {
            self.ready.push((at, now));
        }
    }

    fn keep_serving(&mut self, at: SystemTime) {
        let endpoints = self.slices.values().flat_map(|slice| &slice.endpoints);
        let ready = endpoints.filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|c| c.ready).unwrap_or(true)
        });
        let names = ready.filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone());
        let now: BTreeSet<_> = names.collect();
        if self.serving.last().is_none_or(|(_, before)| *before != now) {
            self.serving.push((at, now));
        }
    }
}

/// The revision that a pod serves. A phase's pods carry a revision too, and are no pods of it.
fn revision_of(pod: &Pod) -> Option<&String> {
    let of_job = pod.labels().contains_key(keys::PHASE);
    pod.labels().get(keys::REVISION).filter(|_| !of_job)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut ready = conditions.into_iter().flatten();
    let ready = ready.any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// A live view of one namespace. Its watches end with it.
#[derive(Debug)]
pub struct View {
    state: watch::Receiver<State>,
    _watches: JoinSet<()>,
}

/// Where a kind is kept, and what else is noted when an object of it was seen.
struct Shelf<K> {
    table: fn(&mut State) -> &mut Table<K>,
    seen: fn(&mut State, SystemTime, &Arc<K>),
    changed: fn(&mut State, SystemTime),
}

impl<K> Shelf<K> {
    const fn new(table: fn(&mut State) -> &mut Table<K>) -> Self {
        Self {
            table,
            seen: |_, _, _| {},
            changed: |_, _| {},
        }
    }
}

impl View {
    /// Begins to watch. What is there already comes with the first events.
    #[must_use]
    pub fn new(client: &Client, namespace: &str) -> Self {
        let (sender, state) = watch::channel(State::default());
        let mut watches = JoinSet::new();
        let sender = Arc::new(sender);
        watches.spawn(follow(
            client,
            namespace,
            &sender,
            Shelf {
                seen: State::keep_version,
                ..Shelf::new(|state| &mut state.rollouts)
            },
        ));
        watches.spawn(follow(
            client,
            namespace,
            &sender,
            Shelf {
                seen: State::keep_birth,
                changed: State::keep_ready,
                ..Shelf::new(|state| &mut state.pods)
            },
        ));
        watches.spawn(follow(
            client,
            namespace,
            &sender,
            Shelf {
                changed: State::keep_serving,
                ..Shelf::new(|state| &mut state.slices)
            },
        ));
        let databases = Shelf::new(|state: &mut State| &mut state.databases);
        watches.spawn(follow(client, namespace, &sender, databases));
        let deployments = Shelf::new(|state: &mut State| &mut state.deployments);
        watches.spawn(follow(client, namespace, &sender, deployments));
        let jobs = Shelf::new(|state: &mut State| &mut state.jobs);
        watches.spawn(follow(client, namespace, &sender, jobs));
        Self {
            state,
            _watches: watches,
        }
    }

    /// What is seen now.
    #[must_use]
    pub fn now(&self) -> State {
        self.state.borrow().clone()
    }

    /// Reads what is seen now without copying it. Nothing is seen anew meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }

    /// Waits until `look` finds something.
    ///
    /// # Errors
    /// When it found nothing within `limit`.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&State) -> Option<T>,
    ) -> Result<T> {
        let mut state = self.state.clone();
        let search = async {
            loop {
                if let Some(found) = look(&state.borrow_and_update()) {
                    return Some(found);
                }
                state.changed().await.ok()?;
            }
        };
        let found = tokio::time::timeout(limit, search).await.ok().flatten();
        found.ok_or_else(|| Error::NotInTime {
            what: what.to_owned(),
            limit,
        })
    }

    /// Waits for the next change, at most so long.
    pub async fn changed(&self, limit: Duration) {
        let mut state = self.state.clone();
        state.mark_unchanged();
        let _ = tokio::time::timeout(limit, state.changed()).await;
    }
}

/// Keeps one kind's table. An object that cannot be read as its type is left out.
fn follow<K>(
    client: &Client,
    namespace: &str,
    state: &Arc<watch::Sender<State>>,
    shelf: Shelf<K>,
) -> impl Future<Output = ()> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let state = state.clone();
    async move {
        let mut events = pin!(watcher(api, watcher::Config::default()));
        let mut listed = Table::new();
        loop {
            // After an error the watcher begins anew.
            let Ok(event) = events.try_next().await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let Some(event) = event else { return };
            let at = SystemTime::now();
            state.send_modify(|state| {
                match event {
                    Event::Apply(object) => {
                        let object = Arc::new(object);
                        (shelf.table)(state).insert(object.name_any(), object.clone());
                        (shelf.seen)(state, at, &object);
                    }
                    Event::Delete(object) => {
                        (shelf.table)(state).remove(&object.name_any());
                    }
                    Event::Init => listed.clear(),
                    Event::InitApply(object) => {
                        let object = Arc::new(object);
                        listed.insert(object.name_any(), object.clone());
                        (shelf.seen)(state, at, &object);
                    }
                    Event::InitDone => *(shelf.table)(state) = std::mem::take(&mut listed),
                }
                (shelf.changed)(state, at);
            });
        }
    }
}
