//! What the clients got, per release, and the table at the end.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use load::{Record, Summary};

use crate::release::Seen;

/// An answer that took longer is a bad one, as the shop's check says.
const SLOW: Duration = Duration::from_millis(200);

/// A release in figures.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Requests sent from its beginning to the next one's.
    pub sent: usize,
    /// Of those, failed.
    pub failed: usize,
    /// Of those, answered well but late.
    pub slow: usize,
    /// What the failures were, counted.
    pub errors: String,
    /// When the first bad request was sent: a failed one; if none failed, one that a pod of the release
    /// answered late.
    pub first_bad: Option<SystemTime>,
    /// When the last failed request was sent.
    pub last_failed: Option<SystemTime>,
    /// From the first bad request to the decision.
    pub to_decision: Option<Duration>,
    /// From there to the last pod out of the Service.
    pub to_out: Option<Duration>,
}

impl Figures {
    /// Of the requests sent from `seen.began` until `until`.
    pub fn of(seen: &Seen, until: SystemTime, records: &[Record]) -> Self {
        let during = |record: &&Record| record.at >= seen.began && record.at < until;
        let mine: Vec<&Record> = records.iter().filter(during).collect();
        let sum = Summary::of(mine.iter().copied());
        let failed = || mine.iter().filter(|r| r.failed());
        let slow = || mine.iter().filter(|r| !r.failed() && r.latency > SLOW);
        // Pods of others may be slow too, while those of a release start beside them.
        let its_slow = || slow().filter(|r| seen.pods.contains(&r.pod));
        let mut errors = BTreeMap::new();
        for record in failed() {
            let words = match record.status {
                0 => record.error.clone(),
                status => status.to_string(),
            };
            *errors.entry(words).or_insert(0) += 1;
        }
        let errors = errors
            .iter()
            .map(|(words, count)| format!("{count} × {words}"));
        let first = failed().map(|r| r.at).min();
        let first_bad = seen
            .refused()
            .and(first.or_else(|| its_slow().map(|r| r.at).min()));
        let since = |later: Option<SystemTime>| later?.duration_since(first_bad?).ok();
        Self {
            sent: sum.sent,
            failed: sum.failed,
            slow: slow().count(),
            errors: errors.collect::<Vec<_>>().join(", "),
            first_bad,
            last_failed: failed().map(|r| r.at).max(),
            to_decision: since(seen.undone()),
            to_out: since(seen.out),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// What people call the release.
    pub name: String,
    /// Its figures.
    pub figures: Figures,
    /// What was promised, in words.
    pub promised: &'static str,
    /// What was not as promised.
    pub broken: Vec<String>,
}

/// What was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// One line per release.
    pub lines: Vec<Line>,
    /// Requests per second, over all.
    pub rate: f64,
    /// What was not as promised over all.
    pub broken: Vec<String>,
    /// From the first `kubectl apply` to the end.
    pub took: Duration,
}

impl Told {
    /// Whether every line is as promised.
    pub fn as_promised(&self) -> bool {
        self.broken.is_empty() && self.lines.iter().all(|line| line.broken.is_empty())
    }
}

/// The table, and the verdict.
pub fn table(told: &Told) -> String {
    let seconds = |time: Option<Duration>| {
        time.map_or("-".to_owned(), |time| {
            format!("{:.1} s", time.as_secs_f64())
        })
    };
    let mut lines = vec![
        format!("{:55}{}", "", "first bad request to"),
        format!(
            "{:14} {:>8} {:>8} {:>14}   {:>10} {:>10}   {}",
            "RELEASE", "SENT", "FAILED", "OVER 200 MS", "DECISION", "LAST OUT", "VERDICT"
        ),
    ];
    for Line {
        name,
        figures,
        promised,
        broken,
    } in &told.lines
    {
        let verdict = if broken.is_empty() {
            format!("as promised: {promised}")
        } else {
            format!("BROKEN ({promised}): {}", broken.join("; "))
        };
        lines.push(format!(
            "{name:14} {:>8} {:>8} {:>14}   {:>10} {:>10}   {verdict}",
            figures.sent,
            figures.failed,
            figures.slow,
            seconds(figures.to_decision),
            seconds(figures.to_out),
        ));
    }
    lines.push(String::new());
    lines.extend(told.broken.iter().map(|words| format!("BROKEN: {words}")));
    let verdict = if told.as_promised() {
        "verdict: every release went as promised"
    } else {
        "verdict: NOT as promised"
    };
    lines.push(format!(
        "{verdict} ({:.0} requests a second, {} s in all)",
        told.rate,
        told.took.as_secs()
    ));
    lines.join("\n")
}
