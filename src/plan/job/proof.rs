//! What the Job of a contract runs first: the proof that every row is filled in.
//!
//! | backfill | contract in SQL | contract as a command or template |
//! |---|---|---|
//! | `batches` | the runner counts, before its first statement | the runner, as a container before it |
//! | `verify` | the command, as a container before the runner | the command, as a container before it |

use serde_json::{Value, json};

use super::{pod, sql};
use crate::{
    api::{DatabaseRecord, PhaseKind, SchemaSpec, database::Holder},
    plan::{draft::Draft, facts::DatabaseFacts},
};

/// Puts into the pod of a phase what proves before it that every row is filled in. `None` where that
/// cannot be rendered, so that nothing is removed.
pub(in crate::plan) fn comes_first(
    draft: &Draft<'_>,
    of_the_pods: &Value,
    schema: &SchemaSpec,
    holder: &Holder,
    database: &DatabaseFacts,
    seconds: i64,
    pod: &mut Value,
) -> Option<()> {
    // The columns may be gone. They were counted before that.
    if has_begun(&database.record, holder) {
        return Some(());
    }
    let sql = schema.runs_sql(holder.phase);
    if schema.counts(holder.phase) && !sql {
        let order = sql::order(
            &draft.seen.objects.rollout.namespace,
            schema,
            holder,
            (&database.base.name, &database.record),
            &[],
            // So that it ends, and says that nothing was applied, before its Job does.
            (seconds / 2).max(1),
            false,
        )?;
        let (mut container, volumes) = sql::runner(schema, &draft.seen.sql_image, &order)?;
        container["name"] = json!(pod::PROOF);
        add(pod, container, volumes)?;
    }
    let command = schema.verifies(holder.phase);
    if !command.is_empty() {
        let name = schema.container.as_deref();
        let mut container = pod::command_container(of_the_pods, name, command)?;
        container["name"] = json!(pod::VERIFY);
        let volumes = pod::mounted(of_the_pods, std::slice::from_ref(&container));
        add(pod, container, volumes)?;
        if sql {
            pod::as_the_pods_run(of_the_pods, pod);
        }
    }
    Some(())
}

/// What to add to `kubectl logs`, where by the Job controller's words a proof has failed: the log is
/// not that of the Job's own container then.
pub(super) fn has_the_log(message: &str) -> String {
    let failed = |name: &&str| message.contains(&format!("Container {name} "));
    let mut names = [pod::VERIFY, pod::PROOF].into_iter();
    names
        .find(failed)
        .map_or_else(String::new, |name| format!(" -c {name}"))
}

/// Whether an earlier attempt may have removed something of what is counted.
fn has_begun(record: &DatabaseRecord, holder: &Holder) -> bool {
    let mut ended = record.phases.iter();
    ended.any(|p| {
        p.phase == PhaseKind::Contract
            && p.version == holder.version
            && !p.nothing_applied
            && p.undone_by.is_none()
    })
}

/// The last of the containers that run before the phase, and the volumes that it mounts.
fn add(pod: &mut Value, container: Value, volumes: Vec<Value>) -> Option<()> {
    let fields = pod.as_object_mut()?;
    let mut list = |field: &str| match fields.remove(field) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let (mut init, mut mounted) = (list("initContainers"), list("volumes"));
    init.push(container);
    let is_new = |volume: &Value| !mounted.iter().any(|known| known["name"] == volume["name"]);
    let new: Vec<_> = volumes.into_iter().filter(is_new).collect();
    mounted.extend(new);
    fields.insert("initContainers".into(), json!(init));
    if !mounted.is_empty() {
        fields.insert("volumes".into(), json!(mounted));
    }
    Some(())
}
