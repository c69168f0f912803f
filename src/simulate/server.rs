//! The API server: what becomes of a write.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    facts,
    object::{
        ConfigMapObject, DatabaseObject, DeploymentObject, JobObject, Meta, Name, Object,
        RevisionObject, RolloutObject, ServiceObject, Stored, Watched, default_bound,
    },
    request::describe,
    sql, sql_ledger,
    world::World,
};
use crate::{
    api::{DatabaseRecord, PhaseKind, SchemaSpec, keys},
    cluster::{WriteError, Written},
    plan::{
        facts::{Base, Reach},
        intent::{Kind, Write},
        revision::asked,
    },
};

/// An image that no API server takes: it stands for a template that is not valid.
pub const INVALID_IMAGE: &str = "invalid";

pub(super) type Answer = Result<Written, WriteError>;

impl World {
    /// Handles a write.
    pub(super) fn apply(&mut self, write: &Write) -> Answer {
        match write {
            Write::RecordStatus { base, status } => {
                let mut next: RolloutObject = self.read(write, base)?;
                // Over the wire: times lose what is below a second.
                next.status = Arc::new(over_the_wire(write, &**status)?);
                Ok(Written::Rollout(facts::rollout(&self.store(next))))
            }
            Write::Create { kind, manifest } => match kind {
                Kind::Revision => self.create_revision(write, manifest),
                Kind::Deployment => self.create_deployment(write, manifest),
                Kind::Database => self.create_database(write, manifest),
                Kind::Job => self.create_job(write, manifest),
                Kind::Service => self.create_service(write, manifest),
                Kind::HttpRoute | Kind::GrpcRoute | Kind::VirtualService => {
                    Err(refused(write, "routes are others'"))
                }
                Kind::ConfigMap => self.create_config_map(write, manifest),
            },
            Write::MarkRevision {
                base,
                outcome,
                reason,
                number,
            } => {
                let mut next: RevisionObject = self.read(write, base)?;
                next.outcome = *outcome;
                next.reason = outcome.map_or(String::new(), |_| reason.clone());
                next.number = number.unwrap_or(next.number);
                Ok(Written::Revision(facts::revision(&self.store(next))))
            }
            Write::Adopt { kind, base, owner } => self.adopt(write, *kind, base, owner),
            Write::Scale { base, from, to, .. } => {
                let mut next: DeploymentObject = self.read(write, base)?;
                // What settles another sets an annotation; of a Deployment these count like its
                // spec.
                if from == to || next.replicas != *to {
                    next.replicas = *to;
                    next.meta.generation += 1;
                }
                Ok(Written::Child(facts::child(&self.store(next))))
            }
            Write::Resize {
                base, epoch, to, ..
            } => {
                let before: DeploymentObject = self.read(write, base)?;
                let mut next = before.clone();
                next.meta.generation += i64::from(next.replicas != *to);
                (next.replicas, next.epoch) = (*to, Some(*epoch));
                // What settles has another manager each time, so that it always changes something.
                let answer = match next == before {
                    true => facts::child(&self.bump(&before)),
                    false => facts::child(&self.store(next)),
                };
                Ok(Written::Child(answer))
            }
            Write::Finalize { base, finalizers } => {
                let mut next: RolloutObject = self.read(write, base)?;
                next.finalizers.clone_from(finalizers);
                if next.deleted.is_some() && finalizers.is_empty() {
                    let answer = facts::rollout(&next);
                    self.did(&base.name, "the Rollout is gone");
                    self.rollout_goes(Arc::new(next));
                    return Ok(Written::Rollout(answer));
                }
                Ok(Written::Rollout(facts::rollout(&self.store(next))))
            }
            Write::Fence {
                kind: Kind::Job,
                base,
                epoch,
            } => {
                let mut next: JobObject = self.read(write, base)?;
                next.epoch = Some(*epoch);
                Ok(Written::Job(facts::job(&self.store(next))))
            }
            Write::Fence {
                kind: Kind::Service,
                base,
                epoch,
            } => {
                let mut next: ServiceObject = self.read(write, base)?;
                next.epoch = Some(*epoch);
                Ok(Written::Service(facts::service(&self.store(next))))
            }
            Write::Select {
                base,
                spec,
                settles,
                ..
            } => {
                let mut next: ServiceObject = self.read(write, base)?;
                (next.selector, next.ports) = (selector(spec), ports(spec));
                if *settles {
                    next.settled = Some(base.resource_version.clone());
                }
                Ok(Written::Service(facts::service(&self.store(next))))
            }
            Write::Fence { base, epoch, .. } => {
                let mut next: DeploymentObject = self.read(write, base)?;
                next.epoch = Some(*epoch);
                Ok(Written::Child(facts::child(&self.store(next))))
            }
            Write::RecordDatabase {
                base,
                record,
                finalizers,
            } => self.record_database(write, base, record, finalizers),
            Write::ReleaseJob { base } => {
                let mut next: JobObject = self.read(write, base)?;
                next.meta.generation += i64::from(next.suspended);
                next.suspended = false;
                self.let_run(&next);
                Ok(Written::Job(facts::job(&self.store(next))))
            }
            Write::Weigh { base, weights, .. } => self.weigh(write, base, weights),
            Write::Flags { base, change } => self.write_flags(write, base, change),
            Write::Delete { kind, base } => self.delete(write, *kind, base),
        }
    }

    /// The object a write rests on, if it is still the version it was.
    pub(super) fn read<T: Stored>(&self, write: &Write, base: &Base) -> Result<T, WriteError> {
        T::table(&self.live)
            .get(base.name.as_str())
            .filter(|object| is_base(object.meta(), base))
            .map(|object| (**object).clone())
            .ok_or_else(|| WriteError::Conflict {
                object: describe(write),
            })
    }

    pub(super) fn is_free(
        &self,
        write: &Write,
        kind: Watched,
        name: &str,
    ) -> Result<(), WriteError> {
        match self.find(kind, name) {
            None => Ok(()),
            Some(_) => Err(WriteError::Exists {
                object: describe(write),
            }),
        }
    }

    fn create_revision(&mut self, write: &Write, manifest: &Value) -> Answer {
        let name = text(&manifest["metadata"]["name"]);
        self.is_free(write, Watched::Revisions, name)?;
        let data = &manifest["data"];
        let schema = data.get("schema").filter(|s| !s.is_null()).cloned();
        let schema: Option<SchemaSpec> = schema.map(|s| read_value(write, s)).transpose()?;
        let object = RevisionObject {
            meta: self.meta(name, owner(manifest)),
            rollout: label(manifest, keys::ROLLOUT),
            revision: label(manifest, keys::REVISION),
            number: manifest["revision"].as_i64().unwrap_or(0),
            outcome: None,
            reason: String::new(),
            template: Arc::new(data["template"].clone()),
            asked: asked(&data["template"], schema.as_ref()).into(),
            schema: schema.map(Arc::new),
        };
        Ok(Written::Revision(facts::revision(&self.store(object))))
    }

    fn create_deployment(&mut self, write: &Write, manifest: &Value) -> Answer {
        let name = text(&manifest["metadata"]["name"]);
        self.is_free(write, Watched::Deployments, name)?;
        let image = image(&manifest["spec"]["template"]);
        if &*image == INVALID_IMAGE {
            return Err(refused(
                write,
                "spec.template.spec.containers[0].image: Invalid value",
            ));
        }
        let replicas = manifest["spec"]["replicas"].as_i64().unwrap_or(1);
        let object = DeploymentObject {
            meta: self.meta(name, owner(manifest)),
            rollout: label(manifest, keys::ROLLOUT),
            revision: label(manifest, keys::REVISION),
            epoch: epoch(manifest),
            image,
            foreign: None,
            edited: false,
            restarts: 0,
            bounds: ["maxSurge", "maxUnavailable"].map(|bound| {
                let bound = &manifest["spec"]["strategy"]["rollingUpdate"][bound];
                serde_json::from_value(bound.clone()).unwrap_or_else(|_| default_bound())
            }),
            replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
            observed: 0,
            status_replicas: 0,
            available: 0,
            problem: None,
        };
        Ok(Written::Child(facts::child(&self.store(object))))
    }

    fn create_database(&mut self, write: &Write, manifest: &Value) -> Answer {
        let name = text(&manifest["metadata"]["name"]);
        self.is_free(write, Watched::Databases, name)?;
        let record = manifest.get("record").filter(|r| !r.is_null()).cloned();
        let record: Option<DatabaseRecord> = record.map(|r| read_value(write, r)).transpose()?;
        let object = DatabaseObject {
            meta: self.meta(name, None),
            annotations: Arc::default(),
            record: Arc::new(record.unwrap_or_default()),
            allowed: None,
            finalizers: Vec::new(),
        };
        Ok(Written::Database(facts::database(&self.store(object))))
    }

    fn create_job(&mut self, write: &Write, manifest: &Value) -> Answer {
        let name = text(&manifest["metadata"]["name"]);
        self.is_free(write, Watched::Jobs, name)?;
        let (phase, test) = (label(manifest, keys::PHASE), label(manifest, keys::TEST));
        let phase = PhaseKind::ALL.into_iter().find(|p| p.word() == &*phase);
        let test = Some(test).filter(|test| !test.is_empty());
        if phase.is_some() == test.is_some() {
            let words = "the Job has no label that names its phase or test";
            return Err(refused(write, words));
        }
        let order = sql_ledger::order(&manifest["spec"]["template"]);
        let object = JobObject {
            proves: sql_ledger::proves(&manifest["spec"]["template"], &order),
            meta: self.meta(name, owner(manifest)),
            rollout: label(manifest, keys::ROLLOUT),
            revision: label(manifest, keys::REVISION),
            database: label(manifest, keys::DATABASE),
            phase,
            test,
            epoch: epoch(manifest),
            image: image(&manifest["spec"]["template"]),
            deadline: manifest["spec"]["activeDeadlineSeconds"].as_i64(),
            suspended: manifest["spec"]["suspend"].as_bool().unwrap_or(false),
            started: None,
            runs: false,
            live_pods: 0,
            failed_pods: 0,
            has_policy: manifest["spec"]["podFailurePolicy"].is_object(),
            backoff_limit: manifest["spec"]["backoffLimit"].as_i64().unwrap_or(6),
            files: sql::files(&manifest["spec"]["template"]),
            order,
            ended: None,
        };
        Ok(Written::Job(facts::job(&self.store(object))))
    }

    fn create_service(&mut self, write: &Write, manifest: &Value) -> Answer {
        let name = text(&manifest["metadata"]["name"]);
        self.is_free(write, Watched::Services, name)?;
        let spec = &manifest["spec"];
        let object = ServiceObject {
            meta: self.meta(name, owner(manifest)),
            rollout: Some(label(manifest, keys::ROLLOUT)),
            epoch: epoch(manifest),
            settled: None,
            selector: selector(spec),
            reach: Reach::Address,
            ports: ports(spec),
            not_for_users: false,
        };
        Ok(Written::Service(facts::service(&self.store(object))))
    }

    /// Somebody applies the manifest of a Service of his own.
    pub fn give(&mut self, manifest: &Value) {
        let spec = &manifest["spec"];
        let reach = match (text(&spec["type"]), text(&spec["clusterIP"])) {
            ("ExternalName", _) => Reach::ExternalName,
            (_, "None") => Reach::Headless,
            _ => Reach::Address,
        };
        let note = &manifest["metadata"]["annotations"][keys::NOT_FOR_USERS];
        let object = ServiceObject {
            meta: self.meta(text(&manifest["metadata"]["name"]), None),
            rollout: None,
            epoch: None,
            settled: None,
            selector: selector(spec),
            reach,
            ports: ports(spec),
            not_for_users: text(note) == "true",
        };
        self.store(object);
    }

    fn adopt(&mut self, write: &Write, kind: Kind, base: &Base, owner: &Value) -> Answer {
        let first = if owner.is_array() { &owner[0] } else { owner };
        let owner = Some(Name::from(text(&first["uid"])));
        Ok(match kind {
            Kind::Revision => {
                let mut next: RevisionObject = self.read(write, base)?;
                next.meta.owner = owner;
                Written::Revision(facts::revision(&self.store(next)))
            }
            Kind::Deployment => {
                let mut next: DeploymentObject = self.read(write, base)?;
                next.meta.owner = owner;
                Written::Child(facts::child(&self.store(next)))
            }
            Kind::Job => {
                let mut next: JobObject = self.read(write, base)?;
                next.meta.owner = owner;
                Written::Job(facts::job(&self.store(next)))
            }
            Kind::Database => {
                let mut next: DatabaseObject = self.read(write, base)?;
                next.meta.owner = owner;
                Written::Database(facts::database(&self.store(next)))
            }
            Kind::Service => {
                let mut next: ServiceObject = self.read(write, base)?;
                next.meta.owner = owner;
                Written::Service(facts::service(&self.store(next)))
            }
            Kind::HttpRoute | Kind::GrpcRoute | Kind::VirtualService => {
                return Err(refused(write, "routes are others'"));
            }
            Kind::ConfigMap => {
                let mut next: ConfigMapObject = self.read(write, base)?;
                next.meta.owner = owner;
                self.store(next);
                Written::Unkept
            }
        })
    }

    fn delete(&mut self, write: &Write, kind: Kind, base: &Base) -> Answer {
        let found = watched(kind)
            .and_then(|kind| self.find(kind, &base.name))
            .filter(|object| is_base(object.meta(), base))
            .ok_or_else(|| WriteError::Conflict {
                object: describe(write),
            })?;
        self.delete_object(&found);
        Ok(Written::Gone)
    }

    /// An object goes at once, unless a finalizer keeps it.
    pub(super) fn delete_object(&mut self, found: &Object) {
        match found {
            Object::Database(held) if !held.finalizers.is_empty() => {
                let mut next = (**held).clone();
                next.meta.generation += i64::from(!next.meta.deleting);
                next.meta.deleting = true;
                self.store(next);
            }
            Object::Database(free) => {
                self.forgets(&free.meta.name);
                self.erase(found);
            }
            _ => self.erase(found),
        }
    }

    fn record_database(
        &mut self,
        write: &Write,
        base: &Base,
        record: &DatabaseRecord,
        finalizers: &[String],
    ) -> Answer {
        let before: DatabaseObject = self.read(write, base)?;
        let mut next = before.clone();
        next.record = Arc::new(over_the_wire(write, record)?);
        next.finalizers = finalizers.to_vec();
        next.meta.generation += i64::from(next.record != before.record);
        let mut new = finalizers.iter();
        if next.meta.deleting && new.any(|one| !before.finalizers.contains(one)) {
            let words = "no new finalizers can be added if the object is being deleted";
            return Err(refused(write, words));
        }
        if next.meta.deleting && finalizers.is_empty() {
            // With its last finalizer it goes, in one: this version is never stored.
            let gone = Arc::new(next);
            self.forgets(&gone.meta.name);
            self.erase(&Object::Database(Arc::clone(&gone)));
            return Ok(Written::Database(facts::database(&gone)));
        }
        Ok(Written::Database(facts::database(&self.store(next))))
    }

    /// Somebody else changes the object first, in a way that means nothing.
    pub(super) fn touch(&mut self, write: &Write) {
        match self.target(write) {
            Some(Object::Rollout(o)) => drop(self.bump(&*o)),
            Some(Object::Revision(o)) => drop(self.bump(&*o)),
            Some(Object::Deployment(o)) => drop(self.bump(&*o)),
            Some(Object::Job(o)) => drop(self.bump(&*o)),
            Some(Object::Database(o)) => drop(self.bump(&*o)),
            Some(Object::Service(o)) => drop(self.bump(&*o)),
            Some(Object::ConfigMap(o)) => drop(self.bump(&*o)),
            Some(Object::Pod(_)) | None => {}
        }
    }

    /// The object that a write is about, as it is now.
    #[must_use]
    pub fn target(&self, write: &Write) -> Option<Object> {
        let kind = write.kind().map_or(Some(Watched::Rollouts), watched)?;
        self.find(kind, write.name())
    }
}

fn is_base(meta: &Meta, base: &Base) -> bool {
    *meta.uid == *base.uid && meta.version.to_string() == base.resource_version
}

/// Nothing of what is read live and kept nowhere.
const fn watched(kind: Kind) -> Option<Watched> {
    Some(match kind {
        Kind::Revision => Watched::Revisions,
        Kind::Deployment => Watched::Deployments,
        Kind::Job => Watched::Jobs,
        Kind::Database => Watched::Databases,
        Kind::Service => Watched::Services,
        Kind::HttpRoute | Kind::GrpcRoute | Kind::VirtualService => return None,
        Kind::ConfigMap => Watched::ConfigMaps,
    })
}

fn over_the_wire<T: Serialize + DeserializeOwned>(
    write: &Write,
    value: &T,
) -> Result<T, WriteError> {
    let sent = serde_json::to_vec(value).map_err(|e| refused(write, &e.to_string()))?;
    serde_json::from_slice(&sent).map_err(|e| refused(write, &e.to_string()))
}

fn read_value<T: DeserializeOwned>(write: &Write, value: Value) -> Result<T, WriteError> {
    serde_json::from_value(value).map_err(|e| refused(write, &e.to_string()))
}

fn refused(write: &Write, message: &str) -> WriteError {
    WriteError::Refused {
        object: describe(write),
        message: message.into(),
        transient: false,
    }
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Which pods a Service's spec selects.
fn selector(spec: &Value) -> BTreeMap<String, String> {
    let labels = spec["selector"].as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| (key.clone(), text(value).to_owned()));
    labels.collect()
}

/// Ports and session affinity of a Service's spec.
fn ports(spec: &Value) -> Arc<Value> {
    let mut ports = spec.clone();
    if let Some(fields) = ports.as_object_mut() {
        let copied = ["ports", "sessionAffinity", "sessionAffinityConfig"];
        fields.retain(|field, _| copied.contains(&field.as_str()));
    }
    Arc::new(ports)
}

pub(super) fn label(manifest: &Value, key: &str) -> Name {
    text(&manifest["metadata"]["labels"][key]).into()
}

pub(super) fn epoch(manifest: &Value) -> Option<i64> {
    label(manifest, keys::EPOCH).parse().ok()
}

pub(super) fn owner(manifest: &Value) -> Option<Name> {
    let uid = text(&manifest["metadata"]["ownerReferences"][0]["uid"]);
    (!uid.is_empty()).then(|| uid.into())
}

fn image(template: &Value) -> Name {
    text(&template["spec"]["containers"][0]["image"]).into()
}
