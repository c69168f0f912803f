//! A person says when.

use super::passage::{Gate, Passage};
use crate::{
    api::Promotion,
    plan::{
        decision::{Halt, Wait},
        draft::Draft,
        reason::Reason,
        words,
    },
};

pub(super) fn gate(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Gate, Halt> {
    // A first deployment has nobody to be kept from anything.
    if passage.target.promotion == Promotion::Automatic || passage.release.first {
        return Ok(Gate::Open(String::new()));
    }
    let (step, revision) = (&passage.target.name, &passage.release.revision);
    let promote = words::command(draft, "promote", &format!("{revision}/{step}"));
    let words = format!("step {step} is ready and waits for a person: {promote}");
    let wait = Wait::held(Reason::WaitingForPromotion, words);
    Ok(Gate::Wait(wait))
}
