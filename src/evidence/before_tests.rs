//! Compared with what was before: the hold's counts alone are judged, by the limit and by that.

use super::*;
use crate::evidence::fixture::*;
use crate::evidence::{Board, CheckAsk, Verdict};

/// A minute before second 60, and a hold from second 100 on.
fn soak() -> Measure {
    let mut m = measure(&["a"]);
    m.pods[0].ready_since = Some(second(-1_000));
    m.before = Some(second(60));
    m.hold_since = Some(second(100));
    m
}

/// An answer with the past: so many of so many at each of these seconds.
fn absorb(tracker: &mut Tracker, m: &Measure, past: &[(i64, f64, f64)]) -> Readings {
    let at = past.last().map_or(0, |last| last.0);
    let moment = |(at, bad, total): &(i64, f64, f64)| snapshot(*at, &[("a", *bad, *total)]);
    let history = past.iter().take(past.len() - 1);
    let history = history.map(|moment_of| (second(moment_of.0), moment(moment_of)));
    let answered = Answered {
        history: history.collect(),
        now: past.last().map(moment).unwrap_or_default(),
    };
    let answer = vec![(m.checks[0].clone(), Ok(answered))];
    tracker.absorb(m, answer, second(at))
}

fn judged(readings: &Readings) -> (Verdict, Reason, &str) {
    let reading = &readings.readings[0];
    (reading.verdict, reading.reason, &reading.message)
}

#[test]
fn what_is_worse_than_before_fails_with_both_figures() {
    let (mut tracker, m) = (Tracker::default(), soak());
    let past = [(0, 0.0, 0.0), (60, 1.0, 6_000.0), (100, 301.0, 10_000.0)];
    let r = absorb(
        &mut tracker,
        &m,
        &[past[0], past[1], past[2], (101, 301.0, 10_100.0)],
    );
    // What came while it was done counts for nothing, however bad it was.
    assert_eq!(judged(&r).0, Verdict::Pass);
    assert_eq!(
        (r.readings[0].hold_bad, r.readings[0].hold_total),
        (0.0, 100.0)
    );
    let r = absorb(&mut tracker, &m, &[(110, 401.0, 11_100.0)]);
    let (verdict, reason, message) = judged(&r);
    assert_eq!((verdict, reason), (Verdict::Fail, Reason::Failing));
    assert!(
        message.contains("9.09% errors (100 of 1100 requests), limit 1%"),
        "{message}"
    );
    assert!(
        message.contains("before: 0.02% errors (1 of 6000 requests)"),
        "{message}"
    );
}

#[test]
fn what_was_as_bad_before_is_nobodys_doing() {
    let (mut tracker, m) = (Tracker::default(), soak());
    let past = [(0, 0.0, 0.0), (60, 300.0, 6_000.0), (100, 500.0, 10_000.0)];
    let r = absorb(
        &mut tracker,
        &m,
        &[past[0], past[1], past[2], (160, 800.0, 16_000.0)],
    );
    let (verdict, _, message) = judged(&r);
    assert_eq!(verdict, Verdict::Pass, "{message}");
    assert!(
        message.contains("above the limit already, so up to 5.6% may be bad")
            || message.contains("above the limit already, so up to 5.59% may be bad"),
        "{message}"
    );
    // And still it may become worse.
    let r = absorb(&mut tracker, &m, &[(170, 1_000.0, 17_000.0)]);
    assert_eq!(judged(&r).0, Verdict::Fail);
}

#[test]
fn what_was_before_must_be_known_to_blame_somebody() {
    let (mut tracker, m) = (Tracker::default(), soak());
    let bad = [(100, 0.0, 1_000.0), (110, 300.0, 2_000.0)];
    let r = absorb(&mut tracker, &m, &bad);
    let (verdict, reason, message) = judged(&r);
    assert_eq!(
        (verdict, reason),
        (Verdict::Inconclusive, Reason::NotCompared)
    );
    assert!(message.contains("before: no requests"), "{message}");
    // Within the limit nothing need be compared.
    let mut tracker = Tracker::default();
    let r = absorb(
        &mut tracker,
        &m,
        &[(100, 0.0, 1_000.0), (110, 1.0, 2_000.0)],
    );
    assert_eq!(judged(&r).0, Verdict::Pass);
    // Too few are as good as none.
    let mut tracker = Tracker::default();
    let few = [(0, 0.0, 0.0), (60, 0.0, 99.0), bad[0], bad[1]];
    assert_eq!(
        judged(&absorb(&mut tracker, &m, &few)).1,
        Reason::NotCompared
    );
}

/// At a limit of 1%, a quiet minute before with so many bad of 100, and then this share of a busy one.
fn after_a_quiet_minute(bad: f64, percent: f64) -> (Verdict, Reason, String) {
    let (mut tracker, m) = (Tracker::default(), soak());
    let mut past = vec![(0, 0.0, 0.0), (60, bad, 100.0), (100, bad, 100.0)];
    let mut total = 100.0;
    let mut wrong = bad;
    for at in 101..=160 {
        total += 200.0;
        wrong += 2.0 * percent;
        past.push((at, wrong, total));
    }
    let readings = absorb(&mut tracker, &m, &past);
    let (verdict, reason, message) = judged(&readings);
    (verdict, reason, message.to_owned())
}

#[test]
fn a_few_requests_before_say_little_of_what_was_before() {
    // It may have been 2% all along: two times of five no more than one of a hundred is seen.
    for bad in [0.0, 1.0] {
        let (verdict, reason, message) = after_a_quiet_minute(bad, 2.0);
        assert_eq!(
            (verdict, reason),
            (Verdict::Inconclusive, Reason::AboveLimit),
            "{message}"
        );
    }
    let (.., message) = after_a_quiet_minute(1.0, 2.0);
    assert!(
        message.ends_with(
            "above the limit, but perhaps no more than before (test 0, fails at 100); before: 1.00% \
             errors (1 of 100 requests): with so few requests, a bad share of up to 5.60% cannot \
             be ruled out"
        ),
        "{message}"
    );
    // Within the limit it need not be known.
    assert_eq!(after_a_quiet_minute(1.0, 1.0).0, Verdict::Pass);
    // What no chance explains is blamed all the same.
    for bad in [0.0, 1.0] {
        let (verdict, _, message) = after_a_quiet_minute(bad, 10.0);
        assert_eq!(verdict, Verdict::Fail, "{message}");
    }
}

#[test]
fn another_hold_is_judged_anew_and_compared_with_the_same() {
    let (mut tracker, mut m) = (Tracker::default(), soak());
    let past = [(0, 0.0, 0.0), (60, 1.0, 6_000.0), (100, 1.0, 10_000.0)];
    let r = absorb(
        &mut tracker,
        &m,
        &[past[0], past[1], past[2], (110, 301.0, 11_000.0)],
    );
    assert_eq!(judged(&r).0, Verdict::Fail);
    m.hold_since = Some(second(200));
    tracker.follow(&m);
    assert_ne!(judged(&tracker.readings(&m)).0, Verdict::Fail);
    absorb(&mut tracker, &m, &[(200, 3_000.0, 20_000.0)]);
    let r = absorb(&mut tracker, &m, &[(210, 3_001.0, 21_000.0)]);
    let (verdict, _, message) = judged(&r);
    assert_eq!(verdict, Verdict::Pass, "{message}");
    assert!(
        message.contains("before: 0.02% errors (1 of 6000 requests)"),
        "{message}"
    );
}

#[test]
fn only_the_two_times_are_asked_for() {
    let mut m = soak();
    let mut board = Board::default();
    m.hold_since = Some(second(500_000));
    let now = second(500_030);
    board.measure(m.clone(), now);
    let asks = board.due(now);
    let CheckAsk { history_since, .. } = &asks[0].checks[0];
    assert_eq!(*history_since, Some(second(0)));
    let past = m.past(second(0), now);
    assert_eq!(past, [(second(0), second(60)), (second(500_000), now)]);
    m.before = None;
    assert_eq!(m.past(second(0), now), [(second(0), now)]);
}
