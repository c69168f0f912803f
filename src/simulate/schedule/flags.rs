//! Flags, and what people do to them.

use crate::{
    api::{Flag, RolloutSpec},
    plan::intent::Kind,
    simulate::{
        action::{Action, Circumstance, Tampering},
        random::Random,
        scenario::command,
        scenarios::flags::flag,
        setting::{BUSY, Setting},
    },
};

/// One flag or two, and users for whom they are on that get errors from some images.
pub(super) fn drawn(random: &mut Random, setting: &mut Setting) -> Vec<Flag> {
    for behaviour in setting.behaviours.values_mut() {
        behaviour.flagged_error_percent = if random.chance(40) { 50.0 } else { 0.0 };
    }
    let keys = ["use-full-name", "new-search"];
    let count = random.between(1, 2).unsigned_abs() as usize;
    let mut flags: Vec<Flag> = keys.into_iter().take(count).filter_map(flag).collect();
    for step in flags.iter_mut().flat_map(|flag| &mut flag.ramp) {
        step.hold_seconds = random.between(0, 60);
    }
    flags
}

/// Every other contract waits for the flags.
pub(super) fn gate_a_contract(spec: &mut RolloutSpec) {
    let keys = spec.flags.iter().map(|flag| flag.key.clone()).collect();
    let schema = spec.schema.as_mut();
    if let Some(contract) = schema.and_then(|schema| schema.contract.as_mut())
        && contract.after_seconds % 2 == 0
    {
        contract.flags = keys;
    }
}

/// What people do to flags and their ConfigMap.
pub(super) fn script(random: &mut Random) -> Vec<(i64, Action)> {
    let mut script = Vec::new();
    let at = |random: &mut Random| random.between(2, BUSY - 100);
    for _ in 0..random.between(0, 3) {
        let verbs = ["promote-flag", "undo-flag", "retry-flag"];
        let verb = verbs[random.below(3) as usize];
        script.push((at(random), command(verb)));
    }
    if random.chance(30) {
        let ways = [
            Tampering::Off,
            Tampering::Broken,
            Tampering::Gone,
            Tampering::Foreign,
        ];
        let how = *random.one_of(&ways).unwrap_or(&Tampering::Off);
        script.push((at(random), Action::Around(Circumstance::Flags(how))));
    }
    if random.chance(20) {
        script.push((at(random), Action::Deny(Some(Kind::ConfigMap))));
    }
    script
}
