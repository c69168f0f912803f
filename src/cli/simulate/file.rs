//! Scenarios that people write themselves.

use std::{fs, path::Path, slice};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    manifest::Manifest,
    scenario::{Assumed, End, Play, good},
};
use crate::{
    api::PhaseKind,
    simulate::{
        Action,
        prometheus::Outage,
        setting::{Behaviour, Health, Migration, MigrationEnd},
    },
};

/// Why a scenario's file cannot be played.
#[derive(Debug, thiserror::Error)]
#[error("scenario {path}: {message}")]
pub struct FileError {
    path: String,
    message: String,
}

/// A scenario as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    /// What it is about, in a sentence.
    #[serde(default)]
    description: Option<String>,
    /// The ends that are as they should be.
    expect: Value,
    #[serde(default)]
    requests_per_second: Option<f64>,
    #[serde(default)]
    old: Pods,
    #[serde(default)]
    new: Pods,
    #[serde(default)]
    /// Each with `at`, and what happens then.
    events: Vec<Map<String, Value>>,
}

/// How the pods of a revision behave; what is left out is as good pods are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Pods {
    pull_seconds: Option<i64>,
    startup_seconds: Option<i64>,
    stop_seconds: Option<i64>,
    health: Option<Condition>,
    /// Seconds for which pods are ready, and then not, again and again.
    flaps: Option<Flaps>,
    /// Seconds from start to exit; each time.
    crashes_after_seconds: Option<i64>,
    error_percent: Option<f64>,
    /// Of users for whom a flag is on, besides.
    flagged_error_percent: Option<f64>,
    /// Of other revisions' requests, from the end of its expand on.
    hurts_percent: Option<f64>,
    p95_milliseconds: Option<f64>,
    /// Seconds after a pod is ready in which it is slow.
    cold_seconds: Option<i64>,
    /// Its 95th percentile then.
    cold_p95_milliseconds: Option<f64>,
    /// Seconds between two probes, where the application counts them as requests.
    counts_probes_every_seconds: Option<i64>,
    /// How each attempt of `schema.expand` goes; the last goes for all further ones.
    expand: Vec<Attempt>,
    /// How the tests of its steps go, one after the other; the last goes for all further ones.
    tests: Vec<Attempt>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Flaps {
    ready_seconds: i64,
    unready_seconds: i64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Condition {
    Good,
    NeverReady,
    NoImage,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attempt {
    seconds: i64,
    end: AttemptEnd,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum AttemptEnd {
    Succeeds,
    Fails,
    NothingApplied,
    Hangs,
    NeverStarts,
}

/// Something that happens.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum What {
    /// The metric source fails so, or works again.
    Metrics(Metrics),
    /// The nodes have room for so many pods.
    Capacity(usize),
    /// The quota permits so many pods.
    Quota(usize),
    /// `spec.replicas` is set, as by an autoscaler.
    Scale(i32),
    /// So many pods are gone at once, as with their node.
    LosePods(usize),
    /// A container is killed in so many pods.
    KillContainers(usize),
    /// A person's command.
    Command(Verb),
    /// `spec.paused` is set.
    Paused(bool),
    /// A ConfigMap is deleted.
    PruneConfigMap(String),
    /// It is created again.
    CreateConfigMap(String),
    /// The operator dies, and is back a moment later.
    OperatorDies(Now),
}

/// `operatorDies: Now`.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Now {
    Now,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Metrics {
    Working,
    Down,
    Slow,
    Empty,
    NotANumber,
    Partial,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Verb {
    Promote,
    PromoteWithoutUndo,
    Undo,
    Retry,
    Pause,
    Resume,
}

/// Reads a scenario's file.
///
/// # Errors
/// When it cannot be read, or says something that is not known.
pub fn read(path: &Path, on: &Manifest, assumed: &Assumed) -> Result<Play, FileError> {
    let wrong = |message: String| FileError {
        path: path.display().to_string(),
        message,
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let name = path
        .file_stem()
        .map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    parse(&text, name, on, assumed).map_err(wrong)
}

fn parse(text: &str, name: String, on: &Manifest, assumed: &Assumed) -> Result<Play, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    let file: File =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    let rate = file
        .requests_per_second
        .unwrap_or(assumed.requests_per_second);
    if !(rate.is_finite() && rate >= 0.0) {
        return Err(format!("requestsPerSecond: {rate} is no rate"));
    }
    let usual = good(&on.spec, assumed);
    let events = file
        .events
        .into_iter()
        .map(|event| happening(event, &on.name));
    Ok(Play {
        about: file.description.unwrap_or_else(|| name.clone()),
        name,
        old: file.old.behaviour("old", &usual)?,
        new: file.new.behaviour("new", &usual)?,
        events: events.collect::<Result<_, _>>()?,
        expected: ends(&file.expect)?,
        requests_per_second: rate,
    })
}

/// When something happens, and what.
fn happening(mut event: Map<String, Value>, rollout: &str) -> Result<(i64, Action), String> {
    let at = event.remove("at").and_then(|at| at.as_i64());
    let at = at.filter(|at| *at >= 0).ok_or(
        "events: each needs `at`, whole seconds after the release: nothing happens before it",
    )?;
    let what = What::deserialize(Value::Object(event));
    let what = what.map_err(|error| format!("events: at {at}: {error}"))?;
    Ok((at, what.action(rollout)))
}

/// One end, or a list of them.
fn ends(expect: &Value) -> Result<Vec<End>, String> {
    let all = expect
        .as_array()
        .map_or(slice::from_ref(expect), Vec::as_slice);
    if all.is_empty() {
        return Err("expect: name an end".into());
    }
    let read = |end: &Value| End::deserialize(end).map_err(|error| format!("expect: {error}"));
    all.iter().map(read).collect()
}

impl Pods {
    fn behaviour(&self, whose: &str, usual: &Behaviour) -> Result<Behaviour, String> {
        let seconds = [self.pull_seconds, self.startup_seconds, self.stop_seconds];
        if seconds
            .into_iter()
            .chain([self.crashes_after_seconds, self.cold_seconds])
            .flatten()
            .any(|s| s < 0)
        {
            return Err(format!("{whose}: seconds may not be negative"));
        }
        let errors = self.error_percent.unwrap_or(usual.error_percent);
        if !(0.0..=100.0).contains(&errors) {
            return Err(format!("{whose}.errorPercent: {errors} is no percentage"));
        }
        let flagged = self.flagged_error_percent;
        let flagged = flagged.unwrap_or(usual.flagged_error_percent);
        if !(0.0..=100.0).contains(&flagged) {
            return Err(format!(
                "{whose}.flaggedErrorPercent: {flagged} is no percentage"
            ));
        }
        let hurts = self.hurts_percent.unwrap_or(usual.hurts_percent);
        if !(0.0..=100.0).contains(&hurts) {
            return Err(format!("{whose}.hurtsPercent: {hurts} is no percentage"));
        }
        let p95 = self.p95_milliseconds.unwrap_or(usual.p95_milliseconds);
        if !(p95.is_finite() && p95 > 0.0) {
            return Err(format!("{whose}.p95Milliseconds: {p95} is no duration"));
        }
        let cold_p95 = self.cold_p95_milliseconds;
        let cold = match (self.cold_seconds, cold_p95) {
            (None, None) => None,
            (Some(seconds), Some(p95)) if p95.is_finite() && p95 > 0.0 => Some((seconds, p95)),
            _ => {
                return Err(format!(
                    "{whose}: give coldSeconds and coldP95Milliseconds, both or neither"
                ));
            }
        };
        if self.counts_probes_every_seconds.is_some_and(|s| s < 1) {
            return Err(format!("{whose}.countsProbesEverySeconds: write 1 or more"));
        }
        let health = match (self.health, self.crashes_after_seconds, &self.flaps) {
            (None, None, None) => usual.health,
            (Some(Condition::Good), None, None) => Health::Good,
            (Some(Condition::NeverReady), None, None) => Health::NeverReady,
            (Some(Condition::NoImage), None, None) => Health::NoImage,
            (None, Some(after), None) => Health::Crashes { after },
            (None, None, Some(flaps)) => Health::Flaps {
                ready: flaps.ready_seconds.max(1),
                unready: flaps.unready_seconds.max(1),
            },
            _ => {
                return Err(format!(
                    "{whose}: give one of health, crashesAfterSeconds and flaps"
                ));
            }
        };
        let mut migrations = usual.migrations.clone();
        if !self.expand.is_empty() {
            let attempts = self.expand.iter().map(Attempt::migration).collect();
            migrations.insert(PhaseKind::Expand, attempts);
        }
        Ok(Behaviour {
            pull_seconds: self.pull_seconds.unwrap_or(usual.pull_seconds),
            start_seconds: self.startup_seconds.unwrap_or(usual.start_seconds),
            stop_seconds: self.stop_seconds.unwrap_or(usual.stop_seconds),
            health,
            error_percent: errors,
            flagged_error_percent: flagged,
            hurts_percent: hurts,
            // What comes after the release is not played.
            contract_hurts_percent: usual.contract_hurts_percent,
            p95_milliseconds: p95,
            cold,
            counts_probes: self.counts_probes_every_seconds,
            migrations,
            tests: self.tests.iter().map(Attempt::migration).collect(),
        })
    }
}

impl Attempt {
    const fn migration(&self) -> Migration {
        Migration {
            seconds: self.seconds,
            end: match self.end {
                AttemptEnd::Succeeds => MigrationEnd::Succeeds,
                AttemptEnd::Fails => MigrationEnd::Fails,
                AttemptEnd::NothingApplied => MigrationEnd::NothingApplied,
                AttemptEnd::Hangs => MigrationEnd::Hangs,
                AttemptEnd::NeverStarts => MigrationEnd::NeverStarts,
            },
        }
    }
}

impl What {
    fn action(self, rollout: &str) -> Action {
        let rollout = || rollout.into();
        let config = |name: String, exists| Action::Config { name, exists };
        match self {
            Self::Metrics(metrics) => Action::Metrics(match metrics {
                Metrics::Working => Outage::None,
                Metrics::Down => Outage::Down,
                Metrics::Slow => Outage::Slow,
                Metrics::Empty => Outage::Empty,
                Metrics::NotANumber => Outage::Nan,
                Metrics::Partial => Outage::Partial,
            }),
            Self::Capacity(pods) => Action::Capacity(pods),
            Self::Quota(pods) => Action::Quota(pods),
            Self::Scale(replicas) => Action::Scale {
                rollout: rollout(),
                replicas: replicas.max(0),
            },
            Self::LosePods(count) => Action::LosePods {
                rollout: rollout(),
                count,
            },
            Self::KillContainers(count) => Action::KillContainers {
                rollout: rollout(),
                count,
            },
            Self::Command(verb) => Action::Command {
                rollout: rollout(),
                verb: match verb {
                    Verb::Promote => "promote",
                    Verb::PromoteWithoutUndo => "promote-without-undo",
                    Verb::Undo => "undo",
                    Verb::Retry => "retry",
                    Verb::Pause => "pause",
                    Verb::Resume => "resume",
                },
            },
            Self::Paused(paused) => Action::Pause {
                rollout: rollout(),
                paused,
            },
            Self::PruneConfigMap(name) => config(name, false),
            Self::CreateConfigMap(name) => config(name, true),
            Self::OperatorDies(Now::Now) => Action::Crash(0),
        }
    }
}
