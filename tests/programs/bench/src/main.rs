//! `make bench`: the operator's figures, measured on a real cluster, in one table.
//!
//! It starts a cluster of its own ([`here`]) and runs itself again inside that cluster's network
//! ([`there`]). Each part measures one thing and says it in [`figure::Figure`]s; [`audit`] counts
//! requests where the API server logs them. Nothing here passes or fails by a time: a figure that
//! misses its goal is shown as missed, and the exit status says only whether all was measured.

mod answers;
mod audit;
mod backfill;
mod beside;
mod figure;
mod harm;
mod here;
mod idle;
mod life;
mod many;
mod memory;
mod page;
mod restart;
mod shop;
mod size;
mod start;
mod statistics;
mod there;
mod ways;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Measures the operator on a real cluster, and writes docs/figures.md.
#[derive(Parser, Clone, Debug)]
#[command(name = "bench")]
pub struct Arguments {
    /// Only these parts; the page's other sections then stay as they are.
    #[arg(long, env = "BENCH_ONLY", value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    /// Releases of each kind. Seven at least, where they are to be compared with others.
    #[arg(long, env = "BENCH_RUNS", default_value_t = 7)]
    runs: u32,
    /// Seconds in which an idle operator's requests are counted.
    #[arg(long, env = "BENCH_IDLE_SECONDS", default_value_t = 300)]
    idle_seconds: u64,
    /// New revisions whose first write is timed.
    #[arg(long, env = "BENCH_ANSWERS", default_value_t = 200)]
    answers: usize,
    /// Rollouts with which the memory is measured the second time.
    #[arg(long, env = "BENCH_MANY", default_value_t = 1000)]
    many: usize,
    /// Rollouts beside which the operator is started again, in rising numbers.
    #[arg(
        long,
        env = "BENCH_RESTART",
        value_delimiter = ',',
        default_value = "1000,3000,10000"
    )]
    restart: Vec<usize>,
    /// Rows of a backfill.
    #[arg(long, env = "BENCH_ROWS", default_value_t = 1_000_000)]
    rows: u64,
    /// Requests a second.
    #[arg(long, env = "BENCH_RATE", default_value_t = 300)]
    rate: u32,
    /// The page with the figures.
    #[arg(long, default_value = "docs/figures.md")]
    page: PathBuf,
    /// Name of the cluster it starts.
    #[arg(long, default_value = "bench")]
    name: String,
    /// Leave the cluster as it is in the end.
    #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new(), default_value = "")]
    keep: std::primitive::bool,
    /// The cluster is there, with the images, and this process is in its network: these parts are
    /// measured.
    #[arg(long, hide = true, value_delimiter = ',', value_enum)]
    inside: Vec<Part>,
}

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Writes of a good release.
    Writes,
    /// What bad releases do to users, and whether good ones are left alone.
    Harm,
    /// Requests of an idle operator.
    Idle,
    /// From its start to its readiness.
    Start,
    /// From a new revision to the first write for it.
    Answers,
    /// The same, beside Argo Rollouts.
    Beside,
    /// Memory with many Rollouts.
    Many,
    /// A restart with very many Rollouts.
    Restart,
    /// The life of a schema version, from its expand to its contract.
    Life,
    /// Releases by weight and from set to set.
    Ways,
    /// A backfill under load, beside what one would write by hand.
    Backfill,
    /// Size of the image and the binary.
    Size,
}

impl Arguments {
    /// Whether this part is wanted.
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Whether it is wanted of this process, and says so.
    fn begins(&self, part: Part) -> bool {
        let wanted = if self.inside.is_empty() {
            self.wants(part) && part.needs_no_cluster()
        } else {
            self.inside.contains(&part)
        };
        if wanted {
            eprintln!("{part:?}");
        }
        wanted
    }

    /// What is wanted that needs a cluster: what one cluster serves, and what needs gateways on another.
    fn on_clusters(&self) -> [Vec<Part>; 2] {
        let wanted = Part::value_variants().iter().copied();
        let wanted = wanted.filter(|part| self.wants(*part) && !part.needs_no_cluster());
        let (gateways, plain) = wanted.partition(|part| *part == Part::Ways);
        [plain, gateways]
    }
}

impl Part {
    const fn needs_no_cluster(self) -> bool {
        matches!(self, Self::Backfill | Self::Size)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.inside.is_empty() {
        here::measure(&arguments).await
    } else {
        there::measure(&arguments).await
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
