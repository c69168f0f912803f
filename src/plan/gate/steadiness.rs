//! No container of the revision has just ended, and no more of its pods than may be missing have
//! just stopped being ready.

use super::passage::{Gate, Missing, Passage};
use crate::plan::{
    decision::Halt,
    draft::{Draft, later},
    exits,
};

pub(super) fn gate(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Gate, Halt> {
    let proof = exits::proof(passage.target.hold_seconds);
    let may_lack = draft
        .bounds()
        .may_lack(passage.target.canary, draft.spec.replicas);
    let lost = exits::lost_within(draft, proof);
    if let Some((pods, at)) = lost.filter(|(pods, _)| i32::try_from(*pods).unwrap_or(0) > may_lack)
    {
        return Ok(Gate::Missing(Missing {
            message: format!(
                "{pods} of its pods stopped being ready, last at {at:.0}; the step can pass \
                 {proof} seconds after the last such loss"
            ),
            waited: passage.over(draft) - proof,
            wake_at: Some(later(at, proof)),
        }));
    }
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
