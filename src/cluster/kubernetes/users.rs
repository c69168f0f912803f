//! Everything of a namespace that uses a database, read live: no cache knows workloads that are not
//! a Rollout's, and what removes something from a schema must not rest on a cache.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{ControllerRevision, DaemonSet, Deployment, StatefulSet},
        batch::v1::CronJob,
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

use super::{
    facts, ours,
    read::{list, unread},
    stored,
};
use crate::{
    api::{Rollout, keys},
    cluster::ReadError,
    plan::facts::{RolloutFacts, UserFacts},
};

/// All that uses this database: its Rollouts with their Deployments and pods, and every workload
/// and pod that says so by the label `stepgate.io/uses-database`.
///
/// # Errors
/// When the API server gave no answer.
pub async fn of(
    client: &Client,
    namespace: &str,
    database: &str,
) -> Result<Vec<UserFacts>, ReadError> {
    let mut users = of_rollouts(client, namespace, database).await?;
    let consumers = Consumers {
        client,
        namespace,
        database,
    };
    consumers
        .add::<Deployment>(
            &mut users,
            |d| {
                let (spec, status) = (d.spec.as_ref(), d.status.as_ref());
                let wanted = spec.and_then(|s| s.replicas).unwrap_or(1);
                status.and_then(|s| s.observed_generation) >= d.metadata.generation
                    && status.and_then(|s| s.updated_replicas).unwrap_or(0) >= wanted
            },
            |_| false,
        )
        .await?;
    consumers
        .add::<StatefulSet>(
            &mut users,
            |s| {
                let (spec, status) = (s.spec.as_ref(), s.status.as_ref());
                let wanted = spec.and_then(|s| s.replicas).unwrap_or(1);
                status.and_then(|s| s.observed_generation) >= s.metadata.generation
                    && status.and_then(|s| s.updated_replicas).unwrap_or(0) >= wanted
            },
            |_| false,
        )
        .await?;
    consumers
        .add::<DaemonSet>(
            &mut users,
            |d| {
                d.status.as_ref().is_some_and(|s| {
                    s.observed_generation >= d.metadata.generation
                        && s.updated_number_scheduled.unwrap_or(0) >= s.desired_number_scheduled
                })
            },
            |_| false,
        )
        .await?;
    consumers
        .add::<CronJob>(&mut users, |_| true, |_| false)
        .await?;
    consumers.add::<Pod>(&mut users, |_| true, is_over).await?;
    Ok(users)
}

/// A pod whose containers have ended, and start no more.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Workloads and pods that carry the label.
struct Consumers<'a> {
    client: &'a Client,
    namespace: &'a str,
    database: &'a str,
}

impl Consumers<'_> {
    async fn add<K>(
        &self,
        users: &mut Vec<UserFacts>,
        is_rolled_out: impl Fn(&K) -> bool,
        is_over: impl Fn(&K) -> bool,
    ) -> Result<(), ReadError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug,
    {
        let kind = K::kind(&()).into_owned();
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        let labels = format!("{}={}", keys::USES_DATABASE, self.database);
        // Without the right to look nobody knows who is there.
        if let Err(kube::Error::Api(status)) = api
            .list_metadata(&ListParams::default().labels(&labels).limit(1))
            .await
            && status.code == 403
        {
            let what = format!(
                "{kind}s cannot be listed: let the operator's account list them in this namespace"
            );
            users.push(UserFacts::of(what, None, true));
            return Ok(());
        }
        let found = list(&api, &labels, &format!("{kind}s"), |object: K| {
            (!is_over(&object)).then_some(())?;
            let metadata = object.meta();
            let name = metadata.name.as_deref().unwrap_or_default();
            let version = declared(metadata);
            let what = match (is_rolled_out(&object), version) {
                (false, _) => format!("{kind} {name}, whose pods are still being replaced"),
                (true, None) => {
                    format!(
                        "{kind} {name}, without the annotation {}",
                        keys::SCHEMA_VERSION
                    )
                }
                (true, Some(_)) => format!("{kind} {name}"),
            };
            let version = version.filter(|_| is_rolled_out(&object));
            Some(UserFacts::of(what, version, true))
        })
        .await?;
        users.extend(found);
        Ok(())
    }
}

/// The schema version that a workload or pod says it needs.
fn declared(metadata: &ObjectMeta) -> Option<i64> {
    facts::annotation(metadata, keys::SCHEMA_VERSION)?
        .parse()
        .ok()
}

/// What revisions need, by Rollout and revision: a database and a version of it.
type Known = BTreeMap<(String, String), Option<(String, Option<i64>)>>;

/// The Rollouts of a database, and the Deployments and pods of their revisions.
async fn of_rollouts(
    client: &Client,
    namespace: &str,
    database: &str,
) -> Result<Vec<UserFacts>, ReadError> {
    let revisions = Api::<ControllerRevision>::namespaced(client.clone(), namespace);
    // By Rollout and revision; nothing of one without a database. What a revision needs never changes.
    let known = list(&revisions, keys::ROLLOUT, "ControllerRevisions", |r| {
        if !ours::is_revision(&r) {
            return None;
        }
        let data = r.data.as_ref().map(|data| &data.0)?;
        let of = data["schema"]["database"].as_str().map(str::to_owned);
        let needs = of.map(|of| (of, data["schema"]["version"].as_i64()));
        Some((owner_of(&r.metadata), needs))
    })
    .await?;
    let known: Known = known.into_iter().collect();
    let erased = ApiResource::erase::<Rollout>(&());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &erased);
    let mut users = Vec::new();
    let (mut here, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
    for object in api
        .list(&ListParams::default())
        .await
        .map_err(|error| unread("Rollouts", &error))?
    {
        let rollout = stored::rollout(&object);
        let names_it = match &rollout.spec {
            Ok(spec) => spec.database() == Some(database),
            // Nobody knows what it uses.
            Err(_) => true,
        };
        if names_it {
            users.push(asked_by(&rollout, &known));
            let name = &rollout.base.name;
            users.extend(UserFacts::of_adopted(name, &rollout.status));
            here.insert(rollout.base.name);
        } else {
            elsewhere.insert(rollout.base.name);
        }
    }
    // A revision that is not known may be of any database, if its Rollout does not name another: a
    // Rollout that is deleted takes its ControllerRevisions with it, and its pods serve to their end.
    let needs = |metadata: &ObjectMeta| {
        let (rollout, revision) = owner_of(metadata);
        match known.get(&(rollout.clone(), revision)) {
            Some(Some((of, version))) => (of == database).then_some(*version),
            Some(None) => here.contains(&rollout).then_some(None),
            None => (!elsewhere.contains(&rollout)).then_some(None),
        }
    };
    // What stands at 0 and is no Rollout's any more is raised by nobody.
    let is_left = |metadata: &ObjectMeta, replicas: i32| {
        let (rollout, _) = owner_of(metadata);
        replicas == 0 && !here.contains(&rollout) && !elsewhere.contains(&rollout)
    };
    let api = Api::<Deployment>::namespaced(client.clone(), namespace);
    users.extend(
        list(&api, keys::ROLLOUT, "Deployments", |d| {
            let replicas = d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
            let what = format!("Deployment {}", d.metadata.name.clone().unwrap_or_default());
            (!is_left(&d.metadata, replicas)).then_some(())?;
            Some(UserFacts::of(what, needs(&d.metadata)?, replicas > 0))
        })
        .await?,
    );
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    users.extend(
        list(&api, keys::REVISION, "Pods", |p| {
            (!is_over(&p)).then_some(())?;
            let what = format!("Pod {}", p.metadata.name.clone().unwrap_or_default());
            Some(UserFacts::of(what, needs(&p.metadata)?, true))
        })
        .await?,
    );
    Ok(users)
}

fn owner_of(metadata: &ObjectMeta) -> (String, String) {
    let of = |key| ours::label(metadata, key);
    (of(keys::ROLLOUT), of(keys::REVISION))
}

/// What a Rollout itself may need: what its spec asks for, and what it is on its way from and to.
fn asked_by(rollout: &RolloutFacts, known: &Known) -> UserFacts {
    let name = &rollout.base.name;
    let Ok(spec) = &rollout.spec else {
        let what = format!("Rollout {name}, whose spec cannot be read");
        return UserFacts::of(what, None, true);
    };
    let status = &rollout.status;
    let stable = status.stable.as_ref().map(|s| &s.revision);
    let release = status.release.as_ref().map(|r| &r.revision);
    let mut versions = vec![spec.schema_version()];
    versions.extend(stable.into_iter().chain(release).map(|revision| {
        let key = (name.clone(), revision.clone());
        let needs = known.get(&key).and_then(Option::as_ref);
        needs.and_then(|(_, version)| *version)
    }));
    UserFacts::of_rollout(name, &versions)
}
