//! What a contract waits for: all that could still need what it removes, and who must agree.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::{Approval, PhaseKind, database::VersionRecord, sql::KeyRef},
    plan::{
        adopting,
        decision::Halt,
        draft::{Draft, later},
        facts::{Question, RolloutFacts, SharerFacts, UserFacts},
        job::terms,
    },
};

/// Which Rollouts keep a version from being the lowest on its database, by the caches: in words
/// that do not change with every pod.
pub(super) fn below(draft: &Draft<'_>, version: i64) -> Vec<String> {
    let all = everybody(draft);
    // Somebody may raise it at any time, and nobody says what it needs.
    let moved = adopting::is_still_there(draft);
    let moved = moved.map(|name| format!("Deployment {name}, which was moved in, is still there"));
    all.iter()
        .flat_map(|sharer| below_of(sharer, version))
        .chain(moved)
        .collect()
}

/// All Rollouts on the database, this one first.
fn everybody(draft: &Draft<'_>) -> Vec<SharerFacts> {
    let objects = &draft.seen.objects;
    let itself = SharerFacts::of(
        &RolloutFacts {
            status: Arc::new(draft.status.clone()),
            ..objects.rollout.clone()
        },
        objects.revisions.iter(),
        objects.children.iter(),
        objects.pods.iter(),
    );
    let others = objects.sharers.iter().cloned();
    std::iter::once(itself).chain(others).collect()
}

fn below_of(sharer: &SharerFacts, version: i64) -> Vec<String> {
    let name = &sharer.rollout;
    let mut words = Vec::new();
    match sharer.wanted {
        None => words.push(format!("Rollout {name} cannot be read")),
        Some(None) => words.push(format!("Rollout {name} gives no schema.version")),
        Some(Some(wanted)) if wanted < version => {
            words.push(format!("Rollout {name} asks for version {wanted}"));
        }
        Some(Some(_)) => {}
    }
    if sharer
        .moves
        .iter()
        .any(|of| of.is_none_or(|of| of < version))
    {
        words.push(format!(
            "a release of Rollout {name} is in motion from or to a version below"
        ));
    }
    let lower = sharer.running.iter();
    words.extend(
        lower
            .filter(|(_, needs)| needs.is_none_or(|needs| needs < version))
            .map(|(revision, _)| format!("revision {revision} of Rollout {name} serves")),
    );
    words
}

/// Who is below the version by what is read live: other workloads too.
///
/// # Errors
/// That it must be read first.
pub(super) fn users_below<'d>(
    draft: &'d Draft<'_>,
    version: i64,
) -> Result<Vec<&'d UserFacts>, Halt> {
    let name = draft.spec.database().unwrap_or_default();
    let Some(users) = &draft.seen.answers.users else {
        return Halt::ask(Question::Users(name.to_owned()));
    };
    let lower = |user: &&UserFacts| user.version.is_none_or(|of| of < version);
    Ok(users.iter().filter(lower).collect())
}

/// When the time after the last pod below the version is over.
pub(super) fn opens_at(version: &VersionRecord) -> Option<Timestamp> {
    let asked = version.asks(PhaseKind::Contract)?;
    let since = version.alone_since.as_ref()?;
    Some(later(since.0, asked.after_seconds))
}

/// Everything that the contract of a version still waits for, for people. Empty: it may run.
pub(super) fn missing(draft: &Draft<'_>, version: &VersionRecord) -> Vec<String> {
    let Some(database) = &draft.seen.objects.database else {
        return Vec::new();
    };
    let (number, record) = (version.version, &database.record);
    let mut missing = below(draft, number);
    if missing.is_empty() && version.alone_since.is_none() {
        let users = draft
            .seen
            .answers
            .users
            .iter()
            .flat_map(|users| users.iter());
        let lower = users.filter(|user| user.serves && user.version.is_none_or(|of| of < number));
        missing.extend(lower.map(|user| match user.version {
            Some(of) => format!("{} needs version {of}", user.what),
            None => user.what.clone(),
        }));
        if missing.is_empty() {
            missing.push("who else uses the database is being read".to_owned());
        }
    }
    let moving = everybody(draft).into_iter().filter(|s| !s.moves.is_empty());
    missing.extend(
        moving
            .filter(|_| missing.is_empty())
            .map(|s| format!("a release of Rollout {} is in motion", s.rollout))
            .collect::<Vec<_>>(),
    );
    let earlier = record.versions.iter().filter(|v| v.version < number);
    missing.extend(
        earlier
            .filter(|v| v.lacks_contract())
            .map(|v| format!("the contract of version {} comes first", v.version)),
    );
    if let Some(at) = opens_at(version).filter(|at| *at > draft.now) {
        missing.push(format!("its time, until {at:.0}"));
    }
    missing.extend(approval(draft, version, &database.base.name));
    let dirty = record.dirty.as_ref();
    if let Some(dirty) = dirty.filter(|d| d.phase != PhaseKind::Contract) {
        missing.push(format!("Job {} left the database half-way", dirty.job));
    }
    let held = record.held_for(PhaseKind::Contract);
    if held.is_some_and(|h| h.phase == PhaseKind::Contract && h.version == Some(number)) {
        let users = draft
            .seen
            .answers
            .users
            .iter()
            .flat_map(|users| users.iter());
        let empty = users.filter(|u| !u.serves && u.version.is_none_or(|of| of < number));
        missing.extend(empty.map(|u| format!("{} is to be deleted", u.what)));
    }
    let foreign = record.holders().filter(|h| {
        h.version != Some(number)
            || terms::of(h.phase).is_none_or(|t| t.phase != PhaseKind::Contract)
    });
    missing.extend(foreign.map(|h| format!("Job {} runs on the database", h.job)));
    missing
}

/// The approval that is missing, with the way to give it. Where an expand has come later, what is
/// to be removed was written without knowing of it.
fn approval(draft: &Draft<'_>, version: &VersionRecord, database: &str) -> Option<String> {
    let asked = version.asks(PhaseKind::Contract)?;
    let number = version.version;
    if let Some(file) = asked.files.iter().find(|file| file.sha256.is_empty()) {
        let KeyRef { name, key } = &file.config_map;
        return Some(format!(
            "the text of key {key} of ConfigMap {name}, which cannot be read"
        ));
    }
    let record = &draft.seen.objects.database.as_ref()?.record;
    let mut later = record.phases.iter();
    let overtaken = later.any(|p| {
        p.phase == PhaseKind::Expand && p.succeeded && p.version.is_some_and(|v| v > number)
    });
    // What was given before that was given without knowing of it too.
    let later_end = |at: Timestamp| {
        let mut later = record.phases.iter();
        later.any(|p| {
            p.phase == PhaseKind::Expand
                && p.succeeded
                && p.version.is_some_and(|v| v > number)
                && p.ended.0 > at
        })
    };
    let given = version
        .approved
        .as_ref()
        .filter(|given| !later_end(given.at.0));
    if (asked.approval == Approval::Automatic && !overtaken)
        || given.is_some_and(|given| given.digest == asked.digest)
    {
        return None;
    }
    let why = if overtaken {
        " (the expand of a later version has run since)"
    } else {
        ""
    };
    Some(format!(
        "an approval{why}: kubectl annotate -n {} databaseschema {database} --overwrite \
         stepgate.io/approve=\"{number}/contract/{} <id> <user>\"",
        draft.seen.objects.rollout.namespace, asked.digest
    ))
}
