//! Tests of a step: on record first, released once, deleted on an undo.

use serde_json::{Value, json};

use super::fixture::{World, stalled};
use crate::{
    api::{
        OnFailure, StepTest, keys,
        release::{TestResult, TestStatus},
        status::Outcome,
    },
    plan::{
        facts::{JobEnd, JobFacts, JobLog, Question},
        intent::{Kind, Write},
        template,
    },
};

fn test(on_failure: OnFailure) -> StepTest {
    let test = json!({"name": "smoke", "command": ["shop", "test"]});
    StepTest {
        on_failure,
        ..serde_json::from_value(test).unwrap()
    }
}

/// `v2` is a canary whose pod is up, and its test is next.
fn tested(on_failure: OnFailure) -> World {
    let mut world = World::stable("v1");
    world.edit_spec(|spec| spec.strategy.steps_mut()[0].tests = vec![test(on_failure)]);
    let mut world = world.wants("v2").at_stage("step");
    for _ in 0..20 {
        if !tests(&world).is_empty() {
            return world;
        }
        world.step();
    }
    panic!("no test is on record: {:?}", world.plan());
}

fn tests(world: &World) -> Vec<TestStatus> {
    let release = world.status().release.as_ref();
    release.map(|r| r.tests.clone()).unwrap_or_default()
}

fn job(world: &mut World) -> &mut JobFacts {
    let mut jobs = world.seen.objects.jobs.iter_mut();
    jobs.find(|job| job.test).expect("the Job of the test")
}

/// The Job of the test runs.
fn running(on_failure: OnFailure) -> World {
    let mut world = tested(on_failure);
    for _ in 0..10 {
        world.step();
        let mut jobs = world.seen.objects.jobs.iter();
        if jobs.any(|job| job.test && !job.suspended) {
            return world;
        }
    }
    panic!("its Job does not run: {:?}", world.plan());
}

/// Goes on until nothing is wanted; no Job ends meanwhile.
fn quiet(world: &mut World) {
    for _ in 0..20 {
        if world.plan().writes.is_empty() {
            return;
        }
        world.step();
    }
    panic!("it does not settle: {:?}", world.plan());
}

fn ends(world: &mut World, succeeded: bool) {
    let at = world.now;
    job(world).ended = Some(JobEnd {
        refusal: None,
        sql: false,
        succeeded,
        nothing_applied: false,
        message: "BackoffLimitExceeded".into(),
        at,
    });
}

#[test]
fn a_test_is_on_record_before_its_job_and_its_uid_before_it_runs() {
    let mut world = tested(OnFailure::Undo);
    assert_eq!(tests(&world)[0].job_uid, None);
    let Some(Write::Create { kind, manifest }) = world.plan().writes.first().cloned() else {
        panic!("{:?}", world.plan());
    };
    assert_eq!(kind, Kind::Job);
    assert_eq!(manifest["spec"]["suspend"], true);
    assert_eq!(manifest["metadata"]["name"], tests(&world)[0].job);
    world.step();
    let recorded = world.decide().release.unwrap().tests;
    assert!(recorded[0].job_uid.is_some(), "{recorded:?}");
    world.step();
    let writes = world.plan().writes;
    assert!(
        matches!(writes[..], [Write::ReleaseJob { .. }]),
        "{writes:?}"
    );
    let step = world
        .status()
        .release
        .as_ref()
        .and_then(|r| r.step().cloned());
    let step = step.unwrap();
    assert_eq!((step.reached, step.held.since), (None, None), "no hold yet");
}

#[test]
fn the_hold_begins_when_it_has_passed() {
    let mut world = running(OnFailure::Undo);
    quiet(&mut world);
    ends(&mut world, true);
    let recorded = world.record().release.unwrap();
    assert_eq!(recorded.tests[0].result, Some(TestResult::Passed));
    quiet(&mut world);
    let step = world.status().release.clone().unwrap();
    assert!(step.step().unwrap().held.since.is_some());
}

#[test]
fn a_failure_undoes_with_the_end_of_its_log_and_its_job_goes() {
    let mut world = running(OnFailure::Undo);
    ends(&mut world, false);
    let name = job(&mut world).base.name.clone();
    assert_eq!(world.plan().questions, [Question::JobLog(name)]);
    world.seen.answers.job_log = Some(JobLog::Ends("expected 200, was 500".into()));
    let release = world.record().release.unwrap();
    let undo = release.undo().expect("an undo");
    assert_eq!(
        (undo.outcome, undo.reason.as_str()),
        (Outcome::Failed, "TestFailed")
    );
    assert!(
        undo.message.contains("expected 200, was 500"),
        "{}",
        undo.message
    );
    let writes = world.plan().writes;
    let deletes = |w: &Write| {
        matches!(
            w,
            Write::Delete {
                kind: Kind::Job,
                ..
            }
        )
    };
    assert!(writes.iter().any(deletes), "{writes:?}");
    let scale = writes.iter().position(|w| matches!(w, Write::Scale { .. }));
    let delete = writes.iter().position(deletes);
    assert!(scale < delete, "pods go first: {writes:?}");
}

#[test]
fn a_log_that_is_not_to_be_shown_is_not_read() {
    let mut world = running(OnFailure::Undo);
    world.edit_spec(|spec| spec.strategy.steps_mut()[0].tests[0].show_log = false);
    ends(&mut world, false);
    let name = job(&mut world).base.name.clone();
    assert_eq!(world.plan().questions, []);
    let release = world.record().release.unwrap();
    let undo = release.undo().expect("an undo");
    let command = format!("kubectl logs -n ns job/{name}");
    assert!(undo.message.contains(&command), "{}", undo.message);
}

#[test]
fn a_failure_that_pauses_is_tried_again_by_a_resume() {
    let mut world = running(OnFailure::Pause);
    world.seen.answers.job_log = Some(JobLog::Ends(String::new()));
    ends(&mut world, false);
    quiet(&mut world);
    assert_eq!(stalled(world.status()), "TestFailed");
    let first = tests(&world)[0].clone();
    let revision = world.revision("v2");
    world.command("resume", &format!("{revision} r1"));
    let again = world.record().release.unwrap().tests;
    assert_eq!((again[0].attempt, again[0].result), (2, None));
    assert_ne!(again[0].job, first.job);
}

#[test]
fn a_job_that_is_gone_has_failed_once_that_was_read_live() {
    let mut world = running(OnFailure::Undo);
    let name = tests(&world)[0].job.clone();
    world.seen.objects.jobs.clear();
    assert_eq!(world.plan().questions, [Question::Job(name.clone())]);
    world.seen.answers.job_live = Some(name);
    let release = world.record().release.unwrap();
    let undo = release.undo().expect("an undo");
    assert!(
        undo.message.contains("its Job was deleted"),
        "{}",
        undo.message
    );
}

#[test]
fn a_test_is_fenced_before_pods_are_moved() {
    let mut world = tested(OnFailure::Undo);
    world.step();
    world.seen.epoch = 7;
    world.seen.outranks = 7;
    let writes = world.plan().writes;
    let fences = |kind| {
        let of = move |w: &&Write| matches!(w, Write::Fence { kind: k, .. } if *k == kind);
        writes.iter().filter(of).count()
    };
    assert_eq!(
        (fences(Kind::Job), fences(Kind::Deployment)),
        (1, 2),
        "{writes:?}"
    );
}

#[test]
fn a_test_runs_in_the_revisions_own_pod_and_is_no_endpoint() {
    let world = tested(OnFailure::Undo);
    let Some(Write::Create { manifest, .. }) = world.plan().writes.first().cloned() else {
        panic!("{:?}", world.plan());
    };
    let pod = &manifest["spec"]["template"];
    let labels = pod["metadata"]["labels"].as_object().unwrap();
    assert_eq!(labels.keys().collect::<Vec<_>>(), [keys::TEST]);
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| {
        let mut named = env.iter().filter(|one| one["name"] == name);
        (named.next().map(|one| one["value"].clone()), named.count())
    };
    let revision = world.revision("v2");
    for (name, expected) in [
        ("STEPGATE_ROLLOUT", "shop"),
        ("STEPGATE_REVISION", revision.as_str()),
        ("STEPGATE_STEP", "canary"),
    ] {
        assert_eq!(value(name), (Some(Value::from(expected)), 0), "{name}");
    }
    let owner = &manifest["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&json!("Rollout"), &json!("shop"))
    );
}

#[test]
fn what_would_make_a_test_wrong_names_its_field() {
    let problem = |test: Value| {
        let spec = json!({
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {"metadata": {"labels": {"app": "shop"}},
                         "spec": {"containers": [{"name": "shop", "image": "shop:1"}]}},
            "strategy": {"canary": {"steps": [
                {"name": "full", "replicas": "100%", "tests": [test]}]}},
        });
        template::problem(&serde_json::from_value(spec).unwrap()).unwrap_or_default()
    };
    let labels = json!({"metadata": {"labels": {"app": "shop"}}, "spec": {}});
    let words = problem(json!({"name": "a", "template": labels}));
    let field = "spec.strategy.canary.steps[0].tests[0]";
    assert!(
        words.starts_with(&format!("{field}.template.metadata.labels")),
        "{words}"
    );
    let words = problem(json!({"name": "a", "command": ["t"], "container": "other"}));
    assert!(words.starts_with(&format!("{field}.container")), "{words}");
    assert_eq!(
        problem(json!({"name": "a", "command": ["t"], "container": "shop"})),
        ""
    );
}
