//! Liveness: once the world is quiet, every Rollout comes to an end, and then nothing is written.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{
    driver::BrokenOff,
    driver::Simulation,
    flags,
    object::{ConfigMapObject, RolloutObject},
    prometheus::Outage,
    world::World,
};
use crate::plan::{self, intent::Kind, reason::Reason};

/// Reasons for which a Rollout may wait for somebody else, for ever.
const WAITING: [Reason; 10] = [
    Reason::Paused,
    Reason::WaitingForPromotion,
    Reason::ServiceRefused,
    Reason::ScaledToZero,
    Reason::WaitingForDatabase,
    // Of another Rollout; a person may have to look there.
    Reason::WaitingForBackfill,
    Reason::WaitingForRollout,
    Reason::DeploymentRefused,
    Reason::JobRefused,
    Reason::Degraded,
];

fn is_waiting(reason: &str) -> bool {
    Reason::of(reason).is_some_and(|reason| WAITING.contains(&reason))
}

/// Seconds in which nothing may be written: longer than pods that crash are backed off.
const IDLE: i64 = 600;

/// Why a Rollout did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEnd {
    /// A rule was broken, or there were too many events.
    #[error(transparent)]
    Ended(#[from] BrokenOff),
    /// It is still on its way.
    #[error("after {seconds} quiet seconds {message}")]
    OnItsWay {
        /// How long nothing had happened to it.
        seconds: i64,
        /// Which Rollout, and how it stands.
        message: String,
    },
    /// It is at its end, but is written again and again.
    #[error("{writes} writes although nothing happens: the last was {last}")]
    Restless {
        /// How many.
        writes: u64,
        /// The last.
        last: String,
    },
}

impl Simulation {
    /// Lets the world be quiet for at most so many seconds, until every Rollout is at its end,
    /// then for ten more minutes in which nothing may be written.
    ///
    /// # Errors
    /// When a rule is broken, or one of the two does not hold.
    pub fn come_to_rest(&mut self, most_seconds: i64, most_events: u64) -> Result<(), NoEnd> {
        const LOOK_EVERY: i64 = 300;
        const FOLLOWS: i64 = 30;
        // What was stalled may go on now: that takes a moment too.
        let mut waited = 900;
        self.run_for(waited, most_events)?;
        let (before, others) = loop {
            loop {
                let Some(message) = self.world().unsettled() else {
                    break;
                };
                if waited >= most_seconds {
                    if self.ends_between_crashes(most_events)? {
                        return Ok(());
                    }
                    return Err(NoEnd::OnItsWay {
                        seconds: waited,
                        message,
                    });
                }
                self.run_for(LOOK_EVERY, most_events)?;
                waited += LOOK_EVERY;
            }
            // An end is put on record before what follows from it is written.
            self.run_for(FOLLOWS, most_events)?;
            waited += FOLLOWS;
            if self.world().unsettled().is_some() {
                continue;
            }
            let (before, others, restarts) = {
                let world = self.world();
                (world.arrived, world.others_changes, world.restarts())
            };
            self.run_for(IDLE, most_events)?;
            // Pods that come up for a moment and crash again bring it on its way each time; if
            // they are gone by now, it comes to another end.
            let crashing = self.world().restarts() != restarts;
            if self.world().unsettled().is_none() || crashing && waited >= most_seconds {
                break (before, others);
            }
            waited += IDLE;
        };
        let writes = self.world().arrived - before;
        // Pods that crash again and again are news each time, and so is what users get from a
        // revision that waits for a person at a step.
        let news = self.world().others_changes != others || self.world().is_measuring();
        if writes > 0 && !news {
            let last = self.world().last_write.clone();
            return Err(NoEnd::Restless { writes, last });
        }
        Ok(())
    }

    /// Whether all were at their end at one moment at least of the next minutes, and containers
    /// ended again: pods that crash without end, stable's too, bring a Rollout on its way each time
    /// they come up, and a look every few minutes may always meet it there.
    fn ends_between_crashes(&mut self, most_events: u64) -> Result<bool, NoEnd> {
        const LOOK_EVERY: i64 = 20;
        let restarts = self.world().restarts();
        let mut ended = false;
        for _ in 0..IDLE / LOOK_EVERY {
            self.run_for(LOOK_EVERY, most_events)?;
            ended |= self.world().unsettled().is_none();
        }
        Ok(ended && self.world().restarts() != restarts)
    }
}

impl World {
    /// A Rollout that is not at its end, and how it stands.
    #[must_use]
    pub fn unsettled(&self) -> Option<String> {
        self.live.rollouts.values().find_map(|rollout| {
            let why = self.why_unsettled(rollout)?;
            let conditions = &rollout.status.conditions;
            let ready = conditions.iter().find(|c| c.type_ == "Ready");
            let words = ready.map_or(String::new(), |c| format!("{}: {}", c.reason, c.message));
            Some(format!("{} {why} ({words})", rollout.meta.name))
        })
    }

    /// Restarts of all containers.
    fn restarts(&self) -> i32 {
        self.live.pods.values().map(|pod| pod.restarts).sum()
    }

    fn is_measuring(&self) -> bool {
        self.processes
            .iter()
            .any(|p| p.board.keys().next().is_some())
    }

    fn why_unsettled(&self, rollout: &RolloutObject) -> Option<String> {
        let status = &rollout.status;
        if status.observed_generation != Some(rollout.meta.generation) {
            return Some("has not been looked at".into());
        }
        let holds = |kind: &str| {
            status
                .conditions
                .iter()
                .find(|c| c.type_ == kind && c.status == "True")
        };
        if holds("Ready").is_some() {
            let words = || self.why_a_flag_waits(rollout);
            let on = || self.why_a_flag_is_on(rollout);
            return self.why_not_ready(rollout).or_else(words).or_else(on);
        }
        if let Some(condition) = holds("Stalled") {
            let hurts = condition.reason == Reason::Inconclusive.word() && self.hurts(rollout);
            return hurts.then(|| "waits for a person while users get errors".into());
        }
        match holds("Reconciling") {
            Some(condition) if is_waiting(&condition.reason) => None,
            Some(_) => Some("is still on its way".into()),
            None => Some("says nothing".into()),
        }
    }

    /// A flag that is to be turned on, and that nobody holds.
    fn why_a_flag_waits(&self, rollout: &RolloutObject) -> Option<String> {
        let mut conditions = rollout.status.conditions.iter();
        let flags = conditions.find(|c| c.type_ == "FlagsReady")?;
        let reason = Reason::of(&flags.reason);
        let goes = matches!(reason, Some(Reason::FlagRamping | Reason::FlagWaiting));
        let held = ["paused by", "promote ", "stands still"];
        let held = held.iter().any(|words| flags.message.contains(words));
        let asked = rollout
            .spec
            .as_deref()
            .is_ok_and(|s| s.replicas > 0 && !s.paused);
        let free = rollout.status.paused_since.is_none() && asked;
        (goes && !held && free).then(|| format!("has a flag on its way ({})", flags.message))
    }

    /// A flag that is off on record is on in the ConfigMap: nobody ever turns one on there by hand.
    fn why_a_flag_is_on(&self, rollout: &RolloutObject) -> Option<String> {
        if self.faults.denied == Some(Kind::ConfigMap) {
            return None;
        }
        let own = |map: &&Arc<ConfigMapObject>| map.rollout.as_ref() == Some(&rollout.meta.name);
        let map = self.live.config_maps.values().find(own)?;
        let off = |key: &str| {
            let mut flags = rollout.status.flags.iter();
            flags.any(|flag| flag.key == key && flag.percent == 0)
        };
        let key = flags::on(&map.file).into_iter().find(|key| off(key))?;
        Some(format!(
            "has flag {key} off on record, and on in its ConfigMap"
        ))
    }

    /// Far more answers of the canary are wrong than its checks allow, and the metric source says
    /// so.
    fn hurts(&self, rollout: &RolloutObject) -> bool {
        let analysis = rollout.spec.as_ref().ok().and_then(|s| s.analysis.as_ref());
        let (Some(analysis), Some(release)) = (analysis, &rollout.status.release) else {
            return false;
        };
        let from = self.now - SignedDuration::from_mins(5);
        let name = &rollout.meta.name;
        let (total, wrong) = self
            .traffic
            .between(name, &release.revision, from, self.now);
        let limits = analysis.checks.iter().filter_map(|c| c.error_rate.as_ref());
        let mut limits = limits.filter_map(|e| e.max_percent.parse::<f64>().ok());
        self.outage == Outage::None && limits.any(|l| wrong > total * l / 100.0 * 3.0 + 100.0)
    }

    /// What `Ready=True` promises: the revision asked for is stable, and serves.
    fn why_not_ready(&self, rollout: &RolloutObject) -> Option<String> {
        let Ok(spec) = &rollout.spec else {
            return Some("is Ready with a spec that cannot be read".into());
        };
        let wanted = spec.revision();
        if spec.replicas == 0 && rollout.status.release.is_some() {
            // As asked; a release goes on when there is something to go on with.
            let asked: i32 = self
                .live
                .children(&rollout.meta.name)
                .map(|c| c.replicas)
                .sum();
            return (asked > 0).then(|| format!("is Ready at 0 with {asked} pods asked for"));
        }
        if rollout.status.stable.as_ref().map(|s| s.revision.as_str()) != Some(wanted) {
            return Some("is Ready, but another revision is stable".into());
        }
        let ready = self.live.pods.values().filter(|pod| {
            pod.rollout == rollout.meta.name
                && &*pod.revision == wanted
                && pod.ready_since.is_some()
                && !pod.meta.deleting
        });
        if self.ledger.harmed.contains(&rollout.meta.name) {
            // Pods come and go by themselves: a moment ago it may have been true.
            return None;
        }
        if let Some(left) = self.unrested(&rollout.meta.name) {
            return Some(left);
        }
        let floor = plan::course::bounds(spec).floor;
        let ready = i32::try_from(ready.count()).unwrap_or(i32::MAX);
        (ready < floor).then(|| format!("is Ready with {ready} pods, the floor is {floor}"))
    }
}
