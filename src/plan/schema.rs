//! Schema phases: one at a time per database, each Job released at most once.
//!
//! The protocol: take the hold (a compare-and-swap on the DatabaseSchema), create the Job
//! suspended, record its uid, release it, record its end, let the hold go. Whatever crashes in
//! between, the next pass reads from the record and the Job what comes next. The last two steps
//! are the database's own (see [`super::database`]).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::Draft,
    facts::{DatabaseFacts, JobFacts},
    intent::{Kind, Write},
    render,
};
use crate::api::{
    DatabaseRecord, PhaseKind, SchemaSpec,
    database::{Dirty, Holder, PhaseRecord},
    keys,
    status::{Release, SchemaStatus, Stage, Why},
};

/// Phases kept on record per database.
const KEPT_PHASES: usize = 400;

/// Where the expand of a release stands.
pub(super) enum Expansion {
    /// The spec has none.
    NotAsked,
    /// Pods of the revision may start.
    Succeeded,
    /// It failed; the Job of that name has the log.
    Failed { job: String, message: String },
    /// Somebody or something else comes first.
    Waiting { why: Why, stalled: bool },
    /// That Job may have left the schema half-way: a person comes first.
    HalfWay { job: String, why: Why },
    /// Its Job is not where the caches show it: what they show is to be read live first.
    Unread,
    /// Its Job runs, or is about to.
    Running { message: String },
}

/// Where the expand of `release` stands, from the DatabaseSchema and the Jobs.
pub(super) fn expansion(draft: &Draft<'_>, release: &Release) -> Expansion {
    let Some(schema) = draft.spec.schema.as_ref().filter(|s| s.expand.is_some()) else {
        return Expansion::NotAsked;
    };
    let name = &schema.database;
    let Some(database) = &draft.seen.objects.database else {
        return prepared(draft, format!("expand of {name} is being prepared"));
    };
    let record = &database.record;
    let ended = ended(draft, record, release);
    if ended.is_some_and(|p| p.succeeded) {
        return Expansion::Succeeded;
    }
    let holder = record.holder.as_ref();
    // What runs now has not said its last word, whatever an earlier attempt said.
    let ours = holder.is_some_and(|h| is_ours(draft, h, release));
    if let Some(phase) = ended.filter(|p| !ours && p.attempt >= release.attempt) {
        return Expansion::Failed {
            job: phase.job.clone(),
            message: phase.message.clone(),
        };
    }
    match holder {
        Some(holder) if rests_on_caches(draft, holder) => Expansion::Unread,
        Some(holder) if has_vanished(draft, holder) => {
            if may_take_over(draft, holder, release) {
                prepared(draft, format!("expand of {name} is about to start anew"))
            } else {
                half_way(&holder.job, "JobVanished", vanished(holder, release))
            }
        }
        Some(holder) if ours => {
            let message = format!("expand of {name} runs in Job {}", holder.job);
            match job_of(draft, holder) {
                Some(job) if job.has_begun() => running(draft, job, message),
                Some(_) | None => prepared(draft, message),
            }
        }
        Some(holder) => waiting(
            false,
            "WaitingForDatabase",
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
            Some(dirty) if release.accepted_dirty.as_ref() != Some(&dirty.job) => {
                let words = dirty_words(schema, dirty, release);
                half_way(&dirty.job, "DatabaseDirty", words)
            }
            _ => prepared(draft, format!("expand of {name} is about to start")),
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
    let own = holder.rollout == draft.seen.objects.rollout.base.name;
    let job = job_of(draft, holder).filter(|_| own)?;
    let waits = !job.suspended && !job.runs && job.ended.is_none();
    waits.then_some((job.base.name.clone(), job.started?))
}

/// Its Job runs, unless somebody keeps it from that.
fn running(draft: &Draft<'_>, job: &JobFacts, mut message: String) -> Expansion {
    if job.suspended {
        let words = format!(
            "Job {} was suspended after it had begun: set its spec.suspend to false, or delete it \
             and check the database",
            job.base.name
        );
        return waiting(false, "JobSuspended", words);
    }
    if let Some(database) = draft.seen.objects.database.as_ref().filter(|d| d.deleting) {
        message = format!(
            "{message}; DatabaseSchema {} is being deleted: when that Job has ended, the expand \
             runs once more on a new one",
            database.base.name
        );
    }
    Expansion::Running { message }
}

/// Its Job is about to be made, unless the spec says by now how it must not be made.
fn prepared(draft: &Draft<'_>, message: String) -> Expansion {
    if let Some(problem) = render::phase_problem(&draft.spec) {
        return waiting(true, "InvalidSpec", problem);
    }
    match draft.seen.objects.database.as_ref().filter(|d| d.deleting) {
        Some(database) => {
            let words = format!(
                "DatabaseSchema {} is being deleted, and with it the record of what ran: when it \
                 is gone a new one is made, and the expand runs from the beginning; if it stays, \
                 see its metadata.finalizers",
                database.base.name
            );
            waiting(false, "DatabaseTerminating", words)
        }
        None => Expansion::Running { message },
    }
}

fn waiting(stalled: bool, reason: &str, message: String) -> Expansion {
    Expansion::Waiting {
        why: Why {
            reason: reason.into(),
            message,
        },
        stalled,
    }
}

fn half_way(job: &str, reason: &str, message: String) -> Expansion {
    Expansion::HalfWay {
        job: job.to_owned(),
        why: Why {
            reason: reason.into(),
            message,
        },
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

/// The end of this revision's expand on record: its success, else its last failure. A success
/// counts for good, whatever the attempt.
fn ended<'r>(
    draft: &Draft<'_>,
    record: &'r DatabaseRecord,
    release: &Release,
) -> Option<&'r PhaseRecord> {
    let ours = || {
        record.phases.iter().rev().filter(|p| {
            p.rollout == draft.seen.objects.rollout.base.name
                && p.revision == release.revision
                && p.phase == PhaseKind::Expand
        })
    };
    ours().find(|p| p.succeeded).or_else(|| ours().next())
}

fn is_ours(draft: &Draft<'_>, holder: &Holder, release: &Release) -> bool {
    holder.rollout == draft.seen.objects.rollout.base.name
        && holder.revision == release.revision
        && holder.phase == PhaseKind::Expand
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
    holder.rollout == draft.seen.objects.rollout.base.name
        && job_of(draft, holder).is_none()
        && read.is_none_or(|uid| database.is_none_or(|d| d.base.uid != *uid))
}

/// The DatabaseSchema that is to be read live before the expand, or a hold that is not needed any
/// more, can go on.
pub(super) fn to_be_read(draft: &Draft<'_>) -> Option<String> {
    let database = draft.seen.objects.database.as_ref()?;
    let holder = database.record.holder.as_ref()?;
    let expands = |release: &Release| release.stage == Stage::Expand;
    // What has vanished stays where it is; without an expand nobody waits for it.
    let matters = holder.job_uid.is_none() || draft.status.release.as_ref().is_some_and(expands);
    (matters && rests_on_caches(draft, holder)).then(|| database.base.name.clone())
}

/// Whether a Job of this Rollout that holds the database is gone before its end was seen. Jobs of
/// other Rollouts are not known here.
fn has_vanished(draft: &Draft<'_>, holder: &Holder) -> bool {
    holder.rollout == draft.seen.objects.rollout.base.name
        && holder.job_uid.is_some()
        && job_of(draft, holder).is_none()
}

/// Whether a person has said that a vanished Job's hold may be taken over.
fn may_take_over(draft: &Draft<'_>, holder: &Holder, release: &Release) -> bool {
    release.accepted_dirty.as_ref() == Some(&holder.job)
        || (is_ours(draft, holder, release) && holder.attempt < release.attempt)
}

/// The hold that waits for a person because its Job is gone before its end was seen.
pub(super) fn vanished_hold<'s>(draft: &Draft<'s>, release: &Release) -> Option<&'s Holder> {
    let database = draft.seen.objects.database.as_ref()?;
    let holder = database.record.holder.as_ref()?;
    (has_vanished(draft, holder) && !may_take_over(draft, holder, release)).then_some(holder)
}

/// The highest attempt of this revision's expand on record, 0 when it never ran.
pub(super) fn attempts(draft: &Draft<'_>, revision: &str) -> i64 {
    let phases = draft
        .seen
        .objects
        .database
        .as_ref()
        .map(|d| d.record.phases.as_slice());
    phases
        .unwrap_or_default()
        .iter()
        .filter(|p| p.rollout == draft.seen.objects.rollout.base.name && p.revision == revision)
        .map(|p| p.attempt)
        .max()
        .unwrap_or(0)
}

/// The next write of the expand's protocol, if there is one to make now.
pub(super) fn drive(draft: &Draft<'_>, release: &Release) -> Option<Write> {
    let schema = draft.spec.schema.as_ref().filter(|s| s.expand.is_some())?;
    let Some(database) = &draft.seen.objects.database else {
        return Some(Write::Create {
            kind: Kind::Database,
            manifest: render::database(draft, &schema.database),
        });
    };
    let record = &database.record;
    let ours = (record.holder.as_ref()).is_some_and(|h| is_ours(draft, h, release));
    let over = ended(draft, record, release)
        .is_some_and(|p| p.succeeded || (!ours && p.attempt >= release.attempt));
    if database.deleting || over {
        return None;
    }
    let makes_a_job = render::phase_problem(&draft.spec).is_none();
    let Some(holder) = &record.holder else {
        return (makes_a_job && !is_dirty(record, release))
            .then(|| take_hold(draft, database, release));
    };
    if rests_on_caches(draft, holder) {
        return None;
    }
    match job_of(draft, holder) {
        Some(job) if ours => advance(draft, database, holder, job),
        None if ours && holder.job_uid.is_none() && makes_a_job => {
            let manifest = render::job(draft, schema, holder, database)?;
            Some(Write::Create {
                kind: Kind::Job,
                manifest,
            })
        }
        // It vanished, and a person has said to run it again.
        None if has_vanished(draft, holder) && may_take_over(draft, holder, release) => {
            makes_a_job.then(|| take_hold(draft, database, release))
        }
        _ => None,
    }
}

/// Whether a phase left the schema half-way and nobody has accepted that for this release.
fn is_dirty(record: &DatabaseRecord, release: &Release) -> bool {
    let dirty = record.dirty.as_ref();
    dirty.is_some_and(|d| release.accepted_dirty.as_ref() != Some(&d.job))
}

/// The writes by which a hold is let go whose Job was never released: nothing has happened, so
/// nothing is lost. One at a time, and whatever is cut off is gone on with: the Job is fenced;
/// its uid leaves the record, so that it is not missed; it goes; the hold goes.
pub(super) fn let_go(
    database: &DatabaseFacts,
    holder: &Holder,
    job: Option<&JobFacts>,
    epoch: i64,
) -> Option<Write> {
    let mut record = (*database.record).clone();
    let job_uid = match (job, &holder.job_uid) {
        (Some(job), None) if job.has_begun() => {
            // A write that was late has released it after all: it is followed to its end.
            Some(job.base.uid.clone())
        }
        (Some(job), Some(_)) if !job.has_begun() && job.epoch == Some(epoch) => None,
        (Some(job), Some(_)) if !job.has_begun() => {
            return Some(Write::Fence {
                kind: Kind::Job,
                base: job.base.clone(),
                epoch,
            });
        }
        // It runs, or nobody knows how far it came.
        (_, Some(_)) => return None,
        (Some(job), None) if job.deleting => return None,
        (Some(job), None) => {
            return Some(Write::Delete {
                kind: Kind::Job,
                base: job.base.clone(),
            });
        }
        (None, None) => {
            record.holder = None;
            return Some(record_write(database, record));
        }
    };
    record.holder = Some(Holder {
        job_uid,
        ..holder.clone()
    });
    Some(record_write(database, record))
}

/// The next write that lets go a hold of this Rollout that no release of it needs any more.
pub(super) fn let_go_of_abandoned(draft: &Draft<'_>) -> Option<Write> {
    let database = draft.seen.objects.database.as_ref()?;
    let holder = database.record.holder.as_ref()?;
    let needed = |release: &Release| before_its_pods(release) && is_ours(draft, holder, release);
    let foreign =
        holder.rollout != draft.seen.objects.rollout.base.name || holder.phase != PhaseKind::Expand;
    let needed = draft.status.release.as_ref().is_some_and(needed);
    if foreign || needed || rests_on_caches(draft, holder) {
        return None;
    }
    let_go(database, holder, job_of(draft, holder), draft.seen.epoch)
}

/// Puts the end of a phase on record.
pub(super) fn keep_phase(record: &mut DatabaseRecord, phase: PhaseRecord) {
    record.phases.push(phase);
    let surplus = record.phases.len().saturating_sub(KEPT_PHASES);
    record.phases.drain(..surplus);
}

/// Writes a record, with the finalizer that belongs to it.
pub(super) fn record_write(database: &DatabaseFacts, record: DatabaseRecord) -> Write {
    let mut finalizers = database.finalizers.clone();
    finalizers.retain(|finalizer| finalizer != keys::HELD);
    if record.holder.is_some() {
        finalizers.push(keys::HELD.to_owned());
    }
    Write::RecordDatabase {
        base: database.base.clone(),
        record: Box::new(record),
        finalizers,
    }
}

/// Takes the database, also from a Job that is gone and of which a person has said so. Its attempt
/// stays on record, or it would be made a second time.
fn take_hold(draft: &Draft<'_>, database: &DatabaseFacts, release: &Release) -> Write {
    let rollout = &draft.seen.objects.rollout.base.name;
    let mut record = (*database.record).clone();
    if let Some(gone) = record.holder.take() {
        let message = "its Job was gone before its end was seen, and a retry went on without it";
        let ended = gone.ended(false, Time(draft.now), message.into());
        keep_phase(&mut record, ended);
    }
    record.holder = Some(Holder {
        rollout: rollout.clone(),
        revision: release.revision.clone(),
        version: draft.spec.schema_version(),
        phase: PhaseKind::Expand,
        attempt: release.attempt,
        job: render::job_name(
            rollout,
            &release.revision,
            PhaseKind::Expand,
            release.attempt,
        ),
        job_uid: None,
        since: Time(draft.now),
    });
    record_write(database, record)
}

fn advance(
    draft: &Draft<'_>,
    database: &DatabaseFacts,
    holder: &Holder,
    job: &JobFacts,
) -> Option<Write> {
    // One that has begun is not let run again, whoever suspended it.
    if job.has_begun() || job.deleting {
        return None;
    }
    if holder.job_uid.is_none() {
        let mut record = (*database.record).clone();
        record.holder = Some(Holder {
            job_uid: Some(job.base.uid.clone()),
            ..holder.clone()
        });
        return Some(record_write(database, record));
    }
    let base = job.base.clone();
    if job.epoch != Some(draft.seen.epoch) {
        return Some(Write::Fence {
            kind: Kind::Job,
            base,
            epoch: draft.seen.epoch,
        });
    }
    Some(Write::ReleaseJob { base })
}

const fn before_its_pods(release: &Release) -> bool {
    matches!(release.stage, Stage::Preflight | Stage::Expand)
}

/// What people read of the schema.
pub(super) fn status(draft: &Draft<'_>) -> Option<SchemaStatus> {
    let schema = draft.spec.schema.as_ref().filter(|s| s.expand.is_some())?;
    let release = draft.status.release.as_ref();
    let revision = release.map_or_else(|| draft.wanted.clone(), |r| r.revision.clone());
    let mut status = SchemaStatus {
        database: schema.database.clone(),
        version: schema.version,
        phase: PhaseKind::Expand,
        revision: revision.clone(),
        attempt: release.map_or(1, |r| r.attempt),
        state: "Waiting".into(),
        job: None,
        message: String::new(),
    };
    let record = draft.seen.objects.database.as_ref().map(|d| &d.record);
    let ours = |rollout: &str, of: &str, phase: PhaseKind| {
        rollout == draft.seen.objects.rollout.base.name
            && of == revision
            && phase == PhaseKind::Expand
    };
    let holder = record
        .and_then(|r| r.holder.as_ref())
        .filter(|h| ours(&h.rollout, &h.revision, h.phase));
    let phase = record.and_then(|r| {
        r.phases
            .iter()
            .rev()
            .find(|p| ours(&p.rollout, &p.revision, p.phase))
    });
    match (holder, phase) {
        (Some(holder), _) => {
            status.state = "Running".into();
            status.attempt = holder.attempt;
            status.job = Some(holder.job.clone());
        }
        (None, Some(phase)) => {
            status.state = if phase.succeeded {
                "Succeeded"
            } else {
                "Failed"
            }
            .into();
            status.attempt = phase.attempt;
            status.job = Some(phase.job.clone());
            // With the end of the log, where this revision's own release has read it.
            let told =
                draft.status.history.iter().find(|ended| {
                    ended.revision == phase.revision && ended.reason == "ExpandFailed"
                });
            let message = told
                .filter(|_| !phase.succeeded)
                .map(|ended| &ended.message);
            status.message.clone_from(message.unwrap_or(&phase.message));
        }
        // What was told stays, also where somebody deletes the record.
        (None, None) if !release.is_some_and(before_its_pods) => {
            return draft.status.schema.clone();
        }
        (None, None) => {}
    }
    Some(status)
}
