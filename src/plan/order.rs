//! `spec.after`: whose turn it is among the Rollouts of a namespace.

use std::collections::BTreeSet;

use super::{
    decision::{Halt, Wait},
    draft::Draft,
    facts::RolloutFacts,
    reason::Reason,
};
use crate::api::{After, RolloutStatus};

/// A Rollout that goes first, directly or by way of another one, as the caches hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierFacts {
    /// Its name.
    pub rollout: String,
    /// The Rollouts that go before it in turn.
    pub after: Vec<String>,
    /// How it stands, in the generation that it has now.
    pub stands: Stands,
    /// The schema version of its stable revision, as long as enough pods serve and it is not on its
    /// way back.
    pub version: Option<i64>,
}

/// How a Rollout that goes first stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It is Ready.
    Ready,
    /// It is on its way, by this reason; none where the operator has not seen its generation yet.
    OnItsWay(Option<String>),
    /// It waits for a person, by this reason.
    Stalled(String),
    /// It is being deleted.
    Going,
}

impl EarlierFacts {
    /// What of a Rollout concerns those that come after it.
    #[must_use]
    pub fn of(rollout: &RolloutFacts) -> Self {
        let after = rollout.spec.as_deref().map(|spec| names(&spec.after));
        let status = &rollout.status;
        let holds = |kind: &str| {
            let mut conditions = status.conditions.iter();
            conditions
                .find(|c| c.type_ == kind && c.status == "True")
                .map(|c| c.reason.clone())
        };
        let observed = status.observed_generation == Some(rollout.generation);
        let stands = if rollout.is_deleting() {
            Stands::Going
        } else if !observed {
            Stands::OnItsWay(None)
        } else if holds("Ready").is_some() {
            Stands::Ready
        } else if let Some(reason) = holds("Stalled") {
            Stands::Stalled(reason)
        } else {
            Stands::OnItsWay(holds("Reconciling"))
        };
        let serves = holds("Available").is_some() && !goes_back(status) && !rollout.is_deleting();
        let stable = status.stable.as_ref().filter(|_| serves);
        Self {
            rollout: rollout.base.name.clone(),
            after: after.unwrap_or_default(),
            stands,
            version: stable.and_then(|stable| stable.schema_version),
        }
    }

    /// All that go before a Rollout and are there, each once. `find` knows Rollouts by name.
    #[must_use]
    pub fn all<'r>(
        of: &RolloutFacts,
        find: impl Fn(&str) -> Option<&'r RolloutFacts>,
    ) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut known = BTreeSet::new();
        let mut next = Self::of(of).after;
        while let Some(name) = next.pop() {
            if !known.insert(name.clone()) {
                continue;
            }
            let Some(found) = find(&name) else { continue };
            let facts = Self::of(found);
            next.extend(facts.after.iter().cloned());
            all.push(facts);
        }
        all.sort_by(|a, b| a.rollout.cmp(&b.rollout));
        all
    }
}

/// Its stable revision is on record again, and its pods are only on their way.
fn goes_back(status: &RolloutStatus) -> bool {
    let release = status.release.as_ref();
    release.is_some_and(|release| release.undo().is_some())
}

fn names(after: &[After]) -> Vec<String> {
    after.iter().map(|one| one.rollout.clone()).collect()
}

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
            "spec.after leads back to where it began ({}), so none of these Rollouts can go first: \
             remove one of the entries",
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
    let mut ways: Vec<Vec<String>> = names(&draft.spec.after)
        .into_iter()
        .map(|next| vec![own.to_owned(), next])
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
