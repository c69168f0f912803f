//! The way back: there as long as it is needed, gone to its end, and short only for what was
//! stable lately.

use jiff::SignedDuration;

use super::left::obeyed;
use crate::{
    api::{RolloutStatus, keys, status::Outcome},
    plan::{course, reason::Reason, template},
    simulate::{
        ledger::{Arrival, Happened},
        object::RolloutObject,
        rules::adopted,
        world::World,
    },
};

/// *undo* – no step is entered while stable could not come back, unless a person said so; an undo ends when stable is
/// whole; a former stable returns without steps only within the rollback window.
pub(super) fn undo(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.recorded() else {
        return Ok(());
    };
    stays_possible(world, arrival, before, after)?;
    a_person_gave_it_up(world, before, after)?;
    ends_whole(arrival, before, after)?;
    within_the_window(world, arrival, before, after)?;
    as_told(world, before, after)
}

/// An undo goes where `status.undo` said.
fn as_told(world: &World, before: &RolloutObject, after: &RolloutStatus) -> Result<(), String> {
    let undo = |status: &RolloutStatus| status.release.as_ref().and_then(|r| r.undo().cloned());
    let (None, Some(undo)) = (undo(&before.status), undo(after)) else {
        return Ok(());
    };
    let (Some(release), Some(stable)) = (&after.release, &after.stable) else {
        return Ok(());
    };
    let rests = before.status.release.is_none();
    // A former stable that the spec asks for is a choice of its own, and what is at hand at rest may
    // have been deleted, or restored, since that was written.
    let by_a_person = Reason::of(&undo.reason) == Some(Reason::UndoneByPerson);
    let harmed = world.ledger.all_harmed || world.ledger.harmed.contains(&before.meta.name);
    if rests && (!by_a_person || harmed || world.ledger.status_lost) {
        return Ok(());
    }
    let told = before.status.undo.as_ref();
    let told = told.map(|told| (told.from.as_str(), told.to.as_deref()));
    if told == Some((&release.revision, Some(&stable.revision))) {
        return Ok(());
    }
    Err(format!(
        "{} goes back to {}, and status.undo said {told:?}",
        release.revision, stable.revision
    ))
}

/// The ConfigMaps that stable's template names exist when the next step is entered.
fn stays_possible(
    world: &World,
    arrival: &Arrival,
    before: &RolloutObject,
    after: &RolloutStatus,
) -> Result<(), String> {
    // A live read may be so old when what rests on it is sent.
    const READ: SignedDuration = SignedDuration::from_secs(30);
    let (Some(stable), Some(release)) = (&after.stable, &after.release) else {
        return Ok(());
    };
    let Some(step) = release.step() else {
        return Ok(());
    };
    let was = before.status.release.as_ref();
    let was = was.filter(|was| was.revision == release.revision);
    let was = was.and_then(|was| was.step());
    if was.is_some_and(|was| was.index >= step.index || was.name == step.name) {
        return Ok(());
    }
    if release.without_undo {
        return Ok(());
    }
    let known = world
        .live
        .revisions
        .values()
        .find(|r| r.rollout == before.meta.name && *r.revision == *stable.revision);
    let Some(known) = known else { return Ok(()) };
    let missing = template::config_refs(&known.template)
        .into_iter()
        .filter(|config| !config.secret && !world.configs.contains(config))
        .find(|config| {
            let pruned = world.ledger.pruned.get(&config.name);
            // What went after the pass had begun it may have read before.
            let (began, sent) = (arrival.trust.began, arrival.sent);
            pruned.is_none_or(|at| *at < began || sent.duration_since(*at) > READ)
        });
    match missing {
        Some(config) => Err(format!(
            "step {} is entered, but ConfigMap {} of stable {} is gone",
            step.name, config.name, stable.revision
        )),
        None => Ok(()),
    }
}

/// A release goes on without a way back only where a person has said so of it.
fn a_person_gave_it_up(
    world: &World,
    before: &RolloutObject,
    after: &RolloutStatus,
) -> Result<(), String> {
    let Some(release) = after.release.as_ref().filter(|r| r.without_undo) else {
        return Ok(());
    };
    let was = before.status.release.as_ref();
    if was.is_some_and(|was| was.revision == release.revision && was.without_undo) {
        return Ok(());
    }
    let mut said = obeyed(world, &before.status, after);
    let said = said.any(|command| {
        command.verb == "promote"
            && command.rollout == before.meta.name
            && command.revision == release.revision
            && command.step.as_deref() == Some(keys::WITHOUT_UNDO)
    });
    if !said {
        return Err(format!(
            "{} goes on without a way back, and nobody has said so",
            release.revision
        ));
    }
    Ok(())
}

/// When an undo ends its sender has seen stable with all its pods, enough of them available, and
/// no pod of anything else.
fn ends_whole(
    arrival: &Arrival,
    before: &RolloutObject,
    after: &RolloutStatus,
) -> Result<(), String> {
    let (Some(release), Some(stable)) = (&before.status.release, &after.stable) else {
        return Ok(());
    };
    if release.undo().is_none() || after.release.is_some() {
        return Ok(());
    }
    let (Some(seen), Some(spec)) = (&arrival.seen, arrival.spec_seen()) else {
        return Ok(());
    };
    let floor = course::bounds(spec).floor;
    let living = || seen.children.values().filter(|c| !c.meta.deleting);
    let restored = living()
        .find(|c| *c.revision == *stable.revision)
        .map_or(spec.replicas == 0, |c| {
            c.replicas == spec.replicas && c.available >= floor
        });
    if !restored {
        return Err(format!(
            "the undo of {} ends before stable {} is whole",
            release.revision, stable.revision
        ));
    }
    let mut others =
        living().filter(|c| *c.revision != *stable.revision && adopted::counts(c, &seen.rollout));
    match others.find(|c| c.replicas > 0 || c.status_replicas > 0) {
        Some(other) => Err(format!(
            "the undo of {} ends while {} has pods",
            release.revision, other.meta.name
        )),
        None => Ok(()),
    }
}

/// What the spec asks for returns at once only if it was stable lately.
fn within_the_window(
    world: &World,
    arrival: &Arrival,
    before: &RolloutObject,
    after: &RolloutStatus,
) -> Result<(), String> {
    let (Some(was), Some(is)) = (&before.status.stable, &after.stable) else {
        return Ok(());
    };
    let undo = after.release.as_ref().and_then(|r| r.undo());
    let asked = undo.is_some_and(|u| Reason::of(&u.reason) == Some(Reason::ReturnedToFormerStable));
    let Some(spec) = arrival
        .spec_seen()
        .filter(|_| asked && was.revision != is.revision)
    else {
        return Ok(());
    };
    let former = || {
        let all = world.live.revisions.values();
        all.filter(|r| r.rollout == before.meta.name && r.outcome == Some(Outcome::Stable))
            .filter(|r| *r.revision != *was.revision)
    };
    let number = former().find(|r| *r.revision == *is.revision);
    let number = number.map_or(0, |r| r.number);
    let later = former().filter(|r| r.number > number).count();
    let window = usize::try_from(spec.strategy.rollback_window.revisions).unwrap_or_default();
    if later >= window {
        return Err(format!(
            "{} returns without steps: {later} were stable after it, the window is {window}",
            is.revision
        ));
    }
    Ok(())
}
