//! The Rollouts that go before another one, and how they stand.

use std::collections::BTreeSet;

use super::RolloutFacts;
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
