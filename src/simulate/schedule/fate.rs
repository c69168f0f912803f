//! What befalls databases, nodes and pods.

use jiff::SignedDuration;

use crate::simulate::{
    action::{Action, Circumstance},
    random::Random,
    setting::{BUSY, DAWN, Health, Setting},
};

/// Somebody deletes the DatabaseSchema once or twice, or (mostly) never.
pub(super) fn deletions(random: &mut Random) -> Vec<(i64, Action)> {
    if !random.chance(6) {
        return Vec::new();
    }
    let delete = |random: &mut Random| {
        let second = random.between(5, BUSY - 100);
        (second, Action::DeleteDatabase("shop-db".into()))
    };
    (0..random.between(1, 2)).map(|_| delete(random)).collect()
}

/// What befalls nodes.
pub(super) fn nodes(random: &mut Random) -> Vec<(i64, Action)> {
    let mut script = churn(random);
    script.extend(silence(random));
    script
}

/// The node says nothing for a while, or it does.
pub(super) const fn node(silent: bool) -> Action {
    Action::Around(Circumstance::Kubelet { silent })
}

/// The node says nothing for a while once or twice, or (mostly) never.
fn silence(random: &mut Random) -> Vec<(i64, Action)> {
    if !random.chance(12) {
        return Vec::new();
    }
    let one = |random: &mut Random| {
        let from = random.between(5, BUSY - 100);
        let lasts = random.between(5, 900);
        [(from, node(true)), (from + lasts, node(false))]
    };
    (0..random.between(1, 2))
        .flat_map(|_| one(random))
        .collect()
}

/// Pods are lost again and again for a while, or (mostly) not.
fn churn(random: &mut Random) -> Vec<(i64, Action)> {
    if !random.chance(12) {
        return Vec::new();
    }
    let from = random.between(5, BUSY - 100);
    let until = random.between(from, BUSY);
    let churn = Action::Churn {
        rollout: "shop".into(),
        every: random.between(5, 90),
        until: DAWN + SignedDuration::from_secs(until),
    };
    vec![(from, churn)]
}

/// Pods of one image stop being ready again and again, or (mostly) not.
pub(super) fn flap(random: &mut Random, setting: &mut Setting) {
    if !random.chance(8) {
        return;
    }
    let image = ["v1", "v2", "v3", "v4"][random.below(4) as usize];
    if let Some(behaviour) = setting.behaviours.get_mut(image) {
        behaviour.health = Health::Flaps {
            ready: random.between(3, 120),
            unready: random.between(1, 60),
        };
    }
}
