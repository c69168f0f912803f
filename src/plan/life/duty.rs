//! What a Rollout is still to run for the versions that are its own.

use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{Holder, PhaseRecord, SqlRefusal, VersionRecord},
        keys,
        schema::KeptBy,
    },
    plan::{
        draft::Draft,
        facts::DatabaseFacts,
        intent::Write,
        job::{self, Turn, protocol},
    },
};

/// The phase of a version that comes next, from this attempt on.
pub(in crate::plan) struct Duty<'s> {
    pub version: &'s VersionRecord,
    pub phase: PhaseKind,
    pub least: i64,
}

impl<'s> Duty<'s> {
    /// What is still to run for this version.
    pub fn of(draft: &Draft<'_>, version: &'s VersionRecord) -> Option<Self> {
        let least = version
            .backfilled
            .as_ref()
            .map_or(1, |done| done.attempt + 1);
        let backfill = Self {
            version,
            phase: PhaseKind::Backfill,
            least,
        };
        if version.lacks_backfill() || is_outdated(version) || is_disproved(draft, version) {
            return Some(backfill);
        }
        let next = version.to_approve()?;
        Some(Self::first(version, next))
    }

    pub const fn first(version: &'s VersionRecord, phase: PhaseKind) -> Self {
        Self {
            version,
            phase,
            least: 1,
        }
    }

    /// Its Job.
    pub fn turn(&self, draft: &Draft<'_>) -> Turn<'s> {
        Turn::of_version(draft, self.version, self.phase, self.least)
    }
}

/// Somebody below the version may have written after its backfill, so that it proves nothing; and
/// what it filled in is about to be relied on.
pub(super) fn is_outdated(version: &VersionRecord) -> bool {
    let kept = version.asks(PhaseKind::Backfill).map(|asked| asked.kept_by);
    version.lacks_contract()
        && kept == Some(KeptBy::Code)
        && (version
            .alone_since
            .as_ref()
            .zip(version.backfilled.as_ref()))
        .is_some_and(|(alone, done)| done.began.0 < alone.0)
}

/// The last contract was refused because rows are not filled in, and a person has said to try again:
/// the backfill comes first.
pub(super) fn is_disproved(draft: &Draft<'_>, version: &VersionRecord) -> bool {
    let asked = version.asks(PhaseKind::Backfill).is_some();
    let (Some(done), true) = (&version.backfilled, asked && version.lacks_contract()) else {
        return false;
    };
    let database = draft.seen.objects.database.iter();
    let mut phases = database.flat_map(|d| &d.record.phases);
    let last =
        phases.rfind(|p| p.phase == PhaseKind::Contract && p.version == Some(version.version));
    let Some(last) = last.filter(|p| p.refusal == Some(SqlRefusal::ProofFailed)) else {
        return false;
    };
    let next = Turn::of_version(draft, version, PhaseKind::Contract, 1);
    done.began.0 < last.ended.0 && next.job().attempt > last.attempt
}

/// The database was restored to a time before the expand of this version, and nothing has expanded it
/// since.
pub(super) fn lacks_expand(record: &DatabaseRecord, version: i64) -> bool {
    let expands = || {
        let phases = record.phases.iter();
        phases.filter(|p| p.phase == PhaseKind::Expand && p.version == Some(version))
    };
    let counts = |p: &PhaseRecord| p.succeeded && p.undone_by.is_none();
    let is_gone = |p: &PhaseRecord| p.undone_by.as_deref() == Some(keys::BASELINE);
    expands().any(is_gone) && !expands().any(counts)
}

/// What is to be said of that.
pub(super) fn lacks_expand_words(version: i64) -> String {
    format!(
        "the expand of version {version}, which is gone since the database was restored: release \
         version {version} once more, as a new revision (an annotation in the template makes one)"
    )
}

/// The versions whose phases this Rollout is to run, the lowest first.
pub(super) fn own<'s>(draft: &Draft<'s>) -> Vec<&'s VersionRecord> {
    let database = draft.seen.objects.database.as_ref();
    let versions = database.into_iter().flat_map(|d| &d.record.versions);
    let mut own: Vec<_> = versions
        .filter(|v| v.rollout == draft.name() && v.is_open())
        .collect();
    own.sort_by_key(|v| v.version);
    own
}

/// What comes next of each of them.
pub(super) fn own_duties<'s>(draft: &Draft<'s>) -> std::vec::IntoIter<Duty<'s>> {
    let own = own(draft).into_iter();
    let duties: Vec<_> = own.filter_map(|v| Duty::of(draft, v)).collect();
    duties.into_iter()
}

pub(super) fn recorded(
    database: &DatabaseFacts,
    change: impl FnOnce(&mut DatabaseRecord),
) -> Write {
    let mut record = (*database.record).clone();
    change(&mut record);
    protocol::record_write(database, record)
}

/// Whether a hold is for a phase of this version that comes after its release.
pub(super) fn is_for(holder: &Holder, version: &VersionRecord) -> bool {
    holder.version == Some(version.version)
        && holder.rollout == version.rollout
        && job::terms::is_after_release(holder.phase)
}

/// The revision that is kept because what runs for a version runs in its pods.
pub(in crate::plan) fn needs(draft: &Draft<'_>, revision: &str) -> bool {
    own(draft).iter().any(|v| v.revision == revision)
}
