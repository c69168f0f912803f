//! The server over real connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::operator::shutdown::StopSource;

struct Running {
    address: SocketAddr,
    _stop: StopSource,
}

async fn running(served: Served) -> Running {
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(address, served).await.unwrap();
    let (address, stop) = (server.listener.local_addr().unwrap(), StopSource::new());
    tokio::spawn(server.run(stop.stop()));
    Running {
        address,
        _stop: stop,
    }
}

async fn probes() -> (Running, Liveness, Readiness) {
    let (liveness, readiness) = (Liveness::default(), Readiness::default());
    let served = Served::Probes(liveness.clone(), readiness.clone());
    (running(served).await, liveness, readiness)
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
    let (running, _, readiness) = probes().await;
    let waiting = readiness.wait_for("rollouts");
    let answer = get(&running, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: rollouts\n"));
    waiting.done();
    assert!(get(&running, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stuck_loop_fails_liveness() {
    let (running, liveness, _) = probes().await;
    assert!(get(&running, "/healthz").await.starts_with("HTTP/1.1 200"));
    let heart = liveness.heart("run loop", Duration::ZERO);
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
    let metrics = Metrics::new();
    metrics.leads(Some(3));
    let running = running(Served::Metrics(metrics)).await;
    let answer = get(&running, "/metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(
        answer.contains("\nstepgate_leader 1\n") && answer.ends_with("# EOF\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let (running, ..) = probes().await;
    assert!(get(&running, "/debug").await.starts_with("HTTP/1.1 404"));
    assert!(get(&running, "/metrics").await.starts_with("HTTP/1.1 404"));
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
    let (running, ..) = probes().await;
    let request = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(HEAD_BYTES));
    let answer = ask(running.address, &request).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
        "{answer}"
    );
}

#[tokio::test]
async fn a_probe_is_answered_at_once_however_many_connections_are_idle() {
    let (running, ..) = probes().await;
    let mut silent = Vec::new();
    for round in 0..5 {
        for _ in 0..MAX_CONNECTIONS + 10 {
            silent.push(TcpStream::connect(running.address).await.unwrap());
        }
        let asked = std::time::Instant::now();
        let answer = get(&running, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{round}: {answer}");
        // The kubelet gives up after a second where its probe says no more.
        let took = asked.elapsed();
        assert!(took < Duration::from_millis(500), "{round}: {took:?}");
    }
}

#[tokio::test]
async fn a_scrape_is_answered_while_others_sit_on_the_port_of_the_metrics() {
    let running = running(Served::Metrics(Metrics::new())).await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS * 4 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let answer = get(&running, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_port_in_use_names_the_flag() {
    let (running, liveness, readiness) = probes().await;
    let all = [
        ("--probes-listen", Served::Probes(liveness, readiness)),
        ("--listen", Served::Metrics(Metrics::new())),
    ];
    for (flag, served) in all {
        let error = Server::bind(running.address, served).await.unwrap_err();
        let words = error.to_string();
        assert!(words.starts_with(&format!("{flag} 127.0.0.1:")), "{words}");
    }
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
