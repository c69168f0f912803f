//! What a write says when no answer comes, or none of the API server.

use std::{sync::Arc, time::Duration};

use kube::{Client, Config};
use stepgate::{
    cluster::{
        Cluster as _, WriteError,
        kubernetes::{Kubernetes, index::Index},
    },
    operator::{client::Clients, metrics::Metrics},
    plan::intent::{Kind, Write},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::writes::deployment_manifest;

/// What the other end does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Reads it and says nothing.
    Nothing,
    /// Reads it and hangs up.
    HangUp,
    /// Answers with a status line and a body.
    Answer(&'static str, &'static str),
}

/// A server on loopback; every connection gets one request read. Returns its address and a count
/// of requests.
async fn server(does: Does) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                    return;
                }
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                match does {
                    Does::Nothing => std::future::pending().await,
                    Does::HangUp => drop(stream),
                    Does::Answer(status, body) => {
                        let length = body.len();
                        let answer = format!(
                            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
                             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                        );
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    (format!("http://{address}"), count)
}

fn clients(url: &str) -> (Client, Client) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::new(url.parse().expect("a URL"));
    let clients = Clients::new(config, &Metrics::new()).expect("clients");
    (clients.reads.client(), clients.writes.client())
}

async fn written(url: &str) -> WriteError {
    let (reads, writes) = clients(url);
    let index = Arc::new(Index::new(Box::new(|_| {})));
    let adapter = Kubernetes::new(index, reads, writes, Duration::from_millis(500));
    let write = Write::Create {
        kind: Kind::Deployment,
        manifest: deployment_manifest("shop-r1"),
    };
    let written = adapter.write("n", &write).await;
    written.expect_err("there is no API server")
}

#[tokio::test]
async fn nothing_listens_so_nothing_was_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = written(&format!("http://{address}")).await;
    assert!(matches!(error, WriteError::NotTaken { .. }), "{error:?}");
}

#[tokio::test]
async fn silence_and_a_broken_connection_are_no_answer() {
    for does in [Does::Nothing, Does::HangUp] {
        let (url, _) = server(does).await;
        let error = written(&url).await;
        assert!(matches!(error, WriteError::Unanswered { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_busy_server_has_not_taken_it_and_a_failing_one_does_not_say() {
    let answers = [
        ("429 Too Many Requests", true),
        ("500 Internal Server Error", false),
        ("502 Bad Gateway", false),
        ("503 Service Unavailable", false),
        ("504 Gateway Timeout", false),
    ];
    for (status, not_taken) in answers {
        let (url, count) = server(Does::Answer(status, "try again later")).await;
        let error = written(&url).await;
        match error {
            WriteError::NotTaken { .. } if not_taken => {}
            WriteError::Unanswered { .. } if !not_taken => {}
            other => panic!("{status}: {other:?}"),
        }
        let count = count.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(count, 1, "{status}: a write is sent once");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_none() {
    let (url, _) = server(Does::Answer("201 Created", "{\"metadata\": 1}")).await;
    let error = written(&url).await;
    assert!(matches!(error, WriteError::Unanswered { .. }), "{error:?}");
}
