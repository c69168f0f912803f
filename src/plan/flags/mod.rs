//! Feature flags that are turned on for more and more users, apart from the release.
//!
//! The record is in the status; the ConfigMap follows it, and has beside each flag what was written,
//! so that a change by hand is respected. It is read live in each pass in which anything moves, and
//! written on nothing else.
//! Whatever is refused here holds up no release.

pub mod file;
mod frozen;
mod known;
mod out;
mod ramp;
mod rest;
mod told;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use self::file::{ConfigMapFacts, Contents, FILE, Found, Note, entry};
pub(crate) use self::known::REACHES_PODS_WITHIN;
use self::known::{
    Problem, asked, begins_to_go_back, change, digest, found, is_written, maps, own, with,
};
pub(super) use self::{
    frozen::{missing, reach_pods_at, unsure},
    known::watched,
    ramp::{as_release, command, measured},
    told::{condition, summary},
};
use super::{
    decision::{Decided, Decision, Halt},
    draft::Draft,
    facts::{Question, Refused},
    intent::{Kind, Write},
    reason::Reason,
    render,
};
use crate::api::{
    Flag,
    flags::{FlagState, FlagStatus},
    keys,
    release::Why,
    text::bounded,
};

/// Seconds between two looks at a ConfigMap that is somebody else's, or cannot be read.
const LOOKS_AGAIN_AFTER: i64 = 30;

/// The ConfigMaps are read before anything is said of them, unless all is at rest.
///
/// # Errors
/// That they have not been.
pub(super) fn look(draft: &Draft<'_>) -> Result<(), Halt> {
    if rest::unread(draft) && rest::rests(draft) {
        return Ok(());
    }
    let read = &draft.seen.answers.flags;
    let names = maps(draft)
        .into_iter()
        .filter(|name| !read.contains_key(*name));
    let questions: Vec<_> = names.map(|name| Question::Flags(name.to_owned())).collect();
    match questions.is_empty() {
        true => Ok(()),
        false => Err(Halt::Ask(questions)),
    }
}

/// The next decision about flags: which there are, what people have changed, and their ramp.
pub(super) fn decide(draft: &Draft<'_>) -> Decided {
    if rest::unread(draft) {
        return Ok(None);
    }
    let changed = list(draft).or_else(|| hands(draft));
    match changed.or_else(|| out::reach(draft)) {
        Some(decision) => decision.made(),
        None => ramp::decide(draft),
    }
}

/// The record lists the flags of the spec, in its order, and those whose removal is under way.
fn list(draft: &Draft<'_>) -> Option<Decision> {
    let mut flags = Vec::new();
    for flag in &draft.spec.flags {
        let known = draft.status.flags.iter().find(|f| f.key == flag.key);
        match known {
            Some(known) => {
                let mut next = edited(draft, flag, known);
                next.overwrites &= !is_written(draft, &next);
                flags.push(next);
            }
            // What cannot be read may hold it already.
            None => flags.extend(new(draft, flag)),
        }
    }
    for known in &draft.status.flags {
        let holds = |map: &ConfigMapFacts| Contents::of(map).written().any(|k| k == known.key);
        let is_there = match own(draft, &known.config_map) {
            Ok(map) => map.is_some_and(holds),
            // What cannot be read may hold it: it is not forgotten.
            Err(Problem::Forbidden(_)) => true,
            Err(Problem::NotOurs) => false,
        };
        let stays = frozen::by(draft, &known.key).is_some();
        if asked(draft, &known.key).is_none() && is_there && !stays {
            flags.push(known.clone());
        }
    }
    if flags == draft.status.flags {
        return None;
    }
    let mut decision = draft.decision();
    decision.status.flags = flags;
    for (reason, message) in frozen::left(draft) {
        decision.tell(reason, true, message);
    }
    Some(decision.note("the flags of the spec are put on record"))
}

/// A flag that the spec asks for, and that is not on record: it begins off. Where the record was
/// lost, the ConfigMap has it.
fn new(draft: &Draft<'_>, flag: &Flag) -> Option<FlagStatus> {
    let mut new = FlagStatus {
        key: flag.key.clone(),
        config_map: flag.config_map.name.clone(),
        state: FlagState::Waiting,
        percent: 0,
        step: None,
        revision: None,
        since: None,
        reaches_pods_by: None,
        why: None,
        change: 1,
        overwrites: false,
        asked: digest(flag),
    };
    match found(draft, &flag.config_map.name, &flag.key) {
        Some(Found::Missing) if frozen::by(draft, &flag.key).is_some() => {
            frozen::begin(draft, &mut new);
        }
        Some(Found::Missing) => {}
        Some(Found::AsWritten(note)) => {
            (new.state, new.percent, new.change) = (note.state, note.percent, note.change);
            let at = flag
                .ramp
                .iter()
                .rev()
                .find(|step| step.percent <= note.percent);
            new.step = at.map(|step| step.name.clone());
            if note.state == FlagState::On {
                new.reaches_pods_by = Some(Time(out::reaches_pods(draft)));
            }
            if matches!(note.state, FlagState::Paused | FlagState::TakenBack) {
                let words = "it stood so when the status was lost";
                new.why = Some(Why::new(Reason::Unknown, words));
            }
        }
        Some(Found::ByHand(words)) => {
            new.state = FlagState::ChangedByHand;
            new.why = Some(by_hand(&flag.config_map.name, &words));
        }
        // It may hold the flag already. One that is somebody else's is told where it stands.
        None => return None,
    }
    Some(new)
}

/// A flag that was changed in the spec: one that was taken back begins anew, others go on.
fn edited(draft: &Draft<'_>, flag: &Flag, known: &FlagStatus) -> FlagStatus {
    let digest = digest(flag);
    if known.asked == digest {
        return known.clone();
    }
    let mut next = known.clone();
    next.asked = digest;
    match known.state {
        FlagState::TakenBack | FlagState::Paused => frozen::begin(draft, &mut next),
        FlagState::ChangedByHand => {
            frozen::begin(draft, &mut next);
            next.overwrites = true;
        }
        FlagState::Waiting | FlagState::On => {
            let (state, percent) = (known.state, known.percent);
            change(&mut next, state, percent, None);
        }
        FlagState::Ramping => {
            // Never higher than what was held by then.
            let kept = flag.ramp.iter().rev();
            let mut kept = kept.filter(|step| step.percent <= known.percent);
            let step = kept.next().or(flag.ramp.first());
            let percent = step.map_or(0, |step| step.percent.min(known.percent));
            change(&mut next, FlagState::Ramping, percent, None);
            next.step = step.map(|step| step.name.clone());
        }
    }
    next
}

fn by_hand(map: &str, words: &str) -> Why {
    let words = bounded(&format!("somebody changed it in ConfigMap {map} ({words})"));
    Why::new(Reason::FlagChangedByHand, words)
}

/// A flag that somebody has changed in its ConfigMap is left as it is.
fn hands(draft: &Draft<'_>) -> Option<Decision> {
    let known = draft.status.flags.iter();
    let mut changed = known.filter_map(|flag| {
        if flag.state == FlagState::ChangedByHand || flag.overwrites {
            return None;
        }
        asked(draft, &flag.key)?;
        match found(draft, &flag.config_map, &flag.key)? {
            Found::ByHand(words) => Some((flag, words)),
            _ => None,
        }
    });
    let (flag, words) = changed.next()?;
    let why = by_hand(&flag.config_map, &words);
    let message = format!(
        "flag {}: {}. It is left as it is; {}, set the annotation stepgate.io/retry: \"{} <id>\"",
        flag.key,
        why.message,
        frozen::again(draft, &flag.key),
        flag.key
    );
    let mut next = flag.clone();
    next.state = FlagState::ChangedByHand;
    next.why = Some(why);
    (next.since, next.reaches_pods_by) = (None, None);
    Some(with(draft, next).warning(Reason::FlagChangedByHand, message))
}

/// A release goes back: what was turned on under a revision that is later than the one that comes
/// back goes off in the same record.
pub(super) fn goes_back(draft: &Draft<'_>, decision: &mut Decision) {
    if !begins_to_go_back(draft, decision) {
        return;
    }
    let back_to = decision.status.stable.as_ref().map(|s| s.revision.clone());
    let leaves = decision.status.release.as_ref().map(|r| r.revision.clone());
    let number = |revision: &str| draft.seen.objects.revision(revision).map(|r| r.number);
    let (mut off, mut kept) = (Vec::new(), Vec::new());
    for flag in &mut decision.status.flags {
        let is_off = matches!(flag.state, FlagState::Waiting | FlagState::TakenBack);
        let Some(under) = flag.revision.clone().filter(|_| !is_off) else {
            continue;
        };
        let stays = back_to.as_deref().is_some_and(|to| {
            // What nobody remembers any more came before all that is remembered.
            let earlier = number(&under).is_none_or(|a| number(to).is_some_and(|b| a < b));
            to == under || leaves.as_ref() != Some(&under) && earlier
        });
        if stays {
            continue;
        }
        let key = &flag.key;
        if let Some(version) = frozen::by(draft, key) {
            let words = frozen::words(key, version);
            let words = format!("{words}. Revision {under} is rolled back, but the flag stays on");
            kept.push((Reason::FlagFrozen, words));
            continue;
        }
        if flag.state == FlagState::ChangedByHand {
            let words = format!(
                "flag {key}: it was turned on under revision {under}, which is rolled back, and \
                 the flag is \
                 left as somebody made it in ConfigMap {}. To turn it off, set the annotation \
                 stepgate.io/undo: \"{key} <id>\"",
                flag.config_map
            );
            kept.push((Reason::FlagChangedByHand, words));
            continue;
        }
        let words = format!("it was turned on under revision {under}, which is rolled back");
        let why = Why::new(Reason::FlagWithRelease, words);
        off.push(format!("flag {}: off again: {}", flag.key, why.message));
        change(flag, FlagState::Waiting, 0, Some(why));
    }
    for message in off {
        decision.tell(Reason::FlagTakenBack, true, message);
        decision.counts(Reason::FlagWithRelease);
    }
    for (reason, message) in kept {
        decision.tell(reason, true, message);
    }
}

/// The next writes of ConfigMaps.
pub(super) fn carry_out(draft: &mut Draft<'_>) {
    if rest::unread(draft) {
        return;
    }
    let names: Vec<String> = maps(draft).into_iter().map(str::to_owned).collect();
    for name in names {
        if draft.was_refused(&Refused::Flags(name.clone())) {
            continue;
        }
        let present = match own(draft, &name) {
            Ok(present) => present.cloned(),
            Err(_) => {
                // It is not watched.
                draft.wake(draft.in_seconds(LOOKS_AGAIN_AFTER));
                continue;
            }
        };
        let mut contents = present.as_ref().map_or(Contents::new(), Contents::of);
        let before = (contents.file(), contents.notes());
        fill(draft, &name, &mut contents);
        let after = (contents.file(), contents.notes());
        match present {
            None if draft.status.flags.iter().any(|f| f.config_map == name) => {
                let manifest = manifest(draft, &name, &after);
                let note = format!("ConfigMap {name} is made, for its flags");
                draft.create(Kind::ConfigMap, manifest, note);
            }
            Some(map) if !map.deleting && (before != after || !is_owned(draft, &map)) => {
                draft
                    .notes
                    .push(format!("ConfigMap {name}: {}", told::served(draft, &name)));
                let rollout = &draft.seen.objects.rollout;
                draft.writes.push(Write::Flags {
                    base: map.base,
                    change: Box::new(json!({
                        "metadata": metadata(draft, &after.1, render::owned_by_rollout(rollout)),
                        "data": {FILE: after.0},
                    })),
                });
            }
            _ => {}
        }
    }
}

/// Whether it goes with this Rollout, and with nobody else.
fn is_owned(draft: &Draft<'_>, map: &ConfigMapFacts) -> bool {
    map.owner_uid.as_ref() == Some(&draft.seen.objects.rollout.base.uid)
}

/// Puts into a ConfigMap what is on record, and takes out what is asked for no more.
fn fill(draft: &Draft<'_>, name: &str, contents: &mut Contents) {
    let written: Vec<String> = contents.written().map(str::to_owned).collect();
    let gone = |key: &&String| asked(draft, key).is_none() && frozen::by(draft, key).is_none();
    for key in written.iter().filter(gone) {
        contents.take(key);
    }
    for known in draft.status.flags.iter().filter(|f| f.config_map == name) {
        let Some(flag) = asked(draft, &known.key) else {
            continue;
        };
        let by_hand = matches!(contents.flag(&known.key), Found::ByHand(_));
        if known.state == FlagState::ChangedByHand || by_hand && !known.overwrites {
            continue;
        }
        let entry = entry(flag, known.percent);
        let note = Note::of(known.change, known.state, known.percent, &entry);
        contents.put(&known.key, entry, note);
    }
}

fn metadata(draft: &Draft<'_>, notes: &str, owner: Value) -> Value {
    json!({
        "labels": {
            keys::ROLLOUT: draft.name(),
            keys::EPOCH: draft.seen.epoch.to_string(),
        },
        "annotations": {keys::FLAGS: notes},
        "ownerReferences": [owner],
    })
}

fn manifest(draft: &Draft<'_>, name: &str, (file, notes): &(String, String)) -> Value {
    let rollout = &draft.seen.objects.rollout;
    let mut metadata = metadata(draft, notes, render::owned_by_rollout(rollout));
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(rollout.namespace);
    json!({
        "apiVersion": Kind::ConfigMap.api_version(),
        "kind": Kind::ConfigMap.name(),
        "metadata": metadata,
        "data": {FILE: file},
    })
}
