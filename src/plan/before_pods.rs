//! What comes next before the first pod of a revision: a Job, or the first step.

use super::{
    decision::{Decision, Halt},
    draft::Draft,
    job::{
        preflight,
        terms::{self, Terms},
    },
    life, order, stepping,
};
use crate::api::{
    PhaseKind,
    release::{Release, Stage},
};

/// The first Job.
///
/// # Errors
/// What stands against it.
pub(super) fn first(draft: &Draft<'_>, release: &Release) -> Result<Decision, Halt> {
    next(draft, release, None)
}

/// What comes after the Job of this phase, and what was measured after it.
///
/// # Errors
/// What stands against it.
pub(super) fn after(
    draft: &Draft<'_>,
    release: &Release,
    phase: PhaseKind,
) -> Result<Decision, Halt> {
    next(draft, release, Some(terms::of(phase)))
}

/// The next Job before the pods, after that of `done`; the first step when none is left.
fn next(draft: &Draft<'_>, release: &Release, done: Option<&Terms>) -> Result<Decision, Halt> {
    // Who goes first may have been changed in the same moment, and seen later.
    order::is_its_turn(draft)?;
    let all = terms::before_the_pods(draft.spec);
    let mut left = all.skip_while(|t| done.is_some_and(|done| t.phase < done.phase));
    let next = left.find(|t| {
        let is_done = done.is_some_and(|done| t.phase == done.phase);
        !is_done && (!terms::only_looks(t.phase) || preflight::is_needed(draft))
    });
    let Some(next) = next else {
        life::lets_pods_start(draft)?;
        return stepping::begin(draft, release);
    };
    let note = format!(
        "revision {}: children made, {} next",
        release.revision,
        next.phase.word()
    );
    let release = Release {
        stage: Stage::Job(next.phase),
        ..release.clone()
    };
    Ok(draft.goes(release).note(note))
}
