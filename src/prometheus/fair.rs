//! Sharing something scarce: whoever has least of it, and had least of it lately, is next, namespace
//! by namespace, then Rollout by Rollout. So ten that ask for much do not keep it from an eleventh,
//! however long each of them takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::time::Instant;

use tokio::sync::oneshot;

/// After so many turns half of what everybody had is forgotten.
const FORGETS_AFTER: u64 = 256;
/// Names that are remembered; beyond it all are forgotten.
const MOST_REMEMBERED: usize = 10_000;

/// Who asks for a share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub namespace: String,
    pub rollout: String,
}

/// So many units, shared.
#[derive(Debug)]
pub(super) struct Fair {
    /// The most that one namespace may hold: the rest is for others.
    most_of_one: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    held: BTreeMap<Who, usize>,
    /// Milliseconds for which namespaces and Rollouts had it lately.
    namespaces: BTreeMap<String, u64>,
    rollouts: BTreeMap<Who, u64>,
    waiting: Vec<Waiting>,
    asked: u64,
    turn: u64,
}

#[derive(Debug)]
struct Waiting {
    who: Who,
    units: usize,
    order: u64,
    tell: oneshot::Sender<Share>,
}

/// What somebody holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Fair>,
    who: Who,
    units: usize,
    since: Instant,
}

impl Drop for Share {
    fn drop(&mut self) {
        let had = self.since.elapsed().as_millis().max(1);
        let had = u64::try_from(had).unwrap_or(u64::MAX);
        self.of.give_back(&self.who, self.units, had);
    }
}

impl Fair {
    /// So many units, of which one namespace may hold three quarters.
    pub(crate) fn new(units: usize) -> Arc<Self> {
        Arc::new(Self {
            most_of_one: units.div_ceil(4) * 3,
            state: Mutex::new(State {
                free: units,
                held: BTreeMap::new(),
                namespaces: BTreeMap::new(),
                rollouts: BTreeMap::new(),
                waiting: Vec::new(),
                asked: 0,
                turn: 0,
            }),
        })
    }

    /// Waits for so many units; no more than a namespace may hold.
    pub(crate) async fn take(self: &Arc<Self>, who: Who, units: usize) -> Share {
        let (tell, told) = oneshot::channel();
        {
            let mut state = self.state();
            state.asked += 1;
            let order = state.asked;
            state.waiting.push(Waiting {
                who,
                units: units.min(self.most_of_one),
                order,
                tell,
            });
        }
        self.serve();
        match told.await {
            Ok(share) => share,
            // Its sender lives in `self` until it is told.
            Err(_) => std::future::pending().await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(self: &Arc<Self>, who: &Who, units: usize, had: u64) {
        {
            let mut state = self.state();
            state.free += units;
            state.remember(who, had);
            if let Some(held) = state.held.get_mut(who) {
                *held -= units;
                if *held == 0 {
                    state.held.remove(who);
                }
            }
        }
        self.serve();
    }

    /// Serves all that can be served.
    fn serve(self: &Arc<Self>) {
        loop {
            let next = self.state().next(self.most_of_one);
            let Some(Waiting {
                who, units, tell, ..
            }) = next
            else {
                return;
            };
            // Told outside the lock: if nobody listens any more, it is given back at once.
            let of = Arc::clone(self);
            let since = Instant::now();
            drop(tell.send(Share {
                of,
                who,
                units,
                since,
            }));
        }
    }
}

impl State {
    /// The next to be served, on record as served.
    fn next(&mut self, most_of_one: usize) -> Option<Waiting> {
        self.waiting.retain(|w| !w.tell.is_closed());
        let mut by_namespace = BTreeMap::<&str, usize>::new();
        for (who, held) in &self.held {
            *by_namespace.entry(&who.namespace).or_default() += held;
        }
        let held = |namespace: &str| by_namespace.get(namespace).copied().unwrap_or(0);
        let eligible = self.waiting.iter().enumerate();
        let eligible = eligible.filter(|(_, w)| held(&w.who.namespace) + w.units <= most_of_one);
        let (at, _) = eligible.min_by_key(|(_, w)| {
            (
                held(&w.who.namespace),
                self.held.get(&w.who).copied().unwrap_or(0),
                self.namespaces.get(&w.who.namespace).copied().unwrap_or(0),
                self.rollouts.get(&w.who).copied().unwrap_or(0),
                w.order,
            )
        })?;
        // What is next and does not fit is waited for: those that need little come no earlier.
        if self.waiting[at].units > self.free {
            return None;
        }
        let next = self.waiting.swap_remove(at);
        self.free -= next.units;
        *self.held.entry(next.who.clone()).or_default() += next.units;
        Some(next)
    }

    /// Remembers who had it for how long; by and by it counts less.
    fn remember(&mut self, who: &Who, had: u64) {
        self.turn += 1;
        if self.turn.is_multiple_of(FORGETS_AFTER) {
            let halved = |had: &mut u64| {
                *had /= 2;
                *had > 0
            };
            self.namespaces.retain(|_, had| halved(had));
            self.rollouts.retain(|_, had| halved(had));
        }
        if self.rollouts.len() >= MOST_REMEMBERED {
            self.namespaces.clear();
            self.rollouts.clear();
        }
        let namespace = self.namespaces.entry(who.namespace.clone()).or_default();
        *namespace = namespace.saturating_add(had);
        let rollout = self.rollouts.entry(who.clone()).or_default();
        *rollout = rollout.saturating_add(had);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn who(namespace: &str, rollout: &str) -> Who {
        Who {
            namespace: namespace.to_owned(),
            rollout: rollout.to_owned(),
        }
    }

    type Asked = std::pin::Pin<Box<dyn Future<Output = Share> + Send>>;

    fn ask(fair: &Arc<Fair>, namespace: &str, rollout: &str, units: usize) -> Asked {
        let (fair, who) = (Arc::clone(fair), who(namespace, rollout));
        let mut asked: Asked = Box::pin(async move { fair.take(who, units).await });
        assert!(asked.as_mut().now_or_never().is_none() || units == 0);
        asked
    }

    #[test]
    fn an_eleventh_is_next_though_ten_ask_for_more() {
        let fair = Fair::new(8);
        let held: Vec<Share> = (0..6)
            .map(|n| fair.take(who("greedy", &n.to_string()), 1).now_or_never())
            .map(Option::unwrap)
            .collect();
        // The namespace has its most; another one has what is left at once.
        let mut more: Vec<Asked> = (0..10)
            .map(|n| ask(&fair, "greedy", &n.to_string(), 1))
            .collect();
        let other = fair.take(who("modest", "a"), 1).now_or_never();
        assert!(other.is_some());
        let mut late = ask(&fair, "greedy", "late", 1);
        // Each of them had it for a while, and is in line again.
        for n in 0..10 {
            fair.state().remember(&who("greedy", &n.to_string()), 50);
        }
        drop(held);
        let late = late.as_mut().now_or_never();
        assert!(late.is_some(), "of those in its namespace it had least");
        let served: Vec<Share> = more
            .iter_mut()
            .filter_map(|asked| asked.as_mut().now_or_never())
            .collect();
        assert_eq!(served.len(), 5, "its namespace has six then");
    }

    #[test]
    fn who_had_least_lately_is_next() {
        let fair = Fair::new(4);
        fair.state().remember(&who("a", "long"), 9_000);
        fair.state().remember(&who("a", "short"), 10);
        let held = fair.take(who("b", "b"), 3).now_or_never().unwrap();
        let mut long = ask(&fair, "a", "long", 3);
        let mut short = ask(&fair, "a", "short", 3);
        drop(held);
        let short = short.as_mut().now_or_never().unwrap();
        assert!(long.as_mut().now_or_never().is_none());
        drop(short);
        assert!(long.as_mut().now_or_never().is_some());
        for _ in 0..FORGETS_AFTER * 20 {
            fair.state().remember(&who("c", "c"), 0);
        }
        assert!(!fair.state().rollouts.contains_key(&who("a", "long")));
    }

    #[test]
    fn what_needs_much_is_not_passed_by_what_needs_little() {
        let fair = Fair::new(8);
        let held = fair.take(who("a", "a"), 4).now_or_never().unwrap();
        let mut large = ask(&fair, "b", "b", 6);
        let mut small = ask(&fair, "a", "c", 1);
        assert!(small.as_mut().now_or_never().is_none());
        drop(held);
        let share = large.as_mut().now_or_never().unwrap();
        assert!(small.as_mut().now_or_never().is_some());
        drop(share);
        assert_eq!(fair.state().free, 8);
    }

    #[test]
    fn who_stops_waiting_takes_nothing_along() {
        let fair = Fair::new(4);
        let held = fair.take(who("a", "a"), 3).now_or_never().unwrap();
        drop(ask(&fair, "a", "b", 3));
        let mut last = ask(&fair, "a", "c", 3);
        drop(held);
        let share = last.as_mut().now_or_never();
        assert!(share.is_some());
        // Served, and dropped before it looked.
        let unseen = ask(&fair, "b", "d", 3);
        drop(share);
        drop(unseen);
        assert_eq!(fair.state().free, 4);
        assert!(fair.state().held.is_empty());
    }
}
