//! Everybody but the operator: users, autoscalers, GitOps agents, and fate.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    agents::{Autoscaler, GitOps},
    amend::Amendment,
    event::Sync,
    object::{DeploymentObject, Meta, Name, Object, RolloutObject, Watched},
    prometheus::Outage,
    surroundings::Circumstance,
    world::World,
};
use crate::{
    api::{RolloutSpec, RolloutStatus, keys},
    plan::revision::Wanted,
};

/// What somebody does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Applies a manifest: creates the Rollout, or replaces its spec.
    Apply {
        /// The Rollout.
        rollout: Name,
        /// Its spec; `replicas` of an existing Rollout is kept when `keep_replicas`.
        spec: Box<RolloutSpec>,
        /// The manifest does not name `replicas`.
        keep_replicas: bool,
    },
    /// Applies a manifest that cannot be read.
    ApplyNonsense(Name),
    /// Changes the image, and the schema version if one is given.
    Release {
        /// The Rollout.
        rollout: Name,
        /// The image.
        image: Name,
        /// The schema version.
        version: Option<i64>,
    },
    /// Changes what makes no other revision.
    Amend {
        /// The Rollout.
        rollout: Name,
        /// What is changed.
        amendment: Amendment,
    },
    /// Scales, as an autoscaler or `kubectl scale` does.
    Scale {
        /// The Rollout.
        rollout: Name,
        /// `spec.replicas`.
        replicas: i32,
    },
    /// Sets `spec.paused`.
    Pause {
        /// The Rollout.
        rollout: Name,
        /// Whether it is paused.
        paused: bool,
    },
    /// Gives a command, bound to what is in motion.
    Command {
        /// The Rollout.
        rollout: Name,
        /// `promote`, `undo`, `retry`, `pause` or `resume`.
        verb: &'static str,
    },
    /// Deletes the Rollout.
    Delete(Name),
    /// Deletes the Rollout in the foreground: it stays, marked, until its children are gone.
    DeleteInForeground(Name),
    /// Scales a child by hand.
    ScaleChild {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
        /// Its `spec.replicas`.
        replicas: i32,
    },
    /// Edits a child's template by hand.
    EditChild {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
        /// The image it gets.
        to: Name,
    },
    /// Deletes a child by hand.
    DeleteChild {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
    },
    /// Deletes a child's ControllerRevision by hand.
    ForgetRevision {
        /// The Rollout.
        rollout: Name,
        /// Image of the child.
        image: Name,
    },
    /// Deletes every Job of a Rollout by hand.
    DeleteJobs(Name),
    /// Deletes a DatabaseSchema: what ran on the database is forgotten.
    DeleteDatabase(Name),
    /// Creates or deletes a ConfigMap, as an agent that prunes does.
    Config {
        /// Its name.
        name: String,
        /// Whether it exists from now on.
        exists: bool,
    },
    /// Containers are killed, one in each of so many pods.
    KillContainers {
        /// The Rollout.
        rollout: Name,
        /// How many.
        count: usize,
    },
    /// Pods are gone at once, as with their node.
    LosePods {
        /// The Rollout.
        rollout: Name,
        /// How many.
        count: usize,
    },
    /// Status is lost, as in a restore.
    LoseStatus(Name),
    /// Everything is restored from a backup: new uids, no status, no owners.
    Restore,
    /// So many percent of live reads get no answer.
    Reads(u32),
    /// The metric source fails so, or works again.
    Metrics(Outage),
    /// The nodes have room for so many pods.
    Capacity(usize),
    /// The quota permits so many pods.
    Quota(usize),
    /// A watch of a process breaks for so many seconds.
    BreakWatch {
        /// Which process.
        process: usize,
        /// Which watch.
        kind: Watched,
        /// Seconds until it is replayed.
        seconds: i64,
    },
    /// A process of the operator dies.
    Crash(usize),
    /// The lease changes hands; the deposed leader notices so many milliseconds later.
    HandOver {
        /// Milliseconds in which both believe that they lead.
        overlap: i64,
    },
    /// A process's clock jumps.
    JumpClock {
        /// Which process.
        process: usize,
        /// By how many seconds.
        seconds: i64,
    },
    /// Something around the Rollouts changes.
    Around(Circumstance),
    /// So many requests per second arrive from now on.
    Load(f64),
    /// An autoscaler looks every so many seconds.
    Autoscale {
        /// Which.
        autoscaler: Autoscaler,
        /// Seconds between two looks.
        every: i64,
        /// Until then.
        until: Timestamp,
    },
    /// An agent makes the cluster look like Git every so many seconds.
    GitOps {
        /// Which.
        agent: GitOps,
        /// Seconds between two looks.
        every: i64,
        /// Until then.
        until: Timestamp,
    },
    /// Somebody commits another image to Git.
    Commit {
        /// The Rollout.
        rollout: Name,
        /// The image.
        image: Name,
        /// The schema version.
        version: Option<i64>,
    },
    /// An agent applies the manifest again and again.
    Reapply {
        /// What it applies.
        apply: Box<Action>,
        /// Every so many seconds.
        every: i64,
        /// Until then.
        until: Timestamp,
    },
}

/// A command that a person gave.
#[derive(Clone, Debug)]
pub struct Command {
    /// The Rollout.
    pub rollout: Name,
    /// What was asked for.
    pub verb: &'static str,
    /// The request.
    pub id: String,
    /// The revision it is bound to.
    pub revision: String,
    /// The step it is bound to, if it is.
    pub step: Option<String>,
    /// When.
    pub at: Timestamp,
}

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
                self.story
                    .tell(self.now, &rollout, &format!("> user releases {image}"));
                self.edit(&rollout, |spec| set_image(spec, &image, version));
            }
            Action::Amend { rollout, amendment } => {
                let words = format!("> user edits: {}", amendment.words());
                self.story.tell(self.now, &rollout, &words);
                self.edit(&rollout, |spec| amendment.apply(spec));
            }
            Action::Scale { rollout, replicas } => {
                self.story
                    .tell(self.now, &rollout, &format!("> scaled to {replicas}"));
                self.edit(&rollout, |spec| spec.replicas = replicas);
            }
            Action::Pause { rollout, paused } => {
                self.story
                    .tell(self.now, &rollout, &format!("> user sets paused: {paused}"));
                self.edit(&rollout, |spec| spec.paused = paused);
            }
            Action::Command { rollout, verb } => self.command(&rollout, verb),
            Action::Delete(rollout) => {
                let found = self.live.rollouts.get(&rollout).cloned();
                let words = match &found {
                    Some(found) if found.meta.deleting => "> the Rollout is gone",
                    _ => "> user deletes the Rollout",
                };
                self.story.tell(self.now, &rollout, words);
                if let Some(found) = found {
                    self.erase(&Object::Rollout(found));
                }
            }
            Action::DeleteInForeground(rollout) => self.delete_in_foreground(rollout),
            Action::ScaleChild {
                rollout,
                image,
                replicas,
            } => {
                let words = format!("> somebody scales the Deployment of {image} to {replicas}");
                self.by_hand(&rollout, &image, &words, |child| {
                    child.meta.generation += i64::from(child.replicas != replicas);
                    child.replicas = replicas;
                });
            }
            Action::EditChild { rollout, image, to } => {
                let words = format!("> somebody edits the Deployment of {image}: image {to}");
                self.by_hand(&rollout, &image, &words, |child| {
                    child.meta.generation += 1;
                    child.edited = true;
                    child.image = to;
                });
            }
            Action::DeleteChild { rollout, image } => {
                let words = format!("> somebody deletes the Deployment of {image}");
                self.story.tell(self.now, &rollout, &words);
                if let Some(child) = self.child_of(&rollout, &image) {
                    self.erase(&Object::Deployment(child.into()));
                }
            }
            Action::ForgetRevision { rollout, image } => {
                let words = format!("> somebody deletes the ControllerRevision of {image}");
                self.story.tell(self.now, &rollout, &words);
                let revision = self.child_of(&rollout, &image).and_then(|child| {
                    let mut all = self.live.revisions.values();
                    all.find(|r| r.rollout == rollout && r.revision == child.revision)
                        .cloned()
                });
                if let Some(revision) = revision {
                    self.erase(&Object::Revision(revision));
                }
            }
            Action::DeleteJobs(rollout) => {
                self.story
                    .tell(self.now, &rollout, "> somebody deletes its Jobs");
                let jobs = self.live.jobs.values().filter(|j| j.rollout == rollout);
                let jobs: Vec<_> = jobs.cloned().map(Object::Job).collect();
                for job in jobs {
                    self.erase(&job);
                }
            }
            Action::DeleteDatabase(database) => {
                let words = format!("> somebody deletes DatabaseSchema {database}");
                self.story.tell(self.now, "", &words);
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
            let words = format!("> user creates Rollout {rollout}: {image}, {}", pods(&spec));
            self.story.tell(self.now, rollout, &words);
            let spec = Wanted::new(spec);
            self.name_spec(&spec);
            let object = RolloutObject {
                meta: self.meta(rollout, None),
                annotations: Arc::default(),
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
        self.story.tell(
            self.now,
            rollout,
            &format!("> applied: {image}, {}", pods(&spec)),
        );
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
        self.story.tell(
            self.now,
            rollout,
            "> somebody stores a Rollout that cannot be read",
        );
        let known = self.live.rollouts.get(rollout).cloned();
        let object = RolloutObject {
            meta,
            annotations: Arc::default(),
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
        let spec = Wanted::new(spec);
        self.name_spec(&spec);
        let mut next = (*found).clone();
        next.meta.generation += 1;
        next.spec = Ok(Arc::new(spec));
        self.store(next);
    }

    fn name_spec(&mut self, spec: &Wanted) {
        let image = image_of(spec);
        self.alias(&spec.revision().into(), &image);
    }

    fn delete_in_foreground(&mut self, rollout: Name) {
        let Some(found) = self.live.rollouts.get(&rollout).cloned() else {
            return;
        };
        let words = "> user deletes the Rollout in the foreground: its children go first";
        self.story.tell(self.now, &rollout, words);
        let mut going = (*found).clone();
        going.meta.generation += i64::from(!going.meta.deleting);
        going.meta.deleting = true;
        self.store(going);
        self.sync(Sync::Garbage);
    }

    fn by_hand(
        &mut self,
        rollout: &str,
        image: &str,
        words: &str,
        change: impl FnOnce(&mut DeploymentObject),
    ) {
        self.story.tell(self.now, rollout, words);
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
        let revision = match verb {
            "undo" => release.map(|r| r.revision.clone()).or(stable),
            "retry" => wanted,
            _ => release.map(|r| r.revision.clone()).or(wanted),
        };
        let Some(revision) = revision else { return };
        let step = release.and_then(|r| r.step.as_ref());
        let id = format!("request-{}", self.commands.len() + 1);
        let value = match (verb, step) {
            ("promote", Some(step)) => format!("{revision}/{} {id}", step.name),
            _ => format!("{revision} {id}"),
        };
        self.story
            .tell(self.now, rollout, &format!("> user says {verb} {revision}"));
        let at = self.now;
        self.commands.push(Command {
            rollout: rollout.clone(),
            verb,
            id,
            revision,
            step: step.map(|s| s.name.clone()),
            at,
        });
        let mut annotations: BTreeMap<String, String> = (*found.annotations).clone();
        annotations.insert(format!("{}{verb}", keys::COMMAND_PREFIX), value);
        self.store(RolloutObject {
            annotations: Arc::new(annotations),
            ..(*found).clone()
        });
    }
}

fn pods(spec: &RolloutSpec) -> String {
    format!("{} replicas", spec.replicas)
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
pub fn image_of(spec: &RolloutSpec) -> Name {
    let image = &spec.template["spec"]["containers"][0]["image"];
    image.as_str().unwrap_or("?").into()
}

fn set_image(spec: &mut RolloutSpec, image: &str, version: Option<i64>) {
    spec.template["spec"]["containers"][0]["image"] = Value::from(image);
    if let (Some(version), Some(schema)) = (version, &mut spec.schema) {
        schema.version = Some(version);
    }
}
