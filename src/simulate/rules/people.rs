//! People: what they have said is done as they said it, and once.

use super::{Happened, Ledger, Left, recorded};
use crate::{
    api::{RolloutStatus, status::CommandStatus},
    simulate::{
        object::{Name, RolloutObject},
        people::Command,
        world::World,
    },
};

/// *told* – who pauses a release is obeyed until he resumes it, and a command is carried out once.
pub(super) fn told(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((_, before, after)) = recorded(happened) else {
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

/// Commands that a record says are done, and the one before it did not.
fn done<'a>(
    before: &'a RolloutStatus,
    after: &'a RolloutStatus,
) -> impl Iterator<Item = &'a CommandStatus> {
    let new = |command: &&CommandStatus| !before.commands.contains(command);
    let commands = after.commands.iter().filter(new);
    commands.filter(|command| command.result == "Done")
}

/// What people said that a record does.
pub(super) fn obeyed<'a>(
    world: &'a World,
    before: &'a RolloutStatus,
    after: &'a RolloutStatus,
) -> impl Iterator<Item = &'a Command> {
    done(before, after).filter_map(|ack| {
        let mut commands = world.commands.iter();
        commands.find(|c| c.verb == ack.command && c.id == ack.id)
    })
}

pub(super) fn enter(ledger: &mut Ledger, before: &RolloutObject, after: &RolloutObject) {
    let name: &Name = &after.meta.name;
    let new = done(&before.status, &after.status).map(|c| (name.clone(), c.id.clone()));
    ledger.done.extend(new);
}
