//! Services: users are led to nobody but pods that serve, and away from pods before these go.

use jiff::SignedDuration;

use super::{
    carried,
    writes::{led_to, records},
};
use crate::{
    api::RolloutStatus,
    plan::{course, intent::Write, services::SETTLES_WITHIN},
    simulate::{
        ledger::{Arrival, Happened},
        object::{Object, ServiceObject},
        setting::Health,
        world::World,
    },
};

/// An accepted write that leads a Service to another revision, and the one that it leaves. A Service
/// that somebody has edited or deleted led to the one on record.
fn moved(happened: &Happened) -> Option<(&Arrival, &str, &ServiceObject)> {
    let arrival = happened.accepted()?;
    let Some(Object::Service(after)) = &arrival.after else {
        return None;
    };
    let before = match (&*arrival.write, &arrival.before) {
        (Write::Select { .. }, Some(Object::Service(before))) => before.revision(),
        (Write::Create { .. }, None) => None,
        _ => return None,
    };
    let known = || {
        let traffic = arrival.seen.as_ref()?.rollout.status.traffic.as_ref()?;
        led_to(traffic, &after.meta.name)
    };
    let before = before.or_else(known)?;
    (Some(before) != after.revision()).then_some((arrival, before, after))
}

/// *switch* – users are switched to no fewer pods than the floor, unless those that they leave are no
/// more; and no Service is led to a revision without a pod that serves, away from one that has some.
pub(super) fn switch(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = moved(happened) else {
        return Ok(());
    };
    let (Some(seen), Some(spec)) = (&arrival.seen, arrival.spec_seen()) else {
        return Ok(());
    };
    let serve = |revision: Option<&str>| -> i32 {
        let children = seen.children.values().filter(|c| !c.meta.deleting);
        let selected = children.filter(|c| Some(&*c.revision) == revision);
        selected.map(|c| c.available.min(c.replicas)).sum()
    };
    let (here, there) = (serve(Some(before)), serve(after.revision()));
    let name = &after.meta.name;
    let rollout = after.rollout.as_deref().unwrap_or_default();
    let floor = course::bounds(spec).floor;
    if world.users_address(rollout, name) && there < floor.max(1) && there < here {
        return Err(format!(
            "Service {name} goes to a revision with {there} pods, away from one with {here}; the \
             floor is {floor}"
        ));
    }
    if there == 0 && here > 0 {
        return Err(format!(
            "Service {name} goes to a revision without a pod that serves"
        ));
    }
    Ok(())
}

/// *traffic-first* – a Service leaves a revision, and everybody has had time to hear of it, before
/// that revision's pods go.
pub(super) fn traffic_first(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.scaled() else {
        return Ok(());
    };
    let Some(spec) = arrival.spec_seen().filter(|spec| spec.traffic.is_some()) else {
        return Ok(());
    };
    if after.replicas >= before.replicas.min(spec.replicas) {
        return Ok(());
    }
    let traffic = spec.traffic.as_ref().map(|traffic| traffic.own());
    for service in world.live.services_of(&after.rollout) {
        let name = &service.meta.name;
        if traffic.is_some_and(|names| !names.contains(&&**name)) {
            continue;
        }
        if service.revision() == Some(&*after.revision) {
            if after.replicas > 0 && !world.users_address(&after.rollout, name) {
                // Testers reach what is left.
                continue;
            }
            if after.replicas > 0 && carried::is_asked(arrival, spec) {
                // How many must be left is another rule's.
                continue;
            }
            return Err(format!(
                "{} is scaled {} -> {} while Service {name} leads to it",
                after.meta.name, before.replicas, after.replicas
            ));
        }
        let left = (name.clone(), after.revision.clone());
        let since = world.ledger.left.get(&left);
        let since = since.map(|at| arrival.sent.duration_since(*at).as_secs());
        // By the operator's clock, which keeps time in whole seconds.
        if since.is_some_and(|s| s < SETTLES_WITHIN - 1) && !world.ledger.clocks_jumped {
            return Err(format!(
                "{} is scaled {} -> {} {} s after Service {name} has left it",
                after.meta.name,
                before.replicas,
                after.replicas,
                since.unwrap_or_default()
            ));
        }
    }
    Ok(())
}

/// *unserved* – no request goes where no pod is ready, as far as that is the operator's doing: not
/// where a Service leads by now, and not where its endpoints still lead.
pub(super) fn unserved(world: &World, happened: &Happened) -> Result<(), String> {
    let (rollout, revision) = match happened {
        Happened::PodTaken {
            rollout, revision, ..
        }
        | Happened::Led {
            rollout, revision, ..
        } => (rollout, revision),
        _ => return Ok(()),
    };
    let mut images = world.live.children(rollout);
    let image = images.find(|c| c.revision == *revision).map(|c| &c.image);
    let well = image.is_some_and(|i| world.setting.behaviour(i).health == Health::Good);
    let asked = world.live.rollouts.get(rollout);
    let asked = asked
        .and_then(|r| r.spec.as_deref().ok())
        .map(|s| s.replicas);
    if !well || asked == Some(0) || world.ledger.all_harmed || world.ledger.harmed.contains(rollout)
    {
        return Ok(());
    }
    if let Happened::Led {
        service, before, ..
    } = happened
    {
        let now = world.endpoints_ready(service);
        // Pods that have come up while the write was on its way are nobody's to know.
        let known = !world.ledger.unknown.contains(service);
        return if known && *before > 0 && now == 0 {
            Err(format!("Service {service} leads to no pod that is ready"))
        } else {
            Ok(())
        };
    }
    for service in world.live.services_of(rollout) {
        let name = &service.meta.name;
        if world.leads_to(name, revision) && world.endpoints_ready(name) == 0 {
            return Err(format!(
                "the last pod that is ready behind Service {name} is taken away"
            ));
        }
    }
    Ok(())
}

/// *weight* – no more of the requests go to a revision than the step on record asks for: no weight
/// is written that is higher, or that is not on record, and no revision comes behind one.
pub(super) fn weight(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let rollout = arrival.key.name();
    let Some(spec) = arrival.spec_seen() else {
        return Ok(());
    };
    let most = |status: &RolloutStatus| {
        let step = status.release.as_ref().and_then(|r| r.step())?;
        course::course(spec).near(step)?.weight
    };
    let statuses = || records(world, arrival, rollout);
    if let Write::Weigh { canary, .. } = &*arrival.write {
        let told = |status: &RolloutStatus| {
            let told = status.traffic.as_ref().and_then(|t| t.weight.as_ref());
            told.is_some_and(|told| told.canary == *canary)
        };
        if !statuses().any(told) {
            return Err(format!("a route is told {canary}%, which is not on record"));
        }
        // Back, it falls, or is told again where somebody else had taken it away; or it brings stable,
        // behind users that are led to the new revision.
        let back = carried::is_asked(arrival, spec)
            && (world
                .routed(rollout)
                .is_some_and(|route| *canary <= route.former || route.told_again)
                || carried::users_are_away(world, arrival));
        if *canary > 0 && !back && !statuses().filter_map(most).any(|most| *canary <= most) {
            return Err(format!(
                "a route is told {canary}%, which is more than a step asks for"
            ));
        }
    }
    // What somebody else writes into the route between the look and the write is not to be seen.
    let lately = arrival.sent - SignedDuration::from_secs(2);
    let route = world.routed(rollout);
    let route = route.filter(|route| route.touched.is_none_or(|at| at < lately));
    if let (Some(route), Some((_, _, after))) = (route, moved(happened))
        && !world.users_address(rollout, &after.meta.name)
    {
        let leads = |status: &RolloutStatus| {
            let release = status.release.as_ref();
            release.is_some_and(|r| Some(&*r.revision) == after.revision() && !r.first)
        };
        let mut all = statuses().filter(|status| leads(status)).filter_map(most);
        // What it says, and what requests still follow.
        let share = route.weights.1.max(route.share);
        if statuses().all(leads) && !all.any(|most| share <= most) {
            return Err(format!(
                "Service {} goes to a revision, and with it {share}% of the requests",
                after.meta.name
            ));
        }
    }
    Ok(())
}

pub(super) fn enter(world: &mut World, arrival: &Arrival) {
    let (Some(Object::Service(before)), Some(Object::Service(after))) =
        (&arrival.before, &arrival.after)
    else {
        return;
    };
    let Some(revision) = before.revision().filter(|r| Some(*r) != after.revision()) else {
        return;
    };
    let left = (after.meta.name.clone(), revision.into());
    world.ledger.left.insert(left, world.now);
    let children = arrival.seen.iter().flat_map(|seen| seen.children.values());
    let served = children
        .filter(|c| &*c.revision == revision)
        .any(|c| c.available.min(c.replicas) > 0);
    let service = after.meta.name.clone();
    match served {
        true => drop(world.ledger.unknown.remove(&service)),
        false => drop(world.ledger.unknown.insert(service)),
    }
}
