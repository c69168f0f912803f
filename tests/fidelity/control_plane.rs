//! The real API server and controller manager, as a script plays them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Service},
};
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use stepgate::{
    api::{DatabaseSchema, Rollout, keys},
    cluster::{
        Answer, Cluster as _, Key, ReadError, WriteError, Written,
        kubernetes::{Kubernetes, facts, index::Index, stored},
    },
    plan::{
        facts::Question,
        intent::{Kind, Write},
    },
    simulate::{object::Watched, server::INVALID_IMAGE},
};
use tokio::task::JoinHandle;

use super::{
    fixture::Home,
    people,
    played::Played,
    side::{Deed, Facts, Heard, Seen, Side},
};

/// What the watch of a kind told.
type Event = (Watched, WatchEvent<DynamicObject>);

pub struct ControlPlane {
    home: Home,
    adapter: Kubernetes,
    played: Played,
    heard: Arc<Mutex<Vec<Event>>>,
    watchers: Vec<JoinHandle<()>>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for watcher in &self.watchers {
            watcher.abort();
        }
    }
}

impl ControlPlane {
    pub async fn new(script: &str) -> Self {
        let home = Home::new(&script.replace('_', "-")).await;
        let index = Index::new(Box::new(|_| {}));
        let (reads, writes) = (&home.clients.reads, &home.clients.writes);
        let patience = Duration::from_secs(10);
        let mut side = Self {
            adapter: Kubernetes::new(index.into(), reads.client(), writes.client(), patience),
            played: Played::new(&home).await,
            heard: Arc::default(),
            watchers: Vec::new(),
            home,
        };
        for kind in Watched::ALL {
            side.watch(kind).await;
        }
        side
    }

    /// Keeps what a watcher of this kind is told from now on.
    async fn watch(&mut self, kind: Watched) {
        let api = api(&self.home, kind);
        let list = api.list_metadata(&ListParams::default()).await;
        let version = list.expect("a list").metadata.resource_version;
        let heard = Arc::clone(&self.heard);
        let told = async move {
            let params = WatchParams::default();
            let events = api.watch(&params, &version.unwrap_or_default()).await;
            let mut events = events.expect("a watch").boxed();
            while let Some(event) = events.next().await {
                let event = event.expect("an event");
                heard.lock().expect("not poisoned").push((kind, event));
            }
        };
        self.watchers.push(tokio::spawn(told));
    }
}

impl Side for ControlPlane {
    async fn write(&mut self, write: &Write) -> Result<Written, WriteError> {
        let mut write = write.clone();
        if let Write::Create {
            kind: Kind::Deployment,
            manifest,
        } = &mut write
        {
            let image = &mut manifest["spec"]["template"]["spec"]["containers"][0]["image"];
            if *image == INVALID_IMAGE {
                // It stands for a template that is not valid.
                *image = "".into();
            }
        }
        self.adapter.write(&self.home.namespace, &write).await
    }

    async fn ask(&mut self, rollout: &str, question: &Question) -> Result<Answer, ReadError> {
        let asker = Key::Rollout {
            namespace: self.home.namespace.clone(),
            name: rollout.into(),
        };
        self.adapter.ask(&asker, question).await
    }

    async fn happens(&mut self, deed: &Deed) {
        match deed {
            Deed::Person(action) => people::act(&self.home, action).await,
            other => self.played.happens(other).await,
        }
    }

    async fn work(&mut self) {
        self.played.schedule().await;
    }

    async fn all(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        for kind in Watched::ALL {
            let list = api(&self.home, kind).list(&ListParams::default()).await;
            let list = list.expect("a list").items;
            // Neither Deployments of others nor pods of Jobs have this label.
            let has_label = !matches!(kind, Watched::Rollouts | Watched::Databases);
            let ours = |o: &&DynamicObject| {
                !has_label
                    || o.metadata
                        .labels
                        .iter()
                        .flatten()
                        .any(|l| l.0 == keys::ROLLOUT)
            };
            all.extend(list.iter().filter(ours).map(|o| seen(kind, o)));
        }
        all
    }

    async fn heard(&mut self) -> Vec<Heard> {
        let heard = self.heard.lock().expect("not poisoned").clone();
        let heard = heard.iter().filter_map(|(kind, event)| match event {
            WatchEvent::Added(o) | WatchEvent::Modified(o) => Some(Heard {
                seen: seen(*kind, o),
                gone: false,
            }),
            WatchEvent::Deleted(o) => Some(Heard {
                seen: seen(*kind, o),
                gone: true,
            }),
            WatchEvent::Bookmark(_) => None,
            WatchEvent::Error(error) => panic!("the watch ended: {error}"),
        });
        heard.collect()
    }
}

/// All objects of a kind in the namespace, as they are stored.
fn api(home: &Home, kind: Watched) -> Api<DynamicObject> {
    fn of<T: Resource<DynamicType = ()>>() -> ApiResource {
        ApiResource::erase::<T>(&())
    }
    let resource = match kind {
        Watched::Rollouts => of::<Rollout>(),
        Watched::Revisions => of::<ControllerRevision>(),
        Watched::Deployments => of::<Deployment>(),
        Watched::Pods => of::<Pod>(),
        Watched::Jobs => of::<Job>(),
        Watched::Databases => of::<DatabaseSchema>(),
        Watched::Services => of::<Service>(),
        Watched::ConfigMaps => of::<ConfigMap>(),
    };
    Api::namespaced_with(home.client.clone(), &home.namespace, &resource)
}

fn seen(kind: Watched, object: &DynamicObject) -> Seen {
    let metadata = &object.metadata;
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    Seen {
        kind,
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        version: metadata.resource_version.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        created: metadata.creation_timestamp.as_ref().expect("a time").0,
        owner: owners.first().map(|o| o.uid.clone()),
        deleting: metadata.deletion_timestamp.is_some(),
        facts: match kind {
            Watched::Rollouts => Facts::Rollout(stored::rollout(object)),
            Watched::Revisions => {
                let object: ControllerRevision = typed(object);
                Facts::Revision(stored::revision(&object))
            }
            Watched::Deployments => Facts::Deployment(facts::child(&typed(object))),
            Watched::Pods => Facts::Pod(facts::pod(&typed(object))),
            Watched::Jobs => Facts::Job(facts::job(&typed(object))),
            Watched::Databases => Facts::Database(stored::database(object).expect("a record")),
            Watched::Services => Facts::Service(facts::service(&typed(object))),
            Watched::ConfigMaps => Facts::ConfigMap(facts::config_map(typed(object))),
        },
    }
}

fn typed<T: DeserializeOwned>(object: &DynamicObject) -> T {
    let value = serde_json::to_value(object).expect("JSON");
    serde_json::from_value(value).expect("an object of its kind")
}
