use super::*;
use crate::evidence::{Scraped, fixture::*};

fn requests(snapshot: Snapshot, ledger: &mut Ledger, measure: &Measure, at: i64) -> (f64, f64) {
    let step = look(ledger, measure, &snapshot, at, 0.0);
    (step.tally.bad, step.tally.total)
}

/// Takes in a moment that was scraped when it is looked at.
fn look(ledger: &mut Ledger, m: &Measure, snapshot: &Snapshot, at: i64, limit: f64) -> Added {
    let snapshot = Snapshot {
        clock: clock(at),
        ..snapshot.clone()
    };
    let terms = Terms {
        limit,
        warm_up_seconds: 0,
    };
    ledger.absorb(m, &snapshot, second(at), terms)
}

fn one(pod: &str, bad: f64, total: f64) -> Snapshot {
    let counted = Counted {
        target: target(pod),
        counters: Counters::Requests { bad, total },
    };
    Snapshot {
        counted: vec![counted],
        ..Snapshot::default()
    }
}

#[test]
fn a_pod_born_in_the_window_counts_from_zero() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    assert_eq!(
        requests(one("a", 3.0, 40.0), &mut ledger, &m, 5),
        (3.0, 40.0)
    );
    assert_eq!(
        requests(one("a", 4.0, 50.0), &mut ledger, &m, 6),
        (1.0, 10.0)
    );
    // Unknown to the planner, but it was not there a moment ago.
    assert_eq!(requests(one("b", 1.0, 7.0), &mut ledger, &m, 7), (1.0, 7.0));
}

#[test]
fn what_served_before_the_window_counts_from_where_it_was() {
    let mut m = measure(&["a"]);
    m.pods[0].ready_since = Some(second(-600));
    m.pods[0].created = second(-700);
    let mut ledger = Ledger::default();
    assert_eq!(
        requests(one("a", 300.0, 400.0), &mut ledger, &m, 5),
        (0.0, 0.0)
    );
    assert_eq!(
        requests(one("a", 301.0, 410.0), &mut ledger, &m, 6),
        (1.0, 10.0)
    );
    // A series left over from a pod nobody knows.
    let mut ledger = Ledger::default();
    assert_eq!(
        requests(one("old", 300.0, 400.0), &mut ledger, &m, 5),
        (0.0, 0.0)
    );
}

#[test]
fn a_decrease_is_a_reset() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    requests(one("a", 3.0, 40.0), &mut ledger, &m, 5);
    assert_eq!(
        requests(one("a", 2.0, 30.0), &mut ledger, &m, 6),
        (2.0, 30.0)
    );
    // Restarted and already past the old total: the good ones have fallen.
    assert_eq!(
        requests(one("a", 25.0, 45.0), &mut ledger, &m, 7),
        (25.0, 45.0)
    );
}

#[test]
fn a_restart_seen_without_series_counts_from_zero() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    requests(one("a", 3.0, 40.0), &mut ledger, &m, 5);
    let scraped = vec![Scraped {
        target: target("a"),
        last: 6.0,
    }];
    let up_only = Snapshot {
        scraped,
        ..Snapshot::default()
    };
    assert_eq!(requests(up_only, &mut ledger, &m, 6), (0.0, 0.0));
    assert_eq!(
        requests(one("a", 30.0, 90.0), &mut ledger, &m, 7),
        (30.0, 90.0)
    );
}

#[test]
fn a_pod_that_vanishes_and_comes_back_is_not_counted_twice() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    requests(one("a", 3.0, 40.0), &mut ledger, &m, 5);
    assert_eq!(
        requests(Snapshot::default(), &mut ledger, &m, 6),
        (0.0, 0.0)
    );
    assert_eq!(
        requests(one("a", 4.0, 60.0), &mut ledger, &m, 7),
        (1.0, 20.0)
    );
}

#[test]
fn a_renamed_instance_is_not_counted_twice() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    requests(one("a", 3.0, 40.0), &mut ledger, &m, 5);
    let mut renamed = one("a", 3.0, 41.0);
    renamed.counted[0].target.instance = "elsewhere".into();
    assert_eq!(requests(renamed.clone(), &mut ledger, &m, 6), (0.0, 0.0));
    renamed.counted[0].counters = Counters::Requests {
        bad: 4.0,
        total: 51.0,
    };
    assert_eq!(requests(renamed, &mut ledger, &m, 7), (1.0, 10.0));
}

fn latency(pod: &str, buckets: &[(f64, f64)]) -> Snapshot {
    let buckets = buckets
        .iter()
        .map(|&(le, count)| Bucket { le, count })
        .collect();
    let counted = Counted {
        target: target(pod),
        counters: Counters::Histogram(buckets),
    };
    Snapshot {
        counted: vec![counted],
        ..Snapshot::default()
    }
}

const INF: f64 = f64::INFINITY;

#[test]
fn slow_is_what_is_above_the_limits_bucket() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    let h = latency(
        "a",
        &[(INF, 100.0), (100.0, 50.0), (200.0, 90.0), (250.0, 97.0)],
    );
    let step = look(&mut ledger, &m, &h, 5, 200.0 + 1e-12);
    assert_eq!(
        (step.tally.bad, step.tally.total, step.bound),
        (10.0, 100.0, Some(200.0))
    );
    let step = look(&mut Ledger::default(), &m, &h, 5, 201.0);
    assert_eq!((step.tally.bad, step.bound), (3.0, Some(250.0)));
    let step = look(&mut Ledger::default(), &m, &h, 5, 300.0);
    assert!(step.limit_above && step.tally.total == 0.0);
}

#[test]
fn a_histogram_scraped_half_written_is_set_right_by_the_next() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    look(
        &mut ledger,
        &m,
        &latency("a", &[(200.0, 10.0), (INF, 10.0)]),
        5,
        200.0,
    );
    // The lower bucket of a fast request is there, the one at infinity not yet.
    let half = look(
        &mut ledger,
        &m,
        &latency("a", &[(200.0, 11.0), (INF, 10.0)]),
        6,
        200.0,
    );
    let rest = look(
        &mut ledger,
        &m,
        &latency("a", &[(200.0, 11.0), (INF, 11.0)]),
        7,
        200.0,
    );
    assert_eq!((half.tally.bad, half.tally.total), (0.0, 0.0));
    assert_eq!((rest.tally.bad, rest.tally.total), (0.0, 1.0));
}

#[test]
fn other_buckets_without_a_restart_are_not_compared() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    look(
        &mut ledger,
        &m,
        &latency("a", &[(200.0, 10.0), (INF, 10.0)]),
        5,
        200.0,
    );
    let other = latency("a", &[(300.0, 11.0), (INF, 12.0)]);
    assert_eq!(look(&mut ledger, &m, &other, 6, 200.0).tally.total, 0.0);
    let other = latency("a", &[(300.0, 12.0), (INF, 14.0)]);
    let step = look(&mut ledger, &m, &other, 7, 200.0);
    assert_eq!((step.tally.bad, step.tally.total), (1.0, 2.0));
}

#[test]
fn the_hold_counts_only_what_certainly_came_after_it_began() {
    let mut ledger = Ledger::default();
    let mut m = measure(&["a"]);
    let hold = |ledger: &mut Ledger, m: &Measure, total: f64, at: i64| {
        look(ledger, m, &one("a", 0.0, total), at, 0.0).hold.total
    };
    assert_eq!(hold(&mut ledger, &m, 10.0, 5), 0.0);
    m.hold_since = Some(second(7));
    assert_eq!(hold(&mut ledger, &m, 20.0, 8), 0.0, "partly before");
    assert_eq!(hold(&mut ledger, &m, 35.0, 9), 15.0);
}

#[test]
fn memory_is_bounded_and_the_dead_go_first() {
    let mut ledger = Ledger::default();
    let m = measure(&["alive"]);
    look(&mut ledger, &m, &one("alive", 0.0, 1.0), 1, 0.0);
    for i in 0..3_000 {
        let step = look(
            &mut ledger,
            &m,
            &one(&format!("p{i}"), 0.0, 1.0),
            2 + i,
            0.0,
        );
        assert!(!step.dropped);
    }
    assert!(ledger.targets.len() <= MAX_TARGETS);
    assert!(
        ledger.targets.len() >= MAX_TARGETS / 4 * 3,
        "no more are forgotten than must be"
    );
    assert!(ledger.targets.contains_key(&target("alive")));
}

#[test]
fn a_pod_seen_silent_after_the_hold_began_counts_for_the_hold() {
    let mut ledger = Ledger::default();
    let mut m = measure(&["a"]);
    m.hold_since = Some(second(3));
    let scraped = vec![Scraped {
        target: target("a"),
        last: 4.0,
    }];
    let silent = Snapshot {
        scraped,
        ..Snapshot::default()
    };
    look(&mut ledger, &m, &silent, 4, 0.0);
    let step = look(&mut ledger, &m, &one("a", 1.0, 9.0), 5, 0.0);
    assert_eq!((step.hold.bad, step.hold.total), (1.0, 9.0));
    // Without having been seen it could have served before.
    let step = look(&mut Ledger::default(), &m, &one("a", 1.0, 9.0), 5, 0.0);
    assert_eq!((step.tally.total, step.hold.total), (9.0, 0.0));
}

#[test]
fn fewer_bad_ones_are_a_restart_though_all_else_has_grown() {
    let mut ledger = Ledger::default();
    let m = measure(&["a"]);
    requests(one("a", 30.0, 40.0), &mut ledger, &m, 5);
    assert_eq!(
        requests(one("a", 2.0, 50.0), &mut ledger, &m, 6),
        (2.0, 50.0)
    );
}

#[test]
fn other_buckets_after_a_restart_count_from_zero() {
    let m = measure(&["a"]);
    let counted = |before: f64| {
        let mut ledger = Ledger::default();
        let old = latency("a", &[(200.0, before), (INF, before)]);
        look(&mut ledger, &m, &old, 5, 200.0);
        let new = latency("a", &[(300.0, 11.0), (INF, 12.0)]);
        look(&mut ledger, &m, &new, 6, 200.0).tally.total
    };
    assert_eq!(counted(40.0), 12.0);
    assert_eq!(counted(12.0), 0.0, "as many as before are no fewer");
}

fn created(m: &mut Measure, created: i64, ready: Option<i64>) {
    m.pods[0].created = second(created);
    m.pods[0].ready_since = ready.map(second);
}

#[test]
fn nothing_counts_before_the_pod_is_ready() {
    let mut m = measure(&["a"]);
    m.probe_seconds = vec![1];
    created(&mut m, -60, None);
    let mut ledger = Ledger::default();
    let probes = one("a", 50.0, 50.0);
    assert_eq!(requests(probes.clone(), &mut ledger, &m, -10), (0.0, 0.0));
    // Ready since, and not scraped since: nothing is known of its users.
    created(&mut m, -60, Some(5));
    assert_eq!(requests(probes, &mut ledger, &m, 4), (0.0, 0.0));
    // The probes up to then are taken off, at the most; users' errors stay.
    let (bad, total) = requests(one("a", 100.0, 1050.0), &mut ledger, &m, 8);
    assert_eq!((bad, total), (50.0 - 2.0, 1000.0 - 2.0));
    let more = requests(one("a", 101.0, 1060.0), &mut ledger, &m, 9);
    assert_eq!(more, (1.0, 10.0), "from then on everything counts");
}

#[test]
fn a_pod_seen_first_when_it_is_ready_counts_from_zero_less_its_probes() {
    let mut m = measure(&["a"]);
    m.probe_seconds = vec![10];
    created(&mut m, -30, Some(0));
    let mut ledger = Ledger::default();
    // Three may have failed in half a minute.
    let counted = requests(one("a", 5.0, 105.0), &mut ledger, &m, 5);
    assert_eq!(counted, (2.0, 102.0));
}

#[test]
fn a_container_that_comes_back_is_not_counted_before_it_is_ready_again() {
    let mut m = measure(&["a"]);
    m.probe_seconds = vec![1];
    let mut ledger = Ledger::default();
    requests(one("a", 0.0, 40.0), &mut ledger, &m, 5);
    m.pods[0].ready_since = None;
    let starting = requests(one("a", 9.0, 9.0), &mut ledger, &m, 20);
    assert_eq!(starting, (0.0, 0.0));
    m.pods[0].ready_since = Some(second(25));
    let served = requests(one("a", 17.0, 117.0), &mut ledger, &m, 30);
    assert_eq!(served, (8.0 - 6.0, 108.0 - 6.0));
    // Readiness that is lost by a process that serves takes nothing back.
    m.pods[0].ready_since = None;
    let failing = requests(one("a", 57.0, 157.0), &mut ledger, &m, 31);
    assert_eq!(failing, (40.0, 40.0));
}

#[test]
fn nothing_counts_while_a_pod_warms_up() {
    let m = Measure {
        hold_since: Some(second(0)),
        ..measure(&["a"])
    };
    let mut ledger = Ledger::default();
    let mut look = |total: f64, at: i64| {
        let terms = Terms {
            limit: 200.0,
            warm_up_seconds: 60,
        };
        let snapshot = Snapshot {
            clock: clock(at),
            ..latency("a", &[(200.0, 0.0), (INF, total)])
        };
        ledger.absorb(&m, &snapshot, second(at), terms)
    };
    let step = look(40.0, 30);
    let warms = Uncounted {
        pod: "a".into(),
        warms_up_until: Some(second(60)),
    };
    assert_eq!((step.tally.total, step.uncounted), (0.0, Some(warms)));
    let step = look(90.0, 61);
    assert_eq!(step.tally.total, 0.0, "some of them came before");
    assert!(step.uncounted.is_some_and(|u| u.warms_up_until.is_none()));
    let step = look(100.0, 62);
    assert_eq!((step.tally.bad, step.hold.total), (10.0, 10.0));
}

#[test]
fn of_a_pod_that_is_gone_what_may_have_been_probes_is_left_out() {
    let mut m = measure(&["a"]);
    m.probe_seconds = vec![1];
    let mut ledger = Ledger::default();
    requests(one("a", 0.0, 1.0), &mut ledger, &m, 1);
    // Never ready: a probe each second, and each of them failed.
    let mut failed = 0.0;
    for at in 2..60_i32 {
        let asked = f64::from(at);
        failed += requests(one("b", asked, asked), &mut ledger, &m, at.into()).0;
    }
    assert_eq!(failed, 0.0);
    // What users were answered is more than that.
    let (bad, total) = requests(one("c", 50.0, 400.0), &mut ledger, &m, 60);
    assert!(bad == 0.0 && total > 300.0, "{bad} of {total}");
    let (bad, _) = requests(one("c", 100.0, 500.0), &mut ledger, &m, 61);
    assert_eq!(bad, 50.0 - 3.0);
}
