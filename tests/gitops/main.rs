//! GitOps tools read a Rollout rightly in every state: Argo CD by the Lua of `deploy/argocd`, Flux
//! by kstatus. The objects are what the simulated API server stores while the kept stories are
//! played; `readers` runs both tools' own libraries over them.
//!
//! Needs Go.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use stepgate::{
    api::DatabaseRecord,
    plan::reason::{Reason, Shown},
    simulate::{
        Action, Simulation, object::RolloutObject, scenario::Scenario, scenarios, schedule,
        story::Detail,
    },
};

const MOST_EVENTS: u64 = 400_000;
const VERBS: [&str; 5] = ["promote", "undo", "retry", "pause", "resume"];

/// Random schedules that are played beside the stories, each for so many seconds.
const SCHEDULES: std::ops::Range<u64> = 1..300;
const SECONDS: i64 = 600;

/// What is played.
#[derive(Clone)]
enum Play {
    Story(Box<Scenario>),
    Schedule(u64),
}

impl Play {
    fn all() -> impl Iterator<Item = Self> {
        let stories = scenarios::all().into_iter().map(Box::new).map(Self::Story);
        stories.chain(SCHEDULES.map(Self::Schedule))
    }

    fn begin(&self) -> (Simulation, i64) {
        match self {
            Self::Story(story) => (story.begin(1, Detail::Nothing), story.seconds),
            Self::Schedule(seed) => (schedule::begin(*seed, Detail::Nothing), SECONDS),
        }
    }
}

/// A state of a Rollout, as it was first met.
struct Met {
    play: Play,
    at: Timestamp,
    object: Value,
}

#[test]
fn every_state_is_read_rightly() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gitops");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the objects");
    let (rollouts, databases) = states();
    most_reasons_are_met(&rollouts);
    for (state, met) in &rollouts {
        let commands: serde_json::Map<String, Value> = VERBS
            .iter()
            .filter_map(|verb| Some(((*verb).to_owned(), answer(met, verb)?)))
            .collect();
        let kept = json!({"object": met.object, "commands": commands});
        store(&folder, &format!("Rollout-{state}"), &kept);
    }
    for (state, object) in &databases {
        let kept = json!({"object": object, "commands": {}});
        store(&folder, &format!("DatabaseSchema-{state}"), &kept);
    }
    let ran = Command::new("go")
        .args(["test", "-count=1", "./..."])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gitops/readers"))
        .env("OBJECTS", &folder)
        .output()
        .expect("this test needs Go");
    assert!(
        ran.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Every state that the stories show, of Rollouts and of DatabaseSchemas.
fn states() -> (BTreeMap<String, Met>, BTreeMap<&'static str, Value>) {
    let (mut rollouts, mut databases) = (BTreeMap::new(), BTreeMap::new());
    for play in Play::all() {
        let (mut simulation, seconds) = play.begin();
        let end = simulation.world().now.as_second() + seconds;
        while let Some(at) = next(&simulation).filter(|at| at.as_second() < end) {
            simulation.run(at, MOST_EVENTS).expect("no rule is broken");
            let world = simulation.world();
            for rollout in world.live.rollouts.values().filter(|r| r.spec.is_ok()) {
                rollouts.entry(state(rollout)).or_insert_with(|| Met {
                    play: play.clone(),
                    at,
                    object: stored(rollout),
                });
            }
            for database in world.live.databases.values() {
                let state = database_state(&database.record);
                databases.entry(state).or_insert_with(|| {
                    json!({
                        "apiVersion": "stepgate.io/v1alpha1",
                        "kind": "DatabaseSchema",
                        "metadata": metadata(&database.meta),
                        "record": *database.record,
                    })
                });
            }
        }
    }
    (rollouts, databases)
}

fn next(simulation: &Simulation) -> Option<Timestamp> {
    simulation.world().next_at()
}

/// What tells one state from another: the condition that is true, its reason, where the release
/// stands, and whether the status is about the present spec.
fn state(rollout: &RolloutObject) -> String {
    let status = &rollout.status;
    let told = status
        .conditions
        .iter()
        .find(|c| c.status == "True" && ["Ready", "Reconciling", "Stalled"].contains(&&*c.type_))
        .map_or_else(
            || "Unseen".to_owned(),
            |c| format!("{}-{}", c.type_, c.reason),
        );
    let stage = status.release.as_ref().map_or("none", |r| r.stage.word());
    let old = if status.observed_generation == Some(rollout.meta.generation) {
        ""
    } else {
        "-old"
    };
    format!("{told}-{stage}{old}")
}

const fn database_state(record: &DatabaseRecord) -> &'static str {
    match (&record.holder, record.dirty.is_empty()) {
        (Some(_), _) => "held",
        (None, false) => "dirty",
        (None, true) => "free",
    }
}

fn metadata(meta: &stepgate::simulate::object::Meta) -> Value {
    json!({
        "name": &*meta.name,
        "namespace": "shop",
        "uid": &*meta.uid,
        "generation": meta.generation,
        "resourceVersion": meta.version.to_string(),
        "creationTimestamp": meta.created.to_string(),
    })
}

/// The object as the API server gives it.
fn stored(rollout: &RolloutObject) -> Value {
    let spec = rollout.spec.as_deref().expect("a spec that can be read");
    let mut metadata = metadata(&rollout.meta);
    if !rollout.annotations.is_empty() {
        metadata["annotations"] = json!(*rollout.annotations);
    }
    json!({
        "apiVersion": "stepgate.io/v1alpha1",
        "kind": "Rollout",
        "metadata": metadata,
        "spec": **spec,
        "status": *rollout.status,
    })
}

fn store(folder: &Path, name: &str, kept: &Value) {
    let text = serde_json::to_string_pretty(kept).expect("JSON");
    fs::write(folder.join(format!("{name}.json")), text).expect("written");
}

/// Most of the words that a person may read on a Rollout's conditions are among the states. (The
/// rest needs what the simulated cluster does not do, such as a Job that is suspended by hand.)
fn most_reasons_are_met(rollouts: &BTreeMap<String, Met>) {
    let met: BTreeSet<&str> = rollouts
        .keys()
        .filter_map(|state| state.split('-').nth(1))
        .collect();
    let shown = |r: &&Reason| {
        matches!(
            r.shown(),
            Shown::Ready | Shown::Reconciling | Shown::Stalled
        )
    };
    let (seen, missing): (Vec<&Reason>, Vec<&Reason>) = Reason::ALL
        .iter()
        .filter(shown)
        .partition(|r| met.contains(r.word()));
    assert!(seen.len() > 3 * missing.len(), "nothing shows {missing:?}");
}

/// What the operator answers to a command that is given in that state, and what the command is
/// bound to. Nothing where nobody answers.
fn answer(met: &Met, verb: &'static str) -> Option<Value> {
    let (mut simulation, _) = met.play.begin();
    simulation.run(met.at, MOST_EVENTS).ok()?;
    let name = met.object["metadata"]["name"].as_str()?;
    let action = Action::Command {
        rollout: name.into(),
        verb,
    };
    simulation.world().act(action);
    let id = simulation.world().commands.last()?.id.clone();
    let annotations = simulation
        .world()
        .live
        .rollouts
        .get(name)?
        .annotations
        .clone();
    let said = annotations.get(&format!("stepgate.io/{verb}"))?;
    let target = said.split_whitespace().next()?.to_owned();
    simulation.run_for(20, MOST_EVENTS).ok()?;
    let world = simulation.world();
    let status = &world.live.rollouts.get(name)?.status;
    let told = status.commands.iter().find(|c| c.id == id)?;
    Some(json!({"target": target, "done": told.result == "Done", "message": told.message}))
}
