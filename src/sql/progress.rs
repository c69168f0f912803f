//! How far the run is, for whoever asks on the port.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{Response, body::Bytes, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::order::{Order, Phase};

/// The rate is of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(30);

/// So many are answered at a time, and each in this time.
const CLIENTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(5);

/// Shared by the run and the port.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Progress>>);

struct Progress {
    phase: Phase,
    version: i32,
    batch: Option<String>,
    /// The number of the batch, from 1, and of how many.
    number: usize,
    of: usize,
    pass: i32,
    done: i64,
    total: i64,
    /// Rows done, and when, oldest first.
    seen: Vec<(Instant, i64)>,
    moved: Instant,
    paused: Option<String>,
}

impl Shared {
    pub fn new(order: &Order) -> Self {
        Self(Arc::new(Mutex::new(Progress {
            phase: order.phase,
            version: order.version,
            batch: None,
            number: 0,
            of: order.batches.len(),
            pass: 1,
            done: 0,
            total: 0,
            seen: Vec::new(),
            moved: Instant::now(),
            paused: None,
        })))
    }

    fn get(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch of this number is next.
    pub fn turn_to(&self, number: usize) {
        let mut progress = self.get();
        progress.number = number;
        progress.batch = None;
    }

    /// A batch begins, with what was done before.
    pub fn begin(&self, batch: &str, done: i64, total: i64) {
        let mut progress = self.get();
        progress.batch = Some(batch.to_owned());
        progress.done = done;
        progress.total = total;
        progress.seen = vec![(Instant::now(), done)];
    }

    /// A batch was committed.
    pub fn moved(&self, pass: i32, done: i64) {
        let mut progress = self.get();
        let now = Instant::now();
        progress.pass = pass;
        progress.done = done;
        progress.total = progress.total.max(done);
        progress.moved = now;
        progress.paused = None;
        progress
            .seen
            .retain(|(when, _)| now.duration_since(*when) < WINDOW);
        progress.seen.push((now, done));
    }

    /// Why nothing moves.
    pub fn pause(&self, why: Option<String>) {
        self.get().paused = why;
    }

    pub fn document(&self) -> Value {
        let progress = self.get();
        let rate = progress.seen.first().and_then(|(when, done)| {
            let seconds = when.elapsed().as_secs_f64();
            (seconds > 0.2).then(|| (progress.done - done) as f64 / seconds)
        });
        let left = (progress.total - progress.done).max(0) as f64;
        json!({
            "phase": progress.phase,
            "version": progress.version,
            "batch": progress.batch,
            "number": progress.number,
            "batches": progress.of,
            "pass": progress.pass,
            "rowsDone": progress.done,
            "rowsTotal": progress.total,
            "rowsPerSecond": rate.map(|rate| (rate * 10.0).round() / 10.0),
            "secondsLeft": rate.filter(|rate| *rate > 0.0).map(|rate| (left / rate).round()),
            "secondsSinceLastMove": progress.moved.elapsed().as_secs(),
            "paused": progress.paused,
        })
    }

    /// Answers every request with the document.
    pub async fn serve(self, address: SocketAddr) -> std::io::Result<()> {
        let listener = match TcpListener::bind(address).await {
            // A node without IPv6.
            Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?
            }
            bound => bound?,
        };
        let room = Arc::new(Semaphore::new(CLIENTS));
        say!("progress is told on http://{}", listener.local_addr()?);
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let progress = self.clone();
            // One too many is turned away: the run has other things to do.
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                continue;
            };
            tokio::spawn(async move {
                let _place = place;
                let answer = service_fn(|_| {
                    let body = Full::new(Bytes::from(progress.document().to_string()));
                    async {
                        let mut response = Response::new(body);
                        let json = header::HeaderValue::from_static("application/json");
                        response.headers_mut().insert(header::CONTENT_TYPE, json);
                        Ok::<_, Infallible>(response)
                    }
                });
                let mut server = http1::Builder::new();
                server
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(2))
                    .keep_alive(false);
                // A client that is gone asks again.
                let serving = server.serve_connection(TokioIo::new(stream), answer);
                let _ = timeout(PATIENCE, serving).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The operator's own test reads the same file.
    #[test]
    fn it_is_told_as_the_operator_reads_it() {
        let batch = |name: &str| json!({"name": name, "table": "t", "key": ["id"], "set": "a = 1", "where": "a = 0"});
        let order = json!({
            "namespace": "n", "rollout": "r", "revision": "r-1", "database": "d", "version": 7,
            "phase": "Backfill", "deadlineSeconds": 60, "batches": [batch("names"), batch("more")],
        });
        let progress = Shared::new(&Order::parse(&order.to_string()).unwrap());
        progress.turn_to(1);
        progress.begin("names", 500, 20_000);
        let read: Value = serde_json::from_str(include_str!("tests/progress.json")).unwrap();
        assert_eq!(progress.document(), read);
    }
}
