//! A good release while pods are lost all the time: it goes out.

use std::fmt;

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
use crate::{
    api::RolloutSpec,
    plan::{course, facts::ConfigRef, revision},
};

/// When the release begins: `v1` is stable by then.
const BEGINS: i64 = 600;
/// Seconds after which it must be out: far more than its holds and its batches take.
const LATEST: i64 = 5 * 3600;
/// Events that no such release needs.
const MOST_EVENTS: u64 = 2_000_000;

/// A release amid churn.
pub struct Churned {
    /// Of what it does not say itself.
    seed: u64,
    /// How pods of both revisions come up.
    behaviour: Behaviour,
    /// What is asked for, of the first revision.
    spec: RolloutSpec,
    /// Seconds between two pods that are lost.
    every: i64,
}

/// That of a seed: one to forty pods, of which most of what may be under way at once is lost.
#[must_use]
pub fn of_seed(seed: u64) -> Churned {
    let mut random = Random::new(seed);
    let behaviour = Behaviour {
        pull_seconds: random.between(0, 10),
        start_seconds: random.between(1, 75),
        ..Behaviour::default()
    };
    let starts = starts(&behaviour);
    let replicas = i32::try_from(random.between(1, 40)).unwrap_or(1);
    let bounds = [random.between(1, 30), random.between(0, 30)];
    let mut spec = bounded(replicas, bounds, (3 * starts).max(120));
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
    Churned {
        seed: random.fork_seed(),
        behaviour,
        spec,
        every,
    }
}

/// That of a cluster whose nodes come and go all day: every so many seconds a pod is lost, and each
/// starts for so long.
#[must_use]
pub fn of_nodes(replicas: i32, every: i64, start_seconds: i64) -> Churned {
    let mut spec = bounded(replicas, [10, 10], 600);
    for step in spec.strategy.steps_mut() {
        step.hold_seconds = 300;
    }
    Churned {
        seed: 1,
        behaviour: Behaviour {
            start_seconds,
            ..Behaviour::default()
        },
        spec,
        every,
    }
}

/// A Rollout with so many percent of surge and unavailable pods.
fn bounded(replicas: i32, [surge, unavailable]: [i64; 2], deadline: i64) -> RolloutSpec {
    let mut spec = shop("v1", replicas, None);
    spec.strategy.max_surge = IntOrString::String(format!("{surge}%"));
    spec.strategy.max_unavailable = IntOrString::String(format!("{unavailable}%"));
    spec.strategy.progress_deadline_seconds = deadline;
    spec
}

/// Seconds that a pod needs to be ready.
const fn starts(behaviour: &Behaviour) -> i64 {
    behaviour.pull_seconds + behaviour.start_seconds
}

impl Churned {
    /// Plays it: seconds until it was out.
    ///
    /// # Errors
    /// When it is not stable in the end, or a rule was broken; with the story.
    pub fn play(&self, detail: Detail) -> Result<i64, String> {
        let mut setting = Setting::default();
        for image in ["v1", "v2"] {
            let behaviour = self.behaviour.clone();
            setting.behaviours.insert(image.into(), behaviour);
        }
        let mut simulation = Simulation::new(setting, self.seed, 1);
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
            every: self.every,
            until: DAWN + SignedDuration::from_secs(BEGINS + LATEST),
        };
        let wanted = {
            let mut next = self.spec.clone();
            next.template["spec"]["containers"][0]["image"] = "v2".into();
            revision::wanted(&next)
        };
        simulation.plan(1, apply(self.spec.clone()));
        simulation.plan(BEGINS, release("v2", None));
        simulation.plan(BEGINS, churn);
        let mut passed = 0;
        while passed < BEGINS + LATEST {
            let ran = simulation.run_for(60, MOST_EVENTS);
            passed += 60;
            let world = simulation.world();
            let told = |error: &str| {
                let story = format!("{}{}", world.story.text(), world.story.ending(&world.live));
                format!("{self}: {error}\n{story}")
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
            "{self}: it is not out\n{}{ending}",
            world.story.text()
        ))
    }
}

impl fmt::Display for Churned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strategy = &self.spec.strategy;
        let text = |bound: &IntOrString| match bound {
            IntOrString::Int(pods) => pods.to_string(),
            IntOrString::String(text) => text.clone(),
        };
        write!(
            f,
            "{} pods, surge {}, unavailable {}, each ready after {} s, one lost every {} s",
            self.spec.replicas,
            text(&strategy.max_surge),
            text(&strategy.max_unavailable),
            starts(&self.behaviour),
            self.every
        )
    }
}
