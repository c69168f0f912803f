//! What a pass needs around it: the lead that its writes are under, readings, Events.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::warn;

use super::{
    clock::Clock,
    events::{Events, Subject},
    lease::Leadership,
    metrics::{Metrics, WriteKind, WriteResult},
    run::{Reconcile, Term},
};
use crate::{
    cluster::{
        Answer, Cluster, Key, ReadError, WriteError, Written,
        kubernetes::{Kubernetes, index::Index},
        pass::{self, Memory, Ran, Stopped, Surroundings},
    },
    evidence::{Measure, Readings},
    plan::{
        facts::{DatabaseObjects, Limits, Objects, Question},
        intent::Write,
        reason::Reason,
    },
};

/// What is known of canaries' metrics.
pub(crate) trait Sampling: Send + Sync + 'static {
    /// Measures this of a Rollout from now on and nothing else; `None`: nothing.
    fn measure(&self, namespace: &str, rollout: &str, measure: Option<Measure>);

    /// Why the Rollouts of a namespace cannot use a source, if they cannot.
    fn problem(&self, source: &str, namespace: &str) -> Option<String>;

    /// What was last read of a revision.
    fn readings(&self, namespace: &str, rollout: &str, revision: &str) -> Option<Readings>;
}

/// Passes over the objects of one cluster.
#[derive(Debug)]
pub(crate) struct Passes<S> {
    /// The cluster.
    pub cluster: Kubernetes,
    /// Its caches.
    pub index: Arc<Index>,
    /// Metrics of canaries.
    pub sampler: S,
    /// Image of the program that runs SQL; empty where there is none.
    pub sql_image: Arc<str>,
    /// What the administrator permits of a schema phase.
    pub limits: Limits,
    /// Where Events go.
    pub events: Events,
    /// The lead that writes are under.
    pub leadership: Leadership,
    /// The clock.
    pub clock: Arc<Clock>,
    /// Own metrics.
    pub metrics: Metrics,
    /// Higher epochs than the own one that were met, and found to be of no later term.
    pub overruled: Overruled,
}

/// The term in which higher epochs were met on objects, and the highest epoch met of each key. What
/// one tenant writes on his objects says nothing of those of another.
#[derive(Debug, Default)]
pub(crate) struct Overruled(Mutex<(i64, BTreeMap<Key, i64>)>);

impl Overruled {
    /// The highest epoch that was met of a key in this term and is of no later one; at least its own.
    fn up_to(&self, own: i64, key: &Key) -> i64 {
        let overruled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let met = (overruled.0 == own).then(|| overruled.1.get(key));
        met.flatten().copied().unwrap_or(own).max(own)
    }

    fn add(&self, own: i64, key: &Key, met: i64) {
        let mut overruled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if overruled.0 != own {
            *overruled = (own, BTreeMap::new());
        }
        overruled.1.insert(key.clone(), met);
    }

    fn forget(&self, key: &Key) {
        let mut overruled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        overruled.1.remove(key);
    }
}

impl<S: Sampling> Reconcile for Passes<S> {
    async fn pass(&self, key: &Key, memory: &mut Memory, term: Term) -> Ran {
        if let Some(stopped) = self.outranked(key, term).await {
            return Ran {
                error: Some(stopped),
                ..Ran::default()
            };
        }
        let led = Led {
            cluster: &self.cluster,
            leadership: &self.leadership,
            metrics: &self.metrics,
            epoch: term.epoch,
        };
        let (namespace, name) = (key.namespace(), key.name());
        let now = || self.clock.now().0;
        let readings = |revision: &str| match key {
            Key::Rollout { .. } => self.sampler.readings(namespace, name, revision),
            Key::Database { .. } => None,
        };
        let source_problem = |source: &str| self.sampler.problem(source, namespace);
        let around = Surroundings {
            now: &now,
            readings: &readings,
            source_problem: &source_problem,
            sql_image: Arc::clone(&self.sql_image),
            limits: self.limits,
            trusted_since: term.trusted_since,
            epoch: term.epoch,
            outranks: self.overruled.up_to(term.epoch, key),
        };
        let mut ran = pass::run(&led, key, memory, &around).await;
        // A pass that was stopped half-way may not have come to what is measured.
        if let Key::Rollout { .. } = key
            && (ran.error.is_none() || ran.measure.is_some())
        {
            self.sampler.measure(namespace, name, ran.measure.take());
        }
        if let Some(stands) = ran.stands.take() {
            self.metrics.stands(namespace, name, Some(stands));
        }
        self.publish(key, &mut ran);
        ran
    }

    fn knows(&self, key: &Key) -> bool {
        self.index.knows(key)
    }

    fn keys(&self) -> Vec<Key> {
        self.index.keys()
    }

    fn forget(&self, key: &Key) {
        self.overruled.forget(key);
        if let Key::Rollout { namespace, name } = key {
            self.sampler.measure(namespace, name, None);
            self.metrics.stands(namespace, name, None);
        }
    }

    fn term_ended(&self) {
        self.keys().iter().for_each(|key| self.forget(key));
    }
}

impl<S> Passes<S> {
    /// Why this process may no longer act on a key: an object of it carries a higher epoch than
    /// its own, and the Lease does not say that this process leads all the same.
    async fn outranked(&self, key: &Key, term: Term) -> Option<Stopped> {
        let met = self.index.highest_epoch(key)?;
        if met <= self.overruled.up_to(term.epoch, key) {
            return None;
        }
        if self.leadership.confirm().await == Some(term.epoch) {
            let epoch = term.epoch;
            warn!(
                ?key,
                epoch, met, "a label with a later epoch than the Lease's is replaced"
            );
            self.overruled.add(epoch, key, met);
            return None;
        }
        Some(Stopped::Write(WriteError::NotTaken {
            object: format!("{key:?}"),
            message: format!("it was written in term {met}, later than {}", term.epoch),
        }))
    }

    /// What a pass has put on record, counted and told.
    fn publish(&self, key: &Key, ran: &mut Ran) {
        if ran.events.is_empty() {
            return;
        }
        for event in &ran.events {
            if let Some(measured) = event.measured {
                self.metrics.measured(measured);
            }
            match (event.undo, event.reason) {
                (Some(cause), Reason::FlagTakenBack) => self.metrics.flag_taken_back(cause),
                (Some(cause), _) => self.metrics.undone(cause),
                (None, _) => {}
            }
        }
        if let Some(uid) = self.index.uid(key) {
            let subject = Subject {
                key: key.clone(),
                uid,
            };
            for event in ran.events.drain(..) {
                self.events.publish(&subject, event);
            }
        }
    }
}

/// The cluster, written to only in the term that a pass belongs to. The lead is asked for before
/// each write, not once per pass.
struct Led<'a> {
    cluster: &'a Kubernetes,
    leadership: &'a Leadership,
    metrics: &'a Metrics,
    epoch: i64,
}

impl Cluster for Led<'_> {
    fn rollout(&self, namespace: &str, name: &str) -> Option<Objects> {
        self.cluster.rollout(namespace, name)
    }

    fn database(&self, namespace: &str, name: &str) -> Option<DatabaseObjects> {
        self.cluster.database(namespace, name)
    }

    async fn ask(&self, key: &Key, question: &Question) -> Result<Answer, ReadError> {
        self.cluster.ask(key, question).await
    }

    async fn write(&self, namespace: &str, write: &Write) -> Result<Written, WriteError> {
        if self.leadership.epoch() != Some(self.epoch) {
            return Err(WriteError::NotTaken {
                object: write.object(),
                message: format!("this process no longer leads in term {}", self.epoch),
            });
        }
        let written = self.cluster.write(namespace, write).await;
        let result = match &written {
            Ok(_) => WriteResult::Accepted,
            Err(WriteError::Conflict { .. } | WriteError::Exists { .. }) => WriteResult::Conflict,
            Err(WriteError::Refused { .. } | WriteError::NotTaken { .. }) => WriteResult::Refused,
            Err(WriteError::Unanswered { .. }) => WriteResult::Unanswered,
        };
        self.metrics.wrote(counted(write), result);
        written
    }
}

/// What a write is counted as.
fn counted(write: &Write) -> WriteKind {
    match write {
        Write::Scale { .. } | Write::Resize { .. } => WriteKind::Scale,
        _ => write
            .kind()
            .map_or(WriteKind::RolloutStatus, WriteKind::Object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overruled_on_one_object_is_believed_of_another() {
        let key = |name: &str| Key::Rollout {
            namespace: "ns".into(),
            name: name.into(),
        };
        let overruled = Overruled::default();
        overruled.add(7, &key("forged"), 900);
        assert_eq!(overruled.up_to(7, &key("forged")), 900);
        assert_eq!(overruled.up_to(7, &key("other")), 7);
        // Another term asks its Lease anew.
        assert_eq!(overruled.up_to(8, &key("forged")), 8);
        overruled.add(8, &key("other"), 9);
        assert_eq!(overruled.up_to(8, &key("forged")), 8);
        overruled.forget(&key("other"));
        assert_eq!(overruled.up_to(8, &key("other")), 8);
    }
}
