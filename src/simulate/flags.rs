//! Flags: the ConfigMap that holds them, and the way from there to the pods.

use jiff::SignedDuration;
use serde_json::Value;

use super::{
    action::Tampering,
    event::Occurrence,
    object::{ConfigMapObject, Name, Object, Watched},
    server::{Answer, epoch, label, owner, text},
    world::World,
};
use crate::{
    api::keys,
    cluster::Written,
    plan::{facts::Base, flags::file::FILE, intent::Write},
};

/// The name of the ConfigMap of every scenario.
pub(crate) const MAP: &str = "shop-flags";

impl World {
    pub(super) fn create_config_map(&mut self, write: &Write, manifest: &Value) -> Answer {
        let name = text(&manifest["metadata"]["name"]);
        self.is_free(write, Watched::ConfigMaps, name)?;
        let object = ConfigMapObject {
            meta: self.meta(name, owner(manifest)),
            rollout: Some(label(manifest, keys::ROLLOUT)),
            epoch: epoch(manifest),
            file: text(&manifest["data"][FILE]).to_owned(),
            notes: notes(manifest),
        };
        self.store(object);
        Ok(Written::Unkept)
    }

    pub(super) fn write_flags(&mut self, write: &Write, base: &Base, change: &Value) -> Answer {
        let mut next: ConfigMapObject = self.read(write, base)?;
        next.rollout = Some(label(change, keys::ROLLOUT));
        next.epoch = epoch(change);
        next.meta.owner = owner(change);
        next.file = text(&change["data"][FILE]).to_owned();
        next.notes = notes(change);
        self.store(next);
        Ok(Written::Unkept)
    }

    /// The kubelets of a Rollout's pods look at a ConfigMap now and then.
    pub(super) fn flags_travel(&mut self, map: &ConfigMapObject) {
        let Some(rollout) = map.rollout.clone() else {
            return;
        };
        let share = share(&map.file);
        let delay = i64::from(self.random.below(60)) + 20;
        let event = Occurrence::Flagged { rollout, share };
        self.after(SignedDuration::from_secs(delay), event);
    }

    /// What was written last comes last.
    pub(super) fn flags_reach_pods(&mut self, rollout: &Name, told: f64) {
        let mut maps = self.live.config_maps.values();
        let map = maps.find(|map| map.rollout.as_ref() == Some(rollout));
        // A later change may have come first.
        let share = map.map_or(told, |map| share(&map.file));
        self.flagged.insert(rollout.clone(), share);
        self.traffic.flagged(rollout, share, self.now);
    }

    /// A container that starts reads the flags as they are, or nearly.
    pub(super) fn flags_are_read(&mut self, rollout: &Name) {
        if let Some(share) = self.flagged.get(rollout) {
            self.traffic.flagged(rollout, *share, self.now);
        }
    }

    /// Somebody does something to the ConfigMap of the flags.
    pub(super) fn tamper(&mut self, how: Tampering) {
        self.did("", &format!("somebody: ConfigMap {MAP} {how:?}"));
        let present = self.live.config_maps.get(MAP).cloned();
        match (how, present) {
            (Tampering::Gone, Some(present)) => self.erase(&Object::ConfigMap(present)),
            (Tampering::Foreign, None) => {
                let object = ConfigMapObject {
                    meta: self.meta(MAP, None),
                    rollout: None,
                    epoch: None,
                    file: "{}".to_owned(),
                    notes: None,
                };
                self.store(object);
            }
            (Tampering::Off | Tampering::Broken, Some(present)) => {
                let mut next = (*present).clone();
                next.file = match how {
                    Tampering::Broken => "{".to_owned(),
                    _ => next.file.replace("ENABLED", "DISABLED"),
                };
                self.store(next);
            }
            _ => {}
        }
    }
}

fn notes(manifest: &Value) -> Option<String> {
    let notes = &manifest["metadata"]["annotations"][keys::FLAGS];
    notes.as_str().map(str::to_owned)
}

/// For which share of users a flag is on: the sum over all flags, as flagd would have it.
#[must_use]
pub fn share(file: &str) -> f64 {
    let shares = shares(file).into_iter().map(|(_, share)| share);
    shares.sum::<f64>().min(1.0)
}

/// The flags that are on for some users.
pub(super) fn on(file: &str) -> Vec<String> {
    let on = shares(file).into_iter().filter(|(_, share)| *share > 0.0);
    on.map(|(key, _)| key).collect()
}

fn shares(file: &str) -> Vec<(String, f64)> {
    let mut file: Value = serde_json::from_str(file).unwrap_or_default();
    let Value::Object(flags) = file["flags"].take() else {
        return Vec::new();
    };
    let share = |flag: &Value| {
        let usual = text(&flag["defaultVariant"]);
        let weights = flag["targeting"]["fractional"].as_array();
        if flag["state"] != "ENABLED" {
            0.0
        } else if let Some(weights) = weights {
            weights[0][1].as_f64().unwrap_or_default() / 100.0
        } else if flag["variants"][usual] == true {
            1.0
        } else {
            0.0
        }
    };
    let told = flags.into_iter().map(|(key, flag)| {
        let share = share(&flag);
        (key, share)
    });
    told.collect()
}
