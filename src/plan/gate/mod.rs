//! Gates: what must be open before a release goes from one target of its course to the next.
//!
//! [`GATES`] is the whole list, in the order in which they are asked. A gate that comes is a file
//! here and a line there.

pub(super) mod checks;
pub(super) mod configuration;
mod hold;
mod passage;
mod pause;
mod promotion;
mod steadiness;

pub(super) use self::passage::{Gate, Missing, Passage};
use super::{
    course::Target,
    decision::{Halt, Wait},
    draft::{Draft, seconds_between},
    reason::Reason,
};
use crate::api::{OnInconclusive, release::Why};

/// Whom a gate stands before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binds {
    /// A person may promote past it.
    Evidence,
    /// The same, but what it asks must be so again after the last tests.
    Moment,
    /// A person too.
    Everybody,
}

type Ask = fn(&Draft<'_>, &Passage<'_>) -> Result<Gate, Halt>;

/// All gates, in order.
const GATES: [(Ask, Binds); 6] = [
    (hold::gate, Binds::Evidence),
    (pause::gate, Binds::Moment),
    (steadiness::gate, Binds::Moment),
    (checks::gate, Binds::Evidence),
    (promotion::gate, Binds::Evidence),
    (configuration::gate, Binds::Everybody),
];

/// What the gates come to.
pub(super) enum Verdict {
    /// All are open; with what they told.
    Open(String),
    /// There was no verdict in time, and that holds the release.
    Pause(Why),
    /// There was no verdict in time, and that undoes the release.
    Undo(Why),
}

/// Asks every gate.
///
/// # Errors
/// What is waited for, or must be known first.
pub(super) fn ask(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Verdict, Halt> {
    let mut said = String::new();
    let mut unseen = false;
    for (gate, binds) in GATES {
        if unseen && binds != Binds::Everybody || passage.passed && binds == Binds::Evidence {
            continue;
        }
        match gate(draft, passage)? {
            Gate::Open(words) if words.is_empty() => {}
            Gate::Open(words) => said = words,
            Gate::Wait(wait) => return Err(wait.into()),
            Gate::Missing(missing) => {
                let why = late(draft, passage.target, missing)?;
                match passage.target.on_inconclusive {
                    OnInconclusive::Pause => return Ok(Verdict::Pause(why)),
                    OnInconclusive::Undo => return Ok(Verdict::Undo(why)),
                    OnInconclusive::Proceed => (said, unseen) = (why.message, true),
                }
            }
        }
    }
    Ok(Verdict::Open(said))
}

/// Asks the gates that stand before a person too.
///
/// # Errors
/// As [`ask`].
pub(super) fn ask_for_a_person(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<(), Halt> {
    for (gate, _) in GATES.iter().filter(|(_, b)| *b == Binds::Everybody) {
        if let Gate::Wait(wait) = gate(draft, passage)? {
            return Err(wait.into());
        }
    }
    Ok(())
}

/// Before the first target only what stable needs to come back is asked for.
///
/// # Errors
/// As [`ask`].
pub(super) fn ask_at_the_entry(draft: &Draft<'_>) -> Result<(), Halt> {
    configuration::stays_possible(draft)
}

/// What of this was not looked for, as the operator may not read it.
pub(super) fn not_checked(draft: &Draft<'_>) -> Vec<String> {
    const MOST: usize = 32;
    let found = draft.seen.answers.config.iter();
    let unread = found.flat_map(|found| &found.unread).take(MOST);
    unread.map(ToString::to_string).collect()
}

/// The hold is over and something is missing: the target's deadline runs.
fn late(draft: &Draft<'_>, target: &Target, missing: Missing) -> Result<Why, Halt> {
    // Nothing is timed out by a clock that was not watched.
    let watched = seconds_between(draft.seen.trusted_since, draft.now);
    let waited = missing.waited.min(watched);
    if waited < target.deadline_seconds {
        let at = draft.in_seconds(target.deadline_seconds - waited);
        let then = match target.on_inconclusive {
            OnInconclusive::Pause => "pause",
            OnInconclusive::Undo => "undo",
            OnInconclusive::Proceed => "continue without a verdict",
        };
        let message = format!(
            "step {} stays held until {at:.0} (then: {then}): {}",
            target.name, missing.message
        );
        let wait = Wait::held(Reason::Inconclusive, message).wake(at);
        let times = [wait.wake_at, missing.wake_at];
        let wake_at = times.into_iter().flatten().min();
        return Err(Wait { wake_at, ..wait }.into());
    }
    Ok(Why::new(
        Reason::Inconclusive,
        format!(
            "no verdict at step {} within {} seconds after its hold: {}",
            target.name, target.deadline_seconds, missing.message
        ),
    ))
}
