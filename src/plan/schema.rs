//! Schema phases: one at a time per database, each Job released at most once.
//!
//! The protocol: take the hold (a compare-and-swap on the DatabaseSchema), create the Job
//! suspended, record its uid, release it, record its end, let the hold go. Whatever crashes in
//! between, the next pass reads from the record and the Job what comes next. The last two steps
//! are the database's own (see [`super::database`]).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::Draft,
    facts::{DatabaseFacts, JobFacts},
    intent::{Base, Kind, Write},
    render,
};
use crate::api::{
    DatabaseRecord, PhaseKind, SchemaSpec,
    database::{Dirty, Holder, PhaseRecord},
    status::{Release, SchemaStatus, Why},
};

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
    /// Its Job runs, or is about to.
    Running { message: String },
}

/// Where the expand of `release` stands, from the DatabaseSchema and the Jobs.
pub(super) fn expansion(draft: &Draft<'_>, release: &Release) -> Expansion {
    let Some(schema) = draft.spec.schema.as_ref().filter(|s| s.expand.is_some()) else {
        return Expansion::NotAsked;
    };
    let running = |message: String| Expansion::Running { message };
    let Some(database) = &draft.seen.database else {
        return running(format!("expand of {} is being prepared", schema.database));
    };
    let record = &database.record;
    let ended = ended(draft, record, release);
    if ended.is_some_and(|p| p.succeeded) {
        return Expansion::Succeeded;
    }
    if let Some(phase) = ended.filter(|p| p.attempt >= release.attempt) {
        return Expansion::Failed {
            job: phase.job.clone(),
            message: phase.message.clone(),
        };
    }
    match &record.holder {
        Some(holder) if is_ours(draft, holder, release) => match job_of(draft, holder) {
            None if holder.job_uid.is_some() && holder.attempt == release.attempt => {
                waiting(true, "JobVanished", vanished(holder))
            }
            _ => running(format!(
                "expand of {} runs in Job {}",
                schema.database, holder.job
            )),
        },
        Some(holder) => waiting(
            false,
            "WaitingForDatabase",
            format!(
                "{} is held by the {} of Rollout {} (Job {})",
                schema.database,
                holder.phase.word(),
                holder.rollout,
                holder.job
            ),
        ),
        None => match &record.dirty {
            Some(dirty) if release.accepted_dirty.as_ref() != Some(&dirty.job) => {
                waiting(true, "DatabaseDirty", dirty_words(schema, dirty, release))
            }
            _ => running(format!("expand of {} is about to start", schema.database)),
        },
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

fn vanished(holder: &Holder) -> String {
    format!(
        "Job {} is gone before its end was seen, so nobody knows how far it came: check the \
         database, then retry with the annotation stepgate.io/retry: \"{} <id>\"",
        holder.job, holder.revision
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
            p.rollout == draft.seen.rollout.name
                && p.revision == release.revision
                && p.phase == PhaseKind::Expand
        })
    };
    ours().find(|p| p.succeeded).or_else(|| ours().next())
}

fn is_ours(draft: &Draft<'_>, holder: &Holder, release: &Release) -> bool {
    holder.rollout == draft.seen.rollout.name
        && holder.revision == release.revision
        && holder.phase == PhaseKind::Expand
}

fn job_of<'s>(draft: &Draft<'s>, holder: &Holder) -> Option<&'s JobFacts> {
    draft.seen.jobs.iter().find(|job| {
        job.name == holder.job && holder.job_uid.as_ref().is_none_or(|uid| *uid == job.uid)
    })
}

/// Whether the Job that holds the database for this release is gone before its end was seen.
pub(super) fn job_vanished(draft: &Draft<'_>, release: &Release) -> bool {
    let holder = draft
        .seen
        .database
        .as_ref()
        .and_then(|d| d.record.holder.as_ref());
    holder.is_some_and(|holder| {
        is_ours(draft, holder, release)
            && holder.job_uid.is_some()
            && job_of(draft, holder).is_none()
    })
}

/// The highest attempt of this revision's expand on record, 0 when it never ran.
pub(super) fn attempts(draft: &Draft<'_>, revision: &str) -> i64 {
    let phases = draft
        .seen
        .database
        .as_ref()
        .map(|d| d.record.phases.as_slice());
    phases
        .unwrap_or_default()
        .iter()
        .filter(|p| p.rollout == draft.seen.rollout.name && p.revision == revision)
        .map(|p| p.attempt)
        .max()
        .unwrap_or(0)
}

/// The next write of the expand's protocol, if there is one to make now.
pub(super) fn drive(draft: &Draft<'_>, release: &Release) -> Option<Write> {
    let schema = draft.spec.schema.as_ref().filter(|s| s.expand.is_some())?;
    let Some(database) = &draft.seen.database else {
        return Some(Write::CreateDatabase {
            manifest: render::database(draft, &schema.database),
        });
    };
    let over = ended(draft, &database.record, release)
        .is_some_and(|p| p.succeeded || p.attempt >= release.attempt);
    if database.deleting || over {
        return None;
    }
    let Some(holder) = &database.record.holder else {
        return take_hold(draft, database, release);
    };
    if !is_ours(draft, holder, release) {
        return None;
    }
    match job_of(draft, holder) {
        Some(job) => advance(draft, database, holder, job),
        None if holder.job_uid.is_none() => {
            let manifest = render::job(draft, schema, holder, database)?;
            Some(Write::CreateJob { manifest })
        }
        // It vanished, and a person has said to run it again.
        None if holder.attempt < release.attempt => take_hold(draft, database, release),
        None => None,
    }
}

fn take_hold(draft: &Draft<'_>, database: &DatabaseFacts, release: &Release) -> Option<Write> {
    let dirty = database.record.dirty.as_ref();
    if dirty.is_some_and(|d| release.accepted_dirty.as_ref() != Some(&d.job)) {
        return None;
    }
    let rollout = &draft.seen.rollout.name;
    let mut record = (*database.record).clone();
    record.holder = Some(Holder {
        rollout: rollout.clone(),
        revision: release.revision.clone(),
        version: draft.spec.schema.as_ref().and_then(|s| s.version),
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
    Some(Write::RecordDatabase {
        base: base(database),
        record: Box::new(record),
    })
}

fn advance(
    draft: &Draft<'_>,
    database: &DatabaseFacts,
    holder: &Holder,
    job: &JobFacts,
) -> Option<Write> {
    if !job.suspended || job.ended.is_some() || job.deleting {
        return None;
    }
    if holder.job_uid.is_none() {
        let mut record = (*database.record).clone();
        record.holder = Some(Holder {
            job_uid: Some(job.uid.clone()),
            ..holder.clone()
        });
        return Some(Write::RecordDatabase {
            base: base(database),
            record: Box::new(record),
        });
    }
    let base = Base {
        name: job.name.clone(),
        uid: job.uid.clone(),
        resource_version: job.resource_version.clone(),
    };
    if job.epoch != Some(draft.seen.epoch) {
        return Some(Write::Fence {
            kind: Kind::Job,
            base,
            epoch: draft.seen.epoch,
        });
    }
    Some(Write::ReleaseJob { base })
}

/// The version of a DatabaseSchema that a write rests on.
pub(super) fn base(database: &DatabaseFacts) -> Base {
    Base {
        name: database.name.clone(),
        uid: database.uid.clone(),
        resource_version: database.resource_version.clone(),
    }
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
    let record = draft.seen.database.as_ref().map(|d| &d.record);
    let ours = |rollout: &str, of: &str, phase: PhaseKind| {
        rollout == draft.seen.rollout.name && of == revision && phase == PhaseKind::Expand
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
            status.message.clone_from(&phase.message);
        }
        (None, None) if release.is_none() => return draft.status.schema.clone(),
        (None, None) => {}
    }
    Some(status)
}
