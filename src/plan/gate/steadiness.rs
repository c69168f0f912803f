//! No container of the revision has just ended.

use super::{Gate, Missing, Passage};
use crate::plan::{decision::Halt, draft::Draft, exits};

pub(super) fn gate(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Gate, Halt> {
    let proof = exits::proof(passage.target.hold_seconds);
    Ok(match exits::ended_within(draft, proof) {
        Some(ended) => Gate::Missing(Missing {
            message: ended.message,
            // One end in the hold can be waited out, however short the deadline is.
            waited: passage.over(draft) - proof,
            wake_at: Some(ended.until),
        }),
        None => Gate::Open(String::new()),
    })
}
