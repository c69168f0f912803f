//! What the whole life of a schema version costs the API server: expand, backfill and contract.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::way::{SHOP, Way};
use testbed::{Namespace, Result, Testbed};

use crate::audit::{Audit, Request, counts, is_counted};
use crate::figure::{Figure, Section};
use crate::shop::Shop;
use crate::statistics::median;

const NAMESPACE: &str = "bench-life";
/// Writes that it may take, Events included.
const GOAL: u64 = 50;
/// Requests a second: enough for the checks.
const RATE: u32 = 100;
const MOST: u32 = 3;
const QUIET: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(240);
/// For how long a contract that waits for its approval is watched.
const WAITS: Duration = Duration::from_secs(60);

/// Releases versions with all their phases, counts what is written, and then what is asked while a
/// contract waits.
pub async fn measure(testbed: &Testbed, runs: u32) -> Result<Section> {
    let namespace = Namespace::create(testbed, NAMESPACE).await?;
    namespace.add_database_and_service().await?;
    let mut shop = Shop::new(namespace);
    let traffic = shop.first_release(Way::Canary, RATE).await?;
    let mut section = Section {
        title: "Schema versions",
        notes: vec![
            "Canary, 25%, 100% of 8 replicas with two checks, and the Jobs of an expand, a backfill and \
             a contract that needs no approval; every write of the operator until 12 s after its last \
             one, Events included, Leases not. The last contract waits for an approval: counted is \
             what the operator asks for meanwhile."
                .into(),
        ],
        ..Section::default()
    };
    let mut totals = Vec::new();
    let runs = runs.min(MOST);
    for run in 1..=runs {
        let writes = one(&shop, i64::from(run) + 2, "Automatic").await?;
        let writes: Vec<_> = writes.iter().filter(|r| r.is_write()).collect();
        let words = counts(writes.iter().copied());
        let note = format!("run {run}: {} writes: {words}", writes.len());
        eprintln!("  {note}");
        section.notes.push(note);
        totals.push(writes.len());
    }
    one(&shop, i64::from(runs) + 3, "Manual").await?;
    let mut audit = Audit::from_now()?;
    tokio::time::sleep(WAITS).await;
    let asked: Vec<_> = audit.next()?.into_iter().filter(is_counted).collect();
    traffic.stop().await?;
    shop.namespace.remove().await?;
    let most = totals.iter().max().copied().unwrap_or_default() as u64;
    let middle = median(&totals.iter().map(|t| *t as f64).collect::<Vec<_>>());
    section.figures.push(Figure::at_most(
        "API writes of a release with expand, backfill and contract",
        (most, format!("{middle:.0} (most {most} of {runs} runs)")),
        GOAL,
    ));
    section.figures.push(Figure::at_most(
        "Requests in a minute while a contract waits for its approval",
        (asked.len() as u64, asked.len().to_string()),
        0,
    ));
    if !asked.is_empty() {
        section
            .notes
            .push(format!("While it waits: {}.", counts(&asked)));
    }
    Ok(section)
}

/// The operator's requests for a release of this version, until its contract has run or waits.
async fn one(shop: &Shop, version: i64, approval: &str) -> Result<Vec<Request>> {
    Audit::from_now()?.until_quiet(QUIET, LIMIT).await?;
    let mut audit = Audit::from_now()?;
    let patch = json!({"spec": {"schema": phases(version, approval)}});
    let namespace = &shop.namespace;
    let what = format!("version {version} to be stable, and its contract to have run or to wait");
    namespace
        .merge::<stepgate::api::Rollout>(SHOP, &patch)
        .await?;
    let ended = namespace.until(&what, LIMIT, |state| {
        let schema = state.status(SHOP).schema?;
        let of_contract =
            schema.version == Some(version) && format!("{:?}", schema.phase) == "Contract";
        let wanted = match approval {
            "Manual" => schema.message.contains("an approval"),
            _ => schema.state == "Succeeded",
        };
        (of_contract && wanted).then_some(())
    });
    ended.await?;
    let requests = audit.until_quiet(QUIET, LIMIT).await?;
    Ok(requests.into_iter().filter(is_counted).collect())
}

/// The phases do nothing that was not done before: what is counted is not what they do.
fn phases(version: i64, approval: &str) -> Value {
    let again = json!(["shop", "migrate", "expand"]);
    json!({
        "version": version,
        "expand": {"command": again, "deadlineSeconds": 60},
        "backfill": {
            "command": again, "deadlineSeconds": 60, "verify": {"command": again},
        },
        "contract": {
            "command": again, "deadlineSeconds": 60, "afterSeconds": 0, "approval": approval,
        },
    })
}
