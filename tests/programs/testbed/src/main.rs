//! `testbed`: a cluster with the testbed on it, for tests and to look around.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use testbed::local::LocalCluster;
use testbed::traffic::Traffic;
use testbed::{Error, Result, Testbed, images, install, program};

/// The testbed: a real cluster with Stepgate and Prometheus on it.
#[derive(Parser)]
#[command(name = "testbed")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the cluster NAME with everything on it. `tests/programs/cluster/cluster down NAME` removes it.
    Up {
        /// The cluster's name.
        name: String,
        /// A folder with the programs `stepgate` and `shop`, several times for several folders;
        /// left out: where this program is.
        #[arg(long)]
        programs: Vec<PathBuf>,
    },
    /// Builds the images, and prints where they are.
    Images {
        /// As for `up`.
        #[arg(long)]
        programs: Vec<PathBuf>,
    },
    /// Installs Stepgate and Prometheus on the cluster of KUBECONFIG; the images must be there.
    Install {
        /// A context of the kubeconfig.
        #[arg(long, env = "CONTEXT")]
        context: Option<String>,
    },
    /// Removes both again.
    Uninstall {
        /// A context of the kubeconfig.
        #[arg(long, env = "CONTEXT")]
        context: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { name, programs } => up(&name, &programs).await,
        Command::Images { programs } => {
            for (image, archive) in images::IMAGES.iter().zip(images::build(&programs).await?) {
                println!("localhost/stepgate/{image}:test {}", archive.display());
            }
            Ok(())
        }
        Command::Install { context } => install::install(&attach(context).await?).await,
        Command::Uninstall { context } => install::uninstall(&attach(context).await?).await,
    }
}

async fn attach(context: Option<String>) -> Result<Testbed> {
    Testbed::attach(context.filter(|name| !name.is_empty())).await
}

async fn up(name: &str, programs: &[PathBuf]) -> Result<()> {
    LocalCluster::check().await?;
    Traffic::build().await?;
    let archives = images::build(programs).await?;
    let cluster = LocalCluster::named(name);
    cluster.up().await?;
    cluster.load(&archives).await?;
    let us = std::env::current_exe();
    let us = us.map_err(|error| Error::refused(format!("who am I? {error}")))?;
    program::show(&mut cluster.inside(&us, ["install"])).await
}
