//! Courses: what a strategy is to everybody else.
//!
//! Whoever steps, scales, tells, checks rules or explains a release reads its [`Course`] and never
//! the strategy. A strategy is one file here and one arm in [`course`].

mod canary;

use crate::{
    api::{OnInconclusive, RolloutSpec, Strategy, release::StepStatus},
    plan::replicas::Bounds,
};

/// The way of a release: the states it goes through, and the bounds it keeps on all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// The states, in order. In the last one the revision has the whole workload.
    pub targets: Vec<Target>,
    /// How far the sum of pods may lie from `spec.replicas`.
    pub bounds: Bounds,
}

/// A state to be reached, held and passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its name, shown and used in commands.
    pub name: String,
    /// Where it stands in the spec, for messages.
    pub field: String,
    /// Pods of the new revision.
    pub canary: i32,
    /// Pods of the stable revision.
    pub stable: i32,
    /// Whom users reach.
    pub active: Active,
    /// Percent of the requests that go to the new revision, where a traffic router is told; else
    /// they follow the pods.
    pub weight: Option<i32>,
    /// Seconds it is held, all of it available, before its gates may open.
    pub hold_seconds: i64,
    /// Seconds after the hold within which its gates must have opened.
    pub deadline_seconds: i64,
    /// What is done at that deadline.
    pub on_inconclusive: OnInconclusive,
}

/// Whom users reach in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// The stable revision alone.
    Stable,
    /// Both revisions, by their weights or pods.
    Both,
    /// The new revision alone.
    Canary,
}

/// Seconds for which a first deployment is held that nothing measures.
const UNMEASURED_HOLD: i64 = 30;

/// What a strategy says, for so many pods.
struct Strategic {
    targets: fn(&Strategy, i32) -> Vec<Target>,
    bounds: fn(&Strategy, i32) -> Bounds,
}

/// The strategy of a spec: a new one is an arm here.
const fn strategic(_: &Strategy) -> Strategic {
    canary::STRATEGY
}

/// The course of a release of this spec.
#[must_use]
pub fn course(spec: &RolloutSpec) -> Course {
    let (strategy, total) = (&spec.strategy, spec.replicas);
    Course {
        targets: (strategic(strategy).targets)(strategy, total),
        bounds: bounds(spec),
    }
}

/// The course of this release of the spec. A first deployment without checks and without steps of
/// its own is held only long enough to see that its containers stay up: there is nothing to measure
/// and nothing to return to.
#[must_use]
pub(crate) fn of_release(spec: &RolloutSpec, first: bool) -> Course {
    let mut course = course(spec);
    let checks = spec.analysis.as_ref().is_some_and(|a| !a.checks.is_empty());
    if first && !checks && spec.strategy.canary.is_none() {
        for target in &mut course.targets {
            target.hold_seconds = target.hold_seconds.min(UNMEASURED_HOLD);
        }
    }
    course
}

/// Its bounds alone.
#[must_use]
pub fn bounds(spec: &RolloutSpec) -> Bounds {
    (strategic(&spec.strategy).bounds)(&spec.strategy, spec.replicas)
}

impl Target {
    /// It is passed without a verdict.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.on_inconclusive == OnInconclusive::Proceed
    }
}

impl Course {
    /// A state that has more pods than the bounds permit: that of a single replica beside its canary,
    /// without surge.
    #[must_use]
    pub fn beyond_its_bounds(&self) -> Option<&Target> {
        let mut targets = self.targets.iter();
        targets.find(|target| target.canary + target.stable > self.bounds.ceiling)
    }

    /// Index of the state in which a release begins: the last for a first deployment, which has
    /// nothing to be compared with or to return to.
    #[must_use]
    pub fn entry(&self, first: bool) -> usize {
        if first {
            self.targets.len().saturating_sub(1)
        } else {
            0
        }
    }

    /// The state in which a step stands, unless the spec has moved it.
    #[must_use]
    pub fn at(&self, step: &StepStatus) -> Option<&Target> {
        let index = usize::try_from(step.index).ok()?;
        let target = self.targets.get(index)?;
        (target.name == step.name).then_some(target)
    }

    /// The state at this index, whatever it is called by now; the last one beyond it.
    #[must_use]
    pub fn near(&self, step: &StepStatus) -> Option<&Target> {
        let index = usize::try_from(step.index).unwrap_or_default();
        self.targets.get(index).or(self.targets.last())
    }

    /// Index of the state of this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.targets.iter().position(|target| target.name == name)
    }
}
