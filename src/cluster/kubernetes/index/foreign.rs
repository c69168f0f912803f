//! What the caches keep of Deployments that are somebody else's, and of who adopts them.

use std::collections::{BTreeMap, BTreeSet};

use super::places::{place, rollout_key};
use crate::{
    cluster::{
        Key,
        kubernetes::table::{Entry, Place, Table},
    },
    plan::{
        adopting,
        facts::{ChildFacts, PodFacts, RolloutFacts},
    },
};

/// What is somebody else's.
#[derive(Clone, Debug)]
pub(in crate::cluster::kubernetes) struct Foreign<F>(pub F);

/// What is kept of it.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub deployments: Table<Foreign<ChildFacts>>,
    pub pods: Table<Foreign<PodFacts>>,
    /// Pods by the Deployment that they belong to.
    pub of: BTreeMap<Place, BTreeSet<String>>,
    /// Namespaces whose Deployments have been listed.
    pub listed: BTreeSet<String>,
}

/// Rollouts by the Deployment that they adopt, or have adopted.
#[derive(Debug, Default)]
pub(super) struct Adopters {
    pub of: BTreeMap<Place, BTreeSet<String>>,
}

impl Adopters {
    pub(super) fn note(
        &mut self,
        rollout: &Place,
        old: Option<&RolloutFacts>,
        new: Option<&RolloutFacts>,
    ) {
        let adopts = |of: Option<&RolloutFacts>| {
            let name = of.and_then(adopting::named)?;
            Some(place(&rollout.namespace, name))
        };
        if let Some(before) = adopts(old)
            && let Some(of) = self.of.get_mut(&before)
        {
            of.remove(&rollout.name);
            if of.is_empty() {
                self.of.remove(&before);
            }
        }
        if let Some(now) = adopts(new) {
            self.of.entry(now).or_default().insert(rollout.name.clone());
        }
    }

    /// Those that adopt the same as this Rollout.
    pub(super) fn concerned(
        &self,
        old: Option<&Entry<RolloutFacts>>,
        new: Option<&Entry<RolloutFacts>>,
    ) -> BTreeSet<Key> {
        let adopts = |of: Option<&Entry<RolloutFacts>>| {
            let facts = &of?.facts;
            Some(place(&facts.namespace, adopting::named(facts)?))
        };
        let (before, now) = (adopts(old), adopts(new));
        if before == now {
            return BTreeSet::new();
        }
        let places = [before, now].into_iter().flatten();
        places.flat_map(|place| self.keys(&place)).collect()
    }

    pub(super) fn keys(&self, deployment: &Place) -> BTreeSet<Key> {
        let names = self.of.get(deployment).into_iter().flatten();
        names
            .map(|name| rollout_key(&deployment.namespace, name))
            .collect()
    }

    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.of
            .keys()
            .map(|place| place.namespace.clone())
            .collect()
    }
}
