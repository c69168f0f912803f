//! `stepgate convert`: a Rollout made from a Deployment, or from a Rollout of Argo Rollouts.
//!
//! [`workload`] takes over field by field, with [`steps`] and [`checks`] for what Argo Rollouts
//! writes in a list; [`hints`] says of each field that nothing takes what to do instead. What is
//! written would be taken by the API server, or it is not written.

mod checks;
pub mod hints;
mod source;
mod steps;
mod workload;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
};

use clap::Args;
use serde_json::Value;

use super::simulate::{
    finding::Finding,
    manifest::{self, Documents},
    report::{self, Ink},
};
use crate::api::{crd, keys};

/// Every workload that was found became a Rollout.
const GOOD: u8 = 0;
/// There was none, or one could not.
const WRONG: u8 = 2;

/// Writes a Rollout for each Deployment and each Rollout of Argo Rollouts.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The Rollouts go to standard output; what was not taken over, and what to \
                        do instead, to standard error. Other documents are read where they matter \
                        (autoscalers, AnalysisTemplates) and not written.\n\nExit status: 0 if \
                        every workload became a Rollout, otherwise 2.\n\ndocs/convert.md shows it."
)]
pub struct ConvertArgs {
    /// YAML file with the workloads; `-` reads standard input. May be repeated.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// A Rollout, and what is to be said of how it was made.
struct Converted {
    title: String,
    rollout: Option<Value>,
    findings: Vec<Finding>,
}

/// Runs the command; the status that the program ends with.
#[must_use]
pub fn run(args: &ConvertArgs) -> u8 {
    let documents = match Documents::all_of(&args.files) {
        Ok(documents) => documents,
        Err(error) => {
            eprintln!("stepgate: {error}");
            return WRONG;
        }
    };
    let ink = Ink::of_stderr();
    let (mut written, mut told, mut status) = (String::new(), String::new(), GOOD);
    let mut workloads = 0;
    for document in documents.all().filter(|d| manifest::is_convertible(d)) {
        workloads += 1;
        let mut converted = convert(document, &documents);
        converted.findings.sort_by_key(|f| f.level);
        let _ = writeln!(told, "{}", ink.bold(&converted.title));
        told += &report::findings(&converted.findings, ink);
        match converted.rollout.map(|rollout| crd::yaml(&rollout)) {
            Some(Ok(yaml)) => {
                if !written.is_empty() {
                    written += "---\n";
                }
                written += &yaml;
            }
            Some(Err(error)) => {
                let _ = writeln!(told, "  error: it cannot be written as YAML: {error}");
                status = WRONG;
            }
            None => status = WRONG,
        }
    }
    if workloads == 0 {
        let found: Vec<_> = documents.all().map(manifest::title).collect();
        let found = match found.as_slice() {
            [] => "nothing".to_owned(),
            found => found.join(", "),
        };
        eprintln!(
            "stepgate: no Deployment and no Rollout in the files; there is {found}. A StatefulSet \
             or DaemonSet cannot be a Rollout"
        );
        return WRONG;
    }
    eprint!("{told}");
    // Whoever reads may have read enough.
    let _ = io::stdout().write_all(written.as_bytes());
    status
}

fn convert(document: &Value, documents: &Documents) -> Converted {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    let title = format!("{} of {version}", manifest::title(document));
    if version == keys::API_VERSION && manifest::check(document).is_ok() {
        let finding = Finding::note(
            "",
            "it is a Rollout of Stepgate already: nothing is changed",
        );
        return Converted {
            title,
            rollout: Some(document.clone()),
            findings: vec![finding],
        };
    }
    let (rollout, mut findings) = workload::convert(document, documents);
    match manifest::check(&rollout) {
        Ok(_) => Converted {
            title,
            rollout: Some(rollout),
            findings,
        },
        Err(errors) => {
            let message = "no Rollout is written: it would be refused for the following";
            findings.push(Finding::error("", message));
            findings.extend(errors);
            Converted {
                title,
                rollout: None,
                findings,
            }
        }
    }
}
