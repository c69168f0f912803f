//! What a phase is on record as: its digest covers the texts of its files.

use crate::{
    api::{
        database::{AskedPhase, FileRecord},
        sql::KeyRef,
    },
    plan::revision,
};

/// Whether what is on record of a phase is what a spec lets it run.
pub(super) fn runs_the_same(asked: &AskedPhase, known: &AskedPhase) -> bool {
    let hash = |key: &KeyRef| {
        let mut files = known.files.iter();
        let file = files.find(|file| file.config_map == *key);
        file.map(|file| file.sha256.clone()).unwrap_or_default()
    };
    filled(asked, hash).digest == known.digest
}

/// A phase as it goes on record, with these texts: they are part of its digest.
pub(super) fn filled(asked: &AskedPhase, hash: impl Fn(&KeyRef) -> String) -> AskedPhase {
    if asked.files.is_empty() {
        return asked.clone();
    }
    let files = asked.files.iter().map(|file| FileRecord {
        sha256: hash(&file.config_map),
        ..file.clone()
    });
    let files: Vec<_> = files.collect();
    let mut bytes = asked.digest.clone();
    for file in &files {
        bytes.push(' ');
        bytes.push_str(&file.sha256);
    }
    AskedPhase {
        digest: revision::short(bytes.as_bytes()),
        files,
        ..asked.clone()
    }
}
