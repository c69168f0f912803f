//! A Deployment of somebody else that is moved in.

use super::writes::records;
use crate::{
    api::keys,
    plan::{adopting, intent::Write},
    simulate::{
        ledger::Happened,
        object::{DeploymentObject, Object, RolloutObject},
        request::describe,
        world::World,
    },
};

/// *adopted* – of an adopted Deployment nothing but the replicas is written, never over what somebody
/// else has written of them, never of another one of its name, and none go before they could be given
/// back; whoever deletes the Rollout in mid-move gets them back.
pub(super) fn adopted(world: &World, happened: &Happened) -> Result<(), String> {
    if let Happened::RolloutGone(rollout) = happened {
        return given_back(world, rollout);
    }
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let Some(Object::Deployment(before)) = &arrival.before else {
        return Ok(());
    };
    let words = describe(&arrival.write);
    if before.foreign.is_none() {
        return match &*arrival.write {
            Write::Resize { .. } => Err(format!("{words}, which is no adopted Deployment")),
            _ => Ok(()),
        };
    }
    let (Write::Resize { .. }, Some(Object::Deployment(after))) = (&*arrival.write, &arrival.after)
    else {
        return Err(format!("{words}: it is somebody else's"));
    };
    let mut as_before = (**after).clone();
    (as_before.replicas, as_before.epoch) = (before.replicas, before.epoch);
    as_before.meta = before.meta.clone();
    as_before.observed = before.observed;
    if as_before != **before {
        return Err(format!("{words} changes more than replicas"));
    }
    if before.epoch.is_none() {
        let mut known = records(world, arrival, &after.rollout);
        let known = known.any(|status| {
            let recorded = status.adopted.as_ref();
            recorded.is_some_and(|a| {
                a.generation >= before.meta.generation && *a.uid == *before.meta.uid
            })
        });
        if !known {
            return Err(format!("{words}, over what somebody else has written"));
        }
    }
    let Some(seen) = &arrival.seen else {
        return Ok(());
    };
    let stable = adopting::stable(&seen.rollout.status) == Some(&*after.meta.name);
    let held = seen
        .rollout
        .finalizers
        .iter()
        .any(|one| one == keys::ADOPTING);
    if after.replicas < before.replicas && stable && !held {
        return Err(format!("{words}, before it could be given back"));
    }
    Ok(())
}

/// The Deployment that was stable at its end has its replicas, but for what somebody else wrote.
fn given_back(world: &World, rollout: &RolloutObject) -> Result<(), String> {
    let name = adopting::stable(&rollout.status);
    let deployment = name.and_then(|name| world.live.deployments.get(name));
    let (Some(deployment), Ok(spec)) = (deployment, &rollout.spec) else {
        return Ok(());
    };
    if deployment.epoch.is_some() && deployment.replicas < spec.replicas {
        return Err(format!(
            "{} is deleted while {} has {} of {} replicas",
            rollout.meta.name, deployment.meta.name, deployment.replicas, spec.replicas
        ));
    }
    Ok(())
}

/// Whether a Deployment counts among a Rollout's pods by what a sender had seen.
pub(super) fn counts(deployment: &DeploymentObject, seen: &RolloutObject) -> bool {
    let stable = adopting::stable(&seen.status) == Some(&*deployment.meta.name);
    deployment.foreign.is_none() || stable || deployment.epoch.is_some()
}
