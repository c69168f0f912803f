//! Rollouts, ControllerRevisions and DatabaseSchemas as the index keeps them: the large parts as
//! text, because a parsed pod template takes about ten times the room and is only needed while a
//! pass runs.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{api::DynamicObject, core::ObjectMeta};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::{error, warn};

use super::facts;
use crate::{
    api::{
        DatabaseRecord, RolloutSpec, RolloutStatus, SchemaSpec, Selector, keys,
        selector::template_labels, status::Outcome, text::bounded,
    },
    plan::{
        facts::{Base, DatabaseFacts, RevisionFacts, RolloutFacts},
        revision::Wanted,
    },
};

/// A Rollout.
#[derive(Clone, Debug)]
pub struct StoredRollout {
    /// All but spec and status.
    head: Head,
    spec: Box<str>,
    status: Box<str>,
    /// The database it names.
    pub(super) database: Option<String>,
    /// What its selector selects; `None` when the spec cannot be read.
    pub(super) pods: Option<Pods>,
}

#[derive(Clone, Debug)]
struct Head {
    namespace: String,
    base: Base,
    created: Timestamp,
    generation: i64,
    annotations: Arc<BTreeMap<String, String>>,
    deleting: bool,
}

impl Head {
    fn new(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            base: facts::base(metadata),
            created: facts::created(metadata),
            generation: metadata.generation.unwrap_or(0),
            annotations: facts::commands(metadata),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }
}

/// What two Rollouts are compared by.
#[derive(Clone, Debug, PartialEq)]
pub struct Pods {
    /// The selector.
    pub selector: Selector,
    /// Labels of the pods.
    pub labels: BTreeMap<String, String>,
}

impl Pods {
    /// What a Rollout's pods look like to selectors: the labels of the template, and those that
    /// every child adds.
    #[must_use]
    pub fn of(rollout: &str, spec: &RolloutSpec) -> Self {
        let mut labels = template_labels(&spec.template);
        labels.insert(keys::ROLLOUT.into(), rollout.into());
        labels.entry(keys::REVISION.into()).or_default();
        Self {
            selector: spec.selector.clone(),
            labels,
        }
    }

    /// Whether one's selector would select the other's pods.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> bool {
        self.selector.selects(&other.labels) || other.selector.selects(&self.labels)
    }
}

impl StoredRollout {
    /// From the object as the API server tells it. A malformed one is kept: its planner must see
    /// it to say so.
    #[must_use]
    pub fn new(object: &DynamicObject) -> Self {
        let text = |key: &str| object.data.get(key).unwrap_or(&Value::Null).to_string();
        let (spec, status) = (text("spec"), text("status"));
        let head = Head::new(&object.metadata);
        if let Err(error) = read::<Option<RolloutStatus>>(&status) {
            let (namespace, rollout) = (&head.namespace, &head.base.name);
            warn!(%namespace, %rollout, %error, "status cannot be read and counts as lost");
        }
        let readable = read::<RolloutSpec>(&spec).ok();
        let database = readable.as_ref().and_then(RolloutSpec::database);
        Self {
            database: database.map(str::to_owned),
            pods: readable
                .as_ref()
                .map(|spec| Pods::of(&head.base.name, spec)),
            head,
            spec: spec.into(),
            status: status.into(),
        }
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.head.base.uid
    }

    /// Whether this was made before `other`. Of two that select the same pods the older goes on.
    #[must_use]
    pub fn is_older(&self, other: &Self) -> bool {
        let age = |rollout: &Self| (rollout.head.created, rollout.head.base.name.clone());
        age(self) < age(other)
    }

    /// Whether other objects' passes may come out differently because of the difference between
    /// this and `old`: its status is nobody else's business.
    #[must_use]
    pub fn concerns_others(&self, old: &Self) -> bool {
        self.database != old.database
            || self.pods != old.pods
            || self.head.base.uid != old.head.base.uid
            || self.head.deleting != old.head.deleting
    }

    /// The facts. What is the same in `known` is not parsed again.
    #[must_use]
    pub fn facts(&self, known: Option<&RolloutFacts>) -> RolloutFacts {
        let head = self.head.clone();
        let known = known.filter(|known| known.base.uid == head.base.uid);
        // A generation has one spec.
        let spec = known.filter(|known| known.generation == head.generation);
        let spec = spec.map(|known| known.spec.clone());
        let status = known.filter(|known| known.base == head.base);
        let status = status.map(|known| Arc::clone(&known.status));
        RolloutFacts {
            namespace: head.namespace,
            base: head.base,
            generation: head.generation,
            annotations: head.annotations,
            deleting: head.deleting,
            spec: spec.unwrap_or_else(|| read(&self.spec).map(|spec| Arc::new(Wanted::new(spec)))),
            status: status.unwrap_or_else(|| {
                let status = read::<Option<RolloutStatus>>(&self.status);
                Arc::new(status.ok().flatten().unwrap_or_default())
            }),
        }
    }
}

/// Reads text, and says which field is wrong if one is.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).or_else(|_| {
        // Once more, slower and with the path; through a value, because the position in a text
        // that nobody else has seen would only confuse.
        let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            // The words repeat what was read, however large that is.
            bounded(&match path.as_str() {
                "." => error.inner().to_string(),
                _ => format!("{path}: {}", error.inner()),
            })
        })
    })
}

/// A ControllerRevision.
#[derive(Clone, Debug)]
pub struct StoredRevision {
    /// All but template and schema.
    head: RevisionFacts,
    data: Box<str>,
}

#[derive(Deserialize)]
struct RevisionData {
    #[serde(default)]
    template: Value,
    #[serde(default)]
    schema: Option<SchemaSpec>,
}

impl StoredRevision {
    /// From the object as the API server tells it.
    #[must_use]
    pub fn new(object: &ControllerRevision) -> Self {
        let metadata = &object.metadata;
        let outcome = facts::annotation(metadata, keys::OUTCOME)
            .and_then(|o| Outcome::deserialize(Value::from(o)).ok());
        let reason = facts::annotation(metadata, keys::OUTCOME_REASON);
        let data = object.data.as_ref();
        Self {
            head: RevisionFacts {
                base: facts::base(metadata),
                revision: facts::label(metadata, keys::REVISION),
                number: object.revision,
                outcome,
                outcome_reason: bounded(reason.unwrap_or_default()),
                template: Arc::default(),
                schema: None,
                created: facts::created(metadata),
                owner_uid: facts::owner(metadata),
                deleting: metadata.deletion_timestamp.is_some(),
            },
            data: data.map_or_else(|| "{}".into(), |d| d.0.to_string().into()),
        }
    }

    /// Whether these are the facts of this very version.
    #[must_use]
    pub fn is(&self, known: &RevisionFacts) -> bool {
        self.head.base == known.base
    }

    /// The facts.
    #[must_use]
    pub fn facts(&self) -> RevisionFacts {
        let mut facts = self.head.clone();
        match read::<RevisionData>(&self.data) {
            Ok(data) => {
                facts.template = Arc::new(data.template);
                facts.schema = data.schema.map(Arc::new);
            }
            Err(error) => warn!(revision = %facts.base.name, %error, "its data cannot be read"),
        }
        facts
    }
}

/// A DatabaseSchema.
///
/// # Errors
/// When its record cannot be read. An empty record in its place would let phases run again and
/// lose the undo floor, so such an object must stay unknown: that stops all that needs it.
pub fn database(object: &DynamicObject) -> Result<DatabaseFacts, String> {
    let metadata = &object.metadata;
    let record = object.data.get("record").unwrap_or(&Value::Null);
    let record = read::<Option<DatabaseRecord>>(&record.to_string())?;
    Ok(DatabaseFacts {
        base: facts::base(metadata),
        record: Arc::new(record.unwrap_or_default()),
        finalizers: metadata.finalizers.clone().unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
    })
}

/// Says that a DatabaseSchema cannot be read.
pub(super) fn report_unreadable(object: &DynamicObject, error: &str) {
    let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
    let (namespace, database) = (namespace.as_deref(), name.as_deref());
    error!(
        namespace,
        database,
        error,
        "the record of this DatabaseSchema cannot be read; no phase runs on it until it is mended"
    );
}

#[cfg(test)]
mod tests;
