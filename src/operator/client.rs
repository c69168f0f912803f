//! Connections to the API server.
//!
//! Two clients, because they may not be treated alike: reads are repeated by the client library when
//! the server is busy, writes never are. A write that was repeated below us, after up to a thousand
//! seconds, would rest on a decision that may no longer stand.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

use super::metrics::Metrics;

/// The clients of one process.
#[derive(Clone, Debug)]
pub struct Clients {
    /// For get, list and watch: repeated by the library on 429, 503 and 504.
    pub reads: ReadClient,
    /// For everything else: sent once, and ended with an error when no answer came in time.
    pub writes: WriteClient,
}

/// See [`Clients::reads`].
#[derive(Clone)]
pub struct ReadClient(Client);

/// See [`Clients::writes`].
#[derive(Clone)]
pub struct WriteClient(Client);

impl ReadClient {
    /// The client, for a `kube::Api` that is only read from.
    pub fn client(&self) -> Client {
        self.0.clone()
    }
}

impl WriteClient {
    /// The client, for a `kube::Api` that is written to.
    pub fn client(&self) -> Client {
        self.0.clone()
    }
}

impl std::fmt::Debug for ReadClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadClient")
    }
}

impl std::fmt::Debug for WriteClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteClient")
    }
}

/// The API server cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No configuration.
    #[error(
        "no way to the API server: outside a cluster set KUBECONFIG to a file, inside one mount the ServiceAccount's token: {0}"
    )]
    Infer(#[from] kube::config::InferConfigError),
    /// Certificates or credentials that cannot be used.
    #[error("the configuration for the API server cannot be used: {0}")]
    Build(#[source] Box<kube::Error>),
}

/// The longest that a write may stay unanswered: shorter than the time between the end of a lost
/// term and the earliest start of the next one (5 s by default), so that it is known by then.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// How this client names itself.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("stepgate/", env!("CARGO_PKG_VERSION")));

impl Clients {
    /// Clients for the cluster that the environment names: `KUBECONFIG`, or the pod's own.
    ///
    /// # Errors
    ///
    /// When there is no configuration, or it cannot be used.
    pub(crate) async fn infer(metrics: &Metrics) -> Result<(Self, Config), ConnectError> {
        let config = Config::infer().await?;
        Ok((Self::new(config.clone(), metrics)?, config))
    }

    /// Clients for `config`.
    ///
    /// # Errors
    ///
    /// When certificates or credentials cannot be used.
    pub fn new(mut config: Config, metrics: &Metrics) -> Result<Self, ConnectError> {
        // So that audit logs and flow control tell this client from others.
        config.headers.push((USER_AGENT, AGENT));
        let build = |config: Config| {
            let builder = ClientBuilder::try_from(config)
                .map_err(|error| ConnectError::Build(Box::new(error)))?;
            Ok::<_, ConnectError>(builder.with_layer(&Counted(metrics.clone())).build())
        };
        let mut once = config.clone();
        once.default_retry = false;
        Ok(Self {
            reads: ReadClient(build(config)?),
            writes: WriteClient(build(once)?),
        })
    }
}

/// Counts requests as callers make them, with the answer that the caller gets.
#[derive(Clone, Debug)]
struct Counted(Metrics);

#[derive(Clone, Debug)]
struct CountedService<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Layer<S> for Counted {
    type Service = CountedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountedService {
            inner,
            metrics: Arc::new(self.0.clone()),
        }
    }
}

impl<S, B> Service<Request<Body>> for CountedService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, metrics) = (request.method().clone(), self.metrics.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer
                .as_ref()
                .ok()
                .map(|response| response.status().as_u16());
            metrics.requested(method.as_str(), status);
            answer
        })
    }
}
