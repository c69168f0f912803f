//! Courses: what a strategy is to everybody else.
//!
//! Whoever steps, scales, tells, checks rules or explains a release reads its [`Course`] and never
//! the strategy. A strategy is one file here and one arm in `strategic`.

mod blue_green;
mod canary;
mod rolling;
mod target;

pub use self::target::{Active, Target};
use self::target::{LAST_BATCH, Strategic};
use crate::{
    api::{RolloutSpec, Strategy, StrategyType, release::StepStatus},
    plan::replicas::Bounds,
};

/// The way of a release: the states it goes through, and the bounds it keeps on all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// The states, in order. In the last one the revision has the whole workload.
    pub targets: Vec<Target>,
    /// How far the sum of pods may lie from `spec.replicas`.
    pub bounds: Bounds,
    /// Where the strategy stands in the spec, for messages.
    pub field: &'static str,
    /// The size by which its states are counted, as it is written, where they are batches. Such a
    /// release stands at a number, not at a name.
    pub batch: Option<String>,
    /// Stable's pods become fewer as the weight of the new revision rises.
    pub shrinks: bool,
}

/// Seconds for which a first deployment is held that nothing measures.
const UNMEASURED_HOLD: i64 = 30;

/// The strategy of a spec: a new one is an arm here.
fn strategic(strategy: &Strategy) -> Strategic {
    match strategy.way() {
        StrategyType::Canary => canary::STRATEGY,
        StrategyType::Rolling => rolling::STRATEGY,
        StrategyType::BlueGreen => blue_green::STRATEGY,
    }
}

/// The course of a release of this spec.
#[must_use]
pub(crate) fn course(spec: &RolloutSpec) -> Course {
    let (strategy, total) = (&spec.strategy, spec.replicas);
    let strategic = strategic(strategy);
    Course {
        targets: (strategic.targets)(strategy, total),
        bounds: bounds(spec),
        field: strategic.field,
        batch: (strategic.batch)(strategy),
        shrinks: shrinks(spec),
    }
}

/// The course of this release of the spec. A first deployment without checks and without steps of
/// its own is held only long enough to see that its containers stay up: there is nothing to measure
/// and nothing to return to.
#[must_use]
pub(crate) fn of_release(spec: &RolloutSpec, first: bool) -> Course {
    let mut course = course(spec);
    let checks = spec.analysis.as_ref().is_some_and(|a| !a.checks.is_empty());
    if first && !checks && !spec.strategy.is_written_out() {
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

/// Whether stable's pods become fewer, alone.
#[must_use]
pub(crate) fn shrinks(spec: &RolloutSpec) -> bool {
    (strategic(&spec.strategy).shrinks)(&spec.strategy)
}

impl Course {
    /// The number of a step among all, for people.
    #[must_use]
    pub fn number(&self, step: &StepStatus) -> String {
        format!("{}/{}", self.index(step) + 1, self.targets.len())
    }

    /// A state that has more pods than the bounds permit: that of a single replica beside its canary,
    /// without surge.
    #[must_use]
    pub(crate) fn beyond_its_bounds(&self) -> Option<&Target> {
        let mut targets = self.targets.iter();
        targets.find(|target| target.canary + target.stable > self.bounds.ceiling)
    }

    /// Index of the state in which a release begins: the last for a first deployment, which has
    /// nothing to be compared with or to return to.
    #[must_use]
    pub fn entry(&self, first: bool) -> usize {
        if first { self.last() } else { self.furthest(0) }
    }

    /// Index of the state that comes after that of a step; nothing after the last. A batch that
    /// brings no further pod is passed over: of few pods several may be the same.
    #[must_use]
    pub fn after(&self, step: &StepStatus) -> Option<usize> {
        let index = self.index(step);
        let next = (index < self.last()).then_some(index + 1)?;
        if self.batch.is_none() {
            return Some(next);
        }
        let here = self.targets.get(index)?.canary;
        let later = self.targets.iter().skip(next);
        let same = later.take_while(|target| target.canary == here).count();
        Some(self.furthest((next + same).min(self.last())))
    }

    /// The states that a release enters, in order.
    pub fn way(&self) -> impl Iterator<Item = &Target> {
        let states = self.targets.iter().enumerate();
        let entered = states.filter(|(index, _)| self.furthest(*index) == *index);
        entered.map(|(_, target)| target)
    }

    /// The state in which a step stands, unless the spec has moved it.
    #[must_use]
    pub fn at(&self, step: &StepStatus) -> Option<&Target> {
        if step.batch != self.batch {
            return None;
        }
        if self.batch.is_some() {
            return self.near(step);
        }
        let index = usize::try_from(step.index).ok()?;
        let target = self.targets.get(index)?;
        (target.name == step.name).then_some(target)
    }

    /// The same, or the one of its name, wherever that stands by now.
    #[must_use]
    pub fn find(&self, step: &StepStatus) -> Option<&Target> {
        let named = self.position(&step.name).filter(|_| self.batch.is_none());
        self.at(step).or_else(|| self.targets.get(named?))
    }

    /// Index of the state in which a step goes on that the spec has moved: that of its name; a
    /// batch goes on from the pods that the revision has. Nothing where it begins again.
    #[must_use]
    pub(crate) fn resume(&self, step: &StepStatus, pods: i32) -> Option<usize> {
        if self.batch.is_none() {
            return self.position(&step.name);
        }
        let enough = |target: &Target| target.canary >= pods;
        let index = self.targets.iter().position(enough);
        Some(index.unwrap_or(self.last()))
    }

    /// The state at this index, whatever it is called by now; the last one beyond it.
    #[must_use]
    pub fn near(&self, step: &StepStatus) -> Option<&Target> {
        self.targets.get(self.index(step))
    }

    /// Index of the state of this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.targets.iter().position(|target| target.name == name)
    }

    fn index(&self, step: &StepStatus) -> usize {
        // However many batches there are by now, what was whole stays whole.
        if self.batch.is_some() && step.name == LAST_BATCH {
            return self.last();
        }
        let index = usize::try_from(step.index).unwrap_or_default();
        index.min(self.last())
    }

    fn last(&self) -> usize {
        self.targets.len().saturating_sub(1)
    }

    /// The last of the batches from this one on that have as many pods.
    fn furthest(&self, index: usize) -> usize {
        let Some(here) = self.targets.get(index).filter(|_| self.batch.is_some()) else {
            return index;
        };
        let later = self.targets.iter().skip(index + 1);
        index
            + later
                .take_while(|target| target.canary == here.canary)
                .count()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Seconds for which the last state of a release is held.
    fn bake(strategy: &Value, checks: &Value, first: bool) -> i64 {
        let spec = json!({
            "replicas": 4,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {},
            "strategy": strategy,
            "analysis": {"source": "default", "checks": checks},
        });
        let spec: RolloutSpec = serde_json::from_value(spec).unwrap();
        let course = of_release(&spec, first);
        let entry = &course.targets[course.entry(first)];
        assert!(!first || entry == course.targets.last().unwrap());
        course.targets.last().unwrap().hold_seconds
    }

    #[test]
    fn what_is_deployed_first_and_measured_by_nothing_is_held_for_a_moment() {
        let check = json!([{"name": "errors", "errorRate": {"maxPercent": "0.5"}}]);
        let (none, canary, rolling) = (json!([]), json!({}), json!({"type": "Rolling"}));
        for (strategy, usual) in [(&canary, 900), (&rolling, 300)] {
            assert_eq!(bake(strategy, &none, true), 30, "{strategy}");
            assert_eq!(bake(strategy, &check, true), usual, "{strategy}: measured");
            assert_eq!(bake(strategy, &none, false), usual, "{strategy}: a release");
        }
        let step = json!({"name": "full", "replicas": "100%", "holdSeconds": 600});
        let written = json!({"canary": {"steps": [step]}});
        assert_eq!(
            bake(&written, &none, true),
            600,
            "as somebody has written it"
        );
    }
}
