//! Mistakes in manifests, and what is right: one table for the API server and for
//! `stepgate simulate`, which must say the same of each.

#[path = "mistakes/phases.rs"]
mod phases;
#[path = "mistakes/tests_of_steps.rs"]
mod tests_of_steps;
#[path = "mistakes/values.rs"]
mod values;

use serde_json::{Value, json};

use self::values::{checks, flags, metric, mistake, step, steps, traffic, weighted};
pub use self::values::{set, templates::templates};

/// One mistake: where it is made in a minimal Rollout called `shop`, and what is to be read
/// about it.
pub struct Mistake {
    /// What it is.
    pub name: &'static str,
    /// The field, as a JSON pointer.
    pub at: &'static str,
    /// What is written there.
    pub value: Value,
    /// What is to be read about it.
    pub told: &'static str,
}

/// All of them.
pub fn mistakes() -> Vec<Mistake> {
    let rising = "steps must rise";
    let percentage = "must be a number of pods of at least 1, or a percentage";
    let surge = "must be a number of pods, or a percentage";
    let strategy = "/spec/strategy";
    let mut all = vec![
        mistake(
            "template without the selector's labels",
            "/spec/template/metadata/labels",
            json!({"app": "other"}),
            "spec.template.metadata.labels must carry every label of spec.selector.matchLabels",
        ),
        mistake(
            "template without labels",
            "/spec/template/metadata",
            json!({}),
            "spec.template.metadata.labels must carry every label",
        ),
        mistake(
            "empty selector",
            "/spec/selector",
            json!({}),
            "spec.selector must name a label that its pods have",
        ),
        mistake(
            "a selector that names no label that its pods have",
            "/spec/selector",
            json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
            "spec.selector must name a label that its pods have",
        ),
        mistake(
            "the steps of another strategy",
            strategy,
            json!({"type": "Rolling", "canary": {"steps": [step("full", json!("100%"))]}}),
            "strategy.canary is read with type: Canary alone: write strategy.type: Canary",
        ),
        mistake(
            "batches of another strategy",
            strategy,
            json!({"type": "Canary", "rolling": {"batch": "25%"}}),
            "strategy.rolling is read with type: Rolling alone: write strategy.type: Rolling",
        ),
        mistake(
            "batches without their type",
            strategy,
            json!({"rolling": {"batch": 2}}),
            "strategy.rolling is read with type: Rolling alone: write strategy.type: Rolling",
        ),
        mistake(
            "sets without their type",
            strategy,
            json!({"blueGreen": {"previewReplicas": 2}}),
            "strategy.blueGreen is read with type: BlueGreen alone: write strategy.type: BlueGreen",
        ),
        mistake(
            "two sets without Services",
            strategy,
            json!({"type": "BlueGreen"}),
            "strategy.type: BlueGreen needs spec.traffic",
        ),
        mistake(
            "Services without two sets",
            "/spec/traffic",
            traffic("shop", "shop-stable", "shop-canary"),
            "spec.traffic is for strategy.type: BlueGreen, and for steps with a weight",
        ),
        mistake(
            "weights without routes",
            strategy,
            weighted(&[5, 100]),
            "steps with a weight need spec.traffic.routes, which get",
        ),
        mistake(
            "stable's pods without weights",
            strategy,
            json!({"canary": {"stablePods": "Shrink", "steps": [{"name": "full", "replicas": "100%"}]}}),
            "give each step a weight and spec.traffic its routes, or remove stablePods",
        ),
        mistake(
            "a way for stable's pods that does not exist",
            strategy,
            json!({"canary": {"stablePods": "Drop", "steps": [{"name": "full", "replicas": "100%"}]}}),
            "supported values: \"Keep\", \"Shrink\"",
        ),
        mistake(
            "weights that fall",
            strategy,
            weighted(&[50, 5, 100]),
            "weights must rise",
        ),
        mistake(
            "weights that end below 100",
            strategy,
            weighted(&[5, 50]),
            "the last step must have weight: 100",
        ),
        mistake(
            "a weight at one step alone",
            strategy,
            json!({"canary": {"steps": [
                {"name": "one", "replicas": 1}, {"name": "full", "weight": 100}]}}),
            "once one step has a weight, give every step its own",
        ),
        mistake(
            "a Rollout after itself",
            "/spec/after",
            json!([{"rollout": "shop"}]),
            "spec.after names this Rollout itself: remove that entry",
        ),
        mistake(
            "a ramp that ends below 100%",
            "/spec/flags",
            flags(&[1, 50], "new", "old"),
            "the last step of a ramp must have percent: 100",
        ),
        mistake(
            "a ramp that falls",
            "/spec/flags",
            flags(&[50, 5, 100], "new", "old"),
            "the steps of a ramp must rise",
        ),
        mistake(
            "a flag with one variant",
            "/spec/flags",
            flags(&[100], "new", "new"),
            "onVariant and offVariant must be different names",
        ),
        mistake(
            "one Service for both",
            "/spec/traffic",
            traffic("shop", "shop-stable", "shop-stable"),
            "must be two Services: give one of them another name",
        ),
        mistake(
            "a Service that is to be read and written",
            "/spec/traffic",
            traffic("shop", "shop", "shop-canary"),
            "traffic.portsFrom is only read: give stableService and canaryService names of their own",
        ),
        mistake(
            "a batch of nothing",
            strategy,
            json!({"type": "Rolling", "rolling": {"batch": "0%"}}),
            percentage,
        ),
        mistake(
            "percentages out of order",
            strategy,
            steps(&[json!("50%"), json!("25%"), json!("100%")]),
            rising,
        ),
        mistake(
            "percentages out of order, of different length",
            strategy,
            steps(&[json!("25%"), json!("5%"), json!("100%")]),
            rising,
        ),
        mistake(
            "percentages out of order, of one digit",
            strategy,
            steps(&[json!("6%"), json!("5%"), json!("100%")]),
            rising,
        ),
        mistake(
            "100% before the end",
            strategy,
            steps(&[json!("100%"), json!("25%"), json!("100%")]),
            rising,
        ),
        mistake(
            "counts out of order",
            strategy,
            steps(&[json!(3), json!(2), json!("100%")]),
            rising,
        ),
        mistake(
            "beyond 100%",
            strategy,
            steps(&[json!("101%"), json!("100%")]),
            percentage,
        ),
        mistake(
            "a step of nothing",
            strategy,
            steps(&[json!(0), json!("100%")]),
            percentage,
        ),
        mistake(
            "a step of 0%",
            strategy,
            steps(&[json!("0%"), json!("100%")]),
            percentage,
        ),
        mistake(
            "a count that no program can hold",
            strategy,
            steps(&[json!(3_000_000_000_i64), json!("100%")]),
            percentage,
        ),
        mistake(
            "last step below 100%",
            strategy,
            steps(&[json!(1), json!("25%")]),
            "the last step must have replicas: \"100%\"",
        ),
        mistake(
            "last step a count",
            strategy,
            steps(&[json!(1), json!(10)]),
            "the last step must have replicas: \"100%\"",
        ),
        mistake(
            "a step that is called as a promotion is",
            strategy,
            json!({"canary": {"steps": [step("without-undo", json!("100%"))]}}),
            "a step cannot be called without-undo",
        ),
        mistake(
            "two steps of one name",
            strategy,
            json!({"canary": {"steps": [step("a", json!(1)), step("a", json!("100%"))]}}),
            "Duplicate value",
        ),
        mistake(
            "no steps",
            strategy,
            json!({"canary": {"steps": []}}),
            "should have at least 1 items",
        ),
        mistake(
            "a surge that is no number",
            strategy,
            json!({"maxSurge": "many"}),
            surge,
        ),
        mistake(
            "a surge below 0",
            strategy,
            json!({"maxUnavailable": -1}),
            surge,
        ),
        mistake(
            "a surge that no program can hold",
            strategy,
            json!({"maxSurge": 3_000_000_000_i64}),
            surge,
        ),
        mistake(
            "a limit that is no number",
            "/spec/analysis",
            checks(json!({"name": "a", "errorRate": {"maxPercent": "half"}})),
            "maxPercent",
        ),
        mistake(
            "a limit of 0",
            "/spec/analysis",
            checks(json!({"name": "a", "errorRate": {"maxPercent": "0.0"}})),
            "errorRate.maxPercent must lie between 0 and 100",
        ),
        mistake(
            "a limit of 100",
            "/spec/analysis",
            checks(json!({"name": "a", "errorRate": {"maxPercent": "100"}})),
            "errorRate.maxPercent must lie between 0 and 100",
        ),
        mistake(
            "a limit that is not a string",
            "/spec/analysis",
            checks(json!({"name": "a", "errorRate": {"maxPercent": 0.5}})),
            "must be of type string",
        ),
        mistake(
            "a check of nothing",
            "/spec/analysis",
            checks(json!({"name": "a"})),
            "give a check either errorRate or latency",
        ),
        mistake(
            "a check of two things",
            "/spec/analysis",
            checks(json!({
                "name": "a", "errorRate": {"maxPercent": "1"}, "latency": {"maxMilliseconds": 1},
            })),
            "give a check either errorRate or latency",
        ),
        mistake(
            "a percentile beyond 99",
            "/spec/analysis",
            checks(json!({"name": "a", "latency": {"percentile": 100, "maxMilliseconds": 1}})),
            "percentile",
        ),
        mistake(
            "a histogram with its suffix",
            "/spec/analysis",
            checks(metric(
                json!({"histogram": "grpc_server_handling_seconds_bucket"}),
            )),
            "histogram must be written without _bucket",
        ),
        mistake(
            "a bucket as the counter",
            "/spec/analysis",
            checks(metric(json!({"counter": "request_seconds_bucket"}))),
            "counter must count each request once",
        ),
        mistake(
            "a pattern that is not closed",
            "/spec/analysis",
            checks(metric(
                json!({"statusLabel": "c", "errorValues": "Unknown|(Internal"}),
            )),
            "errorValues must be a regular expression in RE2's syntax",
        ),
        mistake(
            "a pattern with look-ahead",
            "/spec/analysis",
            checks(metric(
                json!({"statusLabel": "c", "errorValues": "(?!OK).*"}),
            )),
            "for \"all but OK\" write successValues: OK",
        ),
        mistake(
            "errors both ways",
            "/spec/analysis",
            checks(metric(
                json!({"statusLabel": "c", "errorValues": "1", "successValues": "0"}),
            )),
            "give either errorValues or successValues",
        ),
        mistake(
            "failures by a counter and by a label",
            "/spec/analysis",
            checks(metric(
                json!({"failedCounter": "a_total", "statusLabel": "c"}),
            )),
            "failedCounter already counts the failed requests",
        ),
        mistake(
            "a namespace label of one's own",
            "/spec/analysis",
            checks(metric(json!({"namespaceLabel": "kubernetes_namespace"}))),
            "namespaceLabel cannot be set here",
        ),
        mistake(
            "a matcher of two conditions",
            "/spec/analysis",
            checks(metric(
                json!({"matchers": [{"label": "a", "equals": "b", "matches": "c"}]}),
            )),
            "give a matcher exactly one of",
        ),
        mistake(
            "a matcher of none",
            "/spec/analysis",
            checks(metric(json!({"matchers": [{"label": "a"}]}))),
            "give a matcher exactly one of",
        ),
        mistake(
            "a matcher's pattern that is none",
            "/spec/analysis",
            checks(metric(
                json!({"matchers": [{"label": "a", "notMatches": "["}]}),
            )),
            "notMatches must be a regular expression in RE2's syntax",
        ),
        mistake(
            "a matcher of nothing in a list",
            "/spec/analysis",
            checks(metric(json!({"matchers": [{"label": "a", "in": []}]}))),
            "should have at least 1 items",
        ),
        mistake(
            "two matchers of one label",
            "/spec/analysis",
            checks(metric(json!({"matchers": [
                {"label": "a", "equals": "b"}, {"label": "a", "equals": "c"}]}))),
            "Duplicate value",
        ),
        mistake(
            "a warm-up beyond an hour",
            "/spec/analysis",
            checks(json!({"name": "a", "latency": {"maxMilliseconds": 1, "warmUpSeconds": 3601}})),
            "warmUpSeconds",
        ),
        mistake(
            "no checks",
            "/spec/analysis",
            json!({"checks": []}),
            "should have at least 1 items",
        ),
        mistake(
            "a source with a name that no source can have",
            "/spec/analysis",
            json!({"source": "My Source", "checks": [
                {"name": "a", "errorRate": {"maxPercent": "1"}}]}),
            "spec.analysis.source",
        ),
        mistake(
            "a phase that runs nothing",
            "/spec/schema",
            json!({"database": "db", "expand": {}}),
            "give a phase exactly one of command",
        ),
        mistake(
            "a phase that runs two things",
            "/spec/schema",
            json!({"database": "db", "expand": {"command": ["a"], "template": {"spec": {}}}}),
            "give a phase exactly one of command",
        ),
        mistake(
            "a backfill that runs two things",
            "/spec/schema",
            json!({
                "database": "db", "version": 2,
                "postgres": {"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}},
                "backfill": {
                    "command": ["a"],
                    "batches": [{"name": "a", "table": "t", "key": ["id"], "set": "a = b", "where": "a IS NULL"}],
                },
            }),
            "give a backfill exactly one of command",
        ),
        mistake(
            "SQL without a database to run it on",
            "/spec/schema",
            json!({
                "database": "db", "version": 2,
                "expand": {"sql": {"files": [{"configMapKeyRef": {"name": "sql", "key": "a.sql"}}]}},
            }),
            "schema.postgres is needed with sql and batches",
        ),
        mistake(
            "two files of SQL with the same key",
            "/spec/schema",
            json!({
                "database": "db", "version": 2,
                "postgres": {"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}},
                "expand": {"sql": {"files": [
                    {"configMapKeyRef": {"name": "one", "key": "a.sql"}},
                    {"configMapKeyRef": {"name": "two", "key": "a.sql"}},
                ]}},
            }),
            "two files have the same key",
        ),
        mistake(
            "a database with a name that none can have",
            "/spec/schema",
            json!({"database": "Shop DB", "expand": {"command": ["a"]}}),
            "spec.schema.database",
        ),
        mistake(
            "a name too long for its children",
            "/metadata/name",
            json!("a".repeat(41)),
            "a Rollout's name may have at most 40 characters",
        ),
        mistake(
            "a name that begins with a digit",
            "/metadata/name",
            json!("1a"),
            "a Rollout's name must start with a letter",
        ),
        mistake(
            "a name with a dot",
            "/metadata/name",
            json!("a.b"),
            "a Rollout's name must start with a letter",
        ),
        mistake(
            "no template",
            "/spec/template",
            Value::Null,
            "spec.template: Required value",
        ),
        mistake(
            "negative replicas",
            "/spec/replicas",
            json!(-1),
            "spec.replicas",
        ),
    ];
    all.extend(phases::mistakes());
    all.extend(tests_of_steps::mistakes());
    all
}

/// Values that are all right, by JSON pointer.
pub fn right() -> Vec<(&'static str, Value)> {
    vec![
        (
            "/spec/strategy",
            steps(&[json!("5%"), json!("25%"), json!("100%")]),
        ),
        (
            "/spec/strategy",
            steps(&[json!("5%"), json!("5%"), json!("100%")]),
        ),
        (
            "/spec/strategy",
            steps(&[json!(1), json!("10%"), json!(5), json!("100%")]),
        ),
        ("/spec/strategy", steps(&[json!("100%")])),
        (
            "/spec/strategy",
            json!({"canary": {"steps": [
                {"name": "one", "replicas": 1, "tests": [{"name": "a", "command": ["t"]}]},
                {"name": "full", "replicas": "100%", "tests": [
                    {"name": "a", "command": ["t"], "after": "Release"}]}]}}),
        ),
        ("/spec/strategy", json!({"maxUnavailable": 0})),
        ("/spec/replicas", json!(0)),
        ("/metadata/name", json!("a".repeat(40))),
        (
            "/spec/schema",
            json!({"database": "db", "version": 7, "expand": {"command": ["a"]}}),
        ),
        (
            "/spec/analysis",
            checks(json!({"name": "a", "errorRate": {"maxPercent": "0.5"}})),
        ),
        (
            "/spec/analysis",
            checks(metric(
                json!({"statusLabel": "grpc_code", "successValues": "OK|NotFound",
                "matchers": [{"label": "uri", "notIn": ["/ready", "/metrics"]},
                    {"label": "method", "in": ["GET"]}, {"label": "a", "equals": "\"}"},
                    {"label": "host", "matches": "shop\\..+"},
                    {"label": "path", "notMatches": "/actuator/.*"}]}),
            )),
        ),
        (
            "/spec/analysis",
            checks(metric(
                json!({"counter": "jobs_total", "failedCounter": "jobs_failed_total"}),
            )),
        ),
        (
            "/spec/analysis",
            checks(json!({"name": "a", "latency": {"maxMilliseconds": 250, "warmUpSeconds": 60}})),
        ),
        (
            "/spec/template/spec/newerThanThisProgram",
            json!({"kept": [1]}),
        ),
    ]
}
