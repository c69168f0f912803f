//! What users get of bad releases, and whether good ones that fail now and then are left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use load::Record;
use stepgate::api::status::Outcome;
use testbed::traffic::Traffic;
use testbed::{Error, Result};

use crate::figure::{Figure, Section};
use crate::shop::{Release, Seen, Shop};
use crate::statistics::{max, median, min};

/// A kind of bad release.
struct Kind {
    name: &'static str,
    fault: &'static str,
    /// Failed requests and seconds to stay below: Argo Rollouts' at its sharpest, of medians where
    /// it was measured more than once.
    requests: f64,
    seconds: f64,
    argo: [&'static str; 2],
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "half of the answers wrong",
        fault: "errors=0.5",
        requests: 69.0,
        seconds: 3.8,
        argo: ["69–71 (26–182)", "3.8 s"],
    },
    Kind {
        name: "one answer in twenty wrong",
        fault: "errors=0.05",
        requests: 15.0,
        seconds: 7.8,
        argo: ["15", "7.8 s"],
    },
];

/// Failing by nature: below the limit of 0.5%.
const NATURE: &str = "errors=0.002";
/// Longer than for bad ones, so that a false alarm has the time to come.
const HOLD: u32 = 20;

/// Releases bad revisions and good ones, and counts what the clients got.
pub async fn measure(shop: &mut Shop, traffic: &mut Traffic, runs: u32) -> Result<Section> {
    let mut section = Section {
        title: "Bad releases, and good ones with a few errors",
        ..Section::default()
    };
    section.notes.push(
        "Every request uses its own connection through the Service to 8 replicas; Prometheus \
         scrapes each second (--scrape.discovery-reload-interval=1s, so that it begins sooner with a \
         new pod), the checks (0.5% errors, p95 200 ms) are polled each second. \
         Requests and seconds are counted from the first failed request to the last, by the \
         clients' records, and include what the decision, the undo and the endpoints' way out \
         take. The goals are for the median of all runs, as single runs rank nothing; Argo Rollouts \
         was measured at its sharpest (analysis every 5 s, one failing measurement is enough)."
            .into(),
    );
    for kind in KINDS {
        bad(shop, traffic, runs, &kind, &mut section).await?;
    }
    good(shop, traffic, runs, &mut section).await?;
    Ok(section)
}

async fn bad(
    shop: &mut Shop,
    traffic: &mut Traffic,
    runs: u32,
    kind: &Kind,
    section: &mut Section,
) -> Result<()> {
    let (mut requests, mut seconds) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        let seen = shop.release(&Release::with_fault(kind.fault)).await?;
        if seen.ended.outcome != Outcome::Failed {
            let words = format!(
                "{}, run {run}: not undone: {}",
                kind.name, seen.ended.message
            );
            return Err(Error::refused(words));
        }
        traffic.settled(std::time::SystemTime::now()).await?;
        let harm = Harm::of(&failures(traffic, &seen)?);
        section.notes.push(format!(
            "{}, run {run}: {} failed in {:.2} s ({}); {}",
            kind.name, harm.requests, harm.seconds, harm.statuses, seen.ended.message
        ));
        eprintln!("  {}", section.notes.last().map_or("", String::as_str));
        requests.push(harm.requests as f64);
        seconds.push(harm.seconds);
    }
    let words = |values: &[f64], digits: usize, unit: &str| {
        let (middle, least, most) = (median(values), min(values), max(values));
        (
            middle,
            format!(
                "{middle:.digits$}{unit} (median of {runs} runs, {least:.digits$}–{most:.digits$}{unit})"
            ),
        )
    };
    section.figures.push(
        Figure::below(
            format!("Failed requests, {}", kind.name),
            words(&requests, 0, ""),
            (kind.requests, &format!("{:.0}", kind.requests)),
        )
        .argo(kind.argo[0]),
    );
    section.figures.push(
        Figure::below(
            format!("First to last failed request, {}", kind.name),
            words(&seconds, 1, " s"),
            (kind.seconds, kind.argo[1]),
        )
        .argo(kind.argo[1]),
    );
    Ok(())
}

async fn good(
    shop: &mut Shop,
    traffic: &mut Traffic,
    runs: u32,
    section: &mut Section,
) -> Result<()> {
    let mut undone = 0;
    for run in 1..=runs {
        let release = Release {
            hold: HOLD,
            ..Release::with_fault(NATURE)
        };
        let seen = shop.release(&release).await?;
        let left_alone = seen.ended.outcome == Outcome::Stable;
        undone += u64::from(!left_alone);
        traffic.settled(std::time::SystemTime::now()).await?;
        let harm = Harm::of(&failures(traffic, &seen)?);
        section.notes.push(format!(
            "good, with 0.2% of requests failing, run {run}: {}, {} failed in all ({}); {}",
            if left_alone { "left alone" } else { "UNDONE" },
            harm.requests,
            harm.statuses,
            seen.ended.message
        ));
        eprintln!("  {}", section.notes.last().map_or("", String::as_str));
    }
    // What comes next is measured against a stable revision without faults.
    let seen = shop.release(&Release::good()).await?;
    traffic.settled(std::time::SystemTime::now()).await?;
    let harm = Harm::of(&failures(traffic, &seen)?);
    section.notes.push(format!(
        "good, without faults, in place of it: {:?}, {} failed in all ({})",
        seen.ended.outcome, harm.requests, harm.statuses
    ));
    section.figures.push(Figure::at_most(
        "Good releases undone by mistake, with 0.2% of requests failing",
        (undone, format!("{undone} of {runs}")),
        0,
    ));
    Ok(())
}

/// The failed requests since a release was applied.
pub fn failures(traffic: &mut Traffic, seen: &Seen) -> Result<Vec<Record>> {
    let records = traffic.records()?.iter();
    let failed = records.filter(|r| r.at >= seen.began && r.failed());
    Ok(failed.cloned().collect())
}

/// Failed requests in figures.
pub struct Harm {
    /// How many.
    pub requests: usize,
    /// From the sending of the first failed request to that of the last.
    pub seconds: f64,
    statuses: String,
}

impl Harm {
    /// Of these.
    pub fn of(failed: &[Record]) -> Self {
        let (first, last) = (
            failed.iter().map(|r| r.at).min(),
            failed.iter().map(|r| r.at).max(),
        );
        let between = first.zip(last).and_then(|(f, l)| l.duration_since(f).ok());
        let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
        for record in failed {
            let words = match record.status {
                0 => record.error.clone(),
                status => status.to_string(),
            };
            *statuses.entry(words).or_default() += 1;
        }
        let statuses = statuses
            .iter()
            .map(|(words, count)| format!("{count} × {words}"));
        Self {
            requests: failed.len(),
            seconds: between.unwrap_or(Duration::ZERO).as_secs_f64(),
            statuses: statuses.collect::<Vec<_>>().join(", "),
        }
    }
}
