//! What was found, as SARIF 2.1.0: what code scanning reads.

use serde_json::{Value, json};
use stepgate_lint::{Finding, Severity, catalogue};

use super::linted::{Linted, word};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One run with all findings.
pub(super) fn write(linted: &[Linted]) -> Result<String, serde_json::Error> {
    let rules: Vec<Value> = catalogue::entries()
        .map(|entry| {
            let help = match entry.recipe {
                Some(page) => format!("{}: docs/recipes/{page}.md", entry.safe_way),
                None => entry.safe_way.to_owned(),
            };
            let mut rule = json!({
                "id": entry.rule,
                "shortDescription": {"text": entry.message},
            });
            if !help.is_empty() {
                rule["help"] = json!({"text": help});
            }
            rule
        })
        .collect();
    let results: Vec<Value> = linted
        .iter()
        .flat_map(|one| {
            one.findings
                .iter()
                .map(|finding| result(finding, word(one.phase)))
        })
        .collect();
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "stepgate lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn result(finding: &Finding, phase: &str) -> Value {
    let mut text = finding.message.clone();
    if !finding.safe_way.is_empty() {
        text += &format!(". Instead: {}", finding.safe_way);
    }
    let index = catalogue::entries().position(|entry| entry.rule == finding.rule);
    let mut result = json!({
        "ruleId": finding.rule,
        "level": match finding.severity {
            Severity::Error | Severity::CannotJudge => "error",
            Severity::Warning => "warning",
        },
        "message": {"text": text},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&finding.file)},
            "region": {"startLine": finding.line, "startColumn": finding.column},
        }}],
        "properties": {"phase": phase, "severity": finding.severity},
    });
    if let Some(index) = index {
        result["ruleIndex"] = json!(index);
    }
    if finding.suppressed {
        result["suppressions"] = json!([{"kind": "inSource"}]);
    }
    result
}

/// A path as a reference: what a URI does not allow is written as its bytes.
fn uri(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
