//! The ConfigMaps and Secrets that stable's template names exist: GitOps tools prune them, and
//! without them stable's pods could not come back.

use super::{Gate, Passage};
use crate::plan::{
    adopting,
    decision::{Halt, Wait},
    draft::Draft,
    facts::Question,
    reason::Reason,
};

/// Seconds between two looks for what is missing: it is not watched.
const LOOKS_EVERY: i64 = 15;

/// After the last target stable's pods are gone already.
pub(super) fn gate(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Gate, Halt> {
    if !passage.last {
        stays_possible(draft)?;
    }
    Ok(Gate::Open(String::new()))
}

/// Stable can come back once its pods have gone.
pub(super) fn stays_possible(draft: &Draft<'_>) -> Result<(), Halt> {
    // What an adopted Deployment needs is its owner's business.
    let own = |stable: &&str| adopting::deployment_of(stable).is_none();
    let Some(stable) = draft.stable().filter(own) else {
        return Ok(());
    };
    let Some(revision) = draft.seen.objects.revision(stable) else {
        let words = format!(
            "the ControllerRevision of stable revision {stable} is gone: apply that revision once \
             more, so that it is put on record again"
        );
        return Err(Wait::stalled(Reason::UndoImpossible, words).into());
    };
    if revision.config.is_empty() {
        return Ok(());
    }
    let Some(missing) = &draft.seen.answers.missing_config else {
        return Halt::ask(Question::Config(revision.config.to_vec()));
    };
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let words = format!(
        "stable revision {stable} needs {} to come back, and that is gone: create it again; \
         nothing is promoted before",
        names.join(", ")
    );
    let wait = Wait::stalled(Reason::UndoImpossible, words);
    Err(wait.wake(draft.in_seconds(LOOKS_EVERY)).into())
}
