//! What the caches hold: compact facts of our own objects, and which keys a change concerns.

mod adopted;
mod foreign;
mod frozen;
mod neighbours;
mod order;
mod places;
mod sharers;

pub(super) use self::{foreign::Foreign, places::place};
pub use places::{database_key, rollout_key};

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::watch;

use super::{
    neighbours::Neighbours,
    stored::Pods,
    table::{Entry, Place, Table},
};
use crate::{
    cluster::Key,
    plan::facts::{
        Adoptee, ChildFacts, DatabaseFacts, DatabaseObjects, JobFacts, Objects, PodFacts,
        RevisionFacts, RolloutFacts, ServiceFacts, Services, Unread,
    },
};

/// Is told the keys that a change concerns, each possibly many times. Must return at once.
pub type Notify = Box<dyn Fn(Key) + Send + Sync>;

/// All kinds.
#[derive(Debug, Default)]
pub(super) struct State {
    rollouts: Table<RolloutFacts>,
    revisions: Table<RevisionFacts>,
    children: Table<ChildFacts>,
    pods: Table<PodFacts>,
    jobs: Table<JobFacts>,
    databases: Table<DatabaseFacts>,
    services: Table<ServiceFacts>,
    /// Deployments and pods of somebody else, where Rollouts adopt.
    foreign: foreign::Tables,
    /// Rollouts by the Deployment that they adopt.
    adopters: foreign::Adopters,
    /// What is known of the Services of each namespace.
    switched: BTreeMap<String, Switched>,
    /// Rollouts by their labels and selectors.
    near: Neighbours,
    /// Rollouts by those that they come after.
    followers: order::Followers,
    /// Flags that contracts rely on, by Rollout.
    frozen: frozen::FrozenFlags,
    /// Rollouts that Deployments say they belong to, and that are not there.
    missing: BTreeSet<Place>,
}

/// A namespace in which Rollouts ask for `spec.traffic`, or did.
#[derive(Debug, Default)]
struct Switched {
    /// Those Rollouts.
    rollouts: BTreeSet<String>,
    /// Its Services.
    services: BTreeSet<String>,
    /// They have been listed.
    listed: bool,
    /// Why they may not be.
    refused: Option<String>,
}

/// The index over all kinds.
pub struct Index {
    state: RwLock<State>,
    notify: Notify,
    /// Namespaces whose Services are to be watched.
    switched: watch::Sender<BTreeSet<String>>,
    /// Namespaces whose Deployments and pods of somebody else are to be watched.
    adopting: watch::Sender<BTreeSet<String>>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Index")
    }
}

/// A kind that the index keeps.
pub(super) trait Kept: Sized + 'static {
    /// Its table.
    fn table(state: &mut State) -> &mut Table<Self>;

    /// What else follows from a change of this kind.
    fn follow(_index: &Index) {}

    /// What else is kept of it, from `old` to `new`.
    fn note(_state: &mut State, _place: &Place, _old: Option<&Self>, _new: Option<&Self>) {}

    /// The keys that a change from `old` to `new` concerns.
    fn concerned(
        _state: &State,
        old: Option<&Entry<Self>>,
        new: Option<&Entry<Self>>,
    ) -> BTreeSet<Key> {
        old.into_iter()
            .chain(new)
            .flat_map(|e| e.keys.iter().cloned())
            .collect()
    }
}

macro_rules! kept {
    ($facts:ty, $table:ident) => {
        impl Kept for $facts {
            fn table(state: &mut State) -> &mut Table<Self> {
                &mut state.$table
            }
        }
    };
}
kept!(RevisionFacts, revisions);
kept!(ChildFacts, children);
kept!(PodFacts, pods);
kept!(JobFacts, jobs);

impl Kept for DatabaseFacts {
    fn table(state: &mut State) -> &mut Table<Self> {
        &mut state.databases
    }

    fn note(state: &mut State, place: &Place, old: Option<&Self>, new: Option<&Self>) {
        state.frozen.note(place, old, new);
    }

    /// The DatabaseSchema, and every Rollout that names it or has flags that are frozen there.
    fn concerned(
        state: &State,
        old: Option<&Entry<Self>>,
        new: Option<&Entry<Self>>,
    ) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        for (entry, key) in old
            .into_iter()
            .chain(new)
            .flat_map(|e| e.keys.iter().map(move |key| (e, key)))
        {
            let Key::Database { namespace, .. } = key else {
                continue;
            };
            keys.insert(key.clone());
            keys.extend(frozen::rollouts(&entry.facts).map(|name| rollout_key(namespace, name)));
            keys.extend(
                state
                    .rollouts
                    .of(key)
                    .map(|(name, _)| rollout_key(namespace, name)),
            );
        }
        keys
    }
}

impl Kept for ServiceFacts {
    fn table(state: &mut State) -> &mut Table<Self> {
        &mut state.services
    }

    fn note(state: &mut State, place: &Place, _: Option<&Self>, new: Option<&Self>) {
        let switched = state.switched.entry(place.namespace.clone()).or_default();
        match new {
            Some(_) => switched.services.insert(place.name.clone()),
            None => switched.services.remove(&place.name),
        };
    }

    /// Every Rollout of the namespace that asks for Services, where what it may read of this one
    /// has changed; and that which it was made for.
    fn concerned(
        state: &State,
        old: Option<&Entry<Self>>,
        new: Option<&Entry<Self>>,
    ) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = old
            .into_iter()
            .chain(new)
            .flat_map(|e| e.keys.iter().cloned())
            .collect();
        for key in keys.clone() {
            let Key::Rollout { namespace, name } = &key else {
                continue;
            };
            if !name.is_empty() {
                continue;
            }
            keys.remove(&key);
            let switched = state.switched.get(namespace);
            let rollouts = switched.into_iter().flat_map(|s| &s.rollouts);
            keys.extend(rollouts.map(|name| rollout_key(namespace, name)));
        }
        keys
    }
}

impl Kept for RolloutFacts {
    fn table(state: &mut State) -> &mut Table<Self> {
        &mut state.rollouts
    }

    fn note(state: &mut State, place: &Place, old: Option<&Self>, new: Option<&Self>) {
        let asks = |rollout: Option<&Self>| rollout.is_some_and(asks_for_services);
        if asks(old) != asks(new) {
            let switched = state.switched.entry(place.namespace.clone()).or_default();
            match asks(new) {
                true => switched.rollouts.insert(place.name.clone()),
                false => switched.rollouts.remove(&place.name),
            };
        }
        state.followers.note(place, old, new);
        state.adopters.note(place, old, new);
        let (old, new) = (old.and_then(pods), new.and_then(pods));
        if old != new {
            if let Some(old) = old {
                state.near.remove(place, &old);
            }
            if let Some(new) = new {
                state.near.add(place, &new);
            }
        }
    }

    fn follow(index: &Index) {
        index.tell_switched();
        index.tell_adopting();
    }

    /// The Rollout; those that come after it, if how it stands has changed; and, unless only its
    /// status or the like has, its database and the Rollouts that it overlaps or overlapped.
    fn concerned(
        state: &State,
        old: Option<&Entry<Self>>,
        new: Option<&Entry<Self>>,
    ) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = old
            .into_iter()
            .chain(new)
            .flat_map(|e| e.keys.iter().cloned())
            .collect();
        let mut follow = state.followers.concerned(old, new);
        follow.extend(state.adopters.concerned(old, new));
        if let (Some(old), Some(new)) = (old, new)
            && !concerns_others(&old.facts, &new.facts)
        {
            keys.retain(|k| matches!(k, Key::Rollout { .. }));
            keys.extend(follow);
            return keys;
        }
        for entry in old.into_iter().chain(new) {
            if let Some(Key::Rollout { namespace, name }) = entry.keys.first() {
                let near = state.neighbours(namespace, name, &entry.facts);
                keys.extend(near.map(|(n, _)| rollout_key(namespace, n)));
            }
        }
        keys.extend(follow);
        keys
    }
}

/// What a Rollout is compared with others by; nothing when its spec cannot be read.
fn pods(rollout: &RolloutFacts) -> Option<Pods> {
    let spec = rollout.spec.as_deref().ok()?;
    Some(Pods::of(&rollout.base.name, spec))
}

/// Whether it has Services of its own, or had: as long as they are on record, they are looked at.
fn asks_for_services(rollout: &RolloutFacts) -> bool {
    let spec = rollout.spec.as_deref().ok();
    spec.is_some_and(|spec| spec.traffic.is_some()) || rollout.status.traffic.is_some()
}

fn database_of(rollout: &RolloutFacts) -> Option<&str> {
    rollout.spec.as_deref().ok()?.database()
}

/// Whether other objects' passes may come out differently because of the difference between the
/// two: a status is nobody else's business.
fn concerns_others(old: &RolloutFacts, new: &RolloutFacts) -> bool {
    database_of(new) != database_of(old)
        || pods(new) != pods(old)
        || new.base.uid != old.base.uid
        || new.is_deleting() != old.is_deleting()
}

impl State {
    /// The Services of the namespace, for a Rollout that asks for some.
    fn services(&self, namespace: &str, rollout: &RolloutFacts) -> Services {
        if !asks_for_services(rollout) {
            return Services::default();
        }
        let known = self.switched.get(namespace);
        let names = known.into_iter().flat_map(|s| &s.services);
        let found = names.filter_map(|name| self.services.get(&place(namespace, name)).cloned());
        let refused = known.and_then(|s| s.refused.clone()).map(Unread::Refused);
        let listed = known.is_some_and(|s| s.listed);
        Services {
            all: found.collect(),
            unread: refused.or((!listed).then_some(Unread::NotYet)),
        }
    }

    /// Something of this key has come or gone: is its Rollout missing?
    fn review(&mut self, key: &Key) {
        let Key::Rollout { namespace, name } = key else {
            return;
        };
        let place = place(namespace, name);
        if self.children.has(key) && self.rollouts.get(&place).is_none() {
            self.missing.insert(place);
        } else {
            self.missing.remove(&place);
        }
    }
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new(notify: Notify) -> Self {
        Self {
            state: RwLock::default(),
            notify,
            switched: watch::Sender::default(),
            adopting: watch::Sender::default(),
        }
    }

    /// What is held of a Rollout.
    #[must_use]
    pub fn rollout(&self, namespace: &str, name: &str) -> Option<Objects> {
        let state = self.read();
        let rollout = state.rollouts.get(&place(namespace, name))?.clone();
        let key = rollout_key(namespace, name);
        let database = database_of(&rollout);
        let frozen = (state.frozen).elsewhere(&place(namespace, name), database);
        let database = database.map(|database| place(namespace, database));
        let mut objects = Objects {
            revisions: facts_of(&state.revisions, &key),
            children: facts_of(&state.children, &key),
            pods: facts_of(&state.pods, &key),
            jobs: facts_of(&state.jobs, &key),
            database: database.and_then(|place| state.databases.get(&place).cloned()),
            frozen,
            neighbours: state.older_neighbours(namespace, name, &rollout),
            sharers: state.sharers(namespace, name, &rollout),
            earlier: order::earlier(&state.rollouts, namespace, &rollout),
            services: state.services(namespace, &rollout),
            adopted: state.adoptee(namespace, &rollout),
            rival: state.rival(namespace, &rollout),
            rollout,
        };
        if let Some(Adoptee::There(child)) = &objects.adopted {
            let pods = state.foreign_pods(namespace, &child.base.name);
            objects.pods.extend(pods);
        }
        Some(objects)
    }

    /// What is held of a DatabaseSchema.
    #[must_use]
    pub fn database(&self, namespace: &str, name: &str) -> Option<DatabaseObjects> {
        let state = self.read();
        let key = database_key(namespace, name);
        let rollouts = state.rollouts.of(&key);
        let rollouts: BTreeMap<_, _> = rollouts
            .map(|(name, r)| (name.to_owned(), r.base.uid.clone()))
            .collect();
        Some(DatabaseObjects {
            database: state.databases.get(&place(namespace, name))?.clone(),
            jobs: facts_of(&state.jobs, &key),
            rollouts,
        })
    }

    /// Names of Rollouts that Deployments of this namespace say they belong to, and that are not
    /// known.
    #[must_use]
    pub(crate) fn missing_rollouts(&self, namespace: &str) -> BTreeSet<String> {
        let state = self.read();
        let missing = state.missing.iter();
        let here = missing.filter(|place| place.namespace == namespace);
        here.map(|place| place.name.clone()).collect()
    }

    /// Whether a Deployment of this namespace carries a Rollout's label and is not that Rollout's.
    #[must_use]
    pub(crate) fn has_foreign_children(&self, namespace: &str) -> bool {
        self.read().children.has_strays(namespace)
    }

    /// The highest epoch that Deployments and Jobs of this key carry, and the one that it adopts.
    #[must_use]
    pub(crate) fn highest_epoch(&self, key: &Key) -> Option<i64> {
        let state = self.read();
        let children = state.children.of(key).filter_map(|(_, c)| c.epoch);
        let jobs = state.jobs.of(key).filter_map(|(_, j)| j.epoch);
        let adopted = state.epoch_of_adoptee(key);
        children.chain(jobs).chain(adopted).max()
    }

    /// Whether an object of this key is known.
    #[must_use]
    pub(crate) fn knows(&self, key: &Key) -> bool {
        let state = self.read();
        match key {
            Key::Rollout { namespace, name } => {
                state.rollouts.get(&place(namespace, name)).is_some()
            }
            Key::Database { namespace, name } => {
                state.databases.get(&place(namespace, name)).is_some()
            }
        }
    }

    /// The uid of a known object.
    #[must_use]
    pub fn uid(&self, key: &Key) -> Option<String> {
        let state = self.read();
        match key {
            Key::Rollout { namespace, name } => {
                let rollout = state.rollouts.get(&place(namespace, name))?;
                Some(rollout.base.uid.clone())
            }
            Key::Database { namespace, name } => {
                let database = state.databases.get(&place(namespace, name))?;
                Some(database.base.uid.clone())
            }
        }
    }

    /// Keys of all known objects.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let state = self.read();
        let rollouts = state.rollouts.iter();
        let databases = state.databases.iter();
        rollouts
            .map(|(p, _)| rollout_key(&p.namespace, &p.name))
            .chain(databases.map(|(p, _)| database_key(&p.namespace, &p.name)))
            .collect()
    }

    /// Namespaces whose Services are to be watched, as they come and go.
    pub(super) fn switched(&self) -> watch::Receiver<BTreeSet<String>> {
        self.switched.subscribe()
    }

    /// The Services of a namespace may be listed, or may not, for this reason.
    pub(super) fn services_are(&self, namespace: &str, listed: Result<(), String>) {
        let keys: BTreeSet<Key> = {
            let mut state = self.write();
            let switched = state.switched.entry(namespace.to_owned()).or_default();
            let refused = listed.err();
            let news = refused != switched.refused || (refused.is_none() && !switched.listed);
            switched.listed |= refused.is_none();
            switched.refused = refused;
            let rollouts = switched.rollouts.iter().filter(|_| news);
            rollouts.map(|name| rollout_key(namespace, name)).collect()
        };
        self.tell(keys);
    }

    /// The Services of a namespace are watched no longer.
    pub(super) fn services_are_unwatched(&self, namespace: &str) {
        if let Some(switched) = self.write().switched.get_mut(namespace) {
            (switched.listed, switched.refused) = (false, None);
        }
        self.replace::<ServiceFacts>(Some(namespace), Vec::new());
    }

    /// Whoever watches Services learns of namespaces in which a Rollout asks for some.
    fn tell_switched(&self) {
        self.switched.send_if_modified(|known| {
            let state = self.read();
            let asked = state
                .switched
                .iter()
                .filter(|(_, s)| !s.rollouts.is_empty());
            let asked: BTreeSet<_> = asked.map(|(namespace, _)| namespace.clone()).collect();
            let changed = *known != asked;
            *known = asked;
            changed
        });
    }

    /// An object was made or has changed.
    pub(super) fn apply<F: Kept>(&self, place: Place, entry: Entry<F>) {
        let keys = {
            let mut state = self.write();
            apply(&mut state, place, entry)
        };
        F::follow(self);
        self.tell(keys);
    }

    /// An object is gone.
    pub(super) fn delete<F: Kept>(&self, place: &Place) {
        let keys = {
            let mut state = self.write();
            delete::<F>(&mut state, place)
        };
        F::follow(self);
        self.tell(keys);
    }

    /// These are all objects of a kind in `namespace` (`None`: anywhere).
    pub(super) fn replace<F: Kept>(&self, namespace: Option<&str>, all: Vec<(Place, Entry<F>)>) {
        let keys = {
            let mut state = self.write();
            let known: HashSet<Place> = all.iter().map(|(place, _)| place.clone()).collect();
            let mut keys = BTreeSet::new();
            for gone in F::table(&mut state).others(namespace, &known) {
                keys.extend(delete::<F>(&mut state, &gone));
            }
            for (place, entry) in all {
                keys.extend(apply(&mut state, place, entry));
            }
            keys
        };
        F::follow(self);
        self.tell(keys);
    }

    fn tell(&self, keys: BTreeSet<Key>) {
        keys.into_iter().for_each(&self.notify);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn facts_of<F: Clone>(table: &Table<F>, key: &Key) -> Vec<F> {
    table.of(key).map(|(_, facts)| facts.clone()).collect()
}

fn apply<F: Kept>(state: &mut State, place: Place, entry: Entry<F>) -> BTreeSet<Key> {
    if F::table(state).holds(&place, &entry.version) {
        return BTreeSet::new();
    }
    let old = F::table(state).remove(&place);
    F::note(
        state,
        &place,
        old.as_ref().map(|e| &e.facts),
        Some(&entry.facts),
    );
    let keys = F::concerned(state, old.as_ref(), Some(&entry));
    F::table(state).insert(place, entry);
    keys.iter().for_each(|key| state.review(key));
    keys
}

fn delete<F: Kept>(state: &mut State, place: &Place) -> BTreeSet<Key> {
    let Some(old) = F::table(state).remove(place) else {
        return BTreeSet::new();
    };
    F::note(state, place, Some(&old.facts), None);
    let keys = F::concerned(state, Some(&old), None);
    keys.iter().for_each(|key| state.review(key));
    keys
}

#[cfg(test)]
mod tests;
