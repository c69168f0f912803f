//! A person holds the rollout.

use super::passage::{Gate, Passage};
use crate::plan::{
    decision::{Halt, Wait},
    draft::Draft,
    reason::Reason,
};

pub(super) fn gate(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Gate, Halt> {
    Ok(match draft.paused_by() {
        Some(by) => {
            let next = if draft.wanted == passage.release.revision {
                String::new()
            } else {
                format!("; revision {} comes when it is resumed", draft.wanted)
            };
            let words = format!("step {} is over; paused by {by}{next}", passage.target.name);
            Gate::Wait(Wait::held(Reason::Paused, words))
        }
        None => Gate::Open(String::new()),
    })
}
