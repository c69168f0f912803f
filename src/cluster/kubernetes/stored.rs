//! Rollouts, ControllerRevisions and DatabaseSchemas as the index keeps them: what decisions need,
//! without pod templates. Ten thousand templates would not fit into the operator's memory.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::DynamicObject;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::{error, warn};

use super::{facts, ours};
use crate::{
    api::{
        DatabaseRecord, RolloutSpec, RolloutStatus, SchemaSpec, Selector, keys, status::Outcome,
        text::bounded,
    },
    cluster::Live,
    plan::{
        facts::{DatabaseFacts, Remembered, RevisionFacts, RolloutFacts},
        measurable::probes,
        revision::{Wanted, Whole, asked},
        template,
    },
};

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
    pub fn of(rollout: &str, spec: &Wanted) -> Self {
        let mut labels = spec.labels().clone();
        labels.insert(keys::ROLLOUT.into(), rollout.into());
        labels.entry(keys::REVISION.into()).or_default();
        Self {
            selector: spec.selector.clone(),
            labels,
        }
    }

    /// Whether one's selector would select the other's pods.
    #[must_use]
    pub(crate) fn overlap(&self, other: &Self) -> bool {
        self.selector.selects(&other.labels) || other.selector.selects(&self.labels)
    }
}

/// A Rollout, from the object as the API server tells it. A malformed one is kept: its planner
/// must see it to say so.
#[must_use]
pub fn rollout(object: &DynamicObject) -> RolloutFacts {
    facts_of(object, spec(object).map(|spec| Arc::new(Wanted::new(spec))))
}

/// The same with its pod templates.
#[must_use]
pub fn live(object: &DynamicObject) -> Live {
    let whole = spec(object).map(|spec| Arc::new(Whole::new(spec)));
    let wanted = whole.as_ref().map(|whole| whole.wanted());
    Live {
        facts: facts_of(object, wanted.map_err(Clone::clone)),
        whole: whole.ok(),
    }
}

fn spec(object: &DynamicObject) -> Result<RolloutSpec, String> {
    read(object.data.get("spec").unwrap_or(&Value::Null))
}

fn facts_of(object: &DynamicObject, spec: Result<Arc<Wanted>, String>) -> RolloutFacts {
    let metadata = &object.metadata;
    let (namespace, base) = (
        metadata.namespace.clone().unwrap_or_default(),
        facts::base(metadata),
    );
    let status = read::<Option<RolloutStatus>>(object.data.get("status").unwrap_or(&Value::Null));
    if let Err(error) = &status {
        let rollout = &base.name;
        warn!(%namespace, %rollout, %error, "status cannot be read and counts as lost");
    }
    RolloutFacts {
        namespace,
        base,
        created: facts::created(metadata),
        generation: metadata.generation.unwrap_or(0),
        annotations: facts::commands(metadata),
        finalizers: metadata.finalizers.clone().unwrap_or_default(),
        deleted: metadata.deletion_timestamp.as_ref().map(|t| t.0),
        spec,
        status: Arc::new(status.ok().flatten().unwrap_or_default()),
    }
}

/// Reads a value, and says which field is wrong if one is.
fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).or_else(|_| {
        // Once more, slower and with the path.
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

/// A ControllerRevision, from the object as the API server tells it.
#[must_use]
pub fn revision(object: &ControllerRevision) -> RevisionFacts {
    let metadata = &object.metadata;
    let outcome = facts::annotation(metadata, keys::OUTCOME)
        .and_then(|o| Outcome::deserialize(Value::from(o)).ok());
    let reason = facts::annotation(metadata, keys::OUTCOME_REASON);
    let data = object.data.as_ref().map_or(&Value::Null, |data| &data.0);
    RevisionFacts {
        base: facts::base(metadata),
        revision: ours::label(metadata, keys::REVISION),
        number: object.revision,
        outcome,
        outcome_reason: bounded(reason.unwrap_or_default()),
        images: template::images(&data["template"]).into(),
        config: template::config_refs(&data["template"]).into(),
        probes: probes(&data["template"]).into(),
        schema_version: data["schema"]["version"].as_i64(),
        database: data["schema"]["database"].as_str().map(str::to_owned),
        asked: asked(
            &data["template"],
            SchemaSpec::deserialize(&data["schema"]).ok().as_ref(),
        )
        .into(),
        created: facts::created(metadata),
        owner_uid: facts::owner(metadata),
        deleting: metadata.deletion_timestamp.is_some(),
    }
}

/// What a ControllerRevision remembers.
#[must_use]
pub fn remembered(object: ControllerRevision) -> Remembered {
    let data = object.data.map_or(Value::Null, |data| data.0);
    let (template, schema) = match data {
        Value::Object(mut data) => (data.remove("template"), data.remove("schema")),
        _ => (None, None),
    };
    Remembered {
        template: template.unwrap_or_default(),
        schema: schema.and_then(|schema| SchemaSpec::deserialize(schema).ok()),
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
    let record = read::<Option<DatabaseRecord>>(record)?;
    let allowed = object.data.get("allowedRollouts").unwrap_or(&Value::Null);
    let allowed = read::<Option<Vec<String>>>(allowed)?;
    Ok(DatabaseFacts {
        base: facts::base(metadata),
        annotations: facts::commands(metadata),
        record: Arc::new(record.unwrap_or_default()),
        allowed: allowed.map(Arc::from),
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
