//! The preflight of a version: what is asked before its expand, and when it is asked again.
//!
//! It takes the database like every phase, so nothing else changes what it looks at, and changes
//! nothing itself. What it found is an answer for the release that asked, and for no later one.

use std::cmp::Ordering;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Run, Turn, attempts, has_vanished, heard, run};
use crate::{
    api::{
        PhaseKind,
        database::{Holder, SqlRefusal},
        keys,
        release::{JobStatus, Release},
    },
    plan::{
        decision::{Decision, Halt, Obstacle, Wait},
        draft::{Draft, later},
        facts::{DatabaseFacts, Question},
        reason::Reason,
    },
};

const PHASE: PhaseKind = PhaseKind::Preflight;

/// Seconds before the second try; each time after that twice as long, up to a twentieth of the
/// preflight's time, and a minute at least: so there are few tries, however long that is.
const FIRST_PAUSE: i64 = 5;
const LEAST_LONGEST_PAUSE: i64 = 60;

/// Seconds by which somebody else's clock may be ahead.
const SKEW: i64 = 60;

/// What becomes of the preflight of a release now.
pub(in crate::plan) enum PreflightState {
    /// The expand may run: why, for people; nothing where it was not needed.
    Over(Option<String>),
    /// It stands so.
    Goes(Box<Decision>),
    /// Something else comes first.
    Waits(Wait),
    /// Its time is over. With the Job that failed last, if one did.
    Fails { words: String, job: Option<String> },
    /// What is on record is not what the ledger says, as the log of this Job has it: that does not
    /// pass by itself.
    Disagrees(String),
    /// As with every other phase: somebody holds the database, or left it half-way.
    Obstacle,
}

/// The release has no preflight to pass before its expand: none is asked for, or its version is
/// expanded already.
pub(in crate::plan) fn is_needed(draft: &Draft<'_>) -> bool {
    let schema = draft.spec.schema.as_ref();
    if schema.is_none_or(|schema| schema.preflight.is_none()) {
        return false;
    }
    let version = draft.spec.schema_version();
    let database = draft.seen.objects.database.as_ref();
    let mut phases = database.into_iter().flat_map(|d| &d.record.phases);
    !phases.any(|p| {
        let same = match version {
            Some(_) => p.version == version,
            None => p.rollout == draft.name() && p.revision == draft.wanted,
        };
        same && p.phase == PhaseKind::Expand && p.succeeded && p.undone_by.is_none()
    })
}

/// Whether the preflight of this release comes before its expand, and has not passed.
pub(in crate::plan) fn is_lacking(draft: &Draft<'_>, release: &Release) -> bool {
    if !is_needed(draft) {
        return false;
    }
    let turn = Turn::of_release(draft, release, PHASE);
    if turn.job.since.is_none() {
        return true;
    }
    let database = draft.seen.objects.database.as_ref();
    let ended = database.and_then(|d| turn.ended(draft, &d.record));
    turn.has_job(draft) && !ended.is_some_and(|p| p.succeeded)
}

/// The expand of a release has not begun, and its preflight has not passed: the spec asks for one
/// since, or what was expanded was taken back.
pub(in crate::plan) fn comes_first(draft: &Draft<'_>, release: &Release) -> bool {
    let turn = Turn::of_release(draft, release, PhaseKind::Expand);
    let over = matches!(
        run(draft, &turn),
        Run::Succeeded | Run::Failed { .. } | Run::NotAsked
    );
    !over && !has_hold(draft, &turn) && is_lacking(draft, release)
}

/// Whether a Job may take the database: a preflight once it is on record that it begins, and while
/// nothing stands against it that needs no Job to be seen; an expand after its preflight.
pub(super) fn lets_begin(draft: &Draft<'_>, turn: &Turn<'_>) -> bool {
    match (turn.phase(), &turn.of) {
        (PHASE, _) => turn.job.since.is_some() && turn.has_job(draft) && question(draft).is_none(),
        // One whose own Job is gone may run again as it began.
        (PhaseKind::Expand, super::Of::Release(release)) => {
            has_hold(draft, turn) || !is_lacking(draft, release)
        }
        _ => true,
    }
}

/// Seconds that the Job of a phase may run: of a preflight what is left of its time.
pub(in crate::plan) fn seconds_left(draft: &Draft<'_>, holder: &Holder, whole: i64) -> i64 {
    let release = draft.status.release.as_ref();
    let job = release.map(|release| release.job(holder.phase));
    match job.filter(|_| holder.phase == PHASE) {
        Some(job) => ends_at(draft, &job, whole).map_or(whole, |at| {
            at.duration_since(draft.now).as_secs().clamp(1, whole)
        }),
        None => whole,
    }
}

/// When its time is over. Time in which the operator could not act is nobody's delay.
fn ends_at(draft: &Draft<'_>, job: &JobStatus, whole: i64) -> Option<Timestamp> {
    let since = job.since.as_ref()?.0.max(draft.seen.trusted_since);
    Some(later(since, whole))
}

/// What stands against the expand and can be seen without a Job, for people.
fn question(draft: &Draft<'_>) -> Option<String> {
    let database = draft.seen.objects.database.as_ref()?;
    backup(draft, database)
}

/// A backup that is missing, or not as recent as it is to be.
fn backup(draft: &Draft<'_>, database: &DatabaseFacts) -> Option<String> {
    let preflight = draft.spec.schema.as_ref()?.preflight.as_ref()?;
    let limit = preflight.max_backup_age_seconds?;
    let key = keys::BACKUP_AT;
    let name = &database.base.name;
    let say = format!(
        "kubectl annotate -n {} databaseschema {name} --overwrite \
         {key}=\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"",
        draft.seen.objects.rollout.namespace
    );
    let Some(text) = database.annotations.get(key) else {
        return Some(format!(
            "no backup of {name} is known, and one within the last {limit} seconds is asked for \
             (maxBackupAgeSeconds): make one, then say when: {say}"
        ));
    };
    let Ok(at) = text.parse::<Timestamp>() else {
        let text: String = text.chars().take(40).collect();
        return Some(format!(
            "{key} of DatabaseSchema {name} is {text:?}, and not a time as 2030-01-31T23:59:59Z: \
             {say}"
        ));
    };
    if at > later(draft.now, SKEW) {
        return Some(format!(
            "{key} of DatabaseSchema {name} says {at:.0}, which is still to come: {say}"
        ));
    }
    match later(at, limit).cmp(&draft.now) {
        Ordering::Less => Some(format!(
            "the last backup of {name} is of {at:.0}, and one within the last {limit} seconds is \
             asked for (maxBackupAgeSeconds): make one, then say when: {say}"
        )),
        Ordering::Equal | Ordering::Greater => None,
    }
}

/// Where the preflight of a release stands, and what comes next.
///
/// # Errors
/// What must be read first.
pub(in crate::plan) fn step(draft: &Draft<'_>, release: &Release) -> Result<PreflightState, Halt> {
    let schema = draft.spec.schema.as_ref();
    let Some(phase) = schema.and_then(|schema| schema.phase(PHASE)) else {
        return Ok(PreflightState::Over(None));
    };
    let turn = Turn::of_release(draft, release, PHASE);
    let job = turn.job().clone();
    if job.first.is_none() {
        return begin(draft, release);
    }
    let ran = run(draft, &turn);
    let failed = match ran {
        Run::Succeeded if turn.has_job(draft) => {
            return Ok(PreflightState::Over(Some(
                "its preflight has passed".to_owned(),
            )));
        }
        Run::Unread => return Ok(PreflightState::Waits(Wait::default())),
        Run::Waiting(obstacle) => return Ok(waits(draft, release, &job, &obstacle)),
        Run::HalfWay {
            job: gone,
            reason: Reason::JobVanished,
            ..
        } if has_hold(draft, &turn) => {
            let words = format!("Job {gone} was deleted before its end was seen");
            Some((words, gone, Timestamp::MIN))
        }
        Run::HalfWay { .. } => return Ok(PreflightState::Obstacle),
        Run::Failed {
            job,
            refusal: Some(SqlRefusal::RecordDisagrees),
            ..
        } => return Ok(PreflightState::Disagrees(job)),
        Run::Failed { job, message, .. } => {
            let database = draft.seen.objects.database.as_ref();
            let ended = database.and_then(|d| turn.ended(draft, &d.record));
            let at = ended.map_or(draft.now, |p| p.ended.0);
            Some((message, job, at))
        }
        Run::Runs(message) if holds(draft, &turn).is_some_and(|h| !has_vanished(draft, h)) => {
            return Ok(PreflightState::Waits(Wait::held(
                Reason::Preflight,
                message,
            )));
        }
        Run::NotAsked | Run::Succeeded | Run::Runs(_) => None,
    };
    let Some(until) = ends_at(draft, &job, phase.deadline_seconds) else {
        return Ok(goes(with(draft, release, |job, now| {
            job.since = Some(Time(now));
        })));
    };
    let over = |words: &str| {
        let seconds = phase.deadline_seconds;
        format!("it did not pass within {seconds} seconds: {words}")
    };
    if let Some((words, gone, at)) = failed {
        let longest = (phase.deadline_seconds / 20).max(LEAST_LONGEST_PAUSE);
        let tries = job.attempt - job.first.unwrap_or(job.attempt);
        let pause = FIRST_PAUSE.saturating_mul(1 << tries.clamp(0, 20));
        let next = later(at.min(draft.now), pause.min(longest));
        if next.max(draft.now) >= until {
            return Ok(PreflightState::Fails {
                words: over(&words),
                job: Some(gone),
            });
        }
        if next > draft.now {
            // Whoever is to put it right need not wait for the last try to read why.
            let log = heard::end_of_phase_log(draft, gone.clone())?;
            let words = format!(
                "its preflight failed in Job {gone} and is tried again until {until:.0}: \
                 {words}{log}"
            );
            let wait = Wait::held(Reason::Preflight, words);
            return Ok(PreflightState::Waits(wait.wake(next)));
        }
        let decision = with(draft, release, |job, _| job.attempt += 1);
        return Ok(goes(decision.note(format!("{words}: once more"))));
    }
    let Some(missing) = question(draft) else {
        return Ok(match turn.has_job(draft) {
            true => PreflightState::Waits(Wait::held(
                Reason::Preflight,
                "its preflight is about to run",
            )),
            false => PreflightState::Over(Some(
                "its preflight found no obstacle to the expand".to_owned(),
            )),
        });
    };
    if until <= draft.now {
        return Ok(PreflightState::Fails {
            words: over(&missing),
            job: None,
        });
    }
    let words = format!("its preflight waits until {until:.0}: {missing}");
    Ok(PreflightState::Waits(
        Wait::held(Reason::Preflight, words).wake(until),
    ))
}

/// The first attempt for this release goes on record: higher than any before, by what is read live.
fn begin(draft: &Draft<'_>, release: &Release) -> Result<PreflightState, Halt> {
    let Some(database) = &draft.seen.objects.database else {
        // It is being made.
        return Ok(PreflightState::Waits(Wait::default()));
    };
    if draft.seen.answers.hold_live.as_ref() != Some(&database.base.uid) {
        return Halt::ask(Question::Hold(database.base.name.clone()));
    }
    let own = |h: &&Holder| h.rollout == draft.name() && h.revision == release.revision;
    let held = database.record.held_for(PHASE);
    let held = held.filter(own).filter(|h| h.phase == PHASE);
    let last = attempts(draft, &release.revision, PHASE).max(held.map_or(0, |h| h.attempt));
    Ok(goes(with(draft, release, |job, _| {
        job.attempt = job.attempt.max(last + 1);
        job.first = Some(job.attempt);
    })))
}

/// Somebody else comes first. Time in which another phase has the database is not its own.
fn waits(
    draft: &Draft<'_>,
    release: &Release,
    job: &JobStatus,
    obstacle: &Obstacle,
) -> PreflightState {
    if obstacle.reason == Reason::WaitingForDatabase && job.since.is_some() {
        return goes(with(draft, release, |job, _| job.since = None));
    }
    PreflightState::Obstacle
}

/// The hold of its Job, also of an earlier attempt.
fn holds<'d>(draft: &'d Draft<'_>, turn: &Turn<'_>) -> Option<&'d Holder> {
    let holder = draft.seen.objects.database.as_ref()?;
    let holder = holder.record.held_for(turn.phase());
    holder.filter(|holder| turn.is_of(draft, holder))
}

/// Its Job has the database.
fn has_hold(draft: &Draft<'_>, turn: &Turn<'_>) -> bool {
    holds(draft, turn).is_some()
}

fn goes(decision: Decision) -> PreflightState {
    PreflightState::Goes(Box::new(decision))
}

fn with(
    draft: &Draft<'_>,
    release: &Release,
    change: impl FnOnce(&mut JobStatus, Timestamp),
) -> Decision {
    let mut release = release.clone();
    change(release.job_mut(PHASE), draft.now);
    draft.goes(release)
}
