//! What a Rollout's pass needs to know of the others on its database.

use super::{State, database_key, database_of, place, rollout_key};
use crate::plan::facts::{RolloutFacts, SharerFacts};

impl State {
    /// The other Rollouts on the database of this one, where a version of it may wait for them.
    pub(super) fn sharers(
        &self,
        namespace: &str,
        name: &str,
        of: &RolloutFacts,
    ) -> Vec<SharerFacts> {
        let database = database_of(of).and_then(|d| self.databases.get(&place(namespace, d)));
        let mut versions = database.into_iter().flat_map(|d| &d.record.versions);
        let Some(database) = database.filter(|_| versions.any(|v| v.is_open())) else {
            return Vec::new();
        };
        let key = database_key(namespace, &database.base.name);
        let others = self.rollouts.of(&key).filter(|(other, _)| *other != name);
        others
            .map(|(other, facts)| {
                let key = rollout_key(namespace, other);
                SharerFacts::of(
                    facts,
                    self.revisions.of(&key).map(|(_, r)| r),
                    self.children.of(&key).map(|(_, c)| c),
                    self.pods.of(&key).map(|(_, p)| p),
                )
            })
            .collect()
    }
}
