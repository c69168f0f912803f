//! The test that says *failing*: one-sided, and valid however often one looks.
//!
//! A bettor who believes that more than the allowed share of requests is bad stakes one coin in
//! all. At poll `j` he puts `1/(G·j·(j+1))` on each of `G` alternatives `p1` above the limit
//! `p0`; every bad request multiplies what lies on an alternative by `p1/p0`, every good one by
//! `(1−p1)/(1−p0)`. While the true share is at most `p0` his wealth is a supermartingale that
//! begins at no more than one, so it ever reaches `1/α` with a probability of at most `α`
//! (Ville's inequality, 1939). Stakes that enter late keep the test sharp for a workload that
//! turns bad after long good service (a mixture over change points, as in the
//! Shiryaev–Roberts and e-detector literature, here with a summable prior so that the error
//! is bounded over the whole release and not per hour).

/// Largest figure that is shown; beyond it the sum of stakes says nothing more to anybody.
const CEILING: f64 = 1e12;

/// The test of one check. Feed it every request once, in any portions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequential {
    alternatives: Vec<Alternative>,
    /// The limit allows nothing: the first bad request decides.
    forbids_all: bool,
    /// Polls that brought requests.
    polls: f64,
    peak: f64,
    current: f64,
}

#[derive(Clone, Debug, PartialEq)]
struct Alternative {
    log_per_bad: f64,
    log_per_good: f64,
    log_stake: f64,
}

impl Sequential {
    /// A test of "at most `limit` of all requests are bad"; `limit` is a share, 0 to 1.
    /// At a limit of 1 or more nothing can fail.
    pub(crate) fn new(limit: f64) -> Self {
        let forbids_all = limit.is_nan() || limit <= 0.0;
        let alternatives = if forbids_all {
            Vec::new()
        } else {
            alternatives(limit)
        };
        let alternatives = alternatives
            .into_iter()
            .map(|p1| Alternative {
                log_per_bad: (p1 / limit).ln(),
                log_per_good: (-p1).ln_1p() - (-limit).ln_1p(),
                log_stake: f64::NEG_INFINITY,
            })
            .collect();
        Self {
            alternatives,
            forbids_all,
            polls: 0.0,
            peak: 0.0,
            current: 0.0,
        }
    }

    /// Takes in the requests of one poll. A poll without requests changes nothing: what is
    /// staked may depend on how many requests came, never on how they ended. `lasting` says
    /// whether the figure may decide now: what is over, or but a burst, does not.
    pub(crate) fn absorb(&mut self, bad: f64, good: f64, lasting: bool) {
        let (bad, good) = (countable(bad), countable(good));
        if bad + good <= 0.0 {
            return;
        }
        if self.forbids_all {
            if bad > 0.0 {
                self.current = CEILING;
            }
        } else {
            self.polls += 1.0;
            let count = self.alternatives.len() as f64;
            let stake = -(count * self.polls * (self.polls + 1.0)).ln();
            for a in &mut self.alternatives {
                a.log_stake = log_sum(a.log_stake, stake);
                a.log_stake += bad * a.log_per_bad + good * a.log_per_good;
            }
            let total = self
                .alternatives
                .iter()
                .fold(f64::NEG_INFINITY, |sum, a| log_sum(sum, a.log_stake));
            self.current = total.exp().min(CEILING);
        }
        if lasting {
            self.peak = self.peak.max(self.current);
        }
    }

    /// The sum of all stakes now, 0 to 1e12.
    pub(crate) fn current(&self) -> f64 {
        self.current
    }

    /// The highest sum of stakes that might decide; what the verdict rests on, so that a check that has
    /// failed stays failed.
    pub(crate) fn peak(&self) -> f64 {
        self.peak
    }
}

/// `p0 × 1.5, 2, 4, 8, …`, as far as they are shares; at least one, unless `p0` is 1.
fn alternatives(p0: f64) -> Vec<f64> {
    const HIGHEST: f64 = 0.99;
    if p0 >= 1.0 {
        return Vec::new();
    }
    let doublings = std::iter::successors(Some(p0 * 2.0), |p| Some(p * 2.0));
    let found: Vec<f64> = std::iter::once(p0 * 1.5)
        .chain(doublings)
        .take_while(|p| *p < HIGHEST)
        .collect();
    if found.is_empty() {
        vec![f64::midpoint(p0, 1.0)]
    } else {
        found
    }
}

/// `ln(e^a + e^b)` without overflow.
fn log_sum(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}

/// A number of requests as it may be counted: anything that is no count is nothing.
fn countable(requests: f64) -> f64 {
    if requests.is_finite() {
        requests.max(0.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn alternatives_are_geometric_shares_above_the_limit() {
        assert_eq!(alternatives(0.1), [0.1 * 1.5, 0.2, 0.4, 0.8]);
        assert_eq!(alternatives(0.995), [0.9975]);
        assert!(alternatives(1.0).is_empty());
    }

    #[test]
    fn one_poll_is_the_formula() {
        let mut test = Sequential::new(0.1);
        test.absorb(3.0, 17.0, true);
        let by_hand: f64 = [0.15, 0.2, 0.4, 0.8]
            .iter()
            .map(|p: &f64| 1.0 / (4.0 * 2.0) * (p / 0.1).powi(3) * ((1.0 - p) / 0.9).powi(17))
            .sum();
        assert!(
            (test.current() / by_hand - 1.0).abs() < 1e-9,
            "{} {by_hand}",
            test.current()
        );
    }

    #[test]
    fn what_is_staked_at_the_second_poll_is_less() {
        let mut test = Sequential::new(0.1);
        test.absorb(3.0, 17.0, true);
        test.absorb(4.0, 6.0, true);
        let likelihood =
            |p: f64, bad: i32, good: i32| (p / 0.1).powi(bad) * ((1.0 - p) / 0.9).powi(good);
        let by_hand: f64 = [0.15, 0.2, 0.4, 0.8]
            .map(|p| {
                let before = likelihood(p, 3, 17) / (4.0 * 1.0 * 2.0);
                (before + 1.0 / (4.0 * 2.0 * 3.0)) * likelihood(p, 4, 6)
            })
            .iter()
            .sum();
        assert!((test.current() / by_hand - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_limit_of_zero_fails_at_the_first_bad_request_only() {
        let mut test = Sequential::new(0.0);
        test.absorb(0.0, 1e9, true);
        assert_eq!(test.peak(), 0.0);
        test.absorb(1.0, 1e9, true);
        assert!(test.peak() >= 1e12);
    }

    #[test]
    fn a_limit_of_all_never_fails() {
        let mut test = Sequential::new(1.0);
        test.absorb(1e9, 0.0, true);
        assert_eq!(test.peak(), 0.0);
    }

    #[test]
    fn hours_at_ten_thousand_a_second_neither_overflow_nor_go_deaf() {
        let mut test = Sequential::new(0.005);
        for _ in 0..6 * 720 {
            test.absorb(100.0, 49_900.0, true);
        }
        assert!(
            test.peak() < 200.0 && test.current().is_finite(),
            "{}",
            test.peak()
        );
        test.absorb(2_500.0, 47_500.0, true);
        assert!(
            test.peak() >= 200.0,
            "one poll at 5% after six good hours: {}",
            test.peak()
        );
        for _ in 0..720 {
            test.absorb(50_000.0, 0.0, true);
        }
        assert_eq!(test.current(), 1e12);
    }

    proptest! {
        #[test]
        fn never_nan(limit in -0.1f64..1.2, polls in prop::collection::vec(
            (any::<f64>(), any::<f64>()), 0..20,
        )) {
            let mut test = Sequential::new(limit);
            for (bad, good) in polls {
                test.absorb(bad, good, true);
                prop_assert!(test.current() >= 0.0 && test.current() <= 1e12);
                prop_assert!(test.peak() >= test.current());
            }
        }

        #[test]
        fn polls_without_requests_change_nothing(
            polls in prop::collection::vec((0u32..50, 0u32..1000, 0usize..3), 1..30),
        ) {
            let (mut dense, mut sparse) = (Sequential::new(0.01), Sequential::new(0.01));
            for (bad, good, silent) in polls {
                dense.absorb(bad.into(), good.into(), true);
                (0..silent).for_each(|_| sparse.absorb(0.0, 0.0, true));
                sparse.absorb(bad.into(), good.into(), true);
            }
            prop_assert_eq!(dense, sparse);
        }

        #[test]
        fn more_bad_requests_never_lower_the_figure(
            polls in prop::collection::vec((0u32..50, 50u32..1000), 1..30),
            turned in 1u32..50, at in any::<prop::sample::Index>(),
        ) {
            let (mut fewer, mut more) = (Sequential::new(0.01), Sequential::new(0.01));
            let at = at.index(polls.len());
            for (i, (bad, good)) in polls.into_iter().enumerate() {
                let turned = if i == at { turned } else { 0 };
                fewer.absorb(bad.into(), good.into(), true);
                more.absorb((bad + turned).into(), (good - turned).into(), true);
            }
            prop_assert!(more.peak() >= fewer.peak() * (1.0 - 1e-9));
        }
    }
}

#[cfg(test)]
#[path = "sequential_figures.rs"]
mod figures;
