//! The texts of a phase's files of SQL.
//!
//! A spec names ConfigMaps, and whoever changes one changes what runs without touching the Rollout.
//! So the texts are read live when a phase is put on record and before its Job is made; what was
//! read is part of the digest that people approve; and the runner is given the hash of each file and
//! refuses any other.

use super::{Turn, phase::filled};
use crate::{
    api::{PhaseKind, SchemaSpec, database::AskedPhase, sql::KeyRef},
    plan::{
        decision::{Halt, Obstacle, Wait},
        draft::Draft,
        facts::{Question, Text},
        reason::Reason,
    },
};

/// Seconds between two looks for what is missing: it is not watched.
pub(in crate::plan) const LOOKS_EVERY: i64 = 15;

/// The files that the runner reads for this phase, as a spec names them.
fn named(schema: &SchemaSpec, kind: PhaseKind) -> Vec<KeyRef> {
    let files = schema.read_files(kind).into_iter();
    files.map(|file| file.config_map_key_ref.clone()).collect()
}

/// These keys have been read in this pass.
///
/// # Errors
/// That they must be read first.
fn read(draft: &Draft<'_>, keys: &[KeyRef]) -> Result<(), Halt> {
    let known = &draft.seen.answers.texts;
    if keys.iter().all(|key| known.contains_key(key)) {
        return Ok(());
    }
    Halt::ask(Question::Texts(keys.to_vec()))
}

/// What stands against running these files, as far as it is known.
fn problem(draft: &Draft<'_>, keys: &[KeyRef]) -> Option<Obstacle> {
    if draft.seen.sql_image.is_empty() {
        return Some(Obstacle {
            reason: Reason::NoSqlRunner,
            message: "schema phases of SQL need the image of stepgate-sql, and the operator was \
                      started without --sql-image: its administrator sets it (sqlImage in the \
                      chart's values)"
                .to_owned(),
            stalled: true,
        });
    }
    let known = &draft.seen.answers.texts;
    keys.iter().find_map(|key| match known.get(key)? {
        Text::Is(_) => None,
        Text::Unusable(words) => Some(Obstacle {
            reason: Reason::SqlUnreadable,
            message: format!("{words}; nothing has run"),
            stalled: true,
        }),
    })
}

/// The SQL of every phase of the spec can be run, before anything is done for a release of it.
///
/// # Errors
/// What stands against it, or what must be read first.
pub(in crate::plan) fn are_usable(draft: &Draft<'_>) -> Result<(), Halt> {
    let Some(schema) = &draft.spec.schema else {
        return Ok(());
    };
    let kinds = PhaseKind::ALL.into_iter();
    let kinds: Vec<_> = kinds.filter(|kind| schema.runs_sql(*kind)).collect();
    if kinds.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = kinds.iter().flat_map(|kind| named(schema, *kind)).collect();
    if !draft.seen.sql_image.is_empty() {
        read(draft, &keys)?;
    }
    match problem(draft, &keys) {
        Some(found) => {
            let wait = Wait::stalled(found.reason, found.message);
            Err(wait.wake(draft.in_seconds(LOOKS_EVERY)).into())
        }
        None => Ok(()),
    }
}

impl Turn<'_> {
    /// Its files of SQL; nothing where Stepgate's runner has no part in it.
    fn texts(&self, draft: &Draft<'_>) -> Option<Vec<KeyRef>> {
        match &self.of {
            super::Of::Release(_) => {
                let schema = draft.spec.schema.as_ref()?;
                let phase = self.job.phase;
                schema.runs_sql(phase).then(|| named(schema, phase))
            }
            super::Of::Version(version) => {
                let asked = version.asks(self.job.phase)?;
                // The runner may have to count what it has filled in, whatever the contract is.
                let backfill = version.asks(PhaseKind::Backfill);
                let runs = asked.sql || backfill.is_some_and(|backfill| backfill.sql);
                let files = asked.files.iter().map(|file| file.config_map.clone());
                runs.then(|| files.collect())
            }
        }
    }

    /// What stands against its running, as far as it is known in this pass: it is not permitted, or
    /// its SQL cannot be run.
    pub(super) fn unusable(&self, draft: &Draft<'_>) -> Option<Obstacle> {
        self.forbidden(draft)
            .or_else(|| problem(draft, &self.texts(draft)?))
    }

    /// Whether it is permitted, and its SQL can be run.
    ///
    /// # Errors
    /// What must be read first.
    pub(in crate::plan) fn is_usable(&self, draft: &Draft<'_>) -> Result<bool, Halt> {
        if self.forbidden(draft).is_some() {
            return Ok(false);
        }
        let Some(keys) = self.texts(draft) else {
            return Ok(true);
        };
        if !draft.seen.sql_image.is_empty() {
            read(draft, &keys)?;
        }
        Ok(problem(draft, &keys).is_none())
    }

    /// The hash that each of its files must have, in the order of the files: that on record, or of
    /// a release what was read just now.
    ///
    /// # Errors
    /// What must be read first.
    pub(super) fn hashes(&self, draft: &Draft<'_>) -> Result<Vec<String>, Halt> {
        let keys = self.texts(draft).unwrap_or_default();
        if let super::Of::Version(version) = self.of {
            let files = version.asks(self.job.phase).map(|asked| &asked.files);
            let files = files.into_iter().flatten();
            return Ok(files.map(|file| file.sha256.clone()).collect());
        }
        read(draft, &keys)?;
        Ok(keys.iter().map(|key| hash(draft, key)).collect())
    }
}

/// What was read of a file; empty where it cannot be used.
fn hash(draft: &Draft<'_>, key: &KeyRef) -> String {
    match draft.seen.answers.texts.get(key) {
        Some(Text::Is(sha256)) => sha256.clone(),
        Some(Text::Unusable(_)) | None => String::new(),
    }
}

/// What a spec asks for, with the texts as they are now.
///
/// # Errors
/// That they must be read first.
pub(in crate::plan) fn with_texts(
    draft: &Draft<'_>,
    asked: &[AskedPhase],
) -> Result<Vec<AskedPhase>, Halt> {
    let files = asked.iter().flat_map(|asked| &asked.files);
    let keys: Vec<_> = files.map(|file| file.config_map.clone()).collect();
    read(draft, &keys)?;
    let all = asked
        .iter()
        .map(|asked| filled(asked, |key| hash(draft, key)));
    Ok(all.collect())
}

/// Whether what is on record is what a spec asks for, whatever the files hold by now.
pub(in crate::plan) fn is_same(asked: &[AskedPhase], on_record: &[AskedPhase]) -> bool {
    asked.len() == on_record.len()
        && asked.iter().zip(on_record).all(|(asked, known)| {
            let hash = |key: &KeyRef| {
                let file = known.files.iter().find(|file| file.config_map == *key);
                file.map(|file| file.sha256.clone()).unwrap_or_default()
            };
            filled(asked, hash) == *known
        })
}
