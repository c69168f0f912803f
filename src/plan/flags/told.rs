//! What people read of flags.

use super::{
    frozen,
    known::{Problem, active, asked, is_written, maps, own},
    ramp::{lacks, may_rise, position},
    rest,
};
use crate::{
    api::{
        Promotion,
        flags::{FlagState, FlagStatus},
    },
    plan::{
        draft::{Draft, later},
        reason::Reason,
    },
};

/// What the flags in a ConfigMap are set to.
pub(super) fn served(draft: &Draft<'_>, map: &str) -> String {
    let flags = draft.status.flags.iter().filter(|f| f.config_map == map);
    let words: Vec<_> = flags
        .filter(|flag| flag.state != FlagState::ChangedByHand)
        .map(|flag| match asked(draft, &flag.key) {
            Some(_) => format!("{} {}%", flag.key, flag.percent),
            None => format!("{} goes", flag.key),
        })
        .collect();
    words.join(", ")
}

/// The condition `FlagsReady`; nothing where there are no flags.
pub(in crate::plan) fn condition(draft: &Draft<'_>) -> Option<(bool, Reason, String)> {
    if draft.spec.flags.is_empty() && draft.status.flags.is_empty() {
        return None;
    }
    let mut maps = maps(draft).into_iter().filter(|_| !rest::unread(draft));
    if let Some((reason, words)) = maps.find_map(|map| problem(draft, map)) {
        return Some((false, reason, words));
    }
    let first = |state: FlagState| draft.status.flags.iter().find(|f| f.state == state);
    let why = |flag: &FlagStatus| {
        flag.why
            .as_ref()
            .map_or("", |w| w.message.as_str())
            .to_owned()
    };
    if let Some(flag) = first(FlagState::ChangedByHand) {
        let key = &flag.key;
        let off = match frozen::by(draft, key) {
            Some(_) => String::new(),
            None => format!("; to turn it off: stepgate.io/undo: \"{key} <id>\""),
        };
        let words = format!(
            "flag {key}: {}; Stepgate does not overwrite it; {}, set stepgate.io/retry: \"{key} \
             <id>\"{off}",
            why(flag),
            frozen::again(draft, key),
        );
        return Some((false, Reason::FlagChangedByHand, words));
    }
    if let Some(flag) = first(FlagState::TakenBack) {
        let reaches = match &flag.reaches_pods_by {
            Some(at) => format!("every pod has it off by {:.0}", at.0),
            None => "that is being written to its ConfigMap".to_owned(),
        };
        let words = format!(
            "flag {} is off: {}; {reaches}. Fix what failed, then stepgate.io/retry: \"{} <id>\"",
            flag.key,
            why(flag),
            flag.key
        );
        return Some((false, Reason::FlagTakenBack, words));
    }
    let Some((flag, known)) = active(draft) else {
        let flags = draft.status.flags.iter();
        let frozen = flags.filter(|flag| frozen::by(draft, &flag.key).is_some());
        let frozen: Vec<_> = frozen.map(|flag| flag.key.as_str()).collect();
        let words = match frozen.as_slice() {
            [] => "every flag is on for everybody".to_owned(),
            keys => format!(
                "every flag is on for everybody; frozen by a contract: {}",
                keys.join(", ")
            ),
        };
        return Some((true, Reason::FlagsOn, words));
    };
    let key = &flag.key;
    Some(match known.state {
        FlagState::Paused => {
            let step = known.step.as_deref().unwrap_or_default();
            let words = format!(
                "flag {key} waits for a person at {}%: {}. promote {key}/{step}, or undo {key}",
                known.percent,
                why(known)
            );
            (false, Reason::FlagPaused, words)
        }
        FlagState::Ramping => (false, Reason::FlagRamping, ramping(draft, known)),
        _ => {
            let after = match &known.why {
                Some(why) => format!("; it was turned off: {}", why.message),
                None => String::new(),
            };
            let words = format!("flag {key} is off until the revision is stable{after}");
            (false, Reason::FlagWaiting, words)
        }
    })
}

fn problem(draft: &Draft<'_>, map: &str) -> Option<(Reason, String)> {
    let namespace = &draft.seen.objects.rollout.namespace;
    Some(match own(draft, map) {
        Ok(_) => return None,
        Err(Problem::NotOurs) => (
            Reason::FlagsNotOurs,
            format!(
                "ConfigMap {map} is not one that Stepgate made for this Rollout, and is left as it \
                 is: delete it, or give spec.flags[].configMap.name another name"
            ),
        ),
        Err(Problem::Forbidden(words)) => (
            Reason::FlagsForbidden,
            format!(
                "ConfigMap {map} with the flags cannot be read or written: {words}. Where the right \
                 is missing, set the chart's rbac.flags, or apply deploy/roles/flags.yaml in \
                 namespace {namespace}"
            ),
        ),
    })
}

/// Where a ramp stands.
fn ramping(draft: &Draft<'_>, known: &FlagStatus) -> String {
    let Some((flag, (index, step))) =
        asked(draft, &known.key).and_then(|flag| Some((flag, position(flag, known)?)))
    else {
        return String::new();
    };
    let place = format!(
        "flag {} is on for {}% of users, step {} ({}/{})",
        flag.key,
        known.percent,
        step.name,
        index + 1,
        flag.ramp.len()
    );
    let Some(reaches) = known
        .reaches_pods_by
        .as_ref()
        .filter(|_| is_written(draft, known))
    else {
        return format!("{place}: it is being written");
    };
    let until = later(reaches.0, step.hold_seconds);
    if !may_rise(draft) {
        let why = match draft.paused_by() {
            Some(by) => format!("paused by {by}"),
            None => {
                "it stands still until the revision that the spec asks for is stable".to_owned()
            }
        };
        return format!("{place}: {why}");
    }
    if until > draft.now {
        return format!("{place}: held until {until:.0}");
    }
    if step.promotion == Promotion::Manual {
        return format!("{place}: promote {}/{} to go on", flag.key, step.name);
    }
    match lacks(draft) {
        Err(lack) => format!("{place}: {lack}"),
        Ok(_) => place,
    }
}

/// For the columns: the step of the ramp, and the share of users.
pub(in crate::plan) fn summary(draft: &Draft<'_>) -> Option<(String, String)> {
    let (flag, known) = active(draft)?;
    if known.state == FlagState::Waiting {
        return None;
    }
    let (index, step) = position(flag, known)?;
    let words = format!(
        "{} {} {}/{}",
        flag.key,
        step.name,
        index + 1,
        flag.ramp.len()
    );
    Some((words, format!("{}%", known.percent)))
}
