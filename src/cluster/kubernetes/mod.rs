//! The Kubernetes API behind the [`Cluster`] trait: the only code that talks to the API server
//! about Rollouts.
//!
//! [`watch`] fills [`index`] with the [`facts`] of our own objects; [`ask`] reads what no cache
//! holds; [`mod@write`] makes each write one request, and [`refusal`] sorts what came of it.

pub mod ask;
pub mod facts;
pub mod index;
mod kept;
mod neighbours;
pub mod ours;
mod progress;
mod read;
mod redact;
pub mod refusal;
mod routes;
pub mod stored;
pub mod table;
mod users;
pub mod watch;
pub mod write;

use std::{sync::Arc, time::Duration};

use kube::{Client, api::DynamicObject};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::{
    index::Index,
    write::{Answered, Prepared},
};
use super::{Answer, Cluster, Key, ReadError, WriteError, Written};
use crate::plan::{
    facts::{DatabaseObjects, Objects, Question},
    intent::{Kind, Write},
};

/// A cluster behind its API server.
#[derive(Clone)]
pub struct Kubernetes {
    index: Arc<Index>,
    reads: Client,
    writes: Client,
    patience: Duration,
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes")
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Kubernetes {
    /// A cluster whose caches are `index`. `writes` must be a client that repeats no request by
    /// itself. `patience` is how long one request may take.
    #[must_use]
    pub const fn new(index: Arc<Index>, reads: Client, writes: Client, patience: Duration) -> Self {
        Self {
            index,
            reads,
            writes,
            patience,
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        object: &str,
        prepared: Prepared,
    ) -> Result<T, WriteError> {
        let Prepared {
            creates, request, ..
        } = prepared;
        match tokio::time::timeout(self.patience, self.writes.request::<T>(request)).await {
            Ok(answer) => answer.map_err(|error| refusal::sort(object, creates, &error)),
            Err(_) => Err(WriteError::Unanswered {
                object: object.to_owned(),
                message: format!("no answer within {} s", self.patience.as_secs_f32()),
            }),
        }
    }
}

impl Cluster for Kubernetes {
    fn rollout(&self, namespace: &str, name: &str) -> Option<Objects> {
        self.index.rollout(namespace, name)
    }

    fn database(&self, namespace: &str, name: &str) -> Option<DatabaseObjects> {
        self.index.database(namespace, name)
    }

    async fn ask(&self, key: &Key, question: &Question) -> Result<Answer, ReadError> {
        let answer = ask::answer(&self.reads, &self.index, key, question);
        let answer = tokio::time::timeout(self.patience, answer).await;
        answer.unwrap_or_else(|_| {
            Err(ReadError {
                what: question.to_string(),
                message: format!("no answer within {} s", self.patience.as_secs_f32()),
            })
        })
    }

    async fn write(&self, namespace: &str, write: &Write) -> Result<Written, WriteError> {
        let prepared = write::prepare(namespace, write).map_err(|error| WriteError::Refused {
            object: write.object(),
            message: error.to_string(),
            transient: false,
        })?;
        let object = write.object();
        match prepared.answered {
            Answered::Rollout => {
                let rollout: DynamicObject = self.send(&object, prepared).await?;
                Ok(Written::Rollout(stored::rollout(&rollout)))
            }
            Answered::Object(Kind::Revision) => {
                let revision = self.send(&object, prepared).await?;
                Ok(Written::Revision(stored::revision(&revision)))
            }
            Answered::Object(Kind::Deployment) => {
                let child = self.send(&object, prepared).await;
                let child = child.map_err(|error| refusal::with_field(write, error))?;
                Ok(Written::Child(facts::child(&child)))
            }
            Answered::Adopted => {
                let child = self.send(&object, prepared).await?;
                Ok(Written::Child(facts::foreign(&child)))
            }
            Answered::Object(Kind::Job) => {
                let job = self.send(&object, prepared).await;
                let job = job.map_err(|error| refusal::with_field(write, error))?;
                Ok(Written::Job(facts::job(&job)))
            }
            Answered::Object(Kind::Service) => {
                let service = self.send(&object, prepared).await?;
                Ok(Written::Service(facts::service(&service)))
            }
            Answered::Object(Kind::ConfigMap) => {
                let _: Value = self.send(&object, prepared).await?;
                Ok(Written::Unkept)
            }
            Answered::Object(Kind::Database) => {
                let database: DynamicObject = self.send(&object, prepared).await?;
                let database = stored::database(&database);
                database
                    .map(Written::Database)
                    .map_err(|message| WriteError::Unanswered { object, message })
            }
            Answered::Object(Kind::HttpRoute | Kind::GrpcRoute | Kind::VirtualService) => {
                let _: Value = self.send(&object, prepared).await?;
                Ok(Written::Unkept)
            }
            Answered::Nothing => {
                let _: Value = self.send(&object, prepared).await?;
                Ok(Written::Gone)
            }
        }
    }
}
