//! Flags and environment of the operator.
//!
//! Every setting is a flag and an environment variable of the same name with `STEPGATE_` before it.
//! [`OperatorArgs`] is what was written, [`Settings`] what it means once it is checked.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::lease::{Timing, TimingError};
use super::telemetry::{self, LogFormat, TelemetryError};
use crate::api::name::{DNS_LABEL_LENGTH, is_dns_label};
use crate::plan::facts::Limits;

/// The operator's flags.
#[derive(Args, Clone, Debug)]
pub struct OperatorArgs {
    /// Namespace to watch; may be repeated, or a list. Default: all namespaces.
    #[arg(
        long,
        env = "STEPGATE_NAMESPACE",
        value_name = "NAME[,NAME…]",
        value_delimiter = ','
    )]
    pub namespace: Vec<String>,

    /// YAML file with the metric sources that Rollouts may use. Default: no metric sources.
    #[arg(long, env = "STEPGATE_METRIC_SOURCES", value_name = "FILE")]
    pub metric_sources: Option<PathBuf>,

    /// Format of the log.
    #[arg(long, env = "STEPGATE_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Minimum log level, or a list of `target=level`.
    #[arg(
        long,
        env = "STEPGATE_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log_level: String,

    /// Address of /metrics.
    #[arg(
        long,
        env = "STEPGATE_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "[::]:8080"
    )]
    pub listen: SocketAddr,

    /// Address of /healthz and /readyz. Only the kubelet needs to reach it.
    #[arg(
        long,
        env = "STEPGATE_PROBES_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "[::]:8081"
    )]
    pub probes_listen: SocketAddr,

    /// Image of stepgate-sql, which runs schema phases that are SQL. Empty: such a phase is not run.
    #[arg(
        long,
        env = "STEPGATE_SQL_IMAGE",
        value_name = "IMAGE",
        default_value = ""
    )]
    pub sql_image: String,

    /// The longest that a schema phase may run, in seconds. A Rollout whose phase asks for more is
    /// blocked, and no Job runs longer. Left out: as the Rollouts say.
    #[arg(
        long,
        env = "STEPGATE_MAX_PHASE_SECONDS",
        value_name = "SECONDS",
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_phase_seconds: Option<i64>,

    /// The longest grace period of the pod of a schema phase, in seconds: longer ones are cut.
    #[arg(
        long,
        env = "STEPGATE_MAX_PHASE_GRACE_SECONDS",
        value_name = "SECONDS",
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_phase_grace_seconds: Option<i64>,

    /// Number of Rollouts that are reconciled at the same time.
    #[arg(
        long,
        env = "STEPGATE_WORKERS",
        value_name = "COUNT",
        default_value = "8"
    )]
    pub workers: NonZeroUsize,

    /// Also show in /metrics how each Rollout stands, by namespace and name: one series for each.
    #[arg(
        long,
        env = "STEPGATE_ROLLOUT_METRICS",
        value_name = "BOOL",
        default_value_t = false,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub rollout_metrics: bool,

    /// Act only while holding the Lease. Disable it only for a single process on a developer's machine.
    #[arg(
        long,
        env = "STEPGATE_LEADER_ELECT",
        value_name = "BOOL",
        default_value_t = true,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub leader_elect: bool,

    /// Namespace of the Lease. Default: the pod's own, or that of the kubeconfig's context.
    #[arg(long, env = "STEPGATE_LEASE_NAMESPACE", value_name = "NAME")]
    pub lease_namespace: Option<String>,

    /// Name of the Lease. Installations that manage the same Rollouts must share it.
    #[arg(
        long,
        env = "STEPGATE_LEASE_NAME",
        value_name = "NAME",
        default_value = "stepgate"
    )]
    pub lease_name: String,

    /// Seconds after the last renewal for which no other process takes the Lease.
    #[arg(
        long,
        env = "STEPGATE_LEASE_DURATION_SECONDS",
        value_name = "SECONDS",
        default_value_t = 15
    )]
    pub lease_duration_seconds: u32,

    /// Seconds after its last renewal at which a leader stops acting; less than the duration.
    #[arg(
        long,
        env = "STEPGATE_RENEW_DEADLINE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    pub renew_deadline_seconds: u32,

    /// Seconds between renewals; at most half of the renew deadline.
    #[arg(
        long,
        env = "STEPGATE_RETRY_PERIOD_SECONDS",
        value_name = "SECONDS",
        default_value_t = 2
    )]
    pub retry_period_seconds: u32,

    /// Unique name of this process in the Lease; in a pod, use the pod's name. Default: the host's
    /// name and a random part.
    #[arg(long, env = "STEPGATE_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a name that Kubernetes would take.
    #[error("{flag} `{value}` is not a name: {rule}")]
    Name {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What it must look like.
        rule: &'static str,
    },
    /// The three times of the election do not fit together.
    #[error(
        "--lease-duration-seconds, --renew-deadline-seconds and --retry-period-seconds do not fit together: {0}"
    )]
    Timing(#[from] TimingError),
    /// The log filter.
    #[error(transparent)]
    Log(#[from] TelemetryError),
}

/// Where Rollouts are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Cluster,
    /// In these namespaces, at least one.
    Namespaces(BTreeSet<String>),
}

/// Checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where Rollouts are looked for.
    pub scope: Scope,
    /// The file with the metric sources, if any.
    pub metric_sources: Option<PathBuf>,
    /// Image of the program that runs SQL; empty where there is none.
    pub sql_image: String,
    /// What is permitted of a schema phase.
    pub limits: Limits,
    /// Look of the log.
    pub log_format: LogFormat,
    /// Filter of the log.
    pub log_level: String,
    /// Where metrics are served.
    pub listen: SocketAddr,
    /// Whether metrics name each Rollout.
    pub rollout_metrics: bool,
    /// Where probes are answered.
    pub probes_listen: SocketAddr,
    /// How many Rollouts are worked on at the same time.
    pub workers: NonZeroUsize,
    /// The election, or `None` when this process acts without one.
    pub election: Option<ElectionSettings>,
}

/// Checked settings of the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionSettings {
    /// Namespace of the Lease; `None`: the client's own.
    pub namespace: Option<String>,
    /// Name of the Lease.
    pub name: String,
    /// Name of this process in it.
    pub identity: String,
    /// Times.
    pub timing: Timing,
}

impl OperatorArgs {
    /// Checks what was given.
    ///
    /// # Errors
    ///
    /// With the flag and what to write instead.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        telemetry::parse_filter(&self.log_level)?;
        Ok(Settings {
            scope: self.scope()?,
            metric_sources: self.metric_sources.clone(),
            sql_image: self.sql_image.trim().to_owned(),
            limits: Limits {
                phase_seconds: self.max_phase_seconds,
                grace_seconds: self.max_phase_grace_seconds,
            },
            log_format: self.log_format,
            log_level: self.log_level.clone(),
            listen: self.listen,
            rollout_metrics: self.rollout_metrics,
            probes_listen: self.probes_listen,
            workers: self.workers,
            election: self.leader_elect.then(|| self.election()).transpose()?,
        })
    }

    fn scope(&self) -> Result<Scope, ConfigError> {
        // An empty environment variable is a list of one empty name.
        let names: BTreeSet<_> = self
            .namespace
            .iter()
            .map(|name| name.trim())
            .filter(|name| !name.is_empty())
            .collect();
        if names.is_empty() {
            return Ok(Scope::Cluster);
        }
        let names = names.into_iter().map(|name| label("--namespace", name));
        Ok(Scope::Namespaces(names.collect::<Result<_, _>>()?))
    }

    fn election(&self) -> Result<ElectionSettings, ConfigError> {
        let seconds = |count: u32| Duration::from_secs(count.into());
        let namespace = self
            .lease_namespace
            .as_deref()
            .filter(|name| !name.is_empty());
        Ok(ElectionSettings {
            namespace: namespace
                .map(|name| label("--lease-namespace", name))
                .transpose()?,
            name: subdomain("--lease-name", &self.lease_name)?,
            identity: match self.identity.as_deref().filter(|name| !name.is_empty()) {
                Some(given) => identity(given)?,
                None => own_identity(),
            },
            timing: Timing::new(
                seconds(self.lease_duration_seconds),
                seconds(self.renew_deadline_seconds),
                seconds(self.retry_period_seconds),
            )?,
        })
    }
}

fn is_label(name: &str) -> bool {
    name.len() <= DNS_LABEL_LENGTH && is_dns_label(name)
}

fn label(flag: &'static str, value: &str) -> Result<String, ConfigError> {
    let rule = "at most 63 of a-z, 0-9 and -, with a letter or digit at both ends";
    if is_label(value) {
        Ok(value.to_owned())
    } else {
        Err(refused(flag, value, rule))
    }
}

fn subdomain(flag: &'static str, value: &str) -> Result<String, ConfigError> {
    let rule = "at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends of each part";
    let parts = value.len() <= 253 && value.split('.').all(is_label);
    if parts {
        Ok(value.to_owned())
    } else {
        Err(refused(flag, value, rule))
    }
}

fn identity(value: &str) -> Result<String, ConfigError> {
    let rule = "at most 253 printable characters without spaces";
    let fits = value.len() <= 253 && value.chars().all(|c| c.is_ascii_graphic());
    if fits {
        Ok(value.to_owned())
    } else {
        Err(refused("--identity", value, rule))
    }
}

fn refused(flag: &'static str, value: &str, rule: &'static str) -> ConfigError {
    ConfigError::Name {
        flag,
        value: value.to_owned(),
        rule,
    }
}

/// The host's name and a part that no other process has.
fn own_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "stepgate" } else { host };
    // The standard library seeds each RandomState from the operating system.
    let random = RandomState::new().build_hasher().finish();
    format!("{host}_{random:016x}")
}

#[cfg(test)]
mod tests;
