//! Events for people: published apart from the passes, and lost rather than waited for.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event as Published, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::debug;

use super::{
    metrics::{ErrorReason, Metrics, WriteKind, WriteResult},
    shutdown::Stop,
};
use crate::{
    api::{DatabaseSchema, Rollout, keys},
    cluster::Key,
    plan::intent::Event,
};

/// Events that wait to be published; more are dropped.
const WAITING: usize = 256;
/// For how long the same event is counted up instead of told again.
const SAME: Duration = Duration::from_secs(300);
/// How long publishing one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the API server takes.
const NOTE_BYTES: usize = 1024;

/// The object that an event is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its key.
    pub key: Key,
    /// Its uid.
    pub uid: String,
}

/// Takes events. Clones take for the same publisher.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<(Subject, Event)>,
    metrics: Metrics,
}

/// Publishes events.
pub struct Publisher {
    client: Client,
    instance: String,
    told: mpsc::Receiver<(Subject, Event)>,
    metrics: Metrics,
    recent: HashMap<Same, Recent>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// What makes two events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Same {
    uid: String,
    reason: &'static str,
    note: String,
}

#[derive(Debug)]
struct Recent {
    name: String,
    count: i32,
    at: Instant,
}

impl Events {
    /// A publisher that writes with `client` in the name of `instance`, and the handle to give it
    /// events.
    pub fn new(client: Client, instance: String, metrics: Metrics) -> (Self, Publisher) {
        let (sender, told) = mpsc::channel(WAITING);
        let events = Self {
            sender,
            metrics: metrics.clone(),
        };
        let publisher = Publisher {
            client,
            instance,
            told,
            metrics,
            recent: HashMap::new(),
        };
        (events, publisher)
    }

    /// Publishes an event about this object, some time, unless too many wait.
    pub fn publish(&self, subject: &Subject, event: Event) {
        if self.sender.try_send((subject.clone(), event)).is_err() {
            self.metrics.error(ErrorReason::EventDropped);
        }
    }
}

impl Publisher {
    /// Publishes until `stop`, and then what still waits, as far as a second allows.
    pub async fn run(mut self, mut stop: Stop) {
        loop {
            tokio::select! {
                () = stop.wait() => break,
                told = self.told.recv() => match told {
                    Some((subject, event)) => self.publish(&subject, &event).await,
                    None => break,
                }
            }
        }
        let rest = async {
            while let Ok((subject, event)) = self.told.try_recv() {
                self.publish(&subject, &event).await;
            }
        };
        let _ = timeout(Duration::from_secs(1), rest).await;
    }

    async fn publish(&mut self, subject: &Subject, event: &Event) {
        let now = Instant::now();
        self.recent.retain(|_, recent| now < recent.at + SAME);
        let same = Same {
            uid: subject.uid.clone(),
            reason: event.reason.word(),
            note: shortened(&event.message).to_owned(),
        };
        let published = match self.recent.get(&same) {
            Some(recent) => self.count_up(subject, recent).await,
            None => self.create(subject, event, &same.note).await,
        };
        let result = match &published {
            Ok(_) => WriteResult::Accepted,
            Err(kube::Error::Api(_)) => WriteResult::Refused,
            Err(_) => WriteResult::Unanswered,
        };
        self.metrics.wrote(WriteKind::Event, result);
        match published {
            Ok(recent) => {
                self.recent.insert(same, recent);
            }
            Err(error) => {
                debug!(subject = ?subject.key, reason = event.reason.word(), %error, "an Event was lost");
                // Whatever was counted up may be gone: the next one is told anew.
                self.recent.remove(&same);
            }
        }
    }

    async fn create(
        &self,
        subject: &Subject,
        event: &Event,
        note: &str,
    ) -> Result<Recent, kube::Error> {
        let now = Timestamp::now();
        let (namespace, regarding) = reference(subject);
        let name = format!(
            "{}.{:x}",
            regarding.name.as_deref().unwrap_or_default(),
            now.as_nanosecond()
        );
        let event = Published {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.into()),
            reason: Some(event.reason.word().into()),
            // What was done is what the reason says.
            action: Some(event.reason.word().into()),
            note: Some(note.into()),
            regarding: Some(regarding),
            reporting_controller: Some(format!("{}/stepgate", keys::GROUP)),
            reporting_instance: Some(self.instance.clone()),
            ..Published::default()
        };
        let api = Api::<Published>::namespaced(self.client.clone(), namespace);
        let params = PostParams {
            field_manager: Some(keys::FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        in_time(api.create(&params, &event)).await?;
        Ok(Recent {
            name,
            count: 1,
            at: Instant::now(),
        })
    }

    async fn count_up(&self, subject: &Subject, recent: &Recent) -> Result<Recent, kube::Error> {
        let (namespace, _) = reference(subject);
        let count = recent.count.saturating_add(1);
        let series = EventSeries {
            count,
            last_observed_time: MicroTime(Timestamp::now()),
        };
        let api = Api::<Published>::namespaced(self.client.clone(), namespace);
        let params = PatchParams {
            field_manager: Some(keys::FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"series": series}));
        in_time(api.patch(&recent.name, &params, &patch)).await?;
        Ok(Recent {
            name: recent.name.clone(),
            count,
            at: Instant::now(),
        })
    }
}

async fn in_time<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}

fn reference(subject: &Subject) -> (&str, ObjectReference) {
    let (namespace, name) = (subject.key.namespace(), subject.key.name());
    let (api_version, kind) = match subject.key {
        Key::Rollout { .. } => (Rollout::api_version(&()), Rollout::kind(&())),
        Key::Database { .. } => (DatabaseSchema::api_version(&()), DatabaseSchema::kind(&())),
    };
    let regarding = ObjectReference {
        api_version: Some(api_version.into_owned()),
        kind: Some(kind.into_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(subject.uid.clone()),
        ..ObjectReference::default()
    };
    (namespace, regarding)
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(NOTE_BYTES)]
}
