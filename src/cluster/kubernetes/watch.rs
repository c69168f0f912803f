//! The watches that fill the index.

use std::{fmt::Debug, sync::Arc};

use futures::{StreamExt as _, future::BoxFuture};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{ControllerRevision, Deployment},
        batch::v1::Job,
        core::v1::Pod,
    },
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    core::ObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, info, warn};

use super::{
    facts,
    index::{Index, Kept, database_key, place, rollout_key},
    ours,
    stored::{self, StoredRevision, StoredRollout},
    table::{Entry, Place},
};
use crate::{
    api::{DatabaseSchema, Rollout, keys},
    cluster::Key,
    plan::facts::{ChildFacts, DatabaseFacts, JobFacts, PodFacts},
};

/// Objects per page of a list: what is held at once while it is read.
const PAGE: u32 = 100;

/// Watches every kind in these namespaces, or in all when there are none. Ends only with a panic
/// of a watch, which it passes on.
pub struct Watches {
    index: Arc<Index>,
    client: Client,
    namespaces: Vec<String>,
    pending: watch::Sender<usize>,
}

impl Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watches")
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}

/// Tells when every watch has seen what was there at the start.
#[derive(Clone, Debug)]
pub struct Synced(watch::Receiver<usize>);

impl Synced {
    /// Waits for it. False: the watches have ended before.
    pub async fn wait(&mut self) -> bool {
        self.0.wait_for(|pending| *pending == 0).await.is_ok()
    }
}

/// What an object is kept as; `None`: not at all.
type Keep<K, F> = fn(&K) -> Option<Entry<F>>;

impl Watches {
    /// Watches that fill `index`. `client` is only read with.
    #[must_use]
    pub fn new(index: Arc<Index>, client: Client, namespaces: Vec<String>) -> Self {
        // Until `run` has counted them, nothing is synced.
        let pending = watch::Sender::new(usize::MAX);
        Self {
            index,
            client,
            namespaces,
            pending,
        }
    }

    /// Tells when the index is complete for the first time.
    #[must_use]
    pub fn synced(&self) -> Synced {
        Synced(self.pending.subscribe())
    }

    /// Watches until dropped.
    ///
    /// # Errors
    /// When a watch panicked.
    pub async fn run(self) -> Result<(), tokio::task::JoinError> {
        let scopes: Vec<Option<String>> = match self.namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let watches: Vec<BoxFuture<'static, ()>> =
            scopes.into_iter().flat_map(|s| self.within(s)).collect();
        self.pending.send_replace(watches.len());
        let mut tasks: JoinSet<()> = watches.into_iter().collect();
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }

    fn within(&self, namespace: Option<String>) -> Vec<BoxFuture<'static, ()>> {
        let of_rollouts = Some(keys::ROLLOUT);
        vec![
            Box::pin(self.custom::<Rollout, _>(&namespace, keep_rollout)),
            Box::pin(self.custom::<DatabaseSchema, _>(&namespace, keep_database)),
            Box::pin(self.typed(&namespace, of_rollouts, keep_revision)),
            Box::pin(self.typed(&namespace, of_rollouts, keep_child)),
            Box::pin(self.typed(&namespace, of_rollouts, keep_pod)),
            Box::pin(self.typed(&namespace, Some(keys::DATABASE), keep_job)),
        ]
    }

    fn typed<K, F>(
        &self,
        namespace: &Option<String>,
        label: Option<&str>,
        keep: Keep<K, F>,
    ) -> impl Future<Output = ()> + use<K, F>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + 'static,
        F: Kept + Send,
    {
        let client = self.client.clone();
        let api = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        self.follow(K::kind(&()).into_owned(), namespace, api, label, keep)
    }

    /// Custom resources are read untyped: one malformed object must not end the watch of all.
    fn custom<C, F>(
        &self,
        namespace: &Option<String>,
        keep: Keep<DynamicObject, F>,
    ) -> impl Future<Output = ()> + use<C, F>
    where
        C: Resource<DynamicType = ()>,
        F: Kept + Send,
    {
        let client = self.client.clone();
        let resource = ApiResource::erase::<C>(&());
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        self.follow(C::kind(&()).into_owned(), namespace, api, None, keep)
    }

    fn follow<K, F>(
        &self,
        kind: String,
        namespace: &Option<String>,
        api: Api<K>,
        label: Option<&str>,
        keep: Keep<K, F>,
    ) -> impl Future<Output = ()> + use<K, F>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        F: Kept + Send,
    {
        let mut config = watcher::Config::default().page_size(PAGE);
        config.label_selector = label.map(str::to_owned);
        let feed = Feed {
            kind,
            namespace: namespace.clone(),
            index: self.index.clone(),
            keep,
            listed: Vec::new(),
            pending: Some(self.pending.clone()),
            broken: false,
        };
        feed.run(api, config)
    }
}

/// One watch.
struct Feed<K, F> {
    kind: String,
    namespace: Option<String>,
    index: Arc<Index>,
    keep: Keep<K, F>,
    /// What a list has brought so far.
    listed: Vec<(Place, Entry<F>)>,
    pending: Option<watch::Sender<usize>>,
    broken: bool,
}

impl<K, F> Feed<K, F>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    F: Kept + Send,
{
    async fn run(mut self, api: Api<K>, config: watcher::Config) {
        let mut events = watcher(api, config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.handle(event),
                Err(error) => self.report(&error),
            }
        }
    }

    fn handle(&mut self, event: watcher::Event<K>) {
        if self.broken {
            self.broken = false;
            info!(kind = %self.kind, namespace = ?self.namespace, "the watch works again");
        }
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(object) => {
                let entry = (self.keep)(&object);
                self.listed
                    .extend(entry.map(|e| (place_of(object.meta()), e)));
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.index.replace(self.namespace.as_deref(), listed);
                if let Some(pending) = self.pending.take() {
                    pending.send_modify(|n| *n = n.saturating_sub(1));
                }
            }
            watcher::Event::Apply(object) => {
                let place = place_of(object.meta());
                match (self.keep)(&object) {
                    Some(entry) => self.index.apply(place, entry),
                    None => self.index.delete::<F>(&place),
                }
            }
            watcher::Event::Delete(object) => {
                self.index.delete::<F>(&place_of(object.meta()));
            }
        }
    }

    /// An outage is one line, however often the watch is tried again.
    fn report(&mut self, error: &watcher::Error) {
        let (kind, namespace) = (&self.kind, &self.namespace);
        if std::mem::replace(&mut self.broken, true) {
            debug!(%kind, ?namespace, %error, "the watch is still broken");
        } else {
            warn!(%kind, ?namespace, %error, "the watch broke; it is tried again");
        }
    }
}

fn place_of(metadata: &ObjectMeta) -> Place {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    place(namespace, metadata.name.as_deref().unwrap_or_default())
}

fn entry<F>(metadata: &ObjectMeta, keys: Vec<Key>, facts: F) -> Entry<F> {
    Entry {
        keys,
        version: metadata.resource_version.clone().unwrap_or_default(),
        facts,
    }
}

/// The key that the label `stepgate.io/rollout` names.
fn of_rollout(metadata: &ObjectMeta) -> Vec<Key> {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let rollout = facts::label(metadata, keys::ROLLOUT);
    vec![rollout_key(namespace, &rollout)]
}

fn keep_rollout(object: &DynamicObject) -> Option<Entry<StoredRollout>> {
    let metadata = &object.metadata;
    let Place { namespace, name } = place_of(metadata);
    let rollout = StoredRollout::new(object);
    let mut keys = vec![rollout_key(&namespace, &name)];
    let database = rollout.database.as_ref();
    keys.extend(database.map(|d| database_key(&namespace, d)));
    Some(entry(metadata, keys, rollout))
}

fn keep_database(object: &DynamicObject) -> Option<Entry<DatabaseFacts>> {
    let metadata = &object.metadata;
    let Place { namespace, name } = place_of(metadata);
    let database = stored::database(object)
        .inspect_err(|error| stored::report_unreadable(object, error))
        .ok()?;
    Some(entry(
        metadata,
        vec![database_key(&namespace, &name)],
        database,
    ))
}

fn keep_revision(object: &ControllerRevision) -> Option<Entry<StoredRevision>> {
    let metadata = &object.metadata;
    let keys = of_rollout(metadata);
    ours::is_revision(object).then(|| entry(metadata, keys, StoredRevision::new(object)))
}

/// One that is not believed is kept as nobody's: it may select pods all the same.
fn keep_child(object: &Deployment) -> Option<Entry<ChildFacts>> {
    let metadata = &object.metadata;
    let keys = match ours::is_child(object) {
        true => of_rollout(metadata),
        false => Vec::new(),
    };
    Some(entry(metadata, keys, facts::child(object)))
}

fn keep_pod(object: &Pod) -> Option<Entry<PodFacts>> {
    let metadata = &object.metadata;
    ours::is_pod(object).then(|| entry(metadata, of_rollout(metadata), facts::pod(object)))
}

fn keep_job(object: &Job) -> Option<Entry<JobFacts>> {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let database = facts::label(metadata, keys::DATABASE);
    let mut keys = of_rollout(metadata);
    keys.push(database_key(namespace, &database));
    Some(entry(metadata, keys, facts::job(object)))
}
