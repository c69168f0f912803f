//! Stable compared with what it was before an expand: from the history of a real Prometheus.

use jiff::{SignedDuration, Timestamp};
use stepgate::evidence::{Measure, Verdict};

use super::world::{World, error_rate, measure, until, until_first};

/// The clock is past that second.
async fn passes(at: Timestamp) {
    let left = at.duration_since(Timestamp::now());
    tokio::time::sleep(left.try_into().unwrap_or_default()).await;
}

/// So many seconds from now, whole as the record has them.
fn whole_in(seconds: i64) -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap()
}

/// Whoever measures the soak need not have been there before the expand.
#[tokio::test]
async fn what_was_before_is_read_from_history_by_an_operator_that_starts_later() {
    let world = World::new("soak");
    let pod = "soaked-r1-a";
    world.count(pod, 0, 0);
    world.scrape("pods", "shop", &[pod]);
    // It sees when Prometheus has seen something.
    let (witness, _running) = world.sampler();
    let watched = measure("soaked", &[pod], vec![error_rate("errors")]);
    witness.measure(watched.clone());
    until(&witness, "soaked", |r| r.complete_polls > 0).await;

    let since = whole_in(1);
    passes(since).await;
    world.count(pod, 1_000, 1);
    until_first(&witness, "soaked", |r| r.total >= 1_001.0).await;
    let before = whole_in(2);
    passes(before).await;
    // While the expand runs, all goes wrong: that is not what is asked for.
    world.count(pod, 1_000, 501);
    until_first(&witness, "soaked", |r| r.total >= 1_501.0).await;
    let hold = whole_in(1);
    passes(hold + SignedDuration::from_secs(1)).await;
    world.count(pod, 2_000, 601);
    until_first(&witness, "soaked", |r| r.total >= 2_601.0).await;

    let (sampler, _running) = world.sampler();
    sampler.measure(Measure {
        since,
        before: Some(before),
        hold_since: Some(hold),
        ..watched
    });
    let r = until_first(&sampler, "soaked", |r| r.verdict == Verdict::Fail).await;
    assert_eq!(
        (r.hold_bad, r.hold_total),
        (100.0, 1_100.0),
        "{}",
        r.message
    );
    assert!(
        r.message
            .contains("before: 0.10% errors (1 of 1001 requests)"),
        "{}",
        r.message
    );
}
