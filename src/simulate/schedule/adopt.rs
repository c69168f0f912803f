//! A running Deployment that is moved in, and what people and agents do to it.

use jiff::SignedDuration;

use crate::simulate::{
    action::{Action, Adoptable},
    random::Random,
    scenarios::adopt::web,
    setting::{BUSY, DAWN},
};

/// What becomes of it.
pub(super) fn script(random: &mut Random, replicas: i32) -> Vec<(i64, Action)> {
    let image = "v0";
    let replicas = match random.below(4) {
        0 => i32::try_from(random.between(0, 9)).unwrap_or(1),
        _ => replicas,
    };
    let mut script = vec![(0, web(Adoptable::Runs { image, replicas }))];
    if random.chance(25) {
        let until = random.between(100, BUSY);
        let agent = Action::Reapply {
            apply: Box::new(web(Adoptable::Scaled {
                by: "argocd-controller",
                replicas,
            })),
            every: random.between(3, 120),
            until: DAWN + SignedDuration::from_secs(until),
        };
        script.push((random.between(2, 500), agent));
    }
    for _ in 0..random.below(4) {
        let replicas = i32::try_from(random.between(0, 9)).unwrap_or(0);
        let is = match random.below(5) {
            0 => Adoptable::Gone,
            1 => Adoptable::Runs { image, replicas },
            2 => Adoptable::Paused(random.chance(50)),
            _ => Adoptable::Scaled {
                by: "kubectl",
                replicas,
            },
        };
        script.push((random.between(5, BUSY - 100), web(is)));
    }
    if random.chance(15) {
        script.push((random.between(20, 700), Action::Delete("shop".into())));
    }
    script
}
