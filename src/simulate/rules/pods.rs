//! What is told by pods themselves, and not by their Deployment.

use super::left::Left;
use crate::{
    api::RolloutStatus,
    plan::{course, reason::Reason},
    simulate::{
        ledger::{Arrival, Happened},
        world::World,
    },
};

/// *whole* – no step is left, but by a person, before the pods themselves were seen ready: their Deployment
/// may have been seen earlier than what has become of them since. Few may lack that merely start.
pub(super) fn whole(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(left) = Left::of(world, happened).filter(|left| !left.promoted(world)) else {
        return Ok(());
    };
    let Some(seen) = &left.arrival.seen else {
        return Ok(());
    };
    let revision = &left.release.revision;
    let ready = seen.pods.iter().filter(|pod| *pod.revision == **revision);
    let ready = ready.filter(|pod| pod.ready_since.is_some()).count();
    let ready = i32::try_from(ready).unwrap_or(i32::MAX);
    let wanted = left.target.canary;
    let may_lack = course::bounds(left.spec).may_lack(wanted, left.spec.replicas);
    if ready + may_lack < wanted {
        let name = &left.status.name;
        return Err(format!(
            "step {name} is left with {ready} of {wanted} pods of {revision} seen ready"
        ));
    }
    Ok(())
}

/// *silent* – a release is not late while the node of its pods says nothing, as far as the sender could know;
/// and of such pods too, which may serve again at any moment, no more go than leaves the floor, but in an undo.
pub(super) fn silent(_: &World, happened: &Happened) -> Result<(), String> {
    may_serve_again(happened)?;
    let Some((arrival, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let undo = |status: &RolloutStatus| status.release.as_ref().and_then(|r| r.undo().cloned());
    let late = |reason: &str| Reason::of(reason) == Some(Reason::ProgressDeadlineExceeded);
    let (None, Some(_)) = (
        undo(&before.status),
        undo(after).filter(|undo| late(&undo.reason)),
    ) else {
        return Ok(());
    };
    match silent_pod(arrival, after) {
        Some(pod) => Err(format!(
            "undone for being late, and the node of {pod} says nothing"
        )),
        None => Ok(()),
    }
}

fn may_serve_again(happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.scaled() else {
        return Ok(());
    };
    let (Some(seen), Some(spec)) = (&arrival.seen, arrival.spec_seen()) else {
        return Ok(());
    };
    let status = arrival.on_record.status.as_deref();
    let release = status.and_then(|status| status.release.as_ref());
    let silent = |revision: &str| {
        let pods = seen.pods.iter().filter(|pod| *pod.revision == *revision);
        let silent = pods.filter(|pod| pod.silent.is_some()).count();
        i32::try_from(silent).unwrap_or(i32::MAX)
    };
    if release.is_some_and(|r| r.undo().is_some()) || silent(&after.revision) == 0 {
        return Ok(());
    }
    let left = |replicas: i32| -> i32 {
        let children = seen.children.values().filter(|c| !c.meta.deleting);
        let serving = children.map(|child| {
            let own = child.meta.name == after.meta.name;
            let asked = if own { replicas } else { child.replicas };
            asked.min(child.available + silent(&child.revision))
        });
        serving.sum()
    };
    let floor = course::bounds(spec).floor;
    let (was, is) = (left(before.replicas), left(after.replicas));
    if is < floor && is < was {
        return Err(format!(
            "{} is scaled {} -> {}, and of {was} pods that serve or may serve again {is} are left: \
             the floor is {floor}",
            after.meta.name, before.replicas, after.replicas
        ));
    }
    Ok(())
}

/// A pod of the revision in motion that its node says nothing of.
fn silent_pod<'a>(arrival: &'a Arrival, after: &RolloutStatus) -> Option<&'a str> {
    let revision = &after.release.as_ref()?.revision;
    let seen = arrival.seen.as_ref()?;
    let mut children = seen.children.values();
    if children.any(|child| *child.revision == **revision && child.problem.is_some()) {
        return None;
    }
    let mut pods = seen.pods.iter();
    let pod = pods.find(|pod| *pod.revision == **revision && pod.silent.is_some())?;
    Some(&pod.meta.name)
}
