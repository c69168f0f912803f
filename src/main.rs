//! The operator's binary.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use stepgate::api::crd;

/// Staged rollouts for Kubernetes: schema first, then code, in steps, and back by itself.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the custom resource definitions as YAML files.
    Crds {
        /// The folder they are written to.
        #[arg(long, default_value = "crds")]
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
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

fn write_definitions(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(directory)?;
    for (file, definition) in crd::definitions()? {
        fs::write(directory.join(file), crd::yaml(&definition)?)?;
    }
    Ok(())
}
