//! Decisions: pure functions from facts to intents. No client, no clock, no randomness, no async.
//!
//! [`plan`] is called until it wants nothing more. One call makes at most one decision, and asks
//! for nothing but its record then; what the decision asks for is written by the next call, which
//! reads the record. So a crash between any two writes loses nothing.
//!
//! In the order in which a release meets them:
//!
//! - [`revision`]: what a revision is, and its name
//! - `commands`: what a person tells it
//! - `release`: begin, preflight, expand, end
//! - `schema`: the protocol of a schema phase; [`database`]: its end
//! - `stepping`, `gate`: reach, hold, check, go on; [`exits`]: containers that end meanwhile
//! - `undoing`: back
//! - `effects`: what a recorded decision asks for, through the [`mover`]
//! - `standing`, `conditions`: what people read

mod commands;
mod conditions;
pub mod database;
mod draft;
mod effects;
pub mod exits;
pub mod facts;
mod gate;
pub mod intent;
mod measuring;
pub mod mover;
mod release;
pub mod render;
pub mod replicas;
pub mod revision;
mod schema;
mod standing;
mod stepping;
mod undoing;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use self::{
    draft::Draft,
    facts::{Observed, Question},
    intent::{Event, Plan, Write},
};
use crate::api::status::RevisionStatus;

/// What is to be done for one Rollout now.
#[must_use]
pub fn plan(seen: &Observed, now: Timestamp) -> Plan {
    if seen.objects.rollout.deleting {
        // Its children go with it; a Job that runs belongs to the database and goes on.
        return Plan::default();
    }
    let spec = match &seen.objects.rollout.spec {
        Ok(spec) => spec.clone(),
        Err(message) => return unreadable(seen, message, now),
    };
    if let Some(epoch) = newer_leader(seen) {
        return Plan {
            notes: vec![format!(
                "a leader of epoch {epoch} acts here, this one is of {}: nothing is written",
                seen.epoch
            )],
            ..Plan::default()
        };
    }
    let mut draft = Draft::new(seen, spec, now);
    if draft.status.release.is_some() && effects::fence(&mut draft) {
        return finish(draft);
    }
    commands::forget_what_was_said(&mut draft);
    remember_stable(&mut draft);
    if !draft.decided && draft.questions.is_empty() {
        commands::take(&mut draft);
    }
    if draft.decided || !draft.questions.is_empty() {
        return finish(draft);
    }
    if effects::memory_lost(&mut draft) {
        // Nothing is decided or moved, but what is there is not left to the garbage collector.
        effects::adopt(&mut draft);
    } else {
        release::decide(&mut draft);
        if !draft.decided && draft.questions.is_empty() {
            effects::carry_out(&mut draft);
        }
    }
    finish(draft)
}

/// The epoch of a later leader that has written to this Rollout's children.
fn newer_leader(seen: &Observed) -> Option<i64> {
    let children = seen.objects.children.iter().filter_map(|c| c.epoch);
    let jobs = seen.objects.jobs.iter().filter_map(|j| j.epoch);
    children
        .chain(jobs)
        .max()
        .filter(|epoch| *epoch > seen.epoch)
}

/// A lost status is rebuilt from the ControllerRevisions: stable is the highest that is marked so.
fn remember_stable(draft: &mut Draft<'_>) {
    if draft.status.stable.is_some() {
        return;
    }
    let marked = draft
        .seen
        .objects
        .revisions
        .iter()
        .filter(|r| r.outcome == Some(crate::api::status::Outcome::Stable) && !r.deleting)
        .max_by_key(|r| r.number);
    let Some(revision) = marked else { return };
    if !draft.seen.answers.revisions_live {
        // A cache that lags may show an earlier stable and not yet the last.
        draft.questions.push(Question::Revisions);
        return;
    }
    draft.notes.push(format!(
        "status was lost; {} is marked stable",
        revision.revision
    ));
    draft.status.stable = Some(RevisionStatus {
        revision: revision.revision.clone(),
        ..RevisionStatus::default()
    });
    // What was in motion is not known any more: a release begins again at its first step.
    draft.status.release = None;
    draft.decided = true;
}

/// Whether the status is written before all else. Decisions are, and so is what proves an owner:
/// a child that is given one whose uid is gone is collected as garbage, and a status is written
/// only on the Rollout of the uid that was read.
fn records_first(draft: &Draft<'_>) -> bool {
    let adopts = |w: &Write| matches!(w, Write::Adopt { .. });
    draft.decided || draft.writes.iter().any(adopts)
}

fn finish(mut draft: Draft<'_>) -> Plan {
    // A status that rests on an old copy is refused; whatever else is written would rest on it
    // unnoticed. A leader may begin while its caches still show its predecessor's time.
    let unconfirmed = !draft.seen.confirmed && !draft.writes.is_empty() && !records_first(&draft);
    if unconfirmed {
        let rollout = Question::Rollout(draft.seen.objects.rollout.base.name.clone());
        draft.questions.insert(0, rollout);
    }
    if !draft.questions.is_empty() {
        let Some(words) = &draft.seen.unread else {
            return Plan {
                questions: draft.questions,
                notes: draft.notes,
                ..Plan::default()
            };
        };
        // Nothing is decided without the answer.
        draft = Draft::new(draft.seen, draft.spec.clone(), draft.now);
        draft.block(
            false,
            "ReadFailed",
            format!("what must be known to go on cannot be read: {words}"),
        );
        draft.wake_in(10);
    }
    conditions::describe(&mut draft);
    let measure = measuring::measure(&draft);
    let records_first = records_first(&draft);
    if draft.decided {
        draft.writes.clear();
    }
    if records_first || conditions::is_due(&mut draft) {
        let base = draft.seen.objects.rollout.base.clone();
        let status = Box::new(std::mem::take(&mut draft.status));
        // Mere news comes last.
        let place = if records_first { 0 } else { draft.writes.len() };
        draft
            .writes
            .insert(place, Write::RecordStatus { base, status });
    }
    Plan {
        questions: Vec::new(),
        writes: draft.writes,
        events: draft.events,
        measure,
        wake_at: draft.wake_at,
        notes: draft.notes,
    }
}

/// A Rollout that this program cannot read: said on the object, and nothing else is touched.
fn unreadable(seen: &Observed, message: &str, now: Timestamp) -> Plan {
    let mut status = (*seen.objects.rollout.status).clone();
    let message = format!("the spec cannot be read: {message}; correct that field");
    for (kind, holds) in [("Ready", false), ("Reconciling", false), ("Stalled", true)] {
        let holds = if holds { "True" } else { "False" };
        let since = status
            .conditions
            .iter()
            .find(|c| c.type_ == kind && c.status == holds)
            .map_or(Time(now), |c| c.last_transition_time.clone());
        status.conditions.retain(|c| c.type_ != kind);
        status.conditions.push(Condition {
            type_: kind.to_owned(),
            status: holds.to_owned(),
            reason: "InvalidSpec".to_owned(),
            message: message.clone(),
            last_transition_time: since,
            observed_generation: Some(seen.objects.rollout.generation),
        });
    }
    status.observed_generation = Some(seen.objects.rollout.generation);
    let mut plan = Plan::default();
    if status != *seen.objects.rollout.status {
        plan.events.push(Event {
            reason: "InvalidSpec",
            message,
            warning: true,
            undo: None,
        });
        plan.writes.push(Write::RecordStatus {
            base: seen.objects.rollout.base.clone(),
            status: Box::new(status),
        });
    }
    plan
}

#[cfg(test)]
mod tests;
