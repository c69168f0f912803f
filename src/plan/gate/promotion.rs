//! A person says when.

use super::passage::{Gate, Passage};
use crate::{
    api::Promotion,
    plan::{
        decision::{Halt, Wait},
        draft::Draft,
        reason::Reason,
    },
};

pub(super) fn gate(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Gate, Halt> {
    // A first deployment has nobody to be kept from anything.
    if passage.target.promotion == Promotion::Automatic || passage.release.first {
        return Ok(Gate::Open(String::new()));
    }
    let (step, revision) = (&passage.target.name, &passage.release.revision);
    let rollout = &draft.seen.objects.rollout;
    let words = format!(
        "step {step} is ready and waits for a person: kubectl annotate --overwrite -n {} \
         rollouts.stepgate.io/{} stepgate.io/promote=\"{revision}/{step} $(date +%s)\"",
        rollout.namespace, rollout.base.name,
    );
    let wait = Wait::held(Reason::WaitingForPromotion, words);
    Ok(Gate::Wait(wait))
}
