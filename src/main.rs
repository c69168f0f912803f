//! The operator's binary.

use std::{error::Error, fs, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use stepgate::{
    api::crd,
    cli::{
        convert::{self, ConvertArgs},
        lint::{self, LintArgs},
        simulate::{self, arguments::SimulateArgs},
    },
    operator::{config::OperatorArgs, start, telemetry},
};

/// Staged rollouts for Kubernetes: schema first, then code, in steps, with automatic rollback.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the operator.
    Run(Box<OperatorArgs>),
    /// Plays the release of a Rollout manifest in a simulated cluster, in virtual time.
    Simulate(Box<SimulateArgs>),
    /// Writes a Rollout for each Deployment and each Rollout of Argo Rollouts.
    Convert(ConvertArgs),
    /// Judges the SQL of schema phases by the phase that it runs in.
    Lint(LintArgs),
    /// Reads a request of `lint`, and answers it.
    #[command(hide = true)]
    LintChild,
    /// Writes the custom resource definitions as YAML files.
    Crds {
        /// The folder to write to.
        #[arg(long, default_value = "crds")]
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Simulate(arguments) => return ExitCode::from(simulate::run(&arguments)),
        Command::Convert(arguments) => return ExitCode::from(convert::run(&arguments)),
        Command::Lint(arguments) => return ExitCode::from(lint::run(&arguments)),
        Command::LintChild => stepgate_lint_child::serve().map_err(Into::into),
        Command::Crds { directory } => write_definitions(&directory),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stepgate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &OperatorArgs) -> Result<(), Box<dyn Error>> {
    let settings = arguments.settings()?;
    telemetry::init(settings.log_format, &settings.log_level)?;
    // One for the whole process; every TLS library in it asks for the default.
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "a TLS provider is already installed")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(start::run(settings))?)
}

fn write_definitions(directory: &std::path::Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    for (file, definition) in crd::definitions()? {
        fs::write(directory.join(file), crd::yaml(&definition)?)?;
    }
    Ok(())
}
