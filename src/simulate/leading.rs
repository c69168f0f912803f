//! What people and programs do in random schedules to what leads users to pods: Services, routes, the
//! gateway.

use super::{
    action::{Action, Amendment, Given, Routed},
    object::Watched,
    random::Random,
    scenario::command,
    scenarios::{
        blue_green::service,
        weights::{gateway, route},
    },
    setting::BUSY,
};
use crate::plan::intent::Kind;

/// The Service that blue-green needs; and its sets are edited, or Services made, edited and deleted
/// by others.
pub(super) fn services(random: &mut Random, processes: usize) -> Vec<(i64, Action)> {
    let mut script = vec![(0, service("shop", Given::Ordinary))];
    let others = [
        ("shop", Given::OtherPort),
        ("shop", Given::Gone),
        ("shop", Given::Ordinary),
        ("legacy", Given::Ordinary),
        ("legacy", Given::Gone),
        ("shop-stable", Given::Edited),
        ("shop-canary", Given::Edited),
        ("shop-stable", Given::Gone),
        ("shop-canary", Given::Gone),
    ];
    let at = |random: &mut Random| random.between(2, BUSY - 100);
    if random.chance(40) {
        for _ in 0..random.between(1, 4) {
            if let Some((name, is)) = random.one_of(&others).copied() {
                script.push((at(random), service(name, is)));
            }
        }
    }
    if random.chance(30) {
        for _ in 0..random.between(1, 3) {
            let amend = Action::Amend {
                rollout: "shop".into(),
                amendment: Amendment::of_sets(random),
            };
            script.push((at(random), amend));
        }
    }
    if random.chance(15) {
        let process = random.below(u32::try_from(processes).unwrap_or(1)) as usize;
        let seconds = random.between(1, 300);
        let kind = Watched::Services;
        let breaks = Action::BreakWatch {
            process,
            kind,
            seconds,
        };
        script.push((at(random), breaks));
    }
    if random.chance(8) {
        script.push((at(random), Action::Deny(Some(Kind::Service))));
    }
    // Whoever deals with a revision that waits for somebody.
    for _ in 0..random.between(0, 4) {
        script.push((at(random), command("promote")));
    }
    script
}

/// The Service and the route that weights need; and Git applies the route again, somebody edits or
/// deletes it, or the gateway's controller is down.
pub(super) fn routes(random: &mut Random) -> Vec<(i64, Action)> {
    let mut script = vec![
        (0, service("shop", Given::Ordinary)),
        (0, route("shop", Routed::AtRest)),
    ];
    let at = |random: &mut Random| random.between(2, BUSY - 100);
    if random.chance(60) {
        for _ in 0..random.between(1, 6) {
            let is = match random.below(8) {
                0..=4 => Routed::AtRest,
                5 | 6 => Routed::At(i32::try_from(random.between(1, 100)).unwrap_or(1)),
                _ => Routed::Gone,
            };
            script.push((at(random), route("shop", is)));
            script.push((at(random), route("shop", Routed::AtRest)));
        }
    }
    if random.chance(30) {
        let down = at(random);
        script.push((down, gateway(true)));
        script.push((down + random.between(5, 400), gateway(false)));
    }
    if random.chance(10) {
        let at = at(random);
        script.push((at, Action::Deny(Some(Kind::HttpRoute))));
        script.push((at + random.between(20, 200), Action::Deny(None)));
    }
    for _ in 0..random.between(0, 3) {
        script.push((at(random), command("promote")));
    }
    script
}

/// The definition of the routes' kind is removed, and written again with the route.
pub(super) fn undefined(random: &mut Random) -> Vec<(i64, Action)> {
    if !random.chance(10) {
        return Vec::new();
    }
    let gone = random.between(2, BUSY - 300);
    let back = gone + random.between(5, 200);
    vec![
        (gone, route("shop", Routed::Undefined)),
        (back, route("shop", Routed::AtRest)),
    ]
}
