//! The way back of a schema: what the expand of a version added is taken back after its release has
//! failed, where the spec asks for that.
//!
//! The gate is the contract's, seen from the other side. The database is held and what was expanded
//! counts as undone before anything is read live, so whoever begins something at the version from
//! then on finds that, and whoever began before is found.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    duty::{Duty, is_for, own_duties, recorded},
    gate::{self, Side},
    record::{asking, lacks_texts, of, with_new_texts},
    run::{again, begin, drive},
};
use crate::{
    api::{
        DatabaseRecord, PhaseKind,
        database::{Holder, PhaseRecord, VersionRecord},
        status::Outcome,
    },
    plan::{
        decision::{Decision, Halt, Wait},
        draft::Draft,
        facts::DatabaseFacts,
        intent::Write,
        job::{self, Run, protocol, texts},
        lack::Lack,
        reason::Reason,
    },
};

const PHASE: PhaseKind = PhaseKind::Revert;

/// Whether the spec asks for a revert of this version: its revision has failed and was undone.
fn is_wanted(draft: &Draft<'_>, version: i64) -> bool {
    draft.status.release.is_none()
        && !draft.spec.asked_after_failure().is_empty()
        && draft.spec.schema_version() == Some(version)
        && draft.outcome(draft.wanted) == Some(Outcome::Failed)
}

/// Whether the expand of a version has left anything.
fn is_expanded(record: &DatabaseRecord, version: i64) -> bool {
    record.phases.iter().any(|p| {
        let counts = p.succeeded || !p.nothing_applied;
        p.phase == PhaseKind::Expand
            && p.version == Some(version)
            && counts
            && p.undone_by.is_none()
    })
}

/// Why what was expanded stays for good, though a revert is asked for.
pub(in crate::plan) fn refused(draft: &Draft<'_>) -> Option<String> {
    let version = draft.spec.schema_version()?;
    let record = &draft.seen.objects.database.as_ref()?.record;
    if !is_wanted(draft, version) || !is_expanded(record, version) {
        return None;
    }
    was_stable(record, version)
}

fn was_stable(record: &DatabaseRecord, version: i64) -> Option<String> {
    let highest = record.stable_version.filter(|of| *of >= version)?;
    Some(format!(
        "a revision of version {highest} was stable on this database, so what the expand of version \
         {version} added stays, and its revert is not run"
    ))
}

/// The revert of a release that has failed goes on record, with the texts of its files.
///
/// # Errors
/// That these must be read first.
pub(super) fn registration(draft: &Draft<'_>) -> Result<Option<Write>, Halt> {
    let (Some(database), Some(version)) =
        (&draft.seen.objects.database, draft.spec.schema_version())
    else {
        return Ok(None);
    };
    let record = &database.record;
    if !is_wanted(draft, version)
        || !is_expanded(record, version)
        || was_stable(record, version).is_some()
        || record.held_for(PHASE).is_some()
    {
        return Ok(None);
    }
    let asked = draft.spec.asked_after_failure();
    let new = match record.version(version) {
        None => of(
            draft,
            draft.wanted,
            version,
            texts::with_texts(draft, asked)?,
        ),
        // The first one that failed runs it for all; what is dropped stays so.
        Some(known)
            if known.stable_since.is_some() || known.dropped || known.rollout != draft.name() =>
        {
            return Ok(None);
        }
        Some(known) if known.revision == draft.wanted && texts::is_same(asked, &known.asked) => {
            return Ok(None);
        }
        Some(known) => {
            let known = VersionRecord {
                revision: draft.wanted.to_owned(),
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

/// What the revert still waits for, for people. Empty: it may run.
pub(super) fn missing(draft: &Draft<'_>, version: &VersionRecord) -> Vec<Lack> {
    let mut missing = closed(draft, version);
    if missing.is_empty() {
        missing.extend(Side::from(version.version).named(draft, true));
    }
    missing
}

/// The same without what must be read live.
fn closed(draft: &Draft<'_>, version: &VersionRecord) -> Vec<Lack> {
    let Some(database) = &draft.seen.objects.database else {
        return Vec::new();
    };
    let (number, record) = (version.version, &database.record);
    let rollouts = Side::from(number).rollouts(draft).into_iter();
    let rollouts = rollouts.chain(forgotten(draft, record, number));
    let mut missing: Vec<Lack> = rollouts.map(Lack::from).collect();
    let later = record.phases.iter().filter(|p| {
        let counts = p.succeeded || !p.nothing_applied;
        p.phase == PhaseKind::Expand && p.version > Some(number) && counts && p.undone_by.is_none()
    });
    if let Some(later) = later.max_by_key(|p| p.version) {
        missing.push(Lack::of(format!(
            "version {} was expanded later (Rollout {}): revert that version first",
            later.version.unwrap_or_default(),
            later.rollout
        )));
    }
    missing.extend(gate::in_the_way(draft, record, version, PHASE));
    missing.extend(gate::approval(draft, version, PHASE, &database.base.name));
    missing
}

/// Whether this write takes a revert off the record that has not run: its version is expanded again.
pub(in crate::plan) fn gives_way(database: &DatabaseFacts, write: &Write) -> bool {
    let Write::RecordDatabase { record, .. } = write else {
        return false;
    };
    let mut open = database.record.versions.iter().filter(|v| v.lacks_revert());
    open.any(|v| record.version(v.version).is_none())
}

/// The version, or one above, was stable somewhere; or somebody expanded it, and nobody knows any
/// more whether it was. What may be returned to, or serves, is told as such.
fn forgotten(draft: &Draft<'_>, record: &DatabaseRecord, version: i64) -> Vec<String> {
    let all = gate::everybody(draft);
    let is_kept = |p: &&PhaseRecord| {
        let mut rollouts = all.iter().filter(|s| s.rollout == p.rollout);
        rollouts.any(|s| s.kept.contains(&p.revision))
    };
    let was_stable = all.iter().flat_map(|s| {
        let other = s.was_stable.iter().filter(|(revision, needs)| {
            let known = s.former.contains_key(*revision) || s.running.contains_key(*revision);
            !known && needs.is_none_or(|needs| needs >= version)
        });
        other.map(|(revision, _)| {
            format!(
                "revision {revision} of Rollout {} was stable, so the new columns or tables may \
                 hold data: revert by hand",
                s.rollout
            )
        })
    });
    let expands = record.phases.iter().filter(|p| {
        p.phase == PhaseKind::Expand
            && p.succeeded
            && p.undone_by.is_none()
            && p.version.is_some_and(|of| of >= version)
    });
    let forgotten = expands.filter(|p| !is_kept(p)).map(|p| {
        format!(
            "revision {} of Rollout {} expanded this version and has no record any more, so \
             Stepgate cannot tell whether it was stable: revert the expand by hand",
            p.revision, p.rollout
        )
    });
    let all: BTreeSet<_> = was_stable.chain(forgotten).collect();
    all.into_iter().collect()
}

/// The next write for the revert of a version.
///
/// # Errors
/// What must be read first.
pub(super) fn next(
    draft: &mut Draft<'_>,
    database: &DatabaseFacts,
    version: &VersionRecord,
) -> Result<Option<Write>, Halt> {
    let number = version.version;
    let holder = database.record.held_for(PHASE);
    let holder = holder.filter(|h| h.phase == PHASE && is_for(h, version));
    if holder.is_some_and(|holder| job::has_begun(draft, holder)) {
        return Ok(None);
    }
    let duty = Duty::first(version, PHASE);
    let late = was_stable(&database.record, number);
    let asked = is_wanted(draft, number) && draft.wanted == version.revision;
    let wanted = asked && late.is_none();
    if let Some(holder) = holder {
        if job::is_gone(draft, holder) {
            return match wanted {
                true => drive(draft, &duty),
                false => Ok(given_up(draft, database, &duty, holder)),
            };
        }
        // Read anew for each write up to the release of its Job.
        let is_clear = wanted
            && Side::from(number).rollouts(draft).is_empty()
            && forgotten(draft, &database.record, number).is_empty()
            && Side::from(number)
                .users(draft)?
                .iter()
                .all(|user| !user.serves);
        if is_clear {
            return drive(draft, &duty);
        }
        // Nothing has run: what was expanded is there as it was.
        draft
            .notes
            .push("the revert has not run, and lets the database go".to_owned());
        return Ok(protocol::let_go_of(draft, database, holder));
    }
    if !wanted {
        let words = late.filter(|_| asked).unwrap_or_else(|| {
            format!(
                "the revert of version {number} is not run: the spec asks for something else by now"
            )
        });
        draft.inform(Reason::RevertGivesWay, words);
        return Ok(Some(recorded(database, |record| {
            record.versions.retain(|v| v.version != number);
        })));
    }
    if lacks_texts(version, PHASE)
        && let Some(write) = with_new_texts(draft, database, &duty)?
    {
        return Ok(Some(write));
    }
    if !closed(draft, version).is_empty() || Side::from(number).is_waited_for(draft)? {
        return Ok(None);
    }
    begin(draft, database, &duty)
}

/// The revert whose Job is gone is not wanted any more: once a person has looked at what it left, it
/// is over, and others may have the database.
fn given_up(
    draft: &mut Draft<'_>,
    database: &DatabaseFacts,
    duty: &Duty<'_>,
    holder: &Holder,
) -> Option<Write> {
    if !duty.turn(draft).may_take_over(draft, holder) {
        return None;
    }
    let number = duty.version.version;
    draft.inform(
        Reason::RevertGivesWay,
        format!(
            "the revert of version {number} is given up: its Job {} was gone before its end was \
             seen, and the spec asks for something else by now",
            holder.job
        ),
    );
    let now = Time(draft.now);
    Some(recorded(database, |record| {
        protocol::give_up_gone(record, PHASE, now);
        record.versions.retain(|v| v.version != number);
    }))
}

/// A retry of a revert that has failed, or whose Job is gone. Otherwise it is the release's.
///
/// # Errors
/// What must be known first.
pub(in crate::plan) fn retry(draft: &Draft<'_>) -> Result<Option<Decision>, Halt> {
    let mut duties = own_duties(draft);
    let Some(duty) = duties.find(|duty| duty.phase == PHASE) else {
        return Ok(None);
    };
    match job::run(draft, &duty.turn(draft)) {
        // What is not known is read first: the retry is not for the release then.
        Run::Failed { .. } | Run::Unread => {}
        Run::HalfWay {
            reason: Reason::JobVanished,
            ..
        } => {}
        _ => return Ok(None),
    }
    again(draft, &duty)
}

/// Pods of a revision may start: nothing takes back what it needs.
///
/// # Errors
/// What does.
pub(in crate::plan) fn lets_pods_start(draft: &Draft<'_>, needs: Option<i64>) -> Result<(), Halt> {
    let Some(database) = &draft.seen.objects.database else {
        return Ok(());
    };
    let holder = database.record.held_for(PHASE);
    let reverts = holder.filter(|h| h.phase == PHASE && (needs.is_none() || h.version <= needs));
    let Some(holder) = reverts else {
        return Ok(());
    };
    let words = format!(
        "the revert of version {} runs on {} (Job {}): no pod that may need that version starts \
         before it has ended",
        holder.version.unwrap_or_default(),
        database.base.name,
        holder.job
    );
    Err(Wait::held(Reason::WaitingForDatabase, words).into())
}
