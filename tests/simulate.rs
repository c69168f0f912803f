//! The simulator's suite: stories that are kept, crashes at every write, random schedules.

use std::{env, fs, path::PathBuf};

use stepgate::simulate::{Simulation, scenarios, schedule, story::Detail};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.log"))
}

fn told_by(simulation: &Simulation) -> String {
    let world = simulation.world();
    format!("{}{}", world.story.text(), world.ending())
}

/// One scenario alone, with every write: `SCENARIO=good cargo test --test simulate one -- --nocapture`.
#[test]
fn one() {
    let Ok(wanted) = env::var("SCENARIO") else {
        return;
    };
    let all = scenarios::all();
    let scenario = all.iter().find(|s| s.name == wanted).unwrap();
    let (simulation, result) = scenario.play(1, Detail::Writes);
    println!("{}", told_by(&simulation));
    result.unwrap();
}

/// Every story is as it is kept. `UPDATE_GOLDEN=1 cargo test --test simulate stories` writes them.
#[test]
fn stories() {
    let mut wrong = Vec::new();
    for scenario in scenarios::all() {
        let (simulation, result) = scenario.play(1, Detail::Decisions);
        let mut told = told_by(&simulation);
        if let Err(error) = result {
            wrong.push(format!("{}: {error}", scenario.name));
            told += &format!("!!! {error}\n");
        }
        let path = golden(scenario.name);
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &told).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != told {
            wrong.push(format!("{} is told differently:\n{told}", scenario.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How many schedules are played, and from which seed on: `SCHEDULES=1 SEED=7`.
fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Random schedules keep every rule and come to rest.
#[test]
fn schedules() {
    let (first, count) = (number("SEED", 1), number("SCHEDULES", 2000));
    let mut failed = Vec::new();
    let mut events = 0;
    for seed in first..first + count {
        let played = schedule::play(seed, Detail::Nothing);
        events += played.simulation.world().events;
        if let Err(error) = played.result {
            failed.push((seed, error));
        }
    }
    println!(
        "{count} schedules, {events} events, {} failed",
        failed.len()
    );
    for (seed, error) in &failed {
        println!("seed {seed}: {error}");
    }
    if let Some((seed, error)) = failed.first() {
        let again = schedule::play(*seed, Detail::Writes);
        panic!(
            "{}\n{error}\n\nreplay: SEED={seed} SCHEDULES=1 cargo test --test simulate schedules",
            told_by(&again.simulation)
        );
    }
}
