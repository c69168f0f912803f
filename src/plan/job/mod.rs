//! Jobs of a release: where they stand.
//!
//! What runs when, and what a failure means, is a row of [`terms`]; the writes are those of the
//! [`protocol`]; what people read of it is [`told`]. Those that hold no database are tests of a step
//! (`step_test`).

pub mod protocol;
pub(super) mod step_test;
pub mod terms;
pub mod told;

use jiff::Timestamp;

use self::terms::Terms;
use super::{
    decision::Obstacle,
    draft::Draft,
    facts::{DatabaseFacts, JobFacts},
    reason::Reason,
    render,
};
use crate::api::{
    DatabaseRecord, PhaseKind, SchemaSpec,
    database::{Dirty, Holder, PhaseRecord},
    release::{JobStatus, Release, Stage},
};

/// Where a Job of a release stands.
pub(super) enum Run {
    /// The spec has none.
    NotAsked,
    /// What comes after it may begin.
    Succeeded,
    /// It failed; the Job of that name has the log.
    Failed {
        job: String,
        message: String,
        /// Before it had applied anything.
        nothing_applied: bool,
    },
    /// Somebody or something else comes first.
    Waiting(Obstacle),
    /// That Job may have left the schema half-way: a person comes first.
    HalfWay {
        job: String,
        reason: Reason,
        message: String,
    },
    /// Its Job is not where the caches show it: what they show is to be read live first.
    Unread,
    /// Its Job runs, or is about to.
    Runs(String),
}

/// Where this Job of `release` stands, from the DatabaseSchema and the Jobs.
pub(super) fn run(draft: &Draft<'_>, release: &Release, terms: &Terms) -> Run {
    let phase = terms.phase;
    let word = phase.word();
    let schema = draft.spec.schema.as_ref();
    let Some(schema) = schema.filter(|schema| schema.phase(phase).is_some()) else {
        return Run::NotAsked;
    };
    let turn = Turn {
        release,
        job: release.job(phase),
    };
    let name = &schema.database;
    let Some(database) = &draft.seen.objects.database else {
        return prepared(draft, format!("{word} of {name} is being prepared"));
    };
    let record = &database.record;
    let ended = turn.ended(draft, record);
    if ended.is_some_and(|p| p.succeeded) {
        return Run::Succeeded;
    }
    let holder = record.holder.as_ref();
    // What runs now has not said its last word, whatever an earlier attempt said.
    let ours = holder.is_some_and(|h| turn.is_of(draft, h));
    if let Some(phase) = ended.filter(|p| !ours && p.attempt >= turn.job.attempt) {
        return Run::Failed {
            job: phase.job.clone(),
            message: phase.message.clone(),
            nothing_applied: phase.nothing_applied,
        };
    }
    match holder {
        Some(holder) if rests_on_caches(draft, holder) => Run::Unread,
        Some(holder) if has_vanished(draft, holder) => {
            if turn.may_take_over(draft, holder) {
                prepared(draft, format!("{word} of {name} is about to start anew"))
            } else {
                half_way(&holder.job, Reason::JobVanished, vanished(holder, release))
            }
        }
        Some(holder) if ours => {
            let message = format!("{word} of {name} runs in Job {}", holder.job);
            match job_of(draft, holder) {
                Some(job) if job.has_begun() => running(draft, job, message),
                Some(_) | None => prepared(draft, message),
            }
        }
        Some(holder) => waiting(
            false,
            Reason::WaitingForDatabase,
            format!(
                "{name} is held by the {} of Rollout {} until its Job {} has ended; if there is no \
                 such Job any more, check the database and remove record.holder of \
                 DatabaseSchema {name}",
                holder.phase.word(),
                holder.rollout,
                holder.job
            ),
        ),
        None => match &record.dirty {
            Some(dirty) if turn.job.accepted_dirty.as_ref() != Some(&dirty.job) => {
                let words = dirty_words(schema, dirty, release);
                half_way(&dirty.job, Reason::DatabaseDirty, words)
            }
            _ => prepared(draft, format!("{word} of {name} is about to start")),
        },
    }
}

/// The Job of this Rollout that holds the database and whose pod does not run though it was let
/// run, and since when. It may be an earlier release's.
pub(super) fn waits_for_its_pod(draft: &Draft<'_>) -> Option<(String, Timestamp)> {
    let holder = draft
        .seen
        .objects
        .database
        .as_ref()?
        .record
        .holder
        .as_ref()?;
    let own = holder.rollout == draft.name();
    let job = job_of(draft, holder).filter(|_| own)?;
    let waits = !job.suspended && !job.runs && job.ended.is_none();
    waits.then_some((job.base.name.clone(), job.started?))
}

/// Its Job runs, unless somebody keeps it from that.
fn running(draft: &Draft<'_>, job: &JobFacts, mut message: String) -> Run {
    if job.suspended {
        let words = format!(
            "Job {} was suspended after it had begun: set its spec.suspend to false, or delete it \
             and check the database",
            job.base.name
        );
        return waiting(false, Reason::JobSuspended, words);
    }
    if job.failed_pods > 0 {
        message = format!(
            "{message}; {} of its runs exited with {}, which says that nothing was applied: it is \
             tried again",
            job.failed_pods,
            render::NOTHING_APPLIED
        );
    }
    if let Some(database) = draft.seen.objects.database.as_ref().filter(|d| d.deleting) {
        message = format!(
            "{message}; DatabaseSchema {} is being deleted: when that Job has ended, the expand \
             runs once more on a new one",
            database.base.name
        );
    }
    Run::Runs(message)
}

/// Its Job is about to be made, unless the spec says by now how it must not be made.
fn prepared(draft: &Draft<'_>, message: String) -> Run {
    if let Some(problem) = draft.spec.problem() {
        return waiting(true, Reason::InvalidSpec, problem.to_owned());
    }
    match draft.seen.objects.database.as_ref().filter(|d| d.deleting) {
        Some(database) => {
            let words = format!(
                "DatabaseSchema {} is being deleted, and with it the record of what ran: when it \
                 is gone a new one is made, and the expand runs from the beginning; if it stays, \
                 see its metadata.finalizers",
                database.base.name
            );
            waiting(false, Reason::DatabaseTerminating, words)
        }
        None => Run::Runs(message),
    }
}

fn waiting(stalled: bool, reason: Reason, message: String) -> Run {
    Run::Waiting(Obstacle {
        reason,
        message,
        stalled,
    })
}

fn half_way(job: &str, reason: Reason, message: String) -> Run {
    Run::HalfWay {
        job: job.to_owned(),
        reason,
        message,
    }
}

fn vanished(holder: &Holder, release: &Release) -> String {
    format!(
        "Job {} is gone before its end was seen, so nobody knows how far it came: check the \
         database, then retry with the annotation stepgate.io/retry: \"{} <id>\"",
        holder.job, release.revision
    )
}

fn dirty_words(schema: &SchemaSpec, dirty: &Dirty, release: &Release) -> String {
    format!(
        "the {} of Rollout {} failed on {} (Job {}) and may have left it half-way: check it, then \
         let this release go on with the annotation stepgate.io/retry: \"{} <id>\"",
        dirty.phase.word(),
        dirty.rollout,
        schema.database,
        dirty.job,
        release.revision
    )
}

/// A Job of a release, at its attempt.
struct Turn<'a> {
    release: &'a Release,
    job: JobStatus,
}

impl Turn<'_> {
    /// Its end on record: its success, else its last failure. A success counts for good, whatever
    /// the attempt.
    fn ended<'r>(&self, draft: &Draft<'_>, record: &'r DatabaseRecord) -> Option<&'r PhaseRecord> {
        let ours = || {
            record.phases.iter().rev().filter(|p| {
                p.rollout == draft.name()
                    && p.revision == self.release.revision
                    && p.phase == self.job.phase
            })
        };
        ours().find(|p| p.succeeded).or_else(|| ours().next())
    }

    /// Whether the hold is this Job's, of whatever attempt.
    fn is_of(&self, draft: &Draft<'_>, holder: &Holder) -> bool {
        holder.rollout == draft.name()
            && holder.revision == self.release.revision
            && holder.phase == self.job.phase
    }

    /// Whether a person has said that a vanished Job's hold may be taken over.
    fn may_take_over(&self, draft: &Draft<'_>, holder: &Holder) -> bool {
        self.job.accepted_dirty.as_ref() == Some(&holder.job)
            || (self.is_of(draft, holder) && holder.attempt < self.job.attempt)
    }

    /// Whether a phase left the schema half-way and nobody has accepted that for this release.
    fn is_dirty(&self, record: &DatabaseRecord) -> bool {
        let dirty = record.dirty.as_ref();
        dirty.is_some_and(|d| self.job.accepted_dirty.as_ref() != Some(&d.job))
    }
}

fn job_of<'s>(draft: &Draft<'s>, holder: &Holder) -> Option<&'s JobFacts> {
    job_among(
        &draft.seen.objects.jobs,
        draft.seen.objects.database.as_ref()?,
        holder,
    )
}

/// The Job of a hold: that of the uid on record; before there is one, that of its name which the
/// DatabaseSchema owns. One that a former DatabaseSchema has left behind is about to be collected.
pub(super) fn job_among<'s>(
    jobs: &'s [JobFacts],
    database: &DatabaseFacts,
    holder: &Holder,
) -> Option<&'s JobFacts> {
    let mut named = jobs.iter().filter(|job| job.base.name == holder.job);
    named.find(|job| match &holder.job_uid {
        Some(uid) => *uid == job.base.uid,
        None => job.owner_uid.as_ref() == Some(&database.base.uid),
    })
}

/// Whether a hold of this Rollout and the absence of its Job are what the caches show and nobody
/// else: one may have been let go since, and the other made.
fn rests_on_caches(draft: &Draft<'_>, holder: &Holder) -> bool {
    let database = draft.seen.objects.database.as_ref();
    let read = draft.seen.answers.hold_live.as_ref();
    holder.rollout == draft.name()
        && job_of(draft, holder).is_none()
        && read.is_none_or(|uid| database.is_none_or(|d| d.base.uid != *uid))
}

/// The DatabaseSchema that is to be read live before the expand, or a hold that is not needed any
/// more, can go on.
pub(super) fn to_be_read(draft: &Draft<'_>) -> Option<String> {
    let database = draft.seen.objects.database.as_ref()?;
    let holder = database.record.holder.as_ref()?;
    let waits = |release: &Release| matches!(release.stage, Stage::Job(_));
    // What has vanished stays where it is; without a release that waits for it nobody misses it.
    let matters = holder.job_uid.is_none() || draft.status.release.as_ref().is_some_and(waits);
    (matters && rests_on_caches(draft, holder)).then(|| database.base.name.clone())
}

/// Whether a Job of this Rollout that holds the database is gone before its end was seen. Jobs of
/// other Rollouts are not known here.
fn has_vanished(draft: &Draft<'_>, holder: &Holder) -> bool {
    holder.rollout == draft.name() && holder.job_uid.is_some() && job_of(draft, holder).is_none()
}

/// The hold that waits for a person because its Job is gone before its end was seen.
pub(super) fn vanished_hold<'s>(
    draft: &Draft<'s>,
    release: &Release,
    terms: &Terms,
) -> Option<&'s Holder> {
    let database = draft.seen.objects.database.as_ref()?;
    let holder = database.record.holder.as_ref()?;
    let job = release.job(terms.phase);
    let turn = Turn { release, job };
    (has_vanished(draft, holder) && !turn.may_take_over(draft, holder)).then_some(holder)
}

/// The highest attempt of this revision's Job of this kind on record, 0 when it never ran.
pub(super) fn attempts(draft: &Draft<'_>, revision: &str, phase: PhaseKind) -> i64 {
    let database = draft.seen.objects.database.as_ref();
    let phases = database.map(|d| d.record.phases.as_slice());
    let phases = phases.unwrap_or_default().iter();
    phases
        .filter(|p| p.rollout == draft.name() && p.revision == revision && p.phase == phase)
        .map(|p| p.attempt)
        .max()
        .unwrap_or(0)
}

/// Name of the Job of a release at its present attempt.
pub(super) fn name(draft: &Draft<'_>, release: &Release, phase: PhaseKind) -> String {
    let attempt = release.job(phase).attempt;
    render::job_name(draft.name(), &release.revision, phase, attempt)
}
