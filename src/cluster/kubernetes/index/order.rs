//! Which Rollouts go before others, and who waits for whom.

use std::collections::{BTreeMap, BTreeSet};

use super::places::{place, rollout_key};
use crate::{
    cluster::Key,
    cluster::kubernetes::table::{Entry, Place, Table},
    plan::facts::{EarlierFacts, RolloutFacts},
};

/// Rollouts by those that they name in `spec.after`.
#[derive(Debug, Default)]
pub(super) struct Followers {
    of: BTreeMap<Place, BTreeSet<String>>,
}

fn named(rollout: &RolloutFacts) -> impl Iterator<Item = &str> {
    let spec = rollout.spec.as_deref().ok();
    let after = spec.into_iter().flat_map(|spec| &spec.after);
    after.map(|one| one.rollout.as_str())
}

impl Followers {
    /// A Rollout names others from now on, or no longer does.
    pub(super) fn note(
        &mut self,
        follower: &Place,
        old: Option<&RolloutFacts>,
        new: Option<&RolloutFacts>,
    ) {
        for name in old.into_iter().flat_map(named) {
            let earlier = place(&follower.namespace, name);
            if let Some(of) = self.of.get_mut(&earlier) {
                of.remove(&follower.name);
                if of.is_empty() {
                    self.of.remove(&earlier);
                }
            }
        }
        for name in new.into_iter().flat_map(named) {
            let earlier = place(&follower.namespace, name);
            let of = self.of.entry(earlier).or_default();
            of.insert(follower.name.clone());
        }
    }

    /// Everybody who comes after a Rollout, directly or by way of others, where what they may read of
    /// it has changed.
    pub(super) fn concerned(
        &self,
        old: Option<&Entry<RolloutFacts>>,
        new: Option<&Entry<RolloutFacts>>,
    ) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        let Some(rollout) = new.or(old).map(|entry| &entry.facts) else {
            return keys;
        };
        let namespace = &rollout.namespace;
        let first = place(namespace, &rollout.base.name);
        let concerns = |entry: &Entry<RolloutFacts>| EarlierFacts::of(&entry.facts);
        if !self.of.contains_key(&first) || old.map(concerns) == new.map(concerns) {
            return keys;
        }
        let mut next = vec![first];
        while let Some(earlier) = next.pop() {
            for follower in self.of.get(&earlier).into_iter().flatten() {
                if keys.insert(rollout_key(namespace, follower)) {
                    next.push(place(namespace, follower));
                }
            }
        }
        keys
    }
}

/// The Rollouts that go before this one.
pub(super) fn earlier(
    rollouts: &Table<RolloutFacts>,
    namespace: &str,
    of: &RolloutFacts,
) -> Vec<EarlierFacts> {
    EarlierFacts::all(of, |name| rollouts.get(&place(namespace, name)))
}
