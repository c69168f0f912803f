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
    /// The kind whose successes for the same version its Job takes back.
    pub takes_back: Option<PhaseKind>,
    /// How its success is called.
    pub succeeded: Reason,
    /// How its failure is called.
    pub failed: Reason,
}

/// When a Job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Before the first pod of the revision, once per revision, while it holds the database.
    BeforePods {
        /// The reason that the Rollout shows meanwhile.
        running: Reason,
        /// What is so once it has succeeded, for people.
        done: &'static str,
    },
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

/// The terms of a kind: its row.
#[must_use]
pub const fn of(phase: PhaseKind) -> &'static Terms {
    match phase {
        PhaseKind::Preflight => &Terms {
            phase: PhaseKind::Preflight,
            runs: Runs::BeforePods {
                running: Reason::Preflight,
                done: "the preflight found no obstacle",
            },
            failure: Failure::Nothing,
            takes_back: None,
            succeeded: Reason::PreflightSucceeded,
            failed: Reason::PreflightFailed,
        },
        PhaseKind::Expand => &Terms {
            phase: PhaseKind::Expand,
            runs: Runs::BeforePods {
                running: Reason::Expanding,
                done: "the schema is expanded",
            },
            failure: Failure::Dirty,
            takes_back: Some(PhaseKind::Revert),
            succeeded: Reason::ExpandSucceeded,
            failed: Reason::ExpandFailed,
        },
        PhaseKind::Backfill => &Terms {
            phase: PhaseKind::Backfill,
            runs: Runs::AfterRelease,
            failure: Failure::Unfinished,
            takes_back: None,
            succeeded: Reason::BackfillSucceeded,
            failed: Reason::PhaseFailed,
        },
        PhaseKind::Contract => &Terms {
            phase: PhaseKind::Contract,
            runs: Runs::AfterRelease,
            failure: Failure::Dirty,
            takes_back: None,
            succeeded: Reason::ContractSucceeded,
            failed: Reason::PhaseFailed,
        },
        PhaseKind::Revert => &Terms {
            phase: PhaseKind::Revert,
            runs: Runs::AfterRelease,
            failure: Failure::Dirty,
            takes_back: Some(PhaseKind::Expand),
            succeeded: Reason::RevertSucceeded,
            failed: Reason::PhaseFailed,
        },
    }
}

/// Whether a kind runs apart from the release, after it.
#[must_use]
pub(crate) fn is_after_release(phase: PhaseKind) -> bool {
    of(phase).runs == Runs::AfterRelease
}

/// Whether a kind changes nothing, whatever becomes of it.
#[must_use]
pub(crate) fn only_looks(phase: PhaseKind) -> bool {
    of(phase).failure == Failure::Nothing
}

/// Those that a release of this spec runs before its pods, in order.
pub(crate) fn before_the_pods(spec: &RolloutSpec) -> impl Iterator<Item = &'static Terms> {
    let schema = spec.schema.as_ref();
    PhaseKind::ALL
        .into_iter()
        .filter(|phase| !is_after_release(*phase))
        .filter(move |phase| schema.is_some_and(|schema| schema.phase(*phase).is_some()))
        .map(of)
}

#[cfg(test)]
mod tests {
    // What a test gives up on ends the test.
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::api::release::{Release, Stage};

    #[test]
    fn every_kind_has_its_own_row() {
        for phase in PhaseKind::ALL {
            assert_eq!(of(phase).phase, phase);
        }
    }

    /// What is written once for all kinds must be true of each.
    #[test]
    fn nothing_but_the_expand_says_that_it_expands() {
        let says = |terms: &Terms| match terms.runs {
            Runs::BeforePods { running, done } => {
                running == Reason::Expanding || done.contains("expand")
            }
            Runs::AfterRelease => false,
        };
        for phase in PhaseKind::ALL {
            let terms = of(phase);
            let is_expand = phase == PhaseKind::Expand;
            assert_eq!(says(terms), is_expand, "{phase:?}");
            let word = terms.succeeded.word().starts_with("Expand");
            assert_eq!(word, is_expand, "{phase:?}");
        }
    }

    /// A release that is read again stands at the same Job.
    #[test]
    fn a_job_before_the_pods_is_stored_as_itself() {
        for phase in PhaseKind::ALL.into_iter().filter(|p| !is_after_release(*p)) {
            let mut release: Release = serde_json::from_value(json!({
                "revision": "abc", "stage": "Preflight", "started": "2026-01-01T00:00:00Z",
            }))
            .unwrap();
            release.stage = Stage::Job(phase);
            let stored = serde_json::to_value(&release).unwrap();
            let read: Release = serde_json::from_value(stored).unwrap();
            assert_eq!(read, release);
        }
    }
}
