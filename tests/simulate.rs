//! The simulator's suite: stories that are kept, crashes at every write, random schedules.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    num::NonZero,
    ops::Range,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use stepgate::simulate::{
    Simulation, churn,
    coverage::{Coverage, Kind},
    liveness::NoEnd,
    request::Fate,
    scenario::Scenario,
    scenarios, schedule,
    story::Detail,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn told_by(simulation: &Simulation) -> String {
    let world = simulation.world();
    format!("{}{}", world.story.text(), world.story.ending(&world.live))
}

/// One story, with every write: `make story NAME=good`.
#[test]
#[ignore = "it needs a NAME"]
fn story() {
    let name = env::var("NAME").unwrap_or_default();
    let Some(scenario) = scenarios::named(&name) else {
        panic!("{}", no_story(&name));
    };
    let (simulation, result) = scenario.play(1, Detail::Writes);
    println!("{}", told_by(&simulation));
    result.unwrap();
}

/// Names that are like this one; if there are none, all.
fn no_story(name: &str) -> String {
    let all = scenarios::all();
    let mut names: Vec<_> = all.iter().map(|s| s.name).collect();
    let likeness = |other: &&str| strsim::jaro_winkler(name, other);
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    let near: Vec<_> = names
        .iter()
        .copied()
        .filter(|n| likeness(n) > 0.75)
        .take(5)
        .collect();
    if near.is_empty() {
        names.sort_unstable();
        return format!(
            "NAME={name}: no story has that name. There are {}",
            names.join(", ")
        );
    }
    format!(
        "NAME={name}: no story has that name. Near it: {}",
        near.join(", ")
    )
}

/// `make story` plays the story that it is asked for, and none in silence.
#[test]
fn the_command_for_one_story_plays_it() {
    let make = |name: &str| {
        let dry = Command::new("make")
            .args(["-n", "story", &format!("NAME={name}")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let line = String::from_utf8(dry.stdout).unwrap();
        let (_, arguments) = line.split_once("--test simulate ").unwrap();
        // What cargo hands to this program.
        let arguments = arguments.split_whitespace().filter(|word| *word != "--");
        assert!(line.contains(&format!("NAME='{name}'")), "{line}");
        let played = Command::new(env::current_exe().unwrap())
            .args(arguments)
            .env("NAME", name)
            .env_remove("UPDATE_GOLDEN")
            .output()
            .unwrap();
        let text = [played.stdout, played.stderr].concat();
        (played.status.success(), String::from_utf8(text).unwrap())
    };
    let (is_played, told) = make("good");
    assert!(is_played && told.contains("write status of shop"), "{told}");
    for (name, said) in [("", "no story has that name"), ("goood", "Near it: good")] {
        let (is_played, told) = make(name);
        assert!(!is_played && told.contains(said), "{told}");
    }
}

/// Every story is as it is kept, in the folder of its theme. `make golden` writes them.
#[test]
fn stories() {
    let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut wrong = Vec::new();
    for (theme, scenarios) in scenarios::themes() {
        let folder = kept.join(theme);
        fs::create_dir_all(&folder).unwrap();
        for scenario in scenarios {
            let (simulation, result) = scenario.play(1, Detail::Decisions);
            let mut told = told_by(&simulation);
            if let Err(error) = result {
                wrong.push(format!("{}: {error}", scenario.name));
                told += &format!("!!! {error}\n");
            }
            let path = folder.join(format!("{}.log", scenario.name));
            if env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &told).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != told {
                wrong.push(format!("{} is told differently:\n{told}", scenario.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How much of the traffic a revision really gets is told beside its weight, for the step in which it was
/// counted, until nothing is in motion any more.
#[test]
fn the_share_that_a_revision_gets_is_in_its_status() {
    let weights = scenarios::named("weights").unwrap();
    let measured = |seconds| {
        let (simulation, result) = weights.clone().lasts(seconds).play(1, Detail::Decisions);
        result.unwrap();
        let status = simulation.world().live.rollouts["shop"].status.clone();
        status.traffic.clone().and_then(|traffic| traffic.measured)
    };
    assert_eq!(measured(150), None, "no hold yet");
    for (seconds, step, percent) in [(215, "five", 5.0), (285, "quarter", 25.0)] {
        let measured = measured(seconds).expect(step);
        assert_eq!(measured.step, step);
        let share: f64 = measured.percent.trim_end_matches('%').parse().unwrap();
        assert!((share - percent).abs() < 0.5, "{measured:?}");
        assert!(measured.requests > 5_000, "{measured:?}");
    }
    assert_eq!(measured(1_000), None, "users are not shared");
}

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Plays every job, on all cores; what each came to, in order.
fn on_all_cores<J: Sync, R: Send>(jobs: &[J], play: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let work = || {
        let mut played = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else {
                return played;
            };
            played.push((at, play(job)));
        }
    };
    let mut all: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

/// What some schedules came to.
#[derive(Default)]
struct Sum {
    schedules: usize,
    events: u64,
    writes: u64,
    coverage: Coverage,
    failed: Vec<(u64, String)>,
}

impl Sum {
    /// Plays them, and says what went wrong as soon as it is known.
    fn play(&mut self, seeds: Range<u64>) {
        let seeds: Vec<u64> = seeds.collect();
        let played = on_all_cores(&seeds, |seed| {
            let played = schedule::play(*seed, Detail::Nothing);
            let world = played.simulation.world();
            let figures = (world.events, world.arrived, world.coverage.clone());
            (played.result.err(), figures)
        });
        self.schedules += seeds.len();
        for (seed, (error, (events, writes, coverage))) in seeds.into_iter().zip(played) {
            self.events += events;
            self.writes += writes;
            self.coverage.add(&coverage);
            if let Some(error) = error {
                println!("seed {seed}: {error}");
                self.failed.push((seed, error.to_string()));
            }
        }
    }

    fn line(&self) -> String {
        format!(
            "{} schedules, {} events, {} writes, {} faults and interventions, {} failed",
            self.schedules,
            self.events,
            self.writes,
            self.coverage.sum(),
            self.failed.len()
        )
    }
}

/// Seeds that once found something, beyond those that are played anyway; what each found stands in
/// docs/soak.md.
const FOUND: [u64; 66] = [
    848, 928, 1_017, 1_150, 2_467, 3_784, 4_483, 5_131, 5_527, 6_240, 6_534, 7_249, 8_560, 10_709,
    11_584, 12_605, 14_224, 15_165, 16_512, 18_636, 21_234, 25_405, 25_535, 32_402, 32_687, 35_687,
    43_808, 45_528, 45_568, 45_619, 49_004, 50_557, 61_252, 64_109, 68_846, 75_811, 87_329,
    120_067, 126_165, 162_981, 174_342, 184_919, 218_428, 241_113, 243_879, 288_554, 336_157,
    501_857, 502_009, 535_023, 700_307, 705_676, 708_278, 708_352, 714_981, 715_337, 800_910,
    808_492, 811_790, 927_897, 932_003, 940_505, 953_826, 960_653, 983_398, 2_052_322,
];

/// What was found stays found.
#[test]
fn regressions() {
    let mut sum = Sum::default();
    for seed in FOUND {
        sum.play(seed..seed + 1);
    }
    assert!(sum.failed.is_empty(), "{:?}", sum.failed);
}

/// Random schedules keep every rule and come to rest, `SCHEDULES` of them from `SEED` on; and they
/// meet everything that can befall an operator.
#[test]
fn schedules() {
    const BLOCK: u64 = 10_000;
    let (first, count) = (number("SEED", 1), number("SCHEDULES", 2_000));
    let end = first + count;
    let began = Instant::now();
    let mut sum = Sum::default();
    let mut next = first;
    while next < end {
        let block = next..end.min(next + BLOCK);
        next = block.end;
        sum.play(block);
        let seconds = began.elapsed().as_secs();
        println!("to seed {}: {}, {seconds} s", next - 1, sum.line());
    }
    println!("{}{}", sum.coverage.table(), sum.line());
    if let Some((seed, error)) = sum.failed.first() {
        let again = schedule::play(*seed, Detail::Writes);
        panic!(
            "{}\n{error}\n\nreplay: SEED={seed} SCHEDULES=1 cargo test --test simulate schedules",
            told_by(&again.simulation)
        );
    }
    if count >= 2_000 {
        let missing: Vec<_> = sum.coverage.missing().map(Kind::words).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

/// A release whose pods become available goes out, whatever is lost meanwhile, as long as that
/// leaves the floor.
#[test]
fn a_good_release_goes_out_amid_churn() {
    let (first, count) = (number("SEED", 1), number("CHURNS", 60));
    let seeds: Vec<u64> = (first..first + count).collect();
    let played = on_all_cores(&seeds, |seed| churn::of_seed(*seed).play(Detail::Nothing));
    let seconds: Vec<i64> = played.iter().filter_map(|p| p.clone().ok()).collect();
    println!(
        "{} of {count} are out, after {} seconds on average and {} at most",
        seconds.len(),
        seconds.iter().sum::<i64>() / i64::try_from(seconds.len()).unwrap().max(1),
        seconds.iter().max().unwrap_or(&0)
    );
    let failed: Vec<u64> = (seeds.iter().zip(&played))
        .filter_map(|(seed, played)| played.is_err().then_some(*seed))
        .collect();
    if let Some(seed) = failed.first() {
        let told = churn::of_seed(*seed).play(Detail::Decisions).unwrap_err();
        panic!("seed {seed}: {told}\nnot out: {failed:?}");
    }
}

/// Nodes come and go: one pod is lost every minute or two, and with 500 pods every three seconds, so
/// that half of what may be missing always is.
#[test]
fn a_good_release_goes_out_amid_churn_of_nodes_with_20_and_with_500_pods() {
    let cases = [(20, 60, 75), (20, 90, 60), (20, 120, 45), (500, 3, 75)];
    let failed = on_all_cores(&cases, |(pods, every, start)| {
        let churned = churn::of_nodes(*pods, *every, *start);
        churned.play(Detail::Nothing).is_err().then_some(churned)
    });
    if let Some(churned) = failed.into_iter().flatten().next() {
        panic!("{}", churned.play(Detail::Decisions).unwrap_err());
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
/// comes to rest. `CRASHES=good` tries one scenario alone, `STRIDE=40` one write in 40; which one
/// of the 40 goes round from scenario to scenario, for most of them begin alike.
#[test]
fn crashes_at_every_write() {
    let only = env::var("CRASHES").ok();
    let stride = number("STRIDE", 1);
    let mut all = scenarios::all();
    all.retain(|s| only.as_ref().is_none_or(|name| *name == s.name));
    let writes = on_all_cores(&all, |scenario| {
        let (undisturbed, _) = scenario.play(1, Detail::Nothing);
        undisturbed.world().faults.begun
    });
    let crashes: Vec<(&Scenario, u64, Fate)> = all
        .iter()
        .zip(writes)
        .zip((0..stride).cycle())
        .flat_map(|((scenario, writes), first)| {
            let chosen = (first..writes).step_by(stride.try_into().unwrap());
            chosen.map(move |write| (scenario, write))
        })
        .flat_map(|(s, write)| [(s, write, Fate::CrashBefore), (s, write, Fate::CrashAfter)])
        .collect();
    let played = on_all_cores(&crashes, |(scenario, write, fate)| {
        let mut crashed = (*scenario).clone();
        crashed.fates.insert(*write, *fate);
        let (mut simulation, result) = crashed.play(1, Detail::Nothing);
        let rest = result.map_err(NoEnd::from);
        let rest = rest.and_then(|()| simulation.come_to_rest(4_800, 400_000));
        let error = rest.err()?;
        Some(format!("{} write {write} {fate:?}: {error}", scenario.name))
    });
    let wrong: Vec<String> = played.into_iter().flatten().collect();
    println!("{} crashes, {} went wrong", crashes.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
