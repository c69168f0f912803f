//! What else surrounds a Rollout: an autoscaler that follows the load, users who come and go,
//! Deployments of others, an API server that is away.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    event::{Event, Sync},
    object::Name,
    people::Action,
    setting::Behaviour,
    world::World,
};

/// How far the load per pod may be off before an autoscaler acts, as a share.
const TOLERANCE: f64 = 0.1;

/// Something around the Rollouts that is so from now on.
#[derive(Clone, Debug)]
pub enum Circumstance {
    /// An autoscaler looks after a Rollout.
    Autoscaler(Autoscaler),
    /// So many requests come per second, to each Rollout.
    Requests(f64),
    /// Pods of an image behave so when they are started again: what they need has changed.
    Behaves {
        /// The image.
        image: Name,
        /// How.
        behaviour: Box<Behaviour>,
    },
    /// A Deployment of somebody else, `legacy`, selects the pods of `shop` too.
    Deployment {
        /// Whether it exists.
        exists: bool,
    },
    /// The API server takes no request.
    ApiServer {
        /// Whether it is away.
        away: bool,
    },
}

/// A HorizontalPodAutoscaler on a Rollout's scale, by load.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    /// The Rollout.
    pub rollout: Name,
    /// Requests per second that a pod is meant to serve.
    pub per_pod: f64,
    /// Replicas at least.
    pub least: i32,
    /// Replicas at most.
    pub most: i32,
    /// Seconds between two looks.
    pub every: i64,
    /// It looks until then.
    pub until: Timestamp,
}

impl World {
    pub(super) fn around(&mut self, circumstance: Circumstance) {
        match circumstance {
            Circumstance::Autoscaler(autoscaler) => self.autoscale(autoscaler),
            Circumstance::Requests(per_second) => {
                let words = format!("> {per_second} requests come per second");
                self.story.tell(self.now, "", &words);
                self.setting.requests_per_second = per_second;
                let rollouts: Vec<Name> = self.live.rollouts.keys().cloned().collect();
                for rollout in rollouts {
                    self.sync(Sync::Endpoints(rollout));
                }
            }
            Circumstance::Behaves { image, behaviour } => {
                let words = format!("pods of {image} come up otherwise from now on");
                self.story.fault(self.now, "", &words);
                self.setting.behaviours.insert(image, *behaviour);
            }
            Circumstance::Deployment { exists: true } => {
                self.story
                    .tell(self.now, "", "> somebody runs Deployment legacy: app=shop");
                let labels = BTreeMap::from([("app".into(), "shop".into())]);
                self.foreign.insert("legacy".into(), labels);
            }
            Circumstance::Deployment { exists: false } => {
                self.story
                    .tell(self.now, "", "> somebody deletes Deployment legacy");
                self.foreign.remove("legacy");
            }
            Circumstance::ApiServer { away } => {
                let words = if away {
                    "the API server is away"
                } else {
                    "the API server is back"
                };
                self.story.fault(self.now, "", words);
                self.faults.away = away;
            }
        }
    }

    /// One look of an autoscaler, and the next one.
    fn autoscale(&mut self, autoscaler: Autoscaler) {
        if let Some(replicas) = self.replicas_by_load(&autoscaler) {
            let rollout = autoscaler.rollout.clone();
            self.act(Action::Scale { rollout, replicas });
        }
        if self.now < autoscaler.until {
            let pause = SignedDuration::from_secs(autoscaler.every);
            let again = Action::Around(Circumstance::Autoscaler(autoscaler));
            self.after(pause, Event::Act(Box::new(again)));
        }
    }

    /// The replicas that the load asks for, where that is another number: as the autoscaler of
    /// Kubernetes reckons it, with pods that are not ready counted as idle when there are too few.
    fn replicas_by_load(&self, autoscaler: &Autoscaler) -> Option<i32> {
        let found = self.live.rollouts.get(&autoscaler.rollout)?;
        let asked = found.spec.as_ref().ok()?.replicas;
        let pods = self.live.pods.values();
        let pods = pods.filter(|p| p.rollout == autoscaler.rollout && !p.meta.deleting);
        let (ready, others): (Vec<_>, Vec<_>) = pods.partition(|p| p.ready_since.is_some());
        if asked == 0 || ready.is_empty() {
            return None;
        }
        let load = self.setting.requests_per_second;
        #[expect(clippy::cast_precision_loss, reason = "there are few pods")]
        let ratio = |pods: usize| load / pods as f64 / autoscaler.per_pod;
        let off = |ratio: f64| (ratio - 1.0).abs() > TOLERANCE;
        let with_idle = ratio(ready.len() + others.len());
        let too_few = ratio(ready.len()) > 1.0;
        if !off(ratio(ready.len())) || (too_few && (with_idle < 1.0 || !off(with_idle))) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "there are few pods")]
        let wanted = (load / autoscaler.per_pod).ceil() as i32;
        let wanted = wanted.clamp(autoscaler.least, autoscaler.most);
        (wanted != asked).then_some(wanted)
    }
}
