//! How far the run is, for whoever asks on the port.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{Response, body::Bytes, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::order::{Order, Phase};

/// The rate is of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(30);

/// Shared by the run and the port.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Progress>>);

struct Progress {
    phase: Phase,
    version: i32,
    batch: Option<String>,
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
        let listener = TcpListener::bind(address).await?;
        say!("progress is told on http://{}", listener.local_addr()?);
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let progress = self.clone();
            tokio::spawn(async move {
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
                let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    }
}
