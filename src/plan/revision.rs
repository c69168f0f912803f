//! What a revision is, and what it is called.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{job::pod, measurable::probes, template};
use crate::api::{
    Approval, PhaseKind, RevertWhen, RolloutSpec, SchemaSpec,
    database::{AskedPhase, FileRecord},
    schema::KeptBy,
    selector::template_labels,
};

/// Letters of a revision's name: no vowels, so that no words come about, and nothing that reads
/// like something else.
const ALPHABET: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";
const LENGTH: usize = 10;

/// The hash that names a revision: of the pod template and the schema version it needs, and of
/// nothing else. 10 characters that are valid in names and label values.
///
/// The bytes hashed are the JSON of `{"schemaVersion": …, "template": …}` with keys sorted, no
/// spaces, and without nulls (Kubernetes reads null as absent). Golden vectors hold it in place:
/// an upgrade that changed it would release every workload again.
#[must_use]
pub fn hash(template: &Value, schema_version: Option<i64>) -> String {
    // The bytes are written once, without a copy of the tree.
    let mut identity = Vec::with_capacity(1024);
    identity.push(b'{');
    if let Some(version) = schema_version {
        identity.extend_from_slice(b"\"schemaVersion\":");
        identity.extend_from_slice(version.to_string().as_bytes());
        identity.push(b',');
    }
    if !template.is_null() {
        identity.extend_from_slice(b"\"template\":");
        canonical(template, &mut identity);
    } else if schema_version.is_some() {
        identity.pop();
    }
    identity.push(b'}');
    let digest = Sha256::digest(&identity);
    let base = ALPHABET.len() as u128;
    let mut number = digest
        .iter()
        .take(16)
        .fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    let mut name = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let letter = usize::try_from(number % base).unwrap_or_default();
        name.push(char::from(ALPHABET[letter]));
        number /= base;
    }
    name
}

/// What a Rollout asks for, and the revision that this is, without its pod templates: they are
/// large, and no decision needs them. Who renders one reads it live (see
/// [`Question::Rollout`](super::facts::Question)).
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    spec: RolloutSpec,
    revision: String,
    labels: BTreeMap<String, String>,
    probes: Vec<i64>,
    problem: Option<String>,
    asked: Vec<AskedPhase>,
    asked_after_failure: Vec<AskedPhase>,
}

impl Wanted {
    /// What this spec asks for.
    #[must_use]
    pub fn new(mut spec: RolloutSpec) -> Self {
        let revision = wanted(&spec);
        let labels = template_labels(&spec.template);
        let probes = probes(&spec.template);
        let problem = template::problem(&spec);
        let asked = asked(&spec.template, spec.schema.as_ref());
        let asked_after_failure = asked_after_failure(&spec.template, spec.schema.as_ref());
        spec.template = Value::Null;
        for test in spec.strategy.tests_mut() {
            test.template = test.template.take().map(|_| Value::Null);
        }
        if let Some(schema) = &mut spec.schema {
            let phases = PhaseKind::ALL.into_iter();
            for kind in phases {
                if let Some(template) = schema.template_mut(kind) {
                    *template = Value::Null;
                }
            }
        }
        Self {
            spec,
            revision,
            labels,
            probes,
            problem,
            asked,
            asked_after_failure,
        }
    }

    /// The hash of the revision.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Labels of the pod template.
    #[must_use]
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Seconds between two requests of each probe of its pods that a process may count.
    #[must_use]
    pub fn probes(&self) -> &[i64] {
        &self.probes
    }

    /// The phases that are to run after the release.
    #[must_use]
    pub fn asked(&self) -> &[AskedPhase] {
        &self.asked
    }

    /// The phases that are to run after the release has failed.
    #[must_use]
    pub(crate) fn asked_after_failure(&self) -> &[AskedPhase] {
        &self.asked_after_failure
    }

    /// What in the pod templates stands against a release, for people.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

impl Deref for Wanted {
    type Target = RolloutSpec;

    fn deref(&self) -> &RolloutSpec {
        &self.spec
    }
}

/// The same with the pod templates.
#[derive(Clone, Debug)]
pub struct Whole {
    spec: RolloutSpec,
    wanted: Arc<Wanted>,
}

impl Whole {
    /// The whole of what this spec asks for.
    #[must_use]
    pub fn new(spec: RolloutSpec) -> Self {
        let wanted = Arc::new(Wanted::new(spec.clone()));
        Self { spec, wanted }
    }

    /// What is kept of it.
    #[must_use]
    pub fn wanted(&self) -> Arc<Wanted> {
        Arc::clone(&self.wanted)
    }

    /// The hash of the revision.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.wanted.revision()
    }
}

impl Deref for Whole {
    type Target = RolloutSpec;

    fn deref(&self) -> &RolloutSpec {
        &self.spec
    }
}

impl PartialEq for Whole {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

/// The hash of the revision that a spec asks for.
#[must_use]
pub fn wanted(spec: &RolloutSpec) -> String {
    hash(&spec.template, spec.schema_version())
}

/// The phases that a schema asks for after the release, with the digests of what they run: without
/// the texts of files, which no spec tells (see [`texts`](super::job::texts)).
#[must_use]
pub fn asked(template: &Value, schema: Option<&SchemaSpec>) -> Vec<AskedPhase> {
    let Some(schema) = schema else {
        return Vec::new();
    };
    let backfill = schema.backfill.as_ref().map(|backfill| AskedPhase {
        phase: PhaseKind::Backfill,
        digest: digest(template, schema, PhaseKind::Backfill),
        sql: schema.runs_sql(PhaseKind::Backfill),
        unpinned: Vec::new(),
        files: files(schema, PhaseKind::Backfill),
        kept_by: backfill.kept_by,
        exclusive: backfill.exclusive,
        after_seconds: 0,
        flags: Vec::new(),
        approval: Approval::Automatic,
    });
    let contract = schema.contract.as_ref().map(|contract| AskedPhase {
        phase: PhaseKind::Contract,
        digest: digest(template, schema, PhaseKind::Contract),
        sql: schema.runs_sql(PhaseKind::Contract),
        unpinned: unpinned(template, schema, PhaseKind::Contract),
        files: files(schema, PhaseKind::Contract),
        kept_by: KeptBy::default(),
        exclusive: false,
        after_seconds: contract.after_seconds,
        flags: contract.flags.clone(),
        approval: contract.approval,
    });
    backfill.into_iter().chain(contract).collect()
}

/// The same after a release that has failed.
#[must_use]
pub(crate) fn asked_after_failure(
    template: &Value,
    schema: Option<&SchemaSpec>,
) -> Vec<AskedPhase> {
    let asked = schema.and_then(|schema| {
        let revert = schema.revert.as_ref()?;
        (revert.when == RevertWhen::AfterFailure).then(|| AskedPhase {
            phase: PhaseKind::Revert,
            digest: digest(template, schema, PhaseKind::Revert),
            sql: schema.runs_sql(PhaseKind::Revert),
            unpinned: unpinned(template, schema, PhaseKind::Revert),
            files: files(schema, PhaseKind::Revert),
            kept_by: KeptBy::default(),
            exclusive: false,
            after_seconds: 0,
            flags: Vec::new(),
            approval: revert.approval,
        })
    });
    asked.into_iter().collect()
}

/// Files of SQL of a phase, whatever they hold.
fn files(schema: &SchemaSpec, phase: PhaseKind) -> Vec<FileRecord> {
    let files = schema.files(phase).iter().map(|file| FileRecord {
        config_map: file.config_map_key_ref.clone(),
        sha256: String::new(),
    });
    files.collect()
}

/// Images of what is approved that are written without a digest. The runner's own is its
/// administrator's.
fn unpinned(template: &Value, schema: &SchemaSpec, kind: PhaseKind) -> Vec<String> {
    let phase = schema.phase(kind);
    let image = |container: &Value| container["image"].as_str().map(str::to_owned);
    let images: Vec<String> = match phase.and_then(|phase| phase.template.as_ref()) {
        _ if schema.runs_sql(kind) => Vec::new(),
        Some(template) => ["/spec/initContainers", "/spec/containers"]
            .into_iter()
            .filter_map(|list| template.pointer(list)?.as_array())
            .flatten()
            .filter_map(image)
            .collect(),
        None => {
            let command = phase.map_or(&[][..], |phase| &phase.command);
            let container = pod::command_container(template, schema.container.as_deref(), command);
            container.as_ref().and_then(image).into_iter().collect()
        }
    };
    let unpinned = images
        .into_iter()
        .filter(|image| !image.contains("@sha256:"));
    unpinned.take(16).collect()
}

/// The digest of what a phase runs: its image as it is written and its command, or its template, or
/// its batches and where its files and its database are. What a contract proves before it removes
/// anything is a part of it.
fn digest(template: &Value, schema: &SchemaSpec, kind: PhaseKind) -> String {
    let phase = schema.phase(kind);
    let of_command = |command: &[String]| {
        let container = pod::command_container(template, schema.container.as_deref(), command);
        let image = container.map_or(Value::Null, |container| container["image"].clone());
        serde_json::json!({"image": image, "command": command})
    };
    let mut runs = match phase.and_then(|phase| phase.template.as_ref()) {
        _ if schema.runs_sql(kind) => {
            let batches = match kind {
                PhaseKind::Backfill => schema.batches(),
                _ => &[],
            };
            let sql = phase.and_then(|phase| phase.sql.as_ref());
            serde_json::json!({"sql": sql, "batches": batches, "postgres": schema.postgres})
        }
        Some(template) => template.clone(),
        None => of_command(phase.map_or(&[][..], |phase| &phase.command)),
    };
    let verify = schema.verifies(kind);
    if schema.counts(kind) || !verify.is_empty() {
        let proofs = schema.batches().iter();
        let proofs: Vec<_> = proofs
            .map(|b| serde_json::json!([b.name, b.table, b.r#where]))
            .collect();
        let verify = (!verify.is_empty()).then(|| of_command(verify));
        runs = serde_json::json!({
            "runs": runs, "proofs": proofs, "verify": verify, "postgres": schema.postgres,
        });
    }
    let mut bytes = Vec::with_capacity(1024);
    canonical(&runs, &mut bytes);
    short(&bytes)
}

/// The first 12 hexadecimal digits of a SHA-256.
pub(super) fn short(bytes: &[u8]) -> String {
    let mut digest = sha256(bytes);
    digest.truncate(12);
    digest
}

/// A SHA-256 in hexadecimal.
#[must_use]
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name of a revision's Deployment and ControllerRevision.
#[must_use]
pub(crate) fn child_name(rollout: &str, revision: &str) -> String {
    format!("{rollout}-{revision}")
}

/// JSON with keys in order, whatever order the map keeps them in, and without fields that are null.
fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().filter(|(_, v)| !v.is_null()).collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json(key, out);
                out.push(b':');
                canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical(item, out);
            }
            out.push(b']');
        }
        other => json(other, out),
    }
}

/// A string, number, boolean or null as JSON.
fn json<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    // Writing these to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn golden_vectors_hold_the_hash_in_place() {
        let template = json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [
            {"name": "shop", "image": "shop:1", "env": [{"name": "A", "value": "é\"\n"}]},
        ]}});
        assert_eq!(hash(&template, None), "w24t792pzf");
        assert_eq!(hash(&template, Some(7)), "w5qjvqd9wn");
        assert_eq!(hash(&json!({}), None), "z3j6x27cgm");
        assert_eq!(hash(&json!(null), None), "mnfjrb596r");
        assert_eq!(hash(&json!(null), Some(7)), "cx7p9vpgcj");
        assert_eq!(
            hash(&json!([null, {"b": null, "a": [1.5, true, "x"]}]), Some(-1)),
            "bktbrghzpm"
        );
    }

    #[test]
    fn null_means_absent_and_the_order_of_keys_nothing() {
        let one: Value = serde_json::from_str(
            r#"{"spec": {"a": 1, "b": [2]}, "metadata": {"creationTimestamp": null}}"#,
        )
        .unwrap();
        let two: Value =
            serde_json::from_str(r#"{"metadata": {}, "spec": {"b": [2], "a": 1}}"#).unwrap();
        assert_eq!(hash(&one, Some(1)), hash(&two, Some(1)));
        assert_ne!(hash(&one, Some(1)), hash(&one, None));
    }

    #[test]
    fn an_approval_names_the_images_to_which_a_tag_leads() {
        let of = |image: &str, contract: Value| {
            let template = json!({"spec": {"containers": [
                {"name": "proxy", "image": "proxy:1"}, {"name": "shop", "image": image}]}});
            let schema = json!({
                "database": "db", "version": 7, "container": "shop",
                "postgres": {"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}},
                "contract": contract,
            });
            let schema: SchemaSpec = serde_json::from_value(schema).unwrap();
            asked(&template, Some(&schema))[0].unpinned.clone()
        };
        let command = || json!({"command": ["drop"]});
        assert_eq!(of("shop:v7", command()), ["shop:v7"]);
        assert_eq!(of("shop", command()), ["shop"]);
        let pinned = format!("shop:v7@sha256:{}", "0".repeat(64));
        assert!(of(&pinned, command()).is_empty());
        let pod = json!({"spec": {
            "initContainers": [{"name": "wait", "image": "wait:1"}],
            "containers": [{"name": "sql", "image": pinned}],
        }});
        assert_eq!(of("shop:v7", json!({"template": pod})), ["wait:1"]);
        let file = json!({"configMapKeyRef": {"name": "sql-7", "key": "contract.sql"}});
        assert!(of("shop:v7", json!({"sql": {"files": [file]}})).is_empty());
    }

    #[test]
    fn a_contract_is_approved_with_the_proofs_that_it_needs() {
        let batch = |name: &str, set: &str, condition: &str| {
            json!({"name": name, "table": "public.users", "key": ["id"], "set": set,
                   "where": condition})
        };
        let of = |batches: Value| {
            let file = json!({"configMapKeyRef": {"name": "sql-7", "key": "contract.sql"}});
            let mut schema = json!({
                "database": "db", "version": 7,
                "postgres": {"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}},
                "contract": {"sql": {"files": [file]}},
            });
            if batches != json!([]) {
                schema["backfill"] = json!({"batches": batches});
            }
            let schema: SchemaSpec = serde_json::from_value(schema).unwrap();
            let asked = asked(&json!({}), Some(&schema));
            asked.last().unwrap().digest.clone()
        };
        let digest = of(json!([batch("names", "b = a", "b IS NULL")]));
        // Without the backfill, with a weaker one, and with one batch less.
        let without = of(json!([]));
        assert_ne!(without, digest);
        assert_ne!(
            of(json!([batch("names", "b = a", "b IS NULL AND id < 9")])),
            digest
        );
        let two = json!([
            batch("names", "b = a", "b IS NULL"),
            batch("c", "c = a", "c IS NULL")
        ]);
        assert_ne!(of(two), digest);
        // How it was filled is no part of what is proved.
        assert_eq!(
            of(json!([batch("names", "b = upper(a)", "b IS NULL")])),
            digest
        );
        // A contract that proves nothing has the digest that it always had.
        assert_eq!(without, "63c0ed6dfbef");
        let commands = |verify: Value| {
            let schema = json!({
                "database": "db", "version": 7, "contract": {"command": ["drop"]},
                "backfill": {"command": ["fill"], "verify": verify},
            });
            let schema: SchemaSpec = serde_json::from_value(schema).unwrap();
            asked(&json!({}), Some(&schema)).pop().unwrap().digest
        };
        let proves = commands(json!({"command": ["prove"]}));
        assert_ne!(proves, commands(json!({"command": ["true"]})));
        assert_ne!(proves, commands(Value::Null));
    }
}
