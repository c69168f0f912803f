//! `make demo`: releases going out and coming back under real traffic, on a real cluster; and
//! `make study`: a column is renamed under load.
//!
//! Without a cluster of one's own it starts one ([`here`]), and runs itself again inside that
//! cluster's network; [`there`] is the demo on a cluster, [`story`] and [`study`] what is shown.

mod figures;
mod here;
mod promise;
mod release;
mod screen;
mod story;
mod study;
mod there;

use std::process::ExitCode;

use clap::{Parser, Subcommand, builder::FalseyValueParser};

/// Releases a shop on a real cluster under steady traffic: good releases are promoted in steps, bad
/// ones are rolled back. The exit status is 0 if everything went as promised.
///
/// Starts its own cluster, unless KUBECONFIG is set or --context is given.
#[derive(Parser, Clone, Debug)]
#[command(name = "demo")]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Context of your kubeconfig: the demo runs on that cluster.
    #[arg(long, env = "CONTEXT")]
    context: Option<String>,
    /// Keep the cluster at the end; on your own cluster, keep what was installed.
    #[arg(long, env = "KEEP", value_parser = FalseyValueParser::new(), default_value = "")]
    keep: std::primitive::bool,
    /// URL of the shop's Service, such as http://192.0.2.7. Default: detected.
    #[arg(long, env = "URL")]
    url: Option<String>,
    /// Name of the cluster that the demo starts.
    #[arg(long, default_value = "demo", global = true)]
    name: String,
    /// By which way the releases go.
    #[arg(long, value_enum, default_value_t)]
    strategy: testbed::way::Way,
    /// The cluster was started by the demo, and the images are there.
    #[arg(long, hide = true)]
    inside: bool,
}

/// What is shown.
#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Six releases of a shop, good and bad (the default).
    Releases(story::Options),
    /// A column is renamed over millions of rows, from expand to contract; the exit status is 0 if no
    /// request failed.
    Study(study::Options),
}

impl Arguments {
    fn what(&self) -> What {
        let releases = || What::Releases(story::Options::default());
        self.what.clone().unwrap_or_else(releases)
    }

    /// Whether the cluster is somebody's own.
    fn has_cluster(&self) -> bool {
        let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        self.inside || set("KUBECONFIG") || self.context.as_ref().is_some_and(|c| !c.is_empty())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.has_cluster() {
        there::show(&arguments).await
    } else {
        here::show(&arguments).await
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}
