//! Releases by weight and from set to set, beside the plain canary.

use std::time::{Duration, SystemTime};

use load::Record;
use stepgate::api::status::Outcome;
use testbed::traffic::Traffic;
use testbed::way::{USERS, Way};
use testbed::{Error, Namespace, Result, Testbed};

use crate::audit::{Audit, Request, counts, is_counted};
use crate::figure::{Figure, Section};
use crate::harm::{Harm, failures};
use crate::shop::{Release, Shop};
use crate::statistics::{max, median, min};

/// Half of the answers wrong.
const FAULT: &str = "errors=0.5";
/// Good releases of each way: what they write hardly differs.
const MOST_GOOD: u32 = 3;
/// Writes that a good release may take, Events included.
const WRITES: u64 = 30;
/// For how long the operator must have written nothing.
const QUIET: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(180);
/// For how long the requests of an operator with Services and routes at rest are counted.
const IDLE: Duration = Duration::from_secs(60);

/// What one way came to.
struct Came {
    way: Way,
    /// Seconds from the first wrong answer to the last, of bad releases.
    seconds: Vec<f64>,
    requests: Vec<f64>,
    /// Seconds from the decision to undo until the last wrong answer.
    after_decision: Vec<f64>,
    /// Writes of good releases.
    writes: Vec<f64>,
    /// Requests that failed in good ones.
    failed: usize,
    /// Seconds from the write that switched users to the last request that met the old set.
    after_switch: Vec<f64>,
    /// Requests while nothing was released.
    idle: Vec<Request>,
}

/// Releases good and bad revisions by each way, and counts.
pub async fn measure(testbed: &Testbed, runs: u32, rate: u32) -> Result<Section> {
    let mut came = Vec::new();
    for way in [Way::Canary, Way::Weighted, Way::BlueGreen] {
        eprintln!("  {}", way.words());
        let name = format!("bench-{}", format!("{way:?}").to_lowercase());
        let namespace = Namespace::create(testbed, &name).await?;
        namespace.add_database_and_service().await?;
        let mut shop = Shop::new(namespace);
        let mut traffic = shop.first_release(way, rate).await?;
        let one = one(way, &mut shop, &mut traffic, runs).await;
        traffic.stop().await?;
        shop.namespace.remove().await?;
        came.push(one?);
    }
    Ok(section(&came, runs))
}

async fn one(way: Way, shop: &mut Shop, traffic: &mut Traffic, runs: u32) -> Result<Came> {
    let mut came = Came {
        way,
        seconds: Vec::new(),
        requests: Vec::new(),
        after_decision: Vec::new(),
        writes: Vec::new(),
        failed: 0,
        after_switch: Vec::new(),
        idle: Vec::new(),
    };
    for _ in 0..runs.min(MOST_GOOD) {
        good(shop, traffic, &mut came).await?;
    }
    let mut audit = Audit::from_now()?;
    tokio::time::sleep(IDLE).await;
    came.idle = audit.next()?.into_iter().filter(is_counted).collect();
    for _ in 0..runs {
        bad(shop, traffic, &mut came).await?;
    }
    Ok(came)
}

async fn good(shop: &mut Shop, traffic: &mut Traffic, came: &mut Came) -> Result<()> {
    Audit::from_now()?.until_quiet(QUIET, LIMIT).await?;
    let mut audit = Audit::from_now()?;
    let before = shop.stable();
    let seen = shop.release(&Release::good().by(came.way)).await?;
    if seen.ended.outcome != Outcome::Stable {
        let words = format!("a good release was not left alone: {}", seen.ended.message);
        return Err(Error::refused(words));
    }
    let requests = audit.until_quiet(QUIET, LIMIT).await?;
    traffic.settled(SystemTime::now()).await?;
    let failed = failures(traffic, &seen)?;
    came.failed += failed.len();
    if came.way == Way::BlueGreen {
        let is_switch = |r: &&Request| {
            r.is_operators() && r.is_write() && r.resource == "services" && r.name == USERS
        };
        let switch = requests.iter().find(is_switch);
        let switch = switch.ok_or_else(|| Error::refused("users were not switched"))?;
        let switch = SystemTime::from(switch.received);
        let old = shop.namespace.view.read(|state| {
            before
                .as_ref()
                .map(|revision| state.all_pods_of(revision))
                .unwrap_or_default()
        });
        let records = traffic.records()?.iter();
        let late = records.filter(|r| r.at > switch && old.contains(&r.pod));
        let last = late.map(|r| seconds(switch, r.at)).fold(0.0, f64::max);
        came.after_switch.push(last);
    }
    let writes: Vec<_> = requests.into_iter().filter(is_counted).collect();
    let writes: Vec<_> = writes.iter().filter(|r| r.is_write()).collect();
    eprintln!(
        "    good: {} failed, {} writes: {}",
        failed.len(),
        writes.len(),
        counts(writes.iter().copied())
    );
    came.writes.push(writes.len() as f64);
    Ok(())
}

async fn bad(shop: &mut Shop, traffic: &mut Traffic, came: &mut Came) -> Result<()> {
    let seen = shop
        .release(&Release::with_fault(FAULT).by(came.way))
        .await?;
    let undone = seen
        .undone
        .filter(|_| seen.ended.outcome == Outcome::Failed);
    let undone = undone.ok_or_else(|| {
        Error::refused(format!(
            "a bad release was not undone: {}",
            seen.ended.message
        ))
    })?;
    traffic.settled(SystemTime::now()).await?;
    let failed = failures(traffic, &seen)?;
    let harm = Harm::of(&failed);
    let late = failed.iter().map(|r: &Record| seconds(undone, r.at));
    let late = late.fold(0.0, f64::max);
    eprintln!(
        "    bad: {} failed in {:.2} s, the last {late:.2} s after the decision; {}",
        harm.requests, harm.seconds, seen.ended.message
    );
    came.requests.push(harm.requests as f64);
    came.seconds.push(harm.seconds);
    came.after_decision.push(late);
    Ok(())
}

/// From one time to another, in seconds; 0 when it was before.
fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    let since = to.duration_since(from);
    since.unwrap_or_default().as_secs_f64()
}

/// The middle of some values, with the least and the most of them.
fn words(values: &[f64], digits: usize, unit: &str) -> (f64, String) {
    let (middle, least, most) = (median(values), min(values), max(values));
    let n = values.len();
    let words =
        format!("{middle:.digits$}{unit} (median of {n}, {least:.digits$}–{most:.digits$}{unit})");
    (middle, words)
}

fn called(way: Way) -> &'static str {
    match way {
        Way::Canary => "canary by pods",
        Way::Rolling => "rolling",
        Way::BlueGreen => "blue-green",
        Way::Weighted => "canary by weight",
    }
}

fn section(came: &[Came], runs: u32) -> Section {
    let mut section = Section {
        title: "Strategies",
        notes: vec![format!(
            "Half of the answers of the bad revision are wrong; 8 pods; checks each second. Canary by \
             pods: 1 pod, 25%, 100%; by weight: 10%, 50%, 100% of the requests through Envoy Gateway, \
             one of eight pods at first; blue-green: a preview that a person looks at, then the switch. \
             {runs} bad releases of each, counted from the first wrong answer to the last by the clients' \
             records. Good releases: {} of each. Users of a blue-green release ask over new connections.",
            runs.min(MOST_GOOD)
        )],
        ..Section::default()
    };
    let plain = came
        .iter()
        .find(|came| came.way == Way::Canary)
        .map(|came| median(&came.seconds));
    for came in came {
        let name = called(came.way);
        let lasted = words(&came.seconds, 1, " s");
        let what = format!("First to last wrong answer, {name}");
        section.figures.push(match (came.way, plain) {
            (Way::Weighted, Some(plain)) => Figure::below(what, lasted, (plain, "canary by pods")),
            _ => Figure::told(what, lasted.1),
        });
        section.figures.push(Figure::told(
            format!("Failed requests of a bad release, {name}"),
            words(&came.requests, 0, "").1,
        ));
        let late = words(&came.after_decision, 2, " s");
        let what = format!("Last wrong answer after the decision, {name}");
        section.figures.push(if came.way == Way::BlueGreen {
            Figure::below(what, late, (1.0, "1 s"))
        } else {
            Figure::told(what, late.1)
        });
        let what = format!("API writes of a good release with an expand, {name}");
        let writes = words(&came.writes, 0, "").1;
        section.figures.push(match came.way {
            // It has its goal without an expand, where nothing else goes on.
            Way::Canary => Figure::told(what, writes),
            _ => Figure::at_most(what, (max(&came.writes) as u64, writes), WRITES),
        });
        section.figures.push(Figure::at_most(
            format!("Failed requests of good releases, {name}"),
            (came.failed as u64, came.failed.to_string()),
            0,
        ));
        if came.way == Way::BlueGreen {
            section.figures.push(Figure::below(
                "Last new connection to the old set after the switch, blue-green",
                words(&came.after_switch, 2, " s"),
                (1.0, "1 s"),
            ));
        }
        section.figures.push(Figure::at_most(
            format!("Requests in a minute at rest, {name}"),
            (came.idle.len() as u64, came.idle.len().to_string()),
            0,
        ));
        if !came.idle.is_empty() {
            let asked = counts(&came.idle);
            section.notes.push(format!("At rest, {name}: {asked}."));
        }
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(way: Way, seconds: f64) -> Came {
        Came {
            way,
            seconds: vec![seconds],
            requests: vec![40.0],
            after_decision: vec![0.4],
            writes: vec![31.0],
            failed: 0,
            after_switch: vec![1.2],
            idle: Vec::new(),
        }
    }

    #[test]
    fn each_way_is_held_against_its_goals() {
        let came = [
            came(Way::Canary, 3.0),
            came(Way::Weighted, 3.5),
            came(Way::BlueGreen, 9.0),
        ];
        let section = section(&came, 7);
        let verdict = |name: &str| {
            let found = section.figures.iter().find(|f| f.name.contains(name));
            found.map(|f| f.verdict()).unwrap()
        };
        assert_eq!(verdict("last wrong answer, canary by weight"), "MISSED");
        assert_eq!(verdict("after the decision, blue-green"), "met");
        assert_eq!(verdict("after the switch"), "MISSED");
        assert_eq!(
            verdict("writes of a good release with an expand, blue-green"),
            "MISSED"
        );
        assert_eq!(verdict("at rest, canary by weight"), "met");
    }
}
