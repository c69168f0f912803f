//! Requests go to no fewer pods than they need, where stable's pods follow the weight.

use jiff::{SignedDuration, Timestamp};

use super::writes::records;
use crate::{
    api::{RolloutSpec, RolloutStatus, traffic::WeightStatus},
    plan::{
        course,
        intent::Write,
        routes::carry::{keeps, whole},
    },
    simulate::{
        ledger::{Arrival, Happened},
        object::Object,
        process::Seen,
        world::World,
    },
};

/// Seconds after which somebody else's change of a route is seen.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_secs(13);

/// Seconds after which an undo waits no longer for routes that do not follow.
const LATE: i64 = 10;

/// *carried* – with `stablePods: Shrink` no write gives a revision a larger share of the requests
/// than its ready pods can carry, forward and back, nor takes pods away that its share needs: all
/// requests need as many as the floor. An undo goes on all the same when routes do not follow for
/// ten seconds.
pub(super) fn carried(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let rollout = arrival.key.name();
    let (Some(seen), Some(spec), Some(route)) =
        (&arrival.seen, arrival.spec_seen(), world.routed(rollout))
    else {
        return Ok(());
    };
    let status = &seen.rollout.status;
    let lately = |at: Timestamp| arrival.sent.duration_since(at) < SEEN_WITHIN;
    // A first deployment has nobody to share with.
    if status.stable.is_none()
        || !is_asked(arrival, spec)
        || route.touched.is_some_and(lately)
        || records(world, arrival, rollout).any(|status| is_late(status, arrival.sent))
    {
        return Ok(());
    }
    let Some(lead) = lead(world, rollout) else {
        return Ok(());
    };
    let (revision, pods, share, what) = match (&*arrival.write, &arrival.before, &arrival.after) {
        (Write::Weigh { canary, .. }, ..) => {
            let before = route.former;
            if lead.users == lead.other || before == *canary {
                return Ok(());
            }
            let (revision, from, share) = match *canary > before {
                true => (lead.other.as_str(), lead.users.as_str(), *canary),
                false => (lead.users.as_str(), lead.other.as_str(), 100 - canary),
            };
            // Nobody serves, here or there, since nodes say nothing.
            let is_silent = |of: &str| {
                let mut pods = seen.pods.iter().filter(|pod| *pod.revision == *of);
                ready(seen, of) == 0 && pods.any(|pod| pod.silent.is_some())
            };
            if is_silent(from) && is_silent(revision) {
                return Ok(());
            }
            (revision, ready(seen, revision), share, "a route gives")
        }
        (
            Write::Scale { .. },
            Some(Object::Deployment(before)),
            Some(Object::Deployment(after)),
        ) if after.replicas < before.replicas.min(spec.replicas) => {
            let weights = [route.weights.1, route.share];
            let share = share(&lead, &after.revision, weights);
            let pods = ready(seen, &after.revision);
            if pods <= after.replicas {
                // None of those that serve goes.
                return Ok(());
            }
            let pods = after.replicas;
            (&*after.revision, pods, share, "a scaling leaves")
        }
        (Write::Select { .. }, Some(Object::Service(before)), Some(Object::Service(after)))
            if before.revision() != after.revision() =>
        {
            let (Some(from), Some(to)) = (before.revision(), after.revision()) else {
                return Ok(());
            };
            let weights = [route.weights.1, route.share];
            let users = world.users_address(rollout, &after.meta.name);
            let was = match users {
                true => Lead {
                    users: from.into(),
                    other: lead.other.clone(),
                },
                false => Lead {
                    users: lead.users.clone(),
                    other: from.into(),
                },
            };
            let to_be = share(&lead, to, weights);
            if ready(seen, from) == 0 || to_be <= share(&was, to, weights) {
                return Ok(());
            }
            let to = if users {
                lead.users.as_str()
            } else {
                lead.other.as_str()
            };
            (to, ready(seen, to), to_be, "a Service gives")
        }
        _ => return Ok(()),
    };
    let all = whole(course::bounds(spec));
    let enough =
        share == 0 || keeps(pods, all) >= share || is_as_asked(spec, status, revision, pods, share);
    if enough || spec.replicas == 0 {
        return Ok(());
    }
    Err(format!(
        "{what} {share}% of the requests to {pods} ready pods of {revision}; all of them need {all}"
    ))
}

/// Stable's pods follow the weight.
pub(super) fn is_asked(arrival: &Arrival, spec: &RolloutSpec) -> bool {
    let seen = arrival.seen.as_ref();
    let told = seen.and_then(|seen| told(&seen.rollout.status));
    course::shrinks(spec) || told.is_some_and(|told| told.shrinks)
}

/// Users are led to another revision than stable.
pub(super) fn users_are_away(world: &World, arrival: &Arrival) -> bool {
    let status = arrival.seen.as_ref().map(|seen| &seen.rollout.status);
    let stable = status.and_then(|status| status.stable.as_ref());
    let lead = lead(world, arrival.key.name());
    lead.is_some_and(|lead| stable.is_some_and(|stable| stable.revision != lead.users))
}

/// The revisions that the two Services lead to.
struct Lead {
    users: String,
    other: String,
}

fn lead(world: &World, rollout: &str) -> Option<Lead> {
    let leads = |users: bool| {
        let mut services = world.live.services_of(rollout);
        let service = services.find(|s| world.users_address(rollout, &s.meta.name) == users)?;
        service.revision().map(str::to_owned)
    };
    Some(Lead {
        users: leads(true)?,
        other: leads(false)?,
    })
}

/// The share that a revision may get while a route has one weight or the other.
fn share(lead: &Lead, revision: &str, weights: [i32; 2]) -> i32 {
    let of = |weight: i32| {
        let users = if lead.users == revision {
            100 - weight
        } else {
            0
        };
        users + if lead.other == revision { weight } else { 0 }
    };
    of(weights[0]).max(of(weights[1]))
}

fn ready(seen: &Seen, revision: &str) -> i32 {
    let children = seen.children.values().filter(|c| !c.meta.deleting);
    let of = children.filter(|c| &*c.revision == revision);
    of.map(|c| c.available.min(c.replicas)).sum()
}

fn told(status: &RolloutStatus) -> Option<&WeightStatus> {
    status.traffic.as_ref()?.weight.as_ref()
}

/// An undo, and routes that do not follow.
fn is_late(status: &RolloutStatus, at: Timestamp) -> bool {
    let back = status.release.as_ref().is_none_or(|r| r.step().is_none());
    let late = |told: &WeightStatus| {
        let waited = at.duration_since(told.since.0).as_secs();
        waited >= LATE && told.accepted.as_ref().is_none_or(|a| a.0 > told.since.0)
    };
    back && told(status).is_some_and(late)
}

/// The step asks for fewer pods than its weight needs, or few of them merely start.
fn is_as_asked(
    spec: &RolloutSpec,
    status: &RolloutStatus,
    revision: &str,
    pods: i32,
    share: i32,
) -> bool {
    let release = status.release.as_ref().filter(|r| r.revision == revision);
    let course = course::course(spec);
    let target = release.and_then(|r| course.near(r.step()?));
    target.is_some_and(|target| {
        let weight = target.weight.unwrap_or(0).max(1);
        let lacks = course.bounds.may_lack(target.canary, spec.replicas);
        let asked = (target.canary - lacks) * share / weight;
        pods >= asked.max(1)
    })
}
