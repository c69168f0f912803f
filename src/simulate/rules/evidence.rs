//! Steps are left on evidence, and on time that was really watched.

use jiff::{SignedDuration, Timestamp};

use super::left::Left;
use crate::{
    api::{Promotion, RolloutStatus, release::Release},
    plan::{course::course, reason::Reason},
    simulate::{
        ledger::{Arrival, Happened},
        world::World,
    },
};

/// *evidence* – no step is left without the data its checks ask for.
pub(super) fn evidence(world: &World, happened: &Happened) -> Result<(), String> {
    fails_for_cause(world, happened)?;
    let left = match Left::found(world, happened) {
        None => return Ok(()),
        Some(Err(name)) => return Err(format!("step {name} is passed that the spec has no more")),
        Some(Ok(left)) => left,
    };
    // What the sender knew when he sent it: it may arrive late, after his end.
    let trust = &left.arrival.trust;
    let now = trust.clock;
    // By a clock that has jumped, only time that was watched since counts.
    let watched = trust.clock.duration_since(trust.since).as_secs();
    let by_trust = watched >= left.target.deadline_seconds - 1;
    if left.promoted(world) || (left.waived(now) && (by_trust || !world.ledger.clocks_jumped)) {
        return Ok(());
    }
    let name = &left.status.name;
    if left.target.promotion == Promotion::Manual && !left.release.first {
        return Err(format!("step {name} is left, and nobody said so"));
    }
    let Some(reached) = left.status.reached.as_ref().map(|r| r.0) else {
        return Err(format!("step {name} is left before it was reached"));
    };
    let held = now.duration_since(reached).as_secs();
    if held < left.target.hold_seconds && !world.ledger.clocks_jumped {
        return Err(format!(
            "step {name} is left after {held} of {} seconds",
            left.target.hold_seconds
        ));
    }
    let Some(analysis) = &left.spec.analysis else {
        return Ok(());
    };
    if trust.answered.is_none_or(|at| at < reached) && !world.ledger.clocks_jumped {
        return Err(format!(
            "step {name} is left, but nobody was asked since it was reached"
        ));
    }
    let silent = trust
        .answered
        .map_or(0, |at| now.duration_since(at).as_secs());
    if silent > 3 * analysis.interval_seconds + 60 && !world.ledger.clocks_jumped {
        return Err(format!(
            "step {name} is left, but the metric source has not answered for {silent} s"
        ));
    }
    let skew = trust.clock.duration_since(left.arrival.sent);
    // What a pod has counted is read a scrape late.
    let late = SignedDuration::from_secs(world.setting.scrape_seconds);
    let from = reached.saturating_sub(skew + late).unwrap_or(reached);
    let revision = &left.release.revision;
    let (total, wrong) =
        world
            .traffic
            .between(&left.rollout.meta.name, revision, from, left.arrival.sent);
    for check in &analysis.checks {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let least = check.min_requests as f64;
        if total < least && left.target.is_hidden() {
            // No user's request has reached it.
            continue;
        }
        if total < least && !world.ledger.clocks_jumped {
            return Err(format!(
                "step {name} is left with {total:.0} requests, check {} asks for {least:.0}",
                check.name
            ));
        }
        let limit = check
            .error_rate
            .as_ref()
            .and_then(|e| e.max_percent.parse::<f64>().ok());
        // Each pod's counters are whole numbers, read a scrape late.
        let slack = 20.0;
        if let Some(limit) = limit
            && wrong > total * limit / 100.0 + slack
        {
            return Err(format!(
                "step {name} is left although {wrong:.0} of {total:.0} answers were wrong"
            ));
        }
    }
    Ok(())
}

/// Nothing fails a check of errors while hardly any more answers were wrong than it allows, in all
/// or lately.
fn fails_for_cause(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let (Some(was), Some(is)) = (&before.status.release, &after.release) else {
        return Ok(());
    };
    let said = |release: &Release| {
        let undone = release.undo().map(|u| (&u.reason, &u.message));
        let paused = release.paused().map(|p| (&p.reason, &p.message));
        let failed = undone
            .or(paused)
            .filter(|(r, _)| *r == Reason::CheckFailed.word());
        failed.map(|(_, message)| message.clone())
    };
    let Some(message) = said(is).filter(|message| said(was).as_ref() != Some(message)) else {
        return Ok(());
    };
    let analysis = arrival.spec_seen().and_then(|spec| spec.analysis.as_ref());
    let limit = analysis.and_then(|analysis| {
        let mut checks = analysis.checks.iter();
        let check = checks.find(|c| message.starts_with(&format!("check {}: ", c.name)))?;
        check.error_rate.as_ref()?.max_percent.parse::<f64>().ok()
    });
    let Some(limit) = limit else { return Ok(()) };
    let rollout = &before.meta.name;
    let answers = |since: Timestamp| {
        let traffic = &world.traffic;
        traffic.between(rollout, &is.revision, since, arrival.sent)
    };
    let (total, wrong) = answers(Timestamp::MIN);
    // Harm that begins late counts too: half a minute above the limit makes this minute and a half
    // a third of it, wherever in it that lies.
    let lately = arrival.sent.checked_sub(SignedDuration::from_secs(90));
    let (total_lately, wrong_lately) = answers(lately.unwrap_or(Timestamp::MIN));
    let allowed = limit / 100.0;
    if wrong < total * allowed && wrong_lately < total_lately * allowed / 3.0 {
        return Err(format!(
            "{} has failed ({message}), but {wrong:.1} of {total:.0} answers were wrong, and \
             {wrong_lately:.1} of {total_lately:.0} lately",
            is.revision
        ));
    }
    Ok(())
}

/// *clock* – after a start, a take-over or a clock jump nothing is promoted or timed out before
/// one successful poll of every check, or the whole time was watched; and no time is put on record
/// as waited that was not.
pub(super) fn clock(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, rollout, after)) = happened.recorded() else {
        return Ok(());
    };
    only_watched_time(arrival, &rollout.status, after)?;
    no_outage_is_delay(world, arrival, &rollout.status, after)?;
    let Some(spec) = arrival.spec_seen().filter(|s| s.analysis.is_some()) else {
        return Ok(());
    };
    let trust = &arrival.trust;
    if trust.answered.is_some_and(|at| at >= trust.since) {
        return Ok(());
    }
    let watched = trust.clock.duration_since(trust.since);
    if let Some(left) = Left::of(world, happened) {
        let now = trust.clock;
        let whole = SignedDuration::from_secs(left.target.deadline_seconds);
        let excused = left.promoted(world) || (left.waived(now) && watched >= whole);
        if !excused {
            return Err(format!(
                "step {} is left, but nothing was polled since the clock is trusted",
                left.status.name
            ));
        }
    }
    let undo = |status: &RolloutStatus| status.release.as_ref().and_then(|r| r.undo().cloned());
    if let (None, Some(undo)) = (undo(&rollout.status), undo(after)) {
        let limit = match Reason::of(&undo.reason) {
            // What stands on record was watched, in earlier lives.
            Some(Reason::ProgressDeadlineExceeded) => {
                spec.strategy.progress_deadline_seconds - waited(&rollout.status)
            }
            Some(Reason::Inconclusive) => {
                let targets = course(spec).targets.into_iter();
                targets.map(|t| t.deadline_seconds).min().unwrap_or(0)
            }
            _ => return Ok(()),
        };
        if watched < SignedDuration::from_secs(limit) {
            return Err(format!(
                "{} after {} s of {limit} s that were watched, and nothing was polled",
                undo.reason,
                watched.as_secs()
            ));
        }
    }
    Ok(())
}

/// While the API server is away nobody sees or acts: the progress deadline begins anew after it.
fn no_outage_is_delay(
    world: &World,
    arrival: &Arrival,
    before: &RolloutStatus,
    after: &RolloutStatus,
) -> Result<(), String> {
    let (Some(back), Some(spec)) = (world.ledger.back, arrival.spec_seen()) else {
        return Ok(());
    };
    let undo = |status: &RolloutStatus| status.release.as_ref().and_then(|r| r.undo().cloned());
    let late = |reason: &str| Reason::of(reason) == Some(Reason::ProgressDeadlineExceeded);
    let (None, Some(_)) = (undo(before), undo(after).filter(|undo| late(&undo.reason))) else {
        return Ok(());
    };
    let limit = spec.strategy.progress_deadline_seconds - waited(before);
    let since = arrival.trust.began.duration_since(back).as_secs();
    if (0..limit).contains(&since) {
        return Err(format!(
            "undone {since} s after the API server was back: the step had {limit} s"
        ));
    }
    Ok(())
}

/// Seconds that the step's target was not reached, in runs that have ended.
fn waited(status: &RolloutStatus) -> i64 {
    status.release.as_ref().map_or(0, |r| r.unreached.seconds)
}

fn only_watched_time(
    arrival: &Arrival,
    before: &RolloutStatus,
    after: &RolloutStatus,
) -> Result<(), String> {
    let more = waited(after) - waited(before);
    let trust = &arrival.trust;
    let watched = trust.clock.duration_since(trust.since).as_secs();
    if more > watched.max(0) {
        return Err(format!(
            "{more} s are put on record as waited, {watched} s were watched"
        ));
    }
    Ok(())
}
