//! When nothing is to be found out about flags: an idle Rollout costs no request.

use jiff::SignedDuration;

use super::known::{asked, digest, maps};
use crate::api::flags::{FlagState, FlagStatus};
use crate::{
    api::{PhaseKind, RolloutStatus},
    plan::{commands, draft::Draft, reason::Reason},
};

/// So long after this process has read the ConfigMaps, a pass at rest reads them again: what somebody
/// changed by hand meanwhile is named then. No pass is made for it.
const LOOKS_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// The ConfigMaps were not read in this pass: nothing moves, and all is as it was recorded.
pub(super) fn unread(draft: &Draft<'_>) -> bool {
    let read = &draft.seen.answers.flags;
    maps(draft).into_iter().any(|name| !read.contains_key(name))
}

/// Nothing moves that flags could depend on, and what is on record of them is in their ConfigMaps.
pub(super) fn rests(draft: &Draft<'_>) -> bool {
    let rollout = &draft.seen.objects.rollout;
    let looked = draft.seen.flags_looked;
    looked.is_some_and(|at| draft.seen.looked.duration_since(at) < LOOKS_AGAIN_AFTER)
        && rollout.status.observed_generation == Some(rollout.generation)
        && rollout.status.release.is_none()
        && is_listed(draft, &rollout.status)
        && rollout
            .status
            .flags
            .iter()
            .all(|flag| has_ended(draft, flag))
        && has_no_problem(&rollout.status)
        && !commands::are_new(draft)
        && !waits_for_flags(draft)
        && pods_rest(draft)
}

/// The record has the flags of the spec, as the spec has them, and no others.
fn is_listed(draft: &Draft<'_>, status: &RolloutStatus) -> bool {
    let as_asked = |flag: &FlagStatus| {
        asked(draft, &flag.key).is_some_and(|asked| digest(asked) == flag.asked)
    };
    status.flags.len() == draft.spec.flags.len() && status.flags.iter().all(as_asked)
}

/// It goes nowhere by itself, and its ConfigMap is known to have it.
fn has_ended(draft: &Draft<'_>, flag: &FlagStatus) -> bool {
    let reaches = flag.reaches_pods_by.as_ref();
    let is_out = reaches.is_some_and(|at| at.0 <= draft.now);
    match flag.state {
        FlagState::On | FlagState::TakenBack => is_out && !flag.overwrites,
        FlagState::ChangedByHand => true,
        FlagState::Waiting | FlagState::Ramping | FlagState::Paused => false,
    }
}

/// What stands against a ConfigMap ends when it is looked at.
fn has_no_problem(status: &RolloutStatus) -> bool {
    let mut conditions = status.conditions.iter();
    let said = conditions.find(|c| c.type_ == "FlagsReady");
    let problems = [Reason::FlagsForbidden, Reason::FlagsNotOurs];
    said.is_some_and(|said| Reason::of(&said.reason).is_none_or(|r| !problems.contains(&r)))
}

/// A contract that has not succeeded yet names a flag.
fn waits_for_flags(draft: &Draft<'_>) -> bool {
    let Some(database) = &draft.seen.objects.database else {
        return false;
    };
    database.record.versions.iter().any(|version| {
        let contract = version.asks(PhaseKind::Contract);
        let keys = contract.map_or(&[][..], |contract| &contract.flags);
        version.rollout == draft.name() && version.lacks_contract() && !keys.is_empty()
    })
}

/// Pods that start mount the ConfigMap: it must be there.
fn pods_rest(draft: &Draft<'_>) -> bool {
    let mut children = draft.seen.objects.children.iter();
    children.all(|child| child.replicas == child.available)
}
