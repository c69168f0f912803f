//! The API server and the controllers without an operator, for whoever plays its client and the
//! kubelets by hand: the tests that hold this cluster against a real control plane.

use jiff::SignedDuration;

use super::{
    event::PodStep,
    object::{Name, Notice},
    world::World,
};
use crate::{
    cluster::{Answer, ReadError, WriteError, Written},
    plan::{facts::Question, intent::Write},
};

/// The most events that may follow from one thing before it counts as endless.
const MOST_EVENTS: usize = 100_000;

impl World {
    /// Handles one write of a client at once, as the API server does when it arrives.
    ///
    /// # Errors
    /// As the API server answers it.
    pub fn request(&mut self, write: &Write) -> Result<Written, WriteError> {
        self.handling = true;
        let answer = self.apply(write);
        self.handling = false;
        answer
    }

    /// A live read about the Rollout of this name.
    ///
    /// # Errors
    /// When the API server gives no answer.
    pub fn ask(&mut self, rollout: &str, question: &Question) -> Result<Answer, ReadError> {
        self.answer(rollout, question)
    }

    /// A pod's kubelet takes this step now; what it was about to do is overtaken.
    pub fn take_step(&mut self, pod: &str, step: PodStep) {
        self.plan_step(&Name::from(pod), step, SignedDuration::ZERO);
    }

    /// Somebody deletes a pod.
    pub fn ask_to_end(&mut self, pod: &str) {
        self.delete_pod(pod);
    }

    /// A pod is gone with its node.
    pub fn take_node_of(&mut self, pod: &str) {
        self.lose_pod(pod);
    }

    /// Lets everything happen that follows within `gap` of what happened before it; whether that
    /// came to an end.
    pub fn settle(&mut self, gap: SignedDuration) -> bool {
        for _ in 0..MOST_EVENTS {
            match self.next_at() {
                Some(at) if at.duration_since(self.now) <= gap => drop(self.step()),
                _ => return true,
            }
        }
        false
    }

    /// Lets everything happen that happens within so many seconds.
    pub fn pass_time(&mut self, seconds: i64) {
        let by = SignedDuration::from_secs(seconds);
        let until = self.now.saturating_add(by).unwrap_or(self.now);
        while self.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// A watcher of everything begins to listen.
    pub fn listen(&mut self) {
        self.notices.get_or_insert_default();
    }

    /// What it has been told, in order.
    #[must_use]
    pub fn heard(&self) -> &[Notice] {
        self.notices.as_deref().unwrap_or_default()
    }
}
