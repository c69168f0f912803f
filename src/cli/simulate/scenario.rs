//! What is played: how the new revision behaves, what happens around it, and how that should end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::{
    api::{Check, OnFailure, OnInconclusive, PhaseKind, RolloutSpec, Soak},
    plan::{
        course::{Target, course},
        job::terms::only_looks,
    },
    simulate::{
        Action,
        prometheus::Outage,
        setting::{Behaviour, Health, Migration, MigrationEnd},
    },
};

/// A service's 95th percentile while all is well, in milliseconds, if its limits permit it.
const USUAL_P95: f64 = 80.0;
/// Percent of requests that a bad revision fails, if the limit is not above it.
const USUAL_ERRORS: f64 = 5.0;

/// How a release ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The new revision is stable.
    Stable,
    /// It was taken back, and the old one serves whole.
    Undone,
    /// It was refused before its first step; the old one was not touched.
    Blocked,
    /// It stands still until a person decides.
    Paused,
    /// It waits for somebody else: a person who paused it, a scale-up, another release.
    Waiting,
    /// Its undo finds no way.
    Stuck,
    /// It was still on its way at the end of the play.
    InMotion,
}

impl End {
    /// In a word or two.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Undone => "undone",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Stuck => "stuck",
            Self::InMotion => "in motion",
        }
    }
}

/// What the person who asks knows of the service; the rest is assumed.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumed {
    /// Requests per second, over all pods.
    pub requests_per_second: f64,
    /// Seconds from scheduled to started.
    pub pull_seconds: i64,
    /// Seconds from started to ready.
    pub startup_seconds: i64,
    /// Seconds that a schema phase takes.
    pub migration_seconds: i64,
    /// Percent of requests that a bad revision fails.
    pub error_percent: Option<f64>,
    /// 95th percentile of a slow revision, in milliseconds.
    pub p95_milliseconds: Option<f64>,
    /// Decides all small delays.
    pub seed: u64,
}

impl Default for Assumed {
    fn default() -> Self {
        Self {
            requests_per_second: 100.0,
            pull_seconds: 2,
            startup_seconds: 10,
            migration_seconds: 20,
            error_percent: None,
            p95_milliseconds: None,
            seed: 1,
        }
    }
}

/// One play.
#[derive(Clone, Debug)]
pub struct Play {
    /// Its name.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// How pods of the old revision behave.
    pub old: Behaviour,
    /// How pods of the new revision behave.
    pub new: Behaviour,
    /// Who does what, by seconds after the release.
    pub events: Vec<(i64, Action)>,
    /// The ends that are as they should be.
    pub expected: Vec<End>,
    /// The rate of requests, where it is not the assumed one.
    pub requests_per_second: f64,
}

/// Seconds that a test of a step takes before it fails.
const TEST_SECONDS: i64 = 10;

/// The scenarios that are built in, with a line about each.
pub(crate) const BUILT_IN: [(&str, &str); 15] = [
    ("good", "the new revision is as good as the old one"),
    ("errors", "it answers some requests with an error"),
    ("slow", "it answers slowly"),
    ("crash", "its containers exit 20 s after they were ready"),
    ("never-ready", "its pods start, and never become ready"),
    (
        "flapping",
        "its pods are ready for 20 s, then not ready for 10 s, again and again",
    ),
    ("no-image", "its image cannot be pulled"),
    ("migration-fails", "its schema.expand fails"),
    ("migration-hangs", "its schema.expand does not end"),
    (
        "expand-hurts",
        "since its schema.expand the old code answers some requests with an error",
    ),
    ("test-fails", "the first test of its steps fails"),
    (
        "prometheus-down",
        "it is good, but Prometheus does not answer",
    ),
    (
        "no-metrics",
        "it is good, but Prometheus has no series of it",
    ),
    ("no-room", "the nodes have no room for an additional pod"),
    (
        "operator-dies",
        "it is good, and the operator dies four times",
    ),
];

/// A built-in scenario for this manifest: `None` when there is none of that name, an error when
/// the manifest has nothing that it could be played on.
#[must_use]
pub fn built_in(name: &str, on: &Manifest, assumed: &Assumed) -> Option<Result<Play, String>> {
    let (name, about) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
    let spec = &on.spec;
    let mut play = Play {
        name: (*name).into(),
        about: (*about).into(),
        old: good(spec, assumed),
        new: good(spec, assumed),
        events: Vec::new(),
        expected: vec![End::Undone],
        requests_per_second: assumed.requests_per_second,
    };
    Some(fill(&mut play, on, assumed).map(|()| play))
}

fn fill(play: &mut Play, on: &Manifest, assumed: &Assumed) -> Result<(), String> {
    let spec = &on.spec;
    match play.name.as_str() {
        "errors" => {
            play.new.error_percent = bad_errors(spec, assumed);
            play.about = format!(
                "it answers {}% of its requests with an error",
                play.new.error_percent
            );
            expect_pause_of(play, spec, |check| check.error_rate.is_some());
        }
        "slow" => {
            play.new.p95_milliseconds = bad_p95(spec, assumed);
            play.about = format!(
                "it answers slowly: its 95th percentile is {:.0} ms instead of {:.0} ms",
                play.new.p95_milliseconds, play.old.p95_milliseconds
            );
            expect_pause_of(play, spec, |check| check.latency.is_some());
        }
        "crash" => {
            let after = assumed.startup_seconds + 20;
            play.new.health = Health::Crashes { after };
        }
        "flapping" => {
            play.new.health = Health::Flaps {
                ready: 20,
                unready: 10,
            };
        }
        "never-ready" => play.new.health = Health::NeverReady,
        "no-image" => {
            play.new.health = Health::NoImage;
            // An expand that runs in the same image is the first to miss it.
            play.expected.push(End::Blocked);
        }
        "migration-fails" | "migration-hangs" => {
            if spec.schema.as_ref().is_none_or(|s| s.expand.is_none()) {
                return Err("the manifest has no spec.schema.expand".into());
            }
            let end = match play.name.as_str() {
                "migration-fails" => MigrationEnd::Fails,
                _ => MigrationEnd::Hangs,
            };
            let mut migrations = migration(assumed.migration_seconds, end);
            // It finds nothing: what is played is a migration that begins.
            let passes = migration(assumed.migration_seconds, MigrationEnd::Succeeds);
            migrations.extend(passes.into_iter().filter(|(kind, _)| only_looks(*kind)));
            play.new.migrations = migrations;
            play.expected = vec![End::Blocked];
        }
        "expand-hurts" => {
            if soak(spec).is_none() {
                return Err("the manifest has no spec.schema.expand.soak".into());
            }
            if checks(spec).all(|check| check.error_rate.is_none()) {
                return Err("the manifest has no check of errors".into());
            }
            play.new.hurts_percent = bad_errors(spec, assumed);
            play.about = format!(
                "since its schema.expand the old code answers {}% of its requests with an error",
                play.new.hurts_percent
            );
            play.expected = vec![End::Blocked];
        }
        "test-fails" => {
            let targets = course(spec).targets;
            let mut tests = targets.iter().flat_map(Target::all_tests);
            let Some(first) = tests.next() else {
                return Err("the manifest has no test of a step".into());
            };
            play.new.tests = vec![Migration {
                seconds: TEST_SECONDS,
                end: MigrationEnd::Fails,
            }];
            if first.on_failure == OnFailure::Pause {
                play.expected = vec![End::Paused];
            }
        }
        "prometheus-down" | "no-metrics" => {
            if spec.analysis.is_none() {
                return Err("the manifest has no spec.analysis".into());
            }
            let outage = match play.name.as_str() {
                "prometheus-down" => Outage::Down,
                _ => Outage::Empty,
            };
            play.events.push((0, Action::Metrics(outage)));
            let blind = course(spec).targets.iter().all(Target::is_blind);
            play.expected = match soak(spec).map(|soak| soak.on_inconclusive) {
                Some(OnInconclusive::Pause | OnInconclusive::Undo) => vec![End::Blocked],
                _ if blind => vec![End::Stable],
                _ => vec![End::Paused, End::Undone],
            };
        }
        "no-room" => {
            let pods = usize::try_from(spec.replicas).unwrap_or_default();
            play.events.push((0, Action::Capacity(pods)));
            // With surge 0 there is room for what takes the place of another pod.
            play.expected = vec![End::Undone, End::Stable];
        }
        "operator-dies" => {
            let moments = [2, 40, 90, 200];
            play.events = moments.map(|at| (at, Action::Crash(0))).to_vec();
            play.expected = vec![End::Stable];
        }
        _ => play.expected = vec![End::Stable],
    }
    Ok(())
}

fn soak(spec: &RolloutSpec) -> Option<&Soak> {
    spec.schema.as_ref()?.expand.as_ref()?.soak.as_ref()
}

/// A check whose author wants a person to decide is as it should be when it waits for one.
fn expect_pause_of(play: &mut Play, spec: &RolloutSpec, about: impl Fn(&Check) -> bool) {
    let asks = |check: &&Check| about(check) && check.on_failure == OnFailure::Pause;
    if checks(spec).find(asks).is_some() {
        play.expected.push(End::Paused);
    }
}

/// Pods as good as the manifest's own limits ask for, with some distance.
#[must_use]
pub fn good(spec: &RolloutSpec, assumed: &Assumed) -> Behaviour {
    Behaviour {
        pull_seconds: assumed.pull_seconds,
        start_seconds: assumed.startup_seconds,
        health: Health::Good,
        error_percent: 0.0,
        p95_milliseconds: p95_at(spec, 0.5).fold(USUAL_P95, f64::min),
        migrations: migration(assumed.migration_seconds, MigrationEnd::Succeeds),
        ..Behaviour::default()
    }
}

/// How every attempt of every phase goes.
pub(super) fn migration(seconds: i64, end: MigrationEnd) -> BTreeMap<PhaseKind, Vec<Migration>> {
    let phases = PhaseKind::ALL;
    phases
        .map(|phase| (phase, vec![Migration { seconds, end }]))
        .into()
}

fn bad_errors(spec: &RolloutSpec, assumed: &Assumed) -> f64 {
    let limits = checks(spec).filter_map(|c| c.error_rate.as_ref());
    let limits = limits.filter_map(|rate| rate.max_percent.parse::<f64>().ok());
    let lowest = limits.fold(f64::INFINITY, f64::min);
    let above_the_limit = if lowest.is_finite() {
        lowest * 4.0
    } else {
        0.0
    };
    let usual = USUAL_ERRORS.max(above_the_limit).min(100.0);
    assumed.error_percent.unwrap_or(usual)
}

fn bad_p95(spec: &RolloutSpec, assumed: &Assumed) -> f64 {
    let lowest = p95_at(spec, 3.0).fold(f64::INFINITY, f64::min);
    let usual = if lowest.is_finite() { lowest } else { 1000.0 };
    assumed.p95_milliseconds.unwrap_or(usual)
}

/// For each latency check the 95th percentile of a revision whose checked percentile lies at so
/// many times the limit; durations follow a Rayleigh distribution, as in the simulator.
fn p95_at(spec: &RolloutSpec, times: f64) -> impl Iterator<Item = f64> {
    let limits = checks(spec).filter_map(|check| check.latency.as_ref());
    limits.map(move |latency| {
        #[expect(clippy::cast_precision_loss, reason = "below an hour of milliseconds")]
        let (limit, percentile) = (latency.max_milliseconds as f64, latency.percentile as f64);
        let tail = 1.0 - percentile / 100.0;
        limit * times * (20.0_f64.ln() / -tail.ln()).sqrt()
    })
}

/// The checks of a spec.
pub(super) fn checks(spec: &RolloutSpec) -> impl Iterator<Item = &Check> {
    spec.analysis.iter().flat_map(|analysis| &analysis.checks)
}
