//! What was judged, phase by phase.

use stepgate_lint::{Finding, Phase};

/// The files of a phase, and what was found in them.
pub(super) struct Linted {
    pub phase: Phase,
    pub files: Vec<String>,
    pub findings: Vec<Finding>,
}

/// The word for a phase, as the field is called.
pub(super) const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Preflight => "preflight",
        Phase::Expand => "expand",
        Phase::Backfill => "backfill",
        Phase::Contract => "contract",
        Phase::Revert => "revert",
    }
}
