//! Canaries by weight: what clients get through real gateways while a release goes out, comes back, and is
//! disturbed.

use std::time::{Duration, SystemTime};

use load::Record;
use serde_json::json;
use stepgate::api::status::Outcome;
use testbed::route::{self, Gateway};
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Namespace, Result, kill};
use tokio::sync::RwLock;

use super::shares;
use crate::clients::all_served;
use crate::play::{PATIENCE, play};
use crate::shop::{SHOP, apply_so, end};

const STABLE: &str = "shop-stable";
const CANARY: &str = "shop-canary";
const RATE: u32 = 200;
/// The steps, with their weights.
const STEPS: [(&str, u32); 3] = [("five", 5), ("half", 50), ("full", 100)];
/// As the route stands in Git.
const AT_REST: [(&str, u32); 2] = [(STABLE, 100), (CANARY, 0)];

/// Applies a release of the shop whose steps have weights.
async fn apply(ns: &Namespace, gateway: Gateway, release: &str) -> Result<i64> {
    apply_with(ns, gateway, release, "Keep").await
}

/// The same, with this said of stable's pods.
async fn apply_with(
    ns: &Namespace,
    gateway: Gateway,
    release: &str,
    stable_pods: &str,
) -> Result<i64> {
    apply_so(ns, release, |spec| {
        let step = |(name, weight): (&str, u32)| json!({"name": name, "weight": weight, "holdSeconds": 15});
        spec["strategy"] = json!({
            "progressDeadlineSeconds": 90,
            "canary": {"steps": STEPS.map(step), "stablePods": stable_pods},
        });
        spec["traffic"] = json!({
            "portsFrom": {"name": SHOP},
            "stableService": STABLE,
            "canaryService": CANARY,
            "routes": [{"kind": gateway.kind(), "name": route::ROUTE, "rules": [route::RULE]}],
        });
    })
    .await
}

/// v1 is out, and clients are served through the gateway; its revision.
async fn open(ns: &Namespace, gateway: Gateway) -> Result<(Traffic, String)> {
    ns.add_database_and_service().await?;
    for rights in ["deploy/roles/services.yaml", "deploy/roles/routes.yaml"] {
        ns.kubectl(&["apply", "-f", rights]).await?;
    }
    let generation = apply(ns, gateway, "v1").await?;
    ns.until("pods in the Services", PATIENCE, |state| {
        State::serves(state).then_some(())
    })
    .await?;
    route::apply(gateway, ns, &AT_REST).await?;
    let traffic = Traffic::start_to(&route::host(ns), gateway.url(), RATE)?;
    let (revision, outcome, words) = end(ns, generation).await?;
    assert_eq!(outcome, Outcome::Stable, "{words}");
    Ok((traffic, revision))
}

/// So long after the beginning of a hold a Service's endpoints may still be on their way to the gateway.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);
/// The same where the gateway's controller has just started: it may report a weight before its proxy has it.
const ARRIVES_LATE_WITHIN: Duration = Duration::from_secs(7);

/// Where a controller is restarted, nobody else uses it: that of Envoy Gateway, and istiod.
static CONTROLLERS: [RwLock<()>; 2] = [const { RwLock::const_new(()) }; 2];

fn controller(gateway: Gateway) -> &'static RwLock<()> {
    &CONTROLLERS[usize::from(!gateway.is_envoy())]
}

/// When a revision was held at a step, as far as it was seen.
fn held(state: &State, revision: &str, step: &str) -> Option<(SystemTime, SystemTime)> {
    let is_held = |rollout: &stepgate::api::Rollout| {
        let release = rollout.status.as_ref().and_then(|s| s.release.as_ref());
        let release = release.filter(|release| release.revision == revision);
        let at = release.and_then(|release| release.step());
        at.is_some_and(|at| at.name == step && at.held.since.is_some())
    };
    // The last time: a step whose weights were changed by somebody else is held anew.
    let last = state.versions.iter().rposition(|(_, r)| is_held(r))?;
    let before = state.versions[..last]
        .iter()
        .rposition(|(_, r)| !is_held(r));
    let began = state.versions[before? + 1].0;
    let over = state.versions.get(last + 1)?.0;
    Some((began, over))
}

/// Demands that clients were answered by this revision as the weight of each step says.
fn shares_are_right(ns: &Namespace, records: &[Record], revision: &str, late: Duration) {
    let state = ns.view.now();
    for (step, percent) in STEPS {
        let (from, to) = held(&state, revision, step).expect(step);
        let within: Vec<_> = records
            .iter()
            .filter(|r| r.at >= from + late && r.ended() < to)
            .collect();
        let by = shares::answers(&state, within.iter().copied());
        let of = by.get(revision).copied().unwrap_or_default();
        assert!(within.len() > 500, "{step}: only {} requests", within.len());
        assert!(
            shares::is_share(of, within.len(), percent),
            "{step}: {of} of {} for {percent}%: {by:?}",
            within.len()
        );
        println!("{}: {step} {percent}%: {of} of {}", ns.name(), within.len());
    }
}

/// Demands that the status of each step told nearly that share. It counts at the pods, scrape by scrape, so a
/// second's requests of a pod may be missing: two percent more or less.
fn status_told_the_shares(ns: &Namespace, revision: &str) {
    let state = ns.view.now();
    for (step, percent) in STEPS.into_iter().filter(|(_, percent)| *percent < 100) {
        let told = state.versions.iter().rev().find_map(|(_, rollout)| {
            let status = rollout.status.as_ref()?;
            status.release.as_ref().filter(|r| r.revision == revision)?;
            let measured = status.traffic.as_ref()?.measured.clone();
            measured.filter(|m| m.step == step)
        });
        let told = told.unwrap_or_else(|| panic!("{step}: no share in the status"));
        let share = told.percent.strip_suffix('%').and_then(|p| p.parse().ok());
        let share: f64 = share.unwrap_or_else(|| panic!("{step}: {told:?}"));
        let wanted = f64::from(percent);
        let spread = (wanted * (100.0 - wanted) / told.requests as f64).sqrt();
        assert!(
            (share - wanted).abs() <= 5.0 * spread + 2.0,
            "{step}: {told:?}"
        );
        println!("{}: {step} {percent}%: {told:?}", ns.name());
    }
}

/// Demands that the route stands as it does in Git.
async fn route_is_at_rest(gateway: Gateway, ns: &Namespace) -> Result<()> {
    let weights = route::weights(gateway, ns).await?;
    let git = AT_REST.map(|(name, weight)| (name.to_owned(), i64::from(weight)));
    assert_eq!(weights, git.into());
    Ok(())
}

/// Waits until the release of v2 or v3 is told this weight; its revision.
async fn told(ns: &Namespace, percent: i32) -> Result<String> {
    ns.until(&format!("{percent}% on record"), PATIENCE, |state| {
        let status = state.status(SHOP);
        let weight = status.traffic?.weight?.canary;
        (weight == percent).then_some(status.release?.revision)
    })
    .await
}

/// A release that goes well to its end, while this happens.
async fn good(
    ns: &Namespace,
    gateway: Gateway,
    release: &str,
    meanwhile: impl AsyncFnOnce() -> Result<()>,
) -> Result<String> {
    let generation = apply(ns, gateway, release).await?;
    meanwhile().await?;
    let (revision, outcome, words) = end(ns, generation).await?;
    assert_eq!(outcome, Outcome::Stable, "{words}");
    ns.until("only pods of the new revision", PATIENCE, |state| {
        (!state.has_pods_beside(&revision)).then_some(())
    })
    .await?;
    route_is_at_rest(gateway, ns).await?;
    Ok(revision)
}

/// 5, 50, 100% of a good release; and a bad one, of which no more is failed than it answered itself.
async fn out_and_back(gateway: Gateway, name: &str) {
    let _stays = controller(gateway).read().await;
    play(name, async |ns| {
        let (mut traffic, _) = open(ns, gateway).await?;
        let second = good(ns, gateway, "v2", async || Ok(())).await?;
        let served = all_served(ns, traffic.records()?, SystemTime::UNIX_EPOCH);
        println!("{name}: {served} requests, 0 failed");
        shares_are_right(ns, traffic.records()?, &second, ARRIVES_WITHIN);
        status_told_the_shares(ns, &second);

        let before = SystemTime::now();
        let generation = apply(ns, gateway, "errors").await?;
        let (bad, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Failed, "{words}");
        assert!(words.contains("check error-rate"), "{words}");
        ns.until("only pods of stable", PATIENCE, |state| {
            (!state.has_pods_beside(&second)).then_some(())
        })
        .await?;
        route_is_at_rest(gateway, ns).await?;
        traffic.settled(SystemTime::now()).await?;
        let records = traffic.stop().await?;
        let (of_bad, others): (Vec<_>, Vec<_>) = records
            .into_iter()
            .filter(|r| r.at >= before)
            .partition(|r| ns.view.read(|s| s.is_of(&r.pod, &bad)));
        let served = all_served(ns, &others, before);
        let wrong: Vec<_> = of_bad.iter().filter(|r| r.failed()).collect();
        let first = wrong.iter().map(|r| r.at).min().expect("nobody noticed");
        let last = wrong.iter().map(|r| r.at).max().expect("nobody noticed");
        let lasted = last.duration_since(first).unwrap_or_default();
        println!(
            "{name}: {} failed of {} by the bad revision, {:.1} s from the first to the last; 0 of {served} by others",
            wrong.len(),
            of_bad.len(),
            lasted.as_secs_f64()
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn a_canary_by_weight_goes_out_and_comes_back_through_envoy_gateway() {
    out_and_back(Gateway::Envoy, "weights-envoy").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn a_canary_by_weight_goes_out_and_comes_back_through_a_grpc_route() {
    out_and_back(Gateway::EnvoyGrpc, "weights-grpc").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn a_canary_by_weight_goes_out_and_comes_back_through_istio() {
    out_and_back(Gateway::Istio, "weights-istio").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn a_canary_by_weight_goes_out_and_comes_back_through_a_virtual_service() {
    out_and_back(Gateway::VirtualService, "weights-virtual").await;
}

/// Git's weights come back in the middle of a release, and the operator is killed in the middle of another.
async fn disturbed(gateway: Gateway, name: &str) {
    let _stays = controller(gateway).read().await;
    play(name, async |ns| {
        let (mut traffic, _) = open(ns, gateway).await?;
        let second = good(ns, gateway, "v2", async || {
            told(ns, 50).await?;
            ns.until("a hold at half", PATIENCE, |state| {
                let release = state.status(SHOP).release?;
                let step = release.step()?;
                (step.name == "half" && step.held.since.is_some()).then_some(())
            })
            .await?;
            route::re_apply(gateway, ns, &AT_REST).await?;
            ns.until("a word about the change", PATIENCE, |state| {
                let weight = state.status(SHOP).traffic?.weight?;
                (weight.resets > 0).then_some(())
            })
            .await
        })
        .await?;
        all_served(ns, traffic.records()?, SystemTime::UNIX_EPOCH);
        shares_are_right(ns, traffic.records()?, &second, ARRIVES_WITHIN);

        let third = good(ns, gateway, "v3", async || {
            told(ns, 50).await?;
            let (leader, _) = kill::leader(ns.testbed()).await?;
            kill::kill(ns.testbed(), &leader).await.map(drop)
        })
        .await?;
        let records = traffic.stop().await?;
        let served = all_served(ns, &records, SystemTime::UNIX_EPOCH);
        shares_are_right(ns, &records, &third, ARRIVES_WITHIN);
        println!("{name}: {served} requests, 0 failed");
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn git_and_a_killed_operator_cost_no_request_through_envoy_gateway() {
    disturbed(Gateway::Envoy, "disturbed-envoy").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn git_and_a_killed_operator_cost_no_request_through_istio() {
    disturbed(Gateway::Istio, "disturbed-istio").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn git_and_a_killed_operator_cost_no_request_through_a_virtual_service() {
    disturbed(Gateway::VirtualService, "disturbed-virtual").await;
}

/// The gateway's controller is gone for a moment, just as it is to follow a weight.
async fn restarted(gateway: Gateway, name: &str) {
    let _alone = controller(gateway).write().await;
    play(name, async |ns| {
        let (traffic, _) = open(ns, gateway).await?;
        let second = good(ns, gateway, "v2", async || {
            told(ns, 50).await?;
            gateway.restart_controller(ns).await
        })
        .await?;
        let records = traffic.stop().await?;
        let served = all_served(ns, &records, SystemTime::UNIX_EPOCH);
        shares_are_right(ns, &records, &second, ARRIVES_LATE_WITHIN);
        println!("{name}: {served} requests, 0 failed");
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn a_restart_of_envoy_gateway_costs_no_request() {
    restarted(Gateway::Envoy, "restart-envoy").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn a_restart_of_istiod_costs_no_request_of_an_http_route() {
    restarted(Gateway::Istio, "restart-istio").await;
}

#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn a_restart_of_istiod_costs_no_request() {
    restarted(Gateway::VirtualService, "restart-virtual").await;
}

/// Stable's pods become fewer as requests leave them, and come back as requests do: no more pods than
/// `replicas` and the surge, and nobody is sent to pods that are not there.
#[tokio::test]
#[ignore = "needs gateways: make long"]
async fn stable_shrinks_and_comes_back_and_no_request_fails() {
    const SHRINK: &str = "Shrink";
    let gateway = Gateway::Envoy;
    let _stays = controller(gateway).read().await;
    play("shrink-envoy", async |ns| {
        let (traffic, _) = open(ns, gateway).await?;
        let generation = apply_with(ns, gateway, "v2", SHRINK).await?;
        let (second, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        ns.until("only pods of the new revision", PATIENCE, |state| {
            (!state.has_pods_beside(&second)).then_some(())
        })
        .await?;
        apply_with(ns, gateway, "v3", SHRINK).await?;
        let third = told(ns, 50).await?;
        ns.until("fewer pods of stable", PATIENCE, |state| {
            let left = state.pods_of(&second);
            (left
                .filter(|pod| pod.metadata.deletion_timestamp.is_none())
                .count()
                < 4)
            .then_some(())
        })
        .await?;
        ns.tell(SHOP, "undo", &format!("{third} 1")).await?;
        ns.until("all of stable, alone", PATIENCE, |state| {
            let back = state.pods_of(&second).count() == 4;
            (back && !state.has_pods_beside(&second)).then_some(())
        })
        .await?;
        route_is_at_rest(gateway, ns).await?;
        let most = ns
            .view
            .read(|state| state.ready.iter().map(|(_, n)| *n).max());
        // Four, and a surge of a quarter.
        assert!(most <= Some(5), "{most:?} pods were ready at a time");
        let served = all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);
        println!("shrink: {served} requests, 0 failed");
        Ok(())
    })
    .await;
}
