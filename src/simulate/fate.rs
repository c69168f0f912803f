//! What nobody means to do: pods and nodes die, watches break, clocks jump, backups are restored.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{
    action::Action,
    coverage::Kind,
    object::{
        ConfigMapObject, DatabaseObject, DeploymentObject, Name, Object, RevisionObject,
        RolloutObject, ServiceObject,
    },
    people::unseen,
    world::World,
};
use crate::plan::{course, facts::ConfigRef};

impl World {
    pub(super) fn fate(&mut self, action: Action) {
        match action {
            Action::Config { name, exists } => {
                let config = ConfigRef {
                    secret: false,
                    name,
                };
                let verb = if exists { "creates" } else { "prunes" };
                self.did("", &format!("an agent {verb} ConfigMap {}", config.name));
                if exists {
                    self.configs.insert(config);
                } else {
                    self.configs.remove(&config);
                }
            }
            Action::Sql { key, text } => self.write_sql(key, text),
            Action::KillContainers { rollout, count } => {
                for pod in self.victims(&rollout, count) {
                    self.struck(&rollout, &format!("a container of {pod} dies"));
                    self.kill_container(&pod);
                }
            }
            Action::LosePods { rollout, count } => {
                for pod in self.victims(&rollout, count) {
                    self.struck(&rollout, &format!("{pod} is lost with its node"));
                    self.lose_pod(&pod);
                }
            }
            Action::LoseStatus(rollout) => {
                self.struck(&rollout, "status is lost");
                if let Some(found) = self.live.rollouts.get(&rollout).cloned() {
                    let status = Arc::new(unseen());
                    self.store(RolloutObject {
                        status,
                        ..(*found).clone()
                    });
                }
            }
            Action::Restore => self.restore(),
            Action::BackUp(database) => self.back_up(&database),
            Action::RestoreHalf { database, half } => self.restore_half(&database, half),
            Action::Reads(percent) => {
                let words = format!("live reads: {percent}% get no answer");
                self.struck("", &words);
                self.faults.reads_percent = percent;
            }
            Action::Around(circumstance) => self.around(circumstance),
            Action::Deny(kind) => {
                let words = match kind {
                    Some(kind) => format!("a policy denies writes of {}s", kind.name()),
                    None => "no policy denies a write".to_owned(),
                };
                self.struck("", &words);
                self.faults.denied = kind;
            }
            Action::Metrics(outage) => {
                self.struck("", &format!("metric source: {outage:?}"));
                self.outage = outage;
            }
            Action::Capacity(pods) => {
                self.struck("", &format!("the nodes have room for {pods} pods"));
                self.setting.capacity = pods;
                self.sync_scheduler();
            }
            Action::Quota(pods) => {
                self.struck("", &format!("the quota permits {pods} pods"));
                self.setting.quota = pods;
            }
            Action::BreakWatch {
                process,
                kind,
                seconds,
            } => {
                let words = format!("the watch of {kind:?} breaks for {seconds} s");
                self.struck("", &words);
                self.break_watch(process, kind, seconds);
            }
            Action::Crash(process) => self.crash(process),
            Action::HandOver { overlap } => {
                self.hand_over(SignedDuration::from_millis(overlap));
            }
            Action::JumpClock { process, seconds } => {
                self.struck("", &format!("the clock jumps by {seconds} s"));
                self.jump_clock(process, SignedDuration::from_secs(seconds));
            }
            other => self.agents(other),
        }
    }

    fn agents(&mut self, action: Action) {
        match action.clone() {
            Action::Load(per_second) => self.load(per_second),
            Action::Autoscale {
                autoscaler,
                every,
                until,
            } => {
                self.autoscale(&autoscaler);
                self.again(every, until, action);
            }
            Action::GitOps {
                agent,
                every,
                until,
            } => {
                self.sync_from_git(&agent);
                self.again(every, until, action);
            }
            Action::Churn {
                rollout,
                every,
                until,
            } => {
                self.churn(&rollout);
                self.again(every, until, action);
            }
            Action::Commit {
                rollout,
                image,
                version,
            } => self.commit(&rollout, &image, version),
            Action::Reapply {
                apply,
                every,
                until,
            } => {
                self.act(*apply);
                self.again(every, until, action);
            }
            _ => {}
        }
    }

    /// A node is taken away, as one that nobody needs any more: what ends with it must leave the
    /// floor.
    fn churn(&mut self, rollout: &str) {
        let found = self.live.rollouts.get(rollout);
        let Some(spec) = found.and_then(|r| r.spec.as_ref().ok()) else {
            return;
        };
        let floor = usize::try_from(course::bounds(spec).floor).unwrap_or(0);
        let own = self.live.pods.values().filter(|p| &*p.rollout == rollout);
        let ready = own.filter(|p| p.ready_since.is_some() && !p.meta.deleting);
        if ready.count() <= floor {
            return;
        }
        for pod in self.victims(rollout, 1) {
            self.coverage.count(Kind::Churn);
            self.struck(rollout, &format!("{pod} is lost with its node"));
            self.lose_pod(&pod);
        }
    }

    fn victims(&mut self, rollout: &str, count: usize) -> Vec<Name> {
        let pods = self.live.pods.values();
        let mut pods: Vec<Name> = pods
            .filter(|p| &*p.rollout == rollout && !p.meta.deleting)
            .map(|p| p.meta.name.clone())
            .collect();
        let mut victims = Vec::new();
        while victims.len() < count && !pods.is_empty() {
            let index = self.random.below(u32::try_from(pods.len()).unwrap_or(0)) as usize;
            victims.push(pods.remove(index));
        }
        victims
    }

    /// A backup is restored: the same names, new uids, no status, no owners.
    fn restore(&mut self) {
        self.struck("", "everything is restored from a backup");
        let old = self.live.clone();
        let pods: Vec<Name> = old.pods.keys().cloned().collect();
        for pod in pods {
            self.lose_pod(&pod);
        }
        for object in old.rollouts.values() {
            self.erase(&Object::Rollout(object.clone()));
            let meta = self.meta(&object.meta.name, None);
            let status = Arc::new(unseen());
            self.store(RolloutObject {
                meta,
                status,
                deleted: None,
                ..(**object).clone()
            });
        }
        for object in old.revisions.values() {
            self.erase(&Object::Revision(object.clone()));
            let meta = self.meta(&object.meta.name, None);
            self.store(RevisionObject {
                meta,
                ..(**object).clone()
            });
        }
        for object in old.deployments.values() {
            self.erase(&Object::Deployment(object.clone()));
            let meta = self.meta(&object.meta.name, None);
            if self.ledger.handled.contains(&object.meta.uid) {
                // What somebody did by hand is in the backup too.
                self.ledger.handled.insert(meta.uid.clone());
            }
            let fresh = DeploymentObject {
                meta,
                // Who owns which field is not restored.
                epoch: object.epoch.filter(|_| object.foreign.is_none()),
                observed: 0,
                status_replicas: 0,
                available: 0,
                problem: None,
                ..(**object).clone()
            };
            self.store(fresh);
        }
        for object in old.services.values() {
            self.erase(&Object::Service(object.clone()));
            let meta = self.meta(&object.meta.name, None);
            self.store(ServiceObject {
                meta,
                ..(**object).clone()
            });
        }
        for object in old.config_maps.values() {
            self.erase(&Object::ConfigMap(object.clone()));
            let meta = self.meta(&object.meta.name, None);
            self.store(ConfigMapObject {
                meta,
                ..(**object).clone()
            });
        }
        for object in old.databases.values() {
            self.erase(&Object::Database(object.clone()));
            let meta = self.meta(&object.meta.name, None);
            self.store(DatabaseObject {
                meta,
                ..(**object).clone()
            });
        }
    }
}
