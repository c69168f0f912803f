//! Raw counters of pods that come, go and restart, made into requests counted once.
//!
//! What a pod does between the last look at it and its end is not seen. Looking back for it
//! (`last_over_time`) would be worse: after a restart it would mix series of the old process
//! with those of the new one, and good releases would look bad.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::snapshot::{Bucket, Counted, Counters, Snapshot, Target};
use super::{Measure, PodSeen};

/// Targets that are followed per check. Beyond it those that are gone are forgotten first.
const MAX_TARGETS: usize = 2_000;

/// A pod that was ready this much before the test began has served before it.
const SERVED_BEFORE: SignedDuration = SignedDuration::from_secs(60);

/// Bounds that are kept apart for the figure that people read.
const MAX_SLOTS: usize = 500;

/// Requests of one check, out of one moment or many.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub bad: f64,
    pub total: f64,
    /// For a latency: requests by the upper bound of their bucket, ascending, not cumulated;
    /// empty buckets too, because they bound the next one from below.
    pub slots: Vec<Bucket>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.bad += other.bad;
        self.total += other.total;
        for slot in &other.slots {
            match self.slots.binary_search_by(|s| s.le.total_cmp(&slot.le)) {
                Ok(at) => self.slots[at].count += slot.count,
                Err(at) if self.slots.len() < MAX_SLOTS => self.slots.insert(at, *slot),
                Err(_) => {}
            }
        }
    }

    /// Without so many requests, of which each may have been a bad one.
    fn less(mut self, requests: f64) -> Self {
        if requests <= 0.0 {
            return self;
        }
        self.bad = (self.bad - requests).max(0.0);
        self.total = (self.total - requests).max(0.0);
        let mut rest = requests;
        for slot in self.slots.iter_mut().rev() {
            let taken = slot.count.min(rest);
            slot.count -= taken;
            rest -= taken;
        }
        self
    }
}

/// What one moment added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Added {
    /// Requests not counted before.
    pub tally: Tally,
    /// Those of them that certainly came after the hold began.
    pub hold: Tally,
    /// A pod of whose requests none is known to have come after the hold began.
    pub uncounted: Option<Uncounted>,
    /// Targets whose buckets all lie below the limit, so that nothing can be counted.
    pub limit_above: bool,
    /// The bound that stood for the limit, in milliseconds: the highest, where targets differ.
    pub bound: Option<f64>,
    /// Targets that are not followed because there are too many.
    pub dropped: bool,
}

/// A pod that serves and is not counted for the hold yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uncounted {
    /// Its name.
    pub pod: String,
    /// Until when it warms up; else it is known from the next moment on.
    pub warms_up_until: Option<Timestamp>,
}

/// The counters of every target seen for one check, as they were last.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    targets: BTreeMap<Target, Last>,
    /// Targets that were scraped at the latest moment and had no request series: they stood at
    /// zero then.
    silent: BTreeMap<Target, Last>,
    /// Whether a moment was taken in before: what appears later is new.
    begun: bool,
}

#[derive(Clone, Debug)]
struct Last {
    at: Timestamp,
    /// When the source scraped them, Unix seconds by its clock.
    scraped: f64,
    /// Its pod was ready and warm since: what is counted from here on are users' requests.
    serves: bool,
    counters: Flat,
    /// Bad requests already counted as good, or the other way, because a client library writes
    /// the buckets of one request one after the other and was scraped in between.
    carry: f64,
}

/// Counters in one shape: cumulated by bound, the last one all requests. For an error rate the
/// bound below "all" is "good".
#[derive(Clone, Debug, PartialEq)]
struct Flat(Vec<Bucket>);

impl Flat {
    fn of(counters: &Counters) -> Self {
        match counters {
            Counters::Requests { bad, total } => Self(vec![
                Bucket {
                    le: 0.0,
                    count: (total - bad).max(0.0),
                },
                Bucket {
                    le: f64::INFINITY,
                    count: *total,
                },
            ]),
            Counters::Histogram(buckets) => {
                let mut buckets = buckets.clone();
                buckets.sort_by(|a, b| a.le.total_cmp(&b.le));
                buckets.dedup_by(|a, b| a.le == b.le);
                Self(buckets)
            }
        }
    }

    fn zero(&self) -> Self {
        Self(
            self.0
                .iter()
                .map(|b| Bucket {
                    le: b.le,
                    count: 0.0,
                })
                .collect(),
        )
    }

    fn all(&self) -> f64 {
        self.0.last().map_or(0.0, |b| b.count)
    }

    fn same_bounds(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.le == b.le)
    }

    /// Whether the process behind the counters started anew since `before`.
    fn restarted(&self, before: &Self) -> bool {
        let bad = |f: &Self| match f.0.as_slice() {
            [good, all] => all.count - good.count,
            _ => 0.0,
        };
        if !self.same_bounds(before) {
            return self.all() < before.all();
        }
        // Only an error rate has two bounds that are counted apart, so only there a fall of the
        // difference means anything.
        self.0
            .iter()
            .zip(&before.0)
            .any(|(now, then)| now.count < then.count)
            || (self.0.len() == 2 && self.0[0].le == 0.0 && bad(self) < bad(before))
    }
}

impl Ledger {
    /// Takes in one moment. `limit` is the latency limit in milliseconds, 0 for an error rate.
    ///
    /// A pod's requests count from the moment at which it is ready, or warm where it is given time
    /// to warm up: before that it answers nobody but probes.
    pub(crate) fn absorb(
        &mut self,
        measure: &Measure,
        snapshot: &Snapshot,
        at: Timestamp,
        terms: Terms,
    ) -> Added {
        let silent = self.note_silence(snapshot, at);
        let mut step = Added::default();
        // Only a target that is new is judged by it.
        let is_new = |c: &Counted| !self.targets.contains_key(&c.target);
        let known: BTreeSet<Arc<str>> = if snapshot.counted.iter().any(is_new) {
            self.targets.keys().map(|t| t.pod.clone()).collect()
        } else {
            BTreeSet::new()
        };
        for counted in &snapshot.counted {
            let flat = Flat::of(&counted.counters);
            let Some(bound) = bound_at(&flat, terms.limit) else {
                step.limit_above = true;
                continue;
            };
            let mut scrapes = snapshot.scraped.iter();
            let scrape = scrapes.find(|s| s.target == counted.target);
            let now = Last {
                at,
                scraped: scrape.map_or(snapshot.clock, |s| s.last),
                serves: true,
                counters: flat,
                carry: 0.0,
            };
            let pod = measure.pods.iter().find(|p| *p.name == *counted.target.pod);
            let last = match self.last_of(measure, counted, &now, &known) {
                Some(last) => last,
                None => {
                    step.dropped = true;
                    continue;
                }
            };
            let le = now.counters.0[bound].le;
            step.bound = Some(step.bound.map_or(le, |b: f64| b.max(le)));
            let counting = counting(measure, pod, &last, &now, terms.warm_up_seconds);
            let (tally, carry) = match counting {
                Counting::Not { .. } => (Tally::default(), 0.0),
                Counting::Less(probes) => {
                    let (tally, carry) = difference(&last, &now.counters, bound);
                    (tally.less(probes), carry)
                }
            };
            let uncounted = |warms_up_until| Uncounted {
                pod: counted.target.pod.to_string(),
                warms_up_until,
            };
            match (&counting, measure.hold_since) {
                (_, None) => {}
                (Counting::Not { ready, until, .. }, Some(_)) if *ready => {
                    step.uncounted.get_or_insert_with(|| uncounted(*until));
                }
                (Counting::Not { .. }, Some(_)) => {}
                (_, Some(hold)) if last.at >= hold => step.hold.add(&tally),
                (_, Some(_)) if tally.total > 0.0 => {
                    step.uncounted.get_or_insert_with(|| uncounted(None));
                }
                _ => {}
            }
            step.tally.add(&tally);
            let serves = match counting {
                Counting::Not { serves, .. } => serves,
                Counting::Less(_) => pod.is_some() || last.serves,
            };
            let now = Last {
                serves,
                carry,
                ..now
            };
            self.targets.insert(counted.target.clone(), now);
        }
        self.begun = true;
        self.silent = silent;
        step
    }

    /// The targets through which a pod has shown request series.
    pub(crate) fn targets_of<'a>(&'a self, pod: &'a str) -> impl Iterator<Item = &'a Target> {
        self.targets.keys().filter(move |t| *t.pod == *pod)
    }

    /// Finds the targets that are scraped but have no request series. One that had has restarted
    /// and not yet served anything: the next series counts from zero, even if it has overtaken
    /// the old one.
    fn note_silence(&mut self, snapshot: &Snapshot, at: Timestamp) -> BTreeMap<Target, Last> {
        let counted: BTreeSet<&Target> = snapshot.counted.iter().map(|c| &c.target).collect();
        let silent = snapshot
            .scraped
            .iter()
            .filter(|s| !counted.contains(&s.target));
        silent
            .map(|scraped| {
                let mut zero = Last {
                    at,
                    scraped: scraped.last,
                    serves: false,
                    counters: Flat(Vec::new()),
                    carry: 0.0,
                };
                if let Some(last) = self.targets.get_mut(&scraped.target) {
                    zero.counters = last.counters.zero();
                    *last = zero.clone();
                }
                (scraped.target.clone(), zero)
            })
            .collect()
    }

    /// What the target's counters were when it was last seen; for a new one, from where it is
    /// to be counted. `None` when no more targets can be followed.
    fn last_of(
        &mut self,
        measure: &Measure,
        counted: &Counted,
        now: &Last,
        known: &BTreeSet<Arc<str>>,
    ) -> Option<Last> {
        if let Some(last) = self.targets.get(&counted.target) {
            return Some(last.clone());
        }
        if self.targets.len() >= MAX_TARGETS && !self.forget_gone(measure) {
            return None;
        }
        let zero = now.counters.zero();
        if let Some(silent) = self.silent.get(&counted.target) {
            return Some(Last {
                counters: zero,
                ..silent.clone()
            });
        }
        let pod = measure.pods.iter().find(|p| *p.name == *counted.target.pod);
        let served_before = match pod {
            Some(pod) => served_before(pod, measure.since),
            // Not known and there from the beginning: maybe left over from before.
            None => !self.begun,
        };
        // A pod that is already followed under another instance was renamed by the scraper.
        let renamed = known.contains(&counted.target.pod);
        Some(if served_before || renamed {
            Last {
                serves: pod.is_some(),
                ..now.clone()
            }
        } else {
            let from = pod.map_or(measure.since, |p| p.created);
            Last {
                at: from,
                scraped: unix(from),
                serves: false,
                counters: zero,
                carry: 0.0,
            }
        })
    }

    /// Makes room: of the pods that no longer exist, the quarter not seen for longest goes.
    fn forget_gone(&mut self, measure: &Measure) -> bool {
        let alive: BTreeSet<&str> = measure.pods.iter().map(|p| p.name.as_str()).collect();
        let mut gone: Vec<(Timestamp, Target)> = self
            .targets
            .iter()
            .filter(|(t, _)| !alive.contains(&*t.pod))
            .map(|(t, last)| (last.at, t.clone()))
            .collect();
        gone.sort();
        gone.truncate(MAX_TARGETS / 4);
        for (_, target) in &gone {
            self.targets.remove(target);
        }
        !gone.is_empty()
    }
}

/// What a check counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The latency limit in milliseconds, 0 for an error rate.
    pub limit: f64,
    /// Seconds after a pod's readiness in which nothing is counted.
    pub warm_up_seconds: i64,
}

/// Whether the requests since a target was last seen are counted.
enum Counting {
    Not {
        /// They are from the next moment on.
        serves: bool,
        /// The pod is ready.
        ready: bool,
        /// Until when it warms up.
        until: Option<Timestamp>,
    },
    /// All but so many, which may have been probes before the pod was ready.
    Less(f64),
}

fn counting(
    measure: &Measure,
    pod: Option<&PodSeen>,
    last: &Last,
    now: &Last,
    warm_up_seconds: i64,
) -> Counting {
    let restarted = now.counters.restarted(&last.counters);
    // A process that has served goes on doing so, whatever becomes of its pod.
    if last.serves && !restarted {
        return Counting::Less(0.0);
    }
    let Some(pod) = pod else {
        // It is gone, and nobody knows whether it ever was ready: what may have been probes of one
        // that was not is left out.
        return Counting::Less(measure.probes(now.scraped - last.scraped, None));
    };
    let Some(ready) = pod.ready_since else {
        return Counting::Not {
            serves: false,
            ready: false,
            until: None,
        };
    };
    let warm = ready
        .saturating_add(SignedDuration::from_secs(warm_up_seconds))
        .unwrap_or(ready);
    let until = Some(warm).filter(|_| warm_up_seconds > 0);
    if now.scraped < unix(warm) {
        return Counting::Not {
            serves: false,
            ready: true,
            until,
        };
    }
    if warm_up_seconds > 0 && last.scraped < unix(warm) {
        // Some of them came while it warmed up, nobody knows how many.
        return Counting::Not {
            serves: true,
            ready: true,
            until: None,
        };
    }
    let unready = unix(ready) - last.scraped;
    Counting::Less(if unready > 0.0 {
        measure.probes_before_ready(unready)
    } else {
        0.0
    })
}

fn unix(at: Timestamp) -> f64 {
    at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

fn served_before(pod: &PodSeen, since: Timestamp) -> bool {
    pod.ready_since
        .is_some_and(|ready| since.duration_since(ready) > SERVED_BEFORE)
}

/// Index of the bucket that separates good from bad: the lowest finite one that reaches the
/// limit.
fn bound_at(flat: &Flat, limit: f64) -> Option<usize> {
    // Bounds and limits are decimal fractions; 0.2 s and 200 ms must meet.
    let reaches = |le: f64| le >= limit * (1.0 - 1e-9);
    let found = flat.0.iter().position(|b| reaches(b.le))?;
    flat.0[found].le.is_finite().then_some(found)
}

fn difference(last: &Last, now: &Flat, bound: usize) -> (Tally, f64) {
    let zero;
    let (then, carry) = if now.restarted(&last.counters) {
        zero = now.zero();
        (&zero, 0.0)
    } else if now.same_bounds(&last.counters) {
        (&last.counters, last.carry)
    } else {
        // Other buckets without a restart: nothing can be said about this once.
        return (Tally::default(), 0.0);
    };
    let grown: Vec<f64> = now
        .0
        .iter()
        .zip(&then.0)
        .map(|(n, t)| n.count - t.count)
        .collect();
    let total = grown.last().copied().unwrap_or(0.0);
    let bad = total - grown[bound] + carry;
    let counted = bad.clamp(0.0, total);
    let mut below = 0.0;
    let slots = now
        .0
        .iter()
        .zip(&grown)
        .map(|(bucket, cumulated)| {
            let count = (cumulated - below).max(0.0);
            below = cumulated.max(below);
            Bucket {
                le: bucket.le,
                count,
            }
        })
        .collect();
    (
        Tally {
            bad: counted,
            total,
            slots,
        },
        bad - counted,
    )
}

#[cfg(test)]
#[path = "increments_tests.rs"]
mod tests;
