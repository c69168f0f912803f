//! What a strategy consists of: the states of a release, and their bounds.

use crate::{
    api::{OnInconclusive, Promotion, StepTest, Strategy, TestAfter},
    plan::replicas::Bounds,
};

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
    /// Who says that it is left.
    pub promotion: Promotion,
    /// The field of the spec that says how long it is held.
    pub held_by: &'static str,
    /// Seconds it is held, all of it available, before its gates may open.
    pub hold_seconds: i64,
    /// Seconds after the hold within which its gates must have opened.
    pub deadline_seconds: i64,
    /// What is done at that deadline.
    pub on_inconclusive: OnInconclusive,
    /// What must succeed once it is reached, before its hold begins.
    pub tests: Vec<StepTest>,
    /// What must succeed after its hold and its checks, before the release ends.
    pub final_tests: Vec<StepTest>,
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

/// Name of the last batch.
pub(super) const LAST_BATCH: &str = "last";

/// What a strategy says, for so many pods.
pub(super) struct Strategic {
    pub field: &'static str,
    pub targets: fn(&Strategy, i32) -> Vec<Target>,
    pub bounds: fn(&Strategy, i32) -> Bounds,
    pub batch: fn(&Strategy) -> Option<String>,
    pub shrinks: fn(&Strategy) -> bool,
}

/// The tests of a list that run at this time.
pub(super) fn tests(all: &[StepTest], after: TestAfter) -> Vec<StepTest> {
    let tests = all.iter().filter(|test| test.after == after);
    tests.cloned().collect()
}

impl Target {
    /// All of its tests, in order.
    pub(crate) fn all_tests(&self) -> impl Iterator<Item = &StepTest> {
        self.tests.iter().chain(&self.final_tests)
    }

    /// No user reaches the new revision yet.
    #[must_use]
    pub(crate) fn is_hidden(&self) -> bool {
        self.active == Active::Stable
    }

    /// It is passed without a verdict.
    #[must_use]
    pub(crate) fn is_blind(&self) -> bool {
        self.on_inconclusive == OnInconclusive::Proceed
    }
}
