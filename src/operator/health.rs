//! Probes and metrics over HTTP, each on a listener of its own: whoever may read metrics cannot take
//! the kubelet's place.
//!
//! * `/healthz`: 200 while every registered heart beats ([`Liveness`]).
//! * `/readyz`: 200 once everything that was announced is initialised ([`Readiness`]).
//! * `/metrics`: OpenMetrics text.
//!
//! A connection is accepted at once, always. When there are more than [`MAX_CONNECTIONS`], the
//! oldest of the peer with the most goes, so that idle ones keep nobody out. Each lives for at most
//! [`CONNECTION_LIFETIME`], and no request bodies are read.

mod guests;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use self::guests::Guests;
pub(crate) use self::state::{Liveness, Readiness};
use super::metrics::{self, Metrics};
use super::shutdown::Stop;

/// Connections of one listener at the same time.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// A connection is closed after this time, however busy it is.
pub(crate) const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
/// A connection is closed when a request's head has not come in for this time.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes that a request's head may have; hyper's least is 8 KiB.
const HEAD_BYTES: usize = 8 * 1024;

/// What is served by one listener.
#[derive(Clone, Debug)]
pub(crate) enum Served {
    /// To the kubelet.
    Probes(Liveness, Readiness),
    /// To a scraper.
    Metrics(Metrics),
}

impl Served {
    /// The flag that says where.
    const fn flag(&self) -> &'static str {
        match self {
            Self::Probes(..) => "--probes-listen",
            Self::Metrics(_) => "--listen",
        }
    }
}

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {address}: {cause}")]
pub struct ListenError {
    flag: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

/// A listening server.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    served: Served,
}

impl Server {
    /// Takes the port, so that a bad address ends the process before anything begins.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub(crate) async fn bind(address: SocketAddr, served: Served) -> Result<Self, ListenError> {
        let mut listener = TcpListener::bind(address).await;
        if let Err(error) = &listener
            && let Some(instead) = without_ipv6(address, error)
        {
            listener = TcpListener::bind(instead).await;
        }
        let flag = served.flag();
        let listener = listener.map_err(|cause| ListenError {
            flag,
            address,
            cause,
        })?;
        Ok(Self { listener, served })
    }

    /// Serves until `stop`. Connections that are open then are cut off.
    pub(crate) async fn run(self, mut stop: Stop) {
        let mut guests = Guests::new(MAX_CONNECTIONS);
        loop {
            tokio::select! {
                () = stop.wait() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let served = serve(stream, self.served.clone());
                        guests.welcome(peer.ip(), served);
                    }
                    Err(error) => {
                        // Usually too many open files: it passes, and a busy loop would not help.
                        warn!(%error, "cannot accept a connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

/// `[::]` means every address of both families, so it must also work where the kernel has no IPv6.
fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    const ADDRESS_FAMILY_NOT_SUPPORTED: i32 = 97; // EAFNOSUPPORT of Linux
    let missing = error.raw_os_error() == Some(ADDRESS_FAMILY_NOT_SUPPORTED);
    let any = address.ip() == Ipv6Addr::UNSPECIFIED;
    (missing && any).then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

async fn serve(stream: TcpStream, served: Served) {
    // The kubelet asks once per connection; a scraper comes again and again.
    let keep_alive = matches!(served, Served::Metrics(_));
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&served, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(keep_alive)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "connection ended"),
        Err(_) => debug!("connection reached the end of its lifetime"),
    }
}

fn respond(served: &Served, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET or HEAD, please\n".into(),
        );
        response
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match (served, path) {
        (Served::Probes(liveness, _), "/healthz") => {
            verdict(liveness.overdue(), "no sign of life from")
        }
        (Served::Probes(_, readiness), "/readyz") => verdict(readiness.missing(), "not ready"),
        (Served::Metrics(metrics), "/metrics") => {
            let mut response = text(StatusCode::OK, metrics.render());
            let kind = hyper::header::HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        (Served::Probes(..), _) => text(StatusCode::NOT_FOUND, "/healthz or /readyz\n".into()),
        (Served::Metrics(_), _) => text(StatusCode::NOT_FOUND, "/metrics\n".into()),
    }
}

/// 200 when nothing is in the way, otherwise 503 with the list.
fn verdict(faults: Vec<&'static str>, said: &str) -> Response<Full<Bytes>> {
    if faults.is_empty() {
        return text(StatusCode::OK, "ok\n".into());
    }
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{said}: {}\n", faults.join(", ")),
    )
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
