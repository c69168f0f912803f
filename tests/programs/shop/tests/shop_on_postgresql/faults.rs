//! Each fault does what it says, and no more.

use std::time::{Duration, Instant};

use crate::postgres_server::PostgresServer;
use crate::shop_process::{ShopProcess, eventually, migrated};

fn expanded() -> PostgresServer {
    let server = PostgresServer::start();
    migrated(&server.url(), "expand --version v1");
    migrated(&server.url(), "expand --version v2");
    server
}

#[test]
fn errors_fails_its_share_of_user_requests() {
    let server = expanded();
    let shop = ShopProcess::start_ready(&server.url(), "--version v2 --fault errors=0.3");
    let statuses: Vec<_> = (0..100).map(|_| shop.get("/users/1").status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 500).count(), 30);
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 70);
    let metrics = shop.get("/metrics").body;
    let failed = r#"http_requests_total{method="GET",path="/users/{id}",status="500"} 30"#;
    assert!(metrics.contains(failed), "{metrics}");
    assert!((0..10).all(|_| shop.get("/readyz").status == 200 && shop.get("/livez").status == 200));
}

#[test]
fn slow_raises_the_latency_of_users_only() {
    let server = expanded();
    let shop = ShopProcess::start_ready(&server.url(), "--version v2 --fault slow=300");
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(shop.get("/users/1").status, 200);
        assert!(start.elapsed() >= Duration::from_millis(300));
    }
    let metrics = shop.get("/metrics").body;
    let series = "http_request_duration_seconds_bucket";
    let labels = r#"method="GET",path="/users/{id}""#;
    for (bound, count) in [("0.25", 0), ("+Inf", 5)] {
        let line = metrics
            .lines()
            .find(|l| {
                l.starts_with(series)
                    && l.contains(labels)
                    && l.contains(&format!("le=\"{bound}\""))
            })
            .unwrap_or_else(|| panic!("no bucket {bound}: {metrics}"));
        assert!(line.ends_with(&format!(" {count}")), "{line}");
    }
}

#[test]
fn crash_exits_some_time_after_it_became_ready() {
    let server = expanded();
    let mut shop = ShopProcess::start_ready(&server.url(), "--version v2 --fault crash=0.5");
    assert_eq!(shop.get("/users/1").status, 200);
    assert_eq!(shop.ended().code(), Some(1));
}

#[test]
fn never_ready_is_alive_and_never_ready() {
    let server = expanded();
    let shop = ShopProcess::start(&server.url(), "--version v2 --fault never-ready");
    eventually("the reason", || {
        shop.get("/readyz").body.contains("never ready")
    });
    let good = ShopProcess::start_ready(&server.url(), "--version v2");
    assert_eq!(good.get("/readyz").status, 200);
    assert_eq!(shop.get("/readyz").status, 503);
    assert_eq!(shop.get("/livez").status, 200);
}

#[test]
fn bad_migration_does_not_touch_serving() {
    let server = expanded();
    let shop = ShopProcess::start_ready(&server.url(), "--version v2 --fault bad-migration");
    assert_eq!(shop.get("/users/1").status, 200);
}
