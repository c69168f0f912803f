//! What a process asks the metric source, and when.

use jiff::SignedDuration;

use super::{
    event::{Life, Occurrence},
    process::rollout_key,
    prometheus::{Outage, Source},
    world::World,
};
use crate::evidence::{Answer, Ask, Change, Measure};

/// How long a query may take.
const QUERY_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);

impl World {
    pub(super) fn measure(&mut self, life: Life, rollout: &str, wanted: Option<Measure>) {
        let now = self.clock(life.process);
        let process = &mut self.processes[life.process];
        let keep = wanted.as_ref().map(Measure::key);
        let stale: Vec<_> = process
            .board
            .keys()
            .filter(|k| k.rollout == rollout && Some(*k) != keep.as_ref())
            .cloned()
            .collect();
        for key in stale {
            process.board.forget(&key);
        }
        if let Some(measure) = wanted {
            process.board.measure(measure, now);
        }
        self.plan_poll(life);
    }

    fn plan_poll(&mut self, life: Life) {
        let (now, clock) = (self.now, self.clock(life.process));
        let process = &mut self.processes[life.process];
        let Some(due) = process.board.next_due(clock) else {
            return;
        };
        let at = due.saturating_sub(process.skew).unwrap_or(due).max(now);
        if process
            .poll_at
            .is_none_or(|planned| at < planned || planned < now)
        {
            process.poll_at = Some(at);
            self.at(at, Occurrence::Poll(life));
        }
    }

    /// Whatever is due is asked of the metric source.
    pub(super) fn poll(&mut self, life: Life) {
        let clock = self.clock(life.process);
        let process = &mut self.processes[life.process];
        if process.life != life || process.poll_at.is_none_or(|at| at > self.now) {
            return;
        }
        process.poll_at = None;
        for ask in process.board.due(clock) {
            let source = Source {
                traffic: &self.traffic,
                scrape: self.setting.scrape_seconds,
                outage: self.outage,
                now: self.now,
            };
            let answer = source.answer(&ask);
            let delay = match self.outage {
                Outage::Slow => QUERY_TIMEOUT,
                _ => {
                    SignedDuration::from_millis(self.setting.timing.queries.draw(&mut self.random))
                }
            };
            self.after(delay, Occurrence::Answered(life, Box::new((ask, answer))));
        }
        self.plan_poll(life);
    }

    /// The metric source has answered.
    pub(super) fn polled(&mut self, life: Life, ask: &Ask, answer: Answer) {
        let process = &mut self.processes[life.process];
        if process.life != life {
            return;
        }
        let whole = answer.iter().all(|(_, outcome)| {
            let told = outcome.as_ref().ok();
            told.is_some_and(|a| {
                !a.now.warned && a.now.counted.iter().all(|c| c.counters.are_counts())
            })
        });
        if whole && !answer.is_empty() {
            process
                .answered
                .insert(ask.key.rollout.as_str().into(), ask.at);
        }
        let change = process.board.answer(ask, answer);
        if change == Some(Change::Verdicts) {
            self.enqueue(
                life.process,
                rollout_key(&ask.key.rollout),
                SignedDuration::ZERO,
            );
        }
        self.plan_poll(life);
    }
}
