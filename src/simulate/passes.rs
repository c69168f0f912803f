//! The operator's queue: passes fall due, begin, and end.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{
    event::{Life, Occurrence, Turn},
    ledger::Happened,
    process::Trust,
    world::World,
};
use crate::cluster::{
    Key, WriteError,
    pass::{Memory, Ran, Stopped},
};

impl World {
    /// What has changed is looked at soon.
    pub(super) fn wake(&mut self, life: Life, keys: BTreeSet<Key>) {
        for key in keys {
            let debounce = self.draw(self.setting.timing.debounce);
            self.enqueue(life.process, key, debounce);
        }
    }

    /// A pass falls due; at the earlier moment if one was planned already.
    pub(super) fn enqueue(&mut self, index: usize, key: Key, delay: SignedDuration) {
        let at = self.now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        let process = &mut self.processes[index];
        if !process.running || !process.leading {
            return;
        }
        if process.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        process.due.insert(key.clone(), at);
        let life = process.life;
        self.at(at, Occurrence::Start(life, key));
    }

    /// A pass begins, if it is still due and none is under way for the same object.
    pub(super) fn start_pass(&mut self, life: Life, key: Key) {
        let now = self.now;
        let process = &mut self.processes[life.process];
        if process.life != life || !process.leading || process.busy.contains(&key) {
            return;
        }
        if process.due.get(&key).is_none_or(|due| *due > now) {
            return;
        }
        process.due.remove(&key);
        process.busy.insert(key.clone());
        let second = now.as_second();
        let count = self.ledger.passes.entry((life, key.clone())).or_default();
        *count = if count.0 == second {
            (second, count.1 + 1)
        } else {
            (second, 1)
        };
        self.turns.push(Turn::Start(life, key));
    }

    /// What this process remembers of an object, for the pass that begins.
    pub(super) fn take_memory(&mut self, life: Life, key: &Key) -> Memory {
        let process = &mut self.processes[life.process];
        process.memories.remove(key).unwrap_or_default()
    }

    /// A pass begins: it has one time, that of its beginning.
    pub(super) fn begins(&mut self, life: Life, key: &Key) -> Trust {
        let (began, clock) = (self.now, self.clock(life.process));
        let process = &mut self.processes[life.process];
        let trust = Trust {
            began,
            clock,
            since: process.trusted_since,
            answered: process.answered.get(key.name()).copied(),
        };
        process.trust.insert(key.clone(), trust);
        trust
    }

    /// A pass has ended.
    pub fn finished(&mut self, life: Life, key: &Key, memory: Memory, ran: Ran) {
        if self.processes[life.process].life != life {
            return;
        }
        self.story.pass(self.now, key, &ran);
        let refused = self.ledger.refused.remove(&(life, key.clone()));
        let cut_short = match &ran.error {
            Some(Stopped::Write(error)) => !matches!(error, WriteError::Refused { .. }),
            other => other.is_some(),
        };
        if let Some(refused) = refused.filter(|_| !cut_short) {
            self.happened.push(Happened::Refused {
                key: key.clone(),
                refused,
                told: ran.events.iter().map(|e| e.message.clone()).collect(),
            });
        }
        let process = &mut self.processes[life.process];
        process.busy.remove(key);
        process.memories.insert(key.clone(), memory);
        let missed = process.due.get(key).copied();
        if let Some(at) = missed {
            self.at(at, Occurrence::Start(life, key.clone()));
        }
        // A pass that was stopped half-way may not have come to what is measured.
        if let Key::Rollout { name, .. } = key
            && (ran.error.is_none() || ran.measure.is_some())
        {
            self.measure(life, name, ran.measure);
        }
        if ran.error.is_some() {
            let delay = self.backoff(life, key, ran.error.as_ref());
            self.enqueue(life.process, key.clone(), delay);
            return;
        }
        let process = &mut self.processes[life.process];
        process.failures.remove(key);
        if let Some(at) = ran.wake_at {
            let skew = process.skew;
            let delay = at
                .saturating_sub(skew)
                .unwrap_or(at)
                .duration_since(self.now);
            let delay = delay.max(SignedDuration::from_millis(10));
            self.enqueue(life.process, key.clone(), delay);
        }
    }

    fn backoff(&mut self, life: Life, key: &Key, error: Option<&Stopped>) -> SignedDuration {
        let process = &mut self.processes[life.process];
        let failures = process.failures.entry(key.clone()).or_default();
        let base = match error {
            Some(Stopped::Write(WriteError::Conflict { .. } | WriteError::Exists { .. })) => 50,
            Some(Stopped::Unfinished) => 10,
            _ => 500,
        };
        let wait = base << (*failures).min(6);
        *failures += 1;
        SignedDuration::from_millis(wait)
    }
}
