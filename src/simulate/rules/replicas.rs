//! Pods: never too few, never too many.

use crate::{
    plan::course,
    simulate::{
        ledger::{Arrival, Happened, HeldTo, Size},
        object::{DeploymentObject, Object},
        rules::adopted,
        world::World,
    },
};

/// *floor* – no own write lowers assured pods below `replicas − maxUnavailable`, or lowers them
/// further when they are below already.
pub(super) fn floor(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.scaled() else {
        return Ok(());
    };
    let Some(spec) = arrival.spec_seen() else {
        return Ok(());
    };
    if after.replicas >= before.replicas {
        return Ok(());
    }
    let others = assured_others(world, arrival, &after.meta.name);
    let was = others + before.available.min(before.replicas);
    let is = others + after.available.min(after.replicas);
    // A write that was late when its Rollout was scaled in is held to no more than is asked for
    // now, or was for another lowering while it was on its way: that one could not count on it.
    let live = world.live.rollouts.get(&after.rollout);
    let asked_now = live.and_then(|r| r.spec.as_deref().ok());
    let specs = [Some(spec), asked_now].into_iter().flatten();
    let floors = specs.map(|spec| course::bounds(spec).floor);
    let last = world.ledger.held_to.get(&after.rollout);
    let lowered = last.and_then(|last| last.lowered);
    let meanwhile = lowered.filter(|(at, _)| *at > arrival.sent);
    let floors = floors.chain(meanwhile.map(|(_, floor)| floor));
    let floor = floors.min().unwrap_or_default();
    if is < floor.min(was) {
        return Err(format!(
            "{} is scaled {} -> {}: {is} of {} pods are assured after it, {was} before; the floor \
             is {floor}",
            after.meta.name, before.replicas, after.replicas, spec.replicas
        ));
    }
    Ok(())
}

/// Pods that the sender could count on, of all children but one: what he saw available, as far
/// as it was asked for ever since.
fn assured_others(world: &World, arrival: &Arrival, but: &str) -> i32 {
    let Some(seen) = &arrival.seen else { return 0 };
    let others = seen.children.values().filter(|c| &*c.meta.name != but);
    others
        .map(|child| {
            let sizes = world.ledger.sizes.get(&child.meta.uid);
            let smallest = sizes
                .into_iter()
                .flatten()
                .filter(|size| size.generation >= child.observed)
                .filter(|size| !unseen_by_hand(size, child))
                .map(|size| size.replicas)
                .min();
            let gone = world.live.deployments.get(&child.meta.name);
            if gone.is_none_or(|now| now.meta.uid != child.meta.uid) {
                // Deleted by somebody; the sender could not know.
                return child.available.min(child.replicas);
            }
            child.available.min(smallest.unwrap_or(child.replicas))
        })
        .sum()
}

/// A change by hand that the sender could not have seen.
fn unseen_by_hand(size: &Size, seen: &DeploymentObject) -> bool {
    size.by_hand && size.version > seen.meta.version
}

/// *floor*, by what users notice: while nothing else takes pods away, those that are ready never
/// fall below the floor of the last lowering.
pub(super) fn served(world: &World, happened: &Happened) -> Result<(), String> {
    let Happened::PodTaken { rollout, ready, .. } = happened else {
        return Ok(());
    };
    if world.ledger.all_harmed || world.ledger.harmed.contains(rollout) {
        return Ok(());
    }
    match world.ledger.held_to.get(rollout) {
        Some(last) if *ready < last.floor => Err(format!(
            "{ready} pods of {rollout} are left to serve, the floor was {}",
            last.floor
        )),
        _ => Ok(()),
    }
}

/// *ceiling* – no own write raises the sum of requested pods above `replicas + maxSurge`.
pub(super) fn ceiling(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.scaled() else {
        return Ok(());
    };
    let Some(spec) = arrival.spec_seen() else {
        return Ok(());
    };
    if after.replicas <= before.replicas {
        return Ok(());
    }
    let Some(seen) = &arrival.seen else {
        return Ok(());
    };
    let others = world.live.children(&after.rollout);
    if seen.rollout.deleted.is_some() {
        // What is given back is given at once: the others go.
        return Ok(());
    }
    let requested: i32 = others
        .filter(|child| child.meta.name != after.meta.name)
        .filter(|child| adopted::counts(child, &seen.rollout))
        .map(|child| {
            let known = seen.children.get(&child.meta.name);
            let Some(known) = known else {
                return child.replicas;
            };
            // As it is, but for what was done by hand and could not be seen.
            let sizes = world.ledger.sizes.get(&child.meta.uid);
            let mut latest = sizes.into_iter().flatten().rev();
            let size = latest.find(|size| !unseen_by_hand(size, known));
            size.map_or(known.replicas, |size| size.replicas)
        })
        .sum();
    let ceiling = course::bounds(spec).ceiling;
    if requested + after.replicas > ceiling {
        return Err(format!(
            "{} is scaled {} -> {}: {} pods are requested, the ceiling is {ceiling}",
            after.meta.name,
            before.replicas,
            after.replicas,
            requested + after.replicas
        ));
    }
    Ok(())
}

/// *batches* – forward, nothing that serves is taken away before a pod of what was asked for is
/// available.
pub(super) fn batches(_: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.scaled() else {
        return Ok(());
    };
    let (Some(seen), Some(spec)) = (&arrival.seen, arrival.spec_seen()) else {
        return Ok(());
    };
    if after.replicas >= before.available.min(before.replicas) {
        return Ok(());
    }
    let status = arrival.on_record.status.as_ref();
    let Some(release) = status.and_then(|s| s.release.as_ref()) else {
        return Ok(());
    };
    let Some(step) = release.step() else {
        return Ok(());
    };
    let course = course::course(spec);
    let asked = course.near(step).map_or(0, |target| target.canary);
    let mut living = seen.children.values().filter(|c| !c.meta.deleting);
    let canary = living.find(|c| *c.revision == *release.revision);
    let target = if release.first { spec.replicas } else { asked };
    match canary {
        Some(canary) if canary.available == 0 && canary.replicas.min(target) > 0 => Err(format!(
            "{} is lowered to {} while {} has none of {} pods available",
            after.meta.name,
            after.replicas,
            canary.meta.name,
            canary.replicas.min(target)
        )),
        _ => Ok(()),
    }
}

/// *floor*, its second half: a child is never raised until its `observedGeneration` is current
/// and `status.replicas ≤ spec.replicas`.
pub(super) fn settled(_: &World, happened: &Happened) -> Result<(), String> {
    let Some((_, before, after)) = happened.scaled() else {
        return Ok(());
    };
    let current = before.observed == before.meta.generation;
    if after.replicas > before.replicas && !(current && before.status_replicas <= before.replicas) {
        return Err(format!(
            "{} is raised {} -> {} while it still has {} pods on their way out",
            after.meta.name, before.replicas, after.replicas, before.status_replicas
        ));
    }
    Ok(())
}

pub(super) fn enter(world: &mut World, arrival: &Arrival, child: &DeploymentObject) {
    if let Some(spec) = arrival.spec_seen() {
        let asked = course::bounds(spec).floor;
        let rollout = child.rollout.clone();
        // Where it was below already, that is what may not be lowered further.
        let assured: i32 = world
            .live
            .children(&rollout)
            .map(|c| c.available.min(c.replicas))
            .sum();
        let before = arrival.before.as_ref();
        let lowers = matches!(before, Some(Object::Deployment(b)) if child.replicas < b.replicas);
        let last = world.ledger.held_to.get(&rollout);
        let held_to = HeldTo {
            floor: asked.min(assured),
            lowered: match lowers {
                true => Some((world.now, asked)),
                false => last.and_then(|last| last.lowered),
            },
        };
        world.ledger.held_to.insert(rollout, held_to);
    }
}
