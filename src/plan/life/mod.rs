//! What runs for a schema version after the release: the backfill, and the contract behind its
//! gate; after a failed one the revert. The Rollout of which a revision became stable first runs
//! them, whatever it asks for later.
//!
//! All of it is on record in the DatabaseSchema, and each step there is a compare-and-swap.

pub(super) mod around;
mod duty;
mod gate;
mod record;
pub(super) mod revert;
mod run;
mod waits;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use self::{
    around::Before,
    duty::{is_for, lacks_expand, lacks_expand_words, own, own_duties, recorded},
    gate::Side,
    record::{lacks_texts, registration, with_new_texts},
    run::{again, begin, drive},
};
pub(super) use self::{
    duty::{Duty, needs},
    waits::{in_short, waits_for},
};
use super::{
    decision::{Decision, Halt, Wait},
    draft::Draft,
    facts::DatabaseFacts,
    flags,
    intent::Write,
    job::{self, Run, protocol, texts},
    reason::Reason,
    words,
};
use crate::api::{
    DatabaseRecord, PhaseKind,
    database::{Holder, VersionRecord},
};

/// Seconds between two looks at what sends no news: other Rollouts on the database.
const LOOKS_EVERY: i64 = 30;

/// What comes next of all that this Rollout is to run: first what waits for a person.
pub(super) fn duty<'s>(draft: &Draft<'s>) -> Option<Duty<'s>> {
    let duties = || own_duties(draft);
    let waits = |duty: &Duty<'_>| {
        let run = job::run(draft, &duty.turn(draft));
        matches!(run, Run::Failed { .. } | Run::HalfWay { .. })
    };
    duties().find(waits).or_else(|| duties().next())
}

/// The next write for the versions of this Rollout.
///
/// # Errors
/// What must be known first.
pub(super) fn carry_out(draft: &mut Draft<'_>) -> Result<(), Halt> {
    if let Some(write) = registration(draft)? {
        let words = "what stable's schema version asks for after the release is put on record";
        draft.notes.push(words.to_owned());
        draft.writes.push(write);
        return Ok(());
    }
    let Some(database) = draft.seen.objects.database.as_ref() else {
        return Ok(());
    };
    if database.deleting {
        return Ok(());
    }
    if let Some(write) = revert::registration(draft)? {
        let words = "the revert that the failed release asks for is put on record";
        draft.notes.push(words.to_owned());
        draft.writes.push(write);
        return Ok(());
    }
    if let Some(write) = let_go_of_dropped(draft, database) {
        draft.writes.push(write);
        return Ok(());
    }
    if let Some(write) = around::after(draft, database) {
        draft.writes.push(write);
        return Ok(());
    }
    for version in own(draft) {
        draft.wake(draft.in_seconds(LOOKS_EVERY));
        if let Some(write) = next(draft, database, version)? {
            draft.writes.push(write);
            return Ok(());
        }
    }
    // Last, when nothing else is to be done: what is told then lasts.
    draft.writes.extend(waits::recording(draft, database));
    Ok(())
}

/// A hold whose version was dropped before its Job ran.
fn let_go_of_dropped(draft: &Draft<'_>, database: &DatabaseFacts) -> Option<Write> {
    let own = |h: &&Holder| {
        let version = h.version.and_then(|v| database.record.version(v));
        h.rollout == draft.name()
            && job::terms::is_after_release(h.phase)
            && version.is_none_or(|v| v.dropped)
    };
    let holder = database.record.holders().find(own)?;
    protocol::let_go_of(draft, database, holder)
}

/// The next write for one version.
fn next(
    draft: &mut Draft<'_>,
    database: &DatabaseFacts,
    version: &VersionRecord,
) -> Result<Option<Write>, Halt> {
    if lacks_expand(&database.record, version.version) {
        return Ok(None);
    }
    if version.lacks_revert() {
        return revert::next(draft, database, version);
    }
    let holder = database.record.held_for(PhaseKind::Contract);
    let contracting = holder.filter(|h| h.phase == PhaseKind::Contract && is_for(h, version));
    if contracting.is_some_and(|holder| job::has_begun(draft, holder)) {
        return Ok(None);
    }
    let below = !Side::below(version.version).rollouts(draft).is_empty();
    if below && version.alone_since.is_some() {
        let number = version.version;
        draft
            .notes
            .push(format!("somebody is below version {number} again"));
        return Ok(Some(alone(database, version, None)));
    }
    if let Some(holder) = contracting {
        let flags = flags::missing(draft, version).is_empty();
        if version.alone_since.is_some() && flags {
            return contract(draft, database, version);
        }
        // Somebody is below it after all, or has turned off a flag by hand: where nothing has run,
        // the floor goes back.
        if let Some(write) = protocol::let_go_of(draft, database, holder) {
            let words = "the contract has not run, and lets the database go";
            draft.notes.push(words.to_owned());
            return Ok(Some(write));
        }
        if !job::is_gone(draft, holder) {
            return Ok(None);
        }
    }
    let Some(duty) = Duty::of(draft, version) else {
        return Ok(None);
    };
    let runs = contracting.is_none() && database.record.held_for(duty.phase).is_some();
    if !below && !runs && version.lacks_contract() && version.alone_since.is_none() {
        if is_alone(draft, version)? {
            // First, so that the backfill that runs next need not be repeated.
            let number = version.version;
            let words = format!("nobody is below version {number} any more");
            draft.notes.push(words);
            return Ok(Some(alone(database, version, Some(Time(draft.now)))));
        }
        if duty.phase == PhaseKind::Contract {
            return Ok(None);
        }
    }
    if lacks_texts(version, duty.phase)
        && let Some(write) = with_new_texts(draft, database, &duty)?
    {
        return Ok(Some(write));
    }
    if duty.phase == PhaseKind::Backfill {
        // Beside an expand it may run, and not beside what removes something.
        let removes =
            holder.is_some_and(|h| matches!(h.phase, PhaseKind::Contract | PhaseKind::Revert));
        return if removes {
            Ok(None)
        } else {
            begin(draft, database, &duty)
        };
    }
    if below {
        return Ok(None);
    }
    for at in [gate::opens_at(version), flags::reach_pods_at(draft)] {
        if let Some(at) = at.filter(|at| *at > draft.now) {
            draft.wake(at);
        }
    }
    // Whatever keeps its Job from beginning shuts the gate: a database that somebody holds, or has
    // left half-way, too.
    let run = job::run(draft, &duty.turn(draft));
    if matches!(run, Run::Unread) {
        return begin(draft, database, &duty);
    }
    let goes = match &run {
        Run::Runs(_) => true,
        // That goes on record first.
        Run::Waiting(obstacle) => obstacle.reason == Reason::SqlUnreadable,
        _ => false,
    };
    let everything_else = goes && gate::missing(draft, version).is_empty();
    match around::before(draft, database, version, everything_else) {
        Before::Open => {}
        Before::Waits => return Ok(None),
        Before::Records(write) => return Ok(Some(write)),
    }
    let write = begin(draft, database, &duty)?;
    if matches!(&write, Some(Write::RecordDatabase { record, .. }) if record.holder.is_some()) {
        let number = version.version;
        draft.notes.push(format!(
            "the gate is open: from here on {number} is the undo floor"
        ));
    }
    Ok(write)
}

/// The write that comes before the first pod of a revision, where it takes back that nobody is below
/// a version: whatever was proven of it is so no longer, however soon the pods are gone again.
pub(super) fn voided_by(draft: &Draft<'_>, revision: &str) -> Option<Write> {
    let database = draft.seen.objects.database.as_ref()?;
    let known = draft.seen.objects.revision(revision);
    let needs = known.and_then(|r| r.schema_version);
    let used = known.and_then(|r| r.database.as_deref());
    if used.is_some_and(|used| Some(used) != draft.spec.database()) {
        return None;
    }
    let voids = |v: &VersionRecord| {
        v.alone_since.is_some() && v.is_open() && needs.is_none_or(|needs| needs < v.version)
    };
    database.record.versions.iter().any(voids).then(|| {
        recorded(database, |record| {
            for version in record.versions.iter_mut().filter(|v| voids(v)) {
                (version.alone_since, version.stable_before) = (None, None);
            }
        })
    })
}

/// Whether nobody who runs is below a version, by what is read live.
fn is_alone(draft: &Draft<'_>, version: &VersionRecord) -> Result<bool, Halt> {
    Ok(!Side::below(version.version).is_waited_for(draft)?)
}

/// Puts on record since when nobody is below the version.
fn alone(database: &DatabaseFacts, version: &VersionRecord, since: Option<Time>) -> Write {
    recorded(database, |record| {
        if let Some(version) = record.version_mut(version.version) {
            if since.is_none() {
                // The gate is shut: what was measured for it is measured again.
                version.stable_before = None;
            }
            version.alone_since = since;
        }
    })
}

/// The next write of a contract that holds the database, with the floor on record: its Job is let
/// run once nobody is left who could need what it removes, by what is read live.
fn contract(
    draft: &Draft<'_>,
    database: &DatabaseFacts,
    version: &VersionRecord,
) -> Result<Option<Write>, Halt> {
    let duty = Duty::first(version, PhaseKind::Contract);
    let write = drive(draft, &duty)?;
    if !matches!(write, Some(Write::ReleaseJob { .. })) {
        return Ok(write);
    }
    let users = Side::below(version.version).users(draft)?;
    if users.iter().any(|user| user.serves) {
        return Ok(Some(alone(database, version, None)));
    }
    // What is left are Deployments at 0; their Rollouts delete them.
    Ok(write.filter(|_| users.is_empty()))
}

/// No other Rollout runs the phases of this version, or it runs the same.
///
/// # Errors
/// Who does.
pub(super) fn is_unclaimed(draft: &Draft<'_>) -> Result<(), Halt> {
    let Some(number) = draft.spec.schema_version() else {
        return Ok(());
    };
    let asked = draft.spec.asked();
    let database = draft.seen.objects.database.as_ref();
    let other = |v: &&VersionRecord| !texts::is_same(asked, &v.asked) && !asked.is_empty();
    let claimed = database
        .and_then(|d| d.record.version(number))
        .filter(|v| v.rollout != draft.name() && v.stable_since.is_some() && other(v));
    let Some(claimed) = claimed else {
        return Ok(());
    };
    let words = format!(
        "the backfill and contract of schema version {number} belong to Rollout {} and differ \
         from those here: leave schema.backfill and schema.contract out here, or give this change \
         its own schema.version",
        claimed.rollout
    );
    Err(Wait::stalled(Reason::VersionClaimed, words).into())
}

/// Pods of this revision may start: the backfill of every lower version has ended.
///
/// # Errors
/// Which has not.
pub(super) fn lets_pods_start(draft: &Draft<'_>) -> Result<(), Halt> {
    let Some(wanted) = draft.spec.schema_version() else {
        return Ok(());
    };
    if registration(draft)?.is_some() {
        let words = "Stepgate is recording the phases that stable's schema version still needs";
        return Err(Wait::held(Reason::WaitingForBackfill, words).into());
    }
    let Some(database) = &draft.seen.objects.database else {
        return Ok(());
    };
    let mut versions = database.record.versions.iter();
    let Some(open) = versions.find(|v| v.version < wanted && v.lacks_backfill()) else {
        return Ok(());
    };
    let number = open.version;
    let words = format!(
        "the backfill of schema version {number} (Rollout {}) has not ended: no pod of version \
         {wanted} starts before it",
        open.rollout
    );
    let words = match lacks_expand(&database.record, number) {
        true => format!("{words}, and waits for {}", lacks_expand_words(number)),
        false => words,
    };
    let name = &database.base.name;
    let give_up = format!("give it up with {}", words::drop_of(draft, name, number));
    let others = &draft.seen.objects.sharers;
    let own = open.rollout == draft.name();
    if !own && !others.iter().any(|s| s.rollout == open.rollout) {
        let words =
            format!("{words}. That Rollout is gone: run the backfill yourself, then {give_up}");
        return Err(Wait::stalled(Reason::WaitingForBackfill, words).into());
    }
    let mut duties = own_duties(draft);
    let run = duties
        .find(|duty| own && duty.version.version == number)
        .map(|duty| job::run(draft, &duty.turn(draft)));
    if let Some(Run::HalfWay {
        reason, message, ..
    }) = run
    {
        return Err(Wait::stalled(reason, format!("{words}: {message}")).into());
    }
    if let Some(job) = failed_backfill(&database.record, number) {
        let revision = if own { draft.wanted } else { "<revision>" };
        let words = format!(
            "{words}. It failed in Job {job}: fix the cause, then set the annotation \
             stepgate.io/retry: \"{revision} <id>\" on Rollout {}; or {give_up}",
            open.rollout
        );
        return Err(Wait::stalled(Reason::WaitingForBackfill, words).into());
    }
    Err(Wait::held(Reason::WaitingForBackfill, words).into())
}

/// The Job in which the backfill of a version failed, where nothing has come after that.
fn failed_backfill(record: &DatabaseRecord, version: i64) -> Option<&str> {
    let runs = |h: &Holder| h.version == Some(version);
    if record.backfill_holder.as_ref().is_some_and(runs) {
        return None;
    }
    let mut latest_first = record.phases.iter().rev();
    let last =
        latest_first.find(|p| p.version == Some(version) && p.phase == PhaseKind::Backfill)?;
    (!last.succeeded).then_some(last.job.as_str())
}

/// A retry of what runs after the release: it has failed, or waits for a person.
///
/// # Errors
/// What must be known first.
pub(super) fn retry(draft: &Draft<'_>) -> Result<Option<(Decision, &'static str)>, Halt> {
    let again = match duty(draft) {
        Some(duty) => again(draft, &duty)?,
        None => None,
    };
    let again = again.map(|decision| {
        (
            decision,
            "the failed phase after the release (backfill, contract or revert) may run again",
        )
    });
    let measured = || {
        let decision = around::retry(draft)?;
        Some((decision, "stable is measured again for the contract"))
    };
    Ok(again.or_else(measured))
}
