//! Everybody but the operator: users, autoscalers, GitOps agents, and fate.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    action::{Action, Command},
    event::Sync,
    ledger::{Happened, ToRun},
    object::{DatabaseObject, DeploymentObject, Meta, Name, Object, RolloutObject},
    world::World,
};
use crate::{
    api::{RolloutSpec, RolloutStatus, flags::FlagState, keys},
    plan::{adopting, facts::UserFacts, revision::Whole, soak},
};

impl World {
    /// Somebody acts.
    pub fn act(&mut self, action: Action) {
        self.ledger.acted(&action, &self.live, self.now);
        self.coverage.acted(&action, &self.live);
        match action {
            Action::Apply {
                rollout,
                spec,
                keep_replicas,
            } => {
                self.apply_manifest(&rollout, *spec, keep_replicas);
            }
            Action::ApplyNonsense(rollout) => self.apply_nonsense(&rollout),
            Action::Release {
                rollout,
                image,
                version,
            } => {
                self.did(&rollout, &format!("user releases {image}"));
                self.edit(&rollout, |spec| set_image(spec, &image, version));
            }
            Action::Amend { rollout, amendment } => {
                let words = format!("user edits: {}", amendment.words());
                self.did(&rollout, &words);
                self.edit(&rollout, |spec| amendment.apply(spec));
            }
            Action::Scale { rollout, replicas } => {
                self.did(&rollout, &format!("scaled to {replicas}"));
                self.edit(&rollout, |spec| spec.replicas = replicas);
            }
            Action::Pause { rollout, paused } => {
                self.did(&rollout, &format!("user sets paused: {paused}"));
                self.edit(&rollout, |spec| spec.paused = paused);
            }
            Action::Command { rollout, verb } => self.command(&rollout, verb),
            Action::Approve { database, right } => self.approve(&database, right),
            Action::Allow { database, rollouts } => self.allow(&database, rollouts),
            Action::Drop(database) => self.drop_version(&database),
            Action::LowerFloor(database) => self.lower_floor(&database),
            Action::Clean(database) => self.clean(&database),
            Action::Baseline(database) => self.put_baseline(&database),
            Action::Delete(rollout) => {
                let found = self.live.rollouts.get(&rollout).cloned();
                let words = match &found {
                    Some(found) if found.meta.deleting => "the Rollout is gone",
                    _ => "user deletes the Rollout",
                };
                self.did(&rollout, words);
                match found {
                    Some(found) if !found.finalizers.is_empty() => {
                        let deleted = found.deleted.or(Some(self.now));
                        let mut going = (*found).clone();
                        going.meta.generation += i64::from(going.deleted.is_none());
                        // Its children are gone, if it was in the foreground.
                        (going.meta.deleting, going.deleted) = (false, deleted);
                        self.store(going);
                    }
                    Some(found) => self.rollout_goes(found),
                    None => {}
                }
            }
            Action::DeleteInForeground(rollout) => self.delete_in_foreground(rollout),
            Action::ScaleChild {
                rollout,
                image,
                replicas,
            } => {
                let words = format!("somebody scales the Deployment of {image} to {replicas}");
                self.by_hand(&rollout, &image, &words, |child| {
                    child.meta.generation += i64::from(child.replicas != replicas);
                    child.replicas = replicas;
                });
            }
            Action::EditChild { rollout, image, to } => {
                let words = format!("somebody edits the Deployment of {image}: image {to}");
                self.by_hand(&rollout, &image, &words, |child| {
                    child.meta.generation += 1;
                    child.edited = true;
                    child.image = to;
                });
            }
            Action::RestartChild { rollout, image } => {
                let words = format!("somebody restarts the Deployment of {image}");
                self.by_hand(&rollout, &image, &words, |child| {
                    child.meta.generation += 1;
                    child.restarts += 1;
                });
            }
            Action::DeleteChild { rollout, image } => {
                let words = format!("somebody deletes the Deployment of {image}");
                self.did(&rollout, &words);
                if let Some(child) = self.child_of(&rollout, &image) {
                    self.erase(&Object::Deployment(child.into()));
                }
            }
            Action::ForgetRevision { rollout, image } => {
                let words = format!("somebody deletes the ControllerRevision of {image}");
                self.did(&rollout, &words);
                let revision = self
                    .child_of(&rollout, &image)
                    .and_then(|child| self.live.revision(&rollout, &child.revision).cloned());
                if let Some(revision) = revision {
                    self.erase(&Object::Revision(revision));
                }
            }
            Action::DeleteJobs(rollout) => {
                self.did(&rollout, "somebody deletes its Jobs");
                let jobs = self.live.jobs.values().filter(|j| j.rollout == rollout);
                let jobs: Vec<_> = jobs.cloned().map(Object::Job).collect();
                for job in jobs {
                    self.erase(&job);
                }
            }
            Action::DeleteDatabase(database) => {
                let words = format!("somebody deletes DatabaseSchema {database}");
                self.did("", &words);
                if let Some(found) = self.live.databases.get(&database).cloned() {
                    self.delete_object(&Object::Database(found));
                }
            }
            other => self.fate(other),
        }
    }

    pub(super) fn apply_manifest(
        &mut self,
        rollout: &Name,
        mut spec: RolloutSpec,
        keep_replicas: bool,
    ) {
        let image = image_of(&spec);
        let Some(found) = self.live.rollouts.get(rollout).cloned() else {
            let replicas = spec.replicas;
            let words = format!("user creates Rollout {rollout}: {image}, {replicas} replicas");
            self.did(rollout, &words);
            let spec = Whole::new(spec);
            self.name_spec(&spec);
            let object = RolloutObject {
                meta: self.meta(rollout, None),
                annotations: Arc::default(),
                finalizers: Vec::new(),
                deleted: None,
                spec: Ok(Arc::new(spec)),
                status: Arc::new(unseen()),
            };
            self.store(object);
            return;
        };
        if let (true, Ok(present)) = (keep_replicas, &found.spec) {
            spec.replicas = present.replicas;
        }
        if found.spec.as_ref().is_ok_and(|present| ***present == spec) {
            return;
        }
        self.story.applied(self.now, rollout, &image, spec.replicas);
        self.edit(rollout, |present| *present = spec);
    }

    fn apply_nonsense(&mut self, rollout: &Name) {
        let meta = match self.live.rollouts.get(rollout) {
            Some(found) => Meta {
                generation: found.meta.generation + 1,
                ..found.meta.clone()
            },
            None => self.meta(rollout, None),
        };
        self.did(rollout, "somebody stores a Rollout that cannot be read");
        let known = self.live.rollouts.get(rollout).cloned();
        let object = RolloutObject {
            meta,
            annotations: Arc::default(),
            finalizers: known
                .as_ref()
                .map_or_else(Vec::new, |k| k.finalizers.clone()),
            deleted: known.as_ref().and_then(|k| k.deleted),
            spec: Err("spec.template: missing field `spec`".into()),
            status: known.map_or_else(|| Arc::new(unseen()), |k| Arc::clone(&k.status)),
        };
        self.store(object);
    }

    pub(super) fn edit(&mut self, rollout: &str, change: impl FnOnce(&mut RolloutSpec)) {
        let Some(found) = self.live.rollouts.get(rollout).cloned() else {
            return;
        };
        let Ok(before) = &found.spec else { return };
        let mut spec = (***before).clone();
        change(&mut spec);
        if spec == ***before {
            return;
        }
        let spec = Whole::new(spec);
        self.name_spec(&spec);
        let mut next = (*found).clone();
        next.meta.generation += 1;
        next.spec = Ok(Arc::new(spec));
        self.store(next);
    }

    fn name_spec(&mut self, spec: &Whole) {
        let image = image_of(spec);
        self.story.name_revision(spec.revision(), &image);
    }

    fn delete_in_foreground(&mut self, rollout: Name) {
        let Some(found) = self.live.rollouts.get(&rollout).cloned() else {
            return;
        };
        let words = "user deletes the Rollout in the foreground: its children go first";
        self.did(&rollout, words);
        let mut going = (*found).clone();
        going.meta.generation += i64::from(going.deleted.is_none());
        going.meta.deleting = true;
        going.deleted = going.deleted.or(Some(self.now));
        self.store(going);
        self.sync(Sync::Garbage);
    }

    /// A Rollout is no more.
    pub(super) fn rollout_goes(&mut self, rollout: Arc<RolloutObject>) {
        self.happened
            .push(Happened::RolloutGone(Arc::clone(&rollout)));
        self.erase(&Object::Rollout(rollout));
    }

    fn by_hand(
        &mut self,
        rollout: &str,
        image: &str,
        words: &str,
        change: impl FnOnce(&mut DeploymentObject),
    ) {
        self.did(rollout, words);
        if let Some(mut child) = self.child_of(rollout, image) {
            change(&mut child);
            self.ledger.hand = true;
            self.store(child);
            self.ledger.hand = false;
        }
    }

    fn child_of(&self, rollout: &str, image: &str) -> Option<DeploymentObject> {
        self.live
            .children(rollout)
            .find(|c| &*c.image == image)
            .cloned()
    }

    /// A person binds a command to what is in motion, as the plugin does.
    fn command(&mut self, rollout: &Name, verb: &'static str) {
        let Some(found) = self.live.rollouts.get(rollout).cloned() else {
            return;
        };
        let status = &found.status;
        let spec = found.spec.as_deref().ok();
        let wanted = spec.map(|spec| spec.revision().to_owned());
        let release = status.release.as_ref();
        let stable = status.stable.as_ref().map(|s| s.revision.clone());
        if let Some(verb) = verb.strip_suffix("-flag") {
            self.command_to_a_flag(&found, verb);
            return;
        }
        let revision = match verb {
            "undo" => release.map(|r| r.revision.clone()).or(stable),
            "retry" => wanted,
            _ => release.map(|r| r.revision.clone()).or(wanted),
        };
        let Some(revision) = revision else { return };
        let step = release.and_then(|r| match r.soak() {
            Some(_) => Some(soak::NAME),
            None => Some(r.step()?.name.as_str()),
        });
        let step = step.map(Name::from);
        let (verb, step) = match verb.strip_suffix("-without-undo") {
            Some(verb) => (verb, Some(Name::from(keys::WITHOUT_UNDO))),
            None => (verb, step),
        };
        let id = format!("request-{}", self.commands.len() + 1);
        let value = match (verb, &step) {
            ("promote", Some(step)) => format!("{revision}/{step} {id}"),
            _ => format!("{revision} {id}"),
        };
        let without = match step.as_deref() {
            Some(keys::WITHOUT_UNDO) => ", without a way back",
            _ => "",
        };
        self.did(rollout, &format!("user says {verb} {revision}{without}"));
        let at = self.now;
        self.commands.push(Command {
            rollout: rollout.clone(),
            verb,
            id,
            revision,
            step: step.map(|step| step.to_string()),
            at,
        });
        let mut annotations: BTreeMap<String, String> = (*found.annotations).clone();
        annotations.insert(format!("{}{verb}", keys::PREFIX), value);
        self.store(RolloutObject {
            annotations: Arc::new(annotations),
            ..(*found).clone()
        });
    }
}

impl World {
    /// A person gives a command to the first flag that has begun, or to the first.
    fn command_to_a_flag(&mut self, rollout: &RolloutObject, verb: &'static str) {
        let flags = &rollout.status.flags;
        let begun = flags.iter().find(|f| f.state != FlagState::Waiting);
        let Some(flag) = begun.or(flags.first()) else {
            return;
        };
        let id = format!("request-{}", self.commands.len() + 1);
        let target = match (verb, &flag.step) {
            ("promote", Some(step)) => format!("{}/{step}", flag.key),
            _ => flag.key.clone(),
        };
        let name = rollout.meta.name.clone();
        self.did(&name, &format!("user says {verb} {target}"));
        self.commands.push(Command {
            rollout: name,
            verb,
            id: id.clone(),
            revision: target.clone(),
            step: None,
            at: self.now,
        });
        let mut annotations: BTreeMap<String, String> = (*rollout.annotations).clone();
        annotations.insert(format!("{}{verb}", keys::PREFIX), format!("{target} {id}"));
        self.store(RolloutObject {
            annotations: Arc::new(annotations),
            ..rollout.clone()
        });
    }

    /// Whoever makes backups says when the last one was made.
    pub(super) fn backed_up(&mut self, seconds_ago: Option<i64>) {
        let text = match seconds_ago {
            Some(seconds) => {
                let at = self.now - jiff::SignedDuration::from_secs(seconds);
                format!("{at:.0}")
            }
            None => "yesterday".to_owned(),
        };
        let all: Vec<_> = self.live.databases.values().cloned().collect();
        for found in all {
            let name = &found.meta.name;
            self.did("", &format!("the last backup of {name} is of {text}"));
            let mut annotations = (*found.annotations).clone();
            annotations.insert(keys::BACKUP_AT.to_owned(), text.clone());
            self.store(DatabaseObject {
                annotations: Arc::new(annotations),
                ..(*found).clone()
            });
        }
    }

    /// A person approves what is open of the lowest version.
    fn approve(&mut self, database: &Name, right: bool) {
        let Some(found) = self.live.databases.get(database).cloned() else {
            return;
        };
        let mut open: Vec<_> = found.record.versions.iter().collect();
        open.retain(|version| version.to_approve().is_some());
        let lowest = open.into_iter().min_by_key(|version| version.version);
        let Some((version, phase)) = lowest.and_then(|v| Some((v, v.to_approve()?))) else {
            return;
        };
        let digest = match version.asks(phase) {
            Some(asked) if right => asked.digest.clone(),
            _ => "000000000000".to_owned(),
        };
        let target = format!("{}/{}/{digest}", version.version, phase.word());
        let asked = version.asks(phase);
        let files = asked.map(|asked| asked.files.clone()).unwrap_or_default();
        let revision = self.live.revision(&version.rollout, &version.revision);
        let image = revision.map(|known| image_in(&known.template));
        let to_run = ToRun { image, files };
        self.ledger.approved.insert(target.clone(), to_run);
        self.annotate(&found, keys::APPROVE, "approve", &target, " dba");
    }

    /// A person gives up what is open of the lowest version.
    fn drop_version(&mut self, database: &Name) {
        let Some(found) = self.live.databases.get(database).cloned() else {
            return;
        };
        let open = found.record.versions.iter().filter(|v| v.is_open());
        let Some(version) = open.map(|version| version.version).min() else {
            return;
        };
        self.annotate(&found, keys::DROP, "drop", &version.to_string(), "");
    }

    fn lower_floor(&mut self, database: &Name) {
        let Some(found) = self.live.databases.get(database).cloned() else {
            return;
        };
        let floor = found.record.undo_floor.unwrap_or(1).to_string();
        self.annotate(&found, keys::LOWER_FLOOR, "lower-floor", &floor, "");
    }

    fn clean(&mut self, database: &Name) {
        let Some(found) = self.live.databases.get(database).cloned() else {
            return;
        };
        let job = found.record.dirty.first().map(|dirty| dirty.job.clone());
        let job = job.unwrap_or_else(|| "no-job".to_owned());
        self.annotate(&found, keys::CLEAN, "clean", &job, "");
    }

    pub(super) fn annotate(
        &mut self,
        database: &DatabaseObject,
        key: &str,
        verb: &'static str,
        target: &str,
        who: &str,
    ) {
        let id = format!("request-{}", self.commands.len() + 1);
        self.did("", &format!("a person says {verb} {target}"));
        self.commands.push(Command {
            rollout: database.meta.name.clone(),
            verb,
            id: id.clone(),
            revision: target.to_owned(),
            step: None,
            at: self.now,
        });
        let mut annotations = (*database.annotations).clone();
        annotations.insert(key.to_owned(), format!("{target} {id}{who}"));
        self.store(DatabaseObject {
            annotations: Arc::new(annotations),
            ..database.clone()
        });
    }

    fn allow(&mut self, database: &Name, rollouts: Option<Vec<String>>) {
        let words = match &rollouts {
            Some(rollouts) => format!("{database} allows {rollouts:?}"),
            None => format!("{database} allows everybody"),
        };
        self.did("", &words);
        if let Some(found) = self.live.databases.get(database).cloned() {
            self.store(DatabaseObject {
                allowed: rollouts.map(Into::into),
                ..(*found).clone()
            });
        }
    }

    /// Everything that uses a database, as it is.
    pub(super) fn users(&self, database: &str) -> Vec<UserFacts> {
        let user = UserFacts::of;
        let mut users = Vec::new();
        let (mut here, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
        let needs = |rollout: &str, revision: &str| {
            let known = self.live.revision(rollout, revision);
            known.and_then(|r| r.schema.as_ref()?.version)
        };
        for rollout in self.live.rollouts.values() {
            let name = &rollout.meta.name;
            let spec = rollout.spec.as_deref();
            if spec.is_ok_and(|spec| spec.database() != Some(database)) {
                elsewhere.insert(name);
                continue;
            }
            here.insert(name);
            let status = &rollout.status;
            let mut versions = vec![spec.ok().and_then(|spec| spec.schema_version())];
            let stable = status.stable.as_ref().map(|s| &s.revision);
            let release = status.release.as_ref().map(|r| &r.revision);
            versions.extend(stable.into_iter().chain(release).map(|r| needs(name, r)));
            users.push(UserFacts::of_rollout(name, &versions));
            users.extend(UserFacts::of_adopted(name, status));
        }
        // A revision that is not known may be of any database, if its Rollout does not name another.
        let of = |rollout: &Name, revision: &str| match self.live.revision(rollout, revision) {
            Some(known) => match &known.schema {
                Some(schema) => (schema.database == database).then_some(schema.version),
                None => here.contains(rollout).then_some(None),
            },
            None => (!elsewhere.contains(rollout)).then_some(None),
        };
        let own = self
            .live
            .deployments
            .values()
            .filter(|d| d.foreign.is_none());
        // What stands at 0 and is no Rollout's any more is raised by nobody.
        let is_left = |rollout: &Name, replicas: i32| {
            replicas == 0 && !here.contains(rollout) && !elsewhere.contains(rollout)
        };
        for child in own.filter(|child| !is_left(&child.rollout, child.replicas)) {
            if let Some(version) = of(&child.rollout, &child.revision) {
                let what = format!("Deployment {}", child.meta.name);
                users.push(user(what, version, child.replicas > 0));
            }
        }
        let pods = self.live.pods.values();
        let own = pods.filter(|p| adopting::deployment_of(&p.revision).is_none());
        for pod in own {
            if let Some(version) = of(&pod.rollout, &pod.revision) {
                users.push(user(format!("Pod {}", pod.meta.name), version, true));
            }
        }
        if let Some(version) = self.consumer {
            users.push(user("CronJob nightly".to_owned(), version, true));
        }
        users
    }
}

/// The status of a Rollout that has none yet, as the API server fills it in.
pub(super) fn unseen() -> RolloutStatus {
    RolloutStatus {
        observed_generation: Some(-1),
        ..RolloutStatus::default()
    }
}

/// Image of a spec's first container.
#[must_use]
pub(crate) fn image_of(spec: &RolloutSpec) -> Name {
    image_in(&spec.template)
}

fn image_in(template: &Value) -> Name {
    let image = &template["spec"]["containers"][0]["image"];
    image.as_str().unwrap_or("?").into()
}

fn set_image(spec: &mut RolloutSpec, image: &str, version: Option<i64>) {
    spec.template["spec"]["containers"][0]["image"] = Value::from(image);
    if let (Some(version), Some(schema)) = (version, &mut spec.schema) {
        schema.version = Some(version);
    }
}
