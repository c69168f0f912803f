//! What gates are asked about, and what they say.

use jiff::Timestamp;

use crate::{
    api::release::{Release, StepStatus},
    plan::{course::Target, decision::Wait, draft::Draft},
};

/// What a gate says.
pub(in crate::plan) enum Gate {
    /// Nothing against it; with what is to be told of that.
    Open(String),
    /// Not yet, however long it takes.
    Wait(Wait),
    /// Not yet, and the target's deadline runs.
    Missing(Missing),
}

/// What a gate that times out lacks.
pub(in crate::plan) struct Missing {
    /// For people.
    pub message: String,
    /// Seconds for which it has been waited for after the hold.
    pub waited: i64,
    /// When to look again.
    pub wake_at: Option<Timestamp>,
}

/// A target that is reached, and is to be left.
pub(in crate::plan) struct Passage<'a> {
    pub release: &'a Release,
    pub step: &'a StepStatus,
    pub target: &'a Target,
    /// Nothing comes after it.
    pub last: bool,
    /// It was passed already, by its gates or by a person, and its last tests have run since.
    pub passed: bool,
}

impl Passage<'_> {
    /// Seconds for which the target has been held beyond its hold.
    pub(super) fn over(&self, draft: &Draft<'_>) -> i64 {
        let held = self.step.held.elapsed(draft.now, Timestamp::MIN);
        held - self.target.hold_seconds
    }
}
