//! The target is held for its seconds.

use super::passage::{Gate, Passage};
use crate::plan::{
    decision::{Halt, Wait},
    draft::Draft,
};

pub(super) fn gate(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Gate, Halt> {
    let over = passage.over(draft);
    if over < 0 {
        return Ok(Gate::Wait(Wait::until(draft.in_seconds(-over))));
    }
    Ok(Gate::Open(String::new()))
}
