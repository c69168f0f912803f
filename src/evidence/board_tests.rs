use super::*;
use crate::evidence::fixture::*;
use crate::evidence::{PodSeen, Reason, Verdict};

fn ask(board: &mut Board, at: i64) -> Ask {
    let mut asks = board.due(second(at));
    assert_eq!(asks.len(), 1, "at {at}");
    asks.remove(0)
}

fn reply(ask: &Ask, bad: f64, total: f64) -> Answer {
    let at = ask.at.duration_since(second(0)).as_secs();
    answer(&ask.measure, &snapshot(at, &[("a", bad, total)]))
}

/// A pod that is asked about once a minute, and was at second 1: 300 requests, all good.
fn polled_before_its_hold() -> (Board, Measure) {
    let mut board = Board::default();
    let m = Measure {
        interval_seconds: 60,
        ..measure(&["a"])
    };
    board.measure(m.clone(), second(1));
    let a = ask(&mut board, 1);
    board.answer(&a, reply(&a, 0.0, 300.0));
    (board, m)
}

#[test]
fn asks_on_the_beat_and_one_at_a_time() {
    let mut board = Board::default();
    let m = Measure {
        interval_seconds: 5,
        ..measure(&["a"])
    };
    board.measure(m.clone(), second(1));
    let first = ask(&mut board, 1);
    assert!(
        board.due(second(60)).is_empty(),
        "the first has not been answered"
    );
    assert_eq!(
        board.answer(&first, reply(&first, 0.0, 10.0)),
        Some(Change::Verdicts)
    );
    assert!(board.due(second(5)).is_empty());
    assert_eq!(board.next_due(second(5)), Some(second(6)));
    let second_ask = ask(&mut board, 6);
    assert_eq!(
        board.answer(&second_ask, reply(&second_ask, 0.0, 20.0)),
        Some(Change::Figures)
    );
    assert_eq!(
        board.answer(&second_ask, reply(&second_ask, 0.0, 20.0)),
        None,
        "answered before"
    );
    board.forget(&m.key());
    assert_eq!(board.next_due(second(7)), None);
    assert!(board.readings(&m.key()).is_none());
}

#[test]
fn a_new_hold_is_looked_at_at_once_and_history_is_kept() {
    let (mut board, mut m) = polled_before_its_hold();
    m.hold_since = Some(second(2));
    board.measure(m.clone(), second(2));
    let a = ask(&mut board, 2);
    board.answer(&a, reply(&a, 0.0, 350.0));
    // The same again, and other pods, ask for nothing new.
    board.measure(m.clone(), second(3));
    m.pods.push(PodSeen {
        name: "b".to_owned(),
        ready_since: None,
        created: second(3),
    });
    board.measure(m.clone(), second(3));
    assert!(board.due(second(4)).is_empty());
    let a = ask(&mut board, 62);
    assert_eq!(
        board.answer(&a, reply(&a, 0.0, 500.0)),
        Some(Change::Verdicts)
    );
    let readings = board.readings(&m.key()).unwrap();
    assert_eq!(readings.readings[0].verdict, Verdict::Pass);
    assert_eq!(
        (readings.readings[0].hold_total, readings.readings[0].total),
        (150.0, 500.0)
    );
}

#[test]
fn a_hold_that_begins_with_the_next_second_is_looked_at_then_and_not_before() {
    let (mut board, mut m) = polled_before_its_hold();
    m.hold_since = Some(second(3));
    let before = second(2) + SignedDuration::from_millis(300);
    board.measure(m.clone(), before);
    assert!(board.due(before).is_empty(), "it would count for nothing");
    assert_eq!(board.next_due(before), Some(second(3)));
    let a = ask(&mut board, 3);
    board.answer(&a, reply(&a, 0.0, 350.0));
    let a = ask(&mut board, 63);
    board.answer(&a, reply(&a, 0.0, 500.0));
    let readings = board.readings(&m.key()).unwrap();
    assert_eq!(readings.readings[0].hold_total, 150.0);
}

#[test]
fn another_attempt_begins_from_nothing() {
    let mut board = Board::default();
    let mut m = measure(&["a"]);
    board.measure(m.clone(), second(1));
    let a = ask(&mut board, 1);
    board.answer(&a, reply(&a, 90.0, 100.0));
    assert_eq!(
        board.readings(&m.key()).unwrap().readings[0].verdict,
        Verdict::Fail
    );
    m.since = second(100);
    board.measure(m.clone(), second(100));
    assert_eq!(
        board.readings(&m.key()).unwrap().readings[0].reason,
        Reason::NotYetPolled
    );
}

#[test]
fn history_is_asked_for_until_it_has_come() {
    let mut board = Board::default();
    let m = measure(&["a"]);
    board.measure(m.clone(), second(500));
    let a = ask(&mut board, 500);
    assert_eq!(a.checks[0].history_since, Some(second(0)));
    let fault = crate::evidence::Fault {
        reason: Reason::TimedOut,
        message: String::new(),
    };
    board.answer(&a, vec![(m.checks[0].clone(), Err(fault))]);
    let a = ask(&mut board, 501);
    assert_eq!(a.checks[0].history_since, Some(second(0)));
    board.answer(&a, reply(&a, 0.0, 10.0));
    assert_eq!(ask(&mut board, 502).checks[0].history_since, None);
}

#[test]
fn a_lost_ask_and_a_clock_set_back_do_not_stop_it() {
    let mut board = Board::default();
    board.measure(measure(&["a"]), second(1));
    let lost = ask(&mut board, 1);
    assert!(board.due(second(60)).is_empty());
    let again = ask(&mut board, 122);
    assert_eq!(board.answer(&lost, reply(&lost, 0.0, 1.0)), None);
    assert!(board.answer(&again, reply(&again, 0.0, 1.0)).is_some());
    // An hour back: due at 123 by the old clock.
    assert_eq!(board.due(second(-3600)).len(), 1);
    // And on the beat from there on, not again and again at the same moment.
    assert!(board.due(second(-3600)).is_empty());
    assert!(board.next_due(second(-3600)) > Some(second(-3600)));
}

#[test]
fn polls_stay_on_the_beat_and_missed_ones_are_not_made_up_for() {
    let mut board = Board::default();
    let m = Measure {
        interval_seconds: 5,
        ..measure(&["a"])
    };
    board.measure(m, second(1));
    // Asked three seconds late: the next is due when it would have been.
    let a = ask(&mut board, 4);
    board.answer(&a, reply(&a, 0.0, 10.0));
    assert_eq!(board.next_due(second(4)), Some(second(6)));
    // Late by a whole interval: that beat is lost, and not asked for at once.
    let a = ask(&mut board, 11);
    board.answer(&a, reply(&a, 0.0, 20.0));
    assert_eq!(board.next_due(second(11)), Some(second(16)));
}

#[test]
fn of_a_rollout_only_the_revision_that_is_kept_is_measured() {
    let named = |namespace: &str, rollout: &str, revision: &str| Measure {
        namespace: namespace.to_owned(),
        rollout: rollout.to_owned(),
        revision: revision.to_owned(),
        ..measure(&["a"])
    };
    let mut board = Board::default();
    for (namespace, rollout, revision) in [
        ("ns", "shop", "r1"),
        ("ns", "shop", "r2"),
        ("ns", "cart", "r1"),
        ("other", "shop", "r1"),
    ] {
        board.measure(named(namespace, rollout, revision), second(1));
    }
    let left = |board: &Board| -> Vec<String> {
        board
            .keys()
            .map(|k| format!("{}/{}/{}", k.namespace, k.rollout, k.revision))
            .collect()
    };
    board.keep_only("ns", "shop", Some("r2"));
    assert_eq!(left(&board), ["ns/cart/r1", "ns/shop/r2", "other/shop/r1"]);
    board.keep_only("ns", "shop", None);
    assert_eq!(left(&board), ["ns/cart/r1", "other/shop/r1"]);
}

#[test]
fn another_reason_is_news_though_the_verdict_is_the_same() {
    let mut board = Board::default();
    let m = Measure {
        hold_since: Some(second(1)),
        ..measure(&["a"])
    };
    board.measure(m, second(1));
    let mut changes = Vec::new();
    for (at, total) in [(1, 500.0), (2, 500.0), (3, 550.0), (4, 560.0)] {
        let a = ask(&mut board, at);
        changes.push(board.answer(&a, reply(&a, 0.0, total)).unwrap());
    }
    // Not yet polled, no request in the hold, still none, too few, still too few.
    let (news, figures) = (Change::Verdicts, Change::Figures);
    assert_eq!(changes, [news, figures, news, figures]);
}

/// A poll that was out when the source was changed says nothing of the new one.
#[test]
fn another_source_is_asked_anew() {
    let (mut board, mut m) = polled_before_its_hold();
    let out = ask(&mut board, 61);
    m.source = "another".into();
    board.measure(m.clone(), second(62));
    let change = board.answer(&out, reply(&out, 0.0, 400.0));
    assert_eq!(change, Some(Change::Verdicts), "it is looked at again");
    let readings = board.readings(&m.key()).unwrap();
    assert_eq!(readings.source, "another");
    assert_eq!(readings.readings[0].reason, Reason::NotYetPolled);

    let first = ask(&mut board, 63);
    assert_eq!(first.measure.source, "another");
    assert!(first.checks[0].history_since.is_some());
    board.answer(&first, reply(&first, 300.0, 400.0));
    let readings = board.readings(&m.key()).unwrap();
    assert_eq!(readings.readings[0].verdict, Verdict::Fail);
}
