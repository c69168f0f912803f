//! People: what they have said is done as they said it, and once.

use super::left::{Left, done};
use crate::simulate::{
    ledger::{Happened, Ledger},
    object::{Name, RolloutObject},
    world::World,
};

/// *told* – who pauses a release is obeyed until he resumes it, and a command is carried out once.
pub(super) fn told(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((_, before, after)) = happened.recorded() else {
        return Ok(());
    };
    for command in done(&before.status, after) {
        let known = (before.meta.name.clone(), command.id.clone());
        if world.ledger.done.contains(&known) {
            return Err(format!(
                "{} ({}) is carried out a second time",
                command.command, command.id
            ));
        }
    }
    let Some(left) = Left::of(world, happened).filter(|left| !left.promoted(world)) else {
        return Ok(());
    };
    if left.spec.paused || before.status.paused_since.is_some() {
        return Err(format!(
            "step {} is left although the release is paused",
            left.status.name
        ));
    }
    Ok(())
}

pub(super) fn enter(ledger: &mut Ledger, before: &RolloutObject, after: &RolloutObject) {
    let name: &Name = &after.meta.name;
    let new = done(&before.status, &after.status).map(|c| (name.clone(), c.id.clone()));
    ledger.done.extend(new);
}
