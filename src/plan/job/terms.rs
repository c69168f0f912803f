//! What is true of every Job of a kind. A kind that comes is an arm of [`PhaseKind`] and a row
//! here.

use crate::{
    api::{PhaseKind, RolloutSpec},
    plan::reason::Reason,
};

/// The terms of one kind of Job.
#[derive(Debug, PartialEq, Eq)]
pub struct Terms {
    /// The kind.
    pub phase: PhaseKind,
    /// When it runs.
    pub runs: Runs,
    /// What a failure leaves behind.
    pub failure: Failure,
    /// How its success is called.
    pub succeeded: Reason,
    /// How its failure is called.
    pub failed: Reason,
}

/// When a Job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Before the first pod of the revision, once per revision, while it holds the database.
    BeforePods,
    /// Apart from the release, after it, once per version.
    AfterRelease,
}

/// What a Job that fails leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A database that may be inconsistent: whatever runs next there needs a person.
    Dirty,
    /// Rows that are filled in or not: it is run again from where it is.
    Unfinished,
    /// Nothing: it only looks. It is tried again by itself, and its answer is for one release.
    Nothing,
}

/// All kinds that this version runs, in the order in which they run.
pub(crate) const TERMS: [Terms; 5] = [
    Terms {
        phase: PhaseKind::Preflight,
        runs: Runs::BeforePods,
        failure: Failure::Nothing,
        succeeded: Reason::PreflightSucceeded,
        failed: Reason::PreflightFailed,
    },
    Terms {
        phase: PhaseKind::Expand,
        runs: Runs::BeforePods,
        failure: Failure::Dirty,
        succeeded: Reason::ExpandSucceeded,
        failed: Reason::ExpandFailed,
    },
    Terms {
        phase: PhaseKind::Backfill,
        runs: Runs::AfterRelease,
        failure: Failure::Unfinished,
        succeeded: Reason::BackfillSucceeded,
        failed: Reason::PhaseFailed,
    },
    Terms {
        phase: PhaseKind::Contract,
        runs: Runs::AfterRelease,
        failure: Failure::Dirty,
        succeeded: Reason::ContractSucceeded,
        failed: Reason::PhaseFailed,
    },
    Terms {
        phase: PhaseKind::Revert,
        runs: Runs::AfterRelease,
        failure: Failure::Dirty,
        succeeded: Reason::RevertSucceeded,
        failed: Reason::PhaseFailed,
    },
];

/// Whether a kind runs apart from the release, after it.
#[must_use]
pub(crate) fn is_after_release(phase: PhaseKind) -> bool {
    of(phase).is_some_and(|terms| terms.runs == Runs::AfterRelease)
}

/// Whether a kind changes nothing, whatever becomes of it.
#[must_use]
pub(crate) fn only_looks(phase: PhaseKind) -> bool {
    of(phase).is_some_and(|terms| terms.failure == Failure::Nothing)
}

/// The kind whose successes for the same version a Job of this kind takes back.
#[must_use]
pub(crate) const fn takes_back(phase: PhaseKind) -> Option<PhaseKind> {
    match phase {
        PhaseKind::Revert => Some(PhaseKind::Expand),
        PhaseKind::Expand => Some(PhaseKind::Revert),
        PhaseKind::Preflight | PhaseKind::Backfill | PhaseKind::Contract => None,
    }
}

/// The terms of a kind; nothing where this version does not run it.
#[must_use]
pub fn of(phase: PhaseKind) -> Option<&'static Terms> {
    TERMS.iter().find(|terms| terms.phase == phase)
}

/// Those that a release of this spec runs before its pods, in order.
pub(crate) fn before_the_pods(spec: &RolloutSpec) -> impl Iterator<Item = &'static Terms> {
    let schema = spec.schema.as_ref();
    TERMS
        .iter()
        .filter(|terms| terms.runs == Runs::BeforePods)
        .filter(move |terms| schema.is_some_and(|schema| schema.phase(terms.phase).is_some()))
}
