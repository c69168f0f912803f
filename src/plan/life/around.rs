//! Stable around a contract: measured before its first statement, once everything else is there, and
//! once more after it.
//!
//! It only looks: what it finds before the contract may ask for an approval, and what it finds after
//! it is told. The record is the version's, in the DatabaseSchema.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{duty::recorded, gate};
use crate::{
    api::{
        PhaseKind,
        database::{Found, Measured, VersionRecord},
        release::Release,
        rollout_status::VersionJobs,
        status::Outcome,
    },
    plan::{
        decision::Decision,
        draft::{Draft, later, whole_second},
        facts::DatabaseFacts,
        flags,
        gate::checks,
        hearing::{self, Heard},
        intent::{Around, Measurement, Write},
        lack::Lack,
        reason::Reason,
        words::command,
    },
};

/// Letters kept of what the checks said.
const LONGEST: usize = 1000;

/// Seconds for which a contract may rest on what was measured before it.
const FRESH: i64 = 600;

/// Which of the two measurements of a contract.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl Side {
    fn of(self, version: &VersionRecord) -> Option<&Measured> {
        match self {
            Self::Before => version.stable_before.as_ref(),
            Self::After => version.stable_after.as_ref(),
        }
    }

    const fn place(self, version: &mut VersionRecord) -> &mut Option<Measured> {
        match self {
            Self::Before => &mut version.stable_before,
            Self::After => &mut version.stable_after,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What comes of the measurement before a contract.
pub(super) enum Before {
    /// Nothing stands against the contract.
    Open,
    /// It waits.
    Waits,
    /// This goes on record first.
    Records(Write),
}

/// Versions of this Rollout.
fn own<'s>(draft: &Draft<'s>) -> impl Iterator<Item = &'s VersionRecord> + use<'s> {
    let database = draft.seen.objects.database.as_ref();
    let versions = database.into_iter().flat_map(|d| &d.record.versions);
    let name = draft.seen.objects.rollout.base.name.as_str();
    versions.filter(move |v| v.rollout == name)
}

/// The measurement that is under way, and for which version.
fn under_way<'s>(draft: &Draft<'s>) -> Option<(&'s VersionRecord, &'s Measured, Side)> {
    own(draft).find_map(|version| {
        let before = version.lacks_contract().then_some(Side::Before);
        let sides = [before, Some(Side::After)];
        sides.into_iter().flatten().find_map(|side| {
            let measured = side.of(version).filter(|m| m.verdict.is_none())?;
            Some((version, measured, side))
        })
    })
}

/// Whether stable is measured for a contract: nothing else that a check could fail for begins then.
pub(in crate::plan) fn is_under_way(draft: &Draft<'_>) -> bool {
    under_way(draft).is_some()
}

/// The checks look at it as at a release of the stable revision that is held at a step.
pub(in crate::plan) fn as_release(draft: &Draft<'_>) -> Option<Release> {
    let (version, measured, side) = under_way(draft)?;
    if interrupted(draft, (version.version, side), measured).is_some() {
        return None;
    }
    release_of(version, measured, side)
}

/// This measurement, as the checks look at it.
fn release_of(version: &VersionRecord, measured: &Measured, side: Side) -> Option<Release> {
    let from = match side {
        Side::Before => &measured.since,
        Side::After => &version.stable_before.as_ref()?.since,
    };
    let (revision, since) = (&measured.revision, &measured.since);
    Some(hearing::held(revision, "contract", since, from))
}

/// Where the time ends that stable is compared with after a contract: where that before it did.
pub(in crate::plan) fn before_until(draft: &Draft<'_>) -> Option<Timestamp> {
    let (version, _, side) = under_way(draft)?;
    let before = version.stable_before.as_ref();
    before
        .filter(|_| side == Side::After)
        .and_then(|m| Some(m.until.as_ref()?.0))
}

/// How long it is held, and how long a verdict may take after that: as in the last step of a release.
fn hold(draft: &Draft<'_>) -> (i64, i64) {
    let last = draft.course.targets.last();
    last.map_or((0, 0), |last| (last.hold_seconds, last.deadline_seconds))
}

/// What keeps stable from being measured now, though it could be. The checks look at one measurement
/// at a time, the first.
fn busy(draft: &Draft<'_>, own: (i64, Side)) -> Option<String> {
    let other = under_way(draft).filter(|(version, _, side)| (version.version, *side) != own);
    if let Some((version, _, side)) = other {
        return Some(format!(
            "stable is measured {} the contract of version {}",
            side.word(),
            version.version
        ));
    }
    if let Some(release) = &draft.status.release {
        return Some(format!(
            "the release of revision {} is in motion",
            release.revision
        ));
    }
    let ramp = flags::watched(draft)?;
    let step = ramp.step.as_deref().unwrap_or_default();
    Some(format!("a flag ramps (step {step})"))
}

/// Why a measurement that is under way ends early.
fn interrupted(draft: &Draft<'_>, own: (i64, Side), measured: &Measured) -> Option<String> {
    let other = || {
        let stable = draft
            .stable()
            .filter(|stable| *stable != measured.revision)?;
        Some(format!("revision {stable} is stable by now"))
    };
    hearing::unmeasured(draft)
        .or_else(|| busy(draft, own))
        .or_else(other)
}

/// A contract of this version may have removed something already: what comes then is repair.
fn has_run(database: &DatabaseFacts, version: &VersionRecord) -> bool {
    let ours = |phase: PhaseKind, of: Option<i64>| {
        phase == PhaseKind::Contract && of == Some(version.version)
    };
    let record = &database.record;
    let mut phases = record.phases.iter();
    let gone = record.holder.as_ref();
    gone.is_some_and(|h| ours(h.phase, h.version))
        || phases.any(|p| ours(p.phase, p.version) && !p.nothing_applied)
}

/// A person has asked for another one since this began.
fn is_asked_anew(draft: &Draft<'_>, version: &VersionRecord, measured: &Measured) -> bool {
    let mut said = draft.status.version_jobs.iter();
    let said = said.find(|said| said.version == version.version);
    let asked = said.and_then(|said| said.measured_from.as_ref());
    asked.is_some_and(|asked| measured.verdict.is_some() && measured.since.0 < asked.0)
}

/// A person has approved the contract, knowing what was found.
fn is_accepted(version: &VersionRecord, measured: &Measured) -> bool {
    let given = version.approved.as_ref();
    let given = given.filter(|_| version.is_approved(PhaseKind::Contract));
    match measured.verdict {
        Some(Found::Passed) => true,
        // That there may be no verdict is known beforehand.
        Some(Found::NoVerdict) => given.is_some(),
        Some(Found::Failed) => given
            .zip(measured.until.as_ref())
            .is_some_and(|(given, until)| given.at.0 > until.0),
        None => false,
    }
}

/// What was good so long ago, or before another phase changed the database, says nothing of now. What
/// was not good waits for a person, however long.
fn is_old(draft: &Draft<'_>, measured: &Measured) -> bool {
    let passed = measured.until.as_ref();
    let Some(until) = passed.filter(|_| measured.verdict == Some(Found::Passed)) else {
        return false;
    };
    let database = draft.seen.objects.database.iter();
    let mut phases = database.flat_map(|d| &d.record.phases);
    let changed = phases.any(|p| p.phase != PhaseKind::Backfill && p.ended.0 > until.0);
    changed || later(until.0, FRESH) < draft.now
}

/// What is on record of stable before the contract, as far as it still counts.
fn counts<'v>(draft: &Draft<'_>, version: &'v VersionRecord) -> Option<&'v Measured> {
    let measured = version.stable_before.as_ref()?;
    if is_old(draft, measured) {
        return None;
    }
    let same = draft.stable() == Some(measured.revision.as_str());
    (same && !is_asked_anew(draft, version, measured)).then_some(measured)
}

/// The next of the measurement before the contract of a version, of which everything else is there,
/// or not.
pub(super) fn before(
    draft: &mut Draft<'_>,
    database: &DatabaseFacts,
    version: &VersionRecord,
    everything_else: bool,
) -> Before {
    let side = Side::Before;
    let own = (version.version, side);
    let waits = match everything_else {
        true => Before::Open,
        false => Before::Waits,
    };
    if has_run(database, version) {
        return waits;
    }
    let open = version.stable_before.as_ref();
    let open = open.is_some_and(|measured| measured.verdict.is_none());
    if !everything_else || hearing::unmeasured(draft).is_some() {
        // It is measured from the beginning when the gate is open again.
        return match version.stable_before.is_some() && (open || !everything_else) {
            true => Before::Records(with(database, version, side, None)),
            false => waits,
        };
    }
    match counts(draft, version) {
        Some(measured) if measured.verdict.is_some() => match is_accepted(version, measured) {
            true => Before::Open,
            false => Before::Waits,
        },
        Some(measured) if busy(draft, own).is_none() => {
            goes_on(draft, database, version, measured, side).map_or(Before::Waits, Before::Records)
        }
        Some(_) => Before::Records(with(database, version, side, None)),
        None if busy(draft, own).is_some() => Before::Waits,
        None => begins(draft, database, version, side).map_or(Before::Waits, Before::Records),
    }
}

/// What is said of that to people, where it is all that the contract waits for.
pub(super) fn missing(draft: &Draft<'_>, version: &VersionRecord) -> Option<Lack> {
    let database = draft.seen.objects.database.as_ref()?;
    if has_run(database, version) || hearing::unmeasured(draft).is_some() {
        return None;
    }
    let number = version.version;
    let Some(measured) = counts(draft, version) else {
        let after =
            busy(draft, (number, Side::Before)).map(|what| format!(", which waits: {what}"));
        return Some(Lack::of(format!(
            "the measurement of stable before the contract{}",
            after.unwrap_or_default()
        )));
    };
    if measured.verdict.is_none() {
        return Some(under_way_words(draft, measured, Side::Before));
    }
    if is_accepted(version, measured) {
        return None;
    }
    let approve = gate::approve_command(draft, version, PhaseKind::Contract, &database.base.name);
    let found = said(measured, number, Side::Before);
    let unpinned = version.asks(PhaseKind::Contract).and_then(gate::unpinned);
    let lack = Lack::of(format!(
        "an approval of the contract of version {number}, as it is"
    ));
    let lack = lack.noting(unpinned);
    let more = format!(
        ": {found}. To measure again: {}. To approve",
        retry_command(draft)
    );
    Some(lack.saying(more).by(approve))
}

/// What is measured, until when.
fn under_way_words(draft: &Draft<'_>, measured: &Measured, side: Side) -> Lack {
    let (hold, deadline) = hold(draft);
    let (revision, side) = (&measured.revision, side.word());
    let until = later(measured.since.0, hold);
    if until > draft.now {
        let lack = Lack::of(format!("stable {revision}, which is measured {side} it"));
        return lack.saying(format!(" until {until:.0}"));
    }
    let until = later(until, deadline);
    let lack = format!("a verdict about stable {revision}, which was measured {side} it");
    Lack::of(lack).saying(format!(": until {until:.0} at the latest"))
}

/// What was found, for people.
fn said(measured: &Measured, version: i64, side: Side) -> String {
    let (revision, words) = (&measured.revision, &measured.message);
    let found = match (measured.verdict, side) {
        (Some(Found::Passed), _) => format!("stable {revision} does well"),
        (Some(Found::Failed), Side::Before) => format!("stable {revision} does badly"),
        (Some(Found::Failed), Side::After) => format!("stable {revision} does worse"),
        (Some(Found::NoVerdict) | None, _) => format!("no verdict about stable {revision}"),
    };
    let when = match side {
        Side::Before => "before",
        Side::After => "since",
    };
    format!("{found} {when} the contract of version {version}: {words}")
}

/// A retry while the spec asks for a revision that has failed would release that once more.
pub(super) fn retry_command(draft: &Draft<'_>) -> String {
    let failed = draft.outcome(draft.wanted) == Some(Outcome::Failed);
    match draft.stable().filter(|_| failed) {
        Some(stable) => format!(
            "set the spec back to revision {stable}, then {}",
            command(draft, "retry", stable)
        ),
        None => command(draft, "retry", draft.wanted),
    }
}

/// What people read of stable after the contract of a version, and whether the contract hurts.
pub(in crate::plan) fn after_words(
    draft: &Draft<'_>,
    version: &VersionRecord,
) -> Option<(String, bool)> {
    let measured = version.stable_after.as_ref()?;
    let words = match measured.verdict {
        None => format!(
            "waits for {}",
            under_way_words(draft, measured, Side::After)
        ),
        Some(Found::Failed) => format!(
            "{}. A contract cannot be reverted: fix the cause in the database, or release a \
             revision that does not need what was removed. To measure again: {}",
            said(measured, version.version, Side::After),
            retry_command(draft)
        ),
        Some(_) => said(measured, version.version, Side::After),
    };
    Some((words, measured.verdict == Some(Found::Failed)))
}

/// The next write of the measurement after a contract.
pub(super) fn after(draft: &mut Draft<'_>, database: &DatabaseFacts) -> Option<Write> {
    let side = Side::After;
    own(draft).find_map(|version| {
        let own = (version.version, side);
        // What was not measured before has nothing to be compared with.
        let before = version.stable_before.as_ref()?;
        version.contracted.as_ref().and(before.until.as_ref())?;
        match &version.stable_after {
            Some(measured) if measured.verdict.is_none() => match interrupted(draft, own, measured)
            {
                Some(why) => {
                    let why = format!("that was cut off: {why}");
                    let measured = ends(draft, version, measured, side, Found::NoVerdict, &why);
                    Some(with(database, version, side, Some(measured)))
                }
                None => goes_on(draft, database, version, measured, side),
            },
            Some(measured) if is_asked_anew(draft, version, measured) => {
                let idle = hearing::unmeasured(draft).is_none() && busy(draft, own).is_none();
                idle.then(|| begins(draft, database, version, side))?
            }
            Some(_) => None,
            // A check that fails could be the flag's; and one is looked at at a time.
            None if flags::watched(draft).is_some() => None,
            None if under_way(draft).is_some() => None,
            None => begins(draft, database, version, side),
        }
    })
}

fn begins(
    draft: &mut Draft<'_>,
    database: &DatabaseFacts,
    version: &VersionRecord,
    side: Side,
) -> Option<Write> {
    let stable = draft.stable()?.to_owned();
    draft.notes.push(format!(
        "stable {stable} is measured {} the contract of version {}",
        side.word(),
        version.version
    ));
    let measured = Measured::begins(&stable, Time(whole_second(draft.now)));
    Some(with(database, version, side, Some(measured)))
}

/// What the checks say of a measurement that is under way.
fn goes_on(
    draft: &mut Draft<'_>,
    database: &DatabaseFacts,
    version: &VersionRecord,
    measured: &Measured,
    side: Side,
) -> Option<Write> {
    let release = release_of(version, measured, side)?;
    let (hold, deadline) = hold(draft);
    let until = later(measured.since.0, hold);
    let (found, words) = if let Some(why) = checks::hurting(draft, &release) {
        (Found::Failed, why.message)
    } else if until > draft.now {
        draft.wake(until);
        return None;
    } else {
        match hearing::heard(draft, &release, until, deadline) {
            Heard::Passed(said) => (Found::Passed, said),
            Heard::Late(lack) => (Found::NoVerdict, lack),
            Heard::Waits(_, at) => {
                draft.wake(at);
                return None;
            }
        }
    };
    let measured = ends(draft, version, measured, side, found, &words);
    Some(with(database, version, side, Some(measured)))
}

/// It ends so, and that is told.
fn ends(
    draft: &mut Draft<'_>,
    version: &VersionRecord,
    measured: &Measured,
    side: Side,
    found: Found,
    words: &str,
) -> Measured {
    let measured = Measured {
        until: Some(Time(whole_second(draft.now))),
        verdict: Some(found),
        message: words.chars().take(LONGEST).collect(),
        ..measured.clone()
    };
    let words = said(&measured, version.version, side);
    match (found, side) {
        (Found::Passed, _) => draft.inform(Reason::StableMeasured, words),
        (Found::Failed, Side::After) => draft.tell(Reason::ContractHurts, words),
        _ => draft.tell(Reason::StableMeasured, words),
    }
    let around = match side {
        Side::Before => Around::BeforeContract,
        Side::After => Around::AfterContract,
    };
    if let Some(event) = draft.events.last_mut() {
        event.measured = Some(Measurement {
            around,
            verdict: found,
        });
    }
    measured
}

/// The version with this measurement.
fn with(
    database: &DatabaseFacts,
    version: &VersionRecord,
    side: Side,
    measured: Option<Measured>,
) -> Write {
    recorded(database, |record| {
        if let Some(version) = record.version_mut(version.version) {
            *side.place(version) = measured;
        }
    })
}

/// What people said of a version, made where they have said nothing yet. Of versions with which all
/// is done it goes.
pub(super) fn said_of<'d>(
    draft: &Draft<'_>,
    decision: &'d mut Decision,
    version: i64,
) -> &'d mut VersionJobs {
    let awaited = |said: &VersionJobs| {
        let mut versions = own(draft).filter(|v| v.version == said.version);
        versions.any(|v| {
            let after = v.stable_after.as_ref();
            v.is_open() || after.is_some_and(|m| is_asked_anew(draft, v, m))
        })
    };
    let all = &mut decision.status.version_jobs;
    all.retain(|said| said.version == version || awaited(said));
    let known = all.iter().position(|said| said.version == version);
    let at = known.unwrap_or_else(|| {
        all.push(VersionJobs::of(version));
        all.len() - 1
    });
    &mut all[at]
}

/// A retry where what was found of stable is not good: it is measured anew.
pub(super) fn retry(draft: &Draft<'_>) -> Option<Decision> {
    let database = draft.seen.objects.database.as_ref()?;
    let bad = |measured: &Measured| measured.verdict.is_some_and(|v| v != Found::Passed);
    let asks = |version: &VersionRecord, measured: Option<&Measured>| {
        measured.is_some_and(|m| bad(m) && !is_asked_anew(draft, version, m))
    };
    // What a contract waits for comes first; of what was found after one, the latest.
    let waits = |version: &&VersionRecord| {
        let waits = version.lacks_contract() && !has_run(database, version);
        let before = version.stable_before.as_ref();
        let before = before.filter(|m| waits && !is_accepted(version, m));
        asks(version, before)
    };
    let after = |version: &&VersionRecord| asks(version, version.stable_after.as_ref());
    let version = own(draft)
        .find(waits)
        .or_else(|| own(draft).filter(after).max_by_key(|v| v.version))?;
    let mut decision = draft.decision();
    let now = Time(whole_second(draft.now));
    said_of(draft, &mut decision, version.version).measured_from = Some(now);
    Some(decision)
}
