//! A good release while pods are lost all the time, all from one seed: it goes out.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    action::Action,
    driver::Simulation,
    random::Random,
    scenario::{apply, release, shop},
    setting::{Behaviour, DAWN, Setting},
    story::Detail,
};
use crate::plan::{course, facts::ConfigRef, revision};

/// When the release begins: `v1` is stable by then.
const BEGINS: i64 = 600;
/// Seconds after which it must be out: far more than its holds and its batches take.
const LATEST: i64 = 5 * 3600;
/// Events that no such release needs.
const MOST_EVENTS: u64 = 2_000_000;

/// Plays the release of a seed.
///
/// # Errors
/// When it is not stable in the end, or a rule was broken; with the story.
pub fn play(seed: u64, detail: Detail) -> Result<i64, String> {
    let mut random = Random::new(seed);
    let behaviour = Behaviour {
        pull_seconds: random.between(0, 10),
        start_seconds: random.between(1, 75),
        ..Behaviour::default()
    };
    let starts = behaviour.pull_seconds + behaviour.start_seconds;
    let mut spec = shop(
        "v1",
        i32::try_from(random.between(1, 40)).unwrap_or(1),
        None,
    );
    let (surge, unavailable) = (random.between(1, 30), random.between(0, 30));
    spec.strategy.max_surge = IntOrString::String(format!("{surge}%"));
    spec.strategy.max_unavailable = IntOrString::String(format!("{unavailable}%"));
    spec.strategy.progress_deadline_seconds = (3 * starts).max(120);
    for step in spec.strategy.steps_mut() {
        step.hold_seconds = random.between(0, 120);
    }
    if random.chance(50) {
        spec.analysis = None;
    }
    // On average most of what may be under way at once is lost and starts again.
    let bounds = course::bounds(&spec);
    let spare = i64::from(bounds.ceiling - bounds.floor);
    let every = (3 * (starts + 3) / (2 * spare)).max(3) + random.between(0, 5);
    let mut setting = Setting::default();
    for image in ["v1", "v2"] {
        setting.behaviours.insert(image.into(), behaviour.clone());
    }
    let mut simulation = Simulation::new(setting, random.fork_seed(), 1);
    {
        let mut world = simulation.world();
        world.story.detail = detail;
        world.configs.insert(ConfigRef {
            secret: false,
            name: "shop-config".into(),
        });
    }
    let churn = Action::Churn {
        rollout: "shop".into(),
        every,
        until: DAWN + SignedDuration::from_secs(BEGINS + LATEST),
    };
    let wanted = {
        let mut next = spec.clone();
        next.template["spec"]["containers"][0]["image"] = "v2".into();
        revision::wanted(&next)
    };
    let about = format!(
        "{} pods, surge {surge}%, unavailable {unavailable}%, each ready after {starts} s, one lost \
         every {every} s",
        spec.replicas
    );
    simulation.plan(1, apply(spec));
    simulation.plan(BEGINS, release("v2", None));
    simulation.plan(BEGINS, churn);
    let mut passed = 0;
    while passed < BEGINS + LATEST {
        let ran = simulation.run_for(60, MOST_EVENTS);
        passed += 60;
        let world = simulation.world();
        let told = |error: &str| {
            let story = format!("{}{}", world.story.text(), world.story.ending(&world.live));
            format!("seed {seed}: {about}: {error}\n{story}")
        };
        ran.map_err(|error| told(&error.to_string()))?;
        let Some(rollout) = world.live.rollouts.get("shop") else {
            continue;
        };
        let status = &rollout.status;
        let stable = status.stable.as_ref().map(|s| s.revision.as_str());
        if stable == Some(&wanted) {
            return Ok(passed - BEGINS);
        }
        if status.history.iter().any(|ended| ended.revision == wanted) {
            return Err(told("it was undone"));
        }
    }
    let world = simulation.world();
    let ending = world.story.ending(&world.live);
    Err(format!(
        "seed {seed}: {about}: it is not out\n{}{ending}",
        world.story.text()
    ))
}
