//! A record in short, for the columns of `kubectl get`. It goes along with whatever is written to the
//! record, so it costs no write of its own.

use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{Dirty, Holder, Summary, Waiting},
    },
    plan::words,
};

/// What of a record rests on the rest of it is brought up to date.
pub(super) fn sum_up(record: &mut DatabaseRecord) {
    let waiting = std::mem::take(&mut record.waiting);
    let waiting = waiting.into_iter().filter(|w| still_waits(record, w));
    record.waiting = waiting.collect();
    record.summary = summary(record);
}

/// Nothing on record says that it does not wait any more: it runs, is done, or was given up.
pub(super) fn still_waits(record: &DatabaseRecord, waiting: &Waiting) -> bool {
    let version = record.version(waiting.version);
    let open = version.is_some_and(|v| v.is_open() && v.rollout == waiting.rollout);
    let holder = record.held_for(waiting.phase);
    let runs =
        holder.is_some_and(|h| h.phase == waiting.phase && h.version == Some(waiting.version));
    open && !runs
}

fn summary(record: &DatabaseRecord) -> Summary {
    let expanded = record
        .phases
        .iter()
        .filter(|p| p.phase == PhaseKind::Expand && p.succeeded && p.undone_by.is_none());
    let runs: Vec<_> = record.holders().map(runs).collect();
    let first = record.waiting.first().map(words::waiting);
    let mut waits = first.map_or(String::new(), |(who, missing)| format!("{who}: {missing}"));
    let more = record.waiting.len().saturating_sub(1);
    if more > 0 {
        waits = format!("{waits}; and {more} more of other versions");
    }
    let dirty: Vec<_> = record.dirty.iter().map(dirty).collect();
    Summary {
        version: expanded.filter_map(|p| p.version).max(),
        runs: words::for_column(&runs.join(", ")),
        waits: words::for_column(&waits),
        dirty: words::for_column(&dirty.join(", ")),
    }
}

fn runs(holder: &Holder) -> String {
    let word = holder.phase.word();
    match holder.version {
        Some(version) => format!("{word} of version {version} ({})", holder.rollout),
        None => format!("{word} ({})", holder.rollout),
    }
}

fn dirty(dirty: &Dirty) -> String {
    let word = dirty.phase.word();
    match dirty.version {
        Some(version) => format!("{version}/{word}"),
        None => format!("{word} ({})", dirty.rollout),
    }
}
