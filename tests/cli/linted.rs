//! `stepgate lint`: where it finds SQL, what it says, and that no SQL takes it down.

use std::fs;

use serde_json::{Value, json};

use super::program::{piped, root, stepgate};

const SQL: &str = "tests/cli/manifests/expand.sql";

fn rollout(schema: &Value) -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"schema": schema},
    })
}

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sql-7"}, "data": data})
}

fn sql(keys: &[&str]) -> Value {
    let files = keys
        .iter()
        .map(|key| json!({"configMapKeyRef": {"name": "sql-7", "key": key}}));
    json!({"sql": {"files": files.collect::<Vec<_>>()}})
}

/// Several documents in one file, as people keep them.
fn yaml(documents: &[Value]) -> String {
    documents
        .iter()
        .map(|one| format!("---\n{one}\n"))
        .collect()
}

fn rules(told: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(told).expect(told);
    let phases = document["phases"].as_array().unwrap();
    phases
        .iter()
        .flat_map(|phase| {
            let name = phase["phase"].as_str().unwrap();
            phase["findings"]
                .as_array()
                .unwrap()
                .iter()
                .map(move |finding| {
                    let at = |field: &str| finding[field].as_str().unwrap();
                    format!("{name} {} {} {}", at("file"), finding["line"], at("rule"))
                })
        })
        .collect()
}

#[test]
fn a_rollout_leads_to_the_sql_of_each_phase() {
    let drop = "ANALYZE t;\nALTER TABLE t DROP COLUMN a;";
    let index = "CREATE INDEX i ON t (b);";
    let manifest = yaml(&[
        rollout(&json!({
            "expand": sql(&["drop", "index"]),
            "contract": sql(&["drop", "index"]),
            "backfill": {"command": ["fill"], "verify": {"command": ["prove"]}},
        })),
        config_map(&json!({"drop": drop, "index": index})),
    ]);
    let ran = piped(&["lint", "-f", "-", "--format", "json"], &manifest);
    assert_eq!(ran.status, 1, "{}", ran.complained);
    assert_eq!(
        rules(&ran.told),
        [
            "expand ConfigMap/sql-7/drop 2 ban-drop-column",
            "expand ConfigMap/sql-7/index 1 require-concurrent-index-creation",
            "contract ConfigMap/sql-7/index 1 require-concurrent-index-creation",
        ]
    );
    // What it does not look at is said.
    assert!(
        ran.complained
            .contains("spec.schema.backfill runs a program"),
        "{}",
        ran.complained
    );
    let one = piped(&["lint", "-f", "-", "--phase", "contract"], &manifest);
    assert_eq!(one.status, 1);
    assert!(!one.told.contains("ban-drop-column"), "{}", one.told);
}

#[test]
fn the_status_tells_whether_somebody_is_needed() {
    let cases = [
        ("ALTER TABLE t ADD COLUMN a int;", 0),
        ("CREATE TABLE t (a json);", 0),
        ("DO $$ BEGIN END $$;", 1),
        ("DROP TABLE t;", 1),
        ("-- squawk-ignore ban-drop-table\nDROP TABLE t;", 0),
        ("ALTER TABLE t", 1),
    ];
    for (text, status) in cases {
        let manifest = yaml(&[
            rollout(&json!({"expand": sql(&["a"])})),
            config_map(&json!({"a": text})),
        ]);
        let ran = piped(&["lint", "-f", "-"], &manifest);
        assert_eq!(ran.status, status, "{text}: {}{}", ran.told, ran.complained);
    }
}

#[test]
fn where_nobody_approves_strict_refuses_what_cannot_be_judged() {
    let of = |lint: &str| {
        let manifest = yaml(&[
            rollout(&json!({"lint": lint, "expand": sql(&["a"]), "contract": sql(&["a"])})),
            config_map(&json!({"a": "DO $$ BEGIN PERFORM 1; END $$;"})),
        ]);
        let ran = piped(&["lint", "-f", "-", "--format", "json"], &manifest);
        let document: Value = serde_json::from_str(&ran.told).expect("JSON");
        [0, 1].map(|phase| document["phases"][phase]["findings"][0].clone())
    };
    let [expand, contract] = of("Strict");
    let message = expand["message"].as_str().expect("a message");
    assert!(
        message.contains("it does not run (schema.lint: Strict)"),
        "{message}"
    );
    assert_ne!(
        expand["severity"], contract["severity"],
        "somebody approves a contract"
    );
    let [expand, contract] = of("Enforce");
    assert_eq!(expand["severity"], contract["severity"]);
}

#[test]
fn what_is_missing_is_named() {
    let asks = rollout(&json!({"expand": sql(&["a"])}));
    let cases = [
        (
            yaml(std::slice::from_ref(&asks)),
            "Rollout shop: spec.schema.expand.sql.files[0]: no ConfigMap sql-7 in the files",
        ),
        (
            yaml(&[asks.clone(), config_map(&json!({"b": ""}))]),
            "ConfigMap sql-7 has no key a; there is b",
        ),
        (
            yaml(&[rollout(&json!({"expand": {"command": ["x"]}}))]),
            "no SQL in the files: no phase of the Rollout runs sql",
        ),
        (
            yaml(&[config_map(&json!({}))]),
            "no SQL in the files: there is ConfigMap sql-7",
        ),
        (
            yaml(&[rollout(&json!({"expand": {"sql": {"files": [{}]}}}))]),
            "files[0].configMapKeyRef: needs name and key",
        ),
    ];
    for (manifest, words) in cases {
        let ran = piped(&["lint", "-f", "-"], &manifest);
        assert_eq!(ran.status, 2, "{words}");
        assert!(
            ran.complained.contains(words),
            "{words}\n{}",
            ran.complained
        );
    }
    let ran = stepgate(&["lint", "-f", SQL]);
    assert_eq!(ran.status, 2);
    assert!(
        ran.complained
            .contains("say in which phase it runs: --phase expand")
    );
    assert_eq!(
        stepgate(&["lint", "--phase", "expand", "-f", "no.sql"]).status,
        2
    );
}

#[test]
fn sarif_has_what_code_scanning_reads() {
    let ran = stepgate(&["lint", "--phase", "expand", "-f", SQL, "--format", "sarif"]);
    assert_eq!(ran.status, 1);
    let document: Value = serde_json::from_str(&ran.told).unwrap();
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert!(results.len() >= 3);
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(rule["shortDescription"]["text"].is_string());
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()));
        assert!(result["message"]["text"].is_string());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], SQL);
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        assert!(place["region"]["startColumn"].as_u64().unwrap() >= 1);
        assert!(result.get("suppressions").is_none());
    }
    let manifest = yaml(&[
        rollout(&json!({"expand": sql(&["a b.sql"])})),
        config_map(&json!({"a b.sql": "-- squawk-ignore ban-drop-table\nDROP TABLE t;"})),
    ]);
    let ran = piped(&["lint", "-f", "-", "--format", "sarif"], &manifest);
    let document: Value = serde_json::from_str(&ran.told).unwrap();
    let result = &document["runs"][0]["results"][0];
    assert_eq!(result["suppressions"][0]["kind"], "inSource");
    let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, "ConfigMap/sql-7/a%20b.sql");
}

/// The parser ends, the program does not; and the other files are judged as ever.
#[test]
fn no_sql_takes_it_down() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let rows: Vec<_> = (0..90_000).map(|n| format!("({n}, 'x')")).collect();
    let hostile = [
        (
            "not",
            format!("SELECT {}true;", "NOT ".repeat(200_000)),
            "nested too deeply",
        ),
        (
            "minus",
            format!("SELECT {}1;", "- ".repeat(200_000)),
            "nested too deeply",
        ),
        (
            "brackets",
            format!("SELECT {}1;", "(".repeat(100_000)),
            "nested too deeply",
        ),
        (
            "large",
            format!("INSERT INTO t VALUES {};", rows.join(",")),
            "more than 64 MB of memory",
        ),
        (
            "slow",
            format!("SELECT 1{};", "+1".repeat(100_000)),
            "more than 10 seconds",
        ),
    ];
    let before = path("1-before.sql");
    let after = path("9-after.sql");
    fs::write(&before, "CREATE TABLE t (a bigint);").unwrap();
    fs::write(&after, "CREATE INDEX i ON t (a); DROP TABLE u;").unwrap();
    let mut arguments = vec![
        "lint", "--phase", "expand", "--format", "json", "-f", &before,
    ];
    let mut files = Vec::new();
    for (name, text, _) in &hostile {
        let file = path(&format!("5-{name}.sql"));
        fs::write(&file, text).unwrap();
        files.push(file);
    }
    for file in &files {
        arguments.extend(["-f", file]);
    }
    arguments.extend(["-f", &after]);
    let ran = stepgate(&arguments);
    assert_eq!(ran.status, 1, "{}", ran.complained);
    let document: Value = serde_json::from_str(&ran.told).unwrap();
    let findings = document["phases"][0]["findings"].as_array().unwrap();
    for ((name, _, words), file) in hostile.iter().zip(&files) {
        let told = findings.iter().find(|finding| finding["file"] == **file);
        let told = told.unwrap_or_else(|| panic!("{name}: nothing is said"));
        assert_eq!(told["severity"], "error", "{name}");
        assert!(
            told["message"].as_str().unwrap().contains(words),
            "{name}: {told}"
        );
    }
    // The table of the first file is still known as new.
    let last: Vec<_> = findings
        .iter()
        .filter(|f| f["file"] == *after)
        .map(|f| &f["rule"])
        .collect();
    assert_eq!(last, ["ban-drop-table"]);
}

#[test]
fn what_is_no_text_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.sql");
    fs::write(&file, b"SELECT '\xff';").unwrap();
    let ran = stepgate(&[
        "lint",
        "--phase",
        "expand",
        "-f",
        &file.display().to_string(),
    ]);
    assert_eq!(ran.status, 2);
    assert!(
        ran.complained.contains("byte 8 is not UTF-8"),
        "{}",
        ran.complained
    );
    assert!(root().join(SQL).exists());
}
