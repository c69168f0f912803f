//! What the expand does to stable is known before the first pod of the new revision.

use jiff::{SignedDuration, Timestamp};

use super::left::obeyed;
use crate::{
    api::{
        OnInconclusive, PhaseKind, RolloutSpec, RolloutStatus, Soak,
        release::{Release, SoakStatus, Stage},
    },
    plan::{reason::Reason, soak::NAME},
    simulate::{
        ledger::{Arrival, Happened},
        object::RolloutObject,
        world::World,
    },
};

/// *soak* – where an expand is to be soaked, no pod of the revision is asked for before stable was
/// measured for the whole hold and every check had its requests, unless a person, the spec or the
/// record says that it need not be; and an expand is said to hurt only while stable's users get more
/// errors than the checks allow, and more than before it.
pub(super) fn soak(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.recorded() else {
        return Ok(());
    };
    blames_rightly(world, arrival, before, after)?;
    let (Some(was), Some(is)) = (&before.status.release, &after.release) else {
        return Ok(());
    };
    if was.revision != is.revision || is.step().is_none() {
        return Ok(());
    }
    match &was.stage {
        Stage::Job(PhaseKind::Expand) => left_out(world, arrival, before, is),
        Stage::Soak(soak) => left(world, arrival, (before, after), was, soak),
        _ => Ok(()),
    }
}

/// What the spec asks for by now.
fn asked(spec: &RolloutSpec) -> Option<&Soak> {
    spec.schema.as_ref()?.expand.as_ref()?.soak.as_ref()
}

/// Whether the spec says by now that something is to be measured, and can be.
fn is_asked(spec: &RolloutSpec) -> bool {
    asked(spec).is_some() && spec.analysis.is_some() && spec.replicas > 0
}

/// Pods come right after the expand: it had nothing to do, or there is nothing to measure.
fn left_out(
    world: &World,
    arrival: &Arrival,
    before: &RolloutObject,
    is: &Release,
) -> Result<(), String> {
    let Some(spec) = arrival.spec_seen().filter(|spec| is_asked(spec)) else {
        return Ok(());
    };
    let Some(schema) = spec.schema.as_ref().filter(|_| !is.first) else {
        return Ok(());
    };
    let name = &before.meta.name;
    let record = world.live.databases.get(schema.database.as_str());
    let phases = record.map_or(&[][..], |d| &d.record.phases);
    let own = |rollout: &str, revision: &str| *rollout == **name && *revision == *is.revision;
    // A record that somebody deletes tells nothing of what ran.
    let known = phases
        .iter()
        .any(|p| p.phase == PhaseKind::Expand && p.succeeded && own(&p.rollout, &p.revision));
    let applied = phases.iter().any(|p| {
        let other = p.phase == PhaseKind::Expand && p.rollout != **name;
        let done = p.succeeded && p.undone_by.is_none();
        other && done && schema.version.is_some() && p.version == schema.version
    });
    let stable = before.status.stable.as_ref().map(|s| s.revision.as_str());
    let mut revisions = world.live.revisions.values();
    let needed = revisions.any(|r| {
        let version = r.schema.as_ref().and_then(|s| s.version);
        let is_stable = r.rollout == *name && Some(&*r.revision) == stable;
        is_stable && version.is_some() && version >= schema.version
    });
    if !known || applied || needed {
        return Ok(());
    }
    Err(format!(
        "pods of {} are to start, and its expand was not soaked",
        is.revision
    ))
}

fn left(
    world: &World,
    arrival: &Arrival,
    (before, after): (&RolloutObject, &RolloutStatus),
    was: &Release,
    soak: &SoakStatus,
) -> Result<(), String> {
    let promoted = obeyed(world, &before.status, after).any(|c| {
        let step = c.step.as_deref() == Some(NAME);
        c.verb == "promote" && c.rollout == before.meta.name && c.revision == was.revision && step
    });
    let Some(spec) = arrival.spec_seen().filter(|_| !promoted) else {
        return Ok(());
    };
    let revision = &was.revision;
    let Some(asked) = asked(spec) else {
        return Ok(());
    };
    if soak.paused.is_some() {
        return Err(format!(
            "the soak of {revision} is left, and it waits for a person"
        ));
    }
    if !is_asked(spec) {
        return Ok(());
    }
    if spec.paused || before.status.paused_since.is_some() {
        return Err(format!(
            "the soak of {revision} is left although the release is paused"
        ));
    }
    if world.ledger.clocks_jumped {
        return Ok(());
    }
    let trust = &arrival.trust;
    let (now, since) = (trust.clock, soak.since.0);
    let held = now.duration_since(since).as_secs();
    if held < asked.hold_seconds {
        return Err(format!(
            "the soak of {revision} is left after {held} of {} seconds",
            asked.hold_seconds
        ));
    }
    let watched = now.duration_since(trust.since).as_secs();
    let late = held >= asked.hold_seconds + asked.deadline_seconds - 1;
    if asked.on_inconclusive == OnInconclusive::Proceed
        && late
        && watched >= asked.deadline_seconds - 1
    {
        return Ok(());
    }
    if trust.answered.is_none_or(|at| at < since.max(trust.since)) {
        return Err(format!(
            "the soak of {revision} is left, but nobody was asked since"
        ));
    }
    let (total, wrong) = stable_got(world, arrival, before, (since, now));
    // What the expand before this one did to users within a scrape is not this one's.
    let scrape = SignedDuration::from_secs(world.setting.scrape_seconds);
    let since_then = stable_got(world, arrival, before, (since + scrape, now));
    let allowed = allowed_by_before(world, arrival, before, soak);
    for check in spec.analysis.iter().flat_map(|a| &a.checks) {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let least = check.min_requests as f64;
        if total < least {
            return Err(format!(
                "the soak of {revision} is left with {total:.0} requests, check {} asks for \
                 {least:.0}",
                check.name
            ));
        }
        let limit = check.error_rate.as_ref();
        let limit = limit.and_then(|e| e.max_percent.parse::<f64>().ok());
        // Each pod's counters are whole numbers, read a scrape late.
        if let Some(limit) = limit
            && [(total, wrong), since_then]
                .iter()
                .all(|(total, wrong)| *wrong > total * (limit / 100.0).max(allowed) + 20.0)
        {
            return Err(format!(
                "the soak of {revision} is left although {wrong:.0} of stable's {total:.0} answers \
                 were wrong"
            ));
        }
    }
    Ok(())
}

/// Requests and errors of stable between two times of the sender's clock, a scrape earlier.
fn stable_got(
    world: &World,
    arrival: &Arrival,
    before: &RolloutObject,
    (from, to): (Timestamp, Timestamp),
) -> (f64, f64) {
    let Some(stable) = &before.status.stable else {
        return (0.0, 0.0);
    };
    let times = (from, to);
    got(world, arrival, &before.meta.name, &stable.revision, times)
}

/// The same of this revision of a Rollout.
pub(super) fn got(
    world: &World,
    arrival: &Arrival,
    rollout: &str,
    revision: &str,
    (from, to): (Timestamp, Timestamp),
) -> (f64, f64) {
    let skew = arrival.trust.clock.duration_since(arrival.trust.began);
    let late = SignedDuration::from_secs(world.setting.scrape_seconds);
    let then = |at: Timestamp, late| at.saturating_sub(skew + late).unwrap_or(at);
    let (from, to) = (then(from, late), then(to, SignedDuration::ZERO));
    world.traffic.between(rollout, revision, from, to)
}

/// The share of errors that stable had before the expand, with what few requests leave open.
fn allowed_by_before(
    world: &World,
    arrival: &Arrival,
    before: &RolloutObject,
    soak: &SoakStatus,
) -> f64 {
    let span = (soak.before_from.0, soak.before_until.0);
    let (total, wrong) = stable_got(world, arrival, before, span);
    (wrong + 3.0 * (wrong + 1.0).sqrt() + 5.0) / total.max(1.0)
}

/// An expand is blamed for what it does.
fn blames_rightly(
    world: &World,
    arrival: &Arrival,
    before: &RolloutObject,
    after: &RolloutStatus,
) -> Result<(), String> {
    let blamed = |status: &RolloutStatus| {
        let paused = status.release.as_ref().and_then(|r| r.paused());
        let hurts = paused.filter(|why| why.reason == Reason::ExpandHurts.word());
        hurts.map(|why| why.message.clone())
    };
    let Some(message) = blamed(after).filter(|_| blamed(&before.status).is_none()) else {
        return Ok(());
    };
    let (Some(soak), Some(spec)) = (
        after.release.as_ref().and_then(|r| r.soak()),
        arrival.spec_seen(),
    ) else {
        return Ok(());
    };
    let mut checks = spec.analysis.iter().flat_map(|a| &a.checks);
    let Some(check) = checks.find(|c| message.contains(&format!("check {}: ", c.name))) else {
        return Err(format!("an expand is said to hurt by no check: {message}"));
    };
    let limit = check.error_rate.as_ref();
    let limit = limit.and_then(|e| e.max_percent.parse::<f64>().ok());
    let Some(limit) = limit.filter(|_| !world.ledger.clocks_jumped) else {
        return Ok(());
    };
    let (total, wrong) = stable_got(world, arrival, before, (soak.since.0, arrival.trust.clock));
    let span = (soak.before_from.0, soak.before_until.0);
    let (total_before, wrong_before) = stable_got(world, arrival, before, span);
    if wrong < total * limit / 100.0 || wrong * total_before <= wrong_before * total {
        return Err(format!(
            "the expand of {} is said to hurt ({message}), but {wrong:.1} of stable's {total:.0} \
             answers were wrong, and {wrong_before:.1} of {total_before:.0} before it",
            before.meta.name
        ));
    }
    Ok(())
}
