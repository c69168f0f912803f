//! What a contract does to stable is looked for, and what is not known before it is a person's.

use jiff::Timestamp;

use super::{schema::version_of, soak::got};
use crate::{
    api::{
        DatabaseRecord, PhaseKind, RolloutSpec,
        database::{Found, Measured, VersionRecord},
    },
    plan::{course::course, intent::Write},
    simulate::{
        ledger::{Arrival, Happened},
        object::Object,
        world::World,
    },
};

/// Seconds after which what was measured says nothing any more, and a little for the write.
const OLDEST: i64 = 660;

/// *around* – no contract of a Rollout with checks takes the database before stable was measured for
/// the hold of the last step, not long ago and after the last phase there; where it did not do well,
/// nor before a person has approved that. It is said to do well only with the requests that its
/// checks ask for and no more errors than they allow; a contract is said to hurt only while there are
/// more, and more than before it.
pub(super) fn around(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let (Write::RecordDatabase { record, .. }, Some(Object::Database(before))) =
        (&*arrival.write, &arrival.before)
    else {
        return Ok(());
    };
    // That of a person's command is a DatabaseSchema's own.
    let (Some(spec), Some(seen)) = (arrival.spec_seen(), &arrival.seen) else {
        return Ok(());
    };
    let name = &seen.rollout.meta.name;
    for version in record.versions.iter().filter(|v| *v.rollout == **name) {
        let was = before.record.version(version.version);
        let found = |measured: Option<&Measured>| measured.and_then(|m| m.verdict);
        let ended = |side: fn(&VersionRecord) -> Option<&Measured>| {
            let new = found(was.and_then(side)).is_none();
            side(version).filter(|m| new && m.verdict.is_some())
        };
        if let Some(measured) = ended(|v| v.stable_before.as_ref()) {
            passed_rightly(world, arrival, spec, measured, true)?;
        }
        if let Some(measured) = ended(|v| v.stable_after.as_ref()) {
            passed_rightly(world, arrival, spec, measured, false)?;
            blames_rightly(world, arrival, spec, version, measured)?;
        }
    }
    takes_the_database(world, arrival, spec, &before.record, record)
}

/// *lowered* – the undo floor goes down only where no contract above it has removed anything, and none
/// may.
pub(super) fn lowered(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let (Write::RecordDatabase { record, base, .. }, Some(Object::Database(before))) =
        (&*arrival.write, &arrival.before)
    else {
        return Ok(());
    };
    let (floor, was) = (record.undo_floor, before.record.undo_floor);
    if floor >= was {
        return Ok(());
    }
    let above = |version: Option<i64>| version > floor && version <= was;
    let mut phases = record.phases.iter();
    let half_way =
        phases.find(|p| p.phase == PhaseKind::Contract && above(p.version) && !p.nothing_applied);
    // By what really ran, whatever is on record.
    let mut jobs = world.live.jobs.values();
    let runs = jobs.find(|job| {
        let of = version_of(world, &job.rollout, &job.revision);
        let here = of.is_some_and(|(database, of)| *database == *base.name && above(Some(of)));
        let removed = job.may_run()
            || job
                .ended
                .as_ref()
                .is_some_and(|end| end.succeeded || !end.nothing_applied);
        job.phase == Some(PhaseKind::Contract) && here && job.started.is_some() && removed
    });
    let job = half_way.map(|p| p.job.clone());
    match job.or_else(|| runs.map(|job| job.meta.name.to_string())) {
        Some(job) => Err(format!(
            "the undo floor of {} goes from {was:?} to {floor:?}, and {job} may have removed \
             something",
            base.name
        )),
        None => Ok(()),
    }
}

/// Whether stable can be measured at all.
fn is_measured(arrival: &Arrival, spec: &RolloutSpec) -> bool {
    let checks = spec.analysis.as_ref().is_some_and(|a| !a.checks.is_empty());
    let seen = arrival.seen.as_ref();
    let stable = seen.is_some_and(|seen| seen.rollout.status.stable.is_some());
    checks && stable && spec.replicas > 0
}

fn takes_the_database(
    world: &World,
    arrival: &Arrival,
    spec: &RolloutSpec,
    before: &DatabaseRecord,
    after: &DatabaseRecord,
) -> Result<(), String> {
    let Some(holder) = &after.holder else {
        return Ok(());
    };
    let held = before.holder.as_ref().is_some_and(|h| h.job == holder.job);
    if held || holder.phase != PhaseKind::Contract || !is_measured(arrival, spec) {
        return Ok(());
    }
    let same = |of: Option<i64>| of == holder.version;
    let may_have_run = |record: &DatabaseRecord| {
        let mut phases = record.phases.iter();
        phases.any(|p| p.phase == PhaseKind::Contract && same(p.version) && !p.nothing_applied)
    };
    // The hold of a Job that is gone becomes its end in the same write.
    if may_have_run(after) {
        return Ok(());
    }
    let Some(version) = holder.version.and_then(|v| before.version(v)) else {
        return Ok(());
    };
    let measured = version.stable_before.as_ref();
    let Some((measured, verdict)) = measured.and_then(|m| Some((m, m.verdict?))) else {
        return Err(format!(
            "{} takes the database, and stable was not measured before it",
            holder.job
        ));
    };
    let until = measured.until.as_ref().map_or(Timestamp::MIN, |t| t.0);
    if verdict == Found::Passed && !world.ledger.clocks_jumped {
        let age = arrival.trust.clock.duration_since(until).as_secs();
        let mut phases = before.phases.iter();
        // Times are whole seconds.
        let other = phases.find(|p| {
            p.phase != PhaseKind::Backfill && p.ended.0.duration_since(until).as_secs() > 1
        });
        if let Some(other) = other {
            return Err(format!(
                "{} takes the database, and stable was measured before {} changed it",
                holder.job, other.job
            ));
        }
        if age > OLDEST {
            return Err(format!(
                "{} takes the database, and stable was measured {age} seconds ago",
                holder.job
            ));
        }
    }
    let given = version.approved.as_ref();
    let given = given.filter(|_| version.is_approved(PhaseKind::Contract));
    let knowing = given.filter(|g| {
        measured
            .until
            .as_ref()
            .is_some_and(|until| g.at.0 > until.0)
    });
    let may = match verdict {
        Found::Passed => true,
        Found::NoVerdict => given.is_some(),
        Found::Failed => knowing.is_some(),
    };
    match may {
        true => Ok(()),
        false => Err(format!(
            "{} takes the database, and nobody has approved that although stable is {verdict:?}",
            holder.job
        )),
    }
}

fn limits(spec: &RolloutSpec) -> impl Iterator<Item = (i64, Option<f64>)> {
    let checks = spec.analysis.iter().flat_map(|a| &a.checks);
    checks.map(|check| {
        let limit = check.error_rate.as_ref();
        let limit = limit.and_then(|e| e.max_percent.parse::<f64>().ok());
        (check.min_requests, limit)
    })
}

fn passed_rightly(
    world: &World,
    arrival: &Arrival,
    spec: &RolloutSpec,
    measured: &Measured,
    before: bool,
) -> Result<(), String> {
    if measured.verdict != Some(Found::Passed) || world.ledger.clocks_jumped {
        return Ok(());
    }
    let (since, now) = (measured.since.0, arrival.trust.clock);
    let hold = course(spec).targets.last().map_or(0, |t| t.hold_seconds);
    let held = now.duration_since(since).as_secs();
    let revision = &measured.revision;
    if held < hold {
        return Err(format!(
            "{revision} is said to do well after {held} of {hold} seconds"
        ));
    }
    if let Some(seen) = &arrival.seen {
        let (total, wrong) = got(
            world,
            arrival,
            &seen.rollout.meta.name,
            revision,
            (since, now),
        );
        for (least, limit) in limits(spec) {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let least = least as f64;
            // After a contract as many are allowed as there were before it.
            let most = limit.filter(|_| before).map_or(f64::MAX, |l| l / 100.0);
            // Each pod's counters are whole numbers, read a scrape late.
            if total < least || wrong > total * most + 20.0 {
                return Err(format!(
                    "{revision} is said to do well with {wrong:.0} of {total:.0} answers wrong"
                ));
            }
        }
    }
    Ok(())
}

fn blames_rightly(
    world: &World,
    arrival: &Arrival,
    spec: &RolloutSpec,
    version: &VersionRecord,
    after: &Measured,
) -> Result<(), String> {
    let (Some(before), Some(seen)) = (&version.stable_before, &arrival.seen) else {
        return Err("a contract is judged, and nobody knows how stable was before".into());
    };
    if after.verdict != Some(Found::Failed) || world.ledger.clocks_jumped {
        return Ok(());
    }
    // A check of latency has no share of errors.
    if !after.message.contains("check errors") {
        return Ok(());
    }
    let name = &seen.rollout.meta.name;
    let until = before.until.as_ref().map_or(Timestamp::MIN, |t| t.0);
    let now = (after.since.0, arrival.trust.clock);
    let (total, wrong) = got(world, arrival, name, &after.revision, now);
    let then = (before.since.0, until);
    let (total_before, wrong_before) = got(world, arrival, name, &before.revision, then);
    let limit = limits(spec)
        .find_map(|(_, limit)| limit)
        .unwrap_or_default();
    if wrong < total * limit / 100.0 || wrong * total_before <= wrong_before * total {
        return Err(format!(
            "the contract of version {} is said to hurt ({}), but {wrong:.1} of stable's {total:.0} \
             answers were wrong, and {wrong_before:.1} of {total_before:.0} before it",
            version.version, after.message
        ));
    }
    Ok(())
}
