//! How many of the requests the new revision gets, beside the pods of stable.

use stepgate::evidence::{CheckSpec, Measure, Split};

use super::world::{World, error_rate, measure, more_polls, p95, until};

/// What a pod shows that has answered so many requests, in both metrics, and as many probes.
fn page(requests: u32) -> String {
    format!(
        "http_requests_total{{code=\"200\",path=\"/\"}} {requests}\n\
         http_requests_total{{code=\"200\",path=\"/ready\"}} {requests}\n\
         http_request_duration_seconds_bucket{{le=\"0.2\"}} {requests}\n\
         http_request_duration_seconds_bucket{{le=\"+Inf\"}} {requests}\n"
    )
}

/// Two checks, of which the first is asked for the pods of stable; they get three of four requests.
async fn is_shared(rollout: &str, checks: Vec<CheckSpec>) {
    let world = World::new(&format!("shared-{rollout}"));
    let pods = ["r1-a", "r0-a", "r0-b"].map(|pod| format!("{rollout}-{pod}"));
    // Another Rollout's, which is beside nobody.
    let foreign = format!("{rollout}-r2-a");
    let count = |[new, first, second]: [u32; 3]| {
        world.show(&pods[0], &page(new));
        world.show(&pods[1], &page(first));
        world.show(&pods[2], &page(second));
        world.show(&foreign, &page(new + first + second));
    };
    count([1000, 4000, 9000]);
    let scraped: Vec<&str> = pods.iter().chain([&foreign]).map(String::as_str).collect();
    world.scrape("pods", "shop", &scraped);
    // A pod that two jobs scrape has no more requests for that.
    world.scrape("again", "shop", &scraped[..2]);
    let (sampler, _running) = world.sampler();
    let mut m = Measure {
        beside: Some(format!("{rollout}-r0-")),
        ..measure(rollout, &scraped[..1], checks)
    };
    sampler.measure(m.clone());
    more_polls(&sampler, rollout, 2).await;
    m.hold_since = Some(m.since);
    sampler.measure(m.clone());
    more_polls(&sampler, rollout, 3).await;
    let readings = until(&sampler, rollout, |r| r.hold_since.is_some()).await;
    assert_eq!(readings.split, None, "nothing came in the hold");

    count([1100, 4200, 9100]);
    let expected = Split {
        own: 100.0,
        all: 400.0,
    };
    until(&sampler, rollout, |r| r.split == Some(expected)).await;
    // It starts anew: what it has answered since then counts.
    count([50, 4300, 9150]);
    let expected = Split {
        own: 150.0,
        all: 600.0,
    };
    until(&sampler, rollout, |r| r.split == Some(expected)).await;
}

#[tokio::test]
async fn the_share_is_counted_beside_an_error_rate_without_probes() {
    let mut errors = error_rate("errors");
    errors.convention.matchers = vec![stepgate::api::Matcher {
        label: "path".to_owned(),
        not_in: Some(vec!["/ready".to_owned()]),
        ..Default::default()
    }];
    is_shared("one", vec![errors, p95("p95", 200.0)]).await;
}

#[tokio::test]
async fn the_share_is_counted_beside_a_latency() {
    is_shared("two", vec![p95("p95", 200.0), error_rate("errors")]).await;
}
