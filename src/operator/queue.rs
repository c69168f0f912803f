//! What is to be looked at, and when: every key once at a time, as often as it has changed.
//!
//! No clock and no tasks in here, so that its rules can be tested at any speed.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::cluster::Key;

/// First and longest delay after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// The same after a conflict: its cure, a newer copy, is on its way as a rule.
const CONFLICT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// Soonest that a key wakes by itself: a plan that is never content costs little.
const SOONEST: Duration = Duration::from_millis(50);

/// How a pass ended, as far as its next turn goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassEnd {
    /// Well; to be looked at again at this time at the latest.
    Well(Option<Instant>),
    /// The copy it rested on was old.
    Conflict,
    /// With an error or a panic.
    Failed,
}

/// Keys that wait, run, or sleep.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    slots: HashMap<Key, Slot>,
    ready: VecDeque<Key>,
    timers: BTreeSet<(Instant, Key)>,
}

#[derive(Debug, Default)]
struct Slot {
    state: State,
    timer: Option<Instant>,
    failures: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Ready,
    Running,
    /// Something happened meanwhile.
    RunningAgain,
}

impl Queue {
    /// Something happened to this key: it is looked at as soon as possible, and once more if it
    /// is being looked at right now.
    pub(crate) fn push(&mut self, key: Key) {
        let slot = self.slots.entry(key.clone()).or_default();
        match slot.state {
            State::Idle => {
                slot.state = State::Ready;
                if let Some(at) = slot.timer.take() {
                    self.timers.remove(&(at, key.clone()));
                }
                self.ready.push_back(key);
            }
            State::Running => slot.state = State::RunningAgain,
            State::Ready | State::RunningAgain => {}
        }
    }

    /// Wakes the keys whose time has come.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
            && let Some((_, key)) = self.timers.pop_first()
        {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.timer = None;
            }
            self.push(key);
        }
    }

    /// When the next key wakes by itself.
    #[must_use]
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The key that has waited longest. It runs until [`Queue::done`].
    pub(crate) fn take(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.state = State::Running;
        }
        Some(key)
    }

    /// A pass over this key has ended.
    pub(crate) fn done(&mut self, key: Key, ended: PassEnd, now: Instant) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        let again = slot.state == State::RunningAgain;
        slot.state = State::Idle;
        let at = match ended {
            PassEnd::Well(at) => {
                slot.failures = 0;
                at.map(|at| at.max(now + SOONEST))
            }
            PassEnd::Conflict => Some(now + slot.backoff(CONFLICT)),
            PassEnd::Failed => Some(now + slot.backoff(BACKOFF)),
        };
        if again {
            self.push(key);
        } else if let Some(at) = at {
            slot.timer = Some(at);
            self.timers.insert((at, key));
        }
    }

    /// Nothing is known of this key any more. It may come back.
    pub(crate) fn forget(&mut self, key: &Key) {
        let idle = |slot: &Slot| slot.state == State::Idle;
        if self.slots.get(key).is_some_and(idle)
            && let Some(slot) = self.slots.remove(key)
            && let Some(at) = slot.timer
        {
            self.timers.remove(&(at, key.clone()));
        }
    }
}

impl Slot {
    fn backoff(&mut self, (first, longest): (Duration, Duration)) -> Duration {
        let delay = first.saturating_mul(1 << self.failures.min(20));
        self.failures += 1;
        delay.min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::Rollout {
            namespace: "n".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_key_waits_once_and_runs_once_at_a_time() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(key("a"));
        queue.push(key("b"));
        queue.push(key("a"));
        assert_eq!(queue.take(), Some(key("a")));
        queue.push(key("a"));
        queue.push(key("a"));
        assert_eq!(queue.take(), Some(key("b")));
        assert_eq!(queue.take(), None);
        queue.done(key("a"), PassEnd::Well(None), now);
        assert_eq!(queue.take(), Some(key("a")));
        queue.done(key("a"), PassEnd::Well(None), now);
        queue.done(key("b"), PassEnd::Well(None), now);
        assert_eq!(queue.take(), None);
        assert_eq!(queue.next_timer(), None);
    }

    #[test]
    fn a_key_wakes_when_it_said_and_an_event_comes_first() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let later = now + Duration::from_secs(10);
        queue.push(key("a"));
        queue.take();
        queue.done(key("a"), PassEnd::Well(Some(later)), now);
        queue.wake(now);
        assert_eq!((queue.take(), queue.next_timer()), (None, Some(later)));
        queue.wake(later);
        assert_eq!(queue.take(), Some(key("a")));
        queue.done(key("a"), PassEnd::Well(Some(later)), now);
        queue.push(key("a"));
        assert_eq!(
            (queue.take(), queue.next_timer()),
            (Some(key("a")), None),
            "the event replaces the timer"
        );
    }

    #[test]
    fn a_key_that_wants_to_wake_at_once_is_held_back() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(key("a"));
        queue.take();
        queue.done(key("a"), PassEnd::Well(Some(now)), now);
        queue.wake(now);
        assert_eq!(
            (queue.take(), queue.next_timer()),
            (None, Some(now + SOONEST))
        );
    }

    #[test]
    fn failures_wait_longer_each_time_until_one_pass_ends_well() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut delays = Vec::new();
        queue.push(key("a"));
        for _ in 0..12 {
            let taken = queue.take().expect("it is due");
            queue.done(taken, PassEnd::Failed, now);
            let at = queue.next_timer().expect("it is tried again");
            delays.push((at - now).as_millis());
            queue.wake(at);
        }
        assert_eq!(&delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays.last(), Some(&60_000));
        let taken = queue.take().expect("it is due");
        queue.done(taken, PassEnd::Well(None), now);
        queue.push(key("a"));
        let taken = queue.take().expect("it is due");
        queue.done(taken, PassEnd::Conflict, now);
        assert_eq!(queue.next_timer(), Some(now + CONFLICT.0));
    }

    #[test]
    fn a_forgotten_key_leaves_nothing_behind() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(key("a"));
        queue.take();
        queue.done(key("a"), PassEnd::Failed, now);
        queue.forget(&key("a"));
        assert_eq!(queue.next_timer(), None);
        assert!(queue.slots.is_empty());
        queue.push(key("a"));
        queue.forget(&key("a"));
        assert_eq!(queue.take(), Some(key("a")), "a waiting key stays");
    }
}
