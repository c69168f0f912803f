//! Random schedules: a world, its people and its faults, all from one seed.

use jiff::SignedDuration;

mod adopt;
mod fate;
mod flags;
mod life;
mod seldom;
mod soak;

use super::{
    action::{Action, Amendment, Autoscaler, GitOps, Given, Routed},
    amend::{batches, sets, share},
    driver::Simulation,
    leading::{routes, services, undefined},
    liveness::NoEnd,
    object::Watched,
    prometheus::Outage,
    random::Random,
    scenario::{
        apply_to, command, migrating, pause, release, scale, shop, slow, unwell, workload, wrong,
    },
    scenarios::{
        blue_green::{service, traffic},
        order::follows as after,
        test,
        weights::{gateway, route, shrinking, to_virtual_services, weighted},
    },
    setting::{BUSY, Behaviour, DAWN, Delay, Health, Migration, MigrationEnd, Setting, Timing},
    story::Detail,
    versions::Versions,
};
use crate::{
    api::{OnFailure, OnNewRevision, RolloutSpec, StrategyType, TestAfter, traffic::RouteKind},
    plan::{facts::ConfigRef, intent::Kind},
};

/// Seconds after which every Rollout must be at its end: the longest chain of deadlines of the
/// Rollouts made here and edited on their way, twice.
const QUIET: i64 = 6_300;
/// Events that no schedule needs.
const MOST_EVENTS: u64 = 120_000;

/// Sets the agents' numbers apart from everybody else's.
const AGENTS: u64 = 0xa9e2_75f3_0000_0000;
/// Sets the amendments apart; chosen so that the schedules that once found something are as they
/// were then.
const AMENDMENTS: u64 = 0x0005_5c65_0000_0000;
/// Sets the deletions of DatabaseSchemas apart; chosen likewise.
const DELETIONS: u64 = 0xd31e_7e09_0000_0000;
/// Sets pods that flap apart.
const FLAPS: u64 = 0x71b2_0c44_0000_0000;
/// Sets apart whether a release ends before the next begins.
const ORDER: u64 = 0x19d4_66e2_0000_0000;
/// Sets apart flags and what is done to them, and whether one Rollout comes after the other; chosen
/// likewise.
const FLAGS: u64 = 0x0018_376a_0000_0000;
/// Sets apart by which way releases go.
const WAYS: u64 = 0x4d0b_92e5_0000_0000;
/// Sets blue-green releases and their Services apart.
const SWITCHES: u64 = 0x6e3a_51b7_0000_0000;
/// Sets releases by weight and their routes apart.
const WEIGHTS: u64 = 0x29d6_b40f_0000_0000;
/// Sets apart whether a running Deployment is moved in, and what becomes of it.
const ADOPTIONS: u64 = 0x5a0c_83f1_0000_0000;
/// Sets apart whether stable's pods follow the weights.
const SHRINKS: u64 = 0x53a1_7c88_0000_0000;
/// Sets apart of what kind routes are, and whether that kind is removed for a while.
const KINDS: u64 = 0x0b1d_77e4_0000_0000;
/// Sets apart what expands do to the code before them, and whether that is looked at; chosen likewise.
const SOAKS: u64 = 0x0183_76a6_0000_0000;
/// Sets what befalls nodes apart.
const CHURN: u64 = 0x3c19_a07d_0000_0000;
/// Sets apart the whole life of a schema version; chosen likewise.
const LIFE: u64 = 0x1a02_980a_0000_0000;

/// Sets what people say seldom apart.
const SELDOM: u64 = 0x71c5_0e9a_0000_0000;

/// A schedule and what it came to.
pub struct Played {
    /// The world at its end.
    pub simulation: Simulation,
    /// What was wrong.
    pub result: Result<(), NoEnd>,
}

/// The world of a seed's schedule at its beginning.
#[must_use]
pub fn begin(seed: u64, detail: Detail) -> Simulation {
    let mut random = Random::new(seed);
    let setting = setting(&mut random);
    let mut setting = setting;
    fate::flap(&mut Random::new(seed ^ FLAPS), &mut setting);
    let mut versions = Versions::of(seed);
    versions.behave(&mut setting);
    let mut ways = Random::new(seed ^ WAYS);
    let rolling = ways.chance(25).then(|| batches(&mut ways));
    let tests = ways.chance(25);
    if tests {
        test_ends(&mut ways, &mut setting);
    }
    let mut flags = Random::new(seed ^ FLAGS);
    let flagged = flags
        .chance(25)
        .then(|| flags::drawn(&mut flags, &mut setting));
    let mut soaks = Random::new(seed ^ SOAKS);
    let soaked = soaks.chance(25);
    if soaked {
        soak::hurt(&mut soaks, &mut setting);
    }
    let processes = if random.chance(40) { 2 } else { 1 };
    let simulation = Simulation::new(setting, random.fork_seed(), processes);
    {
        let mut world = simulation.world();
        world.story.detail = detail;
        world.configs.insert(ConfigRef {
            secret: false,
            name: "shop-config".into(),
        });
        world.faults.random = random.fork();
        world.faults.percent = *random.one_of(&[0, 0, 3, 10, 30]).unwrap_or(&0);
        world.faults.reads_percent = *random.one_of(&[0, 0, 10, 40]).unwrap_or(&0);
        world.faults.until = DAWN + SignedDuration::from_secs(BUSY);
    }
    let order = order(&mut Random::new(seed ^ ORDER));
    let follows = flagged.is_some() && flags.chance(50);
    let mut switches = Random::new(seed ^ SWITCHES);
    let blue_green = (rolling.is_none() && switches.chance(30)).then(|| sets(&mut switches));
    let mut weights = Random::new(seed ^ WEIGHTS);
    let by_weight = rolling.is_none() && blue_green.is_none() && weights.chance(40);
    let mut adoptions = Random::new(seed ^ ADOPTIONS);
    let free = blue_green.is_none() && !by_weight;
    let adopts = adoptions.chance(20) && free;
    let shrinks = Random::new(seed ^ SHRINKS).chance(50);
    let mut kinds = Random::new(seed ^ KINDS);
    let unreported = by_weight && kinds.chance(33);
    if unreported {
        simulation.world().route_kind = RouteKind::VirtualService;
    }
    for (second, mut action) in script(&mut random, processes) {
        if let Action::Apply { spec, rollout, .. } = &mut action {
            spec.strategy.on_new_revision = order;
            versions.ask(spec);
            if let Some(rolling) = &rolling {
                *spec.strategy.rolling_mut() = rolling.clone();
            }
            if let (Some(sets), "shop") = (&blue_green, &**rollout) {
                *spec.strategy.blue_green_mut() = sets.clone();
                spec.traffic = Some(traffic());
            }
            if by_weight && &**rollout == "shop" {
                let way = if shrinks { shrinking } else { weighted };
                **spec = way((**spec).clone());
                if unreported {
                    to_virtual_services(spec);
                }
            }
            if let (Some(flagged), "shop") = (&flagged, &**rollout) {
                spec.flags.clone_from(flagged);
                flags::gate_a_contract(spec);
            }
            if follows && &**rollout == "worker" {
                **spec = after((**spec).clone(), &["shop"]);
            }
            if soaked {
                soak::ask(&mut soaks, spec);
            }
            if tests {
                test_steps(&mut ways, spec);
            }
            if adopts && &**rollout == "shop" {
                **spec = crate::simulate::scenarios::adopt::adopts((**spec).clone());
                for (second, action) in adopt::script(&mut adoptions, spec.replicas) {
                    simulation.plan(second, action);
                }
            }
        }
        simulation.plan(second, action);
    }
    // Drawn apart, so that what the others do stays the same.
    let mut others = agents(&mut Random::new(seed ^ AGENTS));
    others.extend(amendments(&mut Random::new(seed ^ AMENDMENTS)));
    if rolling.is_some() {
        others.extend(other_batches(&mut ways));
    }
    if blue_green.is_some() {
        others.extend(services(&mut switches, processes));
    }
    if by_weight {
        others.extend(routes(&mut weights));
        others.extend(undefined(&mut kinds));
    }
    if flagged.is_some() {
        others.extend(flags::script(&mut flags));
    }
    if soaked {
        others.extend(soak::script(&mut soaks));
    }
    others.extend(fate::deletions(&mut Random::new(seed ^ DELETIONS)));
    others.extend(seldom::script(&mut Random::new(seed ^ SELDOM)));
    others.extend(versions.script());
    others.extend(life::script(&mut Random::new(seed ^ LIFE)));
    others.extend(fate::nodes(&mut Random::new(seed ^ CHURN)));
    for (second, action) in others {
        simulation.plan(second, action);
    }
    simulation
}

/// Plays the schedule of a seed.
#[must_use]
pub fn play(seed: u64, detail: Detail) -> Played {
    let mut simulation = begin(seed, detail);
    let result = simulation
        .run_for(BUSY, MOST_EVENTS)
        .map_err(NoEnd::from)
        .and_then(|()| {
            heal(&simulation);
            simulation.come_to_rest(QUIET, MOST_EVENTS)
        });
    Played { simulation, result }
}

/// The world is quiet from now on: what failed works again, what is missing is there.
fn heal(simulation: &Simulation) {
    let mut world = simulation.world();
    world.act(Action::Metrics(Outage::None));
    world.act(Action::Capacity(usize::MAX));
    world.act(Action::Quota(usize::MAX));
    world.act(Action::Deny(None));
    world.act(fate::node(false));
    world.act(Action::Load(Setting::default().requests_per_second));
    let has_traffic = world.live.rollouts.values().any(|rollout| {
        let spec = rollout.spec.as_deref().ok();
        spec.is_some_and(|spec| spec.traffic.is_some())
    });
    world.act(gateway(false));
    if world.routes.get("shop").is_none_or(|route| route.by_hand) {
        world.act(route("shop", Routed::AtRest));
    }
    if has_traffic {
        for (name, is) in [("shop", Given::Ordinary), ("legacy", Given::Gone)] {
            world.act(service(name, is));
        }
        for name in ["shop-stable", "shop-canary"] {
            let found = world.live.services.get(name);
            if found.is_some_and(|s| s.rollout.is_none()) {
                world.act(service(name, Given::Gone));
            }
        }
    }
    let images = ["", "-v1", "-v2", "-v3", "-v4"];
    for name in images.map(|image| format!("shop-config{image}")) {
        world.act(Action::Config { name, exists: true });
    }
    if !world.texts.is_empty() {
        super::versions::texts().for_each(|action| world.act(action));
    }
}

/// An autoscaler, a GitOps agent, both, or (mostly) neither.
fn agents(random: &mut Random) -> Vec<(i64, Action)> {
    let mut script = Vec::new();
    let until = DAWN + SignedDuration::from_secs(BUSY);
    let rollout = || "shop".into();
    if random.chance(15) {
        let low = i32::try_from(random.between(1, 3)).unwrap_or(1);
        let autoscaler = Autoscaler {
            rollout: rollout(),
            per_pod: *random.one_of(&[25.0, 50.0, 100.0]).unwrap_or(&50.0),
            between: (low, low + 9),
        };
        let autoscale = Action::Autoscale {
            autoscaler,
            every: 15,
            until,
        };
        script.push((random.between(2, 400), autoscale));
        for _ in 0..random.between(1, 4) {
            let load = *random
                .one_of(&[5.0, 50.0, 120.0, 300.0, 700.0])
                .unwrap_or(&50.0);
            script.push((random.between(30, BUSY - 100), Action::Load(load)));
        }
    }
    if random.chance(15) {
        let agent = GitOps {
            rollout: rollout(),
            names_replicas: random.chance(40),
            prunes: random.chance(50),
        };
        let sync = Action::GitOps {
            agent,
            every: random.between(10, 180),
            until,
        };
        script.push((random.between(2, 400), sync));
        for _ in 0..random.between(1, 4) {
            let image = ["v1", "v2", "v3", "v4"][random.below(4) as usize];
            let commit = Action::Commit {
                rollout: rollout(),
                image: image.into(),
                version: Some(random.between(1, 4)),
            };
            script.push((random.between(30, BUSY - 100), commit));
        }
    }
    script
}

/// How the release goes is edited on its way, a few times, or (mostly) never.
fn amendments(random: &mut Random) -> Vec<(i64, Action)> {
    let spec = shop("v1", 1, None);
    if !random.chance(20) {
        return Vec::new();
    }
    let mut script = Vec::new();
    for _ in 0..random.between(1, 4) {
        let amend = Action::Amend {
            rollout: "shop".into(),
            amendment: Amendment::any(random, &spec),
        };
        script.push((random.between(30, BUSY - 100), amend));
    }
    script
}

/// How the tests of each image go.
fn test_ends(random: &mut Random, setting: &mut Setting) {
    use MigrationEnd::{Fails, Hangs, NeverStarts, Succeeds};
    let ends = [
        Succeeds,
        Succeeds,
        Succeeds,
        Succeeds,
        Fails,
        Hangs,
        NeverStarts,
    ];
    for behaviour in setting.behaviours.values_mut() {
        let drawn = (0..random.between(1, 4)).map(|_| Migration {
            seconds: random.between(1, 50),
            end: *random.one_of(&ends).unwrap_or(&Succeeds),
        });
        behaviour.tests = drawn.collect();
    }
}

/// Tests at some steps.
fn test_steps(random: &mut Random, spec: &mut RolloutSpec) {
    let on_failure = match random.chance(70) {
        true => OnFailure::Undo,
        false => OnFailure::Pause,
    };
    let mut some = |last: bool| {
        let all = ["smoke", "contract", "release"].map(|name| test(name, on_failure));
        let mut some = all
            .into_iter()
            .filter(|_| random.chance(50))
            .collect::<Vec<_>>();
        some.retain(|test| last || test.name != "release");
        for test in some.iter_mut().filter(|test| test.name == "release") {
            test.after = TestAfter::Release;
        }
        some
    };
    match spec.strategy.way() {
        StrategyType::Rolling => spec.strategy.rolling_mut().tests = some(true),
        StrategyType::BlueGreen => spec.strategy.blue_green_mut().tests = some(true),
        StrategyType::Canary => {
            let steps = spec.strategy.steps_mut();
            let last = steps.len() - 1;
            for (index, step) in steps.iter_mut().enumerate() {
                step.tests = some(index == last);
            }
        }
    }
}

/// The batches of a rolling release are edited on its way, or (mostly) not.
fn other_batches(random: &mut Random) -> Vec<(i64, Action)> {
    if !random.chance(30) {
        return Vec::new();
    }
    let amend = |random: &mut Random| Action::Amend {
        rollout: "shop".into(),
        amendment: Amendment::of_batches(random),
    };
    (0..random.between(1, 3))
        .map(|_| (random.between(30, BUSY - 100), amend(random)))
        .collect()
}

fn setting(random: &mut Random) -> Setting {
    let mut setting = Setting {
        restart_seconds: random.between(1, 40),
        ..Setting::default()
    };
    for image in ["v1", "v2", "v3", "v4"] {
        let behaviour = behaviour(random);
        setting.behaviours.insert(image.into(), behaviour);
    }
    let delay = |random: &mut Random, most: i64| {
        let high = *random
            .one_of(&[most / 50, most / 10, most])
            .unwrap_or(&most);
        Delay {
            low: 1,
            high: high.max(1),
        }
    };
    setting.timing = Timing {
        controllers: delay(random, 3_000),
        caches: delay(random, 5_000),
        requests: delay(random, 500),
        debounce: delay(random, 1_000),
        queries: delay(random, 2_000),
    };
    setting
}

fn behaviour(random: &mut Random) -> Behaviour {
    let fine = match random.below(14) {
        0 => wrong(1.5),
        1 => wrong(30.0),
        2 => slow(500.0),
        3 => unwell(Health::Crashes { after: 3 }),
        4 => unwell(Health::Crashes {
            after: random.between(20, 200),
        }),
        5 => unwell(Health::NeverReady),
        6 => unwell(Health::NoImage),
        7 => migrating(&[(15, MigrationEnd::Fails), (15, MigrationEnd::Succeeds)]),
        8 if random.chance(50) => migrating(&[
            (5, MigrationEnd::NothingApplied),
            (5, MigrationEnd::NothingApplied),
            (15, MigrationEnd::Succeeds),
        ]),
        8 => migrating(&[(15, MigrationEnd::Hangs)]),
        _ => Behaviour::default(),
    };
    Behaviour {
        pull_seconds: random.between(0, 10),
        start_seconds: random.between(1, 20),
        stop_seconds: random.between(0, 40),
        ..fine
    }
}

fn script(random: &mut Random, processes: usize) -> Vec<(i64, Action)> {
    let database = random.chance(70).then_some(1);
    let replicas = i32::try_from(random.between(1, 9)).unwrap_or(1);
    let mut spec = workload("shop", "v1", replicas, database);
    vary(random, &mut spec);
    let mut script = vec![(1, apply_to("shop", spec))];
    if random.chance(25) {
        let second = workload("worker", "v1", 2, database);
        script.push((random.between(1, 60), apply_to("worker", second)));
    }
    let count = random.between(1, 8);
    for _ in 0..count {
        let second = random.between(5, BUSY - 100);
        script.push((second, action(random, processes, database)));
    }
    if random.chance(5) {
        script.push((
            random.between(1, 200),
            Action::ApplyNonsense("broken".into()),
        ));
    }
    script
}

/// One in five lets a release end before the next begins.
fn order(random: &mut Random) -> OnNewRevision {
    if random.chance(20) {
        OnNewRevision::Finish
    } else {
        OnNewRevision::Replace
    }
}

fn vary(random: &mut Random, spec: &mut crate::api::RolloutSpec) {
    use crate::api::OnInconclusive;
    spec.strategy.max_surge = share(random);
    spec.strategy.max_unavailable = share(random);
    if random.chance(15) {
        spec.analysis = None;
    }
    let instead = *random
        .one_of(&[
            OnInconclusive::Pause,
            OnInconclusive::Undo,
            OnInconclusive::Proceed,
        ])
        .unwrap_or(&OnInconclusive::Pause);
    if let Some(expand) = spec.schema.as_mut().and_then(|s| s.expand.as_mut()) {
        expand.run.retry_limit = random.between(0, 2);
    }
    for step in spec.strategy.steps_mut() {
        step.on_inconclusive = instead;
        step.hold_seconds = random.between(0, 90);
    }
}

fn action(random: &mut Random, processes: usize, database: Option<i64>) -> Action {
    let rollout = || "shop".into();
    let image = ["v1", "v2", "v3", "v4"][random.below(4) as usize];
    let version = database.map(|_| random.between(1, 4));
    let process = random.below(u32::try_from(processes).unwrap_or(1)) as usize;
    match random.below(40) {
        0..=13 => release(image, version),
        14..=17 => scale(i32::try_from(random.between(0, 10)).unwrap_or(1)),
        18..=22 => {
            let verbs = ["promote", "undo", "retry", "pause", "resume"];
            command(verbs[random.below(5) as usize])
        }
        23 => pause(random.chance(50)),
        24 if random.chance(50) => Action::Delete(rollout()),
        24 => Action::Delete("worker".into()),
        25 => Action::ScaleChild {
            rollout: rollout(),
            image: image.into(),
            replicas: i32::try_from(random.between(0, 5)).unwrap_or(0),
        },
        26 if random.chance(50) => Action::RestartChild {
            rollout: rollout(),
            image: image.into(),
        },
        26 => Action::EditChild {
            rollout: rollout(),
            image: image.into(),
            to: "v1".into(),
        },
        27 if random.chance(50) => Action::ForgetRevision {
            rollout: rollout(),
            image: image.into(),
        },
        27 => Action::DeleteChild {
            rollout: rollout(),
            image: image.into(),
        },
        28 => Action::DeleteJobs(rollout()),
        29 => Action::Config {
            name: "shop-config".into(),
            exists: false,
        },
        30 => Action::KillContainers {
            rollout: rollout(),
            count: 2,
        },
        31 => Action::LosePods {
            rollout: rollout(),
            count: random.below(4) as usize,
        },
        32 => Action::LoseStatus(rollout()),
        33 => match random.below(4) {
            3 => Action::Deny(random.one_of(&Kind::ALL[..4]).copied()),
            0 => Action::Capacity(random.between(0, 8).unsigned_abs() as usize),
            1 => Action::Quota(random.between(0, 8).unsigned_abs() as usize),
            _ => Action::Restore,
        },
        34 => Action::Metrics(
            *random
                .one_of(&[
                    Outage::Down,
                    Outage::Slow,
                    Outage::Empty,
                    Outage::Nan,
                    Outage::Partial,
                ])
                .unwrap_or(&Outage::Down),
        ),
        35 => Action::Metrics(Outage::None),
        36 => Action::BreakWatch {
            process,
            kind: *random.one_of(&Watched::ALL[..6]).unwrap_or(&Watched::Pods),
            seconds: random.between(1, 300),
        },
        37 => Action::Crash(process),
        38 => Action::HandOver {
            overlap: random.between(0, 20_000),
        },
        _ => Action::JumpClock {
            process,
            seconds: random.between(-900, 900),
        },
    }
}
