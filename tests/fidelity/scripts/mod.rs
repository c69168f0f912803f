//! The scripts. Each is written once and played in both worlds.

pub mod jobs;
pub mod owners;
pub mod pods;
pub mod reads;
pub mod services;
pub mod writes;

use serde_json::{Value, json};
use stepgate::plan::{
    facts::Base,
    intent::{Kind, Write},
};

use super::{manifest, play::Play, side::Side};

/// The uid of nobody.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// The same object at an earlier version.
fn at(base: &Base, version: &Base) -> Base {
    Base {
        resource_version: version.resource_version.clone(),
        ..base.clone()
    }
}

/// Another object in the same place.
fn another(base: &Base) -> Base {
    Base {
        uid: NOBODY.into(),
        ..base.clone()
    }
}

const fn delete(kind: Kind, base: Base) -> Write {
    Write::Delete { kind, base }
}

const fn scale(base: Base, from: i32, to: i32) -> Write {
    Write::Scale {
        base,
        from,
        to,
        template: None,
    }
}

/// An owner that never was.
fn nobody() -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout", "name": "nobody", "uid": NOBODY,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A Deployment, once its pods are there.
async fn deployed<S: Side>(play: &mut Play<S>, name: &str, replicas: i32, owner: Option<&Value>) {
    let manifest = manifest::deployment(name, replicas, owner);
    let words = format!("create Deployment {name} for {replicas} pods");
    play.write(
        &words,
        Write::Create {
            kind: Kind::Deployment,
            manifest,
        },
    )
    .await;
    play.look().await;
}
