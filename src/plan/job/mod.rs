//! Jobs of a release: where they stand.
//!
//! What runs when, and what a failure means, is a row of [`terms`]; the writes are those of the
//! [`protocol`]; what people read of it is [`told`]. Those that hold no database are tests of a step
//! (`step_test`).

pub(super) mod heard;
pub(super) mod permission;
mod phase;
pub mod pod;
pub(super) mod preflight;
pub mod progress;
pub(super) mod proof;
pub mod protocol;
pub(super) mod recorded;
pub mod sql;
pub(super) mod step_test;
mod summary;
pub mod terms;
pub(super) mod texts;
pub mod told;
mod upward;

pub(crate) use self::sql::order_in;

use jiff::Timestamp;

use super::{
    decision::{Halt, Obstacle},
    draft::{Draft, later},
    facts::{DatabaseFacts, JobFacts},
    reason::Reason,
    revision,
    words::clean_of,
};
use crate::api::{
    DatabaseRecord, PhaseKind, SchemaSpec,
    database::{Dirty, Holder, PhaseRecord, SqlRefusal, VersionRecord},
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
        /// Why Stepgate's runner has refused it, where more follows from that.
        refusal: Option<SqlRefusal>,
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

/// Where a Job stands, from the DatabaseSchema and the Jobs.
pub(super) fn run(draft: &Draft<'_>, turn: &Turn<'_>) -> Run {
    let word = turn.phase().word();
    let Some(name) = turn.asked(draft) else {
        return Run::NotAsked;
    };
    let Some(database) = &draft.seen.objects.database else {
        return prepared(draft, turn, format!("{word} of {name} is being prepared"));
    };
    let record = &database.record;
    let ended = turn.ended(draft, record);
    if ended.is_some_and(|p| p.succeeded) {
        return Run::Succeeded;
    }
    let holder = record.held_for(turn.phase());
    // What runs now has not said its last word, whatever an earlier attempt said.
    let ours = holder.is_some_and(|h| turn.is_of(draft, h));
    if let Some(phase) = ended.filter(|p| !ours && p.attempt >= turn.job.attempt) {
        return Run::Failed {
            job: phase.job.clone(),
            message: phase.message.clone(),
            nothing_applied: phase.nothing_applied,
            refusal: phase.refusal,
        };
    }
    match holder {
        Some(holder) if rests_on_caches(draft, holder) => Run::Unread,
        Some(holder) if has_vanished(draft, holder) => {
            if turn.may_take_over(draft, holder) {
                prepared(
                    draft,
                    turn,
                    format!("{word} of {name} is about to start again"),
                )
            } else {
                half_way(
                    &holder.job,
                    Reason::JobVanished,
                    vanished(holder, turn.to_retry(draft)),
                )
            }
        }
        Some(holder) if ours => {
            let message = format!("{word} of {name} runs in Job {}", holder.job);
            match job_of(draft, holder) {
                Some(job) if job.has_begun() => running(draft, job, message),
                Some(_) | None => prepared(draft, turn, message),
            }
        }
        Some(holder) => waiting(
            false,
            Reason::WaitingForDatabase,
            format!(
                "{name} is held by the {} of Rollout {} until its Job {} has ended; if there is no \
                 such Job any more, check the database and remove record.{} of \
                 DatabaseSchema {name}",
                holder.phase.word(),
                holder.rollout,
                holder.job,
                holder.phase.slot().field(),
            ),
        ),
        None => match (turn.left_dirty(record), turn.kept_out_by(record)) {
            (_, Some(other)) => waiting(
                false,
                Reason::WaitingForDatabase,
                format!(
                    "the {} of Rollout {} (Job {}) has {name}, and a backfill that is exclusive runs \
                     beside nothing",
                    other.phase.word(),
                    other.rollout,
                    other.job
                ),
            ),
            (Some(dirty), None) => {
                let words = dirty_words(draft, name, dirty, turn);
                half_way(&dirty.job, Reason::DatabaseDirty, words)
            }
            // A preflight may have no more than the questions that are built in.
            (None, None) if !turn.has_job(draft) => Run::Succeeded,
            (None, None) => prepared(draft, turn, format!("{word} of {name} is about to start")),
        },
    }
}

/// The Job of this Rollout that holds the database and whose pod does not run though it was let
/// run, and since when. It may be an earlier release's.
pub(super) fn waits_for_its_pod(draft: &Draft<'_>) -> Option<(String, Timestamp)> {
    let record = &draft.seen.objects.database.as_ref()?.record;
    record.holders().find_map(|holder| {
        let own = holder.rollout == draft.name();
        let job = job_of(draft, holder).filter(|_| own)?;
        let waits = !job.suspended && !job.runs && job.ended.is_none();
        waits.then_some((job.base.name.clone(), job.started?))
    })
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
            "{message}; {} of its runs exited with {}, so nothing was applied: Stepgate runs it \
             again",
            job.failed_pods,
            pod::NOTHING_APPLIED
        );
    }
    if let Some(database) = draft.seen.objects.database.as_ref().filter(|d| d.deleting) {
        message = format!(
            "{message}; DatabaseSchema {} is being deleted: when that Job has ended, it runs once \
             more on a new one",
            database.base.name
        );
    }
    Run::Runs(message)
}

/// Its Job is about to be made, unless the spec says by now how it must not be made.
fn prepared(draft: &Draft<'_>, turn: &Turn<'_>, message: String) -> Run {
    if let Some(obstacle) = turn.unusable(draft) {
        return Run::Waiting(obstacle);
    }
    if let Some(problem) = draft.spec.problem().filter(|_| turn.is_of_the_spec(draft)) {
        return waiting(true, Reason::InvalidSpec, problem.to_owned());
    }
    match draft.seen.objects.database.as_ref().filter(|d| d.deleting) {
        Some(database) => {
            let words = format!(
                "DatabaseSchema {} is being deleted, and with it the record of what ran: when it \
                 is gone a new one is made, and the {} runs from the beginning; if it stays, see \
                 its metadata.finalizers",
                database.base.name,
                turn.phase().word()
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

fn vanished(holder: &Holder, revision: &str) -> String {
    format!(
        "Job {} was deleted before Stepgate saw its end, so it is unknown what was applied: check \
         the database, then retry with the annotation stepgate.io/retry: \"{revision} <id>\"",
        holder.job
    )
}

fn dirty_words(draft: &Draft<'_>, database: &str, dirty: &Dirty, turn: &Turn<'_>) -> String {
    // What removes something waits until it is put right, whatever is accepted.
    let goes_on = match turn.of {
        Of::Release(_) => format!(
            ", then continue this release with the annotation stepgate.io/retry: \"{} <id>\"",
            turn.to_retry(draft)
        ),
        Of::Version(_) => String::new(),
    };
    format!(
        "the {} of Rollout {} failed on {database} (Job {}) and may have left the database \
         inconsistent: check the database{goes_on}. Once it is fixed, confirm it: {}",
        dirty.phase.word(),
        dirty.rollout,
        dirty.job,
        clean_of(draft, database, &dirty.job)
    )
}

/// A Job at its attempt, and what it is for.
pub(super) struct Turn<'a> {
    of: Of<'a>,
    job: JobStatus,
    /// A success of an earlier attempt is not enough.
    least: i64,
}

/// What a Job is for.
enum Of<'a> {
    /// A release, once per revision.
    Release(&'a Release),
    /// A schema version, once for all its revisions.
    Version(&'a VersionRecord),
}

impl<'a> Turn<'a> {
    /// This Job of a release.
    pub(crate) fn of_release(draft: &Draft<'_>, release: &'a Release, phase: PhaseKind) -> Self {
        let mut turn = Self {
            of: Of::Release(release),
            job: release.job(phase),
            least: 0,
        };
        // What a preflight found for an earlier release is no answer for this one.
        if let Some(first) = turn.job.first {
            turn.least = first;
        }
        turn.after_what_was_undone(draft)
    }

    /// This Job of a version, from the attempt `least` on.
    pub(crate) fn of_version(
        draft: &Draft<'_>,
        version: &'a VersionRecord,
        phase: PhaseKind,
        least: i64,
    ) -> Self {
        let mut said = draft.status.version_jobs.iter();
        let said = said.find(|jobs| jobs.version == version.version);
        let known = said.and_then(|said| said.jobs.iter().find(|job| job.phase == phase));
        let mut job = known.cloned().unwrap_or(JobStatus::new(phase, 1));
        job.attempt = job.attempt.max(least);
        let turn = Self {
            of: Of::Version(version),
            job,
            least,
        };
        turn.after_what_was_undone(draft)
    }

    /// What was taken back runs again, as an attempt that was not there before.
    fn after_what_was_undone(mut self, draft: &Draft<'_>) -> Self {
        let database = draft.seen.objects.database.as_ref();
        let phases = database.into_iter().flat_map(|d| &d.record.phases);
        let undone = phases.filter(|p| p.undone_by.is_some() && self.ran(draft, p));
        if let Some(last) = undone.map(|p| p.attempt).max() {
            self.job.attempt = self.job.attempt.max(last + 1);
        }
        self
    }

    /// Whether this is on record of it, of whatever attempt.
    fn ran(&self, draft: &Draft<'_>, phase: &PhaseRecord) -> bool {
        let of = match self.of {
            Of::Release(release) => phase.revision == release.revision,
            Of::Version(version) => phase.version == Some(version.version),
        };
        of && phase.rollout == draft.name() && phase.phase == self.job.phase
    }

    /// Whether a Job runs for it at all.
    fn has_job(&self, draft: &Draft<'_>) -> bool {
        match self.of {
            Of::Release(_) => {
                let schema = draft.spec.schema.as_ref();
                schema.is_some_and(|schema| schema.has_job(self.job.phase))
            }
            Of::Version(_) => true,
        }
    }

    /// Which phase it runs.
    pub const fn phase(&self) -> PhaseKind {
        self.job.phase
    }

    /// Its state, as far as people said something of it.
    pub const fn job(&self) -> &JobStatus {
        &self.job
    }

    /// Its Job's name at its present attempt.
    pub fn name(&self, draft: &Draft<'_>) -> String {
        job_name(
            draft.name(),
            self.revision(),
            self.job.phase,
            self.job.attempt,
        )
    }

    fn revision(&self) -> &'a str {
        match self.of {
            Of::Release(release) => &release.revision,
            Of::Version(version) => &version.revision,
        }
    }

    fn version(&self, draft: &Draft<'_>) -> Option<i64> {
        match self.of {
            Of::Release(_) => draft.spec.schema_version(),
            Of::Version(version) => Some(version.version),
        }
    }

    /// The database, where it is asked for.
    fn asked<'d>(&self, draft: &'d Draft<'_>) -> Option<&'d str> {
        let schema = draft.spec.schema.as_ref()?;
        let asked = match self.of {
            Of::Release(_) => schema.phase(self.job.phase).is_some(),
            Of::Version(version) => version.asks(self.job.phase).is_some(),
        };
        asked.then_some(schema.database.as_str())
    }

    /// What it runs is what the spec says now.
    fn is_of_the_spec(&self, draft: &Draft<'_>) -> bool {
        match self.of {
            Of::Release(_) => true,
            Of::Version(version) => {
                draft.wanted == version.revision
                    && draft.spec.schema_version() == Some(version.version)
            }
        }
    }

    /// What its Job is rendered from: the spec, or what a revision that the spec has left
    /// remembers.
    ///
    /// # Errors
    /// What must be read first.
    fn source<'d>(
        &self,
        draft: &Draft<'d>,
    ) -> Result<Option<(&'d serde_json::Value, &'d SchemaSpec)>, Halt> {
        if self.is_of_the_spec(draft) {
            let whole = draft.whole()?;
            return Ok(whole
                .schema
                .as_ref()
                .map(|schema| (&whole.template, schema)));
        }
        let Some(revision) = draft.seen.objects.revision(self.revision()) else {
            return Ok(None);
        };
        let kept = draft.remembered(revision)?;
        Ok(kept.schema.as_ref().map(|schema| (&kept.template, schema)))
    }

    /// Whether this is what was asked for, and approved if it had to be.
    fn is_asked(&self, template: &serde_json::Value, schema: &SchemaSpec) -> bool {
        let Of::Version(version) = self.of else {
            return true;
        };
        let all = [
            revision::asked(template, Some(schema)),
            revision::asked_after_failure(template, Some(schema)),
        ];
        let asked = all.iter().flatten();
        let mut asked = asked.filter(|asked| asked.phase == self.job.phase);
        let known = version.asks(self.job.phase);
        asked
            .next()
            .zip(known)
            .is_some_and(|(asked, known)| phase::runs_the_same(asked, known))
    }

    /// The revision that a retry of it is bound to.
    fn to_retry<'d>(&self, draft: &'d Draft<'_>) -> &'d str {
        draft.wanted
    }

    /// Its end on record: its success, else its last failure. A success counts for good, whatever
    /// the attempt, unless it was taken back; that of a preflight for its release.
    fn ended<'r>(&self, draft: &Draft<'_>, record: &'r DatabaseRecord) -> Option<&'r PhaseRecord> {
        let ours = || {
            let latest_first = record.phases.iter().rev();
            latest_first.filter(|p| p.undone_by.is_none() && self.ran(draft, p))
        };
        let mut enough = ours().filter(|p| p.attempt >= self.least);
        enough
            .find(|p| p.succeeded)
            .or_else(|| ours().find(|p| !p.succeeded))
    }

    /// Whether the hold is this Job's, of whatever attempt.
    fn is_of(&self, draft: &Draft<'_>, holder: &Holder) -> bool {
        let of = match self.of {
            Of::Release(release) => holder.revision == release.revision,
            Of::Version(version) => holder.version == Some(version.version),
        };
        of && holder.rollout == draft.name() && holder.phase == self.job.phase
    }

    /// Whether a person has said that a vanished Job's hold may be taken over. Of one that only
    /// looked, for something else than this, nobody needs to.
    pub(crate) fn may_take_over(&self, draft: &Draft<'_>, holder: &Holder) -> bool {
        let own = self.is_of(draft, holder);
        self.job.accepts(&holder.job)
            || (own && holder.attempt < self.job.attempt)
            || (!own && terms::only_looks(holder.phase))
    }

    /// What a phase left half-way and keeps it from running: nobody has accepted that for it. A
    /// backfill writes rows, and runs beside whatever the schema waits for.
    fn left_dirty<'r>(&self, record: &'r DatabaseRecord) -> Option<&'r Dirty> {
        let minds = self.job.phase != PhaseKind::Backfill;
        let mut dirty = record.dirty.iter().filter(|_| minds);
        dirty.find(|dirty| !self.job.accepts(&dirty.job))
    }
}

fn job_of<'s>(draft: &Draft<'s>, holder: &Holder) -> Option<&'s JobFacts> {
    job_among(
        &draft.seen.objects.jobs,
        draft.seen.objects.database.as_ref()?,
        holder,
    )
}

/// Seconds that the clocks of the operator and of Kubernetes' controllers may differ.
const SKEW_SECONDS: i64 = 120;

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
        // One that ran long before this hold is of an attempt that a backup has forgotten.
        None => {
            let ran_before = |at: Timestamp| later(at, SKEW_SECONDS) < holder.since.0;
            job.owner_uid.as_ref() == Some(&database.base.uid)
                && !job.started.is_some_and(ran_before)
        }
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

/// The DatabaseSchema that is to be read live before a Job, or a hold that is not needed any more,
/// can go on.
pub(super) fn to_be_read(draft: &Draft<'_>) -> Option<String> {
    let database = draft.seen.objects.database.as_ref()?;
    let waits = |release: &Release| matches!(release.stage, Stage::Job(_));
    let waited_for = draft.status.release.as_ref().is_some_and(waits);
    // What has vanished stays where it is; without a release that waits for it nobody misses it.
    let mut holders = database.record.holders();
    let unread = holders.any(|holder| {
        let matters = terms::is_after_release(holder.phase) || terms::only_looks(holder.phase);
        (holder.job_uid.is_none() || waited_for || matters) && rests_on_caches(draft, holder)
    });
    unread.then(|| database.base.name.clone())
}

/// Whether a Job of this Rollout that holds the database is gone before its end was seen. Jobs of
/// other Rollouts are not known here.
fn has_vanished(draft: &Draft<'_>, holder: &Holder) -> bool {
    holder.rollout == draft.name() && holder.job_uid.is_some() && job_of(draft, holder).is_none()
}

/// The hold that waits for a person because its Job is gone before its end was seen.
pub(super) fn vanished_hold<'s>(draft: &Draft<'s>, turn: &Turn<'_>) -> Option<&'s Holder> {
    let database = draft.seen.objects.database.as_ref()?;
    let holder = database.record.held_for(turn.phase())?;
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

/// The same for a version, whichever of its revisions it ran for.
pub(super) fn attempts_of_version(
    draft: &Draft<'_>,
    version: &VersionRecord,
    phase: PhaseKind,
) -> i64 {
    let database = draft.seen.objects.database.as_ref();
    let phases = database.map(|d| d.record.phases.as_slice());
    let phases = phases.unwrap_or_default().iter();
    let of = |p: &&PhaseRecord| p.version == Some(version.version) && p.phase == phase;
    phases.filter(of).map(|p| p.attempt).max().unwrap_or(1)
}

/// Whether the Job of a hold was let run and is gone, as is known from a live read.
pub(super) fn is_gone(draft: &Draft<'_>, holder: &Holder) -> bool {
    has_vanished(draft, holder) && !rests_on_caches(draft, holder)
}

/// Whether the Job of a hold may have begun.
pub(super) fn has_begun(draft: &Draft<'_>, holder: &Holder) -> bool {
    job_of(draft, holder).is_some_and(JobFacts::has_begun)
}

/// Name of a phase's Job. It ends in the attempt.
fn job_name(rollout: &str, revision: &str, phase: PhaseKind, attempt: i64) -> String {
    format!("{rollout}-{revision}-{}-{attempt}", phase.word())
}
