//! What was seen, by time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use load::{Record, Second, Summary, per_second};
use stepgate::api::flags::FlagState;
use stepgate::api::{Rollout, RolloutStatus};

use super::sampler::Sample;

/// A stretch of time in which one thing was going on.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Seconds since the beginning.
    pub from: f64,
    /// The same.
    pub to: f64,
    /// What was going on, e.g. `v2 canary`.
    pub what: String,
}

/// Everything over one axis of seconds.
pub struct Series {
    /// The requests of each second.
    pub seconds: Vec<(f64, Summary)>,
    /// Of all of it.
    pub total: Summary,
    /// Of the seconds before the first change.
    pub before: Summary,
    /// Looks at the database.
    pub samples: Vec<(f64, Sample)>,
    /// The longest that a user was seen waiting for a lock, in seconds.
    pub longest_wait: f64,
    /// What was going on.
    pub bands: Vec<Band>,
    /// All of it, in seconds.
    pub length: f64,
}

impl Series {
    /// From `began` to `ended`.
    pub fn of(
        began: SystemTime,
        ended: SystemTime,
        records: &[Record],
        samples: &[Sample],
        versions: &[(SystemTime, Arc<Rollout>)],
    ) -> Self {
        let since = |at: SystemTime| at.duration_since(began).unwrap_or_default().as_secs_f64();
        let within = |at: SystemTime| at >= began && at < ended;
        let records: Vec<&Record> = records.iter().filter(|r| within(r.at)).collect();
        let bands = bands(began, ended, versions);
        let first = bands.first().map_or(f64::MAX, |band| band.from);
        let quiet = records.iter().copied().filter(|r| since(r.at) < first);
        let seconds = per_second(records.iter().copied()).into_iter();
        let samples = samples.iter().filter(|sample| within(sample.at));
        let samples: Vec<_> = samples.map(|sample| (since(sample.at), *sample)).collect();
        Self {
            seconds: seconds
                .map(|Second { second, summary }| {
                    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
                    (at, summary)
                })
                // Whole seconds only.
                .filter(|(at, _)| within(*at) && within(*at + Duration::from_secs(1)))
                .map(|(at, summary)| (since(at), summary))
                .collect(),
            total: Summary::of(records.iter().copied()),
            before: Summary::of(quiet),
            longest_wait: samples.iter().map(|(_, s)| s.longest).fold(0.0, f64::max),
            samples,
            bands,
            length: since(ended),
        }
    }

    /// Requests a second, over all.
    pub fn rate(&self) -> f64 {
        self.total.sent as f64 / self.length
    }

    /// Seconds in which this was going on.
    pub fn seconds_of(&self, what: &str) -> f64 {
        let mine = self.bands.iter().filter(|band| band.what == what);
        mine.map(|band| band.to - band.from).sum()
    }

    /// The requests sent while this was going on.
    pub fn during(&self, band: &Band) -> impl Iterator<Item = &Summary> {
        let (from, to) = (band.from, band.to);
        let seconds = self.seconds.iter();
        seconds
            .filter(move |(at, _)| *at >= from && *at < to)
            .map(|(_, sum)| sum)
    }
}

/// What was going on when, by the versions of the Rollout.
fn bands(
    began: SystemTime,
    ended: SystemTime,
    versions: &[(SystemTime, Arc<Rollout>)],
) -> Vec<Band> {
    let since = |at: SystemTime| at.duration_since(began).unwrap_or_default().as_secs_f64();
    let end = since(ended);
    let mut bands: Vec<Band> = Vec::new();
    let ends = versions
        .iter()
        .skip(1)
        .map(|(at, _)| since(*at))
        .chain([end]);
    for ((at, rollout), to) in versions.iter().zip(ends) {
        let from = since(*at);
        let status = rollout.status.clone().unwrap_or_default();
        let Some(what) = doing(rollout, &status).filter(|_| to > from && from < end) else {
            continue;
        };
        match bands.last_mut().filter(|last| last.what == what) {
            Some(last) => last.to = to,
            None => bands.push(Band { from, to, what }),
        }
    }
    // What is over at once needs no name.
    bands.retain(|band| band.to - band.from >= 1.0);
    bands
}

fn doing(rollout: &Rollout, status: &RolloutStatus) -> Option<String> {
    let version = rollout
        .spec
        .schema
        .as_ref()
        .and_then(|schema| schema.version);
    let version = version.map(|v| format!("v{v} ")).unwrap_or_default();
    if status.release.is_some() {
        let step = status.summary.step.split(' ').next().unwrap_or_default();
        return (!step.is_empty()).then(|| format!("{version}{step}"));
    }
    let schema = status.schema.as_ref().filter(|s| s.state == "Running");
    if let Some(schema) = schema {
        let phase = format!("{:?}", schema.phase).to_lowercase();
        return Some(format!("{version}{phase}"));
    }
    let mut flags = status.flags.iter();
    let ramps = flags.find(|flag| flag.state == FlagState::Ramping)?;
    Some(format!("flag {}%", ramps.percent))
}
