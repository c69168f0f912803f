//! How much memory the answers of one poll may take, out of one budget for all polls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::Error;
use super::fair::{Fair, Share, Who};

/// The budget of all answers that are in memory, of all sources, in megabytes.
const BUDGET: usize = 56;
/// What a poll may keep of it.
const FOR_NOW: usize = 4;
/// The same, where the past is asked for: of these there are three at a time at most, however many
/// Rollouts are looked at anew after a start.
const FOR_HISTORY: usize = 16;

/// The budget.
#[derive(Clone)]
pub(super) struct Budget(Arc<Fair>);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Fair::new(BUDGET))
    }

    /// The room of one poll, not yet taken.
    pub(crate) fn room(&self, who: Who, history: bool) -> Room {
        let megabytes = if history { FOR_HISTORY } else { FOR_NOW };
        Room(Arc::new(Inner {
            budget: Arc::clone(&self.0),
            who,
            megabytes,
            left: AtomicUsize::new(megabytes << 20),
            share: Mutex::new(None),
        }))
    }
}

/// The room of one poll: taken when its first answer arrives, and held until it is dropped.
#[derive(Clone)]
pub struct Room(Arc<Inner>);

struct Inner {
    budget: Arc<Fair>,
    who: Who,
    megabytes: usize,
    left: AtomicUsize,
    share: Mutex<Option<Share>>,
}

impl Room {
    /// A room that nobody else has a part in.
    #[must_use]
    pub fn alone() -> Self {
        let who = Who {
            namespace: String::new(),
            rollout: String::new(),
        };
        Budget::new().room(who, true)
    }

    /// Waits for it. A source that does not answer takes none.
    pub(crate) async fn enter(&self) {
        let has = || {
            let share = self.0.share.lock();
            share.unwrap_or_else(PoisonError::into_inner).is_some()
        };
        if !has() {
            let share = self.0.budget.take(self.0.who.clone(), self.0.megabytes);
            let share = share.await;
            let mut held = self.0.share.lock().unwrap_or_else(PoisonError::into_inner);
            held.get_or_insert(share);
        }
    }

    /// Keeps so many bytes more.
    ///
    /// # Errors
    /// When they do not fit.
    pub(crate) fn keep(&self, bytes: usize) -> Result<(), Error> {
        let left = &self.0.left;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(bytes)
        });
        taken.map(|_| ()).map_err(|_| Error::TooMuch)
    }

    /// Has so many bytes back: they were not kept after all.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.left.fetch_add(bytes, Ordering::Relaxed);
    }
}
