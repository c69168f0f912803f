//! What else surrounds a Rollout: Deployments of others, an API server that is away, what its pods
//! need.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{action::Circumstance, event::Event, world::World};

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
                if !away {
                    self.api_server_is_back();
                }
            }
            Circumstance::Webhook { down } => {
                let words = if down { "goes down" } else { "is up again" };
                let words = format!("the webhook for Deployments {words}");
                self.struck("", &words);
                self.faults.webhook_down = down;
            }
        }
    }

    /// Everybody comes back to it in his own time: watches within two seconds, controllers, which
    /// wait longer from try to try, within a quarter of a minute. The operator knows that it has
    /// seen nothing.
    fn api_server_is_back(&mut self) {
        self.ledger.back = Some(self.now);
        for index in 0..self.processes.len() {
            let trusted = self.clock(index);
            self.processes[index].trusted_since = trusted;
        }
        for event in std::mem::take(&mut self.frozen) {
            let longest = match event {
                Event::Deliver(..) => 2_000,
                _ => 15_000,
            };
            let delay = i64::from(self.random.below(longest));
            self.after(SignedDuration::from_millis(delay), event);
        }
    }
}
