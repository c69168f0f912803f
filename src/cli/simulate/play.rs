//! A manifest and a scenario, played: the old revision is brought up, the new one released.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    manifest::{self, Manifest},
    scenario::{Assumed, End, Play},
    watched::Watched,
};
use crate::{
    api::{PhaseKind, RolloutSpec, RolloutStatus, release::Stage, status::Outcome},
    plan::{course::course, flags::REACHES_PODS_WITHIN, template},
    simulate::{
        Action, BrokenOff, Simulation, action::Circumstance, event::Occurrence, object::SQL_IMAGE,
        setting::Setting, story::Detail, world::World,
    },
};

/// Image of the made-up revision that runs before; also what the story calls it.
pub(crate) const OLD: &str = "old";
/// Image of the revision that is released; also what the story calls it.
pub const NEW: &str = "new";

/// Events that no release needs.
const MOST_EVENTS: u64 = 3_000_000;
/// Seconds for which the end must last before it counts.
const SETTLED: i64 = 5;

/// Why a play came to no end that could be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlay {
    /// A rule that always holds was broken: the operator's fault, not the manifest's.
    #[error("this is a bug in Stepgate, please report it with the manifest and this line: {0}")]
    Bug(BrokenOff),
    /// The old revision did not come up, so there is nothing to release over.
    #[error("even with a good revision this Rollout does not become ready: {0}")]
    NoStart(String),
    /// More happens than can be played in reasonable time.
    #[error("the release takes too long to be played: shorten its holds or --replicas")]
    TooLong,
}

impl From<BrokenOff> for NoPlay {
    fn from(ended: BrokenOff) -> Self {
        match ended {
            BrokenOff::Endless(_) => Self::TooLong,
            broken => Self::Bug(broken),
        }
    }
}

/// A play at its end.
pub struct Played {
    /// The world as it is then.
    pub simulation: Simulation,
    /// When the new revision was applied.
    pub released: Timestamp,
    /// How the release ended.
    pub end: End,
    /// The reason of the condition that says so.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// What was seen on the way.
    pub watched: Watched,
}

/// Plays a scenario.
///
/// # Errors
/// When there is no end to tell of.
pub fn play(
    on: &Manifest,
    scenario: &Play,
    assumed: &Assumed,
    detail: Detail,
) -> Result<Played, NoPlay> {
    let setting = Setting {
        behaviours: [
            (OLD.into(), scenario.old.clone()),
            (NEW.into(), scenario.new.clone()),
            (SQL_IMAGE.into(), scenario.new.clone()),
        ]
        .into(),
        requests_per_second: scenario.requests_per_second,
        disk_of_one_node: on.disk_of_one_node,
        ..Setting::default()
    };
    let mut simulation = Simulation::new(setting, assumed.seed, 1);
    {
        let mut world = simulation.world();
        world.story.detail = detail;
        world.configs = template::config_refs(&on.spec.template)
            .into_iter()
            .collect();
        world.texts.extend(on.texts.iter().cloned());
        for service in &on.services {
            world.give(service);
        }
        let traffic = on.spec.traffic.iter();
        for route in traffic.flat_map(|traffic| &traffic.routes) {
            world.route_at_rest(&route.name);
        }
    }
    let old = old(&on.spec);
    let watched = Watched::new(&on.name, &old, &new(&on.spec));
    bring_up(&mut simulation, on, old)?;
    let released = simulation.world().now;
    // Whoever makes backups has just made one. The record of a first release is made with it.
    let backed_up = [0, 5, 30].map(|second| {
        let seconds_ago = Some(0);
        (second, Action::Around(Circumstance::Backup { seconds_ago }))
    });
    let asks = manifest::asks_for_a_backup(&on.spec);
    let backed_up = backed_up.iter().filter(|_| asks);
    for (second, action) in scenario.events.iter().chain(backed_up) {
        let at = released.saturating_add(SignedDuration::from_secs(*second));
        let event = Occurrence::Act(Box::new(action.clone()));
        simulation.world().at(at.unwrap_or(Timestamp::MAX), event);
    }
    apply(&simulation, on, new(&on.spec));
    let last = scenario.events.iter().map(|(second, _)| *second).max();
    watch(simulation, on, watched, released, last.unwrap_or(0))
}

/// The spec of the revision that runs before: another image, the schema before this one's.
fn old(spec: &RolloutSpec) -> RolloutSpec {
    let mut old = with_image(spec, OLD);
    // They come with the new revision.
    old.flags.clear();
    if let Some(schema) = &mut old.schema {
        // The runner goes as the new revision's phases do.
        if schema.runs_sql(PhaseKind::Expand) {
            schema.expand = None;
        }
        schema.backfill = None;
        schema.contract = None;
        schema.preflight = None;
        schema.revert = None;
        schema.version = schema.version.map(|version| version - 1);
        if schema.version == Some(0) {
            old.schema = None;
        }
    }
    old
}

fn new(spec: &RolloutSpec) -> RolloutSpec {
    with_image(spec, NEW)
}

/// In the world the first container's image says how pods behave.
fn with_image(spec: &RolloutSpec, image: &str) -> RolloutSpec {
    let mut spec = spec.clone();
    if let Some(container) = spec.template.pointer_mut("/spec/containers/0/image") {
        *container = image.into();
    }
    spec
}

fn apply(simulation: &Simulation, on: &Manifest, spec: RolloutSpec) {
    simulation.world().act(Action::Apply {
        rollout: on.name.as_str().into(),
        spec: Box::new(spec),
        keep_replicas: false,
    });
}

/// The old revision becomes stable. Steps and checks make no revision, so it does without.
fn bring_up(
    simulation: &mut Simulation,
    on: &Manifest,
    mut spec: RolloutSpec,
) -> Result<(), NoPlay> {
    spec.analysis = None;
    spec.paused = false;
    // A first deployment takes the last step alone.
    spec.strategy.without_bake();
    let patience = longest(&spec);
    apply(simulation, on, spec);
    let begun = simulation.world().now;
    loop {
        simulation.run_for(SETTLED, MOST_EVENTS)?;
        let world = simulation.world();
        let status = status_of(&world, &on.name);
        if holds(&status, "Ready").is_some() && world.unsettled().is_none() {
            return Ok(());
        }
        if world.now.duration_since(begun).as_secs() > patience {
            let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
            let words = ready.map_or("nothing is said of it", |c| &c.message);
            return Err(NoPlay::NoStart(words.to_owned()));
        }
    }
}

/// Lets the release go on until it has ended, and stable is whole.
fn watch(
    mut simulation: Simulation,
    on: &Manifest,
    mut watched: Watched,
    released: Timestamp,
    last_event: i64,
) -> Result<Played, NoPlay> {
    let patience = longest(&on.spec) + last_event;
    let mut ended_at: Option<Timestamp> = None;
    loop {
        let (end, now) = {
            let world = simulation.world();
            let status = status_of(&world, &on.name);
            watched.look(&world, &status);
            let passed = world.now.duration_since(released).as_secs();
            let quiet = passed >= last_event && world.unsettled().is_none();
            let end = quiet.then(|| end(&status, &watched)).flatten();
            let whole = end != Some(End::Undone) || is_whole(&world, on);
            if passed > patience {
                (Some(end.unwrap_or(End::InMotion)), None)
            } else {
                (end.filter(|_| whole), Some(world.now))
            }
        };
        match (end, now) {
            (Some(end), None) => return Ok(told(simulation, on, watched, released, end)),
            (Some(end), Some(now)) => {
                let since = *ended_at.get_or_insert(now);
                if now.duration_since(since).as_secs() >= SETTLED {
                    return Ok(told(simulation, on, watched, released, end));
                }
            }
            (None, _) => ended_at = None,
        }
        step(&mut simulation)?;
    }
}

/// A moment goes by; or more, when nothing happens until later. An undo may be over in a second.
fn step(simulation: &mut Simulation) -> Result<(), NoPlay> {
    let until = {
        let world = simulation.world();
        let later = |span| world.now.saturating_add(span).unwrap_or(Timestamp::MAX);
        let next = later(SignedDuration::from_millis(200));
        let idle = later(SignedDuration::from_mins(1));
        world.next_at().unwrap_or(idle).clamp(next, idle)
    };
    Ok(simulation.run(until, MOST_EVENTS)?)
}

fn told(
    simulation: Simulation,
    on: &Manifest,
    watched: Watched,
    released: Timestamp,
    end: End,
) -> Played {
    let status = status_of(&simulation.world(), &on.name);
    let kinds = ["Ready", "Stalled", "Reconciling"];
    let condition = kinds.into_iter().find_map(|kind| holds(&status, kind));
    let (reason, message) = condition
        .map(|c| (c.reason.clone(), c.message.clone()))
        .unwrap_or_default();
    Played {
        simulation,
        released,
        end,
        reason,
        message,
        watched,
    }
}

/// How a release ended that nobody has to wait for any more.
fn end(status: &RolloutStatus, watched: &Watched) -> Option<End> {
    if holds(status, "Ready").is_some() {
        let stable = status.stable.as_ref().map(|s| &s.revision);
        return Some(if stable == Some(&watched.new) {
            End::Stable
        } else {
            End::Undone
        });
    }
    if holds(status, "Stalled").is_none() {
        return holds(status, "Reconciling").map(|_| End::Waiting);
    }
    let stage = status.release.as_ref().map(|release| &release.stage);
    let failed = status
        .history
        .iter()
        .any(|ended| ended.revision == watched.new && ended.outcome == Outcome::Failed);
    Some(match stage {
        Some(Stage::Undo(_)) => End::Stuck,
        Some(Stage::Step(_)) => End::Paused,
        Some(Stage::Preflight | Stage::Job(_) | Stage::Soak(_)) => End::Blocked,
        None if failed && watched.came_to_a_step() => End::Undone,
        None => End::Blocked,
    })
}

/// Whether as many pods of the old revision are ready as are asked for.
fn is_whole(world: &World, on: &Manifest) -> bool {
    let rollout = world.live.rollouts.get(on.name.as_str());
    let wanted = rollout
        .and_then(|r| r.spec.as_ref().ok())
        .map_or(0, |s| s.replicas);
    let ready =
        world.live.pods.values().filter(|pod| {
            *pod.rollout == *on.name && pod.ready_since.is_some() && !pod.meta.deleting
        });
    ready.count() >= usize::try_from(wanted).unwrap_or_default()
}

fn status_of(world: &World, rollout: &str) -> RolloutStatus {
    let rollout = world.live.rollouts.get(rollout);
    rollout.map(|r| (*r.status).clone()).unwrap_or_default()
}

fn holds<'a>(status: &'a RolloutStatus, kind: &str) -> Option<&'a Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|c| c.type_ == kind && c.status == "True")
}

/// Seconds after which every deadline of a release has passed.
fn longest(spec: &RolloutSpec) -> i64 {
    let strategy = &spec.strategy;
    let targets = course(spec).targets.into_iter();
    let steps: i64 = targets
        .map(|s| {
            let tests: i64 = s.all_tests().map(|test| test.deadline_seconds).sum();
            s.hold_seconds + s.deadline_seconds + strategy.progress_deadline_seconds + tests
        })
        .sum();
    let expand = spec.schema.as_ref().and_then(|s| s.expand.as_ref());
    let expand = expand.map_or(0, |expand| {
        let soak = expand.soak.as_ref();
        expand.run.deadline_seconds
            + soak.map_or(0, |soak| soak.hold_seconds + soak.deadline_seconds)
    });
    let ramps = spec.flags.iter().flat_map(|flag| &flag.ramp);
    let ramps: i64 = ramps
        .map(|step| step.hold_seconds + 2 * REACHES_PODS_WITHIN)
        .sum();
    steps + expand + ramps + 2 * strategy.progress_deadline_seconds + 900
}

/// Seconds that a good release takes: its holds, and what its pods and schema need.
#[must_use]
pub(crate) fn expected_seconds(spec: &RolloutSpec, assumed: &Assumed) -> i64 {
    let course = course(spec);
    let startup = assumed.pull_seconds + assumed.startup_seconds;
    let surge = (course.bounds.ceiling - spec.replicas).max(1);
    let mut batches = 0;
    let mut pods = 0;
    for target in course.way() {
        batches += i64::from(((target.canary - pods).max(0) + surge - 1) / surge);
        pods = target.canary;
    }
    let holds: i64 = course.way().map(|target| target.hold_seconds).sum();
    let expand = spec.schema.as_ref().and_then(|s| s.expand.as_ref());
    let soak = expand.and_then(|expand| expand.soak.as_ref());
    let soak = soak.map_or(0, |soak| soak.hold_seconds);
    holds + batches * startup + expand.map_or(0, |_| assumed.migration_seconds + soak)
}
