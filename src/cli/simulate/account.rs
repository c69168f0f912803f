//! What a release took, and what it cost users.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    manifest::Manifest,
    play::{NEW, OLD, Played},
    scenario::{End, Play, checks},
};

/// The figures of one play. Times are seconds since the new revision was applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// How it ended.
    pub end: End,
    /// Whether that is as it should be.
    pub as_expected: bool,
    /// The ends that would be.
    pub expected: Vec<End>,
    /// The reason that the Rollout gives.
    pub reason: String,
    /// Its words.
    pub message: String,
    /// When the release had ended.
    pub ended_after: i64,
    /// What it went through.
    pub steps: Vec<StepTaken>,
    /// When the first request reached the new revision.
    pub first_request_after: Option<i64>,
    /// When an undo, or a pause for a person, was decided.
    pub noticed_after: Option<i64>,
    /// From when on no pod of the new revision served any more, after that.
    pub out_after: Option<i64>,
    /// What an undo would have done at the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_back: Option<String>,
    /// What users got.
    pub users: Users,
}

/// One part of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepTaken {
    /// `preflight`, `expand`, `soak`, or the step's name.
    pub name: String,
    /// Pods of the new revision that were ready in it, at most.
    pub pods: Option<usize>,
    /// Seconds until its target was reached; absent when it was not.
    pub reached_in: Option<i64>,
    /// Seconds that it took in all.
    pub seconds: i64,
}

/// What users got, from the release to its end. Requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Users {
    /// All of them.
    pub requests: u64,
    /// Those that the new revision served.
    pub to_new: u64,
    /// Those of them that it answered with an error.
    pub failed: u64,
    /// Those of all that found no pod ready to serve them.
    pub unserved: u64,
    /// Those of the new revision's that took longer than `slow_milliseconds`.
    pub slow: u64,
    /// The lowest latency limit of the checks.
    pub slow_milliseconds: Option<i64>,
    /// The largest share of requests that went to the new revision at one time, in percent.
    pub peak_share_percent: f64,
    /// Seconds in which some did.
    pub exposed_seconds: i64,
    /// Requests a minute that the new revision still fails at the end.
    pub failed_per_minute: u64,
    /// Requests a minute that would fail if all went to the new revision.
    pub failed_per_minute_at_full: u64,
}

/// The figures of a play.
#[must_use]
pub fn account(played: &Played, on: &Manifest, scenario: &Play) -> Account {
    let world = played.simulation.world();
    let rollout = world.live.rollouts.get(on.name.as_str());
    let history = rollout
        .map(|r| r.status.history.as_slice())
        .unwrap_or_default();
    let watched = &played.watched;
    let ended = history.iter().find(|e| e.revision == watched.new);
    let ended = ended
        .map(|e| e.ended.0)
        .or(watched.noticed)
        .unwrap_or(world.now);
    let since = |at: Timestamp| seconds(played.released, at);
    Account {
        end: played.end,
        as_expected: scenario.expected.contains(&played.end),
        expected: scenario.expected.clone(),
        reason: played.reason.clone(),
        message: known_names(&played.message, played),
        ended_after: since(ended),
        steps: steps(played, ended),
        first_request_after: watched.first_ready.map(since),
        noticed_after: watched.noticed.map(since),
        out_after: watched.out.map(since),
        way_back: watched.way_back.as_ref().map(|(step, words)| {
            let words = known_names(words, played);
            format!("at step {step} {words}")
        }),
        users: users(played, on, scenario, &world.traffic, world.now),
    }
}

/// From one moment to a later one, to the nearest second.
fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    let milliseconds = to.duration_since(from).as_millis();
    i64::try_from((milliseconds + 500) / 1000)
        .unwrap_or(i64::MAX)
        .max(0)
}

/// Revisions by the names that the story has for them.
fn known_names(words: &str, played: &Played) -> String {
    let watched = &played.watched;
    words.replace(&watched.new, NEW).replace(&watched.old, OLD)
}

fn users(
    played: &Played,
    on: &Manifest,
    scenario: &Play,
    traffic: &crate::simulate::traffic::Traffic,
    now: Timestamp,
) -> Users {
    let watched = &played.watched;
    let served = |revision: &str| traffic.between(&on.name, revision, played.released, now);
    let (by_new, failed) = served(&watched.new);
    let (by_old, _) = served(&watched.old);
    let lasted = now.duration_since(played.released).as_secs_f64();
    let all = scenario.requests_per_second * lasted;
    // Less than a request is what is left of adding up.
    let unserved = (all - by_new - by_old).max(0.0);
    let limits = checks(&on.spec).filter_map(|check| check.latency.as_ref());
    let limit = limits.map(|latency| latency.max_milliseconds).min();
    let slow = limit.map_or(0.0, |limit| by_new * slower(limit, scenario));
    let exposed = watched.first_ready.zip(watched.last_ready);
    let at_full = scenario.requests_per_second * 60.0 * scenario.new.error_percent / 100.0;
    Users {
        requests: whole(all),
        to_new: whole(by_new),
        failed: whole(failed),
        unserved: whole(unserved),
        slow: whole(slow),
        slow_milliseconds: limit,
        peak_share_percent: (watched.peak_share * 1000.0).round() / 10.0,
        exposed_seconds: exposed.map_or(0, |(from, to)| seconds(from, to)),
        failed_per_minute: whole(at_full * watched.share),
        failed_per_minute_at_full: whole(at_full),
    }
}

/// Share of the new revision's requests that take longer: of a Rayleigh distribution, as the
/// simulator's durations are.
fn slower(milliseconds: i64, scenario: &Play) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "below an hour of milliseconds")]
    let ratio = milliseconds as f64 / scenario.new.p95_milliseconds;
    (-ratio * ratio * 20.0_f64.ln()).exp()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests is neither negative nor beyond 2^53"
)]
fn whole(requests: f64) -> u64 {
    requests.round() as u64
}

fn steps(played: &Played, ended: Timestamp) -> Vec<StepTaken> {
    let watched = &played.watched;
    let mut taken = Vec::new();
    let steps: Vec<_> = watched.steps.values().collect();
    let first_step = steps.first().map(|step| step.began);
    let before = ["expand", "soak"].map(|stage| (stage, watched.stages.get(stage).copied()));
    for (index, (stage, began)) in before.iter().enumerate() {
        let next = before[index + 1..].iter().find_map(|(_, began)| *began);
        let until = next.or(first_step).unwrap_or(ended);
        taken.extend(began.map(|began| StepTaken {
            name: (*stage).into(),
            pods: None,
            reached_in: None,
            seconds: seconds(began, until),
        }));
    }
    for (index, step) in steps.iter().enumerate() {
        let undone = watched.noticed.unwrap_or(ended);
        let until = steps
            .get(index + 1)
            .map_or(undone.min(ended), |next| next.began);
        let reached = step
            .reached
            .map(|at| at.duration_since(step.began).as_secs());
        taken.push(StepTaken {
            name: step.name.clone(),
            pods: Some(step.pods),
            reached_in: reached,
            seconds: seconds(step.began, until),
        });
    }
    taken
}
