//! The story: six releases of the shop.

use std::time::{Duration, SystemTime};

use testbed::view::State;
use testbed::{Error, Namespace, Result, kill};

use crate::Arguments;
use crate::figures::{Figures, Line, Told};
use crate::promise::Promise;
use crate::release::{Opened, Seen, Stage};
use testbed::way::{SHOP, Way};

/// Fewer requests a second would not be the traffic that was promised.
const LEAST_RATE: f64 = 300.0;
/// The whole story may take so long.
const LONGEST: Duration = Duration::from_secs(360);

/// A release that was played: what was seen, what was promised, and the stable revision before.
struct Played {
    seen: Seen,
    promise: Promise,
    promised: &'static str,
    stable: Option<String>,
    /// What only the story knows.
    broken: Vec<String>,
}

/// How it is played.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Requests per second.
    #[arg(long, default_value_t = 320)]
    pub rate: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 320 }
    }
}

/// Plays the six releases under steady traffic.
pub async fn tell(arguments: &Arguments, options: &Options, namespace: &Namespace) -> Result<Told> {
    let way = arguments.strategy;
    let mut stage = Stage::new(namespace, way);
    way.prepare(namespace).await?;
    let began = SystemTime::now();
    let mut played = vec![first(&mut stage, arguments, options).await?];
    let sending = SystemTime::now();
    let good = ("through every step, nothing failed", Promise::Released);
    let errors = Promise::Undone {
        check: "error-rate",
        errors: true,
    };
    let slow = Promise::Undone {
        check: "p95",
        errors: false,
    };
    let v2 = format!("v2: the schema is expanded, then {}", way.words());
    let [met_errors, met_slow] = match way {
        Way::BlueGreen => [
            "undone after the switch by its errors",
            "undone after the switch by its p95",
        ],
        _ => [
            "undone at the first step by its errors",
            "undone at the first step by its p95",
        ],
    };
    for (name, title, (promised, promise)) in [
        ("v2", &*v2, good),
        (
            "errors",
            "errors: half of its answers are errors",
            (met_errors, errors),
        ),
        (
            "slow",
            "slow: every answer takes 400 ms longer",
            (met_slow, slow),
        ),
        (
            "bad-migration",
            "bad-migration: its expand fails",
            ("blocked, no pod of it ever started", Promise::Blocked),
        ),
    ] {
        let opened = stage.apply(name, title).await?;
        if way == Way::BlueGreen && promise != Promise::Blocked {
            looked_at(&mut stage, &opened).await?;
        }
        let seen = stage.finish(&opened).await?;
        explain(&stage, &seen);
        let stable = stable_before(&played);
        played.push(Played {
            seen,
            promise,
            promised,
            stable,
            broken: Vec::new(),
        });
    }
    let last = last(&mut stage, stable_before(&played)).await?;
    played.push(last);
    let ended = SystemTime::now();
    conclude(stage, played, began, sending, ended).await
}

/// v1, on nothing. Its bake needs traffic, as every step does.
async fn first(stage: &mut Stage<'_>, arguments: &Arguments, options: &Options) -> Result<Played> {
    let opened = stage.apply("v1", "v1: the first deployment").await?;
    stage.follow("pods in the Service", State::serves).await?;
    let (traffic, url) = stage
        .way
        .clients(stage.namespace, arguments.url.as_deref(), options.rate)
        .await?;
    stage.traffic = Some(traffic);
    let words = format!(
        "clients begin: {} requests a second to {url}, each over a new connection",
        options.rate
    );
    stage.screen.aside(&words);
    Ok(Played {
        seen: stage.finish(&opened).await?,
        promise: Promise::Deployed,
        promised: "deployed",
        stable: None,
        broken: Vec::new(),
    })
}

/// A person has looked at the preview, which no user reaches, and goes on before its hold is over.
async fn looked_at(stage: &mut Stage<'_>, opened: &Opened) -> Result<()> {
    stage
        .follow("the preview", |state| {
            opened.is_observed(state) && step_of(state) == Some(0)
        })
        .await?;
    let release = stage
        .namespace
        .view
        .read(|state| state.status(SHOP).release);
    let release = release.ok_or_else(|| Error::refused("the release went away by itself"))?;
    let text = format!("{}/preview looked-at", release.revision);
    let command = format!("$ kubectl annotate sro shop stepgate.io/promote=\"{text}\"");
    stage.screen.aside(&command);
    stage.namespace.tell(SHOP, "promote", &text).await
}

/// v3. The failed migration has to be looked at first; then the operator is killed on the way.
async fn last(stage: &mut Stage<'_>, stable: Option<String>) -> Result<Played> {
    let title = "v3: a person accepts what the failed migration left; then the operator is killed";
    let opened = stage.apply("v3", title).await?;
    let revision = retry(stage, &opened).await?;
    let mut broken = Vec::new();
    let seen = killed(stage, &opened, &revision, &mut broken).await?;
    Ok(Played {
        seen,
        promise: Promise::Released,
        promised: "went on where it was, nothing failed",
        stable,
        broken,
    })
}

/// A failed phase may have left the schema half-way: the next one waits for a person's word.
async fn retry(stage: &mut Stage<'_>, opened: &Opened) -> Result<String> {
    stage
        .follow("a word about the failed migration", |state| {
            opened.is_observed(state) && stalled_in_expand(state).is_some()
        })
        .await?;
    let revision = stage.namespace.view.read(stalled_in_expand);
    let revision = revision.ok_or_else(|| Error::refused("the release went away by itself"))?;
    let text = format!("{revision} checked-by-hand");
    let command = format!("$ kubectl annotate sro shop stepgate.io/retry=\"{text}\"");
    stage.screen.aside(&command);
    stage.namespace.tell(SHOP, "retry", &text).await?;
    Ok(revision)
}

fn stalled_in_expand(state: &State) -> Option<String> {
    let status = state.status(SHOP);
    let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled")?;
    let release = status.release?;
    (stalled.status == "True" && release.stage.word() == "expand").then_some(release.revision)
}

/// Kills the leader at the second step, and follows the release to its end.
async fn killed(
    stage: &mut Stage<'_>,
    opened: &Opened,
    revision: &str,
    broken: &mut Vec<String>,
) -> Result<Seen> {
    let at_quarter = |state: &State| step_of(state).is_some_and(|step| step == 1);
    stage.follow("the second step", at_quarter).await?;
    let testbed = stage.namespace.testbed().clone();
    let (leader, term) = kill::leader(&testbed).await?;
    let how = kill::kill(&testbed, &leader).await?;
    let when = SystemTime::now();
    let before = stage.namespace.view.read(|state| state.status(SHOP));
    stage
        .screen
        .aside(&format!("the operator {leader} is killed: {how}"));
    let limit = when + Duration::from_secs(60);
    let next = loop {
        let (next, now) = kill::leader(&testbed).await?;
        if now != term {
            break next;
        }
        if SystemTime::now() > limit {
            return Err(Error::refused("no operator has taken the lead within 60 s"));
        }
        stage.follow_for(Duration::from_millis(200)).await?;
    };
    let took = when.elapsed().unwrap_or_default().as_secs();
    stage.screen.aside(&format!("{next} leads, {took} s later"));
    let seen = stage.finish(opened).await?;
    let started = before.release.as_ref().map(|r| r.started.clone());
    for (at, rollout) in &seen.versions {
        let release = rollout.status.as_ref().and_then(|s| s.release.as_ref());
        let Some(release) = release.filter(|_| *at > when) else {
            continue;
        };
        let step = release.step().map(|s| s.index);
        if Some(&release.started) != started.as_ref()
            || release.revision != revision
            || step < Some(1)
        {
            broken.push(format!(
                "after the kill it was at {step:?} of {}",
                release.revision
            ));
            break;
        }
    }
    Ok(seen)
}

fn step_of(state: &State) -> Option<i32> {
    let release = state.status(SHOP).release?;
    release
        .step()
        .filter(|s| s.reached.is_some())
        .map(|s| s.index)
}

fn stable_before(played: &[Played]) -> Option<String> {
    let mut stable = played
        .iter()
        .rev()
        .filter(|p| matches!(p.promise, Promise::Deployed | Promise::Released));
    stable.next().map(|p| p.seen.revision.clone())
}

/// Why it went back, in the operator's words.
fn explain(stage: &Stage<'_>, seen: &Seen) {
    if let Some(ended) = seen.ended.as_ref().filter(|_| seen.refused().is_some()) {
        stage
            .screen
            .aside(&format!("{}: {}", ended.reason, ended.message));
    }
}

async fn conclude(
    stage: Stage<'_>,
    played: Vec<Played>,
    began: SystemTime,
    sending: SystemTime,
    ended: SystemTime,
) -> Result<Told> {
    let mut traffic = stage
        .traffic
        .ok_or_else(|| Error::refused("there was no traffic"))?;
    traffic.settled(ended).await?;
    let records = traffic.stop().await?;
    let ends = played.iter().skip(1).map(|p| p.seen.began).chain([ended]);
    let way = stage.way;
    let lines = played.iter().zip(ends).map(|(played, until)| {
        let figures = Figures::of(&played.seen, until, &records);
        let mut broken = played.broken.clone();
        broken.extend(
            played
                .promise
                .broken(way, &played.seen, played.stable.as_deref(), &figures),
        );
        Line {
            name: played.seen.name.clone(),
            figures,
            promised: played.promised,
            broken,
        }
    });
    let lines: Vec<_> = lines.collect();
    let sent = records
        .iter()
        .filter(|r| r.at >= sending && r.at < ended)
        .count();
    let rate = sent as f64
        / ended
            .duration_since(sending)
            .unwrap_or_default()
            .as_secs_f64();
    let took = ended.duration_since(began).unwrap_or_default();
    let mut broken = Vec::new();
    if rate < LEAST_RATE {
        broken.push(format!("only {rate:.0} requests a second were sent"));
    }
    if took > LONGEST {
        broken.push(format!("it took {} s", took.as_secs()));
    }
    Ok(Told {
        lines,
        rate,
        broken,
        took,
    })
}
