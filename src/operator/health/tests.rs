//! The server over real connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::operator::shutdown::StopSource;

struct Running {
    address: SocketAddr,
    served: Served,
    _stop: StopSource,
}

async fn running() -> Running {
    let served = Served {
        liveness: Liveness::default(),
        readiness: Readiness::default(),
        metrics: Metrics::new(),
    };
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), served.clone())
        .await
        .unwrap();
    let (address, stop) = (server.listener.local_addr().unwrap(), StopSource::new());
    tokio::spawn(server.run(stop.stop()));
    Running {
        address,
        served,
        _stop: stop,
    }
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(running: &Running, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ask(running.address, &request).await
}

#[tokio::test]
async fn readiness_follows_what_is_announced() {
    let running = running().await;
    let waiting = running.served.readiness.wait_for("rollouts");
    let answer = get(&running, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: rollouts\n"));
    waiting.done();
    assert!(get(&running, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stuck_loop_fails_liveness() {
    let running = running().await;
    assert!(get(&running, "/healthz").await.starts_with("HTTP/1.1 200"));
    let heart = running.served.liveness.heart("run loop", Duration::ZERO);
    let answer = get(&running, "/healthz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.ends_with("from: run loop\n"),
        "{answer}"
    );
    drop(heart);
    assert!(get(&running, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let running = running().await;
    running.served.metrics.leads(Some(3));
    let answer = get(&running, "/metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(
        answer.contains("\nstepgate_leader 1\n") && answer.ends_with("# EOF\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let running = running().await;
    assert!(get(&running, "/debug").await.starts_with("HTTP/1.1 404"));
    let post =
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answer = ask(running.address, post).await;
    assert!(
        answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let running = running().await;
    let request = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(HEAD_BYTES));
    let answer = ask(running.address, &request).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
        "{answer}"
    );
}

#[tokio::test]
async fn silent_connections_take_all_places_only_until_the_head_timeout() {
    let running = running().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let asked = std::time::Instant::now();
    let answer = get(&running, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert!(
        asked.elapsed() < HEAD_TIMEOUT * 2,
        "a place was free after {:?}",
        asked.elapsed()
    );
    assert!(
        asked.elapsed() > HEAD_TIMEOUT / 2,
        "the silent ones did not fill the places"
    );
}

#[tokio::test]
async fn a_port_in_use_names_the_flag() {
    let running = running().await;
    let error = Server::bind(running.address, running.served.clone())
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("--listen 127.0.0.1:"),
        "{error}"
    );
}

#[test]
fn every_address_is_every_ipv4_address_where_there_is_no_ipv6() {
    let missing = io::Error::from_raw_os_error(97);
    let all = "[::]:8080".parse().unwrap();
    assert_eq!(
        without_ipv6(all, &missing),
        Some("0.0.0.0:8080".parse().unwrap())
    );
    assert_eq!(without_ipv6("[::1]:8080".parse().unwrap(), &missing), None);
    assert_eq!(without_ipv6(all, &io::Error::from_raw_os_error(98)), None);
}
