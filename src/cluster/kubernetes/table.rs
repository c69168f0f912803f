//! One kind of object in the index: by place, and by what it belongs to.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::cluster::Key;

/// Where an object lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object and the keys it belongs to.
#[derive(Clone, Debug)]
pub struct Entry<F> {
    /// What it belongs to, and what is looked at anew when it changes.
    pub keys: Vec<Key>,
    /// Its resourceVersion.
    pub version: String,
    /// What is known of it.
    pub facts: F,
}

/// Objects of one kind.
#[derive(Debug)]
pub struct Table<F> {
    entries: HashMap<Place, Entry<F>>,
    members: HashMap<Key, BTreeSet<String>>,
    /// How many of a namespace belong to no key.
    strays: HashMap<String, usize>,
}

impl<F> Default for Table<F> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            members: HashMap::new(),
            strays: HashMap::new(),
        }
    }
}

impl<F> Table<F> {
    /// The object at this place.
    pub fn get(&self, place: &Place) -> Option<&F> {
        self.entries.get(place).map(|e| &e.facts)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, &F)> {
        self.entries.iter().map(|(place, e)| (place, &e.facts))
    }

    /// Whether an object within `namespace` belongs to no key.
    pub(crate) fn has_strays(&self, namespace: &str) -> bool {
        self.strays.contains_key(namespace)
    }

    /// Whether an object belongs to `key`.
    pub fn has(&self, key: &Key) -> bool {
        self.members.contains_key(key)
    }

    /// Objects that belong to `key`, by name.
    pub fn of(&self, key: &Key) -> impl Iterator<Item = (&str, &F)> {
        let namespace = key.namespace().to_owned();
        let names = self.members.get(key).into_iter().flatten();
        names.filter_map(move |name| {
            let place = Place {
                namespace: namespace.clone(),
                name: name.clone(),
            };
            Some((name.as_str(), self.get(&place)?))
        })
    }

    /// Puts an object in its place and returns what was there.
    pub fn insert(&mut self, place: Place, entry: Entry<F>) -> Option<Entry<F>> {
        let old = self.remove(&place);
        for key in &entry.keys {
            let members = self.members.entry(key.clone()).or_default();
            members.insert(place.name.clone());
        }
        if entry.keys.is_empty() {
            *self.strays.entry(place.namespace.clone()).or_default() += 1;
        }
        self.entries.insert(place, entry);
        old
    }

    /// Takes an object away and returns it.
    pub fn remove(&mut self, place: &Place) -> Option<Entry<F>> {
        let old = self.entries.remove(place)?;
        if old.keys.is_empty()
            && let Some(strays) = self.strays.get_mut(&place.namespace)
        {
            *strays -= 1;
            if *strays == 0 {
                self.strays.remove(&place.namespace);
            }
        }
        for key in &old.keys {
            if let Some(members) = self.members.get_mut(key) {
                members.remove(&place.name);
                if members.is_empty() {
                    self.members.remove(key);
                }
            }
        }
        Some(old)
    }

    /// Whether the object at this place is of this version.
    pub fn holds(&self, place: &Place, version: &str) -> bool {
        let entry = self.entries.get(place);
        entry.is_some_and(|e| e.version == version)
    }

    /// Places within `namespace` (`None`: anywhere) that are not among `known`.
    pub fn others(&self, namespace: Option<&str>, known: &HashSet<Place>) -> Vec<Place> {
        let within = |p: &&Place| namespace.is_none_or(|n| p.namespace == n);
        let places = self.entries.keys().filter(within);
        places.filter(|p| !known.contains(p)).cloned().collect()
    }
}
