//! What a version asks for goes on record: its phases, and the texts of their files.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Duty, is_for, recorded};
use crate::{
    api::{
        PhaseKind,
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
    let new = match database.record.version(version) {
        None if asked.is_empty() => return Ok(None),
        None => VersionRecord {
            version,
            rollout: draft.name().to_owned(),
            revision: stable.to_owned(),
            stable_since: Time(draft.now),
            asked: texts::with_texts(draft, asked)?,
            backfilled: None,
            alone_since: None,
            approved: None,
            contracted: None,
            frozen_flags: Vec::new(),
            dropped: false,
        },
        Some(known) => {
            let runs = database.record.holders().any(|h| is_for(h, known));
            let same = known.revision == stable && texts::is_same(asked, &known.asked);
            // Once the spec has left it, what its ControllerRevision remembers is what runs.
            let left = !present && known.revision == stable;
            if known.rollout != draft.name() || !(present || left) || same || runs {
                return Ok(None);
            }
            let known = VersionRecord {
                revision: stable.to_owned(),
                ..known.clone()
            };
            asking(known, texts::with_texts(draft, asked)?)
        }
    };
    Ok(Some(recorded(database, |record| {
        record.versions.retain(|v| v.version != version);
        record.versions.push(new);
    })))
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
fn asking(known: VersionRecord, asked: Vec<AskedPhase>) -> VersionRecord {
    let mut all = asked.iter();
    let contract = all.find(|asked| asked.phase == PhaseKind::Contract);
    let digest = contract.map(|contract| contract.digest.clone());
    VersionRecord {
        approved: known
            .approved
            .clone()
            .filter(|given| Some(&given.digest) == digest.as_ref()),
        asked,
        ..known
    }
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
    let asked: &[AskedPhase] = if of_the_spec {
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
