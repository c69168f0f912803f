//! Deployments of somebody else that Rollouts adopt, with their pods.

use std::collections::BTreeSet;

use tokio::sync::watch;

use super::{Index, Kept, State, foreign::Foreign, places::place};
use crate::{
    cluster::{
        Key,
        kubernetes::table::{Entry, Place, Table},
    },
    plan::{
        adopting,
        facts::{Adoptee, ChildFacts, PodFacts, RolloutFacts},
    },
};

impl Kept for Foreign<ChildFacts> {
    fn table(state: &mut State) -> &mut Table<Self> {
        &mut state.foreign.deployments
    }

    fn concerned(
        state: &State,
        old: Option<&Entry<Self>>,
        new: Option<&Entry<Self>>,
    ) -> BTreeSet<Key> {
        owners(state, old, new)
    }
}

impl Kept for Foreign<PodFacts> {
    fn table(state: &mut State) -> &mut Table<Self> {
        &mut state.foreign.pods
    }

    fn note(state: &mut State, at: &Place, old: Option<&Self>, new: Option<&Self>) {
        let of = |pod: &Self| {
            let name = adopting::deployment_of(&pod.0.revision)?;
            Some(place(&at.namespace, name))
        };
        let of_deployments = &mut state.foreign.of;
        if let Some(before) = old.and_then(of)
            && let Some(pods) = of_deployments.get_mut(&before)
        {
            pods.remove(&at.name);
            if pods.is_empty() {
                of_deployments.remove(&before);
            }
        }
        if let Some(now) = new.and_then(of) {
            of_deployments
                .entry(now)
                .or_default()
                .insert(at.name.clone());
        }
    }

    fn concerned(
        state: &State,
        old: Option<&Entry<Self>>,
        new: Option<&Entry<Self>>,
    ) -> BTreeSet<Key> {
        owners(state, old, new)
    }
}

/// The Rollouts that adopt the Deployment that an object is, or belongs to: it has a key of that name
/// in place of a Rollout's.
fn owners<F>(
    state: &State,
    old: Option<&Entry<Foreign<F>>>,
    new: Option<&Entry<Foreign<F>>>,
) -> BTreeSet<Key> {
    let keys = old.into_iter().chain(new).flat_map(|entry| &entry.keys);
    let places = keys.map(|key| place(key.namespace(), key.name()));
    places
        .flat_map(|place| state.adopters.keys(&place))
        .collect()
}

impl State {
    /// The Deployment that a Rollout adopts.
    pub(super) fn adoptee(&self, namespace: &str, rollout: &RolloutFacts) -> Option<Adoptee> {
        let name = adopting::named(rollout)?;
        let found = self.foreign.deployments.get(&place(namespace, name));
        Some(match found {
            Some(Foreign(child)) => Adoptee::There(child.clone().into()),
            None if self.foreign.listed.contains(namespace) => Adoptee::Gone,
            None => Adoptee::Unread,
        })
    }

    /// The epoch that it carries.
    pub(super) fn epoch_of_adoptee(&self, key: &Key) -> Option<i64> {
        let (namespace, name) = (key.namespace(), key.name());
        let Key::Rollout { .. } = key else {
            return None;
        };
        let rollout = self.rollouts.get(&place(namespace, name))?;
        match self.adoptee(namespace, rollout)? {
            Adoptee::There(child) => child.epoch,
            Adoptee::Unread | Adoptee::Gone => None,
        }
    }

    /// Pods of a Deployment of somebody else.
    pub(super) fn foreign_pods(&self, namespace: &str, deployment: &str) -> Vec<PodFacts> {
        let names = self.foreign.of.get(&place(namespace, deployment));
        let pods = names.into_iter().flatten();
        let pods = pods.filter_map(|name| self.foreign.pods.get(&place(namespace, name)));
        pods.map(|Foreign(pod)| pod.clone()).collect()
    }

    /// The Rollout that adopts the same Deployment and goes first: that which has it on record, else
    /// the older.
    pub(super) fn rival(&self, namespace: &str, of: &RolloutFacts) -> Option<String> {
        let rank = |rollout: &RolloutFacts| {
            let recorded = rollout.status.adopted.is_some();
            (!recorded, rollout.created, rollout.base.name.clone())
        };
        let deployment = place(namespace, adopting::named(of)?);
        let names = self.adopters.of.get(&deployment)?.iter();
        let others = names.filter(|name| **name != of.base.name);
        let others = others.filter_map(|name| self.rollouts.get(&place(namespace, name)));
        let first = others
            .filter(|other| rank(other) < rank(of))
            .min_by_key(|other| rank(other));
        first.map(|other| other.base.name.clone())
    }
}

impl Index {
    /// Namespaces in which Rollouts adopt, as they come and go.
    pub(in crate::cluster::kubernetes) fn adopting(&self) -> watch::Receiver<BTreeSet<String>> {
        self.adopting.subscribe()
    }

    /// Whoever watches what is somebody else's learns of namespaces in which a Rollout adopts.
    pub(super) fn tell_adopting(&self) {
        self.adopting.send_if_modified(|known| {
            let asked = self.read().adopters.namespaces();
            let changed = *known != asked;
            *known = asked;
            changed
        });
    }

    /// The Deployments of a namespace that are somebody else's have been listed, or are watched no
    /// longer.
    pub(in crate::cluster::kubernetes) fn adopted_are(&self, namespace: &str, listed: bool) {
        let keys: BTreeSet<Key> = {
            let mut state = self.write();
            let news = match listed {
                true => state.foreign.listed.insert(namespace.to_owned()),
                false => state.foreign.listed.remove(namespace),
            };
            let here = state
                .adopters
                .of
                .keys()
                .filter(|at| news && at.namespace == namespace);
            here.flat_map(|at| state.adopters.keys(at)).collect()
        };
        if !listed {
            self.replace::<Foreign<ChildFacts>>(Some(namespace), Vec::new());
            self.replace::<Foreign<PodFacts>>(Some(namespace), Vec::new());
        }
        self.tell(keys);
    }
}
