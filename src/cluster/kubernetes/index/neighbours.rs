//! Rollouts that select the same pods.

use super::{State, place, pods};
use crate::plan::facts::RolloutFacts;

impl State {
    /// The other Rollouts of the namespace that select the same pods.
    pub(super) fn neighbours<'s>(
        &'s self,
        namespace: &'s str,
        name: &'s str,
        rollout: &RolloutFacts,
    ) -> impl Iterator<Item = (&'s str, &'s RolloutFacts)> + use<'s> {
        let ours = pods(rollout);
        let candidates = ours
            .as_ref()
            .map(|ours| self.near.candidates(namespace, ours));
        let others = candidates.into_iter().flatten();
        let others = others.filter(move |other| *other != name);
        others.filter_map(move |other| {
            let facts = self.rollouts.get(&place(namespace, other))?;
            let both = pods(facts).zip(ours.as_ref());
            both.is_some_and(|(theirs, ours)| theirs.overlap(ours))
                .then_some((other.as_str(), facts))
        })
    }

    /// Those of them that were there before: a newcomer must not stop what runs.
    pub(super) fn older_neighbours(
        &self,
        namespace: &str,
        name: &str,
        of: &RolloutFacts,
    ) -> Vec<String> {
        let age = |rollout: &RolloutFacts| (rollout.created, rollout.base.name.clone());
        let near = self.neighbours(namespace, name, of);
        let older = near.filter(|(_, other)| age(other) < age(of));
        older.map(|(name, _)| name.to_owned()).collect()
    }
}
