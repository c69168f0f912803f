//! A Job is gone before its end was seen: a person looks first, and whoever comes next knows.

use serde_json::json;

use super::{
    fixture::{World, condition, second, stalled},
    phases::{ends, failed, on_record, steps, with_preflight, world},
};
use crate::{
    api::{PhaseKind, database::Holder, schema::RevertWhen},
    plan::facts::{JobLog, Question},
};

/// The Job that holds the database runs.
fn runs(world: &mut World) -> Holder {
    for _ in 0..25 {
        world.step();
        let holder = world.database_mut().holder.clone();
        let mut jobs = world.seen.objects.jobs.iter();
        if let Some(holder) = holder
            && jobs.any(|job| job.base.name == holder.job && !job.suspended)
        {
            return holder;
        }
    }
    panic!("no Job runs: {:?}", world.status());
}

#[test]
fn an_expand_whose_job_is_gone_is_not_taken_for_a_try_of_the_next_preflight() {
    // Of the next revision, and of one that came and went.
    for comes_back in [false, true] {
        let image = |world: &mut World, image: &str| {
            world.edit_spec(|spec| {
                spec.template["spec"]["containers"][0]["image"] = json!(image);
            });
        };
        let mut world = world(json!({}));
        image(&mut world, "shop:first");
        let gone = runs(&mut world);
        assert_eq!(gone.phase, PhaseKind::Expand);
        world.seen.objects.jobs.clear();
        image(&mut world, "shop:next");
        steps(&mut world, 10);
        if comes_back {
            image(&mut world, "shop:first");
        }
        world.edit_spec(|spec| {
            let schema = spec.schema.as_mut().expect("a schema");
            schema.preflight =
                serde_json::from_value(json!({"command": ["check"], "deadlineSeconds": 60}))
                    .expect("a preflight");
        });
        steps(&mut world, 25);
        assert_eq!(stalled(world.status()), "JobVanished", "{comes_back}");
        let said = condition(world.status(), "Stalled").message.clone();
        assert!(said.contains(&gone.job), "{said}");
        let attempt = |world: &World| {
            let release = world.status().release.as_ref().expect("a release");
            release.job(PhaseKind::Preflight).attempt
        };
        let tries = attempt(&world);
        world.now = second(120);
        steps(&mut world, 25);
        assert_eq!(stalled(world.status()), "JobVanished");
        assert_eq!(attempt(&world), tries);
        assert_eq!(world.database_mut().holder, Some(gone.clone()));

        let revision = world.spec.revision().to_owned();
        world.command("retry", &format!("{revision} 1"));
        let holder = runs(&mut world);
        assert_eq!(holder.phase, PhaseKind::Preflight);
        let left = |world: &mut World| -> Vec<String> {
            let dirty = world.database_mut().dirty.iter();
            dirty.map(|d| d.job.clone()).collect()
        };
        assert_eq!(left(&mut world), std::slice::from_ref(&gone.job));
        let mut fails = world.clone();
        fails.seen.answers.job_log = Some(JobLog::Ends("no".into()));
        ends(&mut fails, false);
        fails.now = second(600);
        steps(&mut fails, 25);
        assert_eq!(stalled(fails.status()), "PreflightFailed");
        assert_eq!(left(&mut fails), std::slice::from_ref(&gone.job));
        // It was accepted for the expand as well.
        ends(&mut world, true);
        let holder = runs(&mut world);
        assert_eq!(holder.phase, PhaseKind::Expand);
        assert_ne!(holder.job, gone.job);
        ends(&mut world, true);
        assert!(left(&mut world).is_empty());
    }
}

#[test]
fn a_preflight_whose_job_is_gone_keeps_no_later_revision_waiting() {
    let mut world = with_preflight(json!({"command": ["check"], "deadlineSeconds": 60}));
    let gone = runs(&mut world);
    assert_eq!(gone.phase, PhaseKind::Preflight);
    world.seen.objects.jobs.clear();
    world.edit_spec(|spec| {
        spec.template["spec"]["containers"][0]["image"] = json!("shop:next");
    });
    let holder = runs(&mut world);
    assert_eq!(holder.phase, PhaseKind::Preflight);
    assert_ne!(holder.revision, gone.revision);
    assert_eq!(world.database_mut().dirty, []);
}

#[test]
fn a_revert_whose_job_is_gone_and_that_is_wanted_no_longer_lets_the_database_go() {
    let mut world = failed("Automatic");
    world.seen.answers.users = Some(Vec::new().into());
    let gone = runs(&mut world);
    assert_eq!(gone.phase, PhaseKind::Revert);
    world.seen.objects.jobs.clear();
    world.edit_spec(|spec| {
        let schema = spec.schema.as_mut().expect("a schema");
        schema.revert.as_mut().expect("a revert").when = RevertWhen::Never;
    });
    steps(&mut world, 10);
    // Nobody has looked at it.
    assert_eq!(world.database_mut().holder, Some(gone.clone()));
    let revision = world.spec.revision().to_owned();
    world.command("retry", &format!("{revision} 1"));
    // It is the revert's, and no release's, also where the hold has not been read live.
    let read = world.seen.answers.hold_live.take();
    assert_eq!(world.plan().questions, [Question::Hold("db".into())]);
    world.seen.answers.hold_live = read;
    steps(&mut world, 5);
    assert!(world.status().release.is_none());
    assert_eq!(world.status().commands[0].result, "Done");
    let record = world.database_mut().clone();
    assert_eq!((&record.holder, record.version(2)), (&None, None));
    assert_eq!(record.dirty[0].job, gone.job);
    assert!(record.phases[0].undone_by.is_some());
}

#[test]
fn what_a_person_has_dropped_stays_so_when_the_version_is_expanded_again() {
    let mut world = failed("Automatic");
    steps(&mut world, 2);
    let record = world.database_mut();
    record.phases[0].succeeded = false;
    record.version_mut(2).expect("on record").dropped = true;
    let revision = world.spec.revision().to_owned();
    world.command("retry", &format!("{revision} 1"));
    let holder = runs(&mut world);
    assert_eq!(holder.phase, PhaseKind::Expand);
    assert!(on_record(&mut world).is_some_and(|v| v.dropped));
}
