//! `shop serve`: listens, and leaves without a failed request.
//!
//! On SIGTERM: readiness fails and answers over HTTP/1 say `Connection: close`; for the drain time new
//! connections are still served, because it takes a moment until the last client knows; then
//! nothing new is accepted, idle connections are closed and running requests are finished.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::Config;

use crate::database;
use crate::fault::{Fault, Share};
use crate::flags::{self, Flags};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::release::Release;
use crate::routes::{self, App};

/// How long a connection that said nothing yet is waited for at the end.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// How the server listens and leaves.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, env = "SHOP_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Connections to PostgreSQL.
    #[arg(long, env = "SHOP_POOL", default_value_t = 2)]
    pool: usize,
    /// Seconds that new connections are still served after SIGTERM.
    #[arg(long, env = "SHOP_DRAIN_SECONDS", default_value_t = 4.0, value_parser = seconds)]
    drain_seconds: f64,
    /// Seconds that running requests may take after that.
    #[arg(long, env = "SHOP_GRACE_SECONDS", default_value_t = 10.0, value_parser = seconds)]
    grace_seconds: f64,
    /// Where the feature flags are, in flagd's format.
    #[arg(long, env = "FLAGD_OFFLINE_FLAG_SOURCE_PATH")]
    flags: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    Ok(seconds)
}

/// Why the server ended other than by SIGTERM.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket, no signals.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The pool could not be made.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// There is a file of flags, and nothing to read it with.
    #[error(transparent)]
    Flags(#[from] flags::Error),
    /// Requests were cut off.
    #[error("{0} connections were still busy after the grace time, and were cut")]
    Cut(usize),
    /// What `--fault crash` is for.
    #[error("crashed, as told")]
    Crash,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(
    config: &Config,
    release: Release,
    fault: Fault,
    options: &Options,
) -> Result<(), Error> {
    let cannot_listen = |error| Error::Listen(options.listen, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    tracing::info!("{release} listens on {address}");

    let pool = database::pool(config, options.pool)?;
    let flags = Flags::open(options.flags.as_deref()).await?;
    let readiness = Readiness::new();
    tokio::spawn(readiness.clone().watch(pool.clone(), release, fault));
    let share = if let Fault::Errors(share) = fault {
        share
    } else {
        0.0
    };
    let router = routes::router(Arc::new(App {
        release,
        fault,
        failing: Share::new(share),
        flags,
        pool,
        metrics: Metrics::new(),
        readiness: readiness.clone(),
        pod: routes::pod(),
    }));
    let mut server = Server {
        listener,
        service: TowerToHyperService::new(router),
        connections: JoinSet::new(),
        closing: watch::Sender::new(false),
    };
    tokio::select! {
        () = server.accept_all() => {}
        () = crash(&readiness, fault) => return Err(Error::Crash),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    readiness.drain();
    tracing::info!("draining for {} s", options.drain_seconds);
    let until = Instant::now() + Duration::from_secs_f64(options.drain_seconds);
    tokio::select! {
        () = server.accept_all() => {}
        () = sleep_until(until) => {}
    }
    server
        .close(Duration::from_secs_f64(options.grace_seconds))
        .await?;
    tracing::info!("every request is answered");
    Ok(())
}

/// Returns when it is time to crash.
async fn crash(readiness: &Readiness, fault: Fault) {
    let Fault::Crash(after) = fault else {
        return std::future::pending().await;
    };
    readiness.reached().await;
    sleep(after).await;
}

struct Server {
    listener: TcpListener,
    service: TowerToHyperService<Router>,
    connections: JoinSet<()>,
    closing: watch::Sender<bool>,
}

impl Server {
    /// Accepts for ever. Nothing is lost when it is dropped.
    async fn accept_all(&mut self) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.serve(stream),
                    // Out of descriptors, or the client has gone again.
                    Err(error) => {
                        tracing::warn!("cannot accept: {error}");
                        sleep(Duration::from_millis(20)).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    fn serve(&mut self, stream: TcpStream) {
        let service = self.service.clone();
        self.connections
            .spawn(connection(stream, service, self.closing.subscribe()));
    }

    /// Takes what is in the queue, closes the door, and waits for the rest.
    async fn close(mut self, grace: Duration) -> Result<(), Error> {
        // The kernel has completed these handshakes: closing now would reset them.
        while let Ok(Ok((stream, _))) =
            timeout(Duration::from_millis(20), self.listener.accept()).await
        {
            self.serve(stream);
        }
        drop(self.listener);
        self.closing.send_replace(true);
        let all = async { while self.connections.join_next().await.is_some() {} };
        let finished = timeout(grace, all).await;
        finished.map_err(|_| Error::Cut(self.connections.len()))
    }
}

/// Serves one connection, to its end or until the server closes.
async fn connection(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    mut closing: watch::Receiver<bool>,
) {
    // Only latency depends on it.
    let _ = stream.set_nodelay(true);
    let heard = Arc::new(Notify::new());
    let hear = heard.clone();
    let service = service_fn(move |request| {
        hear.notify_one();
        service.call(request)
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // How a client ends its connection is the client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => {}
    }
    // An accepted connection is a promise: its first request may be under way.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = timeout(FIRST_WORD, heard.notified()) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
