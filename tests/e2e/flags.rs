//! A feature flag in the shop, which reads it with the official SDK from the mounted ConfigMap: for whom it
//! is on, by what clients get, and how long it takes to be off everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use stepgate::api::flags::{FlagState, FlagStatus};
use stepgate::api::status::Outcome;
use testbed::view::State;
use testbed::{Namespace, Result, reach};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::clients::all_served;
use crate::play::{PATIENCE, condition, play};
use crate::shop::{SHOP, apply_so, end, open};

const KEY: &str = "use-full-name";
/// Users that are asked for, most of whom the shop does not know: who has the flag goes by their number.
const USERS: u32 = 3_000;
/// By when a change has reached every pod, and a little for the operator's own passes.
const REACHES: Duration = Duration::from_secs(90 + 30);

/// The shop with its flag, which goes up these steps, each held for so long.
fn flagged(percents: &'static [u32], hold: u32) -> impl Fn(&mut Value) {
    move |spec| {
        let step = |percent: &u32| json!({"name": format!("at-{percent}"), "percent": percent, "holdSeconds": hold});
        let ramp: Vec<_> = percents.iter().map(step).collect();
        spec["flags"] = json!([{
            "key": KEY, "configMap": {"name": "shop-flags"},
            "onVariant": "new", "offVariant": "old", "ramp": ramp,
        }]);
        let pod = &mut spec["template"]["spec"];
        pod["volumes"] =
            json!([{"name": "flags", "configMap": {"name": "shop-flags", "optional": true}}]);
        let container = &mut pod["containers"][0];
        container["volumeMounts"] =
            json!([{"name": "flags", "mountPath": "/etc/flags", "readOnly": true}]);
        let env = container["env"].as_array_mut().expect("its environment");
        let file = "/etc/flags/flags.json";
        env.push(json!({"name": "FLAGD_OFFLINE_FLAG_SOURCE_PATH", "value": file}));
    }
}

fn flag(state: &State) -> Option<FlagStatus> {
    state.status(SHOP).flags.into_iter().next()
}

/// The pod that answered for this user, and whether he had the flag.
async fn ask(address: &str, user: u32) -> Option<(String, bool)> {
    let host = address.trim_start_matches("http://");
    let exchange = async {
        let mut stream = TcpStream::connect(host).await.ok()?;
        let request =
            format!("GET /users/{user} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), exchange);
    let answer = answer.await.ok()??;
    let header = |name: &str| {
        let mut lines = answer.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    Some((header("x-pod:")?, header("x-flag:")? == "on"))
}

/// Who has the flag, by what all these users get.
async fn census(address: &str) -> BTreeSet<u32> {
    let asked = stream::iter(1..=USERS).map(async |user| {
        let answer = ask(address, user).await;
        (user, answer.expect("an answer").1)
    });
    let answers: Vec<_> = asked.buffer_unordered(8).collect().await;
    let on = answers.into_iter().filter(|(_, on)| *on);
    on.map(|(user, _)| user).collect()
}

/// The first who gets the flag.
async fn somebody(address: &str) -> u32 {
    let began = SystemTime::now();
    for user in (1..=100).cycle() {
        if ask(address, user).await.is_some_and(|(_, on)| on) {
            return user;
        }
        let waited = began.elapsed().unwrap_or_default();
        assert!(waited < REACHES, "nobody has the flag after {waited:?}");
    }
    unreachable!()
}

/// As many as chance explains: within four standard deviations.
fn is_about(count: usize, percent: u32) -> bool {
    let (users, share) = (f64::from(USERS), f64::from(percent) / 100.0);
    let spread = (users * share * (1.0 - share)).sqrt();
    (count as f64 - users * share).abs() <= 4.0 * spread
}

/// The flag is on for so many percent, in every pod, and its hold goes on.
async fn reached(ns: &Namespace, percent: u32) -> Result<()> {
    let percent = i32::try_from(percent).expect("a percentage");
    let what = format!("the flag at {percent}%, written");
    let reaches = ns.until(&what, REACHES, |state| {
        let flag = flag(state).filter(|flag| flag.percent == percent)?;
        Some(SystemTime::from(flag.reaches_pods_by?.0))
    });
    let reaches = reaches.await?;
    while SystemTime::now() < reaches {
        ns.view.changed(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Asks for a user who has the flag until no pod says so any more. When each said so last.
async fn until_off(
    ns: &Namespace,
    address: &str,
    user: u32,
) -> Result<BTreeMap<String, SystemTime>> {
    let began = SystemTime::now();
    let mut last_on: BTreeMap<String, SystemTime> = BTreeMap::new();
    let mut off: BTreeSet<String> = BTreeSet::new();
    loop {
        if let Some((pod, on)) = ask(address, user).await {
            match on {
                true => {
                    off.remove(&pod);
                    last_on.insert(pod, SystemTime::now());
                }
                false => _ = off.insert(pod),
            }
        }
        let all = ns.view.now().ready_pods().count();
        if off.len() == all {
            return Ok(last_on);
        }
        let waited = began.elapsed().unwrap_or_default();
        assert!(
            waited < REACHES,
            "{} of {all} pods have it off after {waited:?}",
            off.len()
        );
        ns.view.changed(Duration::from_millis(10)).await;
    }
}

/// For how long pods still had the flag on after this, told to whoever reads the test's output.
fn print_delay(what: &str, since: SystemTime, last_on: &BTreeMap<String, SystemTime>) {
    let after = |at: &SystemTime| at.duration_since(since).unwrap_or_default();
    let seconds: Vec<_> = last_on.values().map(after).collect();
    let most = seconds.iter().max().copied().unwrap_or_default();
    println!(
        "flag off in every pod {:.1} s after {what} ({} pods, each {seconds:.1?})",
        most.as_secs_f64(),
        last_on.len()
    );
    assert!(most <= Duration::from_secs(90), "{most:?}");
}

/// The pods of this revision: others, of Jobs and of what came before, go in their own time.
fn pods(state: &State, revision: &str) -> BTreeSet<String> {
    state.pods_of(revision).map(|pod| pod.name_any()).collect()
}

#[tokio::test]
#[ignore = "it takes nine minutes: make long"]
async fn a_flag_ramps_for_the_same_users_and_a_kill_reaches_every_pod() {
    play("flag", async |ns| {
        ns.kubectl(&["apply", "-f", "deploy/roles/flags.yaml"])
            .await?;
        let (traffic, _) = open(ns).await?;
        let address = reach::service(ns, SHOP).await?;
        let steps = &[1, 5, 25, 100];
        let generation = apply_so(ns, "v2", |spec| {
            flagged(steps, 25)(spec);
            let backfill =
                json!({"command": ["shop", "migrate", "backfill"], "deadlineSeconds": 60});
            spec["schema"]["backfill"] = backfill;
        })
        .await?;
        let (revision, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        let serving = pods(&ns.view.now(), &revision);
        let mut before = BTreeSet::new();
        for percent in steps {
            reached(ns, *percent).await?;
            let on = census(&address).await;
            let now = flag(&ns.view.now()).map(|flag| flag.percent.cast_unsigned());
            assert_eq!(
                now,
                Some(*percent),
                "the step was left while users were asked"
            );
            println!("flag at {percent}%: on for {} of {USERS} users", on.len());
            assert!(
                is_about(on.len(), *percent),
                "{} users at {percent}%",
                on.len()
            );
            assert!(before.is_subset(&on), "users lost the flag at {percent}%");
            before = on;
        }
        ns.until("the flag on for everybody", REACHES, |state| {
            let ready = state.status(SHOP);
            let ready = condition(&ready, "FlagsReady").filter(|c| c.status == "True")?;
            (ready.reason == "FlagsOn").then_some(())
        })
        .await?;
        all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);

        let told = SystemTime::now();
        ns.tell(SHOP, "undo", &format!("{KEY} off")).await?;
        let last_on = until_off(ns, &address, 1).await?;
        print_delay("a person said so", told, &last_on);
        assert_eq!(census(&address).await, BTreeSet::new());
        assert_eq!(pods(&ns.view.now(), &revision), serving, "no pod has moved");
        Ok(())
    })
    .await;
}

/// The new column was never filled: whoever has the flag gets an error.
#[tokio::test]
async fn a_check_that_fails_takes_back_the_flag_and_nothing_else() {
    play("flag-fails", async |ns| {
        ns.kubectl(&["apply", "-f", "deploy/roles/flags.yaml"])
            .await?;
        let (mut traffic, _) = open(ns).await?;
        let address = reach::service(ns, SHOP).await?;
        let generation = apply_so(ns, "v2", flagged(&[25, 100], 30)).await?;
        let (revision, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        let serving = pods(&ns.view.now(), &revision);
        let began = SystemTime::now();
        let user = somebody(&address).await;
        let at = ns
            .until("the flag to be taken back", PATIENCE + REACHES, |state| {
                let flag = flag(state).filter(|flag| flag.state == FlagState::TakenBack)?;
                let why = flag.why?;
                assert_eq!(why.reason, "CheckFailed", "{}", why.message);
                Some(SystemTime::now())
            })
            .await?;
        let last_on = until_off(ns, &address, user).await?;
        print_delay("a check failed", at, &last_on);
        assert_eq!(census(&address).await, BTreeSet::new());

        let state = ns.view.now();
        let status = state.status(SHOP);
        let words = condition(&status, "FlagsReady").map(|c| c.message.clone());
        assert!(words.is_some_and(|words| words.contains("error-rate")));
        assert!(condition(&status, "Ready").is_some_and(|c| c.status == "True"));
        assert_eq!(status.stable.map(|s| s.revision), Some(revision.clone()));
        assert_eq!(pods(&state, &revision), serving, "no pod has moved");
        // Users did get errors, and none any more.
        let off = SystemTime::now();
        let failed = |from: SystemTime, to: SystemTime, records: &[load::Record]| {
            let of = |r: &&load::Record| r.at >= from && r.at < to && r.failed();
            records.iter().filter(of).count()
        };
        assert!(failed(began, at, traffic.records()?) > 0);
        traffic.settled(off + Duration::from_secs(5)).await?;
        assert_eq!(failed(off, SystemTime::now(), traffic.records()?), 0);
        Ok(())
    })
    .await;
}
