//! What the checks say to a step: failing, passed, or what is missing.

use jiff::Timestamp;

use super::passage::{Gate, Missing, Passage};
use crate::{
    api::{
        Check, OnFailure,
        release::{Release, StepStatus, Why},
    },
    evidence::{self, Readings, Verdict},
    plan::{
        decision::Halt,
        draft::{Draft, seconds_between},
        measurable,
        reason::Reason,
    },
};

/// All checks have passed since the hold began.
pub(super) fn gate(draft: &Draft<'_>, passage: &Passage<'_>) -> Result<Gate, Halt> {
    // Requests of users are evidence of what users get; before the first of them a check can fail,
    // and must be readable.
    let hidden = passage.target.is_hidden();
    Ok(match passed(draft, passage.release, passage.step, hidden) {
        Ok(said) => Gate::Open(said),
        Err(lack) => Gate::Missing(Missing {
            message: lack.message,
            // The first poll of something is still under way: that times nothing out.
            waited: if lack.first_poll {
                0
            } else {
                passage.over(draft)
            },
            wake_at: next_poll(draft, passage.release),
        }),
    })
}

/// What every check said since a hold began that is no release's.
///
/// # Errors
/// What is missing.
pub(in crate::plan) fn held(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
) -> Result<String, String> {
    passed(draft, release, step, false).map_err(|lack| lack.message)
}

/// The same since the expand, of stable.
///
/// # Errors
/// What is missing.
pub(in crate::plan) fn soaked(draft: &Draft<'_>, stable: &Release) -> Result<String, Lack> {
    let Some(step) = stable.step() else {
        return Ok(String::new());
    };
    passed(draft, stable, step, false).map_err(|lack| Lack {
        wake_at: next_poll(draft, stable),
        ..lack
    })
}

/// Why stable does worse than it did before the expand, if it does. What was measured of it before a
/// person looked into that counts no more.
pub(in crate::plan) fn hurting(draft: &Draft<'_>, stable: &Release) -> Option<Why> {
    let since = stable.step()?.reached.as_ref().map(|t| t.0);
    latest(draft, stable).filter(|r| r.hold_since == since)?;
    failing(draft, stable).map(|(_, why)| why)
}

/// What the checks lack.
pub(in crate::plan) struct Lack {
    /// For people.
    pub message: String,
    /// The first poll of something is still under way.
    pub first_poll: bool,
    /// When to look again.
    pub wake_at: Option<Timestamp>,
}

impl Lack {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            first_poll: false,
            wake_at: None,
        }
    }

    fn first_poll(message: impl Into<String>) -> Self {
        Self {
            first_poll: true,
            ..Self::new(message)
        }
    }
}

/// The first check that says the revision hurts. One whose failure pauses says so only once.
pub(in crate::plan) fn failing(draft: &Draft<'_>, release: &Release) -> Option<(OnFailure, Why)> {
    let readings = latest(draft, release)?;
    let checks = &draft.spec.analysis.as_ref()?.checks;
    let failing = |on_failure: OnFailure| {
        checks
            .iter()
            .filter(|check| check.on_failure == on_failure && is_judged(readings, check))
            .find_map(|check| {
                let reading = readings.readings.iter().find(|r| r.name == check.name)?;
                (reading.verdict == Verdict::Fail).then(|| {
                    let words = format!("check {}: {}", check.name, reading.message);
                    Why::new(Reason::CheckFailed, words)
                })
            })
    };
    match failing(OnFailure::Undo) {
        Some(why) => Some((OnFailure::Undo, why)),
        None if release.paused().is_some() => None,
        None => failing(OnFailure::Pause).map(|why| (OnFailure::Pause, why)),
    }
}

/// The first check that will not come to a verdict by waiting, or only by what is no user's request.
pub(in crate::plan) fn unreadable(draft: &Draft<'_>, release: &Release) -> Option<String> {
    let readings = readings_of(draft, release)?;
    let mut readings = readings.readings.iter();
    let reading = readings.find(|r| r.reason.needs_a_person())?;
    Some(format!("check {}: {}", reading.name, reading.message))
}

/// Whether the readings judge a check by the limit and the metric that it has now, whatever became
/// of others.
fn is_judged(readings: &Readings, check: &Check) -> bool {
    let asked = measurable::check(check);
    asked.is_some_and(|asked| {
        let mut judged = readings.checks.iter();
        judged.any(|c| {
            c.name == asked.name
                && c.kind == asked.kind
                && c.convention == asked.convention
                && c.warm_up_seconds == asked.warm_up_seconds
        })
    })
}

/// Readings of this very attempt from the metric source that the spec names, if the sampler has any.
fn latest<'a>(draft: &Draft<'a>, release: &Release) -> Option<&'a Readings> {
    let source = &draft.spec.analysis.as_ref()?.source;
    let since = draft.measured_since_of(release)?;
    let readings = draft.seen.readings.as_ref()?;
    (readings.revision == release.revision && readings.since == since && readings.source == *source)
        .then_some(readings)
}

/// The same, where they judge all that the spec asks for now, and nothing else.
pub(in crate::plan) fn readings_of<'a>(
    draft: &Draft<'a>,
    release: &Release,
) -> Option<&'a Readings> {
    let asked = measurable::checks(draft.spec.analysis.as_ref()?);
    latest(draft, release).filter(|r| r.checks == asked)
}

/// What every check said since the hold began, when all of them passed.
///
/// # Errors
/// What is missing. Silence is never a pass.
fn passed(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
    hidden: bool,
) -> Result<String, Lack> {
    let Some(analysis) = &draft.spec.analysis else {
        return Ok(String::new());
    };
    let Some(readings) = readings_of(draft, release) else {
        return Err(Lack::first_poll(match latest(draft, release) {
            Some(_) => "the checks were edited, and their first poll is under way",
            None => "nothing has been measured yet",
        }));
    };
    if readings.hold_since != step.reached.as_ref().map(|r| r.0) {
        return Err(Lack::new("the first poll of this hold is under way"));
    }
    let asked = readings.polled_at.zip(step.reached.as_ref());
    if hidden && asked.is_none_or(|(at, reached)| at < reached.0) {
        // Silence tells nothing of what was before.
        return Err(Lack::first_poll("the first poll of this hold is under way"));
    }
    let mut words = Vec::new();
    // All of them: a person who sees to one should not be told of the next only then.
    let mut lack: Option<Lack> = None;
    let mut lacks = |more: Lack| match &mut lack {
        Some(lack) => {
            lack.message.push_str("; ");
            lack.message.push_str(&more.message);
        }
        None => lack = Some(more),
    };
    for check in &analysis.checks {
        let Some(reading) = readings.readings.iter().find(|r| r.name == check.name) else {
            let words = format!("check {} has not been polled yet", check.name);
            lacks(Lack::new(words));
            continue;
        };
        let said = format!("check {}: {}", check.name, reading.message);
        if reading.reason == evidence::Reason::NotYetPolled {
            lacks(Lack::first_poll(said));
            continue;
        }
        let unused = matches!(
            reading.reason,
            evidence::Reason::NoData
                | evidence::Reason::TooFewRequests
                | evidence::Reason::OnlyProbes
        );
        if reading.verdict != Verdict::Pass && !(hidden && unused) {
            lacks(Lack::new(said));
            continue;
        }
        words.push(said);
    }
    if let Some(lack) = lack {
        return Err(lack);
    }
    if readings.complete_polls == 0 {
        return Err(Lack::new(
            "no poll has had a complete answer since the operator started",
        ));
    }
    if !polled_since_trusted(draft, readings) {
        return Err(Lack::new(
            "no check has been polled since the operator's clock became reliable",
        ));
    }
    // A reading that nobody has renewed says nothing about now.
    let stale = analysis
        .interval_seconds
        .saturating_mul(3)
        .saturating_add(30);
    if readings
        .polled_at
        .is_none_or(|at| seconds_between(at, draft.now) > stale)
    {
        return Err(Lack::new("the metric source has not been polled lately"));
    }
    Ok(words.join("; "))
}

/// Whether the readings are of a poll that was sent since the clock is trusted: what was read before
/// it jumped, or before this process led, opens no gate.
fn polled_since_trusted(draft: &Draft<'_>, readings: &Readings) -> bool {
    let trusted = draft.seen.trusted_since;
    readings.polled_at.is_some_and(|at| at >= trusted)
}

/// When to look again at readings that are too old only for a clock that has jumped: a poll that
/// says the same once more wakes nobody.
fn next_poll(draft: &Draft<'_>, release: &Release) -> Option<Timestamp> {
    let interval = draft.spec.analysis.as_ref()?.interval_seconds;
    let readings = readings_of(draft, release)?;
    (!polled_since_trusted(draft, readings)).then(|| draft.in_seconds(interval.max(1)))
}
