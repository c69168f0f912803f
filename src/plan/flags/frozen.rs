//! Flags that a contract has relied on: what their off variant needs is gone, or about to go. They
//! stay on for everybody, whatever a check, a person or a release that goes back says.

use super::{FlagState, FlagStatus, asked, change, found, is_written, own, ramp};
use crate::{
    api::{PhaseKind, database::VersionRecord},
    plan::{draft::Draft, reason::Reason},
};

/// The version of this Rollout whose contract has begun and relies on this flag.
pub(super) fn by(draft: &Draft<'_>, key: &str) -> Option<i64> {
    let database = draft.seen.objects.database.as_ref()?;
    let mut versions = database.record.versions.iter();
    let version = versions.find(|version| {
        version.rollout == draft.name() && version.frozen_flags.iter().any(|flag| flag == key)
    })?;
    Some(version.version)
}

/// Why it stays on.
pub(super) fn words(key: &str, version: i64) -> String {
    format!(
        "flag {key} is frozen at 100%: the contract of version {version} removes what users need for \
         whom it is off"
    )
}

/// What a retry of a flag does that somebody has changed by hand.
pub(super) fn again(draft: &Draft<'_>, key: &str) -> &'static str {
    match by(draft, key) {
        Some(_) => "to have it on for everybody again, as a contract needs it",
        None => "to ramp it again from off",
    }
}

/// The flag is to begin: off, unless it is frozen.
pub(super) fn begin(draft: &Draft<'_>, flag: &mut FlagStatus) {
    match by(draft, &flag.key) {
        Some(_) => {
            change(flag, FlagState::On, 100, None);
            flag.reaches_pods_by = ramp::reached(draft, None);
        }
        None => change(flag, FlagState::Waiting, 0, None),
    }
}

/// What the contract of a version still waits for, of the flags that it names: each is to be on for
/// everybody, in the ConfigMap and by now in every pod.
pub(in crate::plan) fn missing(draft: &Draft<'_>, version: &VersionRecord) -> Vec<String> {
    let contract = version.asks(PhaseKind::Contract);
    let keys = contract.map_or(&[][..], |contract| &contract.flags);
    keys.iter().filter_map(|key| lacks(draft, key)).collect()
}

fn lacks(draft: &Draft<'_>, key: &str) -> Option<String> {
    let known = draft.status.flags.iter().find(|flag| flag.key == *key);
    let Some(known) = known.filter(|_| asked(draft, key).is_some()) else {
        return Some(format!(
            "flag {key}, which is not in spec.flags: put it back, or take it out of \
             schema.contract.flags"
        ));
    };
    if known.state != FlagState::On || known.percent < 100 {
        return Some(format!(
            "flag {key}, which is on for {}% of users ({})",
            known.percent,
            known.state.word()
        ));
    }
    let map = &known.config_map;
    if own(draft, map).is_err() || found(draft, map, key).is_none() {
        return Some(format!("flag {key}: ConfigMap {map} cannot be read"));
    }
    if !is_written(draft, known) {
        return Some(format!("flag {key}: ConfigMap {map} does not have it on"));
    }
    let reaches = known.reaches_pods_by.as_ref();
    reaches.filter(|at| at.0 > draft.now).map(|at| {
        let at = at.0;
        format!("flag {key}, which has reached every pod at {at:.0}")
    })
}

/// When the last of them has reached every pod, if that is only a matter of time.
pub(in crate::plan) fn reach_pods_at(draft: &Draft<'_>) -> Option<jiff::Timestamp> {
    let flags = draft.status.flags.iter();
    let on = flags.filter(|flag| flag.state == FlagState::On);
    let times = on.filter_map(|flag| Some(flag.reaches_pods_by.as_ref()?.0));
    times.filter(|at| *at > draft.now).min()
}

/// A flag that is frozen and not in the spec any more stays where it is, and is forgotten.
pub(super) fn left(draft: &Draft<'_>) -> Vec<(Reason, String)> {
    let gone = draft.status.flags.iter();
    let gone = gone.filter(|known| asked(draft, &known.key).is_none());
    gone.filter_map(|known| {
        let version = by(draft, &known.key)?;
        let words = format!(
            "{}. It was taken out of spec.flags, and stays on in ConfigMap {}: code that still asks \
             for it needs it",
            words(&known.key, version),
            known.config_map
        );
        Some((Reason::FlagFrozen, words))
    })
    .collect()
}
