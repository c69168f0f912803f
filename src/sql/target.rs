//! Where PostgreSQL is: the connection URI, read as libpq would read it, and TLS.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::failure::Failure;

/// What the image has of the public authorities.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How to connect. It holds the password, so it is never printed.
pub struct Target {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Target {
    /// `ca` is the file with the authorities; without it, the system's.
    pub fn read(uri: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        let (uri, mode) = without_sslmode(uri.trim());
        // The parser's own words could quote the password.
        let mut config: Config = uri.parse().map_err(|_| {
            Failure::bad_input(
                "BadUri",
                "the connection (STEPGATE_DATABASE_URL) cannot be read. It must be a URI, \
                 `postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full`; special characters \
                 of the password are written as %XX; sslcert, sslkey and sslrootcert are not read",
            )
        })?;
        if config.get_dbname().is_none() {
            return Err(Failure::bad_input(
                "BadUri",
                "the connection (STEPGATE_DATABASE_URL) names no database: \
                 `postgres://USER:PASSWORD@HOST:5432/DATABASE`",
            ));
        }
        config.ssl_mode(mode.map_err(|mode| {
            Failure::bad_input(
                "BadUri",
                format!("the connection's sslmode `{mode}` is not one of disable, prefer, require, verify-ca, verify-full"),
            )
        })?);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(std::time::Duration::from_secs(5));
        }
        config.keepalives_idle(std::time::Duration::from_secs(10));
        config.tcp_user_timeout(std::time::Duration::from_secs(20));
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(trust(ca)?),
        })
    }

    pub fn config(&self, application_name: &str) -> Config {
        let mut config = self.config.clone();
        config.application_name(application_name);
        config
    }

    pub fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }
}

/// libpq's `sslmode` has two values that the client does not read. Whatever uses TLS here checks
/// the certificate and the name, so all of them mean the same.
fn without_sslmode(uri: &str) -> (String, Result<SslMode, String>) {
    let Some((front, query)) = uri.split_once('?') else {
        return (uri.to_owned(), Ok(SslMode::Prefer));
    };
    let (own, others): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .partition(|pair| pair.starts_with("sslmode="));
    let mode = match own.last().and_then(|pair| pair.strip_prefix("sslmode=")) {
        None | Some("prefer" | "allow") => Ok(SslMode::Prefer),
        Some("disable") => Ok(SslMode::Disable),
        Some("require" | "verify-ca" | "verify-full") => Ok(SslMode::Require),
        Some(other) => Err(other.chars().take(20).collect()),
    };
    if others.is_empty() {
        (front.to_owned(), mode)
    } else {
        (format!("{front}?{}", others.join("&")), mode)
    }
}

fn trust(ca: Option<&Path>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    let given = ca.is_some();
    let path = ca.unwrap_or(Path::new(SYSTEM));
    match fs::read(path) {
        Ok(pem) => {
            let certificates = CertificateDer::pem_slice_iter(&pem).flatten();
            roots.add_parsable_certificates(certificates);
        }
        Err(error) if given => {
            return Err(Failure::bad_input(
                "BadCa",
                format!(
                    "the certificate authority {} cannot be read: {error}",
                    path.display()
                ),
            ));
        }
        // Without any, no certificate is trusted, and a connection without TLS still works.
        Err(_) => {}
    }
    if given && roots.is_empty() {
        return Err(Failure::bad_input(
            "BadCa",
            format!("{} holds no certificate in PEM", path.display()),
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::fatal("TlsFailed", format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn every_sslmode_of_libpq_is_read() {
        for (uri, rest, mode) in [
            ("postgres://h/d", "postgres://h/d", Ok(SslMode::Prefer)),
            (
                "postgres://h/d?sslmode=verify-full",
                "postgres://h/d",
                Ok(SslMode::Require),
            ),
            (
                "postgres://h/d?a=b&sslmode=disable&c=d",
                "postgres://h/d?a=b&c=d",
                Ok(SslMode::Disable),
            ),
            (
                "postgres://h/d?sslmode=maybe",
                "postgres://h/d",
                Err("maybe".to_owned()),
            ),
        ] {
            assert_eq!(without_sslmode(uri), (rest.to_owned(), mode), "{uri}");
        }
    }

    #[test]
    fn a_uri_that_cannot_be_read_is_not_quoted() {
        for uri in [
            "postgres://u:geheim@h:x/d",
            "postgres://u:geheim@h/d?sslmode=geheimer",
            "postgres://u:geheim@h",
            "geheim",
        ] {
            let Err(failure) = Target::read(uri, None) else {
                panic!("{uri}")
            };
            assert_eq!(failure.reason, "BadUri");
            assert!(
                !failure.message.contains("geheim") || uri.contains("geheimer"),
                "{failure}"
            );
        }
    }
}
