//! The share of the requests that a revision really gets, beside the one that it is to get.
//!
//! The answers to the checks say it: the pods of the revision and those that serve beside it are
//! counted at the same moments, so no query is asked for it.

use std::collections::BTreeMap;

use super::{Snapshot, Target};

/// Requests of the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Split {
    /// Those that the revision got.
    pub own: f64,
    /// Those that it and the pods beside it got.
    pub all: f64,
}

/// Adds them up, poll by poll.
#[derive(Clone, Debug, Default)]
pub(super) struct Splitter {
    /// All requests of each target at the latest poll.
    last: BTreeMap<Target, f64>,
    split: Split,
}

impl Splitter {
    /// Takes in one moment. What a target had before it was first seen is nobody's to place in time.
    pub(super) fn count(&mut self, now: &Snapshot) {
        let Some(beside) = now.beside.as_ref().filter(|_| !now.warned) else {
            return;
        };
        let own = now.counted.iter();
        let own = own.filter_map(|c| Some((&c.target, c.counters.total()?, true)));
        let beside = beside.iter().map(|(target, total)| (target, *total, false));
        let mut seen = BTreeMap::new();
        for (target, total, is_own) in own.chain(beside).filter(|(_, total, _)| total.is_finite()) {
            let more = match self.last.get(target) {
                None => 0.0,
                // Its process has started anew.
                Some(before) if *before > total => total,
                Some(before) => total - before,
            };
            self.split.all += more;
            self.split.own += if is_own { more } else { 0.0 };
            seen.insert(target.clone(), total);
        }
        self.last = seen;
    }

    /// What there is, from enough requests on that a share of them says something.
    pub(super) fn split(&self) -> Option<Split> {
        const ENOUGH: f64 = 100.0;
        (self.split.all >= ENOUGH).then_some(self.split)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{snapshot, target};
    use super::*;

    fn at(second: i64, own: f64, beside: &[(&str, f64)]) -> Snapshot {
        let beside = beside.iter().map(|(pod, total)| (target(pod), *total));
        Snapshot {
            beside: Some(beside.collect()),
            ..snapshot(second, &[("new", 0.0, own)])
        }
    }

    #[test]
    fn what_came_since_the_first_poll_is_shared_out() {
        let mut splitter = Splitter::default();
        splitter.count(&at(0, 1000.0, &[("a", 5000.0), ("b", 7000.0)]));
        assert_eq!(splitter.split(), None, "nothing came between two polls yet");
        splitter.count(&at(1, 1025.0, &[("a", 5040.0), ("b", 7035.0)]));
        let expected = Split {
            own: 25.0,
            all: 100.0,
        };
        assert_eq!(splitter.split(), Some(expected));
    }

    #[test]
    fn few_requests_say_nothing_and_restarts_and_new_pods_no_more_than_they_had() {
        let mut splitter = Splitter::default();
        splitter.count(&at(0, 0.0, &[("a", 500.0)]));
        splitter.count(&at(1, 50.0, &[("a", 520.0)]));
        assert_eq!(splitter.split(), None, "70 requests");
        // One was started anew, and one is seen for the first time.
        splitter.count(&at(2, 60.0, &[("a", 20.0), ("b", 9000.0)]));
        let expected = Split {
            own: 60.0,
            all: 100.0,
        };
        assert_eq!(splitter.split(), Some(expected));
    }

    #[test]
    fn an_answer_that_is_not_whole_or_does_not_say_who_else_serves_counts_for_nothing() {
        let mut splitter = Splitter::default();
        splitter.count(&at(0, 0.0, &[("a", 0.0)]));
        let half = Snapshot {
            warned: true,
            ..at(1, 100.0, &[])
        };
        splitter.count(&half);
        splitter.count(&snapshot(2, &[("new", 0.0, 100.0)]));
        assert_eq!(splitter.split(), None);
        splitter.count(&at(3, 100.0, &[("a", 300.0)]));
        let expected = Split {
            own: 100.0,
            all: 400.0,
        };
        assert_eq!(splitter.split(), Some(expected));
    }
}
