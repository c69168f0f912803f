//! What else surrounds a Rollout: Deployments of others, an API server that is away, what its pods
//! need.

use std::collections::BTreeMap;

use super::{action::Circumstance, world::World};

impl World {
    pub(super) fn around(&mut self, circumstance: Circumstance) {
        match circumstance {
            Circumstance::Behaves { image, behaviour } => {
                let words = format!("pods of {image} come up otherwise from now on");
                self.struck("", &words);
                self.setting.behaviours.insert(image, *behaviour);
            }
            Circumstance::Deployment { exists: true } => {
                self.did("", "somebody runs Deployment legacy: app=shop");
                let labels = BTreeMap::from([("app".into(), "shop".into())]);
                self.foreign.insert("legacy".into(), labels);
            }
            Circumstance::Deployment { exists: false } => {
                self.did("", "somebody deletes Deployment legacy");
                self.foreign.remove("legacy");
            }
            Circumstance::ApiServer { away } => {
                let words = if away {
                    "the API server is away"
                } else {
                    "the API server is back"
                };
                self.struck("", words);
                self.faults.away = away;
            }
            Circumstance::Webhook { down } => {
                let words = if down { "goes down" } else { "is up again" };
                let words = format!("the webhook for Deployments {words}");
                self.struck("", &words);
                self.faults.webhook_down = down;
            }
        }
    }
}
