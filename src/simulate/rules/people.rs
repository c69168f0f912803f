//! People: what they have said is done as they said it, and once.

use jiff::SignedDuration;

use super::left::{Left, done};
use crate::{
    api::OnNewRevision,
    cluster::Key,
    plan::reason::Reason,
    simulate::{
        ledger::{Happened, Ledger},
        object::{Name, RolloutObject},
        world::World,
    },
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
    stays_where_it_is(happened)?;
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

/// How old words on a status may be.
const WORDS_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// *refused* – what the API server refuses is said, on the Rollout or in an Event.
pub(super) fn refused(world: &World, happened: &Happened) -> Result<(), String> {
    let Happened::Refused { key, refused, told } = happened else {
        return Ok(());
    };
    let rollout = match key {
        Key::Rollout { name, .. } => world.live.rollouts.get(name.as_str()),
        Key::Database { .. } => None,
    };
    // What was said is gone, and the watch may not have shown that yet.
    let forgotten = |name: &str| {
        let ledger = &world.ledger;
        ledger.restored || ledger.lost.contains_key(name) || ledger.deleted.contains(name)
    };
    if forgotten(key.name()) {
        return Ok(());
    }
    let status = rollout.map(|rollout| &rollout.status);
    // Mere words are put on record now and then.
    let mut written = world.ledger.status_written.iter();
    if written
        .any(|((_, name), at)| **name == *key.name() && world.now.duration_since(*at) < WORDS_EVERY)
    {
        return Ok(());
    }
    let refusals = [
        Reason::DeploymentRefused,
        Reason::JobRefused,
        Reason::ScaleRefused,
        Reason::WriteRefused,
    ];
    let conditions = status.iter().flat_map(|s| &s.conditions);
    let mut reasons = conditions.filter_map(|c| Reason::of(&c.reason));
    if reasons.any(|reason| refusals.contains(&reason)) {
        // Of what it says, the last answer may have been none.
        return Ok(());
    }
    let conditions = status.iter().flat_map(|s| &s.conditions);
    let history = status.iter().flat_map(|s| &s.history);
    let said: Vec<&String> = conditions
        .map(|c| &c.message)
        .chain(history.map(|h| &h.message))
        .chain(told)
        .collect();
    match refused
        .iter()
        .find(|words| !said.iter().any(|s| s.contains(*words)))
    {
        Some(words) => Err(format!("nobody is told that the API server says {words:?}")),
        None => Ok(()),
    }
}

/// A newer revision withdraws nothing whose pods run while the spec is paused, or says that it is to
/// end first.
fn stays_where_it_is(happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let (Some(spec), Some(was)) = (arrival.spec_seen(), &before.status.release) else {
        return Ok(());
    };
    let finish = spec.strategy.on_new_revision == OnNewRevision::Finish && !was.first;
    let is = after
        .release
        .as_ref()
        .filter(|is| is.revision == was.revision);
    let superseded = |reason: &str| Reason::of(reason) == Some(Reason::Superseded);
    let undone = is
        .and_then(|is| is.undo())
        .is_some_and(|u| superseded(&u.reason));
    if was.step().is_some() && undone && (spec.paused || finish) {
        return Err(format!(
            "{} is withdrawn for a newer revision, though it is held where it is",
            was.revision
        ));
    }
    Ok(())
}

pub(super) fn enter(ledger: &mut Ledger, before: &RolloutObject, after: &RolloutObject) {
    let name: &Name = &after.meta.name;
    let new = done(&before.status, &after.status).map(|c| (name.clone(), c.id.clone()));
    ledger.done.extend(new);
}
