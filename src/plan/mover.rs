//! The mover: the only place that decides replicas. It serves steps, scaling and undo alike, in
//! batches, within floor and ceiling.

use std::collections::BTreeMap;

use super::{facts::ChildFacts, replicas::Bounds};

/// Which way a rollout moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Raise first. Nothing that serves goes before a pod of what rises is available; from then on
    /// whatever the floor can spare. In clusters where pods are lost all the time something always
    /// starts, so that waiting for all of them would be waiting for ever.
    Forward,
    /// Lower first: the pods that go may be hurting users.
    Back,
}

/// Replicas wanted of one child now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The child's uid.
    pub uid: String,
    /// Replicas it has.
    pub from: i32,
    /// Replicas it is to have.
    pub to: i32,
    /// Why.
    pub note: String,
}

/// The next moves towards `targets` (replicas by revision; a revision that is not named has 0),
/// in the order in which they are to be written. Empty when nothing may move now, or everything
/// is where it should be.
///
/// `floor` and `ceiling` hold after every single one of them, whatever became of the others. While
/// pods start, fewer than `least` are not worth a write.
#[must_use]
pub(crate) fn moves(
    children: &[ChildFacts],
    targets: &BTreeMap<&str, i32>,
    bounds: Bounds,
    direction: Direction,
    least: i32,
) -> Vec<Move> {
    let mut state: Vec<Moving<'_>> = children
        .iter()
        .filter(|c| !c.deleting)
        .map(|child| Moving::new(child, targets))
        .collect();
    // In a fixed order, so that the same facts always give the same moves.
    state.sort_by(|a, b| a.child.base.name.cmp(&b.child.base.name));

    let spare = (assured(children) - bounds.floor).max(0);
    drop_useless(&mut state);
    match direction {
        Direction::Forward => {
            let risen = raise(&mut state, bounds);
            let unproven = state.iter().any(Moving::has_none_yet);
            let too_few = spare < least && state.iter().any(Moving::waits);
            if risen == Risen::AsFarAsItMay && !unproven && !too_few {
                lower(&mut state, spare);
            }
        }
        Direction::Back => {
            lower(&mut state, spare);
            raise(&mut state, bounds);
        }
    }

    // Lowering goes first: a raise counts on the room that it makes.
    state.sort_by_key(|m| m.to > m.child.replicas);
    state.into_iter().filter_map(Moving::into_move).collect()
}

/// Pods that serve for sure: what is available and also asked for, at its lowest.
#[must_use]
pub(crate) fn assured(children: &[ChildFacts]) -> i32 {
    children
        .iter()
        .filter(|c| !c.deleting)
        .map(|c| c.available.min(c.possible.0))
        .sum()
}

struct Moving<'a> {
    child: &'a ChildFacts,
    target: i32,
    to: i32,
}

impl<'a> Moving<'a> {
    fn new(child: &'a ChildFacts, targets: &BTreeMap<&str, i32>) -> Self {
        let target = targets
            .get(child.revision.as_str())
            .copied()
            .unwrap_or(0)
            .max(0);
        // What an unanswered write may have left is settled first, by writing again what was
        // there: if it still is, nothing moves, whatever has become of the pods since.
        let to = child.replicas;
        Self { child, target, to }
    }

    fn uncertain(&self) -> bool {
        self.child.possible.0 != self.child.possible.1
    }

    /// Pods that are wanted and asked for, but not available yet.
    fn waits(&self) -> bool {
        self.child.available < self.child.replicas.min(self.target)
    }

    /// Pods are wanted and asked for, and not one of them is available.
    fn has_none_yet(&self) -> bool {
        self.child.available == 0 && self.child.replicas.min(self.target) > 0
    }

    /// A child may be raised only when its controller has finished lowering it: until then its
    /// available pods may be on their way out.
    fn may_rise(&self) -> bool {
        self.child.current
            && self.child.status_replicas <= self.child.replicas
            && !self.uncertain()
            && self.to == self.child.replicas
    }

    fn into_move(self) -> Option<Move> {
        let from = self.child.replicas;
        if self.to == from && !self.uncertain() {
            return None;
        }
        if self.uncertain() {
            let note = format!("{}: an unanswered scaling is settled", self.child.base.name);
            return Some(Move {
                uid: self.child.base.uid.clone(),
                from,
                to: from,
                note,
            });
        }
        let note = format!(
            "{}: {from} -> {} on the way to {}, {} available",
            self.child.base.name, self.to, self.target, self.child.available
        );
        Some(Move {
            uid: self.child.base.uid.clone(),
            from,
            to: self.to,
            note,
        })
    }
}

/// Takes away surplus pods that serve nobody: the ReplicaSet deletes those that are not ready
/// first, so nothing assured is lost.
fn drop_useless(state: &mut [Moving<'_>]) {
    for moving in state
        .iter_mut()
        .filter(|m| !m.uncertain() && m.to > m.target)
    {
        moving.to = moving.target.max(moving.child.available.min(moving.to));
    }
}

#[derive(PartialEq, Eq)]
enum Risen {
    /// Nothing was left to raise, or no room to raise it.
    AsFarAsItMay,
    /// Something rises now, or must wait before it can.
    NotYet,
}

/// Raises children towards their targets, to the ceiling.
fn raise(state: &mut [Moving<'_>], bounds: Bounds) -> Risen {
    // The writes after a failed one are dropped, so lowered values may be counted on.
    let requested: i32 = state.iter().map(|m| m.to.max(m.upper_if_uncertain())).sum();
    let mut room = (bounds.ceiling - requested).max(0);
    let mut risen = Risen::AsFarAsItMay;
    for moving in state.iter_mut().filter(|m| m.to < m.target) {
        let gain = (moving.target - moving.to).min(room);
        if gain > 0 {
            risen = Risen::NotYet;
            if moving.may_rise() {
                moving.to += gain;
            }
            room -= gain;
        }
    }
    risen
}

impl Moving<'_> {
    fn upper_if_uncertain(&self) -> i32 {
        if self.uncertain() {
            self.child.possible.1
        } else {
            0
        }
    }
}

/// Lowers children towards their targets by at most `spare` assured pods in all.
fn lower(state: &mut [Moving<'_>], mut spare: i32) {
    for moving in state
        .iter_mut()
        .filter(|m| !m.uncertain() && m.to > m.target)
    {
        // What did not serve was dropped before: every pod from here on costs one.
        let cost = (moving.to - moving.target).min(spare);
        moving.to -= cost;
        spare -= cost;
    }
}

#[cfg(test)]
mod tests;
