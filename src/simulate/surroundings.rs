//! What else surrounds a Rollout: Deployments of others, an API server that is away, what its pods
//! need.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use serde_json::json;

use super::{
    action::{Adoptable, Circumstance, Given},
    event::Occurrence,
    object::{DeploymentObject, Foreign, Object, ServiceObject, default_bound},
    world::World,
};
use crate::plan::{adopting, facts::Reach};

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
            Circumstance::Consumer { version } => {
                let words = match version {
                    Some(Some(version)) => {
                        format!("CronJob nightly is at schema version {version}")
                    }
                    Some(None) => "CronJob nightly gives no schema version".to_owned(),
                    None => "CronJob nightly is deleted".to_owned(),
                };
                self.did("", &words);
                self.consumer_writes();
                self.consumer = version;
                self.consumer_writes();
                self.ledger.consumer_changed = Some(self.now);
            }
            Circumstance::Adoptable(is) => self.adoptable(is),
            Circumstance::Backup { seconds_ago } => self.backed_up(seconds_ago),
            Circumstance::Service { name, is } => self.give_service(name, is),
            Circumstance::Route { name, is } => self.give_route(name, is),
            Circumstance::Gateway { away } => self.gateway(away),
            Circumstance::Mended(rollout) => {
                self.did(&rollout, "somebody puts right what hurts in the database");
                self.traffic.hurt(&rollout, "", 0.0, self.now);
            }
            Circumstance::Hurt(rollout, percent) => {
                self.did(&rollout, "somebody does what hurts in the database");
                self.traffic.hurt(&rollout, "", percent / 100.0, self.now);
            }
            Circumstance::Flags(how) => self.tamper(how),
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
            Circumstance::Kubelet { silent } => self.node_is_silent(silent),
            Circumstance::Webhook { down } => {
                let words = if down { "goes down" } else { "is up again" };
                let words = format!("the webhook for Deployments {words}");
                self.struck("", &words);
                self.faults.webhook_down = down;
            }
        }
    }

    /// Somebody makes, edits or deletes a Service, whosever it is.
    fn give_service(&mut self, name: &'static str, is: Given) {
        self.did("", &format!("somebody makes Service {name} {is:?}"));
        let present = self.live.services.get(name).cloned();
        if is == Given::Gone {
            if let Some(present) = present {
                self.erase(&Object::Service(present));
            }
            return;
        }
        let selector = match is {
            Given::Selectorless => BTreeMap::new(),
            _ => BTreeMap::from([("app".to_owned(), "shop".to_owned())]),
        };
        let port = if is == Given::OtherPort { 8080 } else { 80 };
        let port = json!({"name": "http", "port": port, "protocol": "TCP", "targetPort": 8080});
        let ports = json!({"ports": [port], "sessionAffinity": "None"});
        let reach = match is {
            Given::Headless => Reach::Headless,
            _ => Reach::Address,
        };
        let service = match present {
            Some(present) => ServiceObject {
                selector,
                ports: match is {
                    Given::Edited => present.ports.clone(),
                    _ => ports.into(),
                },
                reach,
                not_for_users: is == Given::NotForUsers,
                ..(*present).clone()
            },
            None => ServiceObject {
                meta: self.meta(name, None),
                rollout: None,
                epoch: None,
                settled: None,
                selector,
                reach,
                ports: ports.into(),
                not_for_users: is == Given::NotForUsers,
            },
        };
        self.store(service);
    }

    fn adoptable(&mut self, is: Adoptable) {
        const NAME: &str = "web";
        let found = self.live.deployments.get(NAME).cloned();
        let words = match is {
            Adoptable::Runs { image, replicas } => {
                format!("somebody runs Deployment {NAME}: {image}, {replicas} replicas")
            }
            Adoptable::Scaled { by, replicas } => {
                if found
                    .as_ref()
                    .is_none_or(|found| found.replicas == replicas)
                {
                    return;
                }
                format!("{by} sets the replicas of Deployment {NAME} to {replicas}")
            }
            Adoptable::Paused(paused) => {
                format!("somebody sets Deployment {NAME} paused: {paused}")
            }
            Adoptable::Owned(owned) => format!("Deployment {NAME} has another owner: {owned}"),
            Adoptable::Labelled(app) => {
                format!("pods of Deployment {NAME} have the label app={app}")
            }
            Adoptable::Gone => format!("somebody deletes Deployment {NAME}"),
        };
        self.did("", &words);
        let Some(found) = found else {
            if let Adoptable::Runs { image, replicas } = is {
                let deployment = DeploymentObject {
                    meta: self.meta(NAME, None),
                    rollout: "shop".into(),
                    revision: adopting::revision_of(NAME).as_str().into(),
                    epoch: None,
                    image: image.into(),
                    foreign: Some(Foreign {
                        labels: BTreeMap::from([("app".to_owned(), "shop".to_owned())]),
                        owner: None,
                        paused: false,
                        writer: "kubectl-client-side-apply".to_owned(),
                    }),
                    edited: false,
                    restarts: 0,
                    bounds: [default_bound(), default_bound()],
                    replicas,
                    observed: 0,
                    status_replicas: 0,
                    available: 0,
                    problem: None,
                };
                self.store(deployment);
            }
            return;
        };
        let mut next = (*found).clone();
        let Some(foreign) = &mut next.foreign else {
            return;
        };
        match is {
            Adoptable::Runs { .. } => return,
            Adoptable::Gone => return self.erase(&Object::Deployment(found)),
            Adoptable::Scaled { by, replicas } => {
                by.clone_into(&mut foreign.writer);
                (next.replicas, next.epoch) = (replicas, None);
                next.meta.generation += 1;
            }
            Adoptable::Paused(paused) => {
                foreign.paused = paused;
                next.meta.generation += 1;
            }
            Adoptable::Owned(owned) => {
                foreign.owner = owned.then(|| "Application web".to_owned());
            }
            Adoptable::Labelled(app) => {
                foreign.labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
            }
        }
        self.ledger.hand = true;
        self.store(next);
        self.ledger.hand = false;
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
                Occurrence::Deliver(..) => 2_000,
                _ => 15_000,
            };
            let delay = i64::from(self.random.below(longest));
            self.after(SignedDuration::from_millis(delay), event);
        }
    }
}
