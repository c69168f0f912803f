//! The figures that `docs/design.md` gives for the test, drawn anew: seeded, so they are the
//! same every time.

use super::Sequential;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to flip coins.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn bad_of(&mut self, requests: u32, share: f64) -> u32 {
        (0..requests).map(|_| u32::from(self.next() < share)).sum()
    }
}

const LIMIT: f64 = 0.005;
/// Two checks.
const THRESHOLD: f64 = 200.0;

/// Poll at which the test fails, 1 the first; `None` if it does not within `polls`.
fn polls_until_failed(
    test: &mut Sequential,
    dice: &mut Dice,
    requests_per_poll: u32,
    share: f64,
    polls: u32,
) -> Option<u32> {
    (1..=polls).find(|_| {
        let bad = dice.bad_of(requests_per_poll, share);
        test.absorb(bad.into(), (requests_per_poll - bad).into(), true);
        test.peak() >= THRESHOLD
    })
}

/// Median of the seconds to a decision over many releases, after `good_polls` at 0.1%.
fn median_seconds(per_second: u32, every: u32, share: f64, good_polls: u32) -> u32 {
    let mut dice = Dice(7);
    let mut seconds: Vec<u32> = (0..101)
        .map(|_| {
            let mut test = Sequential::new(LIMIT);
            let early =
                polls_until_failed(&mut test, &mut dice, per_second * every, 0.001, good_polls);
            assert_eq!(early, None, "failed while it was good");
            let at = polls_until_failed(
                &mut test,
                &mut dice,
                per_second * every,
                share,
                3600 / every,
            );
            at.expect("a bad release is caught within the hour") * every
        })
        .collect();
    seconds.sort_unstable();
    seconds[50]
}

#[test]
fn bad_releases_are_caught_in_seconds() {
    let half = median_seconds(37, 1, 0.5, 0);
    let twentieth = median_seconds(37, 1, 0.05, 0);
    let hundredth = median_seconds(37, 5, 0.01, 0);
    assert!(half <= 1, "{half} s at 50%");
    assert!(twentieth <= 5, "{twentieth} s at 5%");
    assert!(hundredth <= 120, "{hundredth} s at 1%");
}

#[test]
fn bad_turns_after_ten_good_minutes_too() {
    let twentieth = median_seconds(300, 5, 0.05, 120);
    let hundredth = median_seconds(300, 5, 0.01, 120);
    assert!(twentieth <= 5, "{twentieth} s at 5%");
    assert!(hundredth <= 45, "{hundredth} s at 1%");
}

#[test]
fn good_releases_are_left_alone() {
    for share in [0.002, LIMIT] {
        let mut dice = Dice(11);
        let failed = (0..300)
            .filter(|_| {
                let mut test = Sequential::new(LIMIT);
                polls_until_failed(&mut test, &mut dice, 37, share, 1800).is_some()
            })
            .count();
        // Two checks share one release's 1%, so one of them has a half.
        assert!(
            failed <= 1,
            "{failed} of 300 half-hour releases at {share} failed"
        );
    }
}
