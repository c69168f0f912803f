//! The metric sources: what the administrator configures, once for the whole operator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use thiserror::Error;

use crate::api::name::{DNS_LABEL_LENGTH, is_dns_label};
use crate::api::{BuiltIn, Convention};
use crate::evidence::{ConventionError, Fault, Reason, check_label};

/// Most sources one file may have.
const MAX_SOURCES: usize = 100;

/// Headers that say who asks or how the message is framed; there are fields for the former.
const OWN_HEADERS: [&str; 9] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
];

/// The file with the metric sources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourcesFile {
    /// The sources; names are unique.
    #[serde(default)]
    pub sources: Vec<SourceConfig>,
}

/// One metric source.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceConfig {
    /// What Rollouts call it: lower case letters, digits and `-`, at most 63.
    pub name: String,
    /// Where Prometheus' HTTP API is, without `/api/v1`; http or https.
    pub url: String,
    /// Under which names requests are counted.
    #[serde(default)]
    pub convention: BuiltIn,
    /// Names that differ from the convention.
    #[serde(default)]
    pub metric: Convention,
    /// Label that holds the namespace; every query is bound to the Rollout's by it.
    #[serde(default = "namespace_label")]
    pub namespace_label: String,
    /// File with a bearer token; read again for every query, so that it may be rotated.
    pub bearer_token_file: Option<PathBuf>,
    /// User and password, in files.
    pub basic_auth: Option<BasicAuth>,
    /// File with the certificates (PEM) of the authorities that may vouch for the source.
    /// Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// More headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Tenant for Mimir, Cortex, Loki-like and Thanos sources; sent as `tenantHeader`.
    pub tenant: Option<String>,
    /// Header that names the tenant.
    #[serde(default = "tenant_header")]
    pub tenant_header: String,
    /// Namespaces whose Rollouts may use it; `*` is all of them.
    #[serde(default = "everywhere")]
    pub namespaces: Vec<String>,
    /// How long an answer may take, 1 to 60 seconds.
    #[serde(default = "timeout")]
    pub timeout_seconds: u32,
    /// How often pods are scraped, 1 to 600 seconds; a ready pod not scraped for twice as long
    /// makes an answer partial.
    #[serde(default = "scrape_interval")]
    pub scrape_interval_seconds: u32,
}

/// User and password of a source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// File with the user's name.
    pub username_file: PathBuf,
    /// File with the password.
    pub password_file: PathBuf,
}

fn namespace_label() -> String {
    "namespace".to_owned()
}
fn tenant_header() -> String {
    "X-Scope-OrgID".to_owned()
}
fn everywhere() -> Vec<String> {
    vec!["*".to_owned()]
}
fn timeout() -> u32 {
    10
}
fn scrape_interval() -> u32 {
    30
}

impl fmt::Debug for SourceConfig {
    /// Without the values of headers, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceConfig")
            .field("name", &self.name)
            .field("url", &self.url)
            .field("headers", &self.headers.keys())
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the file; names the source and the field, and says what to write.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not the YAML that is expected.
    #[error("metric sources: {0}")]
    Yaml(String),
    /// A field.
    #[error("metric source {source_name:?}: {field}: {problem}")]
    Field {
        /// Name of the source.
        source_name: String,
        /// Field in the file.
        field: &'static str,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// A file it names.
    #[error("metric source {source_name:?}: {field}: cannot read {path:?}: {cause}")]
    File {
        /// Name of the source.
        source_name: String,
        /// Field in the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
}

impl SourcesFile {
    /// Reads and checks the file's text.
    pub fn parse(yaml: &str) -> Result<Self, ConfigError> {
        // Without a snippet of the text: headers may be secrets, and errors are logged.
        let options = serde_saphyr::options! { with_snippet: false };
        let file: Self = serde_saphyr::from_str_with_options(yaml, options)
            .map_err(|e| ConfigError::Yaml(e.to_string()))?;
        if file.sources.len() > MAX_SOURCES {
            return Err(ConfigError::Yaml(format!(
                "more than {MAX_SOURCES} sources"
            )));
        }
        let mut names = BTreeSet::new();
        for source in &file.sources {
            source.check()?;
            if !names.insert(&source.name) {
                return Err(source.wrong("name", "another source has it; names are unique"));
            }
        }
        Ok(file)
    }
}

impl SourceConfig {
    /// Whether Rollouts of a namespace may use it; the fault says so in their status.
    pub(crate) fn admits(&self, namespace: &str) -> Result<(), Fault> {
        if self.namespaces.iter().any(|n| n == "*" || n == namespace) {
            return Ok(());
        }
        Err(Fault {
            reason: Reason::SourceForbidden,
            message: format!(
                "metric source {:?} is not open to namespace {namespace:?}: ask the \
                 administrator, or name another in analysis.source",
                self.name
            ),
        })
    }

    /// The names its series have, as far as a check does not say otherwise.
    pub(crate) fn names(&self) -> Convention {
        let mut names = self.metric.clone();
        names.convention = names.convention.or(Some(self.convention));
        names
    }

    pub(super) fn wrong(&self, field: &'static str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Field {
            source_name: self.name.chars().take(80).collect(),
            field,
            problem: problem.into(),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let is_label = |s: &str| s.len() <= DNS_LABEL_LENGTH && is_dns_label(s);
        if !is_label(&self.name) {
            let problem = "write 1 to 63 lower case letters, digits and `-`, with a letter or \
                           digit at both ends";
            return Err(self.wrong("name", problem));
        }
        self.check_url()?;
        self.check_names()?;
        self.check_headers()?;
        if self.bearer_token_file.is_some() && self.basic_auth.is_some() {
            return Err(self.wrong("basicAuth", "leave out either this or bearerTokenFile"));
        }
        if self.namespaces.is_empty() {
            return Err(self.wrong(
                "namespaces",
                "name the namespaces, or write [\"*\"] for all",
            ));
        }
        if let Some(bad) = self.namespaces.iter().find(|n| *n != "*" && !is_label(n)) {
            let problem = format!("{bad:?} is no namespace; patterns other than `*` are not known");
            return Err(self.wrong("namespaces", problem));
        }
        if !(1..=60).contains(&self.timeout_seconds) {
            return Err(self.wrong("timeoutSeconds", "write 1 to 60"));
        }
        if !(1..=600).contains(&self.scrape_interval_seconds) {
            return Err(self.wrong("scrapeIntervalSeconds", "write 1 to 600"));
        }
        Ok(())
    }

    fn check_url(&self) -> Result<(), ConfigError> {
        let url = Url::parse(&self.url).ok().filter(|u| u.has_host());
        let Some(url) = url.filter(|u| matches!(u.scheme(), "http" | "https")) else {
            return Err(self.wrong("url", "write http:// or https://, a host, and maybe a path"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.wrong("url", "no credentials in it: use basicAuth"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(self.wrong(
                "url",
                "no `?` or `#` in it: headers can be given in headers",
            ));
        }
        if url.path().trim_end_matches('/').ends_with("/api/v1") {
            return Err(self.wrong("url", "leave out /api/v1, it is added"));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        let wrong = |e: ConventionError| self.wrong("metric", e.to_string());
        Convention::default()
            .resolve(&self.names())
            .map_err(wrong)?;
        let label = check_label("namespaceLabel", &self.namespace_label);
        label.map_err(|e| self.wrong("namespaceLabel", e.to_string()))
    }

    fn check_headers(&self) -> Result<(), ConfigError> {
        let tenant = self
            .tenant
            .iter()
            .map(|t| ("tenant", &self.tenant_header, t));
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| ("headers", name, value));
        for (field, name, value) in headers.chain(tenant) {
            let shown: String = name.chars().take(60).collect();
            if HeaderName::try_from(name.as_str()).is_err() {
                return Err(self.wrong(field, format!("{shown:?} is no name of a header")));
            }
            if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                let problem = format!(
                    "{shown:?} is not set here: use bearerTokenFile or basicAuth for credentials"
                );
                return Err(self.wrong(field, problem));
            }
            // Its value stays out of the error: it may be a secret.
            if HeaderValue::try_from(value.as_str()).is_err() {
                return Err(self.wrong(field, format!("the value of {shown:?} cannot be sent")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
sources:
- name: default
  url: http://prometheus.monitoring:9090/prom/
- name: team-a
  url: https://mimir.example/prometheus
  convention: opentelemetry
  metric: {podLabel: k8s_pod_name}
  namespaceLabel: k8s_namespace_name
  bearerTokenFile: /var/run/token
  caFile: /etc/ca.pem
  headers: {X-Route: "1"}
  tenant: a
  namespaces: [shop, cart]
  timeoutSeconds: 5
  scrapeIntervalSeconds: 2
"#;

    #[test]
    fn a_short_source_and_a_full_one() {
        let file = SourcesFile::parse(FULL).unwrap();
        let [short, full] = file.sources.as_slice() else {
            panic!()
        };
        assert_eq!(
            (short.timeout_seconds, short.scrape_interval_seconds),
            (10, 30)
        );
        assert!(short.admits("anywhere").is_ok());
        assert!(full.admits("shop").is_ok());
        assert_eq!(
            full.admits("other").unwrap_err().reason,
            Reason::SourceForbidden
        );
        let names = Convention::default().resolve(&full.names()).unwrap();
        assert_eq!(
            names.counter(),
            "http_server_request_duration_seconds_count"
        );
        assert_eq!(names.pod_label(), "k8s_pod_name");
        assert!(
            SourcesFile::parse("sources: []")
                .unwrap()
                .sources
                .is_empty()
        );
    }

    #[test]
    fn errors_name_source_field_and_remedy_and_no_secret() {
        let cases = [
            ("name: Bad", "\"Bad\": name: write"),
            ("url: ftp://x", "url: write http://"),
            ("url: prometheus:9090", "url: write http://"),
            ("url: http://me:s3cret@x", "use basicAuth"),
            ("url: http://x/api/v1", "leave out /api/v1"),
            ("url: http://x?key=s3cret", "url: no `?`"),
            ("metric: {counter: \"a b\"}", "metric: counter: "),
            ("namespaceLabel: a-b", "namespaceLabel: "),
            ("headers: {Authorization: s3cret}", "use bearerTokenFile"),
            ("headers: {\"a b\": s3cret}", "is no name of a header"),
            ("headers: {X-A: \"s3cret\\n\"}", "cannot be sent"),
            ("namespaces: []", "namespaces: name the namespaces"),
            ("namespaces: [\"team-*\"]", "patterns other than"),
            ("timeoutSeconds: 0", "timeoutSeconds: write 1 to 60"),
            ("scrapeIntervalSeconds: 601", "scrapeIntervalSeconds: write"),
            ("urls: http://s3cret", "urls"),
            ("timeoutSeconds: s3cret", "metric sources: "),
        ];
        for (line, expected) in cases {
            let field = line.split(':').next().unwrap();
            let rest = [("name", "name: a"), ("url", "url: http://x")];
            let rest: Vec<&str> = rest
                .iter()
                .filter(|(f, _)| *f != field)
                .map(|(_, line)| *line)
                .collect();
            let yaml = format!("sources:\n- {line}\n  {}\n", rest.join("\n  "));
            let error = SourcesFile::parse(&yaml).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("s3cret"), "{line}: {error}");
        }
        let twice = "sources: [{name: a, url: http://x}, {name: a, url: http://y}]";
        assert!(
            SourcesFile::parse(twice)
                .unwrap_err()
                .to_string()
                .contains("unique")
        );
    }
}
