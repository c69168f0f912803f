//! What waits after a release, as it stands on the DatabaseSchema for whoever looks there: item by
//! item, with names, and without times, so that it is written only when something else is missing.

use super::{
    around::{self, retry_command},
    duty::{Duty, lacks_expand, lacks_expand_words, own_duties, recorded},
    gate, revert,
};
use crate::{
    api::{PhaseKind, database::Waiting},
    plan::{
        draft::Draft,
        facts::DatabaseFacts,
        intent::Write,
        job::{self, Run, protocol},
        lack::Lack,
        reason::Reason,
        words,
    },
};

/// Things that are told of each version.
const ITEMS: usize = 8;

/// What the phases of this Rollout wait for goes on record, where that is something else than before.
pub(super) fn recording(draft: &Draft<'_>, database: &DatabaseFacts) -> Option<Write> {
    let record = &database.record;
    let known = |duty: &Duty<'_>| {
        let mut known = record.waiting.iter();
        known.find(|w| w.version == duty.version.version && w.phase == duty.phase)
    };
    let own = own_duties(draft).filter_map(|duty| match missing(draft, &duty) {
        // What was said stays until it is known better.
        None => known(&duty).cloned(),
        Some(missing) if missing.is_empty() => None,
        Some(missing) => Some(of(&duty, missing)),
    });
    let others = record.waiting.iter().filter(|w| w.rollout != draft.name());
    let waiting = protocol::in_order(record, others.cloned().chain(own));
    (waiting != record.waiting).then(|| recorded(database, |record| record.waiting = waiting))
}

fn of(duty: &Duty<'_>, missing: Vec<Lack>) -> Waiting {
    let more = missing.len().saturating_sub(ITEMS);
    let mut missing: Vec<_> = missing
        .into_iter()
        .take(ITEMS)
        .map(Lack::on_record)
        .collect();
    if more > 0 {
        missing.push(Lack::of(format!("{more} more")).on_record());
    }
    Waiting {
        version: duty.version.version,
        rollout: duty.version.rollout.clone(),
        phase: duty.phase,
        missing,
    }
}

/// What a phase waits for; empty where its Job runs or is about to; nothing where that is not known.
fn missing(draft: &Draft<'_>, duty: &Duty<'_>) -> Option<Vec<Lack>> {
    let retried = |words: String| vec![Lack::of(words).by(retry_command(draft))];
    Some(match job::run(draft, &duty.turn(draft)) {
        Run::Unread => return None,
        Run::NotAsked | Run::Succeeded => Vec::new(),
        Run::Failed { job, .. } => retried(format!("a retry: Job {job} failed")),
        // What waits for that besides its own `retry` is whoever puts it right.
        Run::HalfWay {
            reason: Reason::DatabaseDirty,
            ..
        } => waits_for(draft, duty),
        Run::HalfWay { job, .. } => retried(format!(
            "a retry: Job {job} may have left the database half-way"
        )),
        Run::Waiting(obstacle) => vec![Lack::of(obstacle.message)],
        Run::Runs(_) => {
            let database = draft.seen.objects.database.as_ref();
            let holder = database.and_then(|d| d.record.held_for(duty.phase));
            match holder.filter(|holder| job::has_begun(draft, holder)) {
                Some(_) => Vec::new(),
                None => waits_for(draft, duty),
            }
        }
    })
}

/// What a duty waits for, for people; nothing where its Job runs or is about to.
pub(in crate::plan) fn waits_for(draft: &Draft<'_>, duty: &Duty<'_>) -> Vec<Lack> {
    let database = draft.seen.objects.database.as_ref();
    let number = duty.version.version;
    if database.is_some_and(|d| lacks_expand(&d.record, number)) {
        return vec![Lack::of(lacks_expand_words(number))];
    }
    match duty.phase {
        PhaseKind::Contract => {
            let mut missing = gate::missing(draft, duty.version);
            if missing.is_empty() {
                missing.extend(around::missing(draft, duty.version));
            }
            missing
        }
        PhaseKind::Revert => revert::missing(draft, duty.version),
        PhaseKind::Preflight | PhaseKind::Expand | PhaseKind::Backfill => Vec::new(),
    }
}

/// What comes next waits for this, in short; and, where a person must give something, how to read more.
pub(in crate::plan) fn in_short(
    draft: &Draft<'_>,
    duty: &Duty<'_>,
) -> Option<(String, Option<String>)> {
    let missing = missing(draft, duty).filter(|missing| !missing.is_empty())?;
    let waiting = of(duty, missing);
    let by_a_person = waiting.missing.iter().any(|one| one.command.is_some());
    let way = by_a_person.then(|| format!(" (kubectl describe sro {})", draft.name()));
    let (who, missing) = words::waiting(&waiting);
    Some((format!("{who} waits for: {missing}"), way))
}
