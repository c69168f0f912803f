//! The last half minute, poll by poll: whether what the test has found is still so, and no burst.
//!
//! The test takes requests as independent. Slow ones are not: when pods start, or a neighbour
//! takes the processor, a second's worth of them is slow together, and no threshold on the sum of
//! stakes tells that from a slow release. So a check fails only while the share of the last half
//! minute is above its limit too, and a latency only when it was above in several seconds of it.
//! That can only take failures away, so the bound on false ones holds as it was.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// The time that is looked back on.
const WINDOW: SignedDuration = SignedDuration::from_secs(30);
/// At least this many polls are looked back on, however far apart they are.
const FEWEST: usize = 10;
/// Seconds in which slowness must have been seen before it counts as more than a burst.
const SUSTAINED: f64 = 3.0;

/// The last half minute of one check.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recent {
    polls: VecDeque<Poll>,
}

#[derive(Clone, Debug, PartialEq)]
struct Poll {
    at: Timestamp,
    seconds: f64,
    bad: f64,
    total: f64,
}

impl Recent {
    /// Takes in the requests of one poll; `since` is where counting began, for the first of them.
    pub(crate) fn absorb(&mut self, bad: f64, total: f64, since: Timestamp, at: Timestamp) {
        let before = self.polls.back().map_or(since, |poll| poll.at);
        let seconds = at.duration_since(before).as_secs_f64().max(0.0);
        self.polls.push_back(Poll {
            at,
            seconds,
            bad,
            total,
        });
        while self.polls.len() > FEWEST
            && self
                .polls
                .front()
                .is_some_and(|poll| at.duration_since(poll.at) > WINDOW)
        {
            self.polls.pop_front();
        }
    }

    /// Whether the share of bad requests is above `limit` over all of it.
    pub(crate) fn is_above(&self, limit: f64) -> bool {
        let (bad, total) = self.counts();
        total > 0.0 && bad > limit * total
    }

    /// Bad requests and all.
    pub(crate) fn counts(&self) -> (f64, f64) {
        self.polls
            .iter()
            .fold((0.0, 0.0), |(bad, total), p| (bad + p.bad, total + p.total))
    }

    /// Whether it was above `limit` in more than a burst.
    pub(crate) fn is_sustained(&self, limit: f64) -> bool {
        let above = self
            .polls
            .iter()
            .filter(|p| p.total > 0.0 && p.bad > limit * p.total);
        above.map(|p| p.seconds).sum::<f64>() >= SUSTAINED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + n).unwrap()
    }

    fn recent(polls: &[(i64, f64, f64)]) -> Recent {
        let mut recent = Recent::default();
        for (at, bad, total) in polls {
            recent.absorb(*bad, *total, second(0), second(*at));
        }
        recent
    }

    #[test]
    fn a_slow_second_is_a_burst_and_three_are_not() {
        let burst = recent(&[(1, 0.0, 75.0), (2, 73.0, 300.0), (3, 0.0, 300.0)]);
        assert!(burst.is_above(0.05));
        assert!(!burst.is_sustained(0.05));
        let slow = recent(&[(1, 20.0, 75.0), (2, 70.0, 300.0), (3, 70.0, 300.0)]);
        assert!(slow.is_sustained(0.05));
        assert!(
            recent(&[(15, 70.0, 300.0)]).is_sustained(0.05),
            "fifteen seconds are no burst"
        );
    }

    #[test]
    fn a_share_at_the_limit_is_not_above_it() {
        for (bad, above) in [(4.0, false), (5.0, false), (6.0, true)] {
            let polls: Vec<_> = (1..5).map(|at| (at, bad, 100.0)).collect();
            assert_eq!(recent(&polls).is_above(0.05), above, "{bad} of 100");
            assert_eq!(recent(&polls).is_sustained(0.05), above, "{bad} of 100");
        }
    }

    #[test]
    fn what_is_over_is_over() {
        let mut polls: Vec<_> = (1..4).map(|at| (at, 10.0, 100.0)).collect();
        assert!(recent(&polls).is_above(0.05));
        polls.extend((4..40).map(|at| (at, 0.0, 100.0)));
        assert!(!recent(&polls).is_above(0.05));
    }
}
