//! Tests of a step: each once, and before the hold.

use super::left::Left;
use crate::{
    api::{
        StepTest,
        release::{Release, TestResult},
    },
    plan::intent::{Kind, Write},
    simulate::{
        ledger::Happened,
        object::{JobObject, Object},
        world::World,
    },
};

/// *a test is released once* – the Job of a test is made suspended, when the test is on record, and
/// let run only under the uid on record, once; none is let run while its release goes back.
pub(super) fn once(world: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let Some(Object::Job(job)) = &arrival.after else {
        return Ok(());
    };
    if job.test.is_none() {
        return Ok(());
    }
    let name = &job.meta.name;
    // What its sender could know: it may arrive late.
    let live = world.live.rollouts.get(&job.rollout);
    let seen = arrival.seen.as_ref().map(|seen| &*seen.rollout.status);
    let statuses = [
        live.map(|rollout| &*rollout.status),
        arrival.on_record.status.as_deref(),
        seen,
    ];
    let releases = statuses
        .into_iter()
        .flatten()
        .filter_map(|s| s.release.as_ref());
    let mut forward = releases.filter(|release| release.undo().is_none());
    match &*arrival.write {
        Write::Create {
            kind: Kind::Job, ..
        } => {
            let on_record = |release: &Release| release.tests.iter().any(|t| *t.job == **name);
            if !job.suspended {
                return Err(format!("{name} is made running"));
            }
            if !forward.any(on_record) {
                return Err(format!("{name} is made, and is not on record"));
            }
            Ok(())
        }
        Write::ReleaseJob { .. } => {
            let on_record = |release: &Release| {
                let mut tests = release.tests.iter();
                tests.any(|t| t.job_uid.as_deref() == Some(&*job.meta.uid))
            };
            if !forward.any(on_record) {
                return Err(format!("{name} is released, and its uid is not on record"));
            }
            match world.ledger.tested.get(name) {
                Some(uid) if *uid != job.meta.uid => {
                    Err(format!("{name} is released a second time"))
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

pub(super) fn enter(world: &mut World, job: &JobObject) {
    let (name, uid) = (job.meta.name.clone(), job.meta.uid.clone());
    world.ledger.tested.insert(name, uid);
}

/// None of these tests has begun at this step.
fn lacks_all(release: &Release, step: &str, tests: &[StepTest]) -> bool {
    let mut begun = release.tests.iter().filter(|test| test.step == step);
    !begun.any(|begun| tests.iter().any(|test| test.name == begun.name))
}

/// *tested* – a step is not left before its tests passed, but by a person; its hold does not begin
/// before. Tests after the last step begin when it is passed, and the release ends after them.
pub(super) fn tested(world: &World, happened: &Happened) -> Result<(), String> {
    if let Some((arrival, before, after)) = happened.recorded()
        && let Some(release) = &after.release
        && let Some(step) = release.step()
        && let was = before.status.release.as_ref().and_then(Release::step)
        && was.is_none_or(|was| was.held.since.is_none() || was.name != step.name)
        && step.held.since.is_some()
        && let Some(spec) = arrival.spec_seen()
        && let Some(target) = crate::plan::course::course(spec).at(step)
        // A person has passed over them: its last tests have begun.
        && lacks_all(release, &step.name, &target.final_tests)
        && let Some(test) = lacks(release, &step.name, target.tests.iter().map(|t| &t.name))
    {
        return Err(format!(
            "the hold of step {} begins, and its test {test} has not passed",
            step.name
        ));
    }
    if let Some(left) = Left::whole(world, happened)
        && let names = left.target.final_tests.iter().map(|test| &test.name)
        && let Some(test) = lacks(left.release, &left.status.name, names)
        && !left.promoted(world)
    {
        let revision = &left.release.revision;
        return Err(format!(
            "the release of {revision} ends, and its test {test} has not passed"
        ));
    }
    let Some(left) = Left::of(world, happened) else {
        return Ok(());
    };
    let names = left.target.tests.iter().map(|test| &test.name);
    match lacks(left.release, &left.status.name, names) {
        Some(test) if !left.promoted(world) => Err(format!(
            "step {} is left, and its test {test} has not passed",
            left.status.name
        )),
        _ => Ok(()),
    }
}

/// A test of a step that has not passed.
fn lacks<'a>(
    release: &Release,
    step: &str,
    mut asked: impl Iterator<Item = &'a String>,
) -> Option<&'a String> {
    asked.find(|name| {
        let mut tests = release.tests.iter();
        !tests.any(|test| {
            test.step == step
                && test.name == **name
                && matches!(test.result, Some(TestResult::Passed | TestResult::Skipped))
        })
    })
}
