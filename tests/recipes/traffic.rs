//! Requests of one release of the code: its statements, prepared once and kept, on connections of
//! its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};

use super::server::Server;

/// What sessions of code are called.
pub const WHO: &str = "code";
/// Connections of a release.
const CONNECTIONS: usize = 3;
/// Rows that requests are about.
const ROWS: i64 = 10_000;

pub struct Code {
    workers: Vec<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
    told: Arc<Told>,
}

/// What the requests came to.
#[derive(Default)]
pub struct Told {
    done: AtomicU64,
    failed: std::sync::Mutex<Vec<String>>,
    /// In milliseconds.
    slowest: AtomicU64,
}

/// Numbers that differ from request to request, the same in each run.
static NEXT: AtomicI64 = AtomicI64::new(1);

impl Code {
    /// Starts the requests of a release: its statements, in turn.
    pub async fn start(server: &Server, statements: &str) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::new(Told::default());
        let statements: Vec<String> = statements
            .split(';')
            .map(|one| one.trim().to_owned())
            .filter(|one| !one.is_empty())
            .collect();
        let mut workers = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = server.connect(WHO).await;
            let mut prepared = Vec::new();
            for statement in &statements {
                prepared.push(client.prepare(statement).await.unwrap());
            }
            let (ends, told) = (Arc::clone(&ends), Arc::clone(&told));
            workers.push(tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    for statement in &prepared {
                        let number = NEXT.fetch_add(7_919, Ordering::Relaxed);
                        let values: Vec<_> = statement
                            .params()
                            .iter()
                            .map(|kind| value(kind, number))
                            .collect();
                        let values: Vec<&(dyn ToSql + Sync)> = values
                            .iter()
                            .map(|value| &**value as &(dyn ToSql + Sync))
                            .collect();
                        let began = Instant::now();
                        if let Err(error) = client.query(statement, &values).await {
                            told.failed.lock().unwrap().push(format!("{error:?}"));
                        }
                        let took = u64::try_from(began.elapsed().as_millis()).unwrap();
                        told.slowest.fetch_max(took, Ordering::Relaxed);
                        told.done.fetch_add(1, Ordering::Relaxed);
                    }
                    // Two cores are shared with the server, and with whoever changes the schema.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        Self {
            workers,
            ends,
            told,
        }
    }

    /// Waits until so many more requests are done.
    pub async fn serve(&self, requests: u64) {
        let until = self.told.done.load(Ordering::Relaxed) + requests;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.told.done.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < deadline, "requests hang");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the requests; none of them may have failed.
    pub async fn stop(self) {
        let failed = self.end().await;
        assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed[0]);
    }

    /// Ends the requests; what failed.
    pub async fn end(self) -> Vec<String> {
        self.ends.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
        let done = self.told.done.load(Ordering::Relaxed);
        assert!(done > 0);
        let slowest = self.told.slowest.load(Ordering::Relaxed);
        println!("{done} requests, the slowest {slowest} ms");
        let mut failed = self.told.failed.lock().unwrap();
        std::mem::take(&mut *failed)
    }
}

fn value(kind: &Type, number: i64) -> Box<dyn ToSql + Sync + Send> {
    let id = number.rem_euclid(ROWS) + 1;
    if *kind == Type::INT4 {
        Box::new(i32::try_from(id).unwrap())
    } else if *kind == Type::INT8 {
        Box::new(id)
    } else {
        Box::new(format!("value {number}"))
    }
}
