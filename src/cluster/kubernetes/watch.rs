//! The watches that fill the index.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::BoxFuture};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Service};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    runtime::watcher,
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, info, warn};

use super::{
    index::{Index, Kept},
    kept::{
        keep_child, keep_database, keep_foreign, keep_foreign_pod, keep_job, keep_pod,
        keep_revision, keep_rollout, keep_service, place_of,
    },
    table::{Entry, Place},
};
use crate::api::{DatabaseSchema, Rollout, keys, text::bounded};

/// Objects per page of a list, where the API server cannot stream lists: what is held at once while
/// it is read.
const PAGE: u32 = 100;

/// First and longest delay before a watch that broke is tried again. The longest is short: what
/// happens meanwhile is not seen, and a handful of requests a second hurt nobody.
const RETRIES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Delay before a watch is tried again that the API server refuses: nobody may ever grant the right.
const REFUSED_RETRY: Duration = Duration::from_secs(15);

/// Watches every kind in these namespaces, or in all when there are none. Ends only with a panic
/// of a watch, which it passes on.
pub struct Watches {
    index: Arc<Index>,
    client: Client,
    namespaces: Vec<String>,
    pending: watch::Sender<usize>,
    contact: Contact,
    blind: Arc<dyn Fn() + Send + Sync>,
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

/// By which the watches are told that the API server answers again. Clones tell the same watches.
#[derive(Clone, Debug)]
pub struct Contact(watch::Sender<u64>);

impl Contact {
    /// It gave no answer for some time, and has just given one: no watch waits any longer, and one
    /// that has not noticed anything hangs on a connection that is dead.
    pub fn is_back(&self) {
        self.0.send_modify(|times| *times += 1);
    }
}

/// What is watched in one namespace, while a Rollout there needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extra {
    /// Its Services.
    Services(String),
    /// Deployments and pods of somebody else.
    Adopted(String),
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
            contact: Contact(watch::Sender::new(0)),
            blind: Arc::new(|| {}),
        }
    }

    /// `blind` is called whenever a watch cannot be had again: until then, and until the next call,
    /// nothing was seen of what happened.
    #[must_use]
    pub fn telling(mut self, blind: impl Fn() + Send + Sync + 'static) -> Self {
        self.blind = Arc::new(blind);
        self
    }

    /// By which these watches are told that the API server answers again.
    #[must_use]
    pub fn contact(&self) -> Contact {
        self.contact.clone()
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
        // Each ends with what it watched in one namespace, if it was such a one.
        let mut tasks: JoinSet<Option<Extra>> = JoinSet::new();
        for watch in watches {
            tasks.spawn(async {
                watch.await;
                None
            });
        }
        let (mut switched, mut adopting) = (self.index.switched(), self.index.adopting());
        let mut watched = BTreeSet::new();
        loop {
            for namespace in switched.borrow_and_update().iter() {
                if watched.insert(Extra::Services(namespace.clone())) {
                    tasks.spawn(self.services(namespace));
                }
            }
            for namespace in adopting.borrow_and_update().iter() {
                if watched.insert(Extra::Adopted(namespace.clone())) {
                    tasks.spawn(self.adopted(namespace));
                }
            }
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(ended) => if let Some(extra) = ended? {
                        watched.remove(&extra);
                    },
                    None => return Ok(()),
                },
                Ok(()) = switched.changed() => {}
                Ok(()) = adopting.changed() => {}
            }
        }
    }

    /// What is somebody else's is watched where a Rollout adopts, as long as one does.
    fn adopted(&self, namespace: &str) -> impl Future<Output = Option<Extra>> + use<> {
        let of_others = format!("!{}", keys::ROLLOUT);
        let config = watcher::Config::default()
            .streaming_lists()
            .labels(&of_others);
        let within = Some(namespace.to_owned());
        let deployments = Api::namespaced(self.client.clone(), namespace);
        let pods = Api::namespaced(self.client.clone(), namespace);
        let mut of_deployments = self.feed("Deployment".to_owned(), &within, keep_foreign);
        of_deployments.pending = None;
        let index = self.index.clone();
        let listed = namespace.to_owned();
        of_deployments.listed_now = Some(Box::new(move || index.adopted_are(&listed, true)));
        let mut of_pods = self.feed("Pod".to_owned(), &within, keep_foreign_pod);
        of_pods.pending = None;
        let watches = futures::future::join(
            of_deployments.run(deployments, config.clone()),
            of_pods.run(pods, config),
        );
        let mut adopting = self.index.adopting();
        let (index, namespace) = (self.index.clone(), namespace.to_owned());
        async move {
            tokio::select! {
                _ = watches => {}
                _ = adopting.wait_for(|asked| !asked.contains(&namespace)) => {}
            }
            index.adopted_are(&namespace, false);
            Some(Extra::Adopted(namespace))
        }
    }

    /// Services are watched where a Rollout asks for some, as long as one does, and nowhere else: that
    /// needs a right that is not given everywhere. Nothing else waits until they are listed.
    fn services(&self, namespace: &str) -> impl Future<Output = Option<Extra>> + use<> {
        let api = Api::namespaced(self.client.clone(), namespace);
        let kind = Service::kind(&()).into_owned();
        let mut feed = self.feed(kind, &Some(namespace.to_owned()), keep_service);
        feed.pending = None;
        feed.optional = true;
        let watch = feed.run(api, watcher::Config::default().streaming_lists());
        let mut switched = self.index.switched();
        let (index, namespace) = (self.index.clone(), namespace.to_owned());
        async move {
            tokio::select! {
                () = watch => {}
                _ = switched.wait_for(|asked| !asked.contains(&namespace)) => {}
            }
            index.services_are_unwatched(&namespace);
            Some(Extra::Services(namespace))
        }
    }

    fn within(&self, namespace: Option<String>) -> Vec<BoxFuture<'static, ()>> {
        let of_rollouts = Some(keys::ROLLOUT);
        vec![
            Box::pin(self.custom::<Rollout, _>(&namespace, keep_rollout)),
            Box::pin(self.custom::<DatabaseSchema, _>(&namespace, keep_database)),
            Box::pin(self.typed(&namespace, of_rollouts, keep_revision)),
            Box::pin(self.typed(&namespace, of_rollouts, keep_child)),
            Box::pin(self.typed(&namespace, of_rollouts, keep_pod)),
            Box::pin(self.typed(&namespace, of_rollouts, keep_job)),
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
        let mut config = watcher::Config::default().streaming_lists();
        config.label_selector = label.map(str::to_owned);
        self.feed(kind, namespace, keep).run(api, config)
    }

    fn feed<K, F>(&self, kind: String, namespace: &Option<String>, keep: Keep<K, F>) -> Feed<K, F> {
        Feed {
            kind,
            namespace: namespace.clone(),
            index: self.index.clone(),
            keep,
            listed: Vec::new(),
            pending: Some(self.pending.clone()),
            optional: false,
            listed_now: None,
            broken: false,
            contact: self.contact.0.subscribe(),
            blind: self.blind.clone(),
        }
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
    /// It needs a right that may not be given: what lacks it is told to those that ask for it.
    optional: bool,
    /// Is called when everything has been listed.
    listed_now: Option<Box<dyn Fn() + Send + Sync>>,
    broken: bool,
    contact: watch::Receiver<u64>,
    blind: Arc<dyn Fn() + Send + Sync>,
}

impl<K, F> Feed<K, F>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    F: Kept + Send,
{
    async fn run(mut self, api: Api<K>, mut config: watcher::Config) {
        let mut failures: u32 = 0;
        let mut events = watcher(api.clone(), config.clone()).boxed();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = is_back(&mut self.contact) => {
                    if !self.broken {
                        events = watcher(api.clone(), config.clone()).boxed();
                    }
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => {
                    failures = 0;
                    self.handle(event);
                }
                Some(Err(error)) if is_unknown(&config, &error) => {
                    info!(kind = %self.kind, "the API server does not stream lists");
                    config = config.page_size(PAGE);
                    config.initial_list_strategy = watcher::InitialListStrategy::ListWatch;
                    events = watcher(api.clone(), config.clone()).boxed();
                }
                Some(Err(error)) => {
                    self.report(&error);
                    let (first, longest) = RETRIES;
                    let delay = match self.is_refused(&error) {
                        true => {
                            // Only a new list tells that the right is there: a watch that is had
                            // again says nothing until something changes.
                            events = watcher(api.clone(), config.clone()).boxed();
                            REFUSED_RETRY
                        }
                        false => first.saturating_mul(1 << failures.min(10)).min(longest),
                    };
                    failures += 1;
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = is_back(&mut self.contact) => {}
                    }
                }
                // A watcher has no end.
                None => return,
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
                if let (true, Some(namespace)) = (self.optional, &self.namespace) {
                    self.index.services_are(namespace, Ok(()));
                }
                if let Some(listed) = &self.listed_now {
                    listed();
                }
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

    /// Whether the right to this watch is missing; then that is told.
    fn is_refused(&self, error: &watcher::Error) -> bool {
        let (true, Some(namespace)) = (self.optional, &self.namespace) else {
            return false;
        };
        match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status))
                if status.code == 403 =>
            {
                let words = bounded(&status.message);
                self.index.services_are(namespace, Err(words));
                true
            }
            _ => false,
        }
    }

    /// An outage is one line, however often the watch is tried again.
    fn report(&mut self, error: &watcher::Error) {
        if is_unanswered(error) {
            (self.blind)();
        }
        let (kind, namespace) = (&self.kind, &self.namespace);
        if std::mem::replace(&mut self.broken, true) {
            debug!(%kind, ?namespace, %error, "the watch is still broken");
        } else {
            warn!(%kind, ?namespace, %error, "the watch broke; it is tried again");
        }
    }
}

/// Waits until the API server answers again after it did not.
async fn is_back(contact: &mut watch::Receiver<u64>) {
    if contact.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Whether the API server does not know how to stream a list.
fn is_unknown(config: &watcher::Config, error: &watcher::Error) -> bool {
    let streams = config.initial_list_strategy == watcher::InitialListStrategy::StreamingList;
    streams
        && matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status))
            if matches!(status.code, 400 | 422))
}

/// Whether a watch could not be had because nobody answered, or not with more than that there was
/// an error. One that was cut off and is had again at once has missed nothing.
fn is_unanswered(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code >= 500,
        watcher::Error::InitialListFailed(_) | watcher::Error::WatchStartFailed(_) => true,
        _ => false,
    }
}
