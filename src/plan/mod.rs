//! Decisions: pure functions from facts to intents. No client, no clock, no randomness, no async.
//!
//! [`plan`] is called until it wants nothing more. One call makes at most one [`decision`], and asks
//! for nothing but its record then; what the decision asks for is written by the next call, which
//! reads the record. So a crash between any two writes loses nothing.
//!
//! In the order in which a release meets them:
//!
//! - [`revision`]: what a revision is, and its name; [`course`]: the targets that it goes through
//! - `commands`: what a person tells it
//! - `release`: begin, preflight, the Jobs before the pods, end; `before_pods`: which of them is next
//! - [`template`]: what in pod templates stands against a release; [`render`]: objects made of them
//! - [`job`]: the terms of each kind of Job, and the protocol of all; [`database`]: their end
//! - [`soak`]: what the expand does to stable, before the first pod
//! - [`measurable`]: what a spec has measured; [`measuring`]: of which pods, now; `hearing`: what the
//!   checks say of a revision that serves
//! - `stepping`: reach a target, hold it, go on; `gate`: what must be open for that, in order;
//!   [`exits`]: containers that end meanwhile; `waiting`: pods that are not there yet
//! - [`flags`]: feature flags that are turned on after the release
//! - [`order`]: which other Rollouts go first
//! - `life`: what runs for a schema version after the release: backfill, contract, and its gate
//! - `undoing`: back; `floor`: what can run again; [`way_back`]: what that would do now
//! - [`adopting`]: a running Deployment that counts as stable; `leaving`: what it gets when the
//!   Rollout is deleted
//! - [`services`]: which pods the Services of `spec.traffic` select; [`routes`]: how the requests
//!   are shared between them
//! - `effects`: what a recorded decision asks for, through the [`mover`]; [`traffic`]: who gets the
//!   requests
//! - `standing`, `conditions`, `words`, `lack`: what people read; [`reason`]: by which words

pub mod adopting;
mod before_pods;
mod commands;
mod conditions;
pub mod course;
pub mod database;
mod decision;
mod draft;
mod effects;
pub mod exits;
pub mod facts;
pub mod flags;
mod floor;
mod gate;
mod hearing;
pub mod intent;
pub mod job;
mod lack;
mod leaving;
mod life;
pub mod measurable;
pub mod measuring;
pub mod mover;
pub mod order;
pub mod reason;
mod release;
pub mod render;
pub mod replicas;
pub mod revision;
pub mod routes;
pub mod services;
pub mod soak;
mod standing;
mod stepping;
pub mod template;
pub mod traffic;
mod undoing;
mod waiting;
pub mod way_back;
mod words;

use jiff::Timestamp;

use self::{
    decision::{Decided, Decision, Halt, Wait},
    draft::Draft,
    facts::{Objects, Observed, Question, Refused},
    intent::{Notes, Plan, Write},
    reason::Reason,
};
use crate::api::status::Outcome;

/// What is to be done for one Rollout now.
#[must_use]
pub fn plan(seen: &Observed, now: Timestamp) -> Plan {
    let rollout = &seen.objects.rollout;
    if rollout.is_deleting() {
        // Its children go with it; a Job that runs belongs to the database and goes on.
        return match newer_leader(&seen.objects, seen.outranks) {
            Some(_) => Plan::default(),
            None => leaving::leave(seen, now),
        };
    }
    let wanted = match &rollout.spec {
        Ok(wanted) => wanted,
        Err(message) => return conditions::unreadable(rollout, message, now),
    };
    if let Some(epoch) = newer_leader(&seen.objects, seen.outranks) {
        return Plan {
            notes: format!(
                "a leader of epoch {epoch} acts here, this one is of {}: nothing is written",
                seen.epoch
            )
            .into(),
            ..Plan::default()
        };
    }
    if services::are_awaited(seen) {
        return Plan {
            notes: "the Services of the namespace are being listed".into(),
            ..Plan::default()
        };
    }
    if adopting::is_awaited(seen) {
        return Plan {
            notes: "the Deployments of the namespace are being listed".into(),
            ..Plan::default()
        };
    }
    let mut draft = Draft::new(seen, wanted, now);
    if let Err(Halt::Ask(questions)) = flags::look(&draft) {
        return ask(draft, questions);
    }
    match turn(&mut draft) {
        Ok(decision) => match flags::unsure(&draft, decision.as_ref()) {
            Some(question) => ask(draft, vec![question]),
            None => finish(draft, decision),
        },
        Err(Halt::Ask(questions)) => ask(draft, questions),
        Err(Halt::Wait(wait)) => {
            draft.wait = wait;
            finish(draft, None)
        }
    }
}

/// One turn: a decision, or the writes that the record asks for.
fn turn(draft: &mut Draft<'_>) -> Decided {
    for decide in [
        commands::forget_what_was_said,
        remember_stable,
        adopting::decide,
        commands::take,
    ] {
        if let Some(decision) = decide(draft)? {
            return decision.made();
        }
    }
    if let Some(lost) = effects::memory_lost(draft)? {
        // Nothing is decided or moved, but what is there is not left to the garbage collector.
        draft.wait = lost;
        if !draft.was_refused(&Refused::Other) {
            effects::adopt(draft);
        }
        return Ok(None);
    }
    services::note(draft);
    routes::note(draft);
    stepping::note_progress(draft);
    exits::note_losses(draft);
    match release::decide(draft) {
        Ok(None) => {}
        Err(Halt::Wait(wait)) => draft.wait_for(wait),
        decided => return decided,
    }
    if draft.status.release.is_none()
        && let Some(wait) = adopting::raised_again(draft)
    {
        draft.wait_for(wait);
    }
    match flags::decide(draft) {
        Ok(None) => {}
        Ok(Some(mut decision)) => {
            decision.wait = std::mem::take(&mut draft.wait).and(decision.wait);
            return decision.made();
        }
        Err(Halt::Wait(wait)) => draft.wait_for(wait),
        Err(ask) => return Err(ask),
    }
    effects::carry_out(draft)?;
    if draft.writes.is_empty() {
        // Last, as nothing waits for it.
        job::progress::listen(draft)?;
        job::heard::look(draft)?;
    }
    Ok(None)
}

/// The epoch of a later leader that has written to this Rollout's children.
fn newer_leader(objects: &Objects, own: i64) -> Option<i64> {
    let children = objects.children.iter().filter_map(|c| c.epoch);
    let jobs = objects.jobs.iter().filter_map(|j| j.epoch);
    children.chain(jobs).max().filter(|epoch| *epoch > own)
}

/// A lost status is rebuilt from the ControllerRevisions: stable is the highest that is marked so.
fn remember_stable(draft: &Draft<'_>) -> Decided {
    if draft.status.stable.is_some() {
        return Ok(None);
    }
    let revisions = draft.seen.objects.revisions.iter();
    let marked = revisions
        .filter(|r| r.outcome == Some(Outcome::Stable) && !r.deleting)
        .max_by_key(|r| r.number);
    let Some(revision) = marked else {
        return Ok(None);
    };
    if !draft.seen.answers.revisions_live {
        // A cache that lags may show an earlier stable and not yet the last.
        return Halt::ask(Question::Revisions);
    }
    let name = &revision.revision;
    let mut decision = draft
        .decision()
        .note(format!("status was lost; {name} is marked stable"));
    decision.stable(name);
    // What was in motion is not known any more: a release begins again at its first step.
    decision.status.release = None;
    // Nor what the routes were told: they are brought to rest.
    if let Some(traffic) = services::remembered(draft, name) {
        decision.status.traffic = Some(traffic);
    }
    decision.made()
}

/// These must be answered first.
fn ask(draft: Draft<'_>, questions: Vec<Question>) -> Plan {
    let Some(words) = &draft.seen.unread else {
        return Plan {
            questions,
            notes: draft.notes,
            ..Plan::default()
        };
    };
    // Nothing is decided without the answer.
    let mut draft = draft.anew();
    let message = format!("blocked: a required read failed: {words}");
    let again = draft.tries_again();
    draft.wait = Wait::held(Reason::ReadFailed, message).wake(again);
    finish(draft, None)
}

/// The plan of a turn: its record, if that comes first, or its writes, and what people read.
fn finish(mut draft: Draft<'_>, decision: Option<Decision>) -> Plan {
    // Decisions are recorded before all else, and so is what proves an owner: a child that is given
    // one whose uid is gone is collected as garbage, and a status is written only on the Rollout of
    // the uid that was read.
    let mut decision = decision;
    let acts = decision.is_some() || !draft.writes.is_empty();
    // What only waits costs a new leader nothing.
    if acts && draft.seen.objects.rollout.status.release.is_some() {
        let fences = effects::fences(&draft);
        let refused = draft.was_refused(&Refused::Scale);
        if !fences.is_empty() && !draft.seen.confirmed {
            let rollout = Question::Rollout(draft.name().to_owned());
            return ask(draft, vec![rollout]);
        }
        if !fences.is_empty() && !refused {
            return Plan {
                measure: measuring::measure(&draft),
                writes: fences,
                // What they tell is not written yet.
                notes: Notes::default(),
                ..Plan::default()
            };
        }
        if !fences.is_empty() {
            draft = draft.anew();
            decision = None;
        }
    }
    let adopts = |w: &Write| matches!(w, Write::Adopt { .. });
    let records_first = decision.is_some() || draft.writes.iter().any(adopts);
    // A status that rests on an old copy is refused; whatever else is written would rest on it
    // unnoticed. A leader may begin while its caches still show its predecessor's time.
    if !draft.seen.confirmed && !draft.writes.is_empty() && !records_first {
        let rollout = Question::Rollout(draft.name().to_owned());
        return ask(draft, vec![rollout]);
    }
    match decision {
        Some(mut decision) => {
            flags::goes_back(&draft, &mut decision);
            draft.writes.clear();
            draft.take(decision);
        }
        None => effects::say_refused(&mut draft),
    }
    conditions::describe(&mut draft);
    let measure = measuring::measure(&draft);
    let stands = conditions::stands(&draft.status);
    if records_first || conditions::is_due(&mut draft) {
        let base = draft.seen.objects.rollout.base.clone();
        let status = Box::new(std::mem::take(&mut draft.status));
        // Mere news comes last.
        let place = if records_first { 0 } else { draft.writes.len() };
        let record = Write::RecordStatus { base, status };
        draft.writes.insert(place, record);
    }
    Plan {
        questions: Vec::new(),
        writes: draft.writes,
        events: draft.events,
        measure,
        stands,
        wake_at: draft.wait.wake_at,
        notes: draft.notes,
    }
}

#[cfg(test)]
mod tests;
