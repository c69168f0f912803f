//! What is known of a flag: as the spec has it, on record, and in its ConfigMap.

use std::collections::BTreeSet;

use serde_json::json;

use super::file::{ConfigMapFacts, Contents, Found, Look};
use crate::{
    api::{
        Flag, RolloutStatus,
        flags::{FlagState, FlagStatus},
        release::Why,
    },
    plan::{decision::Decision, draft::Draft, facts::Refused, revision},
};

/// Seconds after a write of a ConfigMap by which every pod has it: the kubelet looks again after a
/// minute, and what it looks at may be half a minute old.
pub(crate) const REACHES_PODS_WITHIN: i64 = 90;

/// What stands against a ConfigMap.
pub(super) enum Problem {
    /// It cannot be read or written, in the API server's words.
    Forbidden(String),
    /// It is somebody else's.
    NotOurs,
}

/// Names of the ConfigMaps that the spec or the record name.
pub(super) fn maps<'d>(draft: &'d Draft<'_>) -> BTreeSet<&'d str> {
    let asked = draft.spec.flags.iter().map(|f| f.config_map.name.as_str());
    let known = draft.status.flags.iter().map(|f| f.config_map.as_str());
    asked.chain(known).collect()
}

/// The ConfigMap of this name, if it is there and Stepgate's own; or what stands against it.
pub(super) fn own<'d>(
    draft: &'d Draft<'_>,
    name: &str,
) -> Result<Option<&'d ConfigMapFacts>, Problem> {
    let mut refusals = draft.seen.refusals.iter();
    let wanted = Refused::Flags(name.to_owned());
    if let Some(refusal) = refusals.find(|r| r.what == wanted) {
        return Err(Problem::Forbidden(refusal.message.clone()));
    }
    match draft.seen.answers.flags.get(name) {
        Some(Look::Read(None)) => Ok(None),
        Some(Look::Read(Some(map))) if map.rollout.as_deref() == Some(draft.name()) => {
            Ok(Some(map))
        }
        Some(Look::Read(Some(_))) => Err(Problem::NotOurs),
        Some(Look::Unread(words)) => Err(Problem::Forbidden(words.clone())),
        None => Err(Problem::Forbidden("it has not been read".to_owned())),
    }
}

/// A flag in its ConfigMap; nothing where that cannot be said.
pub(super) fn found(draft: &Draft<'_>, map: &str, key: &str) -> Option<Found> {
    let map = own(draft, map).ok()?;
    Some(map.map_or(Found::Missing, |map| Contents::of(map).flag(key)))
}

/// What the record asks for is in the ConfigMap.
pub(super) fn is_written(draft: &Draft<'_>, flag: &FlagStatus) -> bool {
    let found = found(draft, &flag.config_map, &flag.key);
    matches!(found, Some(Found::AsWritten(note)) if note.change == flag.change)
}

/// The flag as the spec has it.
pub(super) fn asked<'d>(draft: &'d Draft<'_>, key: &str) -> Option<&'d Flag> {
    draft.spec.flags.iter().find(|flag| flag.key == key)
}

/// A hash of what the spec asks of a flag.
pub(super) fn digest(flag: &Flag) -> String {
    revision::hash(&json!(flag), None)
}

/// The flag is to be served otherwise from now on.
pub(super) fn change(flag: &mut FlagStatus, state: FlagState, percent: i32, why: Option<Why>) {
    flag.change += 1;
    flag.reaches_pods_by = None;
    (flag.state, flag.percent, flag.why) = (state, percent, why);
    if percent == 0 {
        (flag.step, flag.revision, flag.since) = (None, None, None);
    }
}

/// A decision in which this flag stands otherwise.
pub(super) fn with(draft: &Draft<'_>, flag: FlagStatus) -> Decision {
    let mut decision = draft.decision();
    let flags = &mut decision.status.flags;
    match flags.iter_mut().find(|known| known.key == flag.key) {
        Some(known) => *known = flag,
        None => flags.push(flag),
    }
    decision
}

pub(super) fn begins_to_go_back(draft: &Draft<'_>, decision: &Decision) -> bool {
    let goes = |status: &RolloutStatus| {
        let release = status.release.as_ref();
        release.is_some_and(|release| release.undo().is_some())
    };
    !goes(&draft.status) && goes(&decision.status)
}

/// The flag whose turn it is: one after the other, so that a check that fails is known to fail for
/// one of them.
pub(super) fn active<'d>(draft: &'d Draft<'_>) -> Option<(&'d Flag, &'d FlagStatus)> {
    let mut flags = draft.spec.flags.iter().filter_map(|flag| {
        let known = draft.status.flags.iter().find(|f| f.key == flag.key)?;
        Some((flag, known))
    });
    flags.find(|(_, known)| {
        matches!(
            known.state,
            FlagState::Waiting | FlagState::Ramping | FlagState::Paused
        )
    })
}

/// The flag whose requests are measured: it is on for some users, and no release is in motion.
pub(in crate::plan) fn watched<'d>(draft: &'d Draft<'_>) -> Option<&'d FlagStatus> {
    let (_, flag) = active(draft).filter(|_| draft.status.release.is_none())?;
    let under = flag.since.is_some() && flag.revision.as_deref() == draft.stable();
    (under && flag.state != FlagState::Waiting).then_some(flag)
}
