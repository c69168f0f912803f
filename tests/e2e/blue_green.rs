//! Two sets of pods behind Stepgate's own Services, under traffic through `stableService`.

use std::time::{Duration, SystemTime};

use load::Record;
use serde_json::{Value, json};
use stepgate::api::{release::TestResult, status::Outcome};
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Namespace, Result, install, kill, reach};

use crate::clients::all_served;
use crate::play::{PATIENCE, condition, play};

const SHOP: &str = "shop";
/// The Service that users address.
const USERS: &str = "shop-stable";
const RATE: u32 = 150;
/// The longest release here: both sets are watched for half a minute each, and the old one stays for
/// the delay.
const LONGEST: Duration = Duration::from_secs(300);
/// Seconds for which the old set stays.
const DELAY: i64 = 15;

/// For so long after a switch the old set keeps its pods in any case.
const SETTLED: Duration = Duration::from_secs(5);

/// Asks a Service, without a DNS, and shows the answer, whose headers name the pod. Its side of the connection
/// stays open meanwhile: to a server a client that closes has gone.
const ASK: &str = r#"
ask() {
  name=$(echo "$1" | tr 'a-z-' 'A-Z_')
  host=$(env | sed -n "s/^${name}_SERVICE_HOST=//p")
  { printf 'GET /users/1 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n'; sleep 2; } | nc -w 5 "$host" 80
}
new="x-pod: shop-$STEPGATE_REVISION-"
"#;
/// The preview answers at one Service, and does not at that of users.
const PREVIEW: &str = r#"
ask "$STEPGATE_CANARY_SERVICE" | grep -qi "$new" || { echo "no preview there"; exit 1; }
answer=$(ask "$STEPGATE_STABLE_SERVICE")
echo "$answer" | grep -qi "x-pod: shop-" || { echo "users get no answer"; exit 1; }
! echo "$answer" | grep -qi "$new" || { echo "users are there"; exit 1; }
"#;
/// Users are answered by the new set.
const SWITCHED: &str = r#"ask "$STEPGATE_STABLE_SERVICE" | grep -qi "$new""#;

/// A test of a step that runs this.
fn test(name: &str, after: &str, script: &str) -> Value {
    json!({
        "name": name, "after": after, "deadlineSeconds": 60,
        "template": {"spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "ask", "image": "localhost/stepgate/busybox:test", "imagePullPolicy": "Never",
                "command": ["sh", "-c", format!("{ASK}{script}")],
            }],
        }},
    })
}

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
    if release != "errors" {
        spec["strategy"]["blueGreen"]["tests"] = json!([
            test("preview", "Target", PREVIEW),
            test("switched", "Release", SWITCHED),
        ]);
    }
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

/// v1 is out behind Stepgate's Services, and clients address that of users; its revision.
async fn open(ns: &Namespace) -> Result<(Traffic, String)> {
    ns.add_database_and_service().await?;
    // Before it is granted it is said what to grant.
    let generation = apply(ns, "v1").await?;
    ns.until("words about a missing right", PATIENCE, |state| {
        let status = state.status(SHOP);
        let stalled = condition(&status, "Stalled")?;
        (stalled.reason == "ServicesForbidden").then_some(())
    })
    .await?;
    ns.kubectl(&["apply", "-f", "deploy/roles/services.yaml"])
        .await?;
    let policy = ["apply", "-f", "deploy/policies/own-services.yaml"];
    ns.testbed().run_kubectl(&policy).await?;
    ns.until("pods in the Services", LONGEST, |state| {
        State::serves(state).then_some(())
    })
    .await?;
    let traffic = Traffic::start(&reach::service(ns, USERS).await?, RATE)?;
    let (revision, outcome, words) = end(ns, generation).await?;
    assert_eq!(outcome, Outcome::Stable, "{words}");
    Ok((traffic, revision))
}

/// Waits until no pod of another revision is left.
async fn alone(ns: &Namespace, revision: &str) -> Result<()> {
    ns.until("only pods of one set", PATIENCE, |state| {
        (!state.has_pods_beside(revision)).then_some(())
    })
    .await
}

/// The preview was tested while users were at the old set, and the release when they were at the new one.
fn tested_before_users_and_after(state: &State, old: &str, new: &str) {
    let passed = |name: &str| {
        let mut versions = state.versions.iter();
        versions.find_map(|(_, rollout)| {
            let status = rollout.status.as_ref()?;
            let release = status.release.as_ref().filter(|r| r.revision == new)?;
            let mut tests = release.tests.iter();
            tests.find(|t| t.name == name && t.result == Some(TestResult::Passed))?;
            Some(status.traffic.as_ref()?.stable_service.revision.clone())
        })
    };
    assert_eq!(passed("preview").as_deref(), Some(old));
    assert_eq!(passed("switched").as_deref(), Some(new));
}

/// What the removal of pods rests on: so long after the switch nobody is led to the old set any more.
fn old_set_gets_no_new_connection(ns: &Namespace, records: &[Record], old: &str, new: &str) {
    let state = ns.view.now();
    let mut versions = state.versions.iter();
    let switched = versions.find_map(|(at, rollout)| {
        let traffic = rollout.status.as_ref()?.traffic.as_ref()?;
        (traffic.stable_service.revision == new).then_some(*at)
    });
    let switched = switched.expect("a switch");
    let late = records
        .iter()
        .filter(|r| r.at > switched && state.is_of(&r.pod, old));
    let late = late.filter_map(|r| r.at.duration_since(switched).ok());
    let last = late.max().unwrap_or_default();
    println!(
        "the last new connection to the old set: {:.2} s after the switch was on record",
        last.as_secs_f64()
    );
    assert!(last < SETTLED, "{last:?}");
}

#[tokio::test]
async fn users_go_from_set_to_set_and_back_and_no_request_fails() {
    play("blue-green", async |ns| {
        let (mut traffic, first) = open(ns).await?;

        // A good one.
        let generation = apply(ns, "v2").await?;
        let (second, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        assert_ne!(first, second);
        alone(ns, &second).await?;
        let good = all_served(ns, traffic.records()?, SystemTime::UNIX_EPOCH);
        println!("good: {good} requests, 0 failed");
        tested_before_users_and_after(&ns.view.now(), &first, &second);
        old_set_gets_no_new_connection(ns, traffic.records()?, &first, &second);

        // One whose switch loses its operator, and that is undone by a person afterwards.
        apply(ns, "v3").await?;
        let switch = |state: &State| {
            let release = state.status(SHOP).release?;
            (release.step()?.name == "switch").then_some(())
        };
        ns.until("a switch that has begun", LONGEST, switch).await?;
        let (leader, _) = kill::leader(ns.testbed()).await?;
        kill::kill(ns.testbed(), &leader).await?;
        let third = live(ns).await?;
        ns.tell(SHOP, "undo", &format!("{third} 1")).await?;
        let led_back = |state: &State| {
            let led = state.status(SHOP).traffic?.stable_service.revision;
            (led == second).then_some(())
        };
        ns.until("users back at stable", PATIENCE, led_back).await?;
        alone(ns, &second).await?;
        let undone = all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);
        println!("undone: {undone} requests, 0 failed");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn users_are_led_back_from_a_bad_set() {
    play("blue-green-errors", async |ns| {
        let (mut traffic, first) = open(ns).await?;
        let before = SystemTime::now();
        // Found out after the switch, as nobody asks the preview for anything.
        let generation = apply(ns, "errors").await?;
        live(ns).await?;
        let (bad, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Failed, "{words}");
        assert!(words.contains("check error-rate"), "{words}");
        alone(ns, &first).await?;
        let over = SystemTime::now();
        traffic.settled(over).await?;
        let records = traffic.stop().await?;
        let undo = ns.view.now().versions.iter().find_map(|(at, rollout)| {
            let release = rollout.status.as_ref()?.release.as_ref()?;
            (release.undo()?.reason == "CheckFailed").then_some(*at)
        });
        let undo = undo.expect("an undo");
        // Users get no more of it once they have been led back, and nothing from elsewhere.
        all_served(ns, &records, undo + Duration::from_secs(2));
        let (of_bad, others): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|r| ns.view.read(|s| s.is_of(&r.pod, &bad)));
        all_served(ns, &others, before);
        let wrong = of_bad.iter().filter(|r| r.failed()).count();
        assert!(wrong > 0, "nobody noticed");
        let failed = || of_bad.iter().filter(|r| r.failed()).map(|r| r.at);
        let (first, last) = (failed().min(), failed().max());
        let between = |from: Option<SystemTime>, to: Option<SystemTime>| {
            let time = to?.duration_since(from?).unwrap_or_default();
            Some(time.as_secs_f64())
        };
        println!(
            "errors: {wrong} of {} answers of the bad set; first to last {:.1} s, the last {:.2} s after the \
             decision",
            of_bad.len(),
            between(first, last).unwrap_or_default(),
            between(Some(undo), last).unwrap_or_default(),
        );
        Ok(())
    })
    .await;
}
