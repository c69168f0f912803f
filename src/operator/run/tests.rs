//! The loop over passes that are scripted, in a time of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, OnceLock},
};

use tokio::{
    sync::{Semaphore, watch},
    time::sleep,
};

use super::*;
use crate::{
    cluster::{WriteError, pass::Stopped},
    operator::{lease::Lead, shutdown::StopSource},
};

/// The wall clock that goes with the runtime's.
fn wall() -> Timestamp {
    static START: OnceLock<Timestamp> = OnceLock::new();
    thread_local!(static STEADY: Instant = Instant::now());
    let start = *START.get_or_init(Timestamp::now);
    let passed = STEADY.with(|steady| steady.elapsed());
    start + jiff::SignedDuration::try_from(passed).unwrap()
}

fn key(name: &str) -> Key {
    Key::Rollout {
        namespace: "n".into(),
        name: name.into(),
    }
}

fn name(key: &Key) -> String {
    let (Key::Rollout { name, .. } | Key::Database { name, .. }) = key;
    name.clone()
}

/// What a pass does.
#[derive(Clone, Copy)]
enum Does {
    Nothing,
    Panic,
    Fail,
    WakeIn(i64),
    /// Holds its worker until it is let go.
    Wait,
}

/// Passes that do as they are told, and what has happened.
struct Script {
    does: Mutex<BTreeMap<String, Does>>,
    log: Mutex<Vec<(Duration, String)>>,
    running: Mutex<BTreeSet<String>>,
    gone: Mutex<BTreeSet<String>>,
    gate: Semaphore,
    start: Instant,
}

impl Script {
    fn log(&self, what: String) {
        self.log.lock().unwrap().push((self.start.elapsed(), what));
    }

    /// When each pass over a key began, in milliseconds.
    fn began(&self, key: &str) -> Vec<u128> {
        let log = self.log.lock().unwrap();
        let own = log.iter().filter(|(_, what)| what == key);
        own.map(|(at, _)| at.as_millis()).collect()
    }
}

impl Reconcile for Script {
    async fn pass(&self, key: &Key, _: &mut Memory, _: Term) -> Ran {
        let name = name(key);
        let fresh = self.running.lock().unwrap().insert(name.clone());
        assert!(fresh, "{name} runs twice at the same time");
        self.log(name.clone());
        let does = self.does.lock().unwrap().get(&name).copied();
        let mut ran = Ran::default();
        match does.unwrap_or(Does::Nothing) {
            Does::Nothing => {}
            Does::Panic => {
                self.running.lock().unwrap().remove(&name);
                panic!("as told");
            }
            Does::Fail => {
                ran.error = Some(Stopped::Write(WriteError::NotTaken {
                    object: "x".into(),
                    message: "y".into(),
                }));
            }
            Does::WakeIn(seconds) => {
                ran.wake_at = Some(wall() + jiff::SignedDuration::from_secs(seconds));
            }
            Does::Wait => self.gate.acquire().await.unwrap().forget(),
        }
        self.running.lock().unwrap().remove(&name);
        ran
    }

    fn knows(&self, key: &Key) -> bool {
        !self.gone.lock().unwrap().contains(&name(key))
    }

    fn keys(&self) -> Vec<Key> {
        self.does.lock().unwrap().keys().map(|n| key(n)).collect()
    }

    fn forget(&self, key: &Key) {
        self.log(format!("forget {}", name(key)));
    }

    fn term_ended(&self) {
        self.log("term ended".into());
    }
}

/// A loop under way.
struct World {
    script: Arc<Script>,
    inbox: Inbox,
    lead: watch::Sender<Lead>,
    stop: StopSource,
    ended: tokio::task::JoinHandle<()>,
}

const LEADING: Lead = Lead::Leading {
    epoch: 7,
    until: None,
};

fn world(workers: usize, does: &[(&str, Does)]) -> World {
    // The two clocks begin together.
    wall();
    let script = Arc::new(Script {
        does: Mutex::new(does.iter().map(|(n, d)| ((*n).into(), *d)).collect()),
        log: Mutex::default(),
        running: Mutex::default(),
        gone: Mutex::default(),
        gate: Semaphore::new(0),
        start: Instant::now(),
    });
    let (inbox, stop) = (Inbox::default(), StopSource::new());
    let (lead, told) = watch::channel(LEADING);
    let run_loop = RunLoop::new(
        script.clone(),
        inbox.clone(),
        Arc::new(Clock::over(wall)),
        Metrics::new(),
        workers,
    );
    let ended = tokio::spawn(run_loop.run(Leadership::told(told), stop.stop(), || {}));
    World {
        script,
        inbox,
        lead,
        stop,
        ended,
    }
}

#[tokio::test(start_paused = true)]
async fn everything_known_is_looked_at_first_and_then_what_happens_at_once() {
    let world = world(2, &[("a", Does::Nothing), ("b", Does::Nothing)]);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(
        world.script.began("a"),
        [0],
        "nothing happened, nothing is done"
    );
    world.inbox.push(key("a"));
    sleep(Duration::from_secs(100)).await;
    assert_eq!(world.script.began("a"), [0, 100_000]);
    assert_eq!(world.script.began("b"), [0]);
}

#[tokio::test(start_paused = true)]
async fn what_happens_during_a_pass_is_looked_at_after_it_once() {
    let world = world(4, &[("a", Does::Wait)]);
    sleep(Duration::from_secs(1)).await;
    for _ in 0..10 {
        world.inbox.push(key("a"));
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.script.began("a").len(), 1, "the first still runs");
    world.script.gate.add_permits(2);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.script.began("a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_pass_and_is_tried_again() {
    let world = world(1, &[("bad", Does::Panic), ("good", Does::Nothing)]);
    sleep(Duration::from_secs(1)).await;
    let bad = world.script.began("bad");
    assert_eq!(bad[..3], [0, 100, 300], "with backoff");
    assert_eq!(world.script.began("good"), [0]);
    world
        .script
        .does
        .lock()
        .unwrap()
        .insert("bad".into(), Does::Nothing);
    sleep(Duration::from_secs(100)).await;
    let after = world.script.began("bad").len();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(world.script.began("bad").len(), after, "mended");
}

#[tokio::test(start_paused = true)]
async fn one_slow_key_holds_up_nobody_else() {
    let world = world(
        2,
        &[
            ("slow", Does::Wait),
            ("a", Does::WakeIn(1)),
            ("b", Does::Fail),
        ],
    );
    sleep(Duration::from_millis(10_500)).await;
    assert_eq!(world.script.began("slow").len(), 1);
    assert_eq!(world.script.began("a").len(), 11, "every second");
    assert_eq!(world.script.began("b").len(), 7, "with backoff");
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_a_time_than_there_are_workers() {
    let names = ["a", "b", "c", "d"];
    let world = world(3, &names.map(|n| (n, Does::Wait)));
    sleep(Duration::from_secs(5)).await;
    let began = || {
        names
            .iter()
            .map(|n| world.script.began(n).len())
            .sum::<usize>()
    };
    assert_eq!(began(), 3);
    world.script.gate.add_permits(1);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(began(), 4);
}

#[tokio::test(start_paused = true)]
async fn only_a_leader_acts_and_a_new_term_begins_with_everything() {
    let world = world(2, &[("a", Does::Nothing)]);
    sleep(Duration::from_secs(1)).await;
    assert!(world.script.began("term ended").is_empty());
    world.lead.send_replace(Lead::Standby);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.script.began("term ended").len(), 1);
    world.inbox.push(key("a"));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.script.began("a").len(), 1, "standing by");
    let epoch = 8;
    world
        .lead
        .send_replace(Lead::Leading { epoch, until: None });
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.script.began("a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_forgotten() {
    let world = world(2, &[("a", Does::WakeIn(10))]);
    sleep(Duration::from_secs(1)).await;
    world.script.gone.lock().unwrap().insert("a".into());
    world.inbox.push(key("a"));
    sleep(Duration::from_secs(100)).await;
    assert_eq!(
        world.script.began("a").len(),
        2,
        "its timer is forgotten too"
    );
    assert_eq!(world.script.began("forget a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_passes_under_way_are_waited_for_and_none_begins() {
    let world = world(1, &[("a", Does::Wait), ("b", Does::Nothing)]);
    sleep(Duration::from_secs(1)).await;
    world.stop.pull();
    sleep(Duration::from_secs(1)).await;
    assert!(!world.ended.is_finished(), "a pass is under way");
    world.script.gate.add_permits(1);
    world.ended.await.expect("the loop ends");
    assert_eq!(world.script.began("b").len(), 0);
}
