use proptest::prelude::*;

use super::*;
use crate::evidence::fixture::*;
use crate::evidence::{Bucket, Counted, Counters, Missing, Verdict};

fn holding(pods: &[&str]) -> Measure {
    Measure {
        hold_since: Some(second(0)),
        ..measure(pods)
    }
}

fn poll(tracker: &mut Tracker, m: &Measure, at: i64, pods: &[(&str, f64, f64)]) -> Readings {
    let now = snapshot(at, pods);
    tracker.absorb(m, answer(m, &now), second(at))
}

fn judged(readings: &Readings) -> (Verdict, Reason) {
    (readings.readings[0].verdict, readings.readings[0].reason)
}

const OPEN: Verdict = Verdict::Inconclusive;

#[test]
fn nothing_is_said_before_the_first_poll() {
    let (mut tracker, m) = (Tracker::default(), holding(&["a"]));
    tracker.follow(&m);
    let readings = tracker.readings(&m);
    assert_eq!(judged(&readings), (OPEN, Reason::NotYetPolled));
    assert_eq!((readings.complete_polls, readings.polled_at), (0, None));
}

#[test]
fn passes_with_enough_requests_since_the_hold_began() {
    let (mut tracker, mut m) = (Tracker::default(), measure(&["a"]));
    let r = poll(&mut tracker, &m, 1, &[("a", 0.0, 500.0)]);
    assert_eq!(judged(&r), (OPEN, Reason::NotHolding));
    m.hold_since = Some(second(2));
    let r = poll(&mut tracker, &m, 2, &[("a", 0.0, 600.0)]);
    assert_eq!(judged(&r), (OPEN, Reason::NoData));
    let r = poll(&mut tracker, &m, 3, &[("a", 0.0, 650.0)]);
    assert_eq!(judged(&r), (OPEN, Reason::TooFewRequests));
    let r = poll(&mut tracker, &m, 4, &[("a", 1.0, 700.0)]);
    assert_eq!(judged(&r), (Verdict::Pass, Reason::Passed));
    let reading = &r.readings[0];
    assert_eq!((reading.hold_bad, reading.hold_total), (1.0, 100.0));
    assert_eq!(
        (reading.bad, reading.total, reading.value),
        (1.0, 700.0, Some(1.0))
    );
    assert_eq!((r.complete_polls, r.hold_since), (4, Some(second(2))));
    // The next step's hold begins from nothing.
    m.hold_since = Some(second(4));
    tracker.follow(&m);
    assert_eq!(judged(&tracker.readings(&m)), (OPEN, Reason::NoData));
}

#[test]
fn above_the_limit_by_chance_is_open_and_beyond_doubt_fails() {
    let (mut tracker, m) = (Tracker::default(), holding(&["a"]));
    let r = poll(&mut tracker, &m, 1, &[("a", 2.0, 150.0)]);
    assert_eq!(
        judged(&r),
        (OPEN, Reason::NoData),
        "the pod is older than the hold"
    );
    let r = poll(&mut tracker, &m, 2, &[("a", 4.0, 300.0)]);
    assert_eq!(judged(&r), (OPEN, Reason::AboveLimit));
    let r = poll(&mut tracker, &m, 3, &[("a", 40.0, 400.0)]);
    assert_eq!(judged(&r), (Verdict::Fail, Reason::Failing));
    let message = &r.readings[0].message;
    assert!(
        message.contains("10.00% errors (40 of 400 requests), limit 1%"),
        "{message}"
    );
    // It stays failed: neither better days nor an outage undo it.
    let r = poll(&mut tracker, &m, 4, &[("a", 40.0, 1e6)]);
    assert_eq!(judged(&r), (Verdict::Fail, Reason::Failing));
    assert!(r.readings[0].test >= r.readings[0].threshold);
}

#[test]
fn a_dead_pods_requests_stay_counted() {
    let (mut tracker, mut m) = (Tracker::default(), holding(&["a", "b"]));
    poll(&mut tracker, &m, 1, &[("a", 0.0, 10.0), ("b", 1.0, 10.0)]);
    m.pods.truncate(1);
    let r = poll(&mut tracker, &m, 2, &[("a", 0.0, 20.0)]);
    assert_eq!((r.readings[0].bad, r.readings[0].total), (1.0, 30.0));
}

#[test]
fn a_ready_pod_that_is_not_scraped_makes_it_partial() {
    let (mut tracker, mut m) = (Tracker::default(), holding(&["a", "b"]));
    let r = poll(&mut tracker, &m, 2, &[("a", 0.0, 500.0)]);
    assert_ne!(judged(&r).1, Reason::PartialData, "two scrapes' patience");
    let r = poll(&mut tracker, &m, 3, &[("a", 0.0, 900.0)]);
    assert_eq!(judged(&r), (OPEN, Reason::PartialData));
    assert!(
        r.readings[0].message.contains("pod b is ready"),
        "{}",
        r.readings[0].message
    );
    assert_eq!(
        (r.complete_polls, r.readings[0].total),
        (1, 900.0),
        "what is seen is counted"
    );
    // Scraped, but without a request series: that counts as zero.
    let mut now = snapshot(4, &[("a", 0.0, 1000.0), ("b", 0.0, 0.0)]);
    now.counted.truncate(1);
    let r = tracker.absorb(&m, answer(&m, &now), second(4));
    assert_eq!(judged(&r), (Verdict::Pass, Reason::Passed));
    // An old scrape is none.
    now.scraped[1].last = clock(2);
    now.clock = clock(5);
    let r = tracker.absorb(&m, answer(&m, &now), second(5));
    assert_eq!(judged(&r), (OPEN, Reason::PartialData));
    // A pod that is not ready need not be scraped.
    m.pods[1].ready_since = None;
    let r = tracker.absorb(&m, answer(&m, &now), second(5));
    assert_eq!(judged(&r), (Verdict::Pass, Reason::Passed));
}

#[test]
fn pods_that_came_with_the_hold_do_not_pass_it_for_those_that_were_there() {
    let (mut tracker, mut m) = (Tracker::default(), holding(&["a", "b"]));
    m.pods[1].created = second(1);
    // `a` was not scraped before, so what it has answered since the hold began is not known.
    let r = poll(&mut tracker, &m, 5, &[("a", 5.0, 300.0), ("b", 0.0, 200.0)]);
    assert_eq!(judged(&r), (OPEN, Reason::PartialData));
    assert_eq!(r.readings[0].hold_total, 200.0);
    let message = &r.readings[0].message;
    assert!(
        message.ends_with("requests of pod a since the hold began count from the next poll on"),
        "{message}"
    );
    let r = poll(
        &mut tracker,
        &m,
        6,
        &[("a", 12.0, 400.0), ("b", 0.0, 300.0)],
    );
    assert_eq!(judged(&r), (OPEN, Reason::AboveLimit));
    let r = poll(
        &mut tracker,
        &m,
        7,
        &[("a", 12.0, 900.0), ("b", 0.0, 900.0)],
    );
    assert_eq!(judged(&r), (Verdict::Pass, Reason::Passed));
}

#[test]
fn a_sidecar_does_not_stand_in_for_the_application() {
    let (mut tracker, m) = (Tracker::default(), holding(&["a"]));
    poll(&mut tracker, &m, 1, &[("a", 0.0, 500.0)]);
    let mut now = snapshot(9, &[("a", 0.0, 500.0)]);
    now.counted.clear();
    now.scraped[0].target.instance = "a:15090".into();
    let r = tracker.absorb(&m, answer(&m, &now), second(9));
    assert_eq!(judged(&r), (OPEN, Reason::PartialData));
}

#[test]
fn a_failing_canary_fails_on_a_partial_answer_too() {
    let (mut tracker, m) = (Tracker::default(), holding(&["a", "b"]));
    let r = poll(&mut tracker, &m, 9, &[("a", 50.0, 100.0)]);
    assert_eq!(judged(&r), (Verdict::Fail, Reason::Failing));
    assert_eq!(r.complete_polls, 0);
}

#[test]
fn faults_are_open_with_their_reason_and_count_nothing() {
    let (mut tracker, m) = (Tracker::default(), holding(&["a"]));
    poll(&mut tracker, &m, 1, &[("a", 0.0, 500.0)]);
    let good = poll(&mut tracker, &m, 2, &[("a", 0.0, 900.0)]);
    assert_eq!(judged(&good).0, Verdict::Pass);
    let gone = Fault {
        reason: Reason::TimedOut,
        message: "no answer within 10 s".to_owned(),
    };
    let r = tracker.absorb(&m, vec![(m.checks[0].clone(), Err(gone))], second(3));
    assert_eq!(judged(&r), (OPEN, Reason::TimedOut));
    assert_eq!((r.complete_polls, r.polled_at), (2, Some(second(3))));
    assert_eq!(r.readings[0].total, 900.0);
    let warned = Snapshot {
        warned: true,
        ..snapshot(4, &[("a", 900.0, 9000.0)])
    };
    let r = tracker.absorb(&m, answer(&m, &warned), second(4));
    assert_eq!(
        (judged(&r), r.readings[0].total),
        ((OPEN, Reason::PartialData), 900.0)
    );
    let unlabelled = Snapshot {
        missing: Some(Missing::StatusLabel),
        ..snapshot(4, &[])
    };
    let r = tracker.absorb(&m, answer(&m, &unlabelled), second(4));
    assert_eq!(judged(&r), (OPEN, Reason::NoStatusLabel));
    let r = poll(&mut tracker, &m, 5, &[("a", 0.0, 901.0)]);
    assert_eq!(
        judged(&r),
        (Verdict::Pass, Reason::Passed),
        "and then it goes on"
    );
}

fn histogram(at: i64, buckets: &[(f64, f64)]) -> Snapshot {
    let buckets = buckets
        .iter()
        .map(|&(le, count)| Bucket { le, count })
        .collect();
    let mut now = snapshot(at, &[("a", 0.0, 0.0)]);
    now.counted = vec![Counted {
        target: target("a"),
        counters: Counters::Histogram(buckets),
    }];
    now
}

#[test]
fn latency_says_the_percentile_and_which_bucket_stood_for_the_limit() {
    let mut m = holding(&["a"]);
    m.checks = vec![p95("p95", 180.0, 100)];
    let mut tracker = Tracker::default();
    let inf = f64::INFINITY;
    tracker.absorb(
        &m,
        answer(&m, &histogram(1, &[(100.0, 0.0), (200.0, 0.0), (inf, 0.0)])),
        second(1),
    );
    let now = histogram(2, &[(100.0, 500.0), (200.0, 980.0), (inf, 1000.0)]);
    let r = tracker.absorb(&m, answer(&m, &now), second(2));
    assert_eq!(judged(&r), (Verdict::Pass, Reason::Passed));
    let reading = &r.readings[0];
    assert_eq!((reading.bad, reading.total), (20.0, 1000.0));
    assert!(
        (reading.value.unwrap() - 193.75).abs() < 1e-9,
        "{:?}",
        reading.value
    );
    assert!(
        reading
            .message
            .contains("slower than 200 ms, the next higher bucket"),
        "{}",
        reading.message
    );
    let now = histogram(3, &[(100.0, 500.0), (inf, 1000.0)]);
    let r = tracker.absorb(&m, answer(&m, &now), second(3));
    assert_eq!(judged(&r), (OPEN, Reason::LimitAboveBuckets));
    assert!(r.readings[0].message.contains("maxMilliseconds"));
    let native = Snapshot {
        native: true,
        counted: Vec::new(),
        ..now
    };
    let r = tracker.absorb(&m, answer(&m, &native), second(4));
    assert_eq!(judged(&r), (OPEN, Reason::NativeHistogram));
}

#[test]
fn a_histogram_without_its_last_bucket_is_not_believed() {
    let mut m = holding(&["a"]);
    m.checks = vec![p95("p95", 100.0, 1)];
    let now = histogram(2, &[(100.0, 500.0), (200.0, 500.0)]);
    let r = Tracker::default().absorb(&m, answer(&m, &now), second(2));
    assert_eq!(judged(&r), (OPEN, Reason::NotANumber));
}

#[test]
fn a_restart_recomputes_from_history() {
    let m = Measure {
        hold_since: Some(second(10)),
        ..measure(&["a"])
    };
    let moments: Vec<(i64, f64, f64)> = (1..=60)
        .map(|i| (i, (i / 20) as f64, i as f64 * 20.0))
        .collect();
    let mut lived = Tracker::default();
    for &(at, bad, total) in &moments {
        poll(&mut lived, &m, at, &[("a", bad, total)]);
    }
    let mut anew = Tracker::default();
    anew.follow(&m);
    assert!(anew.wants_history(&m, &m.checks[0], second(60)));
    let history = moments[..59]
        .iter()
        .map(|&(at, bad, total)| (second(at), snapshot(at, &[("a", bad, total)])))
        .collect();
    let now = snapshot(60, &[("a", 3.0, 1200.0)]);
    let answered = Answered { history, now };
    let r = anew.absorb(&m, vec![(m.checks[0].clone(), Ok(answered))], second(60));
    assert_eq!(r.readings, lived.readings(&m).readings);
    assert_eq!(r.complete_polls, 1, "the past is no poll of this process");
    assert!(!anew.wants_history(&m, &m.checks[0], second(61)));
}

#[test]
fn a_changed_limit_is_a_new_check_with_its_history() {
    let (mut tracker, mut m) = (Tracker::default(), holding(&["a"]));
    poll(&mut tracker, &m, 1, &[("a", 40.0, 100.0)]);
    m.checks[0].min_requests = 5;
    tracker.follow(&m);
    assert_eq!(
        judged(&tracker.readings(&m)).0,
        Verdict::Fail,
        "not a new check"
    );
    m.checks[0].kind = CheckKind::ErrorRate { max_percent: 50.0 };
    tracker.follow(&m);
    assert_eq!(judged(&tracker.readings(&m)), (OPEN, Reason::NotYetPolled));
    assert!(tracker.wants_history(&m, &m.checks[0], second(30)));
    // An answer to the old question is no answer to the new one.
    let old = vec![(
        error_rate("errors", 1.0, 5),
        Ok(Answered {
            history: Vec::new(),
            now: snapshot(2, &[("a", 40.0, 100.0)]),
        }),
    )];
    let r = tracker.absorb(&m, old, second(2));
    assert_eq!(judged(&r), (OPEN, Reason::NotYetPolled));
}

/// A way the source can be silent or talk nonsense.
fn nonsense() -> impl Strategy<Value = Snapshot> {
    let bad_number = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0)];
    prop_oneof![
        Just(snapshot(0, &[])),
        bad_number
            .clone()
            .prop_map(|v| snapshot(0, &[("a", 0.0, v)])),
        bad_number.prop_map(|v| snapshot(0, &[("a", v, 1e6)])),
        Just(Snapshot {
            warned: true,
            ..snapshot(0, &[("a", 0.0, 1e6)])
        }),
        Just(Snapshot {
            missing: Some(Missing::StatusLabel),
            ..snapshot(0, &[])
        }),
        Just(Snapshot::default()),
    ]
}

proptest! {
    #[test]
    fn silence_and_nonsense_never_pass_and_never_fail(
        polls in prop::collection::vec(nonsense(), 1..30),
        min_requests in -5i64..5,
    ) {
        let mut m = holding(&["a"]);
        m.checks[0].min_requests = min_requests;
        let mut tracker = Tracker::default();
        for (i, mut now) in polls.into_iter().enumerate() {
            let at = i as i64 + 1;
            now.clock = clock(at);
            let r = tracker.absorb(&m, answer(&m, &now), second(at));
            prop_assert_eq!(judged(&r).0, Verdict::Inconclusive);
            let figures = &r.readings[0];
            prop_assert!(figures.value.is_none_or(f64::is_finite) && figures.test.is_finite());
        }
    }

    #[test]
    fn counts_do_not_depend_on_how_often_one_looks(
        steps in prop::collection::vec((0u32..5, 0u32..50, any::<bool>()), 1..40),
    ) {
        let m = holding(&["a"]);
        let (mut often, mut seldom) = (Tracker::default(), Tracker::default());
        let (mut bad, mut total) = (0.0, 0.0);
        let last = steps.len() as i64;
        for (i, (b, good, look)) in steps.into_iter().enumerate() {
            let at = i as i64 + 1;
            bad += f64::from(b);
            total += f64::from(b + good);
            poll(&mut often, &m, at, &[("a", bad, total)]);
            if look || at == last {
                poll(&mut seldom, &m, at, &[("a", bad, total)]);
            }
        }
        let (often, seldom) = (often.readings(&m), seldom.readings(&m));
        prop_assert_eq!(often.readings[0].bad, bad);
        prop_assert_eq!(often.readings[0].total, total);
        prop_assert_eq!(seldom.readings[0].bad, bad);
        prop_assert_eq!(seldom.readings[0].total, total);
    }

    #[test]
    fn looking_more_often_lets_nothing_pass_that_had_not_the_requests(
        looks in 1usize..50, total in 0u32..100,
    ) {
        // 100 requests are asked for; looking at fewer ones again and again adds none.
        let m = holding(&["a"]);
        let mut tracker = Tracker::default();
        for i in 0..looks {
            let r = poll(&mut tracker, &m, i as i64 + 1, &[("a", 0.0, f64::from(total))]);
            prop_assert_ne!(judged(&r).0, Verdict::Pass);
        }
    }

    #[test]
    fn pods_in_any_order_give_the_same(
        counts in prop::collection::vec((0u32..5, 5u32..100), 2..6), seed in any::<u64>(),
    ) {
        let names: Vec<String> = (0..counts.len()).map(|i| format!("p{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let m = holding(&names);
        let pods: Vec<(&str, f64, f64)> = names
            .iter()
            .zip(&counts)
            .map(|(name, (bad, total))| (*name, f64::from(*bad), f64::from(*total)))
            .collect();
        let mut turned = pods.clone();
        turned.rotate_left((seed % counts.len() as u64) as usize);
        let a = poll(&mut Tracker::default(), &m, 1, &pods);
        let b = poll(&mut Tracker::default(), &m, 1, &turned);
        prop_assert_eq!(a, b);
    }
}

/// A second in which pods start is slow for all requests in it, and proves nothing.
#[test]
fn a_burst_of_slow_requests_does_not_fail_and_a_slow_release_does() {
    let mut m = holding(&["a"]);
    m.checks = vec![p95("p95", 200.0, 100)];
    let after = |slow_seconds: i64| {
        let mut tracker = Tracker::default();
        let (mut fast, mut all) = (0.0, 0.0);
        let mut last = None;
        for at in 1..=8 {
            all += 300.0;
            fast += if at <= slow_seconds { 100.0 } else { 300.0 };
            let now = histogram(at, &[(200.0, fast), (f64::INFINITY, all)]);
            last = Some(tracker.absorb(&m, answer(&m, &now), second(at)));
        }
        judged(&last.unwrap())
    };
    assert_eq!(after(2).0, OPEN, "{:?}", after(2));
    assert_eq!(after(4), (Verdict::Fail, Reason::Failing));
}

#[test]
fn before_the_hold_people_read_what_was_counted_since_the_test_began() {
    let (mut tracker, m) = (Tracker::default(), measure(&["a"]));
    let r = poll(&mut tracker, &m, 1, &[("a", 1.0, 500.0)]);
    assert_eq!(r.readings[0].value, Some(0.2));
    let message = &r.readings[0].message;
    assert!(message.contains("1 of 500 requests"), "{message}");
}

#[test]
fn a_bucket_just_above_the_limit_is_named() {
    let mut m = holding(&["a"]);
    m.checks = vec![p95("p95", 200.0, 100)];
    let mut tracker = Tracker::default();
    let mut poll = |at: i64, all: f64| {
        let now = histogram(at, &[(200.5, all), (f64::INFINITY, all)]);
        tracker.absorb(&m, answer(&m, &now), second(at))
    };
    poll(1, 10.0);
    let message = &poll(2, 200.0).readings[0].message;
    assert!(
        message.contains("slower than 200.5 ms, the next higher bucket"),
        "{message}"
    );
}

#[test]
fn what_may_all_be_probes_does_not_pass() {
    let mut m = holding(&["a"]);
    m.probe_seconds = vec![10, 10];
    m.checks[0].min_requests = 1;
    let judge = |total: f64, filtered: bool| {
        let mut tracker = Tracker::default();
        poll(&mut tracker, &m, 1, &[("a", 0.0, 0.0)]);
        let now = Snapshot {
            filtered,
            scrape_interval: 15.0,
            ..snapshot(120, &[("a", 0.0, total)])
        };
        let r = tracker.absorb(&m, answer(&m, &now), second(120));
        (judged(&r), r.readings[0].message.clone())
    };
    // 12 of each probe and 8 scrapes, and two more of each.
    let (verdict, message) = judge(38.0, false);
    assert_eq!(verdict, (OPEN, Reason::OnlyProbes));
    assert!(
        message.contains("(up to 38): set metric.matchers"),
        "{message}"
    );
    assert_eq!(judge(39.0, false).0, (Verdict::Pass, Reason::Passed));
    assert_eq!(judge(38.0, true).0, (Verdict::Pass, Reason::Passed));
}

#[test]
fn matchers_that_let_nothing_through_are_named() {
    let (mut tracker, m) = (Tracker::default(), holding(&["a"]));
    let mut now = snapshot(2, &[("a", 0.0, 0.0)]);
    now.counted.clear();
    now.unmatched = true;
    let r = tracker.absorb(&m, answer(&m, &now), second(2));
    assert_eq!(judged(&r), (OPEN, Reason::NoData));
    let message = &r.readings[0].message;
    assert!(message.contains("metric.matchers lets none"), "{message}");
}

#[test]
fn what_is_missing_beside_the_requests_is_named_by_its_field() {
    let (mut tracker, m) = (Tracker::default(), holding(&["a"]));
    for (missing, reason, field) in [
        (
            Missing::StatusLabel,
            Reason::NoStatusLabel,
            "metric.statusLabel",
        ),
        (Missing::Buckets, Reason::NoBuckets, "metric.histogram"),
        (
            Missing::Failures,
            Reason::NoFailedCounter,
            "metric.failedCounter",
        ),
    ] {
        let now = Snapshot {
            missing: Some(missing),
            ..snapshot(4, &[])
        };
        let r = tracker.absorb(&m, answer(&m, &now), second(4));
        assert_eq!(judged(&r), (OPEN, reason));
        assert!(reason.needs_a_person());
        assert!(r.readings[0].message.contains(field));
    }
}
