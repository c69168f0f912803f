//! A Rollout that is being deleted, while a Deployment that it adopted serves.

use jiff::Timestamp;

use super::{
    adopting::{is_contested, is_held, named, scale, stable},
    course,
    draft::{self, later},
    facts::{Adoptee, Observed, Question, Refused},
    intent::{Event, Plan, Write},
    reason::Reason,
};
use crate::api::{keys, status::Outcome};

/// The Rollout is being deleted. While its stable is a Deployment that it adopted, that one gets its
/// replicas back, and then the finalizer goes.
pub(super) fn leave(seen: &Observed, now: Timestamp) -> Plan {
    let rollout = &seen.objects.rollout;
    if !is_held(rollout) {
        return Plan::default();
    }
    let mut marked = seen.objects.revisions.iter();
    let own_stable = marked.any(|r| r.outcome == Some(Outcome::Stable));
    // With the status it may be lost which is stable.
    let lost = rollout.status.stable.is_none() && !own_stable;
    let name = stable(&rollout.status).or_else(|| named(rollout).filter(|_| lost));
    let done = || {
        let others = rollout
            .finalizers
            .iter()
            .filter(|one| *one != keys::ADOPTING);
        Write::Finalize {
            base: rollout.base.clone(),
            finalizers: others.cloned().collect(),
        }
    };
    // What this process has written is laid over the children.
    let own = seen.objects.children.iter().find(|c| c.adopted.is_some());
    let uid = rollout.status.adopted.as_ref().map(|a| &a.uid);
    let mut unwatched = false;
    let child = match (&seen.objects.adopted, name) {
        (Some(Adoptee::Unread), Some(_)) => return Plan::default(),
        (Some(Adoptee::There(child)), Some(name)) if child.base.name == name => {
            Some(own.unwrap_or(child))
        }
        // The caches do not show it while it carries the label of own Deployments.
        (_, Some(name)) if uid.is_some() => {
            let Some(found) = &seen.answers.deployment else {
                return Plan {
                    questions: vec![Question::Deployment(name.to_owned())],
                    ..Plan::default()
                };
            };
            unwatched = true;
            let found = found.as_ref().map(|found| &found.child);
            found.filter(|found| Some(&found.base.uid) == uid)
        }
        _ => None,
    };
    let child = child.filter(|c| !c.deleting);
    let spec = rollout.spec.as_deref();
    let recorded = || rollout.status.adopted.as_ref().map_or(0, |a| a.replicas);
    let total = spec.map_or_else(|_| recorded(), |spec| spec.replicas);
    let limit = spec.map_or(600, |spec| spec.strategy.progress_deadline_seconds);
    // Nothing is timed out by a clock that was not watched.
    let deleted = rollout.deleted.map(|at| at.max(seen.trusted_since));
    let late = deleted.map_or(now, |at| later(at, limit));
    let mut refusals = seen.refusals.iter();
    let refused = refusals.find(|r| r.what == Refused::Scale);
    let mut warns = false;
    let (writes, words, wake_at) = match child {
        None => (vec![done()], "nothing is to be given back".to_owned(), None),
        Some(child) => {
            let contested = is_contested(&rollout.status, child);
            let asked = total;
            let total = if contested { child.replicas } else { total };
            let unsettled = child.possible != (child.replicas, child.replicas);
            let floor = spec
                .map_or(total, |spec| course::bounds(spec).floor)
                .min(total);
            let back = child.current && child.available >= floor;
            let (name, has) = (&child.base.name, child.replicas);
            let lacks = has < total || unsettled && !contested;
            let over = late <= now;
            match refused {
                Some(refusal) if lacks && over => {
                    warns = true;
                    let words = format!(
                        "Deployment {name} keeps {has} of {total} replicas, because its scaling is \
                         refused: {}. Run kubectl scale -n {} deployment/{name} --replicas={total}",
                        refusal.message, rollout.namespace
                    );
                    (vec![done()], words, None)
                }
                Some(_) if lacks => {
                    let again = later(now, draft::TRIES_AGAIN_AFTER).min(late);
                    (Vec::new(), "its scaling is refused".to_owned(), Some(again))
                }
                None if lacks => {
                    let words = format!("Deployment {name} gets its {total} replicas back");
                    let write = scale(child, seen.epoch, has, total.max(has));
                    (vec![write], words, None)
                }
                _ if (back || over) && has < asked => {
                    warns = true;
                    let words = format!(
                        "Deployment {name} keeps {has} of {asked} replicas, because somebody else \
                         wrote them. Run kubectl scale -n {} deployment/{name} --replicas={asked}",
                        rollout.namespace
                    );
                    (vec![done()], words, None)
                }
                _ if back || over => {
                    let words = format!("Deployment {name} has its replicas");
                    (vec![done()], words, None)
                }
                _ => {
                    let words = format!("Deployment {name} comes back");
                    let look = if unwatched { later(now, 2) } else { late };
                    (Vec::new(), words, Some(look.min(late)))
                }
            }
        }
    };
    if !writes.is_empty() && !seen.confirmed {
        return Plan {
            questions: vec![Question::Rollout(rollout.base.name.clone())],
            ..Plan::default()
        };
    }
    let told = writes
        .iter()
        .any(|w| matches!(w, Write::Resize { from, to, .. } if from != to));
    let event = Event {
        reason: Reason::AdoptedGivenBack,
        message: format!("the Rollout is being deleted: {words}"),
        warning: warns,
        undo: None,
        measured: None,
    };
    Plan {
        writes,
        events: (told || warns).then_some(event).into_iter().collect(),
        wake_at,
        notes: words.into(),
        ..Plan::default()
    }
}
