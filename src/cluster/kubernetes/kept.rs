//! What each object is kept as, and under which keys.

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    batch::v1::Job,
    core::v1::{Pod, Service},
};
use kube::{api::DynamicObject, core::ObjectMeta};

use super::{
    facts,
    index::{Foreign, database_key, place, rollout_key},
    ours, stored,
    table::{Entry, Place},
};
use crate::{
    api::keys,
    cluster::Key,
    plan::{
        adopting,
        facts::{
            ChildFacts, DatabaseFacts, JobFacts, PodFacts, RevisionFacts, RolloutFacts,
            ServiceFacts,
        },
    },
};

pub(super) fn place_of(metadata: &ObjectMeta) -> Place {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    place(namespace, metadata.name.as_deref().unwrap_or_default())
}

pub(super) fn entry<F>(metadata: &ObjectMeta, keys: Vec<Key>, facts: F) -> Entry<F> {
    Entry {
        keys,
        version: metadata.resource_version.clone().unwrap_or_default(),
        facts,
    }
}

/// The key that the label `stepgate.io/rollout` names.
pub(super) fn of_rollout(metadata: &ObjectMeta) -> Vec<Key> {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let rollout = ours::label(metadata, keys::ROLLOUT);
    vec![rollout_key(namespace, &rollout)]
}

pub(super) fn keep_rollout(object: &DynamicObject) -> Option<Entry<RolloutFacts>> {
    let metadata = &object.metadata;
    let Place { namespace, name } = place_of(metadata);
    let rollout = stored::rollout(object);
    let mut keys = vec![rollout_key(&namespace, &name)];
    let spec = rollout.spec.as_deref().ok();
    let database = spec.and_then(|spec| spec.database());
    keys.extend(database.map(|d| database_key(&namespace, d)));
    Some(entry(metadata, keys, rollout))
}

pub(super) fn keep_database(object: &DynamicObject) -> Option<Entry<DatabaseFacts>> {
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

pub(super) fn keep_revision(object: &ControllerRevision) -> Option<Entry<RevisionFacts>> {
    let metadata = &object.metadata;
    let keys = of_rollout(metadata);
    ours::is_revision(object).then(|| entry(metadata, keys, stored::revision(object)))
}

/// One that is not believed is kept as nobody's: it may select pods all the same.
pub(super) fn keep_child(object: &Deployment) -> Option<Entry<ChildFacts>> {
    let metadata = &object.metadata;
    let keys = match ours::is_child(object) {
        true => of_rollout(metadata),
        false => Vec::new(),
    };
    Some(entry(metadata, keys, facts::child(object)))
}

pub(super) fn keep_pod(object: &Pod) -> Option<Entry<PodFacts>> {
    let metadata = &object.metadata;
    ours::is_pod(object).then(|| entry(metadata, of_rollout(metadata), facts::pod(object)))
}

pub(super) fn keep_job(object: &Job) -> Option<Entry<JobFacts>> {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let database = ours::label(metadata, keys::DATABASE);
    let mut keys = of_rollout(metadata);
    // That of a test belongs to no database.
    if !database.is_empty() {
        keys.push(database_key(namespace, &database));
    }
    Some(entry(metadata, keys, facts::job(object)))
}

/// Whoever made it, every Rollout of the namespace that asks for Services looks at it. Which these
/// are is known when it changes: a key without a name stands for them.
pub(super) fn keep_service(object: &Service) -> Option<Entry<ServiceFacts>> {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let service = facts::service(object);
    let mut keys = vec![rollout_key(namespace, "")];
    keys.extend(
        service
            .rollout
            .iter()
            .map(|name| rollout_key(namespace, name)),
    );
    Some(entry(metadata, keys, service))
}

/// A Deployment of somebody else. Its key has its own name: who adopts it is known when it changes.
pub(super) fn keep_foreign(object: &Deployment) -> Option<Entry<Foreign<ChildFacts>>> {
    let metadata = &object.metadata;
    let Place { namespace, name } = place_of(metadata);
    let facts = Foreign(facts::foreign(object));
    Some(entry(metadata, vec![rollout_key(&namespace, &name)], facts))
}

/// A pod of a Deployment of somebody else.
pub(super) fn keep_foreign_pod(object: &Pod) -> Option<Entry<Foreign<PodFacts>>> {
    let metadata = &object.metadata;
    let deployment = ours::deployment_of(object)?;
    let pod = PodFacts {
        revision: adopting::revision_of(deployment),
        ..facts::pod(object)
    };
    let key = rollout_key(&place_of(metadata).namespace, deployment);
    Some(entry(metadata, vec![key], Foreign(pod)))
}
