//! The operator with many Rollouts.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;
use serde_json::{Value, json};
use stepgate::api::Rollout;
use testbed::{Error, Namespace, Result, Testbed, program};

use crate::audit::{Audit, Request, counts};
use crate::figure::{Figure, Section};
use crate::memory::{Memory, megabytes};
use crate::there;

const NAMESPACE: &str = "bench-many";
const QUIET: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(900);
/// Created at the same time.
const AT_ONCE: usize = 8;

/// Memory with one Rollout may be so much, and with 1,000.
const GOALS: [f64; 2] = [20e6, 60e6];

/// Makes them, and measures the memory before and after, and after a restart.
pub async fn measure(testbed: &Testbed, count: usize) -> Result<Section> {
    let one = Memory::of_operator(testbed).await?;
    let namespace = Namespace::create(testbed, NAMESPACE).await?;
    let mut audit = Audit::from_now()?;
    let began = Instant::now();
    create(&namespace, 0..count).await?;
    let created = began.elapsed();
    eprintln!(
        "  {count} Rollouts created in {:.0} s",
        created.as_secs_f64()
    );
    let requests = audit.until_quiet(QUIET, LIMIT).await?;
    let settled = began.elapsed().saturating_sub(QUIET);
    let writes: Vec<_> = requests
        .iter()
        .filter(|r| r.is_operators() && r.is_write())
        .collect();
    let after = Memory::of_operator(testbed).await?;
    eprintln!("  with {count}: {}", after.words());

    restart(testbed).await?;
    Audit::from_now()?.until_quiet(QUIET, LIMIT).await?;
    let restarted = Memory::of_operator(testbed).await?;
    eprintln!("  restarted: {}", restarted.words());
    namespace.remove().await?;

    let each = |writes: &[&Request]| writes.len() as f64 / count as f64;
    let figure = |name: String, memory: Memory, goal: f64, words| {
        let measured = (memory.resident as f64, megabytes(memory.resident));
        Figure::below(name, measured, (goal, words))
    };
    Ok(Section {
        title: "Memory",
        figures: vec![
            figure("Memory with one Rollout".into(), one, GOALS[0], "20 MB").argo("96 MB"),
            figure(
                format!("Memory with {count} Rollouts"),
                after,
                GOALS[1],
                "60 MB",
            )
            .argo("145–189 MB"),
            Figure::told(
                "Writes for an empty Rollout at its creation",
                format!("{:.1} each", each(&writes)),
            )
            .argo("9 each"),
        ],
        notes: vec![
            "Resident memory (VmRSS) of the operator's process, pages of its binary included; MB \
             are millions of bytes. One: after all the releases above. Many: Rollouts of 0 \
             replicas with a pod template of ordinary size, steps and checks, after all of them \
             have been dealt with."
                .into(),
            format!("With one: {}.", one.words()),
            format!("With {count}: {}.", after.words()),
            format!("With {count}, after a restart: {}.", restarted.words()),
            format!(
                "{count} were created within {:.0} s and reconciled {:.0} s later, by {}.",
                created.as_secs_f64(),
                settled.saturating_sub(created).as_secs_f64(),
                counts(writes.iter().copied())
            ),
        ],
    })
}

/// Makes empty Rollouts with these numbers.
pub async fn create(namespace: &Namespace, numbers: std::ops::Range<usize>) -> Result<()> {
    let api = namespace.api::<Rollout>();
    let rollouts = numbers.map(manifest).collect::<Result<Vec<_>>>()?;
    let creations = futures::stream::iter(rollouts).map(|rollout| {
        let api = api.clone();
        async move { api.create(&PostParams::default(), &rollout).await }
    });
    let made = creations
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| async { Ok(()) });
    made.await.map_err(Error::api("a Rollout"))
}

/// Ends the operator's pod, and waits for the next.
async fn restart(testbed: &Testbed) -> Result<()> {
    there::scale_operator(testbed, 0).await?;
    there::scale_operator(testbed, 1).await
}

/// An empty Rollout with the shop's template.
fn manifest(number: usize) -> Result<Rollout> {
    let file =
        program::repository().join("tests/programs/shop/manifests/releases/base/rollout.yaml");
    let cannot = |why: String| Error::refused(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(&file).map_err(|error| cannot(error.to_string()))?;
    let mut rollout: Value =
        serde_saphyr::from_str(&text).map_err(|error| cannot(error.to_string()))?;
    let name = format!("many-{number}");
    let labels = json!({"app": name});
    rollout["metadata"]["name"] = json!(name);
    let spec = &mut rollout["spec"];
    spec["replicas"] = json!(0);
    spec["selector"]["matchLabels"] = labels.clone();
    spec["template"]["metadata"]["labels"] = labels;
    spec["schema"] = Value::Null;
    serde_json::from_value(rollout).map_err(|error| cannot(error.to_string()))
}
