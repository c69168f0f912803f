//! The Job in which Stepgate's own runner carries out a phase of SQL: its order, and its pod.

use serde_json::{Map, Value, json};

use super::{pod, progress, recorded};
use crate::api::{DatabaseRecord, PhaseKind, RolloutSpec, SchemaSpec, database::Holder};

/// Seconds that the Job outlives the runner's own deadline, so that the runner can say how it
/// ended: also those in which its pod finds a node and its image is pulled.
pub(super) const GRACE_SECONDS: i64 = 600;

/// The most that a Job may run: batches go on for as long as they come forward, which the runner
/// watches.
const A_WEEK: i64 = 604_800;

/// The variable with the order, or with its first part: the others have `_2`, `_3` and so on.
const VARIABLE: &str = "STEPGATE_PHASE";
/// Bytes of a part: Linux gives no process a variable of more than 128 KiB.
const PART: usize = 100 * 1024;

/// The variables that hand an order to the runner.
fn variables(order: &Value) -> Vec<Value> {
    // The kubelet makes one dollar of two, and expands what is in brackets after one.
    let text = order.to_string().replace('$', "\\u0024");
    let mut rest = text.as_str();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let mut end = rest.len().min(PART);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, later) = rest.split_at(end);
        let name = match parts.len() {
            0 => VARIABLE.to_owned(),
            before => format!("{VARIABLE}_{}", before + 1),
        };
        parts.push(json!({"name": name, "value": part}));
        rest = later;
    }
    parts
}

/// The order that the variables of a container hold.
pub(crate) fn order_in(env: &Value) -> Option<Value> {
    let all = env.as_array()?.iter();
    let parts = all.filter(|var| {
        let name = var["name"].as_str().unwrap_or_default();
        name.starts_with(VARIABLE)
    });
    let text: String = parts.filter_map(|var| var["value"].as_str()).collect();
    serde_json::from_str(&text).ok()
}

/// `activeDeadlineSeconds` of a phase's Job.
pub(super) fn deadline(schema: &SchemaSpec, phase: PhaseKind, seconds: i64) -> i64 {
    match phase {
        PhaseKind::Backfill if !schema.batches().is_empty() => A_WEEK,
        _ if schema.runs_sql(phase) => (seconds + GRACE_SECONDS).min(A_WEEK),
        _ => seconds,
    }
}

/// The order of one run, as the runner reads it; `approved`: a person has read and approved what
/// runs. `None` where the hash of a file is not known.
#[must_use]
pub fn order(
    namespace: &str,
    schema: &SchemaSpec,
    holder: &Holder,
    (database, record): (&str, &DatabaseRecord),
    hashes: &[String],
    seconds: i64,
    approved: bool,
) -> Option<Value> {
    let phase = holder.phase;
    let listed = schema.read_files(phase);
    if listed.len() != hashes.len() || hashes.iter().any(String::is_empty) {
        return None;
    }
    let files = listed.iter().zip(hashes).enumerate();
    let files: Vec<_> = files
        .map(|(index, (file, sha256))| {
            let key = &file.config_map_key_ref.key;
            json!({
                "name": key,
                "path": path(index, key),
                "sha256": sha256,
                "transaction": file.transaction,
            })
        })
        .collect();
    // What comes later is looked at, and not run.
    let mut files = files;
    let upcoming = files.split_off(schema.files(phase).len());
    let batches: Vec<_> = schema.batches().iter().collect();
    let (batches, proofs) = match phase {
        PhaseKind::Backfill | PhaseKind::Preflight => (json!(batches), json!([])),
        // What was filled in is counted once more before anything is removed.
        PhaseKind::Contract => {
            let proofs = batches.into_iter();
            let proofs =
                proofs.map(|b| json!({"name": b.name, "table": b.table, "where": b.r#where}));
            (json!([]), proofs.collect())
        }
        PhaseKind::Expand | PhaseKind::Revert => (json!([]), json!([])),
    };
    let batches_run = batches.as_array().is_some_and(|b| !b.is_empty());
    let mut order = json!({
        "namespace": namespace,
        "rollout": holder.rollout,
        "revision": holder.revision,
        "database": database,
        "version": holder.version,
        "phase": phase,
        "attempt": holder.attempt,
        "deadlineSeconds": seconds,
        "files": files,
        "batches": batches,
        "proofs": proofs,
        "lint": schema.lint,
    });
    if let Some(recorded) = recorded::order(record) {
        order["recorded"] = recorded;
    }
    if approved {
        order["approved"] = json!(true);
    }
    if let Some(backfill) = schema.backfill.as_ref().filter(|_| batches_run) {
        order["stallSeconds"] = json!(backfill.stalls_after());
    }
    if phase == PhaseKind::Preflight {
        order["upcoming"] = json!(upcoming);
    }
    let lag = schema.backfill.as_ref().and_then(|b| b.max_lag_seconds);
    let lag = match phase {
        _ if batches_run => lag,
        // Replication is a matter of batches.
        PhaseKind::Preflight => Some(0),
        _ => None,
    };
    let postgres = schema.postgres.as_ref();
    let limits = [
        ("lockTimeoutMs", postgres.and_then(|p| p.lock_timeout_ms)),
        ("blockedSeconds", postgres.and_then(|p| p.blocked_seconds)),
        ("maxLagSeconds", lag),
    ];
    let limits = limits
        .into_iter()
        .filter_map(|(name, limit)| Some((name.to_owned(), json!(limit?))));
    let limits: Map<_, _> = limits.collect();
    if !limits.is_empty() {
        order["limits"] = json!(limits);
    }
    Some(order)
}

/// Where a file is mounted: the number keeps apart what is named alike.
fn path(index: usize, key: &str) -> String {
    format!("/sql/{index}/{key}")
}

/// The pod of a run.
pub(in crate::plan) fn template(
    of_the_pods: &Value,
    spec: &RolloutSpec,
    schema: &SchemaSpec,
    image: &str,
    order: &Value,
) -> Option<Value> {
    let (container, volumes) = runner(schema, image, order)?;
    pod::of_runner((of_the_pods, &spec.selector), schema, container, volumes)
}

/// The container that carries out an order, and the volumes that it mounts.
pub(super) fn runner(
    schema: &SchemaSpec,
    image: &str,
    order: &Value,
) -> Option<(Value, Vec<Value>)> {
    if image.is_empty() {
        return None;
    }
    let postgres = schema.postgres.as_ref()?;
    let kind = PhaseKind::ALL.into_iter();
    let phase = kind
        .into_iter()
        .find(|kind| order["phase"] == json!(kind))?;
    // What is missing is said by the runner; its pod would wait for it until the Job's deadline.
    let mut uri = json!(postgres.connection.secret_key_ref);
    uri["optional"] = json!(true);
    let mut env = variables(order);
    env.push(json!({
        "name": "STEPGATE_DATABASE_URL",
        "valueFrom": {"secretKeyRef": uri},
    }));
    let mut mounts = Vec::new();
    let mut volumes = Vec::new();
    let files = schema.read_files(phase);
    if !files.is_empty() {
        let sources = files.iter().enumerate().map(|(index, file)| {
            let of = &file.config_map_key_ref;
            let item = json!({"key": of.key, "path": format!("{index}/{}", of.key)});
            // Where it is gone by now, the runner says so, and the pod need not wait for it.
            json!({"configMap": {"name": of.name, "items": [item], "optional": true}})
        });
        let sources: Vec<_> = sources.collect();
        volumes.push(json!({"name": "stepgate-sql", "projected": {"sources": sources}}));
        mounts.push(json!({"name": "stepgate-sql", "mountPath": "/sql", "readOnly": true}));
    }
    if let Some(ca) = &postgres.ca {
        let of = &ca.config_map_key_ref;
        let item = json!({"key": of.key, "path": "ca.crt"});
        volumes.push(json!({
            "name": "stepgate-ca",
            "configMap": {"name": of.name, "items": [item], "optional": true},
        }));
        mounts.push(json!({"name": "stepgate-ca", "mountPath": "/ca", "readOnly": true}));
        env.push(json!({"name": "STEPGATE_DATABASE_CA", "value": "/ca/ca.crt"}));
    }
    let mut ports = json!([]);
    if phase == PhaseKind::Backfill {
        env.push(json!({"name": "STEPGATE_PROGRESS", "value": format!("[::]:{}", progress::PORT)}));
        ports = json!([{"name": "progress", "containerPort": progress::PORT, "protocol": "TCP"}]);
    }
    let container = json!({
        "name": "stepgate-sql",
        "image": image,
        "args": ["run"],
        "env": env,
        "ports": ports,
        "resources": {
            "requests": {"cpu": "50m", "memory": "32Mi"},
            "limits": {"memory": "128Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    });
    Some((container, volumes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    /// What the runner's own tests read.
    const ORDERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql/tests/orders.json");

    fn spec() -> RolloutSpec {
        let file = |key: &str| json!({"configMapKeyRef": {"name": "sql-7", "key": key}});
        serde_json::from_value(json!({
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "shop", "image": "shop:1"}]},
            },
            "schema": {
                "database": "shop-db",
                "version": 7,
                "postgres": {
                    "connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}},
                    "ca": {"configMapKeyRef": {"name": "ca", "key": "root.pem"}},
                    "blockedSeconds": 8,
                },
                "expand": {
                    "sql": {"files": [file("a.sql"), file("b.sql")]},
                    "deadlineSeconds": 600,
                },
                "backfill": {
                    "batches": [{
                        "name": "names", "table": "public.users", "key": ["id"],
                        "set": "full_name = name", "where": "full_name IS NULL",
                    }],
                    "maxLagSeconds": 20,
                    "stallSeconds": 300,
                    "deadlineSeconds": 900,
                },
                "contract": {"sql": {"files": [file("c.sql")]}},
                "preflight": {"sql": {"files": [file("check.sql")]}, "deadlineSeconds": 60},
            },
        }))
        .unwrap()
    }

    fn holder() -> Holder {
        Holder {
            rollout: "shop".into(),
            revision: "rm2s8z9cst".into(),
            version: Some(7),
            phase: PhaseKind::Expand,
            attempt: 2,
            job: "a-job".into(),
            job_uid: None,
            since: Time(jiff::Timestamp::UNIX_EPOCH),
            floor_before: None,
        }
    }

    fn order_of(phase: PhaseKind, hashes: &[&str]) -> Option<Value> {
        let holder = Holder { phase, ..holder() };
        let hashes: Vec<_> = hashes.iter().map(|hash| (*hash).to_owned()).collect();
        let spec = spec();
        let schema = spec.schema.as_ref()?;
        let seconds = schema.phase(phase)?.deadline_seconds;
        let approved = phase == PhaseKind::Contract;
        // An expand is the first that is on record here.
        let mut record = DatabaseRecord::default();
        if phase != PhaseKind::Expand && phase != PhaseKind::Preflight {
            let at = Time(jiff::Timestamp::UNIX_EPOCH);
            let expand = Holder {
                phase: PhaseKind::Expand,
                ..holder.clone()
            };
            let mut expand = expand.ended(true, at, String::new());
            expand.sql = true;
            record.phases.push(expand);
        }
        let database = ("shop-db", &record);
        order(
            "shop", schema, &holder, database, &hashes, seconds, approved,
        )
    }

    #[test]
    fn an_order_has_the_hash_of_each_file_and_a_contract_the_proof_of_each_batch() {
        let orders = [
            order_of(PhaseKind::Expand, &["0a", "0b"]).unwrap(),
            order_of(PhaseKind::Backfill, &[]).unwrap(),
            order_of(PhaseKind::Contract, &["0c"]).unwrap(),
            order_of(PhaseKind::Preflight, &["0d", "0a", "0b"]).unwrap(),
        ];
        assert_eq!(orders[0]["files"][1]["sha256"], "0b");
        assert_eq!(orders[0]["files"][1]["path"], "/sql/1/b.sql");
        // A preflight runs its own, and looks at those that come.
        assert_eq!(orders[3]["files"][0]["path"], "/sql/0/check.sql");
        assert_eq!(orders[3]["upcoming"][1]["path"], "/sql/2/b.sql");
        assert_eq!(orders[3]["upcoming"][1]["sha256"], "0b");
        assert_eq!(orders[3]["batches"][0]["name"], "names");
        assert_eq!(orders[0]["limits"], json!({"blockedSeconds": 8}));
        assert_eq!(
            orders[1]["limits"],
            json!({"blockedSeconds": 8, "maxLagSeconds": 20})
        );
        assert_eq!(orders[2]["proofs"][0]["where"], "full_name IS NULL");
        // Without a hash nothing could be compared.
        assert_eq!(order_of(PhaseKind::Expand, &["0a"]), None);
        assert_eq!(order_of(PhaseKind::Expand, &["0a", ""]), None);
        // The runner reads what is written here: its own test has them from this file.
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let text = serde_json::to_string_pretty(&orders).unwrap() + "\n";
            std::fs::write(ORDERS, text).unwrap();
            return;
        }
        let kept = std::fs::read_to_string(ORDERS).unwrap();
        let kept: Vec<Value> = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept, orders, "run: make golden");
    }

    #[test]
    fn the_runner_may_little_and_reads_the_connection_by_itself() {
        let spec = spec();
        let schema = spec.schema.as_ref().unwrap();
        let order = order_of(PhaseKind::Expand, &["0a", "0b"]).unwrap();
        let pod = template(&spec.template, &spec, schema, "stepgate-sql:1", &order).unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["image"], "stepgate-sql:1");
        assert_eq!(container["args"], json!(["run"]));
        let may = &container["securityContext"];
        assert_eq!(may["runAsNonRoot"], true);
        assert_eq!(may["readOnlyRootFilesystem"], true);
        assert_eq!(may["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
        let env = container["env"].as_array().unwrap();
        let var = |name: &str| env.iter().find(|var| var["name"] == name).unwrap();
        let from = json!({"secretKeyRef": {"name": "ddl", "key": "uri", "optional": true}});
        assert_eq!(var("STEPGATE_DATABASE_URL")["valueFrom"], from);
        assert_eq!(var("STEPGATE_DATABASE_CA")["value"], "/ca/ca.crt");
        assert_eq!(order_in(&container["env"]).unwrap(), order);
        let sources = &pod["spec"]["volumes"][0]["projected"]["sources"];
        let second = json!({"configMap": {
            "name": "sql-7",
            "items": [{"key": "b.sql", "path": "1/b.sql"}],
            "optional": true,
        }});
        assert_eq!(sources[1], second);
        assert_eq!(pod["spec"]["volumes"][1]["configMap"]["optional"], true);
        assert_eq!(template(&spec.template, &spec, schema, "", &order), None);
        assert_eq!(container["ports"], json!([]));
        let order = order_of(PhaseKind::Backfill, &[]).unwrap();
        let pod = template(&spec.template, &spec, schema, "stepgate-sql:1", &order).unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["ports"][0]["containerPort"], progress::PORT);
        let env = container["env"].as_array().unwrap();
        let told =
            json!({"name": "STEPGATE_PROGRESS", "value": format!("[::]:{}", progress::PORT)});
        assert!(env.contains(&told));
    }

    #[test]
    fn the_longest_batches_are_handed_over_in_parts_and_no_dollar_is_expanded() {
        let mut spec = spec();
        let longest = |n: usize| {
            json!({
                "name": format!("batch-{n}"), "table": "public.users", "key": ["id"],
                "set": format!("a = $$é\"{}$$", "ü".repeat(4000)),
                "where": format!("a <> $(HOME) || '{}'", "\\".repeat(4000)),
            })
        };
        let batches: Vec<_> = (0..16).map(longest).collect();
        let schema = spec.schema.as_mut().unwrap();
        schema.backfill.as_mut().unwrap().batches = serde_json::from_value(json!(batches)).unwrap();
        let holder = Holder {
            phase: PhaseKind::Backfill,
            ..holder()
        };
        let schema = spec.schema.as_ref().unwrap();
        let record = DatabaseRecord::default();
        let database = ("shop-db", &record);
        let order = order("shop", schema, &holder, database, &[], 900, false).unwrap();
        let pod = template(&spec.template, &spec, schema, "stepgate-sql:1", &order).unwrap();
        let env = &pod["spec"]["containers"][0]["env"];
        let parts: Vec<_> = env.as_array().unwrap().iter().collect();
        let of_the_order = |var: &&&Value| {
            let name = var["name"].as_str().unwrap();
            name.starts_with(VARIABLE)
        };
        assert!(parts.iter().filter(of_the_order).count() > 1);
        for var in &parts {
            let value = var["value"].as_str().unwrap_or_default();
            assert!(value.len() <= PART && !value.contains('$'));
        }
        assert_eq!(parts[1]["name"], "STEPGATE_PHASE_2");
        assert_eq!(order_in(env).unwrap(), order);
        assert_eq!(order["batches"][15]["where"], batches[15]["where"]);
    }

    #[test]
    fn a_job_outlives_the_runners_own_deadline_and_batches_may_take_long() {
        let spec = spec();
        let schema = spec.schema.as_ref().unwrap();
        assert_eq!(deadline(schema, PhaseKind::Expand, 600), 1200);
        assert_eq!(deadline(schema, PhaseKind::Backfill, 900), A_WEEK);
    }
}
