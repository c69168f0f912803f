//! `shop serve`: releases side by side, readiness, metrics, and leaving without a failed request.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use crate::postgres_server::PostgresServer;
use crate::shop_process::{ShopProcess, answer, connect, eventually, migrated, request};

#[test]
fn neighbours_run_side_by_side_through_the_whole_rename() {
    let server = PostgresServer::start();
    let url = server.url();
    let serve = |version: &str| ShopProcess::start_ready(&url, &format!("--version {version}"));
    // Both, writing and reading each other's users.
    let agree = |old: &ShopProcess, new: &ShopProcess| {
        let (ada, bob) = (old.add("Ada"), new.add("Bob"));
        for shop in [old, new] {
            assert_eq!(
                (shop.name(ada), shop.name(bob)),
                ("Ada".into(), "Bob".into())
            );
            assert_eq!(shop.name(1), "User 1");
        }
    };
    migrated(&url, "expand --version v1");
    let v1 = serve("v1");
    let ada = v1.add("Ada");
    migrated(&url, "expand --version v2");
    let v2 = serve("v2");
    agree(&v1, &v2);
    drop(v1);
    migrated(&url, "expand --version v3");
    let v3 = serve("v3");
    agree(&v2, &v3);
    assert_eq!(v3.name(ada), "Ada");
    drop(v2);
    migrated(&url, "expand --version v4");
    let v4 = serve("v4");
    agree(&v3, &v4);
    drop(v3);
    migrated(&url, "contract --version v4");
    let eve = v4.add("Eve");
    assert_eq!((v4.name(ada), v4.name(eve)), ("Ada".into(), "Eve".into()));
    assert_eq!(v4.get("/readyz").status, 200);
}

#[test]
fn readiness_waits_for_the_schema_and_says_what_to_run() {
    let server = PostgresServer::start();
    let url = server.url();
    let v2 = ShopProcess::start(&url, "--version v2");
    let says = |shop: &ShopProcess, words: &str| {
        eventually(words, || {
            let answer = shop.get("/readyz");
            answer.status == 503 && answer.body.contains(words)
        });
    };
    says(
        &v2,
        "v2 needs schema version 1: run `shop migrate expand --version v1`",
    );
    migrated(&url, "expand --version v1");
    says(&v2, "v2 needs schema version 2");
    migrated(&url, "expand --version v2");
    eventually("v2 is ready", || v2.get("/readyz").status == 200);
}

#[test]
fn the_contract_makes_older_releases_not_ready() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v4");
    let v3 = ShopProcess::start_ready(&url, "--version v3");
    let v4 = ShopProcess::start_ready(&url, "--version v4");
    migrated(&url, "contract --version v4");
    eventually("the running v3 is not ready any more", || {
        let answer = v3.get("/readyz");
        answer.status == 503 && answer.body.contains("v3 cannot run any more")
    });
    let v2 = ShopProcess::start(&url, "--version v2");
    eventually("a new v2 says why", || {
        v2.get("/readyz").body.contains("v2 cannot run any more")
    });
    assert_eq!(v4.get("/readyz").status, 200);
}

#[test]
fn it_waits_for_the_database_and_outlives_its_restart() {
    let mut server = PostgresServer::prepare();
    let url = server.url();
    let shop = ShopProcess::start(&url, "--version v1");
    eventually("it says what it waits for", || {
        shop.get("/readyz").body.contains("PostgreSQL")
    });
    assert_eq!(shop.get("/livez").status, 200);
    server.launch();
    migrated(&url, "expand --version v1");
    eventually("it is ready", || shop.get("/readyz").status == 200);
    assert_eq!(shop.get("/users/1").status, 200);

    server.halt();
    assert_eq!(shop.get("/users/1").status, 503);
    assert_eq!(
        shop.get("/readyz").status,
        200,
        "all pods share the database"
    );
    server.launch();
    eventually("it answers again", || shop.get("/users/1").status == 200);
}

#[test]
fn metrics_are_conventional_bounded_and_about_users_only() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v1");
    let shop = ShopProcess::start_ready(&url, "--version v1");
    let fresh = shop.get("/metrics");
    assert!(
        !fresh.body.contains("http_requests_total{"),
        "{}",
        fresh.body
    );
    assert!(
        fresh.head.contains("application/openmetrics-text"),
        "{}",
        fresh.head
    );

    for id in 1..=3 {
        assert_eq!(shop.get(&format!("/users/{id}")).status, 200);
    }
    shop.add("Ada");
    assert_eq!(shop.get("/users/999999").status, 404);
    assert_eq!(shop.get("/users/x").status, 400);
    assert_eq!(shop.post("/users", "{}").status, 400);
    assert_eq!(shop.get("/no/such/page").status, 404);
    assert_eq!(shop.get("/no/such/other/page").status, 404);
    assert_eq!(
        request(shop.address, "BREW", "/users/1", "")
            .unwrap()
            .status,
        405
    );

    let metrics = shop.get("/metrics").body;
    let mut counts: Vec<_> = metrics
        .lines()
        .filter_map(|l| l.strip_prefix("http_requests_total"))
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [
            r#"{method="GET",path="/users/{id}",status="200"} 3"#,
            r#"{method="GET",path="/users/{id}",status="400"} 1"#,
            r#"{method="GET",path="/users/{id}",status="404"} 1"#,
            r#"{method="GET",path="other",status="404"} 2"#,
            r#"{method="POST",path="/users",status="201"} 1"#,
            r#"{method="POST",path="/users",status="400"} 1"#,
            r#"{method="other",path="/users/{id}",status="405"} 1"#,
        ]
    );
    assert!(metrics.contains("# TYPE http_requests counter"));
    assert!(metrics.contains("# TYPE http_request_duration_seconds histogram"));
    let count = r#"http_request_duration_seconds_count{method="GET",path="/users/{id}"} 5"#;
    assert!(metrics.contains(count), "{metrics}");
    for bound in [
        "0.005", "0.01", "0.025", "0.05", "0.1", "0.2", "0.25", "0.5", "1.0", "2.5",
    ] {
        assert!(
            metrics.contains(&format!("le=\"{bound}\"")),
            "{bound}: {metrics}"
        );
    }
}

#[test]
fn a_drain_says_so_closes_idle_connections_and_finishes_what_runs() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v1");
    let arguments = "--version v1 --fault slow=1500 --drain-seconds 1";
    let mut shop = ShopProcess::start_ready(&url, arguments);

    // One that stays open without a request, after one.
    let mut idle = connect(shop.address).unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: shop\r\n\r\n")
        .unwrap();
    let mut first = [0; 1024];
    let read = idle.read(&mut first).unwrap();
    let first = String::from_utf8_lossy(&first[..read]).to_ascii_lowercase();
    assert!(
        first.starts_with("http/1.1 200") && !first.contains("connection: close"),
        "{first}"
    );

    shop.terminate();
    eventually("readiness fails first", || {
        shop.get("/readyz").status == 503
    });
    assert_eq!(shop.get("/livez").status, 200, "still accepting");
    // Begins within the drain, ends after it.
    let mut running = connect(shop.address).unwrap();
    running
        .write_all(b"GET /users/1 HTTP/1.1\r\nHost: shop\r\n\r\n")
        .unwrap();
    let last = answer(&mut running).unwrap();
    assert_eq!(last.status, 200);
    assert!(last.says_close(), "{}", last.head);
    assert_eq!(
        idle.read(&mut [0; 16]).unwrap(),
        0,
        "closed without a word, not reset"
    );
    assert!(connect(shop.address).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused));
    assert_eq!(shop.ended().code(), Some(0));
}

#[test]
fn a_connection_accepted_at_the_end_still_gets_its_answer() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v1");
    let mut shop = ShopProcess::start_ready(&url, "--version v1 --drain-seconds 0");
    let mut early = connect(shop.address).unwrap();
    shop.terminate();
    eventually("the door is closed", || connect(shop.address).is_err());
    early
        .write_all(b"GET /users/1 HTTP/1.1\r\nHost: shop\r\n\r\n")
        .unwrap();
    assert_eq!(answer(&mut early).unwrap().status, 200);
    assert_eq!(shop.ended().code(), Some(0));
}

/// Clients that learn of an ending pod late, as through a Service.
#[test]
fn restarting_every_pod_under_load_loses_no_request() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v1");
    let start = || ShopProcess::start_ready(&url, "--version v1 --drain-seconds 1");
    let mut pods = vec![start(), start()];
    let addresses = |pods: &[ShopProcess]| pods.iter().map(|p| p.address).collect::<Vec<_>>();
    let endpoints = Arc::new(RwLock::new(addresses(&pods)));
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );

    let client = |number: usize| {
        let (endpoints, stop, sent) = (endpoints.clone(), stop.clone(), sent.clone());
        thread::spawn(move || {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let turn = sent.fetch_add(1, Ordering::Relaxed);
                let known: Vec<SocketAddr> = endpoints.read().unwrap().clone();
                let address = known[(turn + number) % known.len()];
                match request(address, "GET", "/users/1", "") {
                    Ok(answer) if answer.status == 200 => {}
                    other => failures.push(format!("{other:?}")),
                }
                thread::sleep(Duration::from_millis(5));
            }
            failures
        })
    };
    let clients: Vec<_> = (0..4).map(client).collect();

    for _ in 0..2 {
        pods.push(start());
        *endpoints.write().unwrap() = addresses(&pods);
        let mut leaving = pods.remove(0);
        leaving.terminate();
        eventually("not ready", || leaving.get("/readyz").status == 503);
        // The news takes a while to reach every client: this delay is the case under test.
        thread::sleep(Duration::from_millis(500));
        *endpoints.write().unwrap() = addresses(&pods);
        assert_eq!(leaving.ended().code(), Some(0));
    }
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<_> = clients
        .into_iter()
        .flat_map(|c| c.join().unwrap())
        .collect();
    assert_eq!(failures, Vec::<String>::new());
    assert!(sent.load(Ordering::Relaxed) > 100, "there was load");
}
