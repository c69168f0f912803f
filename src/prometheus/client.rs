//! Asking one metric source, within limits of time and size.

use std::future::Future;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, redirect};

use super::body::Body;
use super::config::{ConfigError, SourceConfig};
use super::decode;
use super::error::Error;
use super::query::Query;
use super::room::Room;
use crate::evidence::Snapshot;

/// The most that is read of one answer, on its way through.
const MAX_ANSWER: usize = 8 << 20;

/// Moments in one history; enough to see at which minute a release turned bad, few enough to
/// hold in memory.
const MAX_MOMENTS: i64 = 2_000;

/// Where counts come from.
pub trait MetricSource: Send + Sync + 'static {
    /// The counts now, by the source's own clock; what is kept of the answer fits into the room.
    fn now(
        &self,
        query: &Query,
        room: &Room,
    ) -> impl Future<Output = Result<Snapshot, Error>> + Send;

    /// The counts from `since` to `until`, `step_seconds` apart or, if that would be too much,
    /// further; in order of time.
    fn history(
        &self,
        query: &Query,
        since: Timestamp,
        until: Timestamp,
        step_seconds: i64,
        room: &Room,
    ) -> impl Future<Output = Result<Vec<(Timestamp, Snapshot)>, Error>> + Send;
}

/// A Prometheus, or what speaks its HTTP API.
#[derive(Clone)]
pub struct Client {
    api: prometheus_http_query::Client,
    config: SourceConfig,
}

impl Client {
    /// A client for a checked source. Reads `caFile`; connects to nothing yet.
    ///
    /// # Errors
    /// If `caFile` cannot be read or holds no certificate.
    pub fn new(config: SourceConfig) -> Result<Self, ConfigError> {
        let mut builder = reqwest::Client::builder()
            // A redirect or a proxy from the environment would carry the credentials elsewhere.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(timeout(&config))
            .timeout(timeout(&config))
            .pool_max_idle_per_host(4)
            .default_headers(fixed_headers(&config)?);
        if let Some(path) = &config.ca_file {
            builder = builder.tls_certs_only(authorities(&config, path)?);
        } else if config.url.starts_with("http://") {
            // Nobody has to vouch for anything: an image without certificates will do.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|_| {
            config.wrong(
                "caFile",
                "TLS cannot be set up: no certificates, here or on the system",
            )
        })?;
        let api = prometheus_http_query::Client::from(http, config.url.trim_end_matches('/'))
            .map_err(|_| config.wrong("url", "it is no URL"))?;
        Ok(Self { api, config })
    }

    /// The header with the credentials, read anew, because tokens are rotated.
    async fn credentials(&self) -> Result<Option<HeaderValue>, Error> {
        let text = if let Some(path) = &self.config.bearer_token_file {
            format!("Bearer {}", secret("bearerTokenFile", path).await?)
        } else if let Some(basic) = &self.config.basic_auth {
            let user = secret("basicAuth.usernameFile", &basic.username_file).await?;
            let password = secret("basicAuth.passwordFile", &basic.password_file).await?;
            format!(
                "Basic {}",
                BASE64_STANDARD.encode(format!("{user}:{password}"))
            )
        } else {
            return Ok(None);
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| Error::Credential {
            field: "credentials (not text that a header can carry)",
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn within_time<T>(
        &self,
        ask: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = timeout(&self.config);
        let late = Error::TimedOut {
            seconds: limit.as_secs(),
        };
        tokio::time::timeout(limit, ask).await.unwrap_or(Err(late))
    }

    /// Reads an answer as it comes. Its size on the way is bounded here, what is kept of it by the
    /// room.
    async fn read<T: Send + 'static>(
        &self,
        sent: Result<reqwest::Response, prometheus_http_query::Error>,
        room: &Room,
        decode: impl FnOnce(u16, BufReader<Body>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut response = sent.map_err(|e| self.unsent(&e))?;
        let status = response.status().as_u16();
        match status {
            401 | 403 => return Err(Error::Unauthorized { status }),
            300..=399 => return Err(Error::Redirected { status }),
            _ => {}
        }
        room.enter().await;
        let (body, arrives) = Body::new();
        // Reading JSON from a stream blocks; few answers are read at a time.
        let decoding = tokio::task::spawn_blocking(move || decode(status, BufReader::new(body)));
        let mut length = 0;
        while let Some(chunk) = response.chunk().await.map_err(|e| self.broken(&e))? {
            length += chunk.len();
            if length > MAX_ANSWER {
                return Err(Error::TooLarge {
                    megabytes: MAX_ANSWER >> 20,
                });
            }
            // Whoever stops listening says why.
            if arrives.send(chunk.to_vec()).await.is_err() {
                break;
            }
        }
        drop(arrives);
        decoding.await.map_err(|_| Error::BadAnswer {
            what: "it cannot be read",
        })?
    }

    fn unsent(&self, error: &prometheus_http_query::Error) -> Error {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(e) = cause {
            if let Some(e) = e.downcast_ref::<reqwest::Error>() {
                return self.broken(e);
            }
            cause = e.source();
        }
        Error::Unreachable
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        if error.is_timeout() {
            Error::TimedOut {
                seconds: timeout(&self.config).as_secs(),
            }
        } else {
            Error::Unreachable
        }
    }

    async fn moments(
        &self,
        query: &Query,
        (since, until): (i64, i64),
        step: i64,
        room: &Room,
    ) -> Result<Vec<(Timestamp, Snapshot)>, Error> {
        let mut request = self
            .api
            .query_range(query.text(), since, until, step as f64)
            .timeout(timeout(&self.config).as_millis() as i64);
        if let Some(value) = self.credentials().await? {
            request = request.header(AUTHORIZATION, value);
        }
        let (asked, kept) = (query.clone(), room.clone());
        self.read(request.post_raw().await, room, move |status, body| {
            decode::range(&asked, status, body, &kept)
        })
        .await
    }
}

impl MetricSource for Client {
    async fn now(&self, query: &Query, room: &Room) -> Result<Snapshot, Error> {
        self.within_time(async {
            let mut request = self
                .api
                .query(query.text())
                .timeout(timeout(&self.config).as_millis() as i64);
            if let Some(value) = self.credentials().await? {
                request = request.header(AUTHORIZATION, value);
            }
            let (asked, kept) = (query.clone(), room.clone());
            self.read(request.post_raw().await, room, move |status, body| {
                decode::instant(&asked, status, body, &kept)
            })
            .await
        })
        .await
    }

    async fn history(
        &self,
        query: &Query,
        since: Timestamp,
        until: Timestamp,
        step_seconds: i64,
        room: &Room,
    ) -> Result<Vec<(Timestamp, Snapshot)>, Error> {
        let (since, until) = (since.as_second(), until.as_second());
        let length = until - since;
        if length <= 0 {
            return Ok(Vec::new());
        }
        let mut step = step_seconds.max(1).max(length / MAX_MOMENTS + 1);
        loop {
            let ask = self.moments(query, (since, until), step, room);
            match self.within_time(ask).await {
                // Too many pods for so many moments.
                Err(Error::TooLarge { .. } | Error::TooMuch) if length / step > 10 => step *= 4,
                outcome => return outcome,
            }
        }
    }
}

fn timeout(config: &SourceConfig) -> Duration {
    Duration::from_secs(config.timeout_seconds.into())
}

fn fixed_headers(config: &SourceConfig) -> Result<HeaderMap, ConfigError> {
    let tenant = config.tenant.iter().map(|t| (&config.tenant_header, t));
    let mut headers = HeaderMap::new();
    for (name, value) in config.headers.iter().chain(tenant) {
        let unusable = || config.wrong("headers", "a header that cannot be sent");
        let name = HeaderName::try_from(name.as_str()).map_err(|_| unusable())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn authorities(config: &SourceConfig, path: &Path) -> Result<Vec<Certificate>, ConfigError> {
    let pem = std::fs::read(path).map_err(|cause| ConfigError::File {
        source_name: config.name.clone(),
        field: "caFile",
        path: path.to_owned(),
        cause,
    })?;
    let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if found.is_empty() {
        return Err(config.wrong("caFile", "no certificate in it; PEM is expected"));
    }
    Ok(found)
}

/// A secret's file, without the newline that editors put at its end.
async fn secret(field: &'static str, path: &Path) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|_| Error::Credential { field })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
