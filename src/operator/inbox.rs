//! Where everybody drops the keys that something happened to.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::cluster::Key;

/// A box that holds each key once: as large as there are objects, however much happens to them.
/// Clones are the same box.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    keys: Mutex<BTreeSet<Key>>,
    filled: Notify,
}

impl Inbox {
    /// Something happened to this key.
    pub(crate) fn push(&self, key: Key) {
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key);
        drop(keys);
        self.0.filled.notify_one();
    }

    /// Waits until there are keys, and takes all of them. For one taker; may be dropped and
    /// called again.
    pub(crate) async fn take(&self) -> BTreeSet<Key> {
        loop {
            let taken = {
                let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *keys)
            };
            if !taken.is_empty() {
                return taken;
            }
            self.0.filled.notified().await;
        }
    }
}
