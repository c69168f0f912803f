//! A restart of the operator beside many Rollouts that only wait: it costs no write, and no request
//! for each of them.

use serde_json::json;
use tokio::process::{Child, Command};

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, free_port, metrics, operator_with},
};

/// Rollouts that wait for their first release.
const PAUSED: usize = 270;
/// Rollouts without pods, each with a ControllerRevision and a Deployment. Few, because the
/// controller of Deployments makes twenty requests a second for all tests together.
const EMPTY: usize = 30;
/// Requests of one start: its watches, its Lease, and what is asked once in a term.
const REQUESTS: u64 = 60;

fn operator(home: &Home) -> (Child, u16) {
    let port = free_port();
    let lease = format!("--lease-namespace={}", home.namespace);
    let listen = format!("--listen=127.0.0.1:{port}");
    let process = operator_with(home, &["--leader-elect=true", &lease, &listen]);
    (process, port)
}

/// The sum of a counter's series without this label.
fn sum(text: &str, counter: &str, but: &str) -> u64 {
    let series = text.lines().filter(|line| line.starts_with(counter));
    let wanted = series.filter(|line| !line.contains(but));
    let values = wanted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

#[tokio::test]
async fn a_restart_beside_three_hundred_that_wait_writes_nothing_and_asks_little() {
    let home = Home::new("many").await;
    let names: Vec<String> = (0..PAUSED + EMPTY).map(|n| format!("r{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let mut rollout = minimal(name);
        rollout["spec"]["paused"] = json!(n < PAUSED);
        rollout["spec"]["replicas"] = json!(usize::from(n < PAUSED));
        home.create(&rollout).await.expect("a Rollout");
    }
    let (mut before, _) = operator(&home);
    for (n, name) in names.iter().enumerate() {
        let (kind, reason) = match n < PAUSED {
            true => ("Reconciling", "Paused"),
            false => ("Ready", "ScaledToZero"),
        };
        eventually(&format!("{name} to wait"), async || {
            let condition = condition(&home, name, kind).await?;
            (condition["status"] == "True" && condition["reason"] == reason).then_some(())
        })
        .await;
    }
    // It gives its Lease back.
    let pid = before.id().expect("it runs").to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(told.expect("kill").success());
    before.wait().await.expect("it ends");

    let (_after, port) = operator(&home);
    let text = eventually("all to be looked at", async || {
        let text = metrics(port).await?;
        let looked = sum(&text, "stepgate_reconciles_total", "\n");
        (looked >= names.len() as u64).then_some(text)
    })
    .await;
    let writes = sum(&text, "stepgate_writes_total", "kind=\"Lease\"");
    let requests = sum(&text, "stepgate_client_requests_total", "\n");
    assert_eq!(writes, 0, "{text}");
    assert!(requests <= REQUESTS, "{requests} requests: {text}");
}
