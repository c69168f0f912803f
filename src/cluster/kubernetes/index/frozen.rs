//! Flags that contracts of any database of the namespace rely on: a Rollout whose spec does not name
//! that database any more still has them.

use std::collections::BTreeMap;

use super::places::place;
use crate::{
    cluster::kubernetes::table::Place,
    plan::facts::{DatabaseFacts, Frozen},
};

/// Of each Rollout, by database: keys of its frozen flags, and whose contract relies on them.
#[derive(Debug, Default)]
pub(super) struct FrozenFlags {
    of: BTreeMap<Place, BTreeMap<String, Frozen>>,
}

/// Names of the Rollouts that have frozen flags there.
pub(super) fn rollouts(database: &DatabaseFacts) -> impl Iterator<Item = &str> {
    let versions = database.record.versions.iter();
    let frozen = versions.filter(|version| !version.frozen_flags.is_empty());
    frozen.map(|version| version.rollout.as_str())
}

impl FrozenFlags {
    /// The record of a database is another from now on.
    pub(super) fn note(
        &mut self,
        at: &Place,
        old: Option<&DatabaseFacts>,
        new: Option<&DatabaseFacts>,
    ) {
        for rollout in old.into_iter().flat_map(rollouts) {
            let rollout = place(&at.namespace, rollout);
            if let Some(of) = self.of.get_mut(&rollout) {
                of.remove(&at.name);
                if of.is_empty() {
                    self.of.remove(&rollout);
                }
            }
        }
        if let Some(database) = new {
            for rollout in rollouts(database) {
                let of = self.of.entry(place(&at.namespace, rollout)).or_default();
                of.insert(at.name.clone(), database.record.frozen_of(rollout));
            }
        }
    }

    /// Those of a Rollout on other databases than the one that it names.
    pub(super) fn elsewhere(&self, rollout: &Place, database: Option<&str>) -> Frozen {
        let of = self.of.get(rollout).into_iter().flatten();
        let elsewhere = of.filter(|(name, _)| Some(name.as_str()) != database);
        elsewhere.flat_map(|(_, frozen)| frozen.clone()).collect()
    }
}
