//! Mistakes in phases of a schema: what needs what.

use serde_json::json;

use super::{Mistake, mistake};

pub fn mistakes() -> Vec<Mistake> {
    vec![
        mistake(
            "backfill without version",
            "/spec/schema",
            json!({"database": "db", "backfill": {"command": ["a"]}}),
            "schema.version is needed with schema.backfill, schema.contract or schema.revert",
        ),
        mistake(
            "revert without version",
            "/spec/schema",
            json!({"database": "db", "expand": {"command": ["a"]}, "revert": {"command": ["a"]}}),
            "schema.version is needed with schema.backfill, schema.contract or schema.revert",
        ),
        mistake(
            "preflight without expand",
            "/spec/schema",
            json!({"database": "db", "preflight": {"command": ["a"]}}),
            "add schema.expand, or remove schema.preflight and schema.revert",
        ),
        mistake(
            "a preflight that runs two things",
            "/spec/schema",
            json!({"database": "db", "expand": {"command": ["a"]},
                   "preflight": {"command": ["a"], "template": {"spec": {}}}}),
            "give a preflight at most one of command",
        ),
        mistake(
            "a preflight with a limit of its own for tries",
            "/spec/schema",
            json!({"database": "db", "expand": {"command": ["a"]},
                   "preflight": {"command": ["a"], "retryLimit": 3}}),
            "its deadlineSeconds: remove retryLimit",
        ),
        mistake(
            "a revert that runs nothing",
            "/spec/schema",
            json!({"database": "db", "version": 2, "expand": {"command": ["a"]},
                   "revert": {"when": "AfterFailure"}}),
            "give a phase exactly one of command",
        ),
        mistake(
            "a command of which progress is asked",
            "/spec/schema",
            json!({
                "database": "db", "version": 2,
                "backfill": {"command": ["a"], "stallSeconds": 60},
            }),
            "stallSeconds is about batches, and there are none",
        ),
        mistake(
            "a contract without a proof",
            "/spec/schema",
            json!({
                "database": "db", "version": 2,
                "backfill": {"command": ["a"]}, "contract": {"command": ["a"]},
            }),
            "a contract removes nothing without a proof: give schema.backfill.verify.command",
        ),
        mistake(
            "a contract that waits for a flag that is not there",
            "/spec/schema",
            json!({
                "database": "db", "version": 2,
                "contract": {"command": ["a"], "flags": ["use-full-name"]},
            }),
            "schema.contract.flags names a key that spec.flags does not have",
        ),
        mistake(
            "a soak without checks",
            "/spec/schema",
            json!({"database": "db", "expand": {"command": ["a"], "soak": {}}}),
            "schema.expand.soak measures the stable revision by the checks of spec.analysis",
        ),
        mistake(
            "a lint that nobody knows",
            "/spec/schema",
            json!({"database": "db", "lint": "Severe"}),
            "spec.schema.lint",
        ),
    ]
}
