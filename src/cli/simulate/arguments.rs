//! What `stepgate simulate` is asked.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::scenario::{Assumed, BUILT_IN};

/// Plays the release of a Rollout manifest in a simulated cluster, in virtual time.
#[derive(Args, Clone, Debug)]
#[command(after_help = after_help())]
pub struct SimulateArgs {
    /// YAML file with the Rollout; `-` reads standard input. May be repeated.
    ///
    /// Other documents in the file are skipped. If an autoscaler (HorizontalPodAutoscaler,
    /// ScaledObject) scales the Rollout, its minimum is used.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// What happens: a scenario from the list below, `all` for a table of all scenarios, or the
    /// path of a scenario file.
    #[arg(short, long, value_name = "NAME|all|FILE", default_value = "good")]
    pub scenario: String,

    /// Play only this Rollout, if the files have several.
    #[arg(long, value_name = "NAME")]
    pub rollout: Option<String>,

    /// Requests per second, over all pods.
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    pub requests_per_second: f64,

    /// Percentage of requests that the bad revision fails in `errors`.
    /// [default: 5, or 4 times the limit]
    #[arg(long, value_name = "N", value_parser = percent)]
    pub error_percent: Option<f64>,

    /// 95th percentile of the bad revision's response time in `slow`. [default: 3 times the limit]
    #[arg(long, value_name = "MS", value_parser = positive)]
    pub p95_milliseconds: Option<f64>,

    /// Seconds from the start of a container until it is ready.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(i64).range(0..=86_400))]
    pub startup_seconds: i64,

    /// Seconds to pull an image.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(i64).range(0..=86_400))]
    pub pull_seconds: i64,

    /// Seconds that `schema.expand` takes.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(i64).range(0..=604_800))]
    pub migration_seconds: i64,

    /// Number of pods; overrides the manifest.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=500))]
    pub replicas: Option<i32>,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Also print every write to the API server.
    #[arg(short, long)]
    pub verbose: bool,

    /// Exit with status 2 if there is a warning.
    #[arg(long)]
    pub deny_warnings: bool,

    /// Selects the small random delays in the cluster; the same seed gives the same output.
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,
}

/// How the outcome is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: one document.
    Json,
}

impl SimulateArgs {
    /// What is assumed of the service.
    #[must_use]
    pub(crate) const fn assumed(&self) -> Assumed {
        Assumed {
            requests_per_second: self.requests_per_second,
            pull_seconds: self.pull_seconds,
            startup_seconds: self.startup_seconds,
            migration_seconds: self.migration_seconds,
            error_percent: self.error_percent,
            p95_milliseconds: self.p95_milliseconds,
            seed: self.seed,
        }
    }
}

fn after_help() -> String {
    let mut text = String::from("Scenarios:\n");
    for (name, about) in BUILT_IN {
        text += &format!("  {name:<16}  {about}\n");
    }
    text + "\nExit status:\n  \
         0   the release ended as expected in that scenario\n  \
         1   it did not: a bad release was promoted, or a good one was not\n  \
         2   the manifest or the arguments are wrong\n  \
         70  a rule that Stepgate must always keep was broken: this is a bug, please report it\n\n\
         docs/simulate.md explains the output and the format of scenario files."
}

fn number(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|n| n.is_finite())
        .ok_or_else(|| "not a number".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = number(text)?;
    if (0.0..=1e9).contains(&rate) {
        Ok(rate)
    } else {
        Err("must lie between 0 and 1e9".into())
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = number(text)?;
    if (0.0..=100.0).contains(&percent) {
        Ok(percent)
    } else {
        Err("must lie between 0 and 100".into())
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if number > 0.0 {
        Ok(number)
    } else {
        Err("must be above 0".into())
    }
}
