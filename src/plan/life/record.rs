//! What a version asks for goes on record: its phases, and the texts of their files.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::duty::{Duty, is_for, recorded};
use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{AskedPhase, VersionRecord},
    },
    plan::{
        decision::Halt,
        draft::Draft,
        facts::DatabaseFacts,
        intent::{Kind, Write},
        job::texts,
        reason::Reason,
        render,
    },
};

/// The phases that stable asks for are put on record, so that they run whatever comes later. While
/// the spec asks for stable it may change them.
///
/// # Errors
/// What must be read first: the texts of its files of SQL.
pub(super) fn registration(draft: &Draft<'_>) -> Result<Option<Write>, Halt> {
    let Some((stable, version, asked)) = asked_by_stable(draft) else {
        return Ok(None);
    };
    let present = draft.wanted == stable;
    let Some(database) = &draft.seen.objects.database else {
        let name = draft.spec.database().unwrap_or_default();
        return Ok((!asked.is_empty()).then(|| Write::Create {
            kind: Kind::Database,
            manifest: render::database(draft, name),
        }));
    };
    // For whom nobody asks for a revert, what is kept of its revisions tells enough.
    let asks = draft
        .spec
        .schema
        .as_ref()
        .is_some_and(|s| s.revert.is_some());
    let highest = database.record.stable_version;
    let marked = !asks || highest.is_some_and(|highest| highest >= version);
    let mark = |record: &mut DatabaseRecord| {
        record.stable_version = record.stable_version.max(Some(version));
    };
    let alone = || Ok((!marked).then(|| recorded(database, mark)));
    let known = database.record.version(version);
    let new = match known.filter(|known| known.stable_since.is_some()) {
        None if asked.is_empty() => return alone(),
        None => VersionRecord {
            stable_since: Some(Time(draft.now)),
            ..of(draft, stable, version, texts::with_texts(draft, asked)?)
        },
        Some(known) => {
            let runs = database.record.holders().any(|h| is_for(h, known));
            let same = known.revision == stable && texts::is_same(asked, &known.asked);
            // Once the spec has left it, what its ControllerRevision remembers is what runs.
            let left = !present && known.revision == stable;
            if known.rollout != draft.name() || !(present || left) || same || runs {
                return alone();
            }
            let known = VersionRecord {
                revision: stable.to_owned(),
                ..known.clone()
            };
            asking(known, texts::with_texts(draft, asked)?)
        }
    };
    Ok(Some(recorded(database, |record| {
        mark(record);
        record.versions.retain(|v| v.version != version);
        record.versions.push(new);
    })))
}

/// What goes on record of a version of which nothing is.
pub(super) fn of(
    draft: &Draft<'_>,
    revision: &str,
    version: i64,
    asked: Vec<AskedPhase>,
) -> VersionRecord {
    VersionRecord {
        version,
        rollout: draft.name().to_owned(),
        revision: revision.to_owned(),
        stable_since: None,
        asked,
        backfilled: None,
        alone_since: None,
        approved: None,
        stable_before: None,
        stable_after: None,
        contracted: None,
        reverted: None,
        frozen_flags: Vec::new(),
        dropped: false,
    }
}

/// The stable revision, its version on this database, and the phases that it asks for after its
/// release.
fn asked_by_stable<'d>(draft: &'d Draft<'_>) -> Option<(&'d str, i64, &'d [AskedPhase])> {
    let stable = draft.stable()?;
    let schema = draft.spec.schema.as_ref()?;
    if draft.wanted == stable {
        return Some((stable, draft.spec.schema_version()?, draft.spec.asked()));
    }
    let revision = draft.seen.objects.revision(stable)?;
    let here = revision.database.as_ref() == Some(&schema.database);
    Some((
        stable,
        revision.schema_version.filter(|_| here)?,
        &revision.asked,
    ))
}

/// A version that asks for these phases from now on. What was approved is what had that digest.
pub(super) fn asking(known: VersionRecord, asked: Vec<AskedPhase>) -> VersionRecord {
    let still = |digest: &String| {
        let mut all = asked.iter().filter(|asked| needs_approval(asked.phase));
        all.any(|asked| asked.digest == *digest)
    };
    let approved = known.approved.clone();
    VersionRecord {
        approved: approved.filter(|given| still(&given.digest)),
        asked,
        ..known
    }
}

const fn needs_approval(phase: PhaseKind) -> bool {
    matches!(phase, PhaseKind::Contract | PhaseKind::Revert)
}

/// The phases of a version with the texts of their files as they are now, where these are not what
/// is on record.
///
/// # Errors
/// That they must be read first.
fn changed_texts(
    draft: &Draft<'_>,
    version: &VersionRecord,
) -> Result<Option<Vec<AskedPhase>>, Halt> {
    let of_the_spec =
        draft.wanted == version.revision && draft.spec.schema_version() == Some(version.version);
    let asked: &[AskedPhase] = if version.stable_since.is_none() {
        draft.spec.asked_after_failure()
    } else if of_the_spec {
        draft.spec.asked()
    } else {
        let revision = draft.seen.objects.revision(&version.revision);
        revision.map_or(&[], |revision| &revision.asked)
    };
    // Where the spec asks for other phases by now, these go on record first.
    if !texts::is_same(asked, &version.asked) {
        return Ok(None);
    }
    let now = texts::with_texts(draft, asked)?;
    Ok((now != version.asked).then_some(now))
}

/// Before the Job of a phase is made its files are read once more. Where their text is another by
/// now, that goes on record first, and whatever was approved is so no longer.
///
/// # Errors
/// That they must be read first.
pub(super) fn with_new_texts(
    draft: &mut Draft<'_>,
    database: &DatabaseFacts,
    duty: &Duty<'_>,
) -> Result<Option<Write>, Halt> {
    let version = duty.version;
    let files = version
        .asks(duty.phase)
        .is_some_and(|a| !a.files.is_empty());
    if !files || database.record.held_for(duty.phase).is_some() {
        return Ok(None);
    }
    let Some(now) = changed_texts(draft, version)? else {
        return Ok(None);
    };
    let new = asking(version.clone(), now);
    let number = version.version;
    let was_read = |asked: &AskedPhase| asked.files.iter().all(|f| !f.sha256.is_empty());
    if version.asks(duty.phase).is_some_and(was_read) {
        let void = match (&version.approved, &new.approved) {
            (Some(approved), None) => {
                format!(": the approval by {} is void", approved.user)
            }
            _ => String::new(),
        };
        let words = format!(
            "the SQL of the {} of version {number} was changed, and nothing of it has run{void}",
            duty.phase.word()
        );
        draft.tell(Reason::SqlChanged, words);
    }
    Ok(Some(recorded(database, |record| {
        if let Some(known) = record.version_mut(number) {
            *known = new;
        }
    })))
}

/// Whether the text of a file that a phase of the version runs could not be read so far.
pub(super) fn lacks_texts(version: &VersionRecord, phase: PhaseKind) -> bool {
    let asked = version.asks(phase);
    asked.is_some_and(|asked| asked.files.iter().any(|file| file.sha256.is_empty()))
}
