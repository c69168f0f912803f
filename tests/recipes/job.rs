//! A phase as its Job runs it: the runner's program, with the order that the operator writes.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stepgate::{
    api::{DatabaseRecord, PhaseKind, SchemaSpec, database::Holder},
    plan::job::sql,
};

use super::{page::Page, server::Server};

/// The runner gives up after so many seconds.
const DEADLINE: i64 = 60;

/// What the runner says when rows are not filled in: a contract removes nothing.
pub const UNPROVED: i32 = 65;

/// Runs a phase of a release, if the release has it: it succeeds.
pub async fn run(server: &Server, page: &Page, release: &str, phase: PhaseKind) {
    if let Some(ran) = try_to(server, page, release, phase).await {
        assert!(
            ran.status.success(),
            "{} {phase:?} of {release}, {}: {}",
            page.name,
            ran.status,
            String::from_utf8_lossy(&ran.stdout)
        );
    }
}

/// Runs a phase of a release, if the release has it.
pub async fn try_to(
    server: &Server,
    page: &Page,
    release: &str,
    phase: PhaseKind,
) -> Option<Output> {
    let schema = page.schema(release);
    schema.phase(phase)?;
    let folder = tempfile::tempdir().unwrap();
    let mut order = order(page, &schema, phase);
    for file in order["files"].as_array_mut().unwrap() {
        // What the ConfigMap mounts.
        let path = file["path"].as_str().unwrap().trim_start_matches('/');
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page.block(file["name"].as_str().unwrap())).unwrap();
        file["path"] = json!(path);
    }
    let mut program = Command::new(env!("CARGO_BIN_EXE_stepgate-sql"));
    program
        .args(["run", "--report"])
        .arg(folder.path().join("report.json"))
        .env("STEPGATE_PHASE", order.to_string())
        .env("STEPGATE_DATABASE_URL", server.url());
    // Requests go on meanwhile.
    let ran = tokio::task::spawn_blocking(move || program.output());
    Some(ran.await.unwrap().unwrap())
}

fn order(page: &Page, schema: &SchemaSpec, phase: PhaseKind) -> Value {
    let holder = json!({
        "rollout": "shop", "revision": "r1", "version": schema.version, "phase": phase,
        "attempt": 1, "job": "shop-1", "since": "2030-01-01T00:00:00Z",
    });
    let holder: Holder = serde_json::from_value(holder).unwrap();
    let files = schema.files(phase).iter();
    let hashes = files.map(|file| hash(page.block(&file.config_map_key_ref.key)));
    let hashes: Vec<_> = hashes.collect();
    let database = (schema.database.as_str(), &DatabaseRecord::default());
    // Nobody has to approve what cannot be judged: there is nothing of that on the pages.
    sql::order("shop", schema, &holder, database, &hashes, DEADLINE, false).unwrap()
}

fn hash(text: &str) -> String {
    let bytes = Sha256::digest(text.as_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
