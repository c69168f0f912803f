//! What people say seldom: that a release goes on without a way back, and who may use a database.

use crate::simulate::{action::Action, random::Random, scenario::command, setting::BUSY};

/// Mostly nothing of it.
pub(super) fn script(random: &mut Random) -> Vec<(i64, Action)> {
    let mut script = Vec::new();
    let at = |random: &mut Random| random.between(2, BUSY - 100);
    if random.chance(25) {
        // Mostly while something is missing.
        let from = at(random);
        script.push((
            from,
            Action::Config {
                name: "shop-config".into(),
                exists: false,
            },
        ));
        for _ in 0..random.between(1, 3) {
            let later = random.between(from, BUSY - 50);
            script.push((later, command("promote-without-undo")));
        }
    }
    if random.chance(25) {
        for _ in 0..random.between(1, 4) {
            let allowed: [Option<&[&str]>; 5] = [
                Some(&[]),
                Some(&["worker"]),
                Some(&["shop"]),
                Some(&["shop", "worker"]),
                None,
            ];
            let rollouts = random.one_of(&allowed).copied().flatten();
            let rollouts = rollouts.map(|all| all.iter().map(ToString::to_string).collect());
            script.push((
                at(random),
                Action::Allow {
                    database: "shop-db".into(),
                    rollouts,
                },
            ));
        }
    }
    script
}
