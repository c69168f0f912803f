//! What a canary's counts come to, through a real Prometheus.

use jiff::Timestamp;
use stepgate::api::{BuiltIn, Convention};
use stepgate::evidence::{Reason, Verdict};

use super::world::{World, error_rate, measure, more_polls, p95, seen, until, until_first};

#[tokio::test]
async fn a_canarys_life() {
    let world = World::new("life");
    world.count("web-r1-a", 40, 2);
    world.scrape("pods", "shop", &["web-r1-a"]);
    let (sampler, _running) = world.sampler();
    let mut m = measure("web", &["web-r1-a"], vec![error_rate("errors")]);
    sampler.measure(m.clone());

    // Born in the window: the requests before the first scrape count.
    let r = until_first(&sampler, "web", |r| r.total == 42.0).await;
    assert_eq!(
        (r.bad, r.verdict, r.reason),
        (2.0, Verdict::Inconclusive, Reason::NotHolding)
    );
    world.count("web-r1-a", 90, 2);
    until_first(&sampler, "web", |r| (r.bad, r.total) == (2.0, 92.0)).await;

    // The process restarts and counts from zero.
    world.count("web-r1-a", 10, 1);
    until_first(&sampler, "web", |r| (r.bad, r.total) == (3.0, 103.0)).await;

    // A second pod that says nothing yet is scraped, so the answer is whole.
    world.show("web-r1-b", "process_start_time_seconds 1\n");
    world.scrape("pods", "shop", &["web-r1-a", "web-r1-b"]);
    m.pods.push(seen("web-r1-b"));
    m.hold_since = Some(Timestamp::now());
    sampler.measure(m.clone());
    until(&sampler, "web", |r| r.hold_since == m.hold_since).await;
    more_polls(&sampler, "web", 5).await;
    let r = until_first(&sampler, "web", |r| r.reason == Reason::NoData).await;
    assert_eq!(
        (r.hold_total, r.total),
        (0.0, 103.0),
        "the hold counts for itself"
    );

    // Then it serves, and a third one is ready but nobody scrapes it.
    world.count("web-r1-b", 150, 0);
    let r = until_first(&sampler, "web", |r| r.verdict == Verdict::Pass).await;
    assert_eq!((r.hold_total, r.total, r.value), (150.0, 253.0, Some(0.0)));
    m.pods.push(seen("web-r1-c"));
    sampler.measure(m.clone());
    let r = until_first(&sampler, "web", |r| r.reason == Reason::PartialData).await;
    assert!(r.message.contains("web-r1-c"), "{}", r.message);

    // The first goes; what it did stays. Nobody scraped the third, and it goes too.
    m.pods.retain(|p| p.name == "web-r1-b");
    sampler.measure(m.clone());
    world.scrape("pods", "shop", &["web-r1-b"]);
    world.count("web-r1-b", 200, 0);
    let r = until_first(&sampler, "web", |r| {
        r.verdict == Verdict::Pass && r.total == 303.0
    })
    .await;
    assert_eq!(r.bad, 3.0);

    // And then it turns bad.
    world.count("web-r1-b", 220, 80);
    let r = until_first(&sampler, "web", |r| r.verdict == Verdict::Fail).await;
    assert!(r.test >= r.threshold && r.bad == 83.0, "{r:?}");
}

#[tokio::test]
async fn an_outage_says_nothing_and_a_restart_forgets_nothing() {
    let mut world = World::new("outage");
    world.count("web-r1-a", 200, 1);
    world.scrape("pods", "shop", &["web-r1-a"]);
    let (sampler, _running) = world.sampler();
    let mut m = measure("web", &["web-r1-a"], vec![error_rate("errors")]);
    sampler.measure(m.clone());
    until_first(&sampler, "web", |r| r.total == 201.0).await;
    m.hold_since = Some(Timestamp::now());
    sampler.measure(m.clone());
    until(&sampler, "web", |r| r.hold_since.is_some()).await;
    more_polls(&sampler, "web", 1).await;
    world.count("web-r1-a", 400, 1);
    until_first(&sampler, "web", |r| r.verdict == Verdict::Pass).await;

    world.stop();
    let r = until_first(&sampler, "web", |r| r.reason == Reason::Unreachable).await;
    assert_eq!((r.verdict, r.total), (Verdict::Inconclusive, 401.0));
    // Meanwhile it goes on serving.
    world.count("web-r1-a", 600, 2);
    world.start();
    let back = until_first(&sampler, "web", |r| {
        r.total == 602.0 && r.verdict == Verdict::Pass
    });
    assert_eq!(back.await.bad, 2.0);
    // History has whole seconds: what a pod did in its last one may be left out.
    more_polls(&sampler, "web", 3).await;

    // Another operator takes over: a pod is gone by now, all it knows is the history.
    world.scrape("pods", "shop", &["web-r1-b"]);
    world.count("web-r1-b", 50, 0);
    m.pods = vec![seen("web-r1-b")];
    sampler.measure(m.clone());
    let before = until_first(&sampler, "web", |r| r.total == 652.0).await;
    let (successor, _running_too) = world.sampler();
    successor.measure(m);
    let readings = until(&successor, "web", |r| r.complete_polls > 0).await;
    let after = &readings.readings[0];
    assert_eq!((after.bad, after.total), (before.bad, before.total));
    // What came around the beginning of the hold is left out of it.
    assert!(
        after.hold_total > 0.0 && after.hold_total <= before.hold_total,
        "{after:?}"
    );
}

fn histogram(fast: u32, slow: u32, endless: u32) -> String {
    let name = "http_request_duration_seconds";
    let all = fast + slow + endless;
    format!(
        "# TYPE {name} histogram\n{name}_bucket{{le=\"0.1\"}} {fast}\n\
         {name}_bucket{{le=\"0.25\"}} {}\n{name}_bucket{{le=\"+Inf\"}} {all}\n\
         {name}_sum 1\n{name}_count {all}\n",
        fast + slow
    )
}

#[tokio::test]
async fn latency_from_classic_and_native_histograms() {
    let world = World::new("latency");
    world.show("web-r1-a", &histogram(0, 0, 0));
    world.show("new-r1-a", &histogram(900, 0, 0));
    world.scrape("pods", "shop", &["web-r1-a"]);
    world.scrape("native", "shop", &["new-r1-a"]);
    let (sampler, _running) = world.sampler();
    let checks = vec![
        p95("near", 200.0),
        p95("exact", 100.0),
        p95("beyond", 300.0),
    ];
    let mut m = measure("web", &["web-r1-a"], checks);
    m.hold_since = Some(Timestamp::now());
    sampler.measure(m.clone());
    sampler.measure(measure("new", &["new-r1-a"], vec![p95("p95", 100.0)]));

    // Once the series is there, every request on it is of the hold.
    until(&sampler, "web", |r| {
        r.readings[2].reason == Reason::LimitAboveBuckets
    })
    .await;
    world.show("web-r1-a", &histogram(960, 30, 10));
    let r = until(&sampler, "web", |r| {
        r.readings[0].total == 1000.0 && r.readings[0].verdict == Verdict::Pass
    })
    .await;
    let [near, exact, beyond] = r.readings.as_slice() else {
        panic!()
    };
    assert_eq!((near.bad, near.verdict), (10.0, Verdict::Pass));
    assert!(
        near.message.contains("250 ms, the next higher bucket"),
        "{}",
        near.message
    );
    assert_eq!((exact.bad, exact.verdict), (40.0, Verdict::Pass));
    let p95 = exact.value.unwrap();
    assert!((p95 - 950.0 / 960.0 * 100.0).abs() < 1e-6, "{p95}");
    assert_eq!(beyond.verdict, Verdict::Inconclusive);

    let r = until_first(&sampler, "new", |r| r.reason == Reason::NativeHistogram).await;
    assert!(r.message.contains("classic"), "{}", r.message);
}

#[tokio::test]
async fn odd_sources_are_open_with_a_reason() {
    let world = World::new("odd");
    let (sampler, _running) = world.sampler();
    let named = |name: &str, convention: Convention| {
        let mut check = error_rate("errors");
        check.convention = convention;
        let mut m = measure(name, &[&format!("{name}-r1-a")], vec![check]);
        m.hold_since = Some(m.since);
        m
    };
    let counter = |name: &str| Convention {
        counter: Some(name.to_owned()),
        ..Convention::default()
    };

    // Nothing scraped at all; scraped without series; series without a status.
    world.show("silent-r1-a", "process_start_time_seconds 1\n");
    world.show("bare-r1-a", "http_requests_total{path=\"/\"} 500\n");
    // One name, a number from one job and a native histogram from another.
    world.show("mixed-r1-a", "mixed{code=\"200\"} 500\n");
    world.show("double-r1-a", "http_requests_total{code=\"200\"} 300\n");
    world.show(
        "otel-r1-a",
        "http_server_request_duration_seconds_count{http_response_status_code=\"200\"} 300\n\
        http_server_request_duration_seconds_count{error_type=\"timeout\"} 3\n",
    );
    world.show("other-r1-a", "http_requests_total{code=\"500\"} 300\n");
    world.show("nan-r1-a", "http_requests_total{code=\"200\"} NaN\n");
    world.scrape(
        "pods",
        "shop",
        &[
            "nan-r1-a",
            "silent-r1-a",
            "bare-r1-a",
            "mixed-r1-a",
            "double-r1-a",
            "otel-r1-a",
        ],
    );
    world.scrape("again", "shop", &["double-r1-a"]);
    sampler.measure(named("absent", Convention::default()));
    sampler.measure(named("silent", Convention::default()));
    sampler.measure(named("bare", Convention::default()));
    sampler.measure(named("nan", Convention::default()));
    sampler.measure(named("double", Convention::default()));
    sampler.measure(named("otel", Convention::built_in(BuiltIn::Opentelemetry)));
    sampler.measure(named("mixed", counter("mixed")));
    let wrong_regex = Convention {
        status_label: Some("code".to_owned()),
        error_values: Some("5(".to_owned()),
        ..Convention::default()
    };
    sampler.measure(named("regex", wrong_regex));

    for (rollout, reason) in [
        ("absent", Reason::PartialData),
        ("silent", Reason::NoData),
        ("bare", Reason::NoStatusLabel),
        ("nan", Reason::NotANumber),
        ("regex", Reason::BadPattern),
    ] {
        let r = until_first(&sampler, rollout, |r| r.reason == reason).await;
        assert_eq!(
            (r.verdict, r.total),
            (Verdict::Inconclusive, 0.0),
            "{rollout}"
        );
    }
    let r = until_first(&sampler, "otel", |r| r.total == 303.0).await;
    assert_eq!(r.bad, 3.0, "a request that got no status is a wrong one");

    // Scraped by two jobs, counted once.
    until_first(&sampler, "double", |r| r.total == 300.0).await;
    world.show("double-r1-a", "http_requests_total{code=\"200\"} 400\n");
    let r = until_first(&sampler, "double", |r| r.total >= 400.0).await;
    assert_eq!(r.total, 400.0);

    // Prometheus says that it left the histograms out.
    until_first(&sampler, "mixed", |r| r.total == 500.0).await;
    world.show(
        "mixed-r1-a",
        "# TYPE mixed histogram\nmixed_bucket{code=\"200\",le=\"1\"} 5\n\
         mixed_bucket{code=\"200\",le=\"+Inf\"} 5\nmixed_count{code=\"200\"} 5\nmixed_sum{code=\"200\"} 5\n\
         # TYPE other gauge\nother 1\n",
    );
    world.scrape("native", "shop", &["mixed-r1-a"]);
    let r = until_first(&sampler, "mixed", |r| {
        r.reason != Reason::Passed && r.reason != Reason::NoData
    })
    .await;
    assert_eq!(r.verdict, Verdict::Inconclusive, "{r:?}");

    // Another namespace's pods are not seen, whatever they are called.
    world.scrape("again", "foreign", &["other-r1-a"]);
    sampler.measure(named("other", Convention::default()));
    let r = until_first(&sampler, "other", |r| r.reason == Reason::PartialData).await;
    assert_eq!(r.total, 0.0);
}
