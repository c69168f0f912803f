//! `spec.after`: whose turn it is among the Rollouts of a namespace.

use std::collections::BTreeSet;

use super::{
    decision::{Halt, Wait},
    draft::Draft,
    facts::Stands,
    reason::Reason,
};
use crate::api::After;

/// Everybody who goes first has gone.
///
/// # Errors
/// Who has not, and who can change that.
pub(super) fn is_its_turn(draft: &Draft<'_>) -> Result<(), Halt> {
    let after = &draft.spec.after;
    if after.is_empty() {
        return Ok(());
    }
    if let Some(circle) = circle(draft) {
        let words = format!(
            "spec.after is circular ({}), so each of these Rollouts waits for another: remove one \
             of the entries",
            circle.join(" → ")
        );
        return Err(Wait::stalled(Reason::OrderIsCircular, words).into());
    }
    let waits: Vec<_> = after
        .iter()
        .filter_map(|one| waits_for(draft, one))
        .collect();
    // Who waits for a person comes before who is on his way.
    let stalled = waits.iter().find(|wait| wait.stalled);
    let Some(wait) = stalled.or(waits.first()) else {
        return Ok(());
    };
    let words = format!(
        "revision {} waits for Rollout {}",
        draft.wanted, wait.message
    );
    Err(Wait::at(Reason::WaitingForRollout, words, wait.stalled).into())
}

/// What is missing of one that goes first.
struct Missing {
    message: String,
    stalled: bool,
}

fn waits_for(draft: &Draft<'_>, one: &After) -> Option<Missing> {
    let name = &one.rollout;
    let namespace = &draft.seen.objects.rollout.namespace;
    let mut earlier = draft.seen.objects.earlier.iter();
    let Some(found) = earlier.find(|e| e.rollout == *name) else {
        return Some(Missing {
            message: format!(
                "{name}, which does not exist in namespace {namespace}: create it, or remove it \
                 from spec.after"
            ),
            stalled: false,
        });
    };
    let lacks = match one.schema_version {
        Some(version) if found.version.is_some_and(|stable| stable >= version) => return None,
        Some(version) => {
            let stable = found
                .version
                .map_or_else(|| "none that serves for sure".to_owned(), |v| v.to_string());
            format!(" (spec.after asks for its schema version {version}; it is at {stable})")
        }
        None if found.stands == Stands::Ready => return None,
        None => String::new(),
    };
    let (why, stalled) = match &found.stands {
        // It is to be released with a higher version first.
        Stands::Ready => (String::new(), false),
        Stands::OnItsWay(None) => (", which has just been changed".to_owned(), false),
        Stands::OnItsWay(Some(reason)) => (format!(", which is not Ready yet: {reason}"), false),
        Stands::Stalled(reason) => (
            format!(
                ", which is stalled: {reason}. See kubectl describe -n {namespace} sro {name}; or \
                 remove it from spec.after"
            ),
            true,
        ),
        Stands::Going => (", which is being deleted".to_owned(), false),
    };
    Some(Missing {
        message: format!("{name}{lacks}{why}"),
        stalled,
    })
}

/// The names along which `spec.after` leads back to this Rollout, if it does.
fn circle(draft: &Draft<'_>) -> Option<Vec<String>> {
    let own = draft.name();
    let earlier = &draft.seen.objects.earlier;
    // Ways that may lead back, each with all its names. Every Rollout is looked at once.
    let after = draft.spec.after.iter();
    let mut ways: Vec<Vec<String>> = after
        .map(|next| vec![own.to_owned(), next.rollout.clone()])
        .collect();
    let mut known = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let last = way.last()?;
        if last == own {
            return Some(way);
        }
        if !known.insert(last.clone()) {
            continue;
        }
        let found = earlier.iter().find(|e| e.rollout == *last);
        for next in found.into_iter().flat_map(|found| &found.after) {
            let mut longer = way.clone();
            longer.push(next.clone());
            ways.push(longer);
        }
    }
    None
}
