//! Metrics as people have them: what is counted, what is left out, and what is said of a check that
//! cannot be read as it is written.

use jiff::{SignedDuration, Timestamp};
use stepgate::api::{Convention, Matcher, TimeUnit};
use stepgate::evidence::{CheckSpec, Measure, Reason, Verdict};

use super::world::{World, error_rate, measure, more_polls, p95, until, until_first};

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn with(convention: Convention, check: CheckSpec) -> CheckSpec {
    CheckSpec {
        convention,
        ..check
    }
}

/// A measure of one pod of a Rollout of that name, in a hold.
fn holding(rollout: &str, check: CheckSpec) -> Measure {
    let pod = format!("{rollout}-r1-a");
    let m = measure(rollout, &[pod.as_str()], vec![check]);
    Measure {
        hold_since: Some(m.since),
        ..m
    }
}

/// Spring with Micrometer, Istio, NGINX with its traffic status module, and Go's client: the recipes
/// of the documentation, with probes, scrapes and outbound calls beside the users' requests.
#[tokio::test]
async fn the_recipes_count_users_and_nobody_else() {
    let world = World::new("recipes");
    let none_of = |label: &str, values: &[&str]| Matcher {
        label: label.to_owned(),
        not_in: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        ..Matcher::default()
    };
    let spring = Convention {
        counter: text("http_server_requests_seconds_count"),
        status_label: text("status"),
        histogram: text("http_server_requests_seconds"),
        matchers: vec![Matcher {
            label: "uri".to_owned(),
            not_matches: text("/actuator/.*"),
            ..Matcher::default()
        }],
        ..Convention::default()
    };
    let istio = Convention {
        counter: text("istio_requests_total"),
        status_label: text("response_code"),
        histogram: text("istio_request_duration_milliseconds"),
        unit: Some(TimeUnit::Milliseconds),
        matchers: vec![Matcher {
            label: "reporter".to_owned(),
            equals: text("destination"),
            ..Matcher::default()
        }],
        ..Convention::default()
    };
    let nginx = Convention {
        counter: text("nginx_vts_server_requests_total"),
        status_label: text("code"),
        error_values: text("5xx"),
        matchers: vec![
            none_of("host", &["*", "probes"]),
            Matcher {
                label: "code".to_owned(),
                matches: text("[1-5]xx"),
                ..Matcher::default()
            },
        ],
        ..Convention::default()
    };
    let go = Convention {
        counter: text("http_requests_total"),
        status_label: text("code"),
        matchers: vec![none_of("handler", &["/healthz", "/metrics"])],
        ..Convention::default()
    };
    let pages = [
        (
            "spring",
            spring,
            "http_server_requests_seconds_count{uri=\"/orders\",status=\"200\"} N\n\
             http_server_requests_seconds_count{uri=\"/actuator/health/readiness\",status=\"503\"} P\n\
             http_server_requests_seconds_count{uri=\"/actuator/prometheus\",status=\"200\"} P\n",
        ),
        (
            "istio",
            istio,
            "istio_requests_total{reporter=\"destination\",response_code=\"200\"} N\n\
             istio_requests_total{reporter=\"source\",response_code=\"503\"} P\n",
        ),
        (
            "nginx",
            nginx,
            "nginx_vts_server_requests_total{host=\"shop\",code=\"2xx\"} N\n\
             nginx_vts_server_requests_total{host=\"shop\",code=\"total\"} N\n\
             nginx_vts_server_requests_total{host=\"*\",code=\"2xx\"} N\n\
             nginx_vts_server_requests_total{host=\"probes\",code=\"5xx\"} P\n",
        ),
        (
            "go",
            go,
            "http_requests_total{handler=\"/pay\",code=\"200\"} N\n\
             http_requests_total{handler=\"/healthz\",code=\"503\"} P\n\
             http_requests_total{handler=\"/metrics\",code=\"200\"} P\n",
        ),
    ];
    let pods: Vec<String> = pages
        .iter()
        .map(|(name, ..)| format!("{name}-r1-a"))
        .collect();
    let names: Vec<&str> = pods.iter().map(String::as_str).collect();
    let show = |users: u32, probes: u32| {
        for (name, _, page) in &pages {
            let page = page
                .replace(" N\n", &format!(" {users}\n"))
                .replace(" P\n", &format!(" {probes}\n"));
            world.show(&format!("{name}-r1-a"), &page);
        }
    };
    // Before the first user there were many probes, and they went wrong.
    show(0, 300);
    world.scrape("pods", "shop", &names);
    let (sampler, _running) = world.sampler();
    for (name, convention, _) in &pages {
        sampler.measure(holding(
            name,
            with(convention.clone(), error_rate("errors")),
        ));
    }
    for (name, ..) in &pages {
        let readings = until(&sampler, name, |r| r.complete_polls > 1).await;
        let reading = &readings.readings[0];
        assert_eq!((reading.bad, reading.total), (0.0, 0.0), "{name}");
        assert_eq!(reading.reason, Reason::NoData, "{name}");
    }
    show(200, 900);
    for (name, ..) in &pages {
        let r = until_first(&sampler, name, |r| r.verdict == Verdict::Pass).await;
        assert_eq!((r.bad, r.total), (0.0, 200.0), "{name}");
    }
}

/// Two counters, one of all jobs and one of those that failed.
#[tokio::test]
async fn failures_with_a_counter_of_their_own() {
    let world = World::new("jobs");
    let jobs = |failed: &str| Convention {
        counter: text("jobs_processed_total"),
        failed_counter: text(failed),
        ..Convention::default()
    };
    world.show(
        "mailer-r1-a",
        "jobs_processed_total{queue=\"a\"} 0\njobs_failed_total 0\n",
    );
    world.show("typo-r1-a", "jobs_processed_total 0\n");
    world.scrape("pods", "shop", &["mailer-r1-a", "typo-r1-a"]);
    let (sampler, _running) = world.sampler();
    sampler.measure(holding(
        "mailer",
        with(jobs("jobs_failed_total"), error_rate("failed")),
    ));
    sampler.measure(holding(
        "typo",
        with(jobs("jobs_fail_total"), error_rate("failed")),
    ));
    until(&sampler, "mailer", |r| r.complete_polls > 0).await;
    world.show(
        "mailer-r1-a",
        "jobs_processed_total{queue=\"a\"} 300\njobs_failed_total 2\n",
    );
    let r = until_first(&sampler, "mailer", |r| r.verdict == Verdict::Pass).await;
    assert_eq!((r.bad, r.total), (2.0, 300.0));
    world.show(
        "mailer-r1-a",
        "jobs_processed_total{queue=\"a\"} 400\njobs_failed_total 72\n",
    );
    until_first(&sampler, "mailer", |r| r.verdict == Verdict::Fail).await;
    // A name that nobody has: silence about failures is no success.
    world.show("typo-r1-a", "jobs_processed_total 300\n");
    let r = until_first(&sampler, "typo", |r| r.reason == Reason::NoFailedCounter).await;
    assert_eq!(r.verdict, Verdict::Inconclusive);
    assert!(r.message.contains("metric.failedCounter"), "{}", r.message);
}

#[tokio::test]
async fn what_cannot_be_read_names_its_field_at_the_first_poll() {
    let world = World::new("unreadable");
    let summary = "http_server_requests_seconds_count{status=\"200\"} 400\n\
                   http_server_requests_seconds_sum{status=\"200\"} 9\n\
                   http_server_requests_seconds_max{status=\"200\"} 1\n";
    let grpc = "grpc_server_handled_total{grpc_code=\"OK\"} 400\n";
    let bound = "unbounded_seconds_bucket{le=\"0.1\"} 4\nunbounded_seconds_bucket{le=\"+Inf\"} 9\n";
    world.show("summary-r1-a", summary);
    world.show("pattern-r1-a", grpc);
    world.show("matcher-r1-a", grpc);
    world.show("unlabelled-r1-a", grpc);
    world.show("suffix-r1-a", summary);
    world.show("bound-r1-a", bound);
    let names = [
        "summary",
        "pattern",
        "matcher",
        "unlabelled",
        "suffix",
        "bound",
    ];
    let pods = names.map(|name| format!("{name}-r1-a"));
    let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
    world.scrape("pods", "shop", &pods);
    let (sampler, _running) = world.sampler();
    let by_code = |values: &str| Convention {
        counter: text("grpc_server_handled_total"),
        status_label: text("grpc_code"),
        error_values: text(values),
        ..Convention::default()
    };
    let histogram = |name: &str| Convention {
        histogram: text(name),
        ..Convention::default()
    };
    let matcher = Matcher {
        label: "grpc_service".to_owned(),
        matches: text("pricing("),
        ..Matcher::default()
    };
    let cases = [
        (
            with(histogram("http_server_requests_seconds"), p95("p95", 300.0)),
            Reason::NoBuckets,
            "metric.histogram",
        ),
        (
            with(by_code("Unknown|(Internal"), error_rate("codes")),
            Reason::BadPattern,
            "metric.errorValues",
        ),
        (
            with(
                Convention {
                    matchers: vec![matcher],
                    error_values: None,
                    ..by_code("")
                },
                error_rate("codes"),
            ),
            Reason::BadPattern,
            "metric.matchers of grpc_service: matches",
        ),
        (
            with(
                Convention {
                    status_label: None,
                    ..by_code("Internal")
                },
                error_rate("codes"),
            ),
            Reason::BadConvention,
            "metric.errorValues: name the label",
        ),
        (
            with(
                histogram("http_server_requests_seconds_bucket"),
                p95("p95", 300.0),
            ),
            Reason::BadConvention,
            "metric.histogram: ",
        ),
        (
            with(histogram("unbounded_seconds"), p95("p95", 300.0)),
            Reason::LimitAboveBuckets,
            "maxMilliseconds",
        ),
    ];
    for (name, (check, ..)) in names.iter().zip(&cases) {
        sampler.measure(holding(name, check.clone()));
    }
    for (name, (_, reason, field)) in names.iter().zip(&cases) {
        let r = until_first(&sampler, name, |r| r.reason == *reason).await;
        assert_eq!(r.verdict, Verdict::Inconclusive, "{name}");
        assert!(r.message.contains(field), "{name}: {}", r.message);
    }
}

#[tokio::test]
async fn requests_before_readiness_and_slow_ones_of_a_cold_pod_are_left_out() {
    let world = World::new("unready");
    let page = |slow: u32, fast: u32, failed: u32| {
        format!(
            "http_requests_total{{code=\"200\"}} {}\nhttp_requests_total{{code=\"503\"}} {failed}\n\
             http_request_duration_seconds_bucket{{le=\"0.2\"}} {fast}\n\
             http_request_duration_seconds_bucket{{le=\"+Inf\"}} {}\n",
            slow + fast,
            slow + fast
        )
    };
    world.show("cold-r1-a", &page(0, 50, 50));
    world.scrape("pods", "shop", &["cold-r1-a"]);
    let (sampler, _running) = world.sampler();
    let latency = CheckSpec {
        warm_up_seconds: 5,
        ..p95("p95", 200.0)
    };
    let mut m = measure("cold", &["cold-r1-a"], vec![error_rate("errors"), latency]);
    m.probe_seconds = vec![1];
    m.pods[0].ready_since = None;
    m.pods[0].created = m.since - SignedDuration::from_secs(60);
    sampler.measure(m.clone());
    more_polls(&sampler, "cold", 3).await;
    let readings = sampler.readings("shop", "cold", "r1").unwrap();
    assert!(
        readings.readings.iter().all(|r| r.total == 0.0),
        "{readings:?}"
    );

    m.pods[0].ready_since = Some(Timestamp::now());
    m.hold_since = m.pods[0].ready_since;
    sampler.measure(m.clone());
    let r = until(&sampler, "cold", |r| {
        r.readings[1].reason == Reason::PartialData
    });
    assert!(r.await.readings[1].message.contains("warms up until"));
    world.show("cold-r1-a", &page(200, 250, 50));
    // Its errors count at once, its slowness does not.
    let r = until_first(&sampler, "cold", |r| r.total > 300.0).await;
    assert_eq!(r.bad, 0.0);
    let slow = &sampler.readings("shop", "cold", "r1").unwrap().readings[1];
    assert_eq!(slow.total, 0.0, "{slow:?}");
    until(&sampler, "cold", |r| r.readings[1].reason == Reason::NoData).await;
    world.show("cold-r1-a", &page(200, 550, 50));
    let r = until(&sampler, "cold", |r| r.readings[1].verdict == Verdict::Pass);
    let readings = r.await;
    assert_eq!(
        (readings.readings[1].bad, readings.readings[1].total),
        (0.0, 300.0)
    );
}
