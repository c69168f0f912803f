//! What the rules judge by: what happened in an event, and what they remember of all before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    action::{Action, Circumstance},
    event::Life,
    object::{DatabaseObject, DeploymentObject, Name, Object, Objects, RolloutObject},
    process::{Seen, Trust},
    request::OnRecord,
};
use crate::{
    api::{
        DatabaseRecord, PhaseKind, RolloutStatus,
        database::FileRecord,
        status::{Outcome, ProgressStatus},
    },
    cluster::{Key, WriteError},
    plan::{intent::Write, revision::Whole},
};

/// Something that a rule may have to judge.
#[derive(Debug)]
pub enum Happened {
    /// A write of the operator was handled by the API server.
    Arrived(Box<Arrival>),
    /// A ReplicaSet made a pod.
    PodMade {
        /// Its name.
        pod: Name,
        /// The Deployment.
        deployment: Name,
    },
    /// A Rollout is gone, and was so at its end.
    RolloutGone(Arc<RolloutObject>),
    /// A phase in SQL, in this Job, begins to change its database.
    SqlRuns(Name),
    /// A phase in this Job begins to change its database.
    PhaseRuns(Name),
    /// A Job was collected while it might still change the database.
    JobCut(Name),
    /// A pass has ended in which the API server refused writes for good.
    Refused {
        /// What the pass was about.
        key: Key,
        /// The API server's words.
        refused: BTreeSet<String>,
        /// What the pass said in Events.
        told: Vec<String>,
    },
    /// A ReplicaSet deleted a pod that was ready.
    PodTaken {
        /// The Rollout.
        rollout: Name,
        /// The revision.
        revision: Name,
        /// Pods of the Rollout that are still ready.
        ready: i32,
    },
    /// The endpoints of a Service of the operator's own follow it to another revision.
    Led {
        /// The Rollout.
        rollout: Name,
        /// The revision.
        revision: Name,
        /// The Service.
        service: Name,
        /// Endpoints that were ready before.
        before: usize,
    },
}

/// A write of the operator, handled.
#[derive(Debug)]
pub struct Arrival {
    /// Who sent it.
    pub life: Life,
    /// The epoch of its sender when it was sent.
    pub epoch: i64,
    /// When it was sent.
    pub sent: Timestamp,
    /// What its sender's clock and measurements were worth to the pass that sent it.
    pub trust: Trust,
    /// What was on record then: a write may arrive late, when that has changed.
    pub on_record: OnRecord,
    /// The pass it belongs to.
    pub key: Key,
    /// The write.
    pub write: Arc<Write>,
    /// The object before.
    pub before: Option<Object>,
    /// The object after.
    pub after: Option<Object>,
    /// Why it was not accepted.
    pub refused: Option<WriteError>,
    /// What its sender had before him.
    pub seen: Option<Arc<Seen>>,
}

impl Happened {
    /// The accepted write that is a status, with the status before and after.
    pub(super) fn recorded(&self) -> Option<(&Arrival, &RolloutObject, &RolloutStatus)> {
        let arrival = self.accepted()?;
        match (&*arrival.write, &arrival.before, &arrival.after) {
            (
                Write::RecordStatus { .. },
                Some(Object::Rollout(before)),
                Some(Object::Rollout(after)),
            ) => Some((arrival, before, &after.status)),
            _ => None,
        }
    }

    /// The accepted write that is a scaling, with the Deployment before and after.
    pub(super) fn scaled(&self) -> Option<(&Arrival, &DeploymentObject, &DeploymentObject)> {
        let arrival = self.accepted()?;
        match (&*arrival.write, &arrival.before, &arrival.after) {
            (
                Write::Scale { .. } | Write::Resize { .. },
                Some(Object::Deployment(before)),
                Some(Object::Deployment(after)),
            ) => Some((arrival, before, after)),
            _ => None,
        }
    }

    /// The write that was accepted.
    pub(super) fn accepted(&self) -> Option<&Arrival> {
        match self {
            Self::Arrived(arrival) if arrival.refused.is_none() => Some(arrival),
            _ => None,
        }
    }

    /// The record of a database that was accepted, and the DatabaseSchema before it.
    pub(super) fn database_recorded(&self) -> Option<(&DatabaseRecord, &DatabaseObject)> {
        let arrival = self.accepted()?;
        match (&*arrival.write, &arrival.before) {
            (Write::RecordDatabase { record, .. }, Some(Object::Database(before))) => {
                Some((record, before))
            }
            _ => None,
        }
    }
}

impl Arrival {
    /// The spec that the sender had before him.
    pub(super) fn spec_seen(&self) -> Option<&Whole> {
        self.seen.as_ref()?.rollout.spec.as_deref().ok()
    }
}

/// What a Rollout's pods were last held to.
#[derive(Clone, Copy, Debug)]
pub struct HeldTo {
    /// Assured pods that had to be left by the last scaling: no more than there were.
    pub floor: i32,
    /// When a child was last lowered, and the floor of the spec that its sender had before him.
    pub lowered: Option<(Timestamp, i32)>,
}

/// What the rules remember.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What the pods of Jobs have said of how far they are.
    pub said: BTreeMap<Name, Vec<ProgressStatus>>,
    /// The change under way is made by hand.
    pub hand: bool,
    /// Sizes of each Deployment, by uid.
    pub sizes: BTreeMap<Name, Vec<Size>>,
    /// Deployments that somebody changed by hand.
    pub handled: BTreeSet<Name>,
    /// Rollouts whose pods may vanish or fail by themselves.
    pub harmed: BTreeSet<Name>,
    /// All of them.
    pub all_harmed: bool,
    /// What every Rollout's pods were last held to.
    pub held_to: BTreeMap<Name, HeldTo>,
    /// Services that were last led away from a revision of which no pod was seen to serve.
    pub unknown: BTreeSet<Name>,
    /// When each Service was last led away from a revision.
    pub left: BTreeMap<(Name, Name), Timestamp>,
    /// Jobs that were released: each may be there once.
    pub released: BTreeMap<(Name, Name, Name, Option<PhaseKind>, i64), Name>,
    /// Jobs of tests that were released, by name: the uid of each.
    pub tested: BTreeMap<Name, Name>,
    /// What people approved, by the words in which they did.
    pub approved: BTreeMap<String, ToRun>,
    /// When an approval for a version of a database went on record.
    pub approved_at: BTreeMap<(String, i64), Timestamp>,
    /// When somebody who uses a database, and is no Rollout, last changed.
    pub consumer_changed: Option<Timestamp>,
    /// Revisions that failed and were not taken back.
    pub failed: BTreeSet<(Name, String)>,
    /// Commands that were carried out, by Rollout and id.
    pub done: BTreeSet<(Name, String)>,
    /// When the API server was last back after it was away.
    pub back: Option<Timestamp>,
    /// When ConfigMaps were pruned that are still missing.
    pub pruned: BTreeMap<String, Timestamp>,
    /// The highest epoch that has moved a Rollout.
    pub epochs: BTreeMap<Name, i64>,
    /// When each process last wrote status of a Rollout.
    pub status_written: BTreeMap<(Life, Name), Timestamp>,
    /// Clocks have jumped: durations by the clock prove nothing.
    pub clocks_jumped: bool,
    /// Rollouts that were deleted: one of the same name may find its children.
    pub deleted: BTreeSet<Name>,
    /// Databases of which they themselves, or their records, were restored alone.
    pub rewound: BTreeSet<Name>,
    /// Everything was restored from a backup, under new uids.
    pub restored: bool,
    /// Status of a Rollout as it was when it was lost, alone or with its Rollout, and when that was.
    pub lost: BTreeMap<Name, (Timestamp, Arc<RolloutStatus>)>,
    /// Status was lost: what was on record may have been forgotten.
    pub status_lost: bool,
    /// What was refused of the writes of passes that have not ended.
    pub refused: BTreeMap<(Life, Key), BTreeSet<String>>,
    /// How often it was read live who uses a database.
    pub users_read: u32,
    /// Passes that began in the present second, by key, for hot loops.
    pub passes: BTreeMap<(Life, Key), (i64, u32)>,
}

/// What somebody has approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToRun {
    /// The image in which it is to run.
    pub image: Option<Name>,
    /// Its files of SQL, with their hashes.
    pub files: Vec<FileRecord>,
}

/// A size that a Deployment had.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The Deployment's resourceVersion then.
    pub version: u64,
    /// Its generation.
    pub generation: i64,
    /// The size.
    pub replicas: i32,
    /// Somebody set it by hand.
    pub by_hand: bool,
}

impl Ledger {
    /// Somebody acts: some rules cannot judge what follows as if nobody had.
    pub(super) fn acted(&mut self, action: &Action, live: &Objects, now: Timestamp) {
        let is_lost = |name: &Name| match action {
            Action::LoseStatus(lost) | Action::Delete(lost) => name == lost,
            Action::Restore => true,
            _ => false,
        };
        let lost = live.rollouts.values().filter(|r| is_lost(&r.meta.name));
        let lost = lost.map(|r| (r.meta.name.clone(), (now, Arc::clone(&r.status))));
        self.lost.extend(lost);
        if matches!(action, Action::LoseStatus(_) | Action::Restore) {
            // What was on record in the status alone is not known to anybody any more.
            self.failed.retain(|(rollout, revision)| {
                let mut marked = live.revisions.values();
                marked.any(|r| {
                    r.rollout == *rollout
                        && *r.revision == **revision
                        && r.outcome == Some(Outcome::Failed)
                })
            });
            // Without a ControllerRevision nothing tells a Rollout that has lost its status from a
            // new one: what it was told is told anew.
            self.done.retain(|(rollout, _)| {
                let mut made = live.revisions.values();
                !is_lost(rollout) || made.any(|r| r.rollout == *rollout)
            });
        }
        if let Action::Delete(rollout) = action {
            self.deleted.insert(rollout.clone());
            // One of the same name is another: what failed before it is not known to it.
            self.failed.retain(|(name, _)| name != rollout);
        }
        match action {
            Action::Command {
                verb: "retry",
                rollout,
            } => {
                self.failed.retain(|(name, _)| name != rollout);
            }
            Action::KillContainers { rollout, .. }
            | Action::LosePods { rollout, .. }
            | Action::Churn { rollout, .. }
            | Action::DeleteChild { rollout, .. }
            | Action::Delete(rollout)
            | Action::DeleteInForeground(rollout)
            | Action::EditChild { rollout, .. }
            | Action::RestartChild { rollout, .. }
            | Action::ScaleChild { rollout, .. } => {
                self.harmed.insert(rollout.clone());
                if matches!(action, Action::Delete(_) | Action::DeleteInForeground(_)) {
                    // Whoever creates it again begins anew.
                    self.failed.retain(|(name, _)| name != rollout);
                }
            }
            Action::Around(Circumstance::Adoptable(_)) => {
                self.harmed.insert("shop".into());
            }
            Action::Config { name, exists } => self.config(name, *exists, now),
            Action::ForgetRevision { rollout, image } => {
                self.harmed.insert(rollout.clone());
                self.forgotten(rollout, image, live);
            }
            Action::JumpClock { .. } => self.clocks_jumped = true,
            Action::LoseStatus(_) => self.status_lost = true,
            Action::Restore => {
                self.restored = true;
                self.status_lost = true;
                self.all_harmed = true;
                // Everything is made anew; what ran before runs no more.
                self.sizes.clear();
            }
            _ => {}
        }
    }

    /// A DatabaseSchema is gone: a new one of its name knows nothing of what ran.
    pub(super) fn forgets(&mut self, database: &str) {
        self.released.retain(|(of, ..), _| **of != *database);
    }

    /// A ConfigMap is there, or is not, from now on.
    pub(super) fn config(&mut self, name: &str, exists: bool, now: Timestamp) {
        if exists {
            self.pruned.remove(name);
        } else {
            self.pruned.entry(name.to_owned()).or_insert(now);
        }
    }

    /// A ControllerRevision is deleted: that it failed is known from the status alone now, if at
    /// all.
    fn forgotten(&mut self, rollout: &Name, image: &Name, live: &Objects) {
        let mut children = live.children(rollout);
        let Some(child) = children.find(|c| c.image == *image) else {
            return;
        };
        let status = live.rollouts.get(rollout).map(|r| &r.status);
        let known = status.is_some_and(|s| {
            let mut ended = s.history.iter();
            ended.any(|e| *e.revision == *child.revision && e.outcome == Outcome::Failed)
        });
        if !known {
            let forgotten = (rollout.clone(), child.revision.to_string());
            self.failed.remove(&forgotten);
        }
    }

    /// A Deployment has a size.
    pub(super) fn sized(&mut self, child: &DeploymentObject) {
        let sizes = self.sizes.entry(child.meta.uid.clone()).or_default();
        if sizes
            .last()
            .is_some_and(|s| s.generation == child.meta.generation)
        {
            return;
        }
        sizes.push(Size {
            version: child.meta.version,
            generation: child.meta.generation,
            replicas: child.replicas,
            by_hand: self.hand,
        });
        if self.hand {
            self.handled.insert(child.meta.uid.clone());
        }
    }
}
