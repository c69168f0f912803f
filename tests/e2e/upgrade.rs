//! Another version of the operator takes over in the middle of a release, as docs/operations.md says it is
//! done. It is the operator of all: this runs when no other test does.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;
use stepgate::api::status::Outcome;
use testbed::install::{OPERATOR, Version};
use testbed::view::State;
use testbed::{Error, Namespace, Result};

use crate::clients::all_served;
use crate::play::{PATIENCE, play};
use crate::shop::{SHOP, apply_so, end, open};

/// Longer than it takes to replace the operator's replicas.
const HOLD: i64 = 45;
/// Of a release with such a hold in it.
const LONGEST: Duration = Duration::from_secs(300);

/// The earlier version: `tests/e2e/run --long` builds it.
fn older() -> Version {
    let folder = std::env::var_os("STEPGATE_OLDER").map(PathBuf::from);
    Version {
        folder: folder.expect("STEPGATE_OLDER: run this by tests/e2e/run --long"),
        tag: "older".to_owned(),
    }
}

/// The names of what a release makes once: its revision, and the Jobs of its phases.
async fn made_once(ns: &Namespace) -> Result<Vec<String>> {
    let all = ListParams::default();
    let client = ns.testbed().client();
    let revisions: Api<ControllerRevision> = Api::namespaced(client.clone(), ns.name());
    let jobs: Api<Job> = Api::namespaced(client, ns.name());
    let revisions = revisions
        .list(&all)
        .await
        .map_err(Error::api("revisions"))?;
    let jobs = jobs.list(&all).await.map_err(Error::api("Jobs"))?;
    let revisions = revisions.iter().map(|one| one.name_any());
    Ok(revisions
        .chain(jobs.iter().map(|one| one.name_any()))
        .collect())
}

/// The images of the operator's pods that run.
async fn images(ns: &Namespace) -> Result<String> {
    let what = "jsonpath={.items[*].spec.containers[0].image}";
    let get = ["get", "pods", "-n", OPERATOR, "-o", what];
    ns.testbed().run_kubectl(&get).await
}

/// A release of the shop begins, `take_over` puts another operator in place while the second step is held,
/// and that one ends it: as it stood, with nothing made twice.
async fn goes_on(
    ns: &Namespace,
    release: &str,
    take_over: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let generation = apply_so(ns, release, |spec| {
        spec["strategy"]["canary"]["steps"][1]["holdSeconds"] = json!(HOLD);
    })
    .await?;
    let second = |state: &State| {
        let release = state.status(SHOP).release?;
        release.step().filter(|step| step.index == 1)?;
        Some((release.revision.clone(), release.started))
    };
    let (revision, started) = ns.until("the second step", PATIENCE, second).await?;
    let before = made_once(ns).await?;
    take_over().await?;
    let taken = second(&ns.view.now());
    assert_eq!(
        taken,
        Some((revision.clone(), started)),
        "{release}: another step, or it began anew"
    );

    let ended = ns.until("the end of the release", LONGEST, |state| {
        let status = state.status(SHOP);
        let ended = status.history.first()?;
        let over = status.release.is_none() && ended.revision == revision;
        over.then(|| (ended.outcome, ended.message.clone()))
    });
    let (outcome, words) = ended.await?;
    assert_eq!(outcome, Outcome::Stable, "{release}: {words}");
    assert_eq!(end(ns, generation).await?.0, revision);
    let after = made_once(ns).await?;
    let new: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    assert!(new.is_empty(), "{release}: made again: {new:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "it replaces the operator: make long"]
async fn a_release_goes_on_through_an_upgrade_and_a_downgrade_and_no_request_fails() {
    play("upgrade", async |ns| {
        let (older, newer) = (older(), Version::built());
        let played = AssertUnwindSafe(through(ns, &older, &newer))
            .catch_unwind()
            .await;
        // However it ended, the next test finds what was built here.
        newer.define(ns.testbed()).await?;
        newer.operate(ns.testbed()).await?;
        played.unwrap_or_else(|panic| resume_unwind(panic))
    })
    .await;
}

async fn through(ns: &Namespace, older: &Version, newer: &Version) -> Result<()> {
    let testbed = ns.testbed();
    older.define(testbed).await?;
    older.operate(testbed).await?;
    assert!(images(ns).await?.contains("stepgate:older"));
    let (traffic, _) = open(ns).await?;

    goes_on(ns, "v2", async || {
        newer.define(testbed).await?;
        newer.operate(testbed).await
    })
    .await?;
    let now = images(ns).await?;
    assert!(!now.contains("stepgate:older"), "{now}");

    // The definitions stay those of the newer version.
    goes_on(ns, "v3", async || older.operate(testbed).await).await?;
    let now = images(ns).await?;
    assert!(!now.contains("stepgate:test"), "{now}");

    all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);
    Ok(())
}
