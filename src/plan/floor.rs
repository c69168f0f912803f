//! The undo floor: which revisions can run again, by what contracts and reverts have removed.

use super::{
    adopting,
    decision::{Halt, Wait},
    draft::Draft,
    facts::Question,
    life,
    reason::Reason,
};

/// Why a revision of this schema version can no longer run, if it cannot.
pub(super) fn below_floor(
    draft: &Draft<'_>,
    revision: &str,
    version: Option<i64>,
) -> Option<String> {
    // An adopted Deployment served at that floor, and while it is there no contract runs.
    if adopting::deployment_of(revision).is_some() {
        return None;
    }
    let floor = draft.seen.objects.database.as_ref()?.record.undo_floor?;
    match version {
        Some(version) => (version < floor).then(|| {
            format!(
                "revision {revision} needs schema version {version}, but the contract of version \
                 {floor} removed parts of it: release a revision of version {floor} or above"
            )
        }),
        None => draft.spec.database().map(|_| {
            format!(
                "revision {revision} gives no schema.version, and may need what the contract of \
                 version {floor} has removed: give it the version that it needs"
            )
        }),
    }
}

/// A former stable may run again.
///
/// # Errors
/// Why it may not, or what must be read first.
pub(super) fn may_return(draft: &Draft<'_>, revision: &str) -> Result<(), Halt> {
    if let Some(words) = uses_another_database(draft, revision) {
        return Err(Wait::stalled(Reason::BelowUndoFloor, words).into());
    }
    below_floor_live(draft, revision)
}

/// Why a revision may not run again, as far as the caches know.
pub(super) fn why_not_back(draft: &Draft<'_>, revision: &str) -> Option<String> {
    let known = draft.seen.objects.revision(revision);
    let version = known.and_then(|r| r.schema_version);
    let floor = || below_floor(draft, revision, version);
    let used = known.and_then(|r| r.database.as_deref());
    let other = used.is_some_and(|used| Some(used) != draft.spec.database());
    uses_another_database(draft, revision).or_else(|| floor().filter(|_| !other))
}

fn uses_another_database(draft: &Draft<'_>, revision: &str) -> Option<String> {
    let known = draft.seen.objects.revision(revision);
    let used = known.and_then(|r| r.database.as_deref().filter(|_| r.schema_version.is_some()));
    let used = used.filter(|used| Some(*used) != draft.spec.database())?;
    Some(format!(
        "revision {revision} uses database {used}, but spec.schema.database names another one or \
         none: Stepgate cannot tell whether the schema that this revision needs still exists. To \
         roll back, set spec.schema.database to {used}"
    ))
}

/// The same of a former stable, by the floor as it is on record now: a cache that lags may not show
/// yet what a contract or a revert is about to remove.
///
/// # Errors
/// That it can no longer run, or what must be read first.
pub(super) fn below_floor_live(draft: &Draft<'_>, revision: &str) -> Result<(), Halt> {
    let Some(database) = &draft.seen.objects.database else {
        return Ok(());
    };
    let known = draft.seen.objects.revision(revision);
    let version = known.and_then(|r| r.schema_version);
    // Another database has another floor.
    let used = known.and_then(|r| r.database.as_deref());
    if used.is_some_and(|used| Some(used) != draft.spec.database()) {
        return Ok(());
    }
    let record = &database.record;
    // Without a version nothing is asked of a database that knows none.
    if version.is_none() && record.versions.is_empty() && record.undo_floor.is_none() {
        return Ok(());
    }
    if draft.seen.answers.hold_live.as_ref() != Some(&database.base.uid) {
        return Halt::ask(Question::Hold(database.base.name.clone()));
    }
    match below_floor(draft, revision, version) {
        Some(words) => Err(Wait::stalled(Reason::BelowUndoFloor, words).into()),
        None => life::revert::lets_pods_start(draft, version),
    }
}
