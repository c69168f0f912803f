//! The ramp of a flag: on for few users, held, checked, on for more; and back when a check fails.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    file::Found,
    frozen,
    known::{active, asked, change, found, is_written, watched, with},
    out,
};
use crate::{
    api::{
        Flag, OnFailure, Promotion,
        flags::{FlagState, FlagStatus, RampStep},
        release::{Release, Stage, Why},
    },
    plan::{
        decision::{Decided, Decision, Wait},
        draft::{Draft, later, whole_second},
        exits,
        gate::checks,
        hearing,
        life::around,
        reason::Reason,
        services,
    },
};

/// Seconds between two looks at what a step still lacks.
const LOOKS_EVERY: i64 = 30;

/// The checks look at a ramp as at a release of the stable revision that is held at its step.
pub(in crate::plan) fn as_release(draft: &Draft<'_>) -> Option<Release> {
    let flag = watched(draft)?;
    let since = flag.since.clone()?;
    let step = flag.step.as_deref().unwrap_or_default();
    let mut release = hearing::held(flag.revision.as_deref()?, step, &since, &since);
    if let Stage::Step(at) = &mut release.stage {
        at.step.reached.clone_from(&flag.reaches_pods_by);
        at.paused.clone_from(&flag.why);
    }
    Some(release)
}

/// The revision that is measured for a flag, by what is on record.
pub(in crate::plan) fn measured(flags: &[FlagStatus]) -> Option<&str> {
    let mut flags = flags.iter().filter(|flag| flag.since.is_some());
    flags.find_map(|flag| flag.revision.as_deref())
}

/// One decision of the ramp.
pub(super) fn decide(draft: &Draft<'_>) -> Decided {
    let Some((flag, known)) = active(draft) else {
        return Ok(None);
    };
    if let Some(decision) = fails(draft, known) {
        return decision.made();
    }
    // What is decided is in the ConfigMap first.
    if !is_written(draft, known) {
        return Ok(None);
    }
    match known.state {
        FlagState::Ramping => {}
        FlagState::Waiting if may_rise(draft) => return raise(draft, flag, known, 0, "").made(),
        _ => return Ok(None),
    }
    if draft.status.release.is_none() && watched(draft).is_none() {
        // Another revision serves by now, or the status was lost: what was held before counts no more.
        return at(draft, known).made();
    }
    let Some(reaches) = &known.reaches_pods_by else {
        let mut next = known.clone();
        next.reaches_pods_by = Some(Time(out::reaches_pods(draft)));
        let note = format!("flag {} is written, at {}%", known.key, known.percent);
        return with(draft, next).note(note).made();
    };
    let Some((index, step)) = position(flag, known) else {
        return Ok(None);
    };
    if !may_rise(draft) {
        return Ok(None);
    }
    let until = later(reaches.0, step.hold_seconds);
    if until > draft.now {
        return Err(Wait::until(until).into());
    }
    if step.promotion == Promotion::Manual {
        return Ok(None);
    }
    match lacks(draft) {
        Err(_) => Err(Wait::until(draft.in_seconds(LOOKS_EVERY)).into()),
        Ok(said) => raise(draft, flag, known, index + 1, &said).made(),
    }
}

/// What the checks said of the hold.
///
/// # Errors
/// What they lack.
pub(super) fn lacks(draft: &Draft<'_>) -> Result<String, String> {
    let Some(release) = as_release(draft) else {
        return Err("nothing is measured while a release is in motion".to_owned());
    };
    let Some(step) = release.step() else {
        return Ok(String::new());
    };
    checks::held(draft, &release, step)
}

/// Where in its ramp the flag is: at the step of its name, or at the last that it has reached.
pub(super) fn position<'f>(flag: &'f Flag, known: &FlagStatus) -> Option<(usize, &'f RampStep)> {
    let named = |step: &&RampStep| Some(&step.name) == known.step.as_ref();
    let index = flag
        .ramp
        .iter()
        .position(|step| named(&step))
        .or_else(|| flag.ramp.iter().rposition(|s| s.percent <= known.percent))?;
    Some((index, &flag.ramp[index]))
}

/// Flags rise only while the revision that the spec asks for is stable and serves, and nobody holds
/// it.
pub(super) fn may_rise(draft: &Draft<'_>) -> bool {
    draft.status.release.is_none()
        && draft.stable() == Some(draft.wanted)
        && draft.paused_by().is_none()
        && services::assured(draft) >= draft.bounds().floor.max(1)
        && draft.spec.replicas > 0
        && !around::is_under_way(draft)
}

/// The flag goes to the step at this index of its ramp, or is at its end.
fn raise(draft: &Draft<'_>, flag: &Flag, known: &FlagStatus, index: usize, said: &str) -> Decision {
    let mut next = known.clone();
    let tail = match said {
        "" => String::new(),
        said => format!(": {said}"),
    };
    let Some(step) = flag.ramp.get(index) else {
        let at_its_end = known.reaches_pods_by.clone();
        let at_its_end = at_its_end.filter(|_| known.percent == 100);
        change(&mut next, FlagState::On, 100, None);
        next.reaches_pods_by = at_its_end;
        (next.step, next.since) = (None, None);
        let message = format!("flag {} is on for everybody{tail}", flag.key);
        return with(draft, next).event(Reason::FlagCompleted, message);
    };
    change(&mut next, FlagState::Ramping, step.percent, None);
    next.step = Some(step.name.clone());
    next.revision = draft.stable().map(str::to_owned);
    next.since.get_or_insert(Time(whole_second(draft.now)));
    let message = format!(
        "flag {} is on for {}% of users, step {} ({}/{}){tail}",
        flag.key,
        step.percent,
        step.name,
        index + 1,
        flag.ramp.len()
    );
    with(draft, next).event(Reason::FlagRaised, message)
}

/// The flag is measured anew, where it is.
fn at(draft: &Draft<'_>, known: &FlagStatus) -> Decision {
    let mut next = known.clone();
    next.revision = draft.stable().map(str::to_owned);
    next.since = Some(Time(whole_second(draft.now)));
    next.reaches_pods_by = Some(Time(out::reaches_pods(draft)));
    let revision = draft.stable().unwrap_or_default();
    let note = format!("flag {} goes on under revision {revision}", known.key);
    with(draft, next).note(note)
}

/// A check fails, or pods crash, while the flag is on for some users.
fn fails(draft: &Draft<'_>, known: &FlagStatus) -> Option<Decision> {
    let release = as_release(draft)?;
    let crash = exits::crash_loop(draft, &release).map(|why| (OnFailure::Undo, why));
    let (on_failure, why) = crash.or_else(|| checks::failing(draft, &release))?;
    if on_failure == OnFailure::Undo {
        return Some(take_back(draft, known, why));
    }
    let mut next = known.clone();
    next.state = FlagState::Paused;
    let message = format!(
        "flag {} waits for a person at {}%: {}. promote {}/{}, or undo {}",
        known.key,
        known.percent,
        why.message,
        known.key,
        known.step.as_deref().unwrap_or_default(),
        known.key
    );
    next.why = Some(why);
    Some(with(draft, next).warning(Reason::FlagPaused, message))
}

/// The flag goes off for everybody, and stays so.
fn take_back(draft: &Draft<'_>, known: &FlagStatus, why: Why) -> Decision {
    let was = match known.state {
        FlagState::ChangedByHand => "was changed by hand".to_owned(),
        _ => format!("was on for {}% of users", known.percent),
    };
    let message = format!(
        "flag {} {was} and is off again: {}. It stays off until the annotation \
         stepgate.io/retry: \"{} <id>\" is set, or it is changed in the spec",
        known.key, why.message, known.key
    );
    let mut next = known.clone();
    let reason = Reason::of(&why.reason).unwrap_or(Reason::Unknown);
    change(&mut next, FlagState::TakenBack, 0, Some(why));
    let decision = with(draft, next).warning(Reason::FlagTakenBack, message);
    decision.undoes(reason)
}

/// The flag that a command is bound to, if it is bound to one: `<key>` or `<key>/<step>`.
fn bound<'d>(draft: &'d Draft<'_>, target: &str) -> Option<(&'d Flag, &'d FlagStatus)> {
    let key = target.split('/').next().unwrap_or_default();
    let known = draft.status.flags.iter().find(|flag| flag.key == key)?;
    Some((asked(draft, key)?, known))
}

/// What a command comes to that is bound to a flag; nothing where it is bound to something else.
type FlagAnswer = Option<Result<(Decision, String), String>>;

/// What a command is told that is bound to a flag.
pub(in crate::plan) fn command(draft: &Draft<'_>, verb: &str, target: &str) -> FlagAnswer {
    match verb {
        "promote" => promote(draft, target),
        "undo" => undo(draft, target),
        "retry" => retry(draft, target),
        _ => None,
    }
}

/// `promote <key>/<step>`.
fn promote(draft: &Draft<'_>, target: &str) -> FlagAnswer {
    let (flag, known) = bound(draft, target)?;
    let step = target.split_once('/').map_or("", |(_, step)| step);
    let at = position(flag, known);
    let here = at.filter(|(_, at)| at.name == step);
    Some(match (known.state, here) {
        (FlagState::Ramping | FlagState::Paused, Some((index, _))) => {
            if draft.status.release.is_some() {
                Err("a release is in motion: flags rise when it has ended".to_owned())
            } else if draft.stable() != Some(draft.wanted) {
                let wanted = draft.wanted;
                Err(format!(
                    "revision {wanted}, which the spec asks for, is not stable: flags rise when it is"
                ))
            } else if !is_written(draft, known) {
                Err("the present step is not in the ConfigMap yet".to_owned())
            } else {
                let decision = raise(draft, flag, known, index + 1, "promoted by a person");
                Ok((
                    decision,
                    format!("step {step} of flag {} is left", flag.key),
                ))
            }
        }
        (FlagState::Ramping | FlagState::Paused, None) => Err(format!(
            "it is bound to step {step:?}, but flag {} is at {}",
            flag.key,
            at.map_or("none", |(_, at)| at.name.as_str())
        )),
        (state, _) => Err(format!("flag {} is {}", flag.key, state.word())),
    })
}

/// `undo <key>`.
fn undo(draft: &Draft<'_>, target: &str) -> FlagAnswer {
    let (flag, known) = bound(draft, target)?;
    if let Some(version) = frozen::by(draft, &flag.key) {
        return Some(Err(frozen::words(&flag.key, version)));
    }
    Some(match known.state {
        FlagState::Ramping | FlagState::Paused | FlagState::On | FlagState::ChangedByHand => {
            let why = Why::new(Reason::UndoneByPerson, "a person gave the undo command");
            let words = format!("flag {} goes off", flag.key);
            // Who says so means what somebody has made of it too.
            let mut known = known.clone();
            known.overwrites = known.state == FlagState::ChangedByHand;
            Ok((take_back(draft, &known, why), words))
        }
        state => Err(format!("flag {} is {}", flag.key, state.word())),
    })
}

/// `retry <key>`.
fn retry(draft: &Draft<'_>, target: &str) -> FlagAnswer {
    let (flag, known) = bound(draft, target)?;
    Some(match known.state {
        FlagState::TakenBack | FlagState::ChangedByHand => {
            let mut next = known.clone();
            frozen::begin(draft, &mut next);
            let there = found(draft, &flag.config_map.name, &flag.key);
            next.overwrites = matches!(there, Some(Found::ByHand(_)));
            let words = match next.state {
                FlagState::On => format!("flag {} is frozen, and on again", flag.key),
                _ => format!("flag {} is ramped again, from off", flag.key),
            };
            Ok((with(draft, next), words))
        }
        state => Err(format!("flag {} is {}", flag.key, state.word())),
    })
}
