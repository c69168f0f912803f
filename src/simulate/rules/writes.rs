//! Writes: on record first, never in vain, never by the deposed, never for the failed.

use jiff::SignedDuration;

use crate::{
    api::{RolloutSpec, RolloutStatus, status::Outcome, traffic::TrafficStatus},
    plan::{
        course::{Active, course},
        intent::{Kind, Write},
    },
    simulate::{
        ledger::{Arrival, Happened, Ledger},
        object::{DeploymentObject, Object, RolloutObject},
        request::describe,
        world::World,
    },
};

/// For so long at most a cache shows what is no longer so: a watch that breaks, and the way.
const LONGEST_LAG: SignedDuration = SignedDuration::from_secs(310);

/// *record-first* – a decision is on record before the first write that rests on it.
pub(super) fn record_first(world: &World, happened: &Happened) -> Result<(), String> {
    if let Some((arrival, before, after)) = happened.scaled() {
        let Some(spec) = arrival.spec_seen() else {
            return Ok(());
        };
        let mut wrong = Ok(());
        for status in records(world, arrival, &after.rollout) {
            match rests_on(status, spec, before, after) {
                Ok(()) => return Ok(()),
                Err(message) => wrong = Err(message),
            }
        }
        return wrong;
    }
    let Happened::Arrived(arrival) = happened else {
        return Ok(());
    };
    match (&*arrival.write, &arrival.refused, &arrival.after) {
        (
            Write::Create {
                kind: Kind::Job, ..
            },
            None,
            Some(Object::Job(job)),
        ) if job.test.is_none() => {
            let database = world.live.databases.get(&job.database);
            let holder = database.and_then(|d| d.record.held_for(job.phase?));
            let held = [holder, arrival.on_record.holder.as_ref()];
            if held
                .into_iter()
                .flatten()
                .any(|held| *held.job == *job.meta.name)
            {
                Ok(())
            } else {
                Err(format!(
                    "{} is made, but {} is not held for it",
                    job.meta.name, job.database
                ))
            }
        }
        (Write::Select { revision, .. }, None, Some(Object::Service(service))) => {
            let Some(spec) = arrival.spec_seen() else {
                return Ok(());
            };
            let Some(rollout) = &service.rollout else {
                return Ok(());
            };
            let name = &service.meta.name;
            let users = world.users_address(rollout, name);
            let before = match &arrival.before {
                Some(Object::Service(before)) => before.revision(),
                _ => None,
            };
            // What somebody else has edited goes back where it led.
            let led = |status: &RolloutStatus| {
                let traffic = status.traffic.as_ref();
                before.is_none() && traffic.and_then(|t| led_to(t, name)) == Some(revision)
            };
            let on_record = records(world, arrival, rollout)
                .any(|status| led(status) || may_be_reached(status, spec, revision, users));
            // To write again what it leads to rests on nothing new.
            if on_record || before == Some(revision) {
                Ok(())
            } else {
                Err(format!(
                    "Service {name} goes to {revision}, which is not on record"
                ))
            }
        }
        (
            Write::MarkRevision {
                outcome: Some(outcome),
                ..
            },
            None,
            Some(Object::Revision(r)),
        ) => {
            let on_record = records(world, arrival, &r.rollout).any(|status| {
                let stable = status
                    .stable
                    .as_ref()
                    .is_some_and(|s| *s.revision == *r.revision);
                // Also the undo under way: its end is on record from its beginning.
                let undone = status.release.as_ref().is_some_and(|release| {
                    *release.revision == *r.revision
                        && release.undo().is_some_and(|u| u.outcome == *outcome)
                });
                (stable && *outcome == Outcome::Stable)
                    || undone
                    || status
                        .history
                        .iter()
                        .any(|e| *e.revision == *r.revision && e.outcome == *outcome)
            });
            if on_record {
                Ok(())
            } else {
                Err(format!(
                    "{} is marked {outcome:?}, which is not on record",
                    r.meta.name
                ))
            }
        }
        _ => Ok(()),
    }
}

/// The revision that a Service leads to, by what is on record.
pub(super) fn led_to<'a>(traffic: &'a TrafficStatus, service: &str) -> Option<&'a str> {
    let known = [&traffic.stable_service, &traffic.canary_service];
    let mut known = known.into_iter().filter(|k| k.name == service);
    known.next().map(|k| k.revision.as_str())
}

/// What a sender may have known to be on record: what is, what was when he sent, what he saw, and
/// what was when it was lost, or its Rollout deleted. A process that has recorded it knows it until
/// its caches say that it is gone.
pub(super) fn records<'a>(
    world: &'a World,
    arrival: &'a Arrival,
    rollout: &str,
) -> impl Iterator<Item = &'a RolloutStatus> {
    let live = world.live.rollouts.get(rollout);
    let lost = world.ledger.lost.get(rollout);
    let lost = lost.filter(|(at, _)| arrival.sent.duration_since(*at) <= LONGEST_LAG);
    let statuses = [
        live.map(|r| &*r.status),
        arrival.on_record.status.as_deref(),
        lost.map(|(_, status)| &**status),
        arrival.seen.as_ref().map(|seen| &*seen.rollout.status),
    ];
    statuses.into_iter().flatten()
}

/// Whether by this status a revision may be reached: by users, or by testers.
fn may_be_reached(status: &RolloutStatus, spec: &RolloutSpec, revision: &str, users: bool) -> bool {
    let stable = status
        .stable
        .as_ref()
        .is_some_and(|s| s.revision == revision);
    let release = status.release.as_ref().filter(|r| r.revision == revision);
    let Some(release) = release.filter(|_| !stable) else {
        return stable;
    };
    // Where it is already it may stay until what it goes back to serves.
    if release.first || release.undo().is_some() {
        return true;
    }
    let course = course(spec);
    let target = release.step().and_then(|step| course.near(step));
    target.is_some_and(|target| !users || target.active == Active::Canary)
}

/// Whether a scaling rests on this status.
fn rests_on(
    status: &RolloutStatus,
    spec: &RolloutSpec,
    before: &DeploymentObject,
    after: &DeploymentObject,
) -> Result<(), String> {
    let name = &after.meta.name;
    let stable = status
        .stable
        .as_ref()
        .is_some_and(|s| *s.revision == *after.revision);
    let release = status.release.as_ref();
    let canary = release.filter(|r| *r.revision == *after.revision);
    let raised = after.replicas > before.replicas;
    let course = course(spec);
    let step = release.and_then(|r| r.step());
    let split = step.and_then(|step| course.near(step));
    if raised {
        let most = match (stable, canary, split) {
            (true, ..) => spec.replicas,
            (_, Some(release), Some(_)) if release.first => spec.replicas,
            (_, Some(_), Some(split)) => split.canary,
            _ => 0,
        };
        if after.replicas > most {
            return Err(format!(
                "{name} is raised to {}, at most {most} are on record",
                after.replicas
            ));
        }
    } else {
        let least = match (stable, canary, split) {
            (true, _, Some(split)) => split.stable,
            (true, _, None) => spec.replicas,
            (_, Some(release), Some(_)) if release.first => spec.replicas,
            (_, Some(_), Some(split)) => split.canary,
            _ => 0,
        };
        // What is written again, to settle an unanswered write, rests on nothing new.
        if after.replicas < least.min(before.replicas) {
            return Err(format!(
                "{name} is lowered to {}, at least {least} are on record",
                after.replicas
            ));
        }
    }
    Ok(())
}

/// *no-retry* – a failed revision is not tried again by itself, whatever is re-applied.
pub(super) fn no_retry(world: &World, happened: &Happened) -> Result<(), String> {
    if let Some((_, before, after)) = happened.scaled()
        && after.replicas > before.replicas
    {
        let failed = (after.rollout.clone(), after.revision.to_string());
        if world.ledger.failed.contains(&failed) {
            return Err(format!(
                "{} has failed, and gets pods again",
                after.meta.name
            ));
        }
    }
    if let Some((_, before, status)) = happened.recorded()
        && let Some(release) = &status.release
        && release.undo().is_none()
        && before.status.release.as_ref().map(|r| &r.revision) != Some(&release.revision)
        && world
            .ledger
            .failed
            .contains(&(before.meta.name.clone(), release.revision.clone()))
    {
        return Err(format!(
            "{} has failed, and is released again",
            release.revision
        ));
    }
    Ok(())
}

/// *hands-off* – nothing is written when nothing changed, nothing but own objects, and counts at
/// most every 10 s.
pub(super) fn hands_off(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    if let (Some(before), Some(after)) = (&arrival.before, &arrival.after)
        && !proves_the_owner(world, &arrival.write)
        && before.meta().version == after.meta().version
    {
        return Err(format!("{} changes nothing", describe(&arrival.write)));
    }
    let owner = match &arrival.after {
        Some(Object::Deployment(child)) => Some(&child.rollout),
        Some(Object::Revision(revision)) => Some(&revision.rollout),
        Some(Object::Service(service)) => service.rollout.as_ref(),
        Some(Object::ConfigMap(map)) => map.rollout.as_ref(),
        _ => None,
    };
    if matches!(&arrival.before, Some(Object::ConfigMap(before)) if before.rollout.is_none()) {
        return Err(format!("{} is somebody else's", describe(&arrival.write)));
    }
    if matches!(&arrival.before, Some(Object::Service(before)) if before.rollout.is_none()) {
        return Err(format!("{} is somebody else's", describe(&arrival.write)));
    }
    if owner.is_some_and(|owner| **owner != *arrival.key.name()) {
        return Err(format!("{} is not its own", describe(&arrival.write)));
    }
    counts_too_often(world, arrival, happened)
}

/// Before children are adopted the status is written, changed or not: that proves the owner. They
/// are after a restore, and where a Rollout is made anew before its old children are collected.
fn proves_the_owner(world: &World, write: &Write) -> bool {
    let Write::RecordStatus { base, .. } = write else {
        return false;
    };
    world.ledger.restored || world.ledger.deleted.contains(base.name.as_str())
}

fn counts_too_often(world: &World, arrival: &Arrival, happened: &Happened) -> Result<(), String> {
    let Some((_, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let name = &before.meta.name;
    let last = world
        .ledger
        .status_written
        .get(&(arrival.life, name.clone()));
    let soon = !world.ledger.clocks_jumped
        && !proves_the_owner(world, &arrival.write)
        && last.is_some_and(|at| arrival.sent.duration_since(*at).as_secs() < 5);
    if soon && without_counts(&before.status) == without_counts(after) {
        return Err(format!(
            "status of {name} is written for its counts, again within 10 s"
        ));
    }
    Ok(())
}

fn without_counts(status: &RolloutStatus) -> RolloutStatus {
    let mut status = status.clone();
    status.replicas = 0;
    status.available_replicas = 0;
    status.summary = Default::default();
    for revision in [&mut status.stable, &mut status.canary]
        .into_iter()
        .flatten()
    {
        revision.replicas = 0;
        revision.available = 0;
    }
    status
}

/// *fenced* – once a leader has moved a Rollout, no late write of a deposed one moves it.
pub(super) fn fenced(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let rollout = match (&*arrival.write, &arrival.after) {
        (Write::Scale { .. } | Write::Resize { .. }, Some(Object::Deployment(child))) => {
            &child.rollout
        }
        (Write::ReleaseJob { .. }, Some(Object::Job(job))) => &job.rollout,
        (Write::Select { .. }, Some(Object::Service(service))) => match &service.rollout {
            Some(rollout) => rollout,
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    match world.ledger.epochs.get(rollout) {
        Some(epoch) if arrival.epoch < *epoch => Err(format!(
            "{} of epoch {} is accepted after epoch {epoch} has moved {rollout}",
            describe(&arrival.write),
            arrival.epoch
        )),
        _ => Ok(()),
    }
}

/// *poison* – nothing turns in circles: a pass that begins again and again without end would
/// starve all others.
pub(super) fn poison(world: &World, _: &Happened) -> Result<(), String> {
    const MOST_PER_SECOND: u32 = 200;
    match world
        .ledger
        .passes
        .iter()
        .find(|(_, (_, count))| *count > MOST_PER_SECOND)
    {
        Some(((_, key), (_, count))) => {
            Err(format!("{count} passes over {} in one second", key.name()))
        }
        None => Ok(()),
    }
}

pub(super) fn enter(ledger: &mut Ledger, before: &RolloutObject, after: &RolloutObject) {
    let name = &after.meta.name;
    for ended in &after.status.history {
        let known = before.status.history.contains(ended);
        if ended.outcome == Outcome::Failed && !known {
            ledger.failed.insert((name.clone(), ended.revision.clone()));
        }
    }
}
