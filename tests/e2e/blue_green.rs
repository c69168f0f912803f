//! Two sets of pods behind Stepgate's own Services, under traffic through `stableService`.

use std::time::{Duration, SystemTime};

use serde_json::json;
use stepgate::api::status::Outcome;
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Namespace, Result, install, reach};

use crate::clients::all_served;
use crate::play::{PATIENCE, condition, play};

const SHOP: &str = "shop";
/// The Service that users address.
const USERS: &str = "shop-stable";
const RATE: u32 = 300;
/// The longest release here: both sets are watched for half a minute each, and the old one stays for
/// the delay.
const LONGEST: Duration = Duration::from_secs(300);
/// Seconds for which the old set stays.
const DELAY: i64 = 25;

/// Applies a release of the shop that goes from set to set by itself.
async fn apply(ns: &Namespace, release: &str) -> Result<i64> {
    let folder = format!("tests/programs/shop/manifests/releases/{release}");
    let text = ns.testbed().run_kubectl(&["kustomize", &folder]).await?;
    let mut rollout = install::documents(&text)?.remove(0);
    let spec = &mut rollout["spec"];
    spec["replicas"] = json!(3);
    spec["analysis"]["checks"][1]["latency"]["maxMilliseconds"] = json!(1000);
    spec["strategy"] = json!({
        "type": "BlueGreen",
        "progressDeadlineSeconds": 120,
        "blueGreen": {"promotion": "Automatic", "scaleDownDelaySeconds": DELAY},
    });
    spec["traffic"] = json!({
        "portsFrom": {"name": SHOP}, "stableService": USERS, "canaryService": "shop-canary",
    });
    let applied = ns.put(&rollout).await?;
    Ok(applied.metadata.generation.unwrap_or_default())
}

/// How the release of this generation ended, and its revision.
async fn end(ns: &Namespace, generation: i64) -> Result<(String, Outcome, String)> {
    ns.until("the end of the release", LONGEST, |state| {
        let status = state.status(SHOP);
        let reconciling = condition(&status, "Reconciling")?;
        let over = reconciling.status == "False"
            && reconciling.observed_generation == Some(generation)
            && status.release.is_none();
        let ended = status.history.first().filter(|_| over)?;
        let message = ended.message.clone();
        Some((ended.revision.clone(), ended.outcome, message))
    })
    .await
}

/// Waits until users are led to a release in motion; its revision.
async fn live(ns: &Namespace) -> Result<String> {
    ns.until("a switch of users", LONGEST, |state| {
        let status = state.status(SHOP);
        let release = status.release?;
        let led = status.traffic?.stable_service.revision;
        (release.step()?.name == "live" && led == release.revision).then_some(led)
    })
    .await
}

#[tokio::test]
#[ignore = "one request of 38,000 failed on a machine under load, and why is not found yet: run it alone"]
async fn users_go_from_set_to_set_and_back_and_no_request_fails() {
    play("blue-green", async |ns| {
        ns.add_database_and_service().await?;
        let right = ["apply", "-f", "deploy/roles/services.yaml"];
        // Before it is granted it is said what to grant.
        let generation = apply(ns, "v1").await?;
        ns.until("words about a missing right", PATIENCE, |state| {
            let status = state.status(SHOP);
            let stalled = condition(&status, "Stalled")?;
            (stalled.reason == "ServicesForbidden").then_some(())
        })
        .await?;
        ns.kubectl(&right).await?;
        let policy = ["apply", "-f", "deploy/policies/own-services.yaml"];
        ns.testbed().run_kubectl(&policy).await?;
        ns.until("pods in the Services", LONGEST, |state| {
            State::serves(state).then_some(())
        })
        .await?;
        let mut traffic = Traffic::start(&reach::service(ns, USERS).await?, RATE)?;
        let (first, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");

        // A good one.
        let generation = apply(ns, "v2").await?;
        let (second, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        ns.until("only pods of the new set", PATIENCE, |state| {
            (!state.has_pods_beside(&second)).then_some(())
        })
        .await?;
        let good = all_served(ns, traffic.records()?, SystemTime::UNIX_EPOCH);
        assert_ne!(first, second);
        println!("good: {good} requests, 0 failed");

        // One that is undone by a person, after users were switched to it.
        apply(ns, "v3").await?;
        let third = live(ns).await?;
        ns.tell(SHOP, "undo", &format!("{third} 1")).await?;
        let led_back = |state: &State| {
            let led = state.status(SHOP).traffic?.stable_service.revision;
            (led == second).then_some(())
        };
        ns.until("users back at stable", PATIENCE, led_back).await?;
        ns.until("only pods of stable", PATIENCE, |state| {
            (!state.has_pods_beside(&second)).then_some(())
        })
        .await?;
        let undone = all_served(ns, traffic.records()?, SystemTime::UNIX_EPOCH);
        println!("undone: {undone} requests, 0 failed");

        // One that answers with errors: found out after the switch, and users get no more of them
        // once they have been led back.
        let generation = apply(ns, "errors").await?;
        live(ns).await?;
        let (_, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Failed, "{words}");
        assert!(words.contains("check error-rate"), "{words}");
        let over = SystemTime::now();
        traffic.settled(over).await?;
        let records = traffic.stop().await?;
        let undo = ns.view.now().versions.iter().find_map(|(at, rollout)| {
            let release = rollout.status.as_ref()?.release.as_ref()?;
            (release.undo()?.reason == "CheckFailed").then_some(*at)
        });
        let undo = undo.expect("an undo");
        all_served(ns, &records, undo + Duration::from_secs(2));
        let bad = records.iter().filter(|r| r.at >= undo).count();
        println!("errors: {bad} requests after the undo was decided, none failed 2 s later");
        Ok(())
    })
    .await;
}
