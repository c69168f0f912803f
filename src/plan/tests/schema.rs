//! Holds of a database: who lets them go, and when.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::fixture::{World, condition, second, stalled};
use crate::{
    api::{
        PhaseKind,
        database::{Dirty, Holder},
        keys,
    },
    plan::{
        database::{self, Shown},
        draft::later,
        facts::{DatabaseFacts, DatabaseObjects, PodOfJob, Question, Refusal, Refused},
        intent::{Kind, Write},
    },
};

fn holder(world: &World) -> Option<Holder> {
    let database = world.seen.objects.database.as_ref();
    database.and_then(|d| d.record.holder.clone())
}

fn database_of(world: &mut World) -> &mut DatabaseFacts {
    world.seen.objects.database.as_mut().expect("a database")
}

/// `v2` expands, as far as `until` says.
fn expanding(until: impl Fn(&World) -> bool) -> World {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    for _ in 0..10 {
        if until(&world) {
            return world;
        }
        let write = world.plan().writes.into_iter().next().expect("a write");
        world.apply(write);
    }
    panic!("it does not come so far: {:?}", world.plan());
}

#[test]
fn a_refused_job_holds_the_database_no_longer() {
    let mut world = expanding(|w| holder(w).is_some());
    world.seen.refusals.push(Refusal {
        what: Refused::Job(holder(&world).expect("a holder").job),
        message: "spec.template.spec.containers[0].name: Required value".into(),
        transient: false,
    });
    assert!(world.record().release.is_none());
    world.seen.refusals.clear();
    world.settle();
    assert_eq!(holder(&world), None, "others wait for it");
    assert_eq!(stalled(world.status()), "JobRefused");
    let said = &condition(world.status(), "Stalled").message;
    assert!(said.contains(" failed "), "nothing was undone: {said}");
}

#[test]
fn a_rollout_that_is_deleted_cuts_no_job() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|job| !job.suspended));
    world.seen.objects.rollout.deleted = Some(second(0));
    assert_eq!(world.plan().writes, [], "what runs belongs to the database");
}

#[test]
fn a_job_that_was_never_released_goes_with_its_release() {
    let with_uid = |w: &World| holder(w).is_some_and(|h| h.job_uid.is_some());
    for until in [
        Box::new(|w: &World| !w.seen.objects.jobs.is_empty()) as Box<dyn Fn(&World) -> bool>,
        Box::new(with_uid),
    ] {
        let mut world = expanding(until).wants("v3");
        let (v2, v3) = (world.revision("v2"), world.revision("v3"));
        for _ in 0..40 {
            for write in world.plan().writes {
                let before = world.seen.objects.jobs.iter();
                let before: Vec<_> = before.map(|j| j.base.name.clone()).collect();
                assert!(
                    !matches!(&write, Write::ReleaseJob { base } if base.name.contains(&v2)),
                    "nobody wants it any more: {before:?}"
                );
                world.apply(write);
            }
        }
        let holder = holder(&world).expect("the next release has its turn");
        assert_eq!(holder.revision, v3);
        assert!(world.seen.objects.jobs.iter().all(|j| j.revision == v3));
    }
}

#[test]
fn a_late_release_of_a_job_that_was_to_go_is_followed_to_its_end() {
    let mut world = expanding(|w| holder(w).is_some_and(|h| h.job_uid.is_some())).wants("v3");
    while holder(&world).is_some_and(|h| h.job_uid.is_some()) {
        world.step();
    }
    // The write of a deposed leader.
    world.seen.objects.jobs[0].suspended = false;
    for _ in 0..3 {
        world.step();
    }
    let uid = holder(&world).and_then(|h| h.job_uid);
    assert_eq!(uid.as_ref(), Some(&world.seen.objects.jobs[0].base.uid));
}

#[test]
fn a_vanished_job_of_an_earlier_revision_waits_for_a_person_and_no_longer() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|j| !j.suspended)).wants("v3");
    world.seen.objects.jobs.clear();
    for _ in 0..10 {
        world.step();
    }
    assert_eq!(stalled(world.status()), "JobVanished");
    let v3 = world.revision("v3");
    world.command("retry", &format!("{v3} r1"));
    for _ in 0..3 {
        world.step();
    }
    assert_eq!(world.status().commands[0].result, "Done");
    assert_eq!(holder(&world).expect("a hold").revision, v3);
}

#[test]
fn an_attempt_that_runs_is_not_given_up_for_one_that_failed_before() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|j| !j.suspended));
    let revision = world.revision("v2");
    let mut taken = holder(&world).expect("a hold");
    let mut failed = taken.ended(false, Time(second(0)), String::new());
    (failed.attempt, failed.job) = (1, "shop-expand-1".into());
    taken.attempt = 2;
    let record = world.database_mut();
    record.holder = Some(taken);
    record.phases.push(failed);
    // The status was lost, and with it the number of the attempt.
    world.step();
    let release = world.status().release.clone().expect("still in motion");
    assert_eq!(
        (release.stage.word(), release.highest_attempt()),
        ("expand", 1)
    );
    world.seen.objects.jobs.clear();
    assert_eq!(stalled(&world.record()), "JobVanished");
    world.command("retry", &format!("{revision} r1"));
    assert_eq!(
        world.record().release.expect("a release").highest_attempt(),
        3
    );
    world.step();
    assert_eq!(holder(&world).expect("a hold").attempt, 3);
}

fn left_half_way_by(rollout: &str) -> Vec<Dirty> {
    vec![Dirty {
        rollout: rollout.into(),
        revision: "x".into(),
        version: None,
        phase: PhaseKind::Expand,
        attempt: 1,
        job: format!("{rollout}-expand"),
        since: Time(second(0)),
    }]
}

#[test]
fn a_retry_accepts_only_what_was_told_before_it() {
    let mut world = World::stable("v1").wants("v2").at_stage("expand");
    let v2 = world.revision("v2");
    let answer = |world: &mut World| {
        let status = world.record();
        let accepted = status
            .release
            .map(|r| r.job(PhaseKind::Expand).accepted_dirty);
        (status.commands[0].result.clone(), accepted)
    };
    // Said while nobody led; meanwhile another's Job failed.
    world.command("retry", &format!("{v2} r1"));
    world.database_mut().dirty = left_half_way_by("worker");
    assert_eq!(answer(&mut world), ("Ignored".into(), Some(Vec::new())));
    let message = &world.status().commands[0].message;
    assert!(message.contains("Job worker-expand may have"), "{message}");
    assert_eq!(stalled(&world.record()), "DatabaseDirty");
    assert_eq!(holder(&world), None);
    // It was told, and then another failed again.
    world.command("retry", &format!("{v2} r2"));
    world.database_mut().dirty = left_half_way_by("third");
    assert_eq!(answer(&mut world), ("Ignored".into(), Some(Vec::new())));
    assert_eq!(stalled(&world.record()), "DatabaseDirty");
    world.command("retry", &format!("{v2} r3"));
    let accepted = Some(vec!["third-expand".to_owned()]);
    assert_eq!(answer(&mut world), ("Done".into(), accepted));
    world.step();
    assert!(holder(&world).is_some());
}

#[test]
fn a_retry_that_was_said_while_the_job_ran_does_not_run_it_again_when_it_is_gone() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|j| !j.suspended));
    let v2 = world.revision("v2");
    world.command("retry", &format!("{v2} r1"));
    world.seen.objects.jobs.clear();
    let status = world.record();
    assert_eq!(status.commands[0].result, "Ignored");
    assert_eq!(status.release.expect("a release").highest_attempt(), 1);
    assert_eq!(stalled(&world.record()), "JobVanished");
    world.command("retry", &format!("{v2} r2"));
    assert_eq!(
        world.record().release.expect("a release").highest_attempt(),
        2
    );
}

#[test]
fn a_failed_revision_that_is_tried_again_accepts_what_its_own_expand_left_and_nothing_else() {
    let tried_again = |by: &str| {
        let mut world = World::stable("v1").wants("v2").at_step(0);
        world.fails("p95");
        world.settle();
        let v2 = world.revision("v2");
        let dirty = left_half_way_by(by).into_iter().map(|dirty| Dirty {
            revision: v2.clone(),
            ..dirty
        });
        world.database_mut().dirty = dirty.collect();
        world.command("retry", &format!("{v2} r1"));
        let release = world.decide().release.expect("a release");
        release.job(PhaseKind::Expand).accepted_dirty
    };
    assert_eq!(tried_again("shop"), ["shop-expand"]);
    assert!(tried_again("worker").is_empty());
}

#[test]
fn no_job_is_made_that_would_be_an_endpoint_even_if_the_spec_says_so_late() {
    let mut world = expanding(|w| holder(w).is_some());
    world.edit_spec(|spec| {
        spec.schema = serde_json::from_value(json!({"database": "db", "expand": {"template":
            {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": []}}}}))
        .unwrap();
    });
    for _ in 0..5 {
        world.step();
    }
    assert!(world.seen.objects.jobs.is_empty());
    assert_eq!(stalled(world.status()), "InvalidSpec");
}

#[test]
fn a_pod_that_cannot_run_the_expand_says_why() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|j| !j.suspended));
    let says = |w: &mut World| condition(&w.record(), "Reconciling").message.clone();
    let (name, now) = (world.seen.objects.jobs[0].base.name.clone(), world.now);
    world.seen.objects.jobs[0].started = Some(later(now, -5));
    world.seen.status_written = None;
    assert!(!says(&mut world).contains("pod"), "it may only just begin");
    assert_eq!(
        world.plan().wake_at,
        Some(later(now, 10)),
        "then it is asked"
    );
    world.hold(20);
    assert_eq!(world.plan().questions, [Question::JobPod(name)]);
    world.seen.answers.job_pod = Some(PodOfJob::that_waits("ImagePullBackOff: not found"));
    let message = says(&mut world);
    assert!(
        message.ends_with("its pod does not start: ImagePullBackOff: not found"),
        "{message}"
    );
    world.hold(20);
    world.seen.objects.jobs[0].runs = true;
    assert!(!says(&mut world).contains("its pod"));
}

#[test]
fn whoever_corrects_an_image_is_told_what_the_job_of_the_wrong_one_waits_for() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|j| !j.suspended));
    world.seen.objects.jobs[0].started = Some(world.now);
    let mut world = world.wants("v3");
    world.hold(20);
    let job = world.seen.objects.jobs[0].base.name.clone();
    for _ in 0..10 {
        if world.plan().questions == [Question::JobPod(job.clone())] {
            break;
        }
        world.step();
    }
    world.seen.answers.job_pod = Some(PodOfJob::that_waits("ImagePullBackOff: not found"));
    world.seen.status_written = None;
    world.record();
    let told = condition(world.status(), "Reconciling");
    assert_eq!(told.reason, "WaitingForDatabase");
    let words =
        "does not start: ImagePullBackOff: not found. To continue before its deadline, delete";
    assert!(told.message.contains(words), "{told:?}");
}

#[test]
fn reads_that_go_unanswered_are_said() {
    let mut world = World::stable("v1").wants("v2");
    world.seen.answers.overlaps = None;
    assert_eq!(world.plan().questions, [world.overlaps()]);
    world.seen.unread = Some("Deployments: forbidden".into());
    let status = world.record();
    let told = condition(&status, "Reconciling");
    assert_eq!(
        (told.status.as_str(), told.reason.as_str()),
        ("True", "ReadFailed")
    );
    assert!(told.message.contains("Deployments: forbidden"));
    assert!(status.release.is_none(), "nothing is begun");
    assert!(world.plan().wake_at.is_some());
}

#[test]
fn a_namespace_that_goes_is_not_held_up_by_a_job_that_is_gone() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|j| !j.suspended));
    database_of(&mut world).deleting = true;
    world.finish_database();
    assert!(holder(&world).is_some(), "its Job still runs");
    world.seen.objects.jobs.clear();
    // One that only a cache does not show may run all the same.
    world.seen.answers.hold_live = None;
    world.finish_database();
    assert!(holder(&world).is_some());
    world.seen.answers.hold_live = Some("u-db".into());
    world.finish_database();
    assert_eq!(holder(&world), None, "nothing is left to wait for");
}

/// Nothing has happened on the database yet, and nothing will: the Rollout goes on with a new one.
#[test]
fn a_database_that_is_deleted_before_its_job_runs_is_let_go() {
    let not_made = expanding(|w| holder(w).is_some());
    let not_recorded = expanding(|w| !w.seen.objects.jobs.is_empty());
    let not_released = expanding(|w| holder(w).is_some_and(|h| h.job_uid.is_some()));
    for mut world in [not_made, not_recorded, not_released] {
        assert!(world.seen.objects.jobs.iter().all(|job| job.suspended));
        database_of(&mut world).deleting = true;
        for _ in 0..5 {
            assert_eq!(releases(&world), 0);
            world.finish_database();
        }
        assert_eq!(holder(&world), None);
        assert!(world.seen.objects.jobs.is_empty());
        let told = condition(&world.record(), "Reconciling").clone();
        assert_eq!(told.reason, "DatabaseTerminating");
    }
}

/// The cache of Rollouts may be behind that of DatabaseSchemas: a new Rollout is not gone.
#[test]
fn a_hold_is_let_go_only_once_its_rollout_is_known_to_be_gone() {
    let world = expanding(|world| holder(world).is_some_and(|h| h.job_uid.is_none()));
    let seen = DatabaseObjects {
        database: world.seen.objects.database.clone().unwrap(),
        jobs: Vec::new(),
        rollouts: BTreeMap::new(),
    };
    let plan = database::plan(&seen, &Shown::default(), world.now, world.seen.epoch);
    let asked = [
        Question::Rollout("shop".into()),
        Question::Hold("db".into()),
    ];
    assert_eq!(plan.questions, asked);
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);

    let mut shown = Shown {
        gone: ["shop".to_owned()].into(),
        hold: None,
    };
    let plan = database::plan(&seen, &shown, world.now, world.seen.epoch);
    assert_eq!(plan.questions, asked[1..]);
    shown.hold = Some(("u-db".into(), holder(&world).into_iter().collect()));
    let plan = database::plan(&seen, &shown, world.now, world.seen.epoch);
    assert_eq!(plan.questions, []);
    let [
        Write::RecordDatabase {
            record, finalizers, ..
        },
    ] = plan.writes.as_slice()
    else {
        panic!("{:?}", plan.writes);
    };
    assert!(record.holder.is_none());
    assert!(finalizers.is_empty());
}

/// Where a Job is unknown a person is told to take the holder off the record: the finalizer would
/// stay.
#[test]
fn a_deleted_database_that_nobody_holds_goes() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|j| !j.suspended));
    world.database_mut().holder = None;
    let database = database_of(&mut world);
    assert_eq!(database.finalizers, [keys::HELD]);
    database.finalizers.push("backup.example/kept".into());
    database.deleting = true;
    let finalizers = |world: &World| {
        let database = world.seen.objects.database.as_ref();
        database.map(|d| d.finalizers.len())
    };
    world.finish_database();
    assert_eq!(finalizers(&world), Some(2), "a Job of it runs");
    world.seen.objects.jobs.clear();
    world.finish_database();
    assert_eq!(finalizers(&world), Some(1), "that of others stays");
    let before = world.seen.objects.database.clone().map(|d| d.record);
    world.finish_database();
    assert_eq!(world.seen.objects.database.map(|d| d.record), before);
}

/// Somebody else may suspend what has begun: that makes it no Job that never ran.
#[test]
fn a_job_that_was_suspended_after_it_had_begun_is_not_let_run_again() {
    let mut world = expanding(|w| w.seen.objects.jobs.iter().any(|j| !j.suspended));
    let job = &mut world.seen.objects.jobs[0];
    job.suspended = true;
    job.started = Some(second(0));
    assert_eq!(releases(&world), 0);
    let told = condition(&world.record(), "Reconciling").clone();
    assert_eq!(told.reason, "JobSuspended");
    database_of(&mut world).deleting = true;
    world.finish_database();
    let mut world = world.wants("v3");
    for _ in 0..10 {
        world.step();
    }
    assert_eq!(world.seen.objects.jobs.len(), 1, "nor taken away");
    assert!(holder(&world).is_some_and(|h| h.job_uid.is_some()));
}

/// A Rollout that has passed its expand is none the less done with it.
#[test]
fn what_was_told_of_an_expand_stays_when_its_record_is_deleted() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let told = world.status().schema.clone().expect("an expand");
    assert_eq!(told.state, "Succeeded");
    world.seen.objects.database = None;
    world.seen.objects.rollout.generation += 1;
    let status = world.record();
    assert_eq!(status.schema, Some(told));
    assert_eq!(condition(&status, "SchemaReady").status, "True");
}

#[test]
fn what_is_refused_is_not_asked_for_again_in_the_same_pass() {
    let held = holder(&expanding(|w| holder(w).is_some())).expect("a holder");
    for what in [Refused::Job(held.job), Refused::Other] {
        let mut world = expanding(|w| holder(w).is_some());
        let makes = |w: &World| {
            let writes = w.plan().writes;
            let mut jobs = writes.iter();
            jobs.any(super::makes_a_job)
        };
        assert!(makes(&world));
        world.seen.refusals.push(Refusal {
            what: what.clone(),
            message: "quota exceeded".into(),
            transient: true,
        });
        assert!(!makes(&world), "{what:?}");
    }
}

/// A hold whose Job an earlier leader made, and that nobody needs any more.
#[test]
fn a_job_of_an_earlier_leader_is_fenced_before_its_hold_is_let_go() {
    let with_uid = |w: &World| holder(w).is_some_and(|h| h.job_uid.is_some());
    let mut world = expanding(with_uid).wants("v3");
    world.seen.objects.jobs[0].epoch = Some(0);
    let mut fenced = false;
    for _ in 0..20 {
        for write in world.plan().writes {
            if let Write::Fence { kind, epoch, .. } = &write
                && *kind == Kind::Job
            {
                fenced = true;
                world.seen.objects.jobs[0].epoch = Some(*epoch);
            }
            let gone = matches!(&write, Write::Delete { .. });
            assert!(fenced || !gone, "{write:?}");
            world.apply(write);
        }
    }
    assert!(fenced);
    let v3 = world.revision("v3");
    assert_eq!(holder(&world).expect("the next has its turn").revision, v3);
}

#[test]
fn a_job_that_goes_already_is_not_deleted_again() {
    let mut world = expanding(|w| !w.seen.objects.jobs.is_empty()).wants("v3");
    let deletes = |w: &World| {
        let writes = w.plan().writes;
        let mut writes = writes.iter();
        writes.any(|w| matches!(w, Write::Delete { .. }))
    };
    for _ in 0..10 {
        if deletes(&world) {
            break;
        }
        world.step();
    }
    assert!(deletes(&world));
    world.seen.objects.jobs[0].deleting = true;
    assert!(!deletes(&world));
}

#[test]
fn a_job_that_somebody_deletes_is_not_let_run() {
    let with_uid = |w: &World| holder(w).is_some_and(|h| h.job_uid.is_some());
    let mut world = expanding(with_uid);
    assert_eq!(releases(&world), 1);
    world.seen.objects.jobs[0].deleting = true;
    assert_eq!(releases(&world), 0);
}

/// It is collected with its owner, run or not.
#[test]
fn a_job_that_a_former_database_left_behind_is_not_let_run() {
    let mut world = expanding(|w| !w.seen.objects.jobs.is_empty());
    assert!(matches!(
        world.plan().writes.first(),
        Some(Write::RecordDatabase { .. })
    ));
    world.seen.objects.jobs[0].owner_uid = Some("u-former".into());
    let writes = world.plan().writes;
    assert!(
        writes.first().is_some_and(super::makes_a_job),
        "its own is made: {writes:?}"
    );
}

fn releases(world: &World) -> usize {
    let writes = world.plan().writes;
    let releases = |w: &&Write| matches!(w, Write::ReleaseJob { .. });
    writes.iter().filter(releases).count()
}

/// One that only a cache shows may have been let go since, and its Job be there.
#[test]
fn no_job_is_made_on_a_hold_that_only_a_cache_shows() {
    let mut world = expanding(|w| holder(w).is_some());
    world.seen.answers.hold_live = None;
    let plan = world.plan();
    assert_eq!(plan.questions, [Question::Hold("db".into())]);
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);

    world.seen.answers.hold_live = Some("u-db".into());
    let writes = world.plan().writes;
    assert!(writes.first().is_some_and(super::makes_a_job), "{writes:?}");
}

/// The Job of a predecessor's hold may run, and the cache of Jobs not show it yet.
#[test]
fn a_job_that_only_a_cache_does_not_show_has_not_vanished() {
    let mut world = expanding(|w| holder(w).is_some_and(|h| h.job_uid.is_some()));
    let jobs = std::mem::take(&mut world.seen.objects.jobs);
    world.seen.answers.hold_live = None;
    let plan = world.plan();
    assert_eq!(plan.questions, [Question::Hold("db".into())]);
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);

    // Nor is a retry refused or obeyed before that is known.
    let mut retried = world.clone();
    let v2 = retried.revision("v2");
    retried.command("retry", &format!("{v2} one"));
    let plan = retried.plan();
    assert_eq!(plan.questions, [Question::Hold("db".into())]);
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);

    // What does not rest on it is not held up by a read that gets no answer.
    let mut scaled = world.clone();
    scaled.edit_spec(|spec| spec.replicas += 1);
    let writes = scaled.plan().writes;
    assert!(
        matches!(writes.as_slice(), [Write::Scale { .. }, ..]),
        "{writes:?}"
    );

    let mut gone = world.clone();
    gone.seen.answers.hold_live = Some("u-db".into());
    assert_eq!(stalled(&gone.record()), "JobVanished");
    world.seen.answers.hold_live = Some("u-db".into());
    world.seen.objects.jobs = jobs;
    let writes = world.plan().writes;
    assert!(
        matches!(writes.as_slice(), [Write::ReleaseJob { .. }, ..]),
        "{writes:?}"
    );
}
