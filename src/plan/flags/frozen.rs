//! Flags that a contract has relied on: what their off variant needs is gone, or about to go. They
//! stay on for everybody, whatever a check, a person or a release that goes back says.

use super::known::{asked, begins_to_go_back, change, found, is_written, own};
use crate::api::flags::{FlagState, FlagStatus};
use crate::{
    api::{PhaseKind, database::VersionRecord},
    plan::{decision::Decision, draft::Draft, facts::Question, lack::Lack, reason::Reason, words},
};

/// Keys kept on record per version, over all attempts of its contract.
const MOST_FROZEN_FLAGS: usize = 64;

/// The version of this Rollout whose contract has begun and relies on this flag.
pub(super) fn by(draft: &Draft<'_>, key: &str) -> Option<i64> {
    let objects = &draft.seen.objects;
    let here = objects.database.as_ref().and_then(|database| {
        let mut versions = database.record.versions.iter();
        versions.find(|version| {
            version.rollout == draft.name() && version.frozen_flags.iter().any(|flag| flag == key)
        })
    });
    here.map(|version| version.version)
        .or_else(|| objects.frozen.get(key).copied())
}

/// What must be read before a flag is lowered, or taken out, that a contract names: a cache that lags
/// may not show yet that an earlier leader has let that contract begin.
pub(in crate::plan) fn unsure(draft: &Draft<'_>, decision: Option<&Decision>) -> Option<Question> {
    let database = draft.seen.objects.database.as_ref()?;
    if draft.seen.answers.hold_live.as_ref() == Some(&database.base.uid) {
        return None;
    }
    let relies = |key: &String| {
        let mut versions = database.record.versions.iter();
        let own = versions.any(|version| {
            let contract = version.asks(PhaseKind::Contract);
            version.rollout == draft.name() && contract.is_some_and(|c| c.flags.contains(key))
        });
        own && by(draft, key).is_none()
    };
    let goes = |was: &FlagStatus| {
        let lowered = |decision: &Decision| {
            let mut flags = decision.status.flags.iter();
            let now = flags.find(|flag| flag.key == was.key);
            now.is_none_or(|now| now.percent < was.percent) || begins_to_go_back(draft, decision)
        };
        asked(draft, &was.key).is_none() || decision.is_some_and(lowered)
    };
    let mut on = draft.status.flags.iter().filter(|flag| flag.percent > 0);
    let goes = on.any(|flag| relies(&flag.key) && goes(flag));
    goes.then(|| Question::Hold(database.base.name.clone()))
}

/// Why it stays on.
pub(super) fn words(key: &str, version: i64) -> String {
    format!(
        "flag {key} is frozen at 100%: the contract of version {version} removes what users with \
         the flag off need"
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
        Some(_) => change(flag, FlagState::On, 100, None),
        None => change(flag, FlagState::Waiting, 0, None),
    }
}

/// What the contract of a version still waits for, of the flags that it names: each is to be on for
/// everybody, in the ConfigMap and by now in every pod.
pub(in crate::plan) fn missing(draft: &Draft<'_>, version: &VersionRecord) -> Vec<Lack> {
    let contract = version.asks(PhaseKind::Contract);
    let keys = contract.map_or(&[][..], |contract| &contract.flags);
    let mut missing: Vec<_> = keys
        .iter()
        .filter_map(|key| lacks(draft, version, key))
        .collect();
    let others = version
        .frozen_flags
        .iter()
        .filter(|key| !keys.contains(key));
    if keys.len() + others.count() > MOST_FROZEN_FLAGS {
        missing.push(Lack::of(format!(
            "fewer frozen flags than its attempts have named: at most {MOST_FROZEN_FLAGS} are kept. \
             Name those again that are frozen already"
        )));
    }
    missing
}

fn lacks(draft: &Draft<'_>, version: &VersionRecord, key: &str) -> Option<Lack> {
    let some = |words: String| Some(Lack::of(words));
    let known = draft.status.flags.iter().find(|flag| flag.key == *key);
    let Some(known) = known.filter(|_| asked(draft, key).is_some()) else {
        // What is asked of a version that the spec has left is not in the spec's hands.
        let way = if draft.spec.schema_version() == Some(version.version) {
            "or take it out of schema.contract.flags".to_owned()
        } else {
            let database = draft.seen.objects.database.as_ref();
            let name = database.map_or("", |database| database.base.name.as_str());
            let drop = words::drop_of(draft, name, version.version);
            format!("or give the contract up with {drop}")
        };
        return some(format!(
            "flag {key}, which is not in spec.flags: put it back, {way}"
        ));
    };
    if known.state == FlagState::ChangedByHand {
        return some(format!(
            "flag {key}, which was changed by hand in ConfigMap {}: to have it ramped again, set the \
             annotation stepgate.io/retry: \"{key} <id>\"",
            known.config_map
        ));
    }
    if known.state != FlagState::On || known.percent < 100 {
        return some(format!(
            "flag {key}, which is on for {}% of users ({})",
            known.percent,
            known.state.word()
        ));
    }
    let map = &known.config_map;
    if own(draft, map).is_err() || found(draft, map, key).is_none() {
        return some(format!("flag {key}: ConfigMap {map} cannot be read"));
    }
    if !is_written(draft, known) {
        return some(format!("flag {key}, which is off in ConfigMap {map}"));
    }
    match &known.reaches_pods_by {
        None => some(format!(
            "flag {key}: when its ConfigMap {map} reaches every pod is put on record"
        )),
        Some(at) if at.0 > draft.now => {
            let lack = Lack::of(format!("flag {key}, which will have reached every pod"));
            Some(lack.saying(format!(" at {:.0}", at.0)))
        }
        Some(_) => None,
    }
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
