//! A small service on PostgreSQL, in the releases of a column rename without downtime: what
//! Stepgate's end-to-end tests and its demo release, good and bad.

mod database;
mod fault;
mod flags;
mod metrics;
mod migrate;
mod readiness;
mod release;
mod routes;
mod schema;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio_postgres::Config;
use tracing_subscriber::EnvFilter;

use crate::fault::Fault;
use crate::release::Release;
use crate::schema::Phase;

/// A shop to release.
#[derive(Parser)]
#[command(name = "shop")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The release to be.
    #[arg(
        long,
        global = true,
        env = "SHOP_VERSION",
        value_enum,
        default_value = "v1"
    )]
    version: Release,
    /// What is wrong with it: errors[=SHARE], slow[=MILLISECONDS], crash[=SECONDS],
    /// never-ready, bad-migration, none.
    #[arg(long, global = true, env = "SHOP_FAULT", default_value = "none")]
    fault: Fault,
    /// The database, as postgres://USER@HOST:PORT/NAME or host=… user=….
    #[arg(
        long,
        global = true,
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "postgres://shop@localhost/shop"
    )]
    database_url: Config,
}

#[derive(Subcommand)]
enum Command {
    /// Serve users, probes and metrics over HTTP.
    Serve(serve::Options),
    /// Do a phase of the release's schema change; what is done already is left alone.
    Migrate {
        /// The phase.
        #[arg(value_enum)]
        phase: Phase,
        #[command(flatten)]
        options: migrate::Options,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let Arguments {
        command,
        version,
        fault,
        database_url,
    } = Arguments::parse();
    let ended: Result<(), Box<dyn std::error::Error>> = match command {
        Command::Serve(options) => serve::run(&database_url, version, fault, &options)
            .await
            .map_err(Into::into),
        Command::Migrate { phase, options } => {
            migrate::run(&database_url, version, phase, fault, &options)
                .await
                .map_err(Into::into)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
