//! Objects of the world as the planner's facts, as the real adapter makes them of Kubernetes'
//! objects.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    object::{
        ConfigMapObject, DatabaseObject, DeploymentObject, JobObject, Objects, PodObject,
        RevisionObject, RolloutObject, ServiceObject,
    },
    setting::{NAMESPACE, NODE},
};
use crate::{
    cluster::Live,
    plan::{
        adopting,
        facts::{
            self, Adopted, Adoptee, ChildFacts, DatabaseFacts, DeploymentFacts, EarlierFacts,
            JobFacts, PodFacts, RevisionFacts, RolloutFacts, ServiceFacts, Services, SharerFacts,
        },
        flags::file::ConfigMapFacts,
        measurable::probes,
        template,
    },
};

/// A Rollout.
#[must_use]
pub fn rollout(o: &RolloutObject) -> RolloutFacts {
    RolloutFacts {
        namespace: NAMESPACE.into(),
        base: o.meta.base(),
        created: o.meta.created,
        generation: o.meta.generation,
        annotations: Arc::clone(&o.annotations),
        finalizers: o.finalizers.clone(),
        deleted: o.deleted,
        spec: o
            .spec
            .as_ref()
            .map(|whole| whole.wanted())
            .map_err(Clone::clone),
        status: Arc::clone(&o.status),
    }
}

/// A Rollout as the API server has it.
#[must_use]
pub fn live(o: &RolloutObject) -> Live {
    Live {
        facts: rollout(o),
        whole: o.spec.as_ref().ok().cloned(),
    }
}

/// A ControllerRevision.
#[must_use]
pub fn revision(o: &RevisionObject) -> RevisionFacts {
    RevisionFacts {
        base: o.meta.base(),
        revision: o.revision.to_string(),
        number: o.number,
        outcome: o.outcome,
        outcome_reason: o.reason.clone(),
        images: template::images(&o.template).into(),
        config: template::config_refs(&o.template).into(),
        probes: probes(&o.template).into(),
        schema_version: o.schema.as_ref().and_then(|schema| schema.version),
        database: o.schema.as_ref().map(|schema| schema.database.clone()),
        asked: Arc::clone(&o.asked),
        created: o.meta.created,
        owner_uid: o.meta.owner.as_ref().map(ToString::to_string),
        deleting: o.meta.deleting,
    }
}

/// A Deployment.
#[must_use]
pub fn child(o: &DeploymentObject) -> ChildFacts {
    ChildFacts {
        base: o.meta.base(),
        revision: o.revision.to_string(),
        owner_uid: o.meta.owner.as_ref().map(ToString::to_string),
        epoch: o.epoch,
        replicas: o.replicas,
        possible: (o.replicas, o.replicas),
        current: o.observed == o.meta.generation,
        status_replicas: o.status_replicas,
        available: o.available,
        adopted: o.foreign.as_ref().map(|foreign| Adopted {
            generation: o.meta.generation,
            writer: o.epoch.is_none().then(|| foreign.writer.clone()),
            epochs: o.epoch.into_iter().collect(),
        }),
        edited: o.edited,
        template: None,
        problem: o.problem.clone(),
        deleting: o.meta.deleting,
    }
}

/// A Deployment of somebody else, read live.
#[must_use]
pub fn deployment(o: &DeploymentObject) -> Option<DeploymentFacts> {
    let foreign = o.foreign.as_ref()?;
    let selector = serde_json::json!({"matchLabels": {"app": foreign.labels.get("app")}});
    Some(DeploymentFacts {
        child: child(o),
        selector: serde_json::from_value(selector).ok(),
        labels: foreign.labels.clone(),
        labelled: None,
        owner: foreign.owner.clone(),
        paused: foreign.paused,
        rolling: false,
    })
}

/// The Deployment that a Rollout adopts, as a cache holds it.
fn adoptee(objects: &Objects, of: &RolloutFacts) -> Option<Adoptee> {
    let name = adopting::named(of)?;
    let found = objects
        .deployments
        .get(name)
        .filter(|d| d.foreign.is_some());
    Some(match found {
        Some(found) => Adoptee::There(child(found).into()),
        None => Adoptee::Gone,
    })
}

/// Another Rollout that adopts the same and goes first.
fn rival(objects: &Objects, of: &RolloutFacts) -> Option<String> {
    let name = adopting::named(of)?;
    let rank = |r: &RolloutFacts| (r.status.adopted.is_none(), r.created, r.base.name.clone());
    let others = objects.rollouts.values().map(|o| rollout(o));
    let mut others = others.filter(|o| o.base.name != of.base.name);
    let first = others.find(|o| adopting::named(o) == Some(name) && rank(o) < rank(of));
    first.map(|o| o.base.name)
}

/// A pod.
#[must_use]
pub fn pod(o: &PodObject) -> PodFacts {
    PodFacts {
        name: o.meta.name.to_string(),
        revision: o.revision.to_string(),
        created: o.meta.created,
        placed: o.placed,
        ready_since: o.ready_since,
        lost: o.lost,
        silent: o.silent,
        node: o
            .placed
            .filter(|_| o.ready_since.is_none())
            .map(|_| NODE.to_owned()),
        restarts: o.restarts,
        ended: o.ended,
        waiting: o.waiting.clone(),
        unschedulable: o.unschedulable.clone(),
        deleting: o.meta.deleting,
        ends_by: o.ends_by,
    }
}

/// A Job.
#[must_use]
pub fn job(o: &JobObject) -> JobFacts {
    JobFacts {
        base: o.meta.base(),
        rollout: o.rollout.to_string(),
        revision: o.revision.to_string(),
        test: o.test.is_some(),
        owner_uid: o.meta.owner.as_ref().map(ToString::to_string),
        epoch: o.epoch,
        suspended: o.suspended,
        started: o.started,
        runs: o.runs,
        live_pods: o.live_pods,
        failed_pods: o.failed_pods,
        ended: o.ended.clone(),
        deleting: o.meta.deleting,
    }
}

/// A DatabaseSchema.
#[must_use]
pub fn database(o: &DatabaseObject) -> DatabaseFacts {
    DatabaseFacts {
        base: o.meta.base(),
        annotations: Arc::clone(&o.annotations),
        record: Arc::clone(&o.record),
        allowed: o.allowed.clone(),
        finalizers: o.finalizers.clone(),
        deleting: o.meta.deleting,
    }
}

/// A Service.
#[must_use]
pub fn service(o: &ServiceObject) -> ServiceFacts {
    ServiceFacts {
        base: o.meta.base(),
        rollout: o.rollout.as_ref().map(ToString::to_string),
        owner_uid: o.meta.owner.as_ref().map(ToString::to_string),
        epoch: o.epoch,
        selector: o.selector.clone(),
        reach: o.reach,
        ports: Arc::clone(&o.ports),
        not_for_users: o.not_for_users,
        uncertain: false,
        deleting: o.meta.deleting,
    }
}

/// A ConfigMap that holds flags.
#[must_use]
pub fn config_map(o: &ConfigMapObject) -> ConfigMapFacts {
    ConfigMapFacts {
        base: o.meta.base(),
        rollout: o.rollout.as_ref().map(ToString::to_string),
        owner_uid: o.meta.owner.as_ref().map(ToString::to_string),
        deleting: o.meta.deleting,
        file: Some(o.file.clone()),
        notes: o.notes.clone(),
    }
}

/// What a cache holds of the Services, for a Rollout that asks for some, or did.
fn services(objects: &Objects, rollout: &RolloutObject) -> Services {
    let spec = rollout.spec.as_deref().ok();
    let asks = spec.is_some_and(|spec| spec.traffic.is_some());
    let all = objects.services.values().map(|s| service(s));
    Services {
        all: match asks || rollout.status.traffic.is_some() {
            true => all.collect(),
            false => Vec::new(),
        },
        unread: None,
    }
}

/// Everything a cache holds of one Rollout.
#[must_use]
pub(crate) fn cached(objects: &Objects, name: &str) -> Option<facts::Objects> {
    let found = objects.rollouts.get(name)?;
    let spec = found.spec.as_ref().ok();
    let database_name = spec.and_then(|s| s.database());
    let neighbours = objects.rollouts.values().filter(|other| {
        (other.meta.created, &other.meta.name) < (found.meta.created, &found.meta.name)
            && match (&other.spec, spec) {
                (Ok(theirs), Some(ours)) => theirs.selector == ours.selector,
                _ => false,
            }
    });
    let asks = spec.is_some_and(|spec| !spec.after.is_empty());
    let others = objects.rollouts.values().filter(|_| asks);
    let others: BTreeMap<_, _> = others
        .map(|o| (o.meta.name.to_string(), rollout(o)))
        .collect();
    let revisions = objects.revisions.values();
    let pods = objects.pods.values();
    let jobs = objects.jobs.values();
    let adopted = adoptee(objects, &rollout(found));
    Some(facts::Objects {
        rival: rival(objects, &rollout(found)),
        rollout: rollout(found),
        revisions: revisions
            .filter(|r| &*r.rollout == name)
            .map(|r| revision(r))
            .collect(),
        children: own_children(objects, name).map(child).collect(),
        pods: pods
            .filter(|p| &*p.rollout == name)
            .map(|p| pod(p))
            .collect(),
        jobs: jobs
            .filter(|j| &*j.rollout == name)
            .map(|j| job(j))
            .collect(),
        database: database_name
            .and_then(|d| objects.databases.get(d))
            .map(|d| database(d)),
        frozen: frozen(objects, name, database_name),
        neighbours: neighbours.map(|n| n.meta.name.to_string()).collect(),
        sharers: database_name.map_or_else(Vec::new, |d| sharers(objects, name, d)),
        earlier: EarlierFacts::all(&rollout(found), |name| others.get(name)),
        services: services(objects, found),
        adopted,
    })
}

/// Deployments that the operator made for a Rollout.
fn own_children<'a>(
    objects: &'a Objects,
    name: &'a str,
) -> impl Iterator<Item = &'a DeploymentObject> {
    objects.children(name).filter(|d| d.foreign.is_none())
}

/// The flags of a Rollout that contracts on other databases than its own rely on.
fn frozen(objects: &Objects, rollout: &str, database: Option<&str>) -> facts::Frozen {
    let databases = objects.databases.values();
    let others = databases.filter(|d| Some(&*d.meta.name) != database);
    others.flat_map(|d| d.record.frozen_of(rollout)).collect()
}

/// The other Rollouts on a database, where a version of this one may wait for them.
fn sharers(objects: &Objects, name: &str, database: &str) -> Vec<SharerFacts> {
    let record = objects.databases.get(database).map(|d| &d.record);
    let mut versions = record.into_iter().flat_map(|r| &r.versions);
    if !versions.any(|v| v.is_open()) {
        return Vec::new();
    }
    let others = objects.rollouts.values().filter(|other| {
        let spec = other.spec.as_ref().ok();
        &*other.meta.name != name && spec.and_then(|s| s.database()) == Some(database)
    });
    others.map(|other| sharer(objects, other)).collect()
}

/// A Rollout, as others on its database see it.
#[must_use]
pub(crate) fn sharer(objects: &Objects, of: &RolloutObject) -> SharerFacts {
    let name = &of.meta.name;
    let revisions = objects.revisions.values().filter(|r| r.rollout == *name);
    let revisions: Vec<_> = revisions.map(|r| revision(r)).collect();
    let children: Vec<_> = own_children(objects, name).map(child).collect();
    let pods = objects.pods.values().filter(|p| p.rollout == *name);
    let pods = pods.filter(|p| adopting::deployment_of(&p.revision).is_none());
    let pods: Vec<_> = pods.map(|p| pod(p)).collect();
    SharerFacts::of(&rollout(of), revisions.iter(), children.iter(), pods.iter())
}

/// Everything a cache holds of one DatabaseSchema.
#[must_use]
pub(crate) fn cached_database(objects: &Objects, name: &str) -> Option<facts::DatabaseObjects> {
    let found = objects.databases.get(name)?;
    let names_it = |o: &&Arc<RolloutObject>| {
        let spec = o.spec.as_deref().ok();
        spec.and_then(|spec| spec.database()) == Some(name)
    };
    let rollouts = objects.rollouts.values().filter(names_it);
    let jobs = objects.jobs.values();
    Some(facts::DatabaseObjects {
        database: database(found),
        jobs: jobs
            .filter(|j| &*j.database == name)
            .map(|j| job(j))
            .collect(),
        rollouts: rollouts
            .map(|r| (r.meta.name.to_string(), r.meta.uid.to_string()))
            .collect(),
    })
}
