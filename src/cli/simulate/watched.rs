//! What is seen of a release while it goes on.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    api::{RolloutSpec, RolloutStatus, status::Outcome},
    plan::{revision, way_back},
    simulate::world::World,
};

/// What has been seen of a release.
#[derive(Clone, Debug)]
pub struct Watched {
    rollout: String,
    /// Name of the old revision.
    pub old: String,
    /// Name of the new revision.
    pub new: String,
    /// Steps that it came to, by their position.
    pub steps: BTreeMap<i32, StepSeen>,
    /// When its preflight and its expand began.
    pub stages: BTreeMap<&'static str, Timestamp>,
    /// When the first of its pods was ready.
    pub first_ready: Option<Timestamp>,
    /// When one of its pods was last ready.
    pub last_ready: Option<Timestamp>,
    /// The largest share of the requests that were its own.
    pub peak_share: f64,
    /// That share at the last look.
    pub share: f64,
    /// The last step at which pods of it ran, and what an undo would have done there.
    pub way_back: Option<(String, String)>,
    /// When an undo, or a pause for a person, was decided.
    pub noticed: Option<Timestamp>,
    /// From when on it had no ready pod any more, after that.
    pub out: Option<Timestamp>,
    pods_seen: bool,
}

/// A step that was come to.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSeen {
    /// Its name.
    pub name: String,
    /// When it began.
    pub began: Timestamp,
    /// When its target was reached.
    pub reached: Option<Timestamp>,
    /// The most pods of the new revision that were ready in it.
    pub pods: usize,
    /// When it was last seen.
    pub until: Timestamp,
}

impl Watched {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(rollout: &str, old: &RolloutSpec, new: &RolloutSpec) -> Self {
        Self {
            rollout: rollout.into(),
            old: revision::wanted(old),
            new: revision::wanted(new),
            steps: BTreeMap::new(),
            stages: BTreeMap::new(),
            first_ready: None,
            last_ready: None,
            peak_share: 0.0,
            share: 0.0,
            way_back: None,
            noticed: None,
            out: None,
            pods_seen: false,
        }
    }

    /// Whether it came as far as a step, with or without a pod.
    #[must_use]
    pub(crate) fn came_to_a_step(&self) -> bool {
        self.pods_seen || !self.steps.is_empty()
    }

    /// Takes a look.
    pub fn look(&mut self, world: &World, status: &RolloutStatus) {
        let ready = self.look_at_pods(world);
        let failed = status
            .history
            .iter()
            .find(|ended| ended.revision == self.new && ended.outcome == Outcome::Failed);
        if let Some(failed) = failed {
            self.noticed.get_or_insert(failed.ended.0);
        }
        let Some(release) = status.release.as_ref().filter(|r| r.revision == self.new) else {
            return;
        };
        if let Some(undo) = release.undo() {
            self.noticed.get_or_insert(undo.since.0);
        } else if release.paused().is_some() {
            self.noticed.get_or_insert(world.now);
        }
        let stage = release.stage.word();
        self.stages.entry(stage).or_insert(world.now);
        if let Some(step) = release.step() {
            let undo = status.undo.as_ref().map(way_back::sentence);
            self.way_back = undo.map(|words| (step.name.clone(), words));
            let seen = self.steps.entry(step.index).or_insert_with(|| StepSeen {
                name: step.name.clone(),
                began: step.began.0,
                reached: None,
                pods: 0,
                until: world.now,
            });
            seen.reached = seen.reached.or(step.reached.as_ref().map(|t| t.0));
            seen.pods = seen.pods.max(ready);
            seen.until = world.now;
        }
    }

    fn look_at_pods(&mut self, world: &World) -> usize {
        let (mut own, mut all) = (0_usize, 0_usize);
        for pod in world.live.pods.values() {
            if *pod.rollout != *self.rollout {
                continue;
            }
            let is_own = *pod.revision == *self.new;
            self.pods_seen |= is_own;
            if pod.ready_since.is_some() && !pod.meta.deleting {
                all += 1;
                own += usize::from(is_own);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "there are few pods")]
        let by_pods = own as f64 / all.max(1) as f64;
        let share = world.share_of(&self.rollout, &self.new).unwrap_or(by_pods);
        self.share = share;
        self.peak_share = self.peak_share.max(share);
        if own > 0 {
            self.first_ready.get_or_insert(world.now);
            self.last_ready = Some(world.now);
            self.out = None;
        } else if self.noticed.is_some() && self.pods_seen {
            self.out.get_or_insert(world.now);
        }
        own
    }
}
