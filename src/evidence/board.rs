//! Which canary is due to be asked about, and what is known of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Answer, CheckSpec, Key, Measure, Readings, Tracker};

/// An ask that is not answered for so long is given up: nobody will answer it.
const GIVE_UP: SignedDuration = SignedDuration::from_secs(120);

/// Every canary under test. Whoever owns it asks what is [due](Board::due), finds the answers
/// out, and [hands them in](Board::answer); how and when is his business.
#[derive(Debug, Default)]
pub struct Board {
    entries: BTreeMap<Key, Entry>,
    tickets: u64,
}

#[derive(Debug)]
struct Entry {
    measure: Arc<Measure>,
    tracker: Tracker,
    /// How the checks stood after the last poll, by what was measured then: every pass reads it.
    readings: Readings,
    due: Timestamp,
    /// The ask that is out, and since when.
    out: Option<(u64, Timestamp)>,
}

/// A poll to make.
#[derive(Clone, Debug)]
pub struct Ask {
    /// For whom.
    pub key: Key,
    /// What is measured, as it was when the poll fell due.
    pub measure: Arc<Measure>,
    /// What is to be found out.
    pub checks: Vec<CheckAsk>,
    /// The moment of the poll.
    pub at: Timestamp,
    ticket: u64,
}

/// One check's part of a poll.
#[derive(Clone, Debug)]
pub struct CheckAsk {
    /// The check.
    pub spec: CheckSpec,
    /// The past is wanted too, from here on; else only the present.
    pub history_since: Option<Timestamp>,
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Figures at most: no decision can depend on it.
    Figures,
    /// A verdict or a reason, the first complete poll, or the first for a hold.
    Verdicts,
}

impl Board {
    /// Measures a canary from now on, or takes over what changed about it. History is kept,
    /// unless the test itself begins elsewhere: then it is another attempt.
    pub(crate) fn measure(&mut self, measure: Measure, now: Timestamp) {
        let key = measure.key();
        match self.entries.get_mut(&key) {
            Some(entry) if entry.measure.since == measure.since => {
                if *entry.measure == measure {
                    return;
                }
                let hold_began = entry.measure.hold_since != measure.hold_since;
                let checks_changed = entry.measure.checks != measure.checks
                    || entry.measure.source != measure.source;
                if hold_began || checks_changed {
                    // A hold's counts start at the first poll since it began: make it as soon as it
                    // has. Its beginning is a whole second, and may still be to come.
                    entry.due = measure.hold_since.map_or(now, |hold| hold.max(now));
                }
                entry.tracker.follow(&measure);
                entry.measure = Arc::new(measure);
            }
            _ => {
                let mut tracker = Tracker::default();
                tracker.follow(&measure);
                let measure = Arc::new(measure);
                self.entries.insert(
                    key,
                    Entry {
                        readings: tracker.readings(&measure),
                        measure,
                        tracker,
                        due: now,
                        out: None,
                    },
                );
            }
        }
    }

    /// Stops measuring; what was known is gone.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.entries.remove(key);
    }

    /// Stops measuring all revisions of a Rollout but one, or all of them.
    pub(crate) fn keep_only(&mut self, namespace: &str, rollout: &str, revision: Option<&str>) {
        self.entries.retain(|key, _| {
            key.namespace != namespace
                || key.rollout != rollout
                || revision.is_some_and(|r| key.revision == r)
        });
    }

    /// What is measured, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.keys()
    }

    /// How the checks of a canary stand; `None` if it is not measured.
    pub(crate) fn readings(&self, key: &Key) -> Option<Readings> {
        Some(self.entries.get(key)?.readings.clone())
    }

    /// The polls that are due, each handed out once.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (key, entry) in &mut self.entries {
            if entry.wakes(now) > now {
                continue;
            }
            self.tickets += 1;
            let checks = entry.measure.checks.iter().map(|spec| CheckAsk {
                spec: spec.clone(),
                history_since: entry
                    .tracker
                    .wants_history(&entry.measure, spec, now)
                    .then_some(entry.measure.since),
            });
            asks.push(Ask {
                key: key.clone(),
                measure: Arc::clone(&entry.measure),
                checks: checks.collect(),
                at: now,
                ticket: self.tickets,
            });
            // On the beat, so that polls do not drift; missed beats are not made up for, and a
            // clock that was set back gives no beat of its own.
            let next = later(entry.due, entry.interval());
            let fresh = later(now, entry.interval());
            entry.due = if next > now && next <= fresh {
                next
            } else {
                fresh
            };
            entry.out = Some((self.tickets, now));
        }
        asks
    }

    /// When the next poll falls due; `None` when nothing is measured.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.entries.values().map(|e| e.wakes(now)).min()
    }

    /// Takes in the outcome of a poll. `None` if nobody waits for it any more.
    pub(crate) fn answer(&mut self, ask: &Ask, answer: Answer) -> Option<Change> {
        let entry = self.entries.get_mut(&ask.key)?;
        if entry.out.is_none_or(|(ticket, _)| ticket != ask.ticket) {
            return None;
        }
        entry.out = None;
        // What another source counts is nothing to this one.
        let answer = match ask.measure.source == entry.measure.source {
            true => answer,
            false => Answer::new(),
        };
        let after = entry.tracker.absorb(&entry.measure, answer, ask.at);
        let before = std::mem::replace(&mut entry.readings, after);
        Some(if same_verdicts(&before, &entry.readings) {
            Change::Figures
        } else {
            Change::Verdicts
        })
    }
}

impl Entry {
    fn interval(&self) -> SignedDuration {
        // A day at most, so that no sum of times can overflow.
        SignedDuration::from_secs(self.measure.interval_seconds.clamp(1, 86_400))
    }

    /// When the entry is next to be asked about, given that it is `now`.
    fn wakes(&self, now: Timestamp) -> Timestamp {
        let mut due = self.due;
        if let Some((_, since)) = self.out {
            due = due.max(later(since, GIVE_UP));
        }
        // After the clock was set back nothing waits longer than it would have.
        let longest = if self.out.is_some() {
            GIVE_UP.max(self.interval())
        } else {
            self.interval()
        };
        if due > later(now, longest) { now } else { due }
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn same_verdicts(before: &Readings, after: &Readings) -> bool {
    (before.complete_polls == 0) == (after.complete_polls == 0)
        && before.hold_since == after.hold_since
        && before.checks == after.checks
        && before.source == after.source
        && before.readings.len() == after.readings.len()
        && before
            .readings
            .iter()
            .zip(&after.readings)
            .all(|(b, a)| b.name == a.name && b.verdict == a.verdict && b.reason == a.reason)
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
