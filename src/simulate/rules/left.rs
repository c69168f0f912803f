//! What a record of status does: it leaves a step, it carries out commands.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        OnInconclusive, RolloutSpec, RolloutStatus,
        release::{Release, StepStatus},
        status::{CommandStatus, Outcome},
    },
    plan::course::{Course, Target, of_release},
    simulate::{
        action::Command,
        ledger::{Arrival, Happened},
        object::RolloutObject,
        world::World,
    },
};

/// A step that a record leaves for the next one, or for good.
pub(super) struct Left<'a> {
    pub(super) arrival: &'a Arrival,
    pub(super) rollout: &'a RolloutObject,
    after: &'a RolloutStatus,
    pub(super) release: &'a Release,
    pub(super) status: &'a StepStatus,
    pub(super) spec: &'a RolloutSpec,
    pub(super) target: Target,
    /// It had been passed before, and its last tests begun.
    was_passed: bool,
    /// It is passed, and its last tests begin; the release goes on.
    passes: bool,
}

/// One of the last tests of a step is on record.
fn is_passed(release: &Release, step: &str, target: &Target) -> bool {
    let mut records = release.tests.iter().filter(|test| test.step == step);
    records.any(|record| target.final_tests.iter().any(|t| t.name == record.name))
}

/// Whether a record leaves a step for a later one of these, or for good. A step of the same name
/// stands elsewhere once others are edited in before it; one that was taken out is left for the
/// first. Batches of another size are counted anew from the pods that the revision was seen with.
fn forward(
    release: &Release,
    status: &StepStatus,
    after: &RolloutStatus,
    course: &Course,
    pods: i32,
) -> bool {
    let at = |name: &str| course.position(name);
    match &after.release {
        Some(next) if next.revision == release.revision => {
            let next = next.step().and_then(|next| at(&next.name));
            let from = at(&status.name);
            if release.first && from.is_none_or(|from| next == Some(from)) {
                // A first deployment takes no steps: it is at the last, whatever that is called, and
                // whatever the size of batches.
                return false;
            }
            if course.batch.is_some() && course.batch != status.batch {
                return next > course.resume(status, pods);
            }
            next.is_some_and(|next| next > from.unwrap_or(0))
        }
        _ => after
            .stable
            .as_ref()
            .is_some_and(|s| s.revision == release.revision),
    }
}

/// A status that was lost is put back, and no step left: it said that this revision was stable, and
/// its ControllerRevision still says so. A mark that arrives late may tell so only when the release
/// has been begun again.
fn remembered(world: &World, rollout: &RolloutObject, after: &RolloutStatus) -> bool {
    let name = &rollout.meta.name;
    let Some(stable) = after.stable.as_ref().filter(|_| after.release.is_none()) else {
        return false;
    };
    if world.ledger.deleted.contains(name) {
        // One that is made anew over old children proves itself first.
        return false;
    }
    let lost = world.ledger.lost.get(name);
    let said = lost.and_then(|(_, status)| status.stable.as_ref());
    let mut revisions = world.live.revisions.values();
    said.is_some_and(|said| said.revision == stable.revision)
        && revisions.any(|r| {
            let marked = r.outcome == Some(Outcome::Stable) && !r.meta.deleting;
            r.rollout == *name && *r.revision == *stable.revision && marked
        })
}

impl Left<'_> {
    pub(super) fn of<'a>(world: &World, happened: &'a Happened) -> Option<Left<'a>> {
        Left::found(world, happened)?.ok()
    }

    /// The same, or the name of a step that is left though the spec has it no more. A step with tests
    /// after it is left when the first of them begins.
    pub(super) fn found<'a>(
        world: &World,
        happened: &'a Happened,
    ) -> Option<Result<Left<'a>, String>> {
        let left = Left::raw(world, happened)?;
        (!left.as_ref().is_ok_and(|left| left.was_passed)).then_some(left)
    }

    /// A step that a record leaves together with all of its tests.
    pub(super) fn whole<'a>(world: &World, happened: &'a Happened) -> Option<Left<'a>> {
        let left = Left::raw(world, happened)?.ok()?;
        (!left.passes).then_some(left)
    }

    fn raw<'a>(world: &World, happened: &'a Happened) -> Option<Result<Left<'a>, String>> {
        let (arrival, rollout, after) = happened.recorded()?;
        let release = rollout.status.release.as_ref()?;
        let status = release.step()?;
        let spec = arrival.spec_seen()?;
        let course = of_release(spec, release.first);
        let seen = arrival.seen.as_ref().map(|seen| seen.children.values());
        let mut children = seen.into_iter().flatten();
        let child = children.find(|c| *c.revision == *release.revision && !c.meta.deleting);
        let pods = child.map_or(0, |child| child.replicas);
        let target = course.find(status);
        let is_passed = |release: &Release| {
            target.is_some_and(|target| is_passed(release, &status.name, target))
        };
        let was_passed = is_passed(release);
        let next = after.release.as_ref().filter(|next| {
            let same = next.revision == release.revision && next.started == release.started;
            same && next.step().is_some_and(|step| step.name == status.name)
        });
        let passes = !was_passed && next.is_some_and(is_passed);
        if !passes && !forward(release, status, after, &course, pods) {
            return None;
        }
        if remembered(world, rollout, after) {
            return None;
        }
        let Some(target) = target.cloned() else {
            return Some(Err(status.name.clone()));
        };
        Some(Ok(Left {
            arrival,
            rollout,
            after,
            release,
            status,
            spec,
            target,
            was_passed,
            passes,
        }))
    }

    /// This very record does what somebody said who bound it to this step.
    pub(super) fn promoted(&self, world: &World) -> bool {
        obeyed(world, &self.rollout.status, self.after).any(|command| {
            command.verb == "promote"
                && command.rollout == self.rollout.meta.name
                && command.revision == self.release.revision
                && command.step.as_ref() == Some(&self.status.name)
        })
    }

    /// The step says that nothing need be known, after its deadline.
    pub(super) fn waived(&self, now: Timestamp) -> bool {
        // Either may lie ahead, by a clock that was set back since or another process's.
        let since = |at: &Option<Time>| {
            let at = at.as_ref();
            at.map_or(0, |at| now.duration_since(at.0).as_secs().max(0))
        };
        let held = self.status.held.seconds + since(&self.status.held.since);
        let held = held.max(since(&self.status.reached));
        self.target.on_inconclusive == OnInconclusive::Proceed
            && held >= self.target.hold_seconds + self.target.deadline_seconds - 1
    }
}

/// Commands that a record says are done, and the one before it did not.
pub(super) fn done<'a>(
    before: &'a RolloutStatus,
    after: &'a RolloutStatus,
) -> impl Iterator<Item = &'a CommandStatus> {
    let new = |command: &&CommandStatus| !before.commands.contains(command);
    let commands = after.commands.iter().filter(new);
    commands.filter(|command| command.result == "Done")
}

/// What people said that a record does.
pub(super) fn obeyed<'a>(
    world: &'a World,
    before: &'a RolloutStatus,
    after: &'a RolloutStatus,
) -> impl Iterator<Item = &'a Command> {
    done(before, after).filter_map(|ack| {
        let mut commands = world.commands.iter();
        commands.find(|c| c.verb == ack.command && c.id == ack.id)
    })
}
