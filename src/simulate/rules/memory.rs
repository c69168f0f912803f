//! What is remembered: whoever has lost his status asks what outlives it.

use super::{Happened, recorded, scaled};
use crate::{
    api::status::Outcome,
    simulate::{object::DeploymentObject, world::World},
};

/// *memory* – a first deployment is one only while no revision is marked stable, and pods of a
/// revision that nothing remembers are left as they are.
pub(super) fn memory(world: &World, happened: &Happened) -> Result<(), String> {
    if let Some((_, before, after)) = recorded(happened)
        && let Some(release) = &after.release
        && release.first
        && before.status.release.as_ref().map(|r| &r.revision) != Some(&release.revision)
    {
        let mut revisions = world.live.revisions.values();
        let marked = revisions.find(|r| {
            r.rollout == before.meta.name && r.outcome == Some(Outcome::Stable) && !r.meta.deleting
        });
        if let Some(stable) = marked {
            return Err(format!(
                "{} is released as the first, but {} is marked stable",
                release.revision, stable.meta.name
            ));
        }
    }
    let Some((arrival, before, after)) = scaled(happened) else {
        return Ok(());
    };
    let Some(seen) = arrival.seen.as_ref().filter(|_| before.replicas > 0) else {
        return Ok(());
    };
    // A live list may have shown what the caches do not show yet.
    let mut live = world.live.revisions.values();
    let listed = live.any(|r| r.rollout == before.rollout && r.revision == after.revision);
    let remembered = listed
        || seen.revisions.contains(&after.revision)
        || is_named(world, arrival.on_record.status.as_deref(), after)
        || is_named(world, Some(&seen.rollout.status), after)
        || super::spec_seen(arrival).is_some_and(|spec| spec.revision() == &*after.revision);
    if remembered {
        return Ok(());
    }
    Err(format!(
        "{} is scaled {} -> {}, though nothing remembers its revision",
        after.meta.name, before.replicas, after.replicas
    ))
}

/// Whether the status in its present or an earlier form names the revision of this child.
fn is_named(
    world: &World,
    status: Option<&crate::api::RolloutStatus>,
    child: &DeploymentObject,
) -> bool {
    let live = world.live.rollouts.get(&child.rollout);
    let statuses = [status, live.map(|r| &*r.status)];
    statuses.into_iter().flatten().any(|status| {
        let stable = status.stable.as_ref().map(|s| s.revision.as_str());
        let release = status.release.as_ref().map(|r| r.revision.as_str());
        [stable, release].contains(&Some(&*child.revision))
    })
}
