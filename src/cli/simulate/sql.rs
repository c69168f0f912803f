//! What runs a phase: the files of SQL that it names, and what its Job has of the Rollout's pods.

use super::{
    finding::Finding,
    manifest::{Documents, asks_for_a_backup, title},
};
use crate::{
    api::{
        PhaseKind, RolloutSpec,
        sql::{FILE_BYTES, KeyRef, Lint},
    },
    plan::job::pod,
};

/// What a file holds that nobody has shown.
const ASSUMED: &str = "-- not among the files";

/// The texts of all files of SQL; what of that is assumed or missing is said.
pub(super) fn texts(
    spec: &RolloutSpec,
    documents: &Documents,
    found: &mut Vec<Finding>,
) -> Vec<(KeyRef, String)> {
    let Some(schema) = &spec.schema else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for kind in PhaseKind::ALL {
        for (index, file) in schema.files(kind).iter().enumerate() {
            let key = &file.config_map_key_ref;
            let field = format!("spec.schema.{}.sql.files[{index}]", kind.word());
            match text(key, documents) {
                Ok(text) => texts.push((key.clone(), text)),
                Err(finding) => {
                    let told = match finding {
                        Missing::ConfigMap => {
                            texts.push((key.clone(), ASSUMED.to_owned()));
                            Finding::note(
                                field,
                                format!(
                                    "ConfigMap {} is not among the files: played as one that has \
                                     key {}",
                                    key.name, key.key
                                ),
                            )
                        }
                        Missing::Text(words) => Finding::warning(
                            field,
                            format!("{words}: the release would be Stalled (SqlUnreadable)"),
                        ),
                    };
                    found.push(told);
                }
            }
        }
    }
    texts
}

enum Missing {
    ConfigMap,
    Text(String),
}

fn text(KeyRef { name, key }: &KeyRef, documents: &Documents) -> Result<String, Missing> {
    let map = documents.all().find(|document| {
        document["kind"] == "ConfigMap" && document["metadata"]["name"] == name.as_str()
    });
    let map = map.ok_or(Missing::ConfigMap)?;
    let title = title(map);
    if let Some(binary) = map["binaryData"][key].as_str() {
        return Ok(binary.to_owned());
    }
    match map["data"][key].as_str() {
        None => Err(Missing::Text(format!("{title} has no key {key}"))),
        Some("") => Err(Missing::Text(format!("key {key} of {title} is empty"))),
        Some(text) if text.len() > FILE_BYTES => Err(Missing::Text(format!(
            "key {key} of {title} has {} bytes, and a file of SQL may have {FILE_BYTES}",
            text.len()
        ))),
        Some(text) => Ok(text.to_owned()),
    }
}

/// What of the Rollout's pods is not in those of its phases, and what runs SQL.
pub(super) fn jobs(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    let Some(schema) = &spec.schema else { return };
    for sql in [false, true] {
        let phases = PhaseKind::ALL.into_iter().filter(|kind| {
            let phase = schema.phase(*kind);
            let command = phase.is_some_and(|phase| !phase.command.is_empty());
            if sql { schema.runs_sql(*kind) } else { command }
        });
        let words: Vec<_> = phases.map(PhaseKind::word).collect();
        if words.is_empty() {
            continue;
        }
        let left = pod::left_out(&spec.template, &spec.selector, schema, sql);
        if left.is_empty() {
            continue;
        }
        let words = match words.as_slice() {
            [one] => format!("the Job of {one} runs"),
            words => format!("the Jobs of {} run", words.join(", ")),
        };
        found.push(Finding::note(
            "spec.schema.job",
            format!(
                "{words} without {}: what a phase needs of that, give it in keepContainers and \
                 labels",
                left.join(", ")
            ),
        ));
    }
    if asks_for_a_backup(spec) {
        let words = "played as if a backup had just been made; in the cluster whatever makes \
                     backups sets the annotation stepgate.io/backup-at of the DatabaseSchema";
        let field = "spec.schema.preflight.maxBackupAgeSeconds";
        found.push(Finding::note(field, words.to_owned()));
    }
    if let Some(postgres) = &schema.postgres {
        let KeyRef { name, key } = &postgres.connection.secret_key_ref;
        let lint = match schema.lint {
            Lint::Strict => {
                "what stepgate lint calls an error, or cannot judge, does not run (schema.lint), so \
                 see what it says"
            }
            Lint::Enforce => {
                "what stepgate lint calls an error does not run (schema.lint), so see what it says"
            }
            Lint::Warn => "what stepgate lint finds is in the log of the Jobs (schema.lint)",
            Lint::Off => "nobody looks what it does to users (schema.lint): see stepgate lint",
        };
        found.push(Finding::note(
            "spec.schema.postgres",
            format!(
                "stepgate-sql runs the SQL, in an image that the operator must have been given \
                 (--sql-image), with the connection in key {key} of Secret {name}: {lint}"
            ),
        ));
    }
}
