//! Programs that act on Rollouts by themselves, again and again: an autoscaler, a GitOps agent.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    action::{Action, Autoscaler, GitOps},
    coverage::Kind,
    event::{Occurrence, Sync},
    object::Name,
    people::image_of,
    world::World,
};
use crate::plan::facts::ConfigRef;

/// For how long a HorizontalPodAutoscaler holds on to its highest advice before it scales down.
const STABILIZATION: SignedDuration = SignedDuration::from_secs(300);
/// A deviation from the target that a HorizontalPodAutoscaler lets be.
const TOLERANCE: f64 = 0.1;

impl World {
    /// The same again later, until then.
    pub(super) fn again(&mut self, every: i64, until: Timestamp, action: Action) {
        if self.now < until {
            let event = Occurrence::Act(Box::new(action));
            self.after(SignedDuration::from_secs(every), event);
        }
    }

    /// The autoscaler's look.
    pub(super) fn autoscale(&mut self, autoscaler: &Autoscaler) {
        let rollout = &autoscaler.rollout;
        let Some(found) = self.live.rollouts.get(rollout) else {
            return;
        };
        let Ok(spec) = &found.spec else { return };
        // Without a selector it finds no pods; at 0 replicas it is off.
        if spec.replicas == 0 || found.status.selector.is_none() {
            return;
        }
        let present = spec.replicas;
        let Some(advice) = self.advice(autoscaler, present) else {
            return;
        };
        let (low, high) = autoscaler.between;
        let highest = present.saturating_mul(2).max(present.saturating_add(4));
        let wanted = advice.min(highest).clamp(low, high);
        if wanted != present {
            self.coverage.count(Kind::Autoscaled);
            let words = format!("the autoscaler scales to {wanted}");
            self.did(rollout, &words);
            self.edit(rollout, |spec| spec.replicas = wanted);
        }
    }

    /// How many pods it would have, the highest of the last minutes.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "there are few pods"
    )]
    fn advice(&mut self, autoscaler: &Autoscaler, present: i32) -> Option<i32> {
        let pods = self.live.pods.values();
        let pods = pods.filter(|p| p.rollout == autoscaler.rollout && !p.meta.deleting);
        let (ready, unready): (Vec<_>, Vec<_>) = pods.partition(|p| p.ready_since.is_some());
        if ready.is_empty() {
            return None;
        }
        let total = self.setting.requests_per_second;
        let ratio = total / ready.len() as f64 / autoscaler.per_pod;
        // Pods that are not ready count as idle before more are asked for.
        let all = (ready.len() + unready.len()) as f64;
        let near = (ratio - 1.0).abs() <= TOLERANCE;
        let waits = ratio > 1.0 && total / all / autoscaler.per_pod <= 1.0 + TOLERANCE;
        let advice = if near || waits {
            present
        } else {
            (total / autoscaler.per_pod).ceil() as i32
        };
        let now = self.now;
        let advices = self.advices.entry(autoscaler.rollout.clone()).or_default();
        advices.retain(|(at, _)| now.duration_since(*at) <= STABILIZATION);
        advices.push((now, advice));
        let highest = advices.iter().map(|(_, advice)| *advice).max();
        // It holds on to the highest advice only against scaling down.
        highest.map(|highest| highest.min(present).max(advice))
    }

    /// Somebody commits another image to Git.
    pub(super) fn commit(&mut self, rollout: &Name, image: &str, version: Option<i64>) {
        if let Some(spec) = self.git.get_mut(rollout) {
            spec.template["spec"]["containers"][0]["image"] = Value::from(image);
            if let (Some(version), Some(schema)) = (version, &mut spec.schema) {
                schema.version = Some(version);
            }
            let words = format!("user commits {image}");
            self.did(rollout, &words);
        }
    }

    /// The agent compares Git with the cluster, and applies and prunes.
    pub(super) fn sync_from_git(&mut self, agent: &GitOps) {
        let rollout = &agent.rollout;
        let live = self.live.rollouts.get(rollout);
        let live = live.and_then(|r| r.spec.as_ref().ok()).cloned();
        if !self.git.contains_key(rollout) {
            // The first commit is what is there.
            let Some(live) = &live else { return };
            self.git.insert(rollout.clone(), (***live).clone());
        }
        let Some(mut wanted) = self.git.get(rollout).cloned() else {
            return;
        };
        if agent.prunes {
            let name = format!("{rollout}-config-{}", image_of(&wanted));
            wanted.template["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"] =
                Value::from(name.as_str());
            self.prune(rollout, &name);
        }
        if let (false, Some(live)) = (agent.names_replicas, &live) {
            wanted.replicas = live.replicas;
        }
        if live.is_some_and(|live| **live != wanted) {
            self.coverage.count(Kind::Synced);
        }
        self.apply_manifest(rollout, wanted, !agent.names_replicas);
    }

    /// The ConfigMap of the present commit is made, those of earlier ones go.
    fn prune(&mut self, rollout: &str, keep: &str) {
        let made = format!("{rollout}-config-");
        let old = self.configs.iter().filter(|c| c.name.starts_with(&made));
        let old: Vec<ConfigRef> = old.filter(|c| c.name != keep).cloned().collect();
        for config in old {
            self.coverage.count(Kind::ConfigPruned);
            let words = format!("an agent prunes ConfigMap {}", config.name);
            self.did("", &words);
            self.ledger.config(&config.name, false, self.now);
            self.configs.remove(&config);
        }
        self.ledger.config(keep, true, self.now);
        self.configs.insert(ConfigRef {
            secret: false,
            name: keep.into(),
        });
    }

    /// So many requests per second arrive for each Rollout from now on.
    pub(super) fn load(&mut self, per_second: f64) {
        let words = format!("{per_second} requests per second from now on");
        self.struck("", &words);
        self.setting.requests_per_second = per_second;
        let rollouts: Vec<Name> = self.live.rollouts.keys().cloned().collect();
        for rollout in rollouts {
            self.sync(Sync::Endpoints(rollout));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{
        Simulation,
        scenario::{Scenario, apply, release, scale, shop},
        setting::DAWN,
        story::Detail,
    };

    fn until() -> Timestamp {
        DAWN + SignedDuration::from_secs(3_000)
    }

    fn played(scenario: &Scenario) -> Simulation {
        let (simulation, result) = scenario.play(1, Detail::Decisions);
        result.unwrap();
        simulation
    }

    fn spec_of(simulation: &Simulation) -> crate::api::RolloutSpec {
        let world = simulation.world();
        let spec = &world.live.rollouts.get("shop").unwrap().spec;
        (***spec.as_ref().unwrap()).clone()
    }

    #[test]
    fn the_autoscaler_follows_the_load_and_waits_before_it_scales_down() {
        let autoscale = Action::Autoscale {
            autoscaler: Autoscaler {
                rollout: "shop".into(),
                per_pod: 40.0,
                between: (2, 20),
            },
            every: 15,
            until: until(),
        };
        let scenario = Scenario::new("autoscaled")
            .then(1, apply(shop("v1", 4, None)))
            .then(100, autoscale)
            .then(200, Action::Load(400.0))
            .then(400, Action::Load(120.0));
        let at = |seconds| spec_of(&played(&scenario.clone().lasts(seconds))).replicas;
        assert_eq!(at(190), 5, "200/s at 40 per pod");
        assert_eq!(at(390), 10);
        assert_eq!(at(600), 10, "it holds on to its highest advice");
        assert_eq!(at(900), 3);
    }

    #[test]
    fn the_agent_puts_back_what_git_says_and_prunes_the_rest() {
        let sync = Action::GitOps {
            agent: GitOps {
                rollout: "shop".into(),
                names_replicas: false,
                prunes: true,
            },
            every: 30,
            until: until(),
        };
        let scenario = Scenario::new("synced")
            .then(1, apply(shop("v1", 4, None)))
            .then(300, sync)
            .then(800, scale(6))
            .then(805, release("v9", None))
            .then(
                900,
                Action::Commit {
                    rollout: "shop".into(),
                    image: "v2".into(),
                    version: None,
                },
            );
        let before = spec_of(&played(&scenario.clone().lasts(880)));
        assert_eq!(&*image_of(&before), "v1", "put back");
        assert_eq!(before.replicas, 6, "not named in Git");
        let after = played(&scenario.lasts(1000));
        assert_eq!(&*image_of(&spec_of(&after)), "v2");
        let world = after.world();
        let configs: Vec<_> = world.configs.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(configs, ["shop-config", "shop-config-v2"]);
    }
}
