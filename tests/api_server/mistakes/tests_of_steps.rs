//! Mistakes in tests of a step.

use serde_json::{Value, json};

use super::{Mistake, mistake, values::tested};

const STRATEGY: &str = "/spec/strategy";

pub fn mistakes() -> Vec<Mistake> {
    vec![
        mistake(
            "a test that runs nothing",
            STRATEGY,
            tested(json!([{"name": "smoke"}])),
            "give a test either a command",
        ),
        mistake(
            "a test that runs two things",
            STRATEGY,
            tested(json!([{"name": "smoke", "command": ["t"], "template": {"spec": {}}}])),
            "give a test either a command",
        ),
        mistake(
            "two tests of one name",
            STRATEGY,
            tested(json!([{"name": "a", "command": ["t"]}, {"name": "a", "command": ["u"]}])),
            "Duplicate value",
        ),
        mistake(
            "five tests at a step",
            STRATEGY,
            tested(
                (0..5)
                    .map(|n| json!({"name": format!("t{n}"), "command": ["t"]}))
                    .collect(),
            ),
            "must have at most 4 items",
        ),
        mistake(
            "a test that may not run",
            STRATEGY,
            tested(json!([{"name": "a", "command": ["t"], "deadlineSeconds": 0}])),
            "should be greater than or equal to 1",
        ),
        mistake(
            "five tests of a rolling release",
            STRATEGY,
            json!({"type": "Rolling", "rolling": {"tests": (0..5)
                .map(|n| json!({"name": format!("t{n}"), "command": ["t"]}))
                .collect::<Value>()}}),
            "must have at most 4 items",
        ),
        mistake(
            "a test after the release at an earlier step",
            STRATEGY,
            json!({"canary": {"steps": [
                {"name": "one", "replicas": 1, "tests": [
                    {"name": "a", "command": ["t"], "after": "Release"}]},
                {"name": "full", "replicas": "100%"}]}}),
            "a test with after: Release runs after the last step: write it into the last one's tests",
        ),
        mistake(
            "a test after something unknown",
            STRATEGY,
            tested(json!([{"name": "a", "command": ["t"], "after": "Switch"}])),
            "spec.strategy.canary.steps[0].tests[0].after",
        ),
        mistake(
            "two tests of a blue-green release with one name",
            STRATEGY,
            json!({"type": "BlueGreen", "blueGreen": {"tests": [
                {"name": "a", "command": ["t"]}, {"name": "a", "command": ["u"]}]}}),
            "Duplicate value",
        ),
    ]
}
