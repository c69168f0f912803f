//! Expands that are soaked, and what they do to the code before them.

use crate::{
    api::{OnInconclusive, RolloutSpec, Soak},
    simulate::{
        action::{Action, Circumstance},
        random::Random,
        scenario::command,
        setting::{BUSY, Setting},
    },
};

/// Some expands hurt the code before them.
pub(super) fn hurt(random: &mut Random, setting: &mut Setting) {
    for behaviour in setting.behaviours.values_mut() {
        if random.chance(30) {
            behaviour.hurts_percent = *random.one_of(&[3.0, 20.0]).unwrap_or(&20.0);
        }
    }
}

/// Whoever has checks has his expands soaked.
pub(super) fn ask(random: &mut Random, spec: &mut RolloutSpec) {
    let ends = [
        OnInconclusive::Pause,
        OnInconclusive::Undo,
        OnInconclusive::Proceed,
    ];
    let soak = Soak {
        hold_seconds: random.between(1, 90),
        deadline_seconds: random.between(30, 240),
        on_inconclusive: random.one_of(&ends).copied().unwrap_or_default(),
    };
    let measured = spec.analysis.is_some();
    let expand = spec.schema.as_mut().and_then(|s| s.expand.as_mut());
    if let Some(expand) = expand.filter(|_| measured) {
        expand.soak = Some(soak);
    }
}

/// What people do about it.
pub(super) fn script(random: &mut Random) -> Vec<(i64, Action)> {
    let mut script = Vec::new();
    for _ in 0..random.between(0, 4) {
        let at = random.between(100, BUSY - 100);
        let action = match random.below(4) {
            0 => Action::Around(Circumstance::Mended("shop".into())),
            1 => command("undo"),
            2 => command("resume"),
            _ => command("promote"),
        };
        script.push((at, action));
    }
    script
}
