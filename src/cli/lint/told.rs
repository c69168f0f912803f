//! What was found, for people and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use stepgate_lint::{Finding, Severity};

use super::linted::{Linted, word};
use crate::cli::simulate::{
    finding::{Finding as Line, Level},
    report::{self, Ink},
};

/// For people.
pub(super) fn human(linted: &[Linted], ink: Ink) -> String {
    let mut text = String::new();
    for one in linted {
        for file in &one.files {
            let _ = writeln!(
                text,
                "{}",
                ink.bold(format!("{file} ({})", word(one.phase)))
            );
            let lines: Vec<_> = one
                .findings
                .iter()
                .filter(|finding| finding.file == *file)
                .map(line)
                .collect();
            text += &report::findings(&lines, ink);
        }
    }
    let count = |wanted: &dyn Fn(&Finding) -> bool| {
        let all = linted.iter().flat_map(|one| &one.findings);
        all.filter(|finding| wanted(finding)).count()
    };
    let of =
        |severity| move |finding: &Finding| !finding.suppressed && finding.severity == severity;
    let counts = [
        (count(&of(Severity::Error)), "error", "errors"),
        (
            count(&of(Severity::CannotJudge)),
            "to be approved",
            "to be approved",
        ),
        (count(&of(Severity::Warning)), "warning", "warnings"),
        (
            count(&|finding| finding.suppressed),
            "suppressed",
            "suppressed",
        ),
    ];
    let told: Vec<_> = counts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    let told = match told.as_slice() {
        [] => "nothing found".to_owned(),
        told => told.join(", "),
    };
    let _ = writeln!(text, "{told}");
    text
}

fn line(finding: &Finding) -> Line {
    let at = format!("{}:{} {}", finding.line, finding.column, finding.rule);
    let mut message = finding.message.clone();
    if !finding.safe_way.is_empty() {
        message += &format!(". Instead: {}", finding.safe_way);
    }
    if let Some(page) = &finding.recipe {
        message += &format!(" ({page})");
    }
    let level = match finding.severity {
        _ if finding.suppressed => {
            message = format!("suppressed by a comment: {message}");
            Level::Note
        }
        Severity::Error => Level::Error,
        Severity::CannotJudge => {
            message = format!("cannot be judged, somebody has to approve it: {message}");
            Level::Error
        }
        Severity::Warning => Level::Warning,
    };
    Line {
        level,
        field: at,
        message,
    }
}

/// For programs.
pub(super) fn json(linted: &[Linted], status: u8) -> Result<String, serde_json::Error> {
    let phases: Vec<Value> = linted
        .iter()
        .map(|one| json!({"phase": word(one.phase), "files": one.files, "findings": one.findings}))
        .collect();
    let document = json!({"phases": phases, "exitStatus": status});
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}
