//! What a person tells a DatabaseSchema: annotations bound to a version and a request.
//!
//! `stepgate.io/approve: "<version>/<phase>/<digest> <id> <user>"` lets a phase run, and exactly
//! what has this digest; `stepgate.io/drop: "<version> <id>"` says that what is open of a version is
//! not to run any more; `stepgate.io/lower-floor: "<version> <id>"` that the undo floor goes back to
//! where it was before a contract of which nothing was applied; `stepgate.io/baseline:
//! "<expanded>/<contracted> <id>"` how far the database is after a restore; `stepgate.io/clean: "<job>
//! <id>"` that what a Job left half-way is fixed. Each is taken once, by its id.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{DatabaseRecord, PhaseKind, database::Approved, keys, status::CommandStatus},
    plan::{
        database::{baseline, floor},
        facts::DatabaseObjects,
        intent::{Event, Note, Plan},
        job::{protocol, terms::is_after_release},
        reason::Reason,
    },
};

/// The most letters of a word of a command.
const LONGEST_WORD: usize = 200;

/// What a command does to the record, or why it is ignored.
type Handler = fn(&mut DatabaseRecord, &[String], Timestamp) -> Result<String, String>;

const COMMANDS: [(&str, &str, Handler); 5] = [
    ("approve", keys::APPROVE, approve),
    ("drop", keys::DROP, drop),
    ("lower-floor", keys::LOWER_FLOOR, lower_floor),
    ("baseline", keys::BASELINE, baseline),
    ("clean", keys::CLEAN, clean),
];

/// Takes at most one command that has not been acknowledged.
pub(super) fn take(seen: &DatabaseObjects, now: Timestamp) -> Option<Plan> {
    let database = &seen.database;
    COMMANDS.iter().find_map(|(command, key, handler)| {
        let text = database.annotations.get(*key)?;
        let short = |word: &str| word.chars().take(LONGEST_WORD).collect::<String>();
        let words: Vec<String> = text.split_whitespace().map(short).collect();
        // Without an id the text itself is the request.
        let id = words.get(1).cloned().unwrap_or_else(|| short(text));
        let mut known = database.record.commands.iter();
        if known.any(|c| c.command == *command && c.id == id) {
            return None;
        }
        let mut record = (*database.record).clone();
        let answer = handler(&mut record, &words, now);
        let done = answer.is_ok();
        let (Ok(message) | Err(message)) = answer;
        record.commands.retain(|c| c.command != *command);
        record.commands.insert(
            0,
            CommandStatus {
                command: (*command).to_owned(),
                id: id.clone(),
                result: if done { "Done" } else { "Ignored" }.to_owned(),
                message: message.clone(),
            },
        );
        let (reason, warning) = match done {
            true => (Reason::CommandDone, false),
            false => (Reason::CommandIgnored, true),
        };
        let message = format!("{command} ({id}): {message}");
        Some(Plan {
            notes: Note::Event {
                reason,
                what: message.clone(),
                because: None,
            }
            .into(),
            events: vec![Event {
                reason,
                message,
                warning,
                undo: None,
                measured: None,
            }],
            writes: vec![protocol::record_write(database, record)],
            ..Plan::default()
        })
    })
}

fn approve(
    record: &mut DatabaseRecord,
    words: &[String],
    now: Timestamp,
) -> Result<String, String> {
    let target = words.first().map(String::as_str).unwrap_or_default();
    let mut parts = target.split('/');
    let (version, phase, digest) = (parts.next(), parts.next(), parts.next());
    let (Some(version), Some(phase), Some(digest)) = (version, phase, digest) else {
        return Err(format!(
            "{target:?} is not <version>/<phase>/<digest>: take it from the message of the Rollout \
             that waits for it"
        ));
    };
    let kinds = [PhaseKind::Contract, PhaseKind::Revert];
    let Some(kind) = kinds.into_iter().find(|kind| kind.word() == phase) else {
        return Err(format!(
            "no {phase} waits for an approval: only a contract and a revert do"
        ));
    };
    let asked_for = version;
    let version = version.parse().ok().and_then(|v| record.version_mut(v));
    let Some(version) = version.filter(|v| v.to_approve() == Some(kind)) else {
        return Err(format!("no {phase} of version {asked_for} is open here"));
    };
    let wanted = version.asks(kind);
    let wanted = wanted.map(|asked| asked.digest.clone()).unwrap_or_default();
    if digest != wanted {
        return Err(format!(
            "the approval is for digest {digest}, but the {phase} now has digest {wanted}: review \
             it, then approve {asked_for}/{phase}/{wanted} with a new id"
        ));
    }
    let user = words.get(2).cloned();
    let user = user.unwrap_or_else(|| "somebody who gave no name".to_owned());
    let message = format!("the {phase} of version {asked_for} ({digest}) is approved by {user}");
    version.approved = Some(Approved {
        digest: wanted,
        user,
        at: Time(now),
    });
    Ok(message)
}

fn lower_floor(
    record: &mut DatabaseRecord,
    words: &[String],
    _: Timestamp,
) -> Result<String, String> {
    let asked_for = words.first().map(String::as_str).unwrap_or_default();
    let Ok(version) = asked_for.parse::<i64>() else {
        return Err(format!("{asked_for:?} is not a version"));
    };
    floor::lower(record, version).map(|floor| floor::words(version, floor))
}

fn baseline(record: &mut DatabaseRecord, words: &[String], _: Timestamp) -> Result<String, String> {
    baseline::put(record, words.first().map_or("", String::as_str))
}

fn clean(record: &mut DatabaseRecord, words: &[String], _: Timestamp) -> Result<String, String> {
    let asked_for = words.first().map(String::as_str).unwrap_or_default();
    let Some(at) = record.dirty.iter().position(|d| d.job == asked_for) else {
        let jobs: Vec<_> = record.dirty.iter().map(|d| d.job.as_str()).collect();
        let left = match jobs.as_slice() {
            [] => "nothing is left half-way".to_owned(),
            jobs => format!("left half-way are Jobs {}", jobs.join(", ")),
        };
        return Err(format!(
            "Job {asked_for:?} has left nothing half-way: {left}"
        ));
    };
    let dirty = record.dirty.remove(at);
    Ok(format!(
        "what Job {} ({} of Rollout {}) left half-way is fixed",
        dirty.job,
        dirty.phase.word(),
        dirty.rollout
    ))
}

fn drop(record: &mut DatabaseRecord, words: &[String], _: Timestamp) -> Result<String, String> {
    let asked_for = words.first().map(String::as_str).unwrap_or_default();
    let number = asked_for.parse::<i64>().ok();
    let runs = number.is_some_and(|number| {
        let mut holders = record.holders();
        holders.any(|h| h.version == Some(number) && is_after_release(h.phase))
    });
    if runs {
        return Err(format!(
            "a phase of version {asked_for} runs: wait until it has ended, or delete its Job first"
        ));
    }
    let version = number.and_then(|number| record.version_mut(number));
    let Some(version) = version.filter(|v| v.is_open()) else {
        return Err(format!("nothing is open of version {asked_for} here"));
    };
    version.dropped = true;
    Ok(format!(
        "what is open of version {asked_for} is not run any more"
    ))
}
