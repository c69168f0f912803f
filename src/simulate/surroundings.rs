//! What else surrounds a Rollout: Deployments of others, an API server that is away, what its pods
//! need.

use std::collections::BTreeMap;

use super::{object::Name, setting::Behaviour, world::World};

/// Something around the Rollouts that is so from now on.
#[derive(Clone, Debug)]
pub enum Circumstance {
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
    /// A webhook that judges Deployments.
    Webhook {
        /// Whether it is down: nobody knows then what became of a write.
        down: bool,
    },
}

impl World {
    pub(super) fn around(&mut self, circumstance: Circumstance) {
        match circumstance {
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
            Circumstance::Webhook { down } => {
                let words = if down { "goes down" } else { "is up again" };
                let words = format!("the webhook for Deployments {words}");
                self.story.fault(self.now, "", &words);
                self.faults.webhook_down = down;
            }
        }
    }
}
