//! Where the SQL is: in files, or in the ConfigMaps that a Rollout names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use stepgate_lint::{Phase, Source};

use super::{
    super::simulate::manifest::{self, Documents},
    linted::word,
};

/// In the order in which they run.
const PHASES: [Phase; 5] = [
    Phase::Preflight,
    Phase::Expand,
    Phase::Backfill,
    Phase::Contract,
    Phase::Revert,
];

/// SQL of a phase.
pub(super) struct Part {
    pub(super) phase: Phase,
    pub(super) files: Vec<Source>,
    /// What cannot be judged does not run, and nobody is asked (`schema.lint: Strict`).
    pub(super) strict: bool,
}

/// SQL by phase.
pub(super) struct Sources {
    /// Each with files.
    pub(super) phases: Vec<Part>,
    /// What is not looked at.
    pub(super) notes: Vec<String>,
}

/// Reads all files.
///
/// # Errors
/// With what is wrong, and what to do.
pub(super) fn read(paths: &[PathBuf], only: Option<Phase>) -> Result<Sources, String> {
    let (sql, yaml): (Vec<_>, Vec<_>) = paths
        .iter()
        .cloned()
        .partition(|path| path.extension().is_some_and(|ending| ending == "sql"));
    let mut sources = Sources {
        phases: Vec::new(),
        notes: Vec::new(),
    };
    let documents = Documents::all_of(&yaml).map_err(|error| error.to_string())?;
    for rollout in &documents.rollouts {
        of_rollout(rollout, &documents, only, &mut sources)?;
    }
    if !sql.is_empty() {
        let Some(phase) = only else {
            return Err(format!(
                "{} is SQL: say in which phase it runs: --phase expand",
                sql[0].display()
            ));
        };
        let files: Result<Vec<_>, _> = sql.iter().map(|path| file(path)).collect();
        sources.phases.push(Part {
            phase,
            files: files?,
            strict: false,
        });
    }
    if sources.phases.is_empty() {
        for note in &sources.notes {
            eprintln!("stepgate: {note}");
        }
        return Err(if documents.rollouts.is_empty() {
            let found: Vec<_> = documents.all().map(manifest::title).collect();
            let found = match found.as_slice() {
                [] => "nothing".to_owned(),
                found => found.join(", "),
            };
            format!(
                "no SQL in the files: there is {found}. Name a Rollout whose schema phases run \
                 sql, or files *.sql with --phase"
            )
        } else {
            "no SQL in the files: no phase of the Rollout runs sql. For the SQL of a command: \
             stepgate lint --phase expand -f FILE.sql"
                .to_owned()
        });
    }
    Ok(sources)
}

fn file(path: &Path) -> Result<Source, String> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{name}: byte {at} is not UTF-8: save it as UTF-8")
    })?;
    Ok(Source { name, text })
}

/// The SQL of a Rollout's phases. Read from the text as it is, so that a manifest of a newer or
/// older version is read as far as it can be.
fn of_rollout(
    rollout: &Value,
    documents: &Documents,
    only: Option<Phase>,
    sources: &mut Sources,
) -> Result<(), String> {
    for phase in PHASES {
        if only.is_some_and(|only| only != phase) {
            continue;
        }
        let field = format!("spec.schema.{}", word(phase));
        let spec = &rollout["spec"]["schema"][word(phase)];
        let title = manifest::title(rollout);
        match &spec["sql"]["files"] {
            Value::Array(listed) => {
                let mut files = Vec::new();
                for (index, entry) in listed.iter().enumerate() {
                    let at = format!("{title}: {field}.sql.files[{index}]");
                    files.push(of_config_map(rollout, entry, documents, &at)?);
                }
                if !files.is_empty() {
                    let approved = matches!(phase, Phase::Contract | Phase::Revert);
                    sources.phases.push(Part {
                        phase,
                        files,
                        strict: !approved && rollout["spec"]["schema"]["lint"] == "Strict",
                    });
                }
            }
            _ if spec["command"].is_array() || spec["template"].is_object() => {
                sources.notes.push(format!(
                    "{title}: {field} runs a program: what it does to the database is not looked \
                     at. If it can write its SQL to a file: stepgate lint --phase {} -f FILE.sql",
                    word(phase)
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn of_config_map(
    rollout: &Value,
    entry: &Value,
    documents: &Documents,
    at: &str,
) -> Result<Source, String> {
    let reference = &entry["configMapKeyRef"];
    let (Some(name), Some(key)) = (reference["name"].as_str(), reference["key"].as_str()) else {
        return Err(format!("{at}.configMapKeyRef: needs name and key"));
    };
    let namespace = &rollout["metadata"]["namespace"];
    let map = documents.all().find(|document| {
        let theirs = &document["metadata"]["namespace"];
        document["kind"] == "ConfigMap"
            && document["metadata"]["name"] == name
            && (theirs == namespace || theirs.is_null() || namespace.is_null())
    });
    let Some(map) = map else {
        return Err(format!(
            "{at}: no ConfigMap {name} in the files: add the file that it is in with -f"
        ));
    };
    let Some(text) = map["data"][key].as_str() else {
        let keys: Vec<_> = map["data"]
            .as_object()
            .map(|data| data.keys().cloned().collect())
            .unwrap_or_default();
        return Err(format!(
            "{at}: ConfigMap {name} has no key {key}; there is {}",
            if keys.is_empty() {
                "none".to_owned()
            } else {
                keys.join(", ")
            }
        ));
    };
    Ok(Source {
        name: format!("ConfigMap/{name}/{key}"),
        text: text.to_owned(),
    })
}
