//! `make demo`: releases going out and coming back under real traffic, on a real cluster.
//!
//! Without a cluster of one's own it starts one ([`here`]), and runs itself again inside that
//! cluster's network; [`there`] is the demo on a cluster, [`story`] what is shown.

mod figures;
mod here;
mod promise;
mod release;
mod screen;
mod story;
mod there;

use std::process::ExitCode;

use clap::{Parser, builder::FalseyValueParser};

/// Releases a shop on a real cluster under steady traffic: good releases are promoted in steps, bad
/// ones are rolled back. The exit status is 0 if everything went as promised.
///
/// Starts its own cluster, unless KUBECONFIG is set or --context is given.
#[derive(Parser, Clone, Debug)]
#[command(name = "demo")]
pub struct Arguments {
    /// Context of your kubeconfig: the demo runs on that cluster.
    #[arg(long, env = "CONTEXT")]
    context: Option<String>,
    /// Keep the cluster at the end; on your own cluster, keep what was installed.
    #[arg(long, env = "KEEP", value_parser = FalseyValueParser::new(), default_value = "")]
    keep: std::primitive::bool,
    /// URL of the shop's Service, such as http://192.0.2.7. Default: detected.
    #[arg(long, env = "URL")]
    url: Option<String>,
    /// Requests per second.
    #[arg(long, default_value_t = 320)]
    rate: u32,
    /// Name of the cluster that the demo starts.
    #[arg(long, default_value = "demo")]
    name: String,
    /// The cluster was started by the demo, and the images are there.
    #[arg(long, hide = true)]
    inside: bool,
}

impl Arguments {
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
