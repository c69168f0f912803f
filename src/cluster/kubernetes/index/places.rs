//! Where objects lie, and what is looked at when they change.

use crate::cluster::{Key, kubernetes::table::Place};

/// The place of an object.
pub(in crate::cluster::kubernetes) fn place(namespace: &str, name: &str) -> Place {
    Place {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// A Rollout's key.
#[must_use]
pub fn rollout_key(namespace: &str, name: &str) -> Key {
    Key::Rollout {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// A DatabaseSchema's key.
#[must_use]
pub fn database_key(namespace: &str, name: &str) -> Key {
    Key::Database {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}
