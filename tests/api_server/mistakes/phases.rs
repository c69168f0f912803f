//! Mistakes about what runs after the release of a schema version.

use serde_json::json;

use super::{Mistake, mistake};

pub fn mistakes() -> Vec<Mistake> {
    vec![
        mistake(
            "backfill without version",
            "/spec/schema",
            json!({"database": "db", "backfill": {"command": ["a"]}}),
            "schema.version is needed with schema.backfill or schema.contract",
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
            "a contract that waits for a flag that is not there",
            "/spec/schema",
            json!({
                "database": "db", "version": 2,
                "contract": {"command": ["a"], "flags": ["use-full-name"]},
            }),
            "schema.contract.flags names a key that spec.flags does not have",
        ),
        mistake(
            "a lint that nobody knows",
            "/spec/schema",
            json!({"database": "db", "lint": "Strict"}),
            "spec.schema.lint",
        ),
    ]
}
