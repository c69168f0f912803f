//! The soak: what the expand does to stable, measured before the first pod of the new revision.
//!
//! Once pods of both run, whatever users get is put down to the new code. Only between the expand and
//! the first of these pods can the two be told apart, and here the release waits for that.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    before_pods,
    decision::{Decided, Decision, Halt, Wait},
    draft::{Draft, later, whole_second},
    gate::checks,
    hearing::{Heard, heard, held, unmeasured},
    intent::Around,
    reason::Reason,
    undoing, words,
};
use crate::api::{
    OnInconclusive, PhaseKind, Soak,
    database::{Found, PhaseRecord},
    release::{Release, SoakStatus, Stage, Why},
    status::Outcome,
};

/// What a `promote` is bound to, beside the revision.
pub const NAME: &str = "expand";
/// The least seconds before the expand that stable is compared with.
const LEAST_BEFORE: i64 = 60;

/// What comes after the expand.
pub(super) enum After {
    /// Nothing is asked for.
    NotAsked,
    /// There is nothing to be measured; why.
    Skipped(String),
    /// Stable is measured.
    Soaks(SoakStatus),
}

fn asked<'d>(draft: &'d Draft<'_>) -> Option<&'d Soak> {
    draft.spec.schema.as_ref()?.expand.as_ref()?.soak.as_ref()
}

/// What comes after the expand of a release, which has just succeeded.
pub(super) fn after(draft: &Draft<'_>, release: &Release) -> After {
    let Some(soak) = asked(draft) else {
        return After::NotAsked;
    };
    // Another revision of this version may have brought the schema there, and have been given up
    // since; an attempt that failed half-way may be what hurts. What stable was like is asked of the
    // time before the first of them.
    let version = draft.spec.schema_version();
    let own = |p: &&PhaseRecord| {
        let same = version.is_some() && p.version == version;
        p.rollout == draft.name()
            && p.phase == PhaseKind::Expand
            && (p.succeeded || !p.nothing_applied)
            && p.undone_by.is_none()
            && (same || p.revision == release.revision)
    };
    let phases = draft.seen.objects.database.iter();
    let phases = phases.flat_map(|d| &d.record.phases).filter(own);
    let (Some(ran), Some(first)) = (phases.clone().find(|p| p.succeeded), phases.clone().next())
    else {
        return After::Skipped("what ran is not on record any more".to_owned());
    };
    let Some(began) = first.began.as_ref().map(|began| began.0) else {
        return After::Skipped(format!("when Job {} began is not on record", first.job));
    };
    if let Some(why) = unmeasured(draft).or_else(|| applied_before(draft, ran, began)) {
        return After::Skipped(why);
    }
    After::Soaks(SoakStatus {
        since: Time(whole_second(draft.now)),
        before_from: Time(later(began, -soak.hold_seconds.max(LEAST_BEFORE))),
        before_until: Time(began),
        paused: None,
    })
}

/// Why the expand has changed nothing for stable, if it is known that it has not: the schema was at
/// its version before.
fn applied_before(draft: &Draft<'_>, ran: &PhaseRecord, began: Timestamp) -> Option<String> {
    let version = ran.version?;
    let stable = draft.seen.objects.revision(draft.stable()?)?;
    let same = stable.database.as_deref() == draft.spec.database();
    if same && stable.schema_version >= Some(version) {
        return Some(format!(
            "stable {} needs schema version {version} too, so the expand had nothing to do",
            stable.revision
        ));
    }
    let record = &draft.seen.objects.database.as_ref()?.record;
    let other = record.phases.iter().find(|p| {
        p.rollout != draft.name()
            && p.phase == PhaseKind::Expand
            && p.succeeded
            && p.undone_by.is_none()
            && p.version == Some(version)
            && p.ended.0 <= began
    })?;
    Some(format!(
        "Rollout {} has applied schema version {version} before (Job {}), so the expand had nothing \
         to do",
        other.rollout, other.job
    ))
}

/// Stable is measured from here on.
pub(super) fn enter(draft: &Draft<'_>, release: &Release, soak: SoakStatus) -> Decision {
    let release = Release {
        stage: Stage::Soak(soak),
        ..release.clone()
    };
    draft.goes(release)
}

/// The checks look at a soak as at a release of the stable revision that is held at a step.
pub(super) fn as_release(draft: &Draft<'_>) -> Option<Release> {
    let soak = draft.status.release.as_ref()?.soak()?;
    let stable = draft.stable()?;
    Some(held(stable, NAME, &soak.since, &soak.before_from))
}

/// Where the time ends that stable is compared with.
pub(super) fn before(draft: &Draft<'_>) -> Option<Timestamp> {
    Some(draft.status.release.as_ref()?.soak()?.before_until.0)
}

/// One decision of a soak.
pub(super) fn decide(draft: &Draft<'_>, release: &Release, soak: &SoakStatus) -> Decided {
    let Some(asked) = asked(draft) else {
        return leave(draft, release, "schema.expand.soak was removed").map(Some);
    };
    // A pause is a person's to end: that stable has no pod for a while mends nothing.
    if soak.paused.is_none()
        && let Some(why) = unmeasured(draft)
    {
        return leave(draft, release, &why).map(Some);
    }
    let Some(measured) = as_release(draft) else {
        return Ok(None);
    };
    if let Some(why) = checks::hurting(draft, &measured) {
        if soak
            .paused
            .as_ref()
            .is_some_and(|p| p.is(Reason::ExpandHurts))
        {
            return Ok(None);
        }
        let words = hurts(draft, release, &why.message);
        return pause(draft, release, soak, Reason::ExpandHurts, &words)
            .measures(AROUND, Found::Failed)
            .made();
    }
    if soak.paused.is_some() {
        return Ok(None);
    }
    let until = later(soak.since.0, asked.hold_seconds);
    if until > draft.now {
        return Err(Wait::until(until).into());
    }
    if let Some(by) = draft.paused_by() {
        let words = format!("the soak after the expand is over; paused by {by}");
        return Err(Wait::held(Reason::Paused, words).into());
    }
    let lack = match heard(draft, &measured, until, asked.deadline_seconds) {
        Heard::Passed(said) => {
            let decision = leave(draft, release, &said)?;
            return decision.measures(AROUND, Found::Passed).made();
        }
        Heard::Waits(lack, at) => {
            let words = format!(
                "the soak after the expand stays held, no pod of the revision runs yet: {lack}"
            );
            return Err(Wait::held(Reason::Inconclusive, words).wake(at).into());
        }
        Heard::Late(lack) => lack,
    };
    let words = format!(
        "no verdict about stable within {} seconds after the soak of the expand: {}",
        asked.deadline_seconds, lack
    );
    let decision = match asked.on_inconclusive {
        OnInconclusive::Proceed => leave(draft, release, &words)?,
        OnInconclusive::Undo => {
            let reason = Reason::Inconclusive.word();
            let words = format!("{words}. {STAYS}");
            undoing::begin(draft, release, Outcome::Failed, reason, &words)
        }
        OnInconclusive::Pause => pause(draft, release, soak, Reason::Inconclusive, &words),
    };
    decision.measures(AROUND, Found::NoVerdict).made()
}

/// As it is counted.
const AROUND: Around = Around::AfterExpand;

/// What nobody must hope for.
const STAYS: &str = "The schema stays expanded: an undo of the release does not revert the expand";

/// What a person is told whose stable does worse since the expand.
fn hurts(draft: &Draft<'_>, release: &Release, figures: &str) -> String {
    format!(
        "stable {} has become worse since the expand of revision {}, which has no pods yet: the \
         cause is the schema change, not the new code. {figures}. {STAYS}. Fix the cause in the \
         database (a missing index, a trigger, old statistics)",
        draft.stable().unwrap_or_default(),
        release.revision,
    )
}

/// The ways out, as commands.
fn ways(draft: &Draft<'_>, release: &Release) -> String {
    let revision = &release.revision;
    let command = |verb: &str, target: &str| words::command(draft, verb, target);
    format!(
        "To measure again: {}. To continue anyway: {}. To roll the release back: {}",
        command("resume", revision),
        command("promote", &format!("{revision}/{NAME}")),
        command("undo", revision)
    )
}

/// Waits for a person.
fn pause(
    draft: &Draft<'_>,
    release: &Release,
    soak: &SoakStatus,
    reason: Reason,
    words: &str,
) -> Decision {
    let why = Why::new(reason, format!("{words}. {}", ways(draft, release)));
    let soak = SoakStatus {
        paused: Some(why),
        ..soak.clone()
    };
    let event = match reason {
        Reason::ExpandHurts => reason,
        _ => Reason::RolloutPaused,
    };
    let short = format!(
        "{words}. The release waits for a person: resume, promote {}/{NAME}, or undo",
        release.revision
    );
    enter(draft, release, soak).warning(event, short)
}

/// Goes on to the first pods.
fn leave(draft: &Draft<'_>, release: &Release, said: &str) -> Result<Decision, Halt> {
    let mut decision = before_pods::after(draft, release, PhaseKind::Expand)?;
    // They are stable's, and the next are the new revision's.
    decision.status.checks.clear();
    let message = format!(
        "the soak after the expand of revision {} is over: {said}",
        release.revision
    );
    Ok(decision.event(Reason::SoakEnded, message))
}

/// A person goes on without a verdict, or against it.
///
/// # Errors
/// What stands against the first pods all the same.
pub(super) fn promote(draft: &Draft<'_>, release: &Release) -> Result<Decision, Halt> {
    leave(draft, release, "promoted by a person")
}

/// What hurt has been looked at: stable is measured anew, from now on.
pub(super) fn resume(draft: &Draft<'_>, soak: &mut SoakStatus) -> bool {
    let paused = soak.paused.take().is_some();
    if paused {
        soak.since = Time(whole_second(draft.now));
    }
    paused
}

/// What is going on, for people.
pub(super) fn words(draft: &Draft<'_>, soak: &SoakStatus) -> String {
    let hold = asked(draft).map_or(0, |soak| soak.hold_seconds);
    let until = later(soak.since.0, hold);
    let paused = draft.paused_by();
    let paused = paused.map(|by| format!("; then paused by {by}"));
    format!(
        "stable is measured after the expand until {until:.0}, no pod of the new revision runs \
         yet{}",
        paused.unwrap_or_default()
    )
}
