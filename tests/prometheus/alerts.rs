//! Every shipped alert fires when it should, every query of the dashboard has an answer: in a real
//! Prometheus, from the operator's own metrics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use stepgate::operator::metrics::Metrics;
use stepgate::plan::intent::{RolloutState, Stands};
use stepgate::plan::reason::Reason;

use super::world::World;

const PATIENCE: Duration = Duration::from_secs(60);

fn shipped(file: &str) -> String {
    let path = format!(
        "{}/charts/stepgate/files/{file}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(path).unwrap()
}

/// The rules as the chart renders them, with minutes made seconds.
fn rules(rollouts: &str) -> String {
    let rules = format!("{}{}", shipped("alerts.yaml"), shipped(rollouts));
    let minutes = regex::Regex::new(r"(for: |\[)[0-9]+m").unwrap();
    let sooner = minutes.replace_all(&rules, |found: &regex::Captures<'_>| match &found[1] {
        "[" => "[5s".to_owned(),
        hold => format!("{hold}1s"),
    });
    sooner.replace("NAMESPACE", "shop")
}

/// The names of the alerts in these rules.
fn names(rules: &str) -> Vec<&str> {
    let lines = rules.lines();
    lines
        .filter_map(|line| line.strip_prefix("- alert: "))
        .collect()
}

/// A page of metrics with other figures for some series, which must be on it.
fn page(metrics: &Metrics, figures: &[(&str, u64)]) -> String {
    let mut text = metrics.render();
    for (series, figure) in figures {
        let old = text
            .lines()
            .find(|line| line.starts_with(&format!("{series} ")));
        let old = old
            .unwrap_or_else(|| panic!("no {series} in {text}"))
            .to_owned();
        text = text.replace(&old, &format!("{series} {figure}"));
    }
    text
}

async fn get(world: &World, path: &str) -> Value {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build();
    let url = format!("{}{path}", world.url());
    let answer = client.unwrap().get(url).send().await.unwrap();
    let text = answer.text().await.unwrap();
    // It says so in plain words while it starts.
    serde_json::from_str(&text).unwrap_or_default()
}

async fn firing(world: &World) -> Vec<Value> {
    let answer = get(world, "api/v1/alerts").await;
    let alerts = answer["data"]["alerts"].as_array().into_iter().flatten();
    alerts.filter(|a| a["state"] == "firing").cloned().collect()
}

/// Shows these pages of an operator's pods, anew with each look, until an alert fires.
async fn until_fires(world: &World, alert: &str, pages: impl Fn(u64) -> Vec<String>) -> Value {
    let began = Instant::now();
    for turn in 1.. {
        let pages = pages(turn);
        let pods: Vec<String> = (0..pages.len()).map(|n| format!("stepgate-{n}")).collect();
        for (pod, page) in pods.iter().zip(&pages) {
            world.show(pod, page);
        }
        let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
        world.scrape("pods", "shop", &pods);
        let firing = firing(world).await;
        if let Some(found) = firing.iter().find(|a| a["labels"]["alertname"] == alert) {
            return found.clone();
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{alert} does not fire: {firing:?}"
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    unreachable!()
}

const LEADER: (&str, u64) = ("stepgate_leader", 1);
const STALLED: Stands = Stands {
    state: RolloutState::Stalled,
    reason: Some(Reason::CheckFailed),
    flags: BTreeMap::new(),
};
const WAITS: Stands = Stands {
    state: RolloutState::WaitsForPerson,
    reason: Some(Reason::Inconclusive),
    flags: BTreeMap::new(),
};

#[tokio::test]
async fn every_alert_fires_when_it_should_and_none_when_all_is_well() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rules = rules("alerts-of-all.yaml");
    let mut fired = Vec::new();
    let world = World::with_rules("alerts", &rules);
    let metrics = Metrics::new();
    until_fires(&world, "StepgateNobodyLeads", |_| vec![page(&metrics, &[])]).await;
    fired.push("StepgateNobodyLeads");

    // All is well: what fired ends, and nothing else does.
    let (data, failed) = (
        "stepgate_evidence_polls_total{result=\"Data\"}",
        "stepgate_evidence_polls_total{result=\"Failed\"}",
    );
    let (changed, wrong) = (
        "stepgate_reconciles_total{outcome=\"Changed\"}",
        "stepgate_reconciles_total{outcome=\"Failed\"}",
    );
    let began = Instant::now();
    for turn in 1.. {
        let well = page(
            &metrics,
            &[
                LEADER,
                (data, 10 * turn),
                (failed, turn),
                (changed, 10 * turn),
                (wrong, turn),
            ],
        );
        world.show("stepgate-0", &well);
        tokio::time::sleep(Duration::from_millis(250)).await;
        // Long enough for the others to have fired.
        if firing(&world).await.is_empty() && turn > 30 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", firing(&world).await);
    }

    let two = |_| vec![page(&metrics, &[LEADER]), page(&metrics, &[LEADER])];
    until_fires(&world, "StepgateTwoLead", two).await;
    fired.push("StepgateTwoLead");
    let blind = |turn| {
        vec![page(
            &metrics,
            &[LEADER, (data, 400 + turn), (failed, 100 + 10 * turn)],
        )]
    };
    until_fires(&world, "StepgateBlind", blind).await;
    fired.push("StepgateBlind");
    let failing = |turn| {
        vec![page(
            &metrics,
            &[LEADER, (changed, 400 + turn), (wrong, 100 + 10 * turn)],
        )]
    };
    until_fires(&world, "StepgateFailing", failing).await;
    fired.push("StepgateFailing");
    let taken = "stepgate_flags_taken_back_total{cause=\"Check\"}";
    let back = |turn| vec![page(&metrics, &[LEADER, (taken, turn)])];
    until_fires(&world, "StepgateFlagTakenBack", back).await;
    fired.push("StepgateFlagTakenBack");
    for (name, alert, stands) in [
        ("web", "StepgateRolloutStalled", STALLED),
        ("cart", "StepgateRolloutWaits", WAITS),
    ] {
        metrics.stands("prod", name, Some(stands));
        until_fires(&world, alert, |_| vec![page(&metrics, &[LEADER])]).await;
        fired.push(alert);
    }
    assert_eq!(fired, names(&rules), "each has its turn here");
}

#[tokio::test]
async fn where_rollouts_are_named_so_they_are_in_alerts() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rules = rules("alerts-of-each.yaml");
    let world = World::with_rules("named-alerts", &rules);
    let metrics = Metrics::naming_rollouts();
    metrics.stands("prod", "web", Some(STALLED));
    metrics.stands("prod", "cart", Some(WAITS));
    for (name, alert, reason) in [
        ("web", "StepgateRolloutStalled", "CheckFailed"),
        ("cart", "StepgateRolloutWaits", "Inconclusive"),
    ] {
        let found = until_fires(&world, alert, |_| vec![page(&metrics, &[LEADER])]).await;
        let labels = &found["labels"];
        assert_eq!(labels["rollout_namespace"], "prod");
        assert_eq!(
            (&labels["rollout"], &labels["reason"]),
            (&name.into(), &reason.into())
        );
        let summary = found["annotations"]["summary"].as_str().unwrap();
        assert!(summary.contains(&format!("prod/{name}")), "{summary}");
    }
    let all = [rules.clone(), self::rules("alerts-of-all.yaml")];
    let runbook = format!("{}/docs/runbook.md", env!("CARGO_MANIFEST_DIR"));
    let runbook = std::fs::read_to_string(runbook).unwrap();
    for name in all.iter().flat_map(|rules| names(rules)) {
        assert!(
            runbook.contains(&format!("\n## {name}\n")),
            "{name} is in the runbook"
        );
        let anchor = format!("runbook: docs/runbook.md#{}", name.to_lowercase());
        assert!(all.iter().any(|rules| rules.contains(&anchor)), "{anchor}");
    }
}

#[tokio::test]
async fn every_query_of_the_dashboard_has_an_answer() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let world = World::new("dashboard");
    let metrics = Metrics::new();
    let dashboard: Value = serde_json::from_str(&shipped("dashboard.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter();
    let targets = targets.flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets.map(|t| t["expr"].as_str().unwrap()).collect();
    assert!(queries.len() >= 9);
    let began = Instant::now();
    let mut open = queries;
    for turn in 1_u64.. {
        let write = "stepgate_writes_total{kind=\"Deployment\",result=\"Accepted\"}";
        let took = "stepgate_reconcile_duration_seconds_bucket{le=\"+Inf\",outcome=\"Changed\"}";
        metrics.requested("GET", Some(200));
        world.show(
            "stepgate-0",
            &page(&metrics, &[LEADER, (write, turn), (took, turn)]),
        );
        world.scrape("pods", "shop", &["stepgate-0"]);
        let mut silent = Vec::new();
        for query in open {
            let asked = query
                .replace("$namespace", "shop")
                .replace("$__rate_interval", "5s")
                .replace("$__range", "5s");
            let encoded: String = asked.bytes().map(|b| format!("%{b:02x}")).collect();
            let answer = get(&world, &format!("api/v1/query?query={encoded}")).await;
            assert_ne!(answer["status"], "error", "{asked}: {answer}");
            if answer["data"]["result"]
                .as_array()
                .is_none_or(Vec::is_empty)
            {
                silent.push(query);
            }
        }
        if silent.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "no answer to {silent:?}");
        open = silent;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
