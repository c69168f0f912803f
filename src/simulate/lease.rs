//! Processes of the operator come up, lead, and end.

use jiff::{SignedDuration, Timestamp};

use super::{
    coverage::Kind,
    event::{Life, Occurrence, Turn},
    process::{Process, database_key, rollout_key},
    world::World,
};
use crate::cluster::Key;

impl World {
    /// A process of the operator comes up: with fresh caches, and nothing remembered.
    pub(super) fn boot(&mut self, index: usize) {
        let (now, live) = (self.now, self.live.clone());
        let process = &mut self.processes[index];
        if process.running {
            return;
        }
        let incarnation = process.life.incarnation + 1;
        *process = Process {
            life: Life {
                process: index,
                incarnation,
            },
            running: true,
            skew: process.skew,
            caches: live,
            ..Process::new(index)
        };
        process.trusted_since = now.saturating_add(process.skew).unwrap_or(now);
        if self.processes.iter().all(|p| !p.leading) {
            self.lead(index);
        }
    }

    /// A process takes the lease.
    pub(super) fn lead(&mut self, index: usize) {
        self.epoch += 1;
        let (now, epoch) = (self.now, self.epoch);
        let process = &mut self.processes[index];
        process.leading = true;
        process.epoch = epoch;
        process.trusted_since = now.saturating_add(process.skew).unwrap_or(now);
        let rollouts = process.caches.rollouts.keys().map(|n| rollout_key(n));
        let databases = process.caches.databases.keys().map(|n| database_key(n));
        let keys: Vec<Key> = rollouts.chain(databases).collect();
        for key in keys {
            self.enqueue(index, key, SignedDuration::ZERO);
        }
    }

    /// A process dies where it stands, and is started again after a while.
    pub(super) fn crash(&mut self, index: usize) {
        let process = &mut self.processes[index];
        if !process.running {
            return;
        }
        self.coverage.count(Kind::Crash);
        let was_leading = process.leading;
        process.running = false;
        process.leading = false;
        process.life.incarnation += 1;
        self.turns.push(Turn::Died(index));
        self.struck("", "the operator dies");
        let away = SignedDuration::from_secs(self.setting.restart_seconds);
        self.after(away, Occurrence::Boot(index));
        let heir = self.processes.iter().position(|p| p.running && !p.leading);
        let vacant = self.processes.iter().all(|p| !p.leading);
        if let (true, true, Some(heir)) = (was_leading, vacant, heir) {
            self.lead(heir);
        }
    }

    /// The lease goes to another process. The present leader notices only after a while, and
    /// what it has sent may arrive later still.
    pub(super) fn hand_over(&mut self, overlap: SignedDuration) {
        let Some(from) = self.processes.iter().position(|p| p.running && p.leading) else {
            return;
        };
        let heir = self.processes.iter().position(|p| p.running && !p.leading);
        self.struck("", "the lease changes hands");
        self.after(overlap, Occurrence::Deposed(self.processes[from].life));
        if let Some(heir) = heir {
            self.lead(heir);
        }
    }

    /// A deposed leader notices, and ends; what it has sent may still arrive.
    pub(super) fn deposed(&mut self, life: Life) {
        if self.processes[life.process].life == life {
            self.crash(life.process);
        }
    }

    /// A process's clock jumps; it notices.
    pub(super) fn jump_clock(&mut self, index: usize, by: SignedDuration) {
        let now = self.now;
        let process = &mut self.processes[index];
        process.skew += by;
        process.trusted_since = now.saturating_add(process.skew).unwrap_or(now);
    }

    /// Time as a process's clock shows it.
    #[must_use]
    pub fn clock(&self, index: usize) -> Timestamp {
        let skew = self
            .processes
            .get(index)
            .map_or(SignedDuration::ZERO, |p| p.skew);
        self.now.saturating_add(skew).unwrap_or(self.now)
    }
}
