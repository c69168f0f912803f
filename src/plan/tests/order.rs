//! `spec.after`.

use super::fixture::{World, condition, stalled};
use crate::{
    api::After,
    plan::{
        facts::{EarlierFacts, Stands},
        intent::Write,
    },
};

fn after(rollout: &str) -> After {
    After {
        rollout: rollout.into(),
        schema_version: None,
    }
}

fn earlier(rollout: &str, stands: Stands) -> EarlierFacts {
    EarlierFacts {
        rollout: rollout.into(),
        after: Vec::new(),
        stands,
        version: None,
    }
}

fn on_its_way() -> Stands {
    Stands::OnItsWay(Some("Stepping".into()))
}

/// `v2` is to replace `v1`, after these.
fn world(after_these: &[After], found: Vec<EarlierFacts>) -> World {
    let mut world = World::stable("v1").wants("v2");
    world.edit_spec(|spec| spec.after = after_these.to_vec());
    world.seen.objects.earlier = found;
    world
}

fn words(world: &World) -> String {
    let status = world.decide();
    assert!(status.release.is_none(), "{:?}", status.release);
    let ready = condition(&status, "Ready");
    assert_eq!(ready.reason, "WaitingForRollout");
    ready.message.clone()
}

#[test]
fn a_release_waits_until_all_that_go_first_are_ready() {
    let two = [after("server"), after("cache")];
    let cache = earlier("cache", Stands::Ready);
    let mut world = world(&two, vec![cache, earlier("server", on_its_way())]);
    let said = words(&world);
    assert!(
        said.contains("Rollout server, which is not Ready yet: Stepping"),
        "{said}"
    );
    world.seen.objects.earlier[1].stands = Stands::Ready;
    assert!(world.decide().release.is_some());
}

#[test]
fn one_that_is_missing_is_told_and_is_no_end() {
    let world = world(&[after("server")], Vec::new());
    let said = words(&world);
    assert!(
        said.contains("server, which does not exist in namespace ns: create it"),
        "{said}"
    );
    let status = world.decide();
    assert_eq!(condition(&status, "Reconciling").status, "True");
}

#[test]
fn it_is_stalled_while_one_of_them_is() {
    let two = [after("server"), after("cache")];
    let stalls = Stands::Stalled("CheckFailed".into());
    let found = vec![earlier("cache", stalls), earlier("server", on_its_way())];
    let status = world(&two, found).decide();
    assert_eq!(stalled(&status), "WaitingForRollout");
    let message = &condition(&status, "Ready").message;
    assert!(
        message.contains("cache, which is stalled: CheckFailed"),
        "{message}"
    );
}

#[test]
fn a_circle_is_refused_with_its_names() {
    let mut server = earlier("server", Stands::Ready);
    server.after = vec!["cache".into(), "queue".into()];
    let mut queue = earlier("queue", Stands::Ready);
    queue.after = vec!["shop".into()];
    // Another circle, of which this one is no part.
    let mut cache = earlier("cache", Stands::Ready);
    cache.after = vec!["server".into()];
    let status = world(&[after("server")], vec![cache, queue, server]).decide();
    assert_eq!(stalled(&status), "OrderIsCircular");
    let message = &condition(&status, "Ready").message;
    assert!(
        message.contains("shop → server → queue → shop"),
        "{message}"
    );
}

#[test]
fn a_schema_version_is_waited_for_whatever_else_is_on_its_way() {
    let seven = After {
        schema_version: Some(7),
        ..after("server")
    };
    let mut world = world(&[seven], vec![earlier("server", Stands::Ready)]);
    let said = words(&world);
    assert!(said.contains("schema version 7"), "{said}");
    world.seen.objects.earlier[0].version = Some(6);
    assert!(words(&world).contains("it is at 6"));
    world.seen.objects.earlier[0] = EarlierFacts {
        version: Some(8),
        ..earlier("server", on_its_way())
    };
    assert!(world.decide().release.is_some());
}

#[test]
fn one_that_is_changed_in_the_same_moment_is_waited_for_before_the_first_job_and_pod() {
    let mut world = world(&[after("server")], vec![earlier("server", Stands::Ready)]);
    world.step();
    assert!(world.status().release.is_some());
    world.seen.objects.earlier[0].stands = Stands::OnItsWay(None);
    world.settle();
    let stage = |world: &World| world.status().release.as_ref().map(|r| r.stage.word());
    assert_eq!(stage(&world), Some("preflight"));
    let ready = condition(world.status(), "Ready");
    assert_eq!(ready.reason, "WaitingForRollout");
    world.seen.objects.earlier[0].stands = Stands::Ready;
    let mut world = world.at_stage("expand");
    // While its Job ran, the server was changed again.
    world.seen.objects.earlier[0].stands = Stands::OnItsWay(None);
    world.settle();
    assert_eq!(stage(&world), Some("expand"));
    let v2 = world.revision("v2");
    assert!(
        world
            .seen
            .objects
            .child(&v2)
            .is_some_and(|c| c.replicas == 0)
    );
    world.seen.objects.earlier[0].stands = Stands::Ready;
    world.settle();
    assert!(
        world
            .seen
            .objects
            .child(&v2)
            .is_some_and(|c| c.replicas > 0)
    );
    // From then on it is on its way.
    world.seen.objects.earlier[0].stands = Stands::Stalled("CheckFailed".into());
    world.settle();
    assert_eq!(condition(world.status(), "Ready").reason, "Holding");
}

#[test]
fn the_way_back_waits_for_nobody() {
    let mut world = world(&[after("server")], vec![earlier("server", Stands::Ready)]);
    for _ in 0..4 {
        world.settle();
        world.hold(1000);
    }
    world.settle();
    assert_eq!(condition(world.status(), "Ready").status, "True");
    let mut world = world.wants("v1");
    world.seen.objects.earlier[0].stands = Stands::Stalled("CheckFailed".into());
    let record = world.plan().writes.into_iter().next();
    let Some(Write::RecordStatus { status, .. }) = record else {
        panic!("no decision: {record:?}");
    };
    assert!(status.release.is_some_and(|r| r.undo().is_some()));
}
