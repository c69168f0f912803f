//! Batch by batch, and tests of steps.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::{
    api::{OnFailure, Rolling, RolloutSpec, StepTest, TestAfter},
    simulate::{
        action::Action,
        action::Amendment,
        scenario::{
            SETTLED, Scenario, apply, command, name, pause, release, scale, shop, slow, unwell,
            wrong,
        },
        setting::{Behaviour, Health, Migration, MigrationEnd},
    },
};

/// Four batches, held for half a minute, the last one for a whole.
pub(crate) fn batches() -> Rolling {
    Rolling {
        hold_seconds: 30,
        bake_seconds: 60,
        deadline_seconds: 300,
        ..Rolling::default()
    }
}

fn rolling(mut spec: RolloutSpec) -> RolloutSpec {
    *spec.strategy.rolling_mut() = batches();
    spec
}

fn rolling_tested(spec: RolloutSpec) -> RolloutSpec {
    let mut spec = rolling(spec);
    spec.strategy.rolling_mut().tests = vec![
        test("smoke", OnFailure::Undo),
        at_the_end("journey", OnFailure::Undo),
    ];
    spec
}

/// Two pods at a time, with a test that has a template of its own.
fn template_tested(spec: RolloutSpec) -> RolloutSpec {
    let mut spec = rolling(spec);
    let smoke = json!({"spec": {"containers": [{"name": "smoke", "image": "smoke"}]}});
    let rolling = spec.strategy.rolling_mut();
    rolling.batch = IntOrString::Int(2);
    rolling.tests = vec![StepTest {
        command: Vec::new(),
        template: Some(smoke),
        ..test("smoke", OnFailure::Undo)
    }];
    spec
}

/// The old pod goes before the new one comes.
fn old_first(mut spec: RolloutSpec) -> RolloutSpec {
    spec.strategy.max_surge = IntOrString::Int(0);
    spec.strategy.max_unavailable = IntOrString::Int(1);
    spec
}

fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(rolling(shop("v1", 8, Some(1)))))
        .then(SETTLED, release("v2", Some(2)))
        .lasts(700)
}

fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}

fn batch_of(batch: IntOrString) -> Action {
    Action::Amend {
        rollout: name(),
        amendment: Amendment::Rolling(Rolling { batch, ..batches() }),
    }
}

/// Two tests at the first step, one at the second.
fn tested(mut spec: RolloutSpec, on_failure: OnFailure) -> RolloutSpec {
    let steps = spec.strategy.steps_mut();
    steps[0].tests = vec![test("smoke", on_failure), test("contract", on_failure)];
    steps[1].tests = vec![test("smoke", on_failure)];
    spec
}

/// A test at the first step, and two after the last.
fn tested_at_the_end(mut spec: RolloutSpec, on_failure: OnFailure) -> RolloutSpec {
    let steps = spec.strategy.steps_mut();
    steps[0].tests = vec![test("smoke", on_failure)];
    if let Some(last) = steps.last_mut() {
        last.tests = vec![
            at_the_end("journey", on_failure),
            at_the_end("report", on_failure),
        ];
    }
    spec
}

/// A test that runs after the last step.
pub(crate) fn at_the_end(name: &str, on_failure: OnFailure) -> StepTest {
    StepTest {
        after: TestAfter::Release,
        ..test(name, on_failure)
    }
}

/// A test as people write it.
pub(crate) fn test(name: &str, on_failure: OnFailure) -> StepTest {
    StepTest {
        name: name.into(),
        after: TestAfter::Target,
        command: vec!["shop".into(), name.into()],
        container: None,
        template: None,
        deadline_seconds: 60,
        on_failure,
        show_log: true,
    }
}

/// Tests that go so, one after the other.
pub(super) fn testing(ends: &[MigrationEnd]) -> Behaviour {
    let test = |end: &MigrationEnd| Migration {
        seconds: 10,
        end: *end,
    };
    Behaviour {
        tests: ends.iter().map(test).collect(),
        ..Behaviour::default()
    }
}

/// `v2`, whose tests go so: one at the first step, and two after the last.
fn v2_tested_at_the_end(
    name: &'static str,
    on_failure: OnFailure,
    ends: &[MigrationEnd],
) -> Scenario {
    Scenario::new(name)
        .image("v2", testing(ends))
        .then(
            1,
            apply(tested_at_the_end(shop("v1", 4, Some(1)), on_failure)),
        )
        .then(SETTLED, release("v2", Some(2)))
        .lasts(700)
}

/// `v2`, whose last test takes longer than the deadline of its step; then a container ends.
fn v2_tested_for_long(name: &'static str) -> Scenario {
    let mut spec = shop("v1", 4, Some(1));
    if let Some(last) = spec.strategy.steps_mut().last_mut() {
        last.deadline_seconds = 60;
        last.tests = vec![StepTest {
            deadline_seconds: 300,
            ..at_the_end("journey", OnFailure::Undo)
        }];
    }
    let takes = Migration {
        seconds: 200,
        end: MigrationEnd::Succeeds,
    };
    let behaviour = Behaviour {
        tests: vec![takes],
        ..Behaviour::default()
    };
    let killed = Action::KillContainers {
        rollout: "shop".into(),
        count: 1,
    };
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(spec))
        .then(SETTLED, release("v2", Some(2)))
        .then(SETTLED + 400, killed)
        .lasts(800)
}

/// `v2`, whose tests go so, one after the other.
fn v2_tested(name: &'static str, on_failure: OnFailure, ends: &[MigrationEnd]) -> Scenario {
    Scenario::new(name)
        .image("v2", testing(ends))
        .then(1, apply(tested(shop("v1", 4, None), on_failure)))
        .then(SETTLED, release("v2", None))
        .lasts(600)
}

pub(super) fn ways() -> Vec<Scenario> {
    use MigrationEnd::{Fails, Hangs, NeverStarts, Succeeds};
    let (undo, pause_it) = (OnFailure::Undo, OnFailure::Pause);
    vec![
        v2_tested("tests-pass", undo, &[Succeeds]),
        v2_tested("a-test-fails", undo, &[Succeeds, Fails]),
        v2_tested("a-test-hangs", undo, &[Hangs]),
        v2_tested("a-test-never-starts", undo, &[NeverStarts]),
        v2_tested("a-test-pauses-and-is-resumed", pause_it, &[Fails, Succeeds])
            .then(220, command("resume")),
        v2_tested(
            "a-test-pauses-and-is-promoted",
            pause_it,
            &[Succeeds, Fails],
        )
        .then(220, command("promote")),
        v2_tested("a-running-test-is-promoted-past", undo, &[Hangs]).then(140, command("promote")),
        v2_tested("undone-while-a-test-runs", undo, &[Hangs]).then(140, command("undo")),
        v2_tested("third-revision-while-a-test-runs", undo, &[Hangs])
            .image("v3", Behaviour::default())
            .then(140, release("v3", None)),
        v2_tested("the-job-of-a-test-is-deleted", undo, &[Hangs])
            .then(140, Action::DeleteJobs(name())),
        v2_tested("pods-are-lost-while-a-test-runs", undo, &[Succeeds]).then(
            132,
            Action::LosePods {
                rollout: name(),
                count: 5,
            },
        ),
        v2_tested_at_the_end("tests-after-the-release-pass", undo, &[Succeeds]),
        v2_tested_at_the_end(
            "a-test-after-the-release-fails",
            undo,
            &[Succeeds, Succeeds, Fails],
        ),
        v2_tested_at_the_end(
            "a-test-after-the-release-pauses-and-is-resumed",
            pause_it,
            &[Succeeds, Fails, Succeeds],
        )
        .then(560, command("resume")),
        v2_tested_at_the_end(
            "the-last-step-is-promoted-to-its-tests-and-past-them",
            undo,
            &[Succeeds, Hangs],
        )
        .then(300, command("promote"))
        .then(330, command("promote")),
        good("rolling"),
        Scenario::new("rolling-tested")
            .then(1, apply(rolling_tested(shop("v1", 8, None))))
            .then(SETTLED, release("v2", None)),
        Scenario::new("rolling-by-number-scaled-before-its-test")
            .then(1, apply(template_tested(shop("v1", 6, None))))
            .then(SETTLED, release("v2", None))
            .then(SETTLED + 4, scale(2)),
        v2_tested_for_long("a-container-ends-as-the-last-test-does"),
        v2("rolling-errors", wrong(5.0)),
        v2("rolling-errors-at-the-last-batch", wrong(0.8)),
        v2("rolling-slow", slow(600.0)),
        v2("rolling-never-ready", unwell(Health::NeverReady)),
        Scenario::new("rolling-one-by-one-old-first")
            .then(1, apply(old_first(rolling(shop("v1", 3, None)))))
            .then(SETTLED, release("v2", None))
            .lasts(600),
        Scenario::new("rolling-one-replica-old-first")
            .with_a_disk_of_one_node()
            .then(1, apply(old_first(rolling(shop("v1", 1, None)))))
            .then(SETTLED, release("v2", None)),
        Scenario::new("rolling-one-replica-old-first-never-ready")
            .image("v2", unwell(Health::NeverReady))
            .with_a_disk_of_one_node()
            .then(1, apply(old_first(rolling(shop("v1", 1, None)))))
            .then(SETTLED, release("v2", None)),
        Scenario::new("rolling-one-replica-by-surge-with-a-disk")
            .with_a_disk_of_one_node()
            .then(1, apply(rolling(shop("v1", 1, None))))
            .then(SETTLED, release("v2", None)),
        good("rolling-paused-and-promoted")
            .then(170, pause(true))
            .then(260, command("promote"))
            .then(300, pause(false)),
        good("rolling-undone-by-a-person")
            .then(220, command("undo"))
            .then(300, command("retry"))
            .lasts(900),
        good("rolling-third-revision")
            .then(220, release("v3", Some(3)))
            .lasts(900),
        good("rolling-scaled")
            .then(190, scale(20))
            .then(240, scale(3))
            .then(330, scale(8)),
        good("rolling-in-smaller-batches").then(230, batch_of(IntOrString::String("10%".into()))),
        good("rolling-in-counted-batches")
            .then(190, batch_of(IntOrString::Int(3)))
            .then(260, scale(12)),
    ]
}
