//! The ConfigMaps and Secrets that stable's template names exist: GitOps tools prune them, and
//! without them stable's pods could not come back. A person may let a release go on all the same.

use super::passage::{Gate, Passage};
use crate::{
    api::keys,
    plan::{
        adopting,
        decision::{Halt, Wait},
        draft::Draft,
        facts::Question,
        reason::Reason,
        words,
    },
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

/// Stable can come back once its pods have gone, or a person has said that it need not.
pub(super) fn stays_possible(draft: &Draft<'_>) -> Result<(), Halt> {
    let release = draft.status.release.as_ref();
    if release.is_some_and(|release| release.without_undo) {
        return Ok(());
    }
    let Some(lack) = lack(draft)? else {
        return Ok(());
    };
    let revision = release.map_or(draft.wanted, |release| &release.revision);
    let target = format!("{revision}/{}", keys::WITHOUT_UNDO);
    let words = format!(
        "{}: {}; until then the release waits. To continue without a rollback to stable: {}",
        lack.what,
        lack.way_on,
        words::command(draft, "promote", &target)
    );
    let wait = Wait::stalled(Reason::UndoImpossible, words);
    Err(wait.wake(draft.in_seconds(LOOKS_EVERY)).into())
}

/// Something that stable lacks to come back.
pub(in crate::plan) struct Lack {
    /// What that is.
    pub what: String,
    /// How it comes back.
    way_on: &'static str,
}

/// What stable lacks to come back; `None`: nothing.
///
/// # Errors
/// What must be known first.
pub(in crate::plan) fn lack(draft: &Draft<'_>) -> Result<Option<Lack>, Halt> {
    // What an adopted Deployment needs is its owner's business.
    let own = |stable: &&str| adopting::deployment_of(stable).is_none();
    let Some(stable) = draft.stable().filter(own) else {
        return Ok(None);
    };
    let Some(revision) = draft.seen.objects.revision(stable) else {
        return Ok(Some(Lack {
            what: format!("the ControllerRevision of stable revision {stable} is gone"),
            way_on: "apply that revision again, so that Stepgate records it again",
        }));
    };
    if revision.config.is_empty() {
        return Ok(None);
    }
    let Some(found) = &draft.seen.answers.config else {
        return Halt::ask(Question::Config(revision.config.to_vec()));
    };
    if found.missing.is_empty() {
        return Ok(None);
    }
    let names: Vec<_> = found.missing.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    Ok(Some(Lack {
        what: format!(
            "a rollback to stable revision {stable} needs {names}, which no longer \
                       exists"
        ),
        way_on: "create it again",
    }))
}
