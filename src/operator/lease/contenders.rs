//! Several contenders around one Lease in a world where every message takes its time, is lost or
//! comes late, where processes are stopped, killed and started anew, and where clocks run at
//! different speeds. Checked after every event: at most one contender believes that it leads, and
//! the epoch rises at every acquisition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::election::{Action, Election, LeaseFacts, Timing};

/// World time in milliseconds.
type At = u64;

/// What a contender may ask of the API server.
#[derive(Clone, Debug)]
enum Request {
    Read,
    /// Create (`None`) or update the version that was observed.
    Write {
        observed: Option<String>,
        lease: LeaseFacts,
        /// Local time before it was sent.
        sent: Duration,
    },
}

#[derive(Clone, Debug)]
enum Occasion {
    /// A contender looks what to do.
    Turn,
    Arrives(Request),
    /// The answer; for a write its sending time and what was stored, unless refused.
    Answers(Option<LeaseFacts>, Option<Duration>),
    Resumes,
}

struct Contender {
    election: Election,
    /// Raised at every start and at every event that replaces what was scheduled before.
    life: u32,
    /// Local clock: world time × rate / 100, plus an offset.
    rate: u64,
    offset: u64,
    stored: Option<LeaseFacts>,
    alive: bool,
    paused: bool,
    kept: Vec<Occasion>,
}

impl Contender {
    fn local(&self, at: At) -> Duration {
        Duration::from_millis(self.offset + at * self.rate / 100)
    }

    fn world(&self, wait: Duration) -> At {
        (u64::try_from(wait.as_millis()).unwrap() * 100).div_ceil(self.rate)
    }

    fn believes(&self, at: At) -> bool {
        self.alive && self.election.term(self.local(at)).is_some()
    }
}

struct World {
    now: At,
    lease: Option<LeaseFacts>,
    writes: u64,
    highest: u32,
    contenders: Vec<Contender>,
    queue: BTreeMap<(At, u64), (usize, u32, Occasion)>,
    scheduled: u64,
    tape: Vec<u16>,
    drawn: usize,
    /// While true, messages are slow or lost.
    faulty: bool,
}

impl World {
    /// Rates are chosen within ±15%, below the ratio of duration and renew deadline.
    fn new(tape: Vec<u16>, count: usize) -> Self {
        let mut world = Self {
            now: 0,
            lease: None,
            writes: 0,
            highest: 0,
            contenders: Vec::new(),
            queue: BTreeMap::new(),
            scheduled: 0,
            tape,
            drawn: 0,
            faulty: true,
        };
        for index in 0..count {
            let rate = 90 + world.draw(26);
            let offset = world.draw(100_000);
            world.contenders.push(Contender {
                election: Election::new(format!("c{index}"), Timing::default()),
                life: 0,
                rate,
                offset,
                stored: None,
                alive: true,
                paused: false,
                kept: Vec::new(),
            });
            let start = world.draw(3000);
            world.schedule(start, index, Occasion::Turn);
        }
        world
    }

    fn draw(&mut self, below: u64) -> u64 {
        let value = self.tape[self.drawn % self.tape.len()];
        // Another reading of the tape each time round.
        let turn = (self.drawn / self.tape.len()) as u64;
        self.drawn += 1;
        (u64::from(value) ^ ((turn * 40_503) & 0xffff)) % below
    }

    fn schedule(&mut self, after: At, who: usize, event: Occasion) {
        self.scheduled += 1;
        let life = self.contenders[who].life;
        self.queue
            .insert((self.now + after, self.scheduled), (who, life, event));
    }

    /// The way of a message: usually some milliseconds, sometimes seconds. `None`: lost.
    fn way(&mut self) -> Option<At> {
        if !self.faulty {
            return Some(1 + self.draw(10));
        }
        match self.draw(10) {
            0 => None,
            1 | 2 => Some(self.draw(20_000)),
            3 => Some(self.draw(6_000)),
            _ => Some(1 + self.draw(50)),
        }
    }

    /// Runs to `end`, checking after every event.
    fn run_to(&mut self, end: At) {
        while let Some(entry) = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= end)
        {
            let ((at, _), (who, life, event)) = entry.remove_entry();
            self.now = at;
            // What reached the server is done, whatever became of its sender.
            if let Occasion::Arrives(request) = event {
                self.serve(who, life, request);
            } else if life == self.contenders[who].life && self.contenders[who].alive {
                match (self.contenders[who].paused, event) {
                    (true, Occasion::Resumes) => self.resume(who),
                    (true, event) => self.contenders[who].kept.push(event),
                    (false, event) => self.handle(who, event),
                }
            }
            self.check();
        }
        self.now = end;
        self.check();
    }

    fn check(&self) {
        let leaders: Vec<_> = (0..self.contenders.len())
            .filter(|c| self.contenders[*c].believes(self.now))
            .collect();
        assert!(
            leaders.len() <= 1,
            "at {} ms these believe that they lead: {leaders:?}",
            self.now
        );
    }

    fn leader(&self) -> Option<usize> {
        (0..self.contenders.len()).find(|c| self.contenders[*c].believes(self.now))
    }

    fn handle(&mut self, who: usize, event: Occasion) {
        match event {
            Occasion::Turn => self.turn(who),
            Occasion::Answers(facts, sent) => self.answered(who, facts, sent),
            Occasion::Arrives(_) | Occasion::Resumes => {}
        }
    }

    fn turn(&mut self, who: usize) {
        // Whatever was on its way for the turn before is no longer waited for.
        self.contenders[who].life += 1;
        match self.contenders[who].stored.clone() {
            Some(stored) => self.step(who, Some(stored)),
            None => self.send(who, Request::Read),
        }
    }

    fn step(&mut self, who: usize, observed: Option<LeaseFacts>) {
        let contender = &mut self.contenders[who];
        let now = contender.local(self.now);
        let action = contender.election.step(observed.as_ref(), now);
        let held = contender.election.term(now).is_some();
        contender.stored = observed.clone().filter(|_| held);
        let holder = Some(format!("c{who}"));
        let duration = Timing::default().duration();
        let (holder, epoch, duration) = match action {
            Action::Done => return,
            Action::Wait(wait) => {
                let wait = contender.world(wait);
                return self.schedule(wait, who, Occasion::Turn);
            }
            Action::Create { epoch } | Action::Acquire { epoch } => {
                contender.election.sending(epoch);
                (holder, epoch, duration)
            }
            Action::Renew { epoch } => (holder, epoch, duration),
            Action::Release => (
                None,
                observed.as_ref().map_or(0, |o| o.epoch),
                Duration::from_secs(1),
            ),
        };
        let lease = LeaseFacts {
            holder,
            epoch,
            made: 0,
            duration,
            renewed: Some(i64::try_from(now.as_micros()).unwrap()),
            resource_version: String::new(),
            uid: "u".into(),
        };
        let observed = observed.map(|observed| observed.resource_version);
        self.send(
            who,
            Request::Write {
                observed,
                lease,
                sent: now,
            },
        );
    }

    fn send(&mut self, who: usize, request: Request) {
        let contender = &self.contenders[who];
        let now = contender.local(self.now);
        let mut patience = Timing::default().request_timeout();
        if let Some(term) = contender.election.term(now) {
            patience = patience.min(term.until - now);
        }
        let patience = contender.world(patience) + 1;
        self.contenders[who].stored = None;
        self.schedule(patience, who, Occasion::Turn);
        if let Some(way) = self.way() {
            self.schedule(way, who, Occasion::Arrives(request));
        }
    }

    fn serve(&mut self, who: usize, life: u32, request: Request) {
        let answer = match request {
            Request::Read => Occasion::Answers(self.lease.clone(), None),
            Request::Write {
                observed,
                lease,
                sent,
            } => {
                let current = self
                    .lease
                    .as_ref()
                    .map(|lease| lease.resource_version.clone());
                let accepted = current == observed;
                if accepted {
                    self.store(lease);
                }
                Occasion::Answers(self.lease.clone().filter(|_| accepted), Some(sent))
            }
        };
        if let Some(way) = self.way() {
            self.scheduled += 1;
            self.queue
                .insert((self.now + way, self.scheduled), (who, life, answer));
        }
    }

    fn store(&mut self, mut lease: LeaseFacts) {
        let before = self.lease.as_ref();
        let same_term = before.is_some_and(|b| b.epoch == lease.epoch && b.holder == lease.holder);
        if lease.holder.is_some() && !same_term {
            assert!(
                lease.epoch > self.highest,
                "epoch {} again at {} ms",
                lease.epoch,
                self.now
            );
            self.highest = lease.epoch;
        }
        self.writes += 1;
        lease.resource_version = self.writes.to_string();
        self.lease = Some(lease);
    }

    fn answered(&mut self, who: usize, facts: Option<LeaseFacts>, sent: Option<Duration>) {
        let contender = &mut self.contenders[who];
        // It came in time: the turn that would have followed the time-out does not.
        contender.life += 1;
        let now = contender.local(self.now);
        match (facts, sent) {
            (facts, None) => self.step(who, facts),
            (Some(stored), Some(sent)) => {
                contender.election.accepted(stored.clone(), sent, now);
                let held = contender.election.term(now).is_some();
                contender.stored = Some(stored).filter(|_| held);
                self.schedule(0, who, Occasion::Turn);
            }
            (None, Some(_)) => self.schedule(100, who, Occasion::Turn),
        }
    }

    fn resume(&mut self, who: usize) {
        self.contenders[who].paused = false;
        for event in std::mem::take(&mut self.contenders[who].kept) {
            // Time-outs and answers that piled up are all handled, in the order they came.
            self.schedule(0, who, event);
        }
    }

    fn pause(&mut self, who: usize, lasting: At) {
        if !self.contenders[who].paused {
            self.contenders[who].paused = true;
            self.schedule(lasting, who, Occasion::Resumes);
        }
    }

    fn kill(&mut self, who: usize) {
        let contender = &mut self.contenders[who];
        contender.alive = false;
        contender.life += 1;
    }

    /// A new process under the old name, as a container that is started again in its pod.
    fn start(&mut self, who: usize) {
        let contender = &mut self.contenders[who];
        contender.life += 1;
        contender.alive = true;
        contender.paused = false;
        contender.kept.clear();
        contender.stored = None;
        contender.offset = 0;
        contender.election = Election::new(format!("c{who}"), Timing::default());
        self.schedule(0, who, Occasion::Turn);
    }

    fn fault(&mut self) {
        let who = usize::try_from(self.draw(self.contenders.len() as u64)).unwrap();
        match self.draw(6) {
            0 | 1 => {
                let lasting = self.draw(40_000);
                self.pause(who, lasting);
            }
            2 => self.kill(who),
            3 => self.start(who),
            4 => {
                self.contenders[who].election.stop();
            }
            _ => {}
        }
    }

    /// Everybody runs again and messages are quick from now on.
    fn calm(&mut self) {
        self.faulty = false;
        for who in 0..self.contenders.len() {
            self.start(who);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn never_two_leaders_and_in_the_end_one(
        tape in prop::collection::vec(any::<u16>(), 40..400),
        count in 2..4usize,
    ) {
        let mut world = World::new(tape, count);
        for _ in 0..12 {
            let lasting = 2_000 + world.draw(20_000);
            world.run_to(world.now + lasting);
            world.fault();
        }
        world.calm();
        // The longest: a late message renews for the last time, then a slow clock waits it out.
        world.run_to(world.now + 60_000);
        let leader = world.leader();
        prop_assert!(leader.is_some(), "nobody leads after a quiet minute");

        // A clean stop hands over within one retry period.
        let leader = leader.unwrap();
        world.contenders[leader].election.stop();
        world.schedule(0, leader, Occasion::Turn);
        world.run_to(world.now + 2_000);
        prop_assert!(world.leader().is_some_and(|next| next != leader), "no hand-over in 2 s");

        // A killed leader is replaced within lease duration and retry period of its successor.
        let next = world.leader().unwrap();
        world.start(leader);
        world.run_to(world.now + 5_000);
        world.kill(next);
        let slowest = 17_000 * 100 / 90 + 200;
        world.run_to(world.now + slowest);
        prop_assert!(world.leader().is_some_and(|last| last != next), "no fail-over after a kill");
    }
}

#[test]
fn the_world_does_reach_many_terms_and_faults() {
    // Guards the property above against a world in which nothing happens.
    let mut epochs = BTreeSet::new();
    let tape: Vec<u16> = (0..4000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as u16)
        .collect();
    let mut world = World::new(tape, 3);
    let mut led = BTreeSet::new();
    for _ in 0..200 {
        let lasting = 2_000 + world.draw(20_000);
        world.run_to(world.now + lasting);
        led.extend(world.leader());
        epochs.insert(world.highest);
        world.fault();
    }
    assert!(epochs.len() > 10, "{epochs:?}");
    assert!(led.len() > 1, "only {led:?} ever led");
}
