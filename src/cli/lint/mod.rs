//! `stepgate lint`: what the SQL of a Rollout's schema phases would do to users.
//!
//! [`source`] finds the SQL and its phase, [`told`] and [`sarif`] write what was found. What is judged,
//! and how, is in the crate `stepgate-lint`; `stepgate-lint-child` has it read in a process of its own.

mod linted;
mod sarif;
mod source;
mod told;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use stepgate_lint::{Finding, Phase, Severity};

use self::{linted::Linted, source::Part};
use super::simulate::report::Ink;

/// Nothing that needs anybody.
const CLEAN: u8 = 0;
/// An error, or something that cannot be judged.
const FOUND: u8 = 1;
/// The arguments or the files are wrong.
const WRONG: u8 = 2;

/// Judges the SQL of a Rollout's schema phases, or of files, by the phase that it runs in.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit status:\n  0   clean, or only warnings\n  1   errors, or what cannot be \
                  judged and so needs somebody to read and approve it\n  2   the arguments or the \
                  files are wrong, or there is no SQL in them\n\ndocs/lint.md explains it; \
                  docs/recipes shows the safe ways."
)]
pub struct LintArgs {
    /// A file: YAML with a Rollout and the ConfigMaps that it names, or SQL (*.sql). May be
    /// repeated; `-` reads YAML from standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The phase of the SQL files; of a Rollout, only this phase.
    #[arg(long, value_enum)]
    pub phase: Option<PhaseName>,

    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// A phase of `spec.schema`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseName {
    /// Before everything: it only reads.
    Preflight,
    /// Before the new code, beside the old.
    Expand,
    /// Beside both.
    Backfill,
    /// After the last old pod.
    Contract,
    /// After the last new pod.
    Revert,
}

impl From<PhaseName> for Phase {
    fn from(name: PhaseName) -> Self {
        match name {
            PhaseName::Preflight => Self::Preflight,
            PhaseName::Expand => Self::Expand,
            PhaseName::Backfill => Self::Backfill,
            PhaseName::Contract => Self::Contract,
            PhaseName::Revert => Self::Revert,
        }
    }
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// For programs: one document.
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
}

/// Runs the command; the status that the program ends with.
#[must_use]
pub fn run(args: &LintArgs) -> u8 {
    let linted = match lint(args) {
        Ok(linted) => linted,
        Err(error) => {
            eprintln!("stepgate: {error}");
            return WRONG;
        }
    };
    let blocks = linted
        .iter()
        .flat_map(|one| &one.findings)
        .any(Finding::blocks);
    let status = if blocks { FOUND } else { CLEAN };
    let written = match args.format {
        Format::Human => Ok(told::human(&linted, Ink::of_stdout())),
        Format::Json => told::json(&linted, status),
        Format::Sarif => sarif::write(&linted),
    };
    match written {
        Ok(text) => {
            // Whoever reads may have read enough.
            let _ = io::stdout().write_all(text.as_bytes());
            status
        }
        Err(error) => {
            eprintln!("stepgate: what was found cannot be written as JSON: {error}");
            WRONG
        }
    }
}

fn lint(args: &LintArgs) -> Result<Vec<Linted>, String> {
    let sources = source::read(&args.files, args.phase.map(Phase::from))?;
    for note in &sources.notes {
        eprintln!("stepgate: {note}");
    }
    let mut linted = Vec::new();
    for Part {
        phase,
        files,
        strict,
    } in sources.phases
    {
        let names = files.iter().map(|file| file.name.clone()).collect();
        let mut findings = stepgate_lint_child::lint(phase, files)?;
        if strict {
            findings.iter_mut().for_each(refuse_what_cannot_be_judged);
        }
        linted.push(Linted {
            phase,
            files: names,
            findings,
        });
    }
    Ok(linted)
}

/// As the Job of the phase does where nobody is asked.
fn refuse_what_cannot_be_judged(finding: &mut Finding) {
    if finding.severity == Severity::CannotJudge {
        finding.severity = Severity::Error;
        finding.message = format!(
            "cannot be judged, so it does not run (schema.lint: Strict): {}",
            finding.message
        );
    }
}
