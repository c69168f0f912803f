//! The simulator's suite: stories that are kept, crashes at every write, random schedules.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used)]

use std::{env, fs, path::PathBuf};

use stepgate::simulate::{
    Simulation, liveness::NoEnd, request::Fate, scenarios, schedule, story::Detail,
};

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
    let (first, count) = (number("SEED", 1), number("SCHEDULES", 200));
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

/// Every scenario comes to rest, however it went.
#[test]
fn scenarios_come_to_rest() {
    let mut wrong = Vec::new();
    for scenario in scenarios::all() {
        let (mut simulation, result) = scenario.play(1, Detail::Decisions);
        let rest = result.map_err(NoEnd::from);
        if let Err(error) = rest.and_then(|()| simulation.come_to_rest(4_800, 400_000)) {
            wrong.push(format!("{}: {error}", scenario.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A crash before and after every single write of every scenario breaks no rule, and the world
/// comes to rest. Every write is tried with `STRIDE=1 cargo test --profile soak`; by default one
/// in 40. `CRASHES=good` tries one scenario alone.
#[test]
fn crashes_at_every_write() {
    let only = env::var("CRASHES").ok();
    let stride = usize::try_from(number("STRIDE", 40)).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for scenario in scenarios::all() {
        if only.as_ref().is_some_and(|name| *name != scenario.name) {
            continue;
        }
        let (undisturbed, _) = scenario.play(1, Detail::Nothing);
        let writes = undisturbed.world().faults.begun;
        for write in (0..writes).step_by(stride) {
            for fate in [Fate::CrashBefore, Fate::CrashAfter] {
                count += 1;
                let mut crashed = scenario.clone();
                crashed.fates.insert(write, fate);
                let (mut simulation, result) = crashed.play(1, Detail::Nothing);
                let rest = result.map_err(NoEnd::from);
                let rest = rest.and_then(|()| simulation.come_to_rest(4_800, 400_000));
                if let Err(error) = rest {
                    wrong.push(format!("{} write {write} {fate:?}: {error}", scenario.name));
                }
            }
        }
    }
    println!("{count} crashes, {} went wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
