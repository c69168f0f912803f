//! Blue-green: which pods the Services select, and when pods may go.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fixture::{World, condition, second, stalled};
use crate::{
    api::{Promotion, RolloutSpec, keys, status::Outcome},
    plan::{
        draft::later,
        facts::{Base, Objects, Reach, Refusal, Refused, ServiceFacts, Unread},
        intent::Write,
        reason::Reason,
        services::SETTLES_WITHIN,
    },
};

fn labels(of: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(of.clone()).unwrap()
}

fn ports(of: &Value) -> Value {
    json!({"ports": of["ports"], "sessionAffinity": of["sessionAffinity"]})
}

/// The API server has taken in a new Service.
pub fn create(objects: &mut Objects, base: Base, owner_uid: Option<String>, manifest: &Value) {
    objects.services.all.push(ServiceFacts {
        base,
        rollout: Some("shop".into()),
        owner_uid,
        epoch: Some(1),
        selector: labels(&manifest["spec"]["selector"]),
        reach: Reach::Address,
        ports: ports(&manifest["spec"]).into(),
        not_for_users: false,
        uncertain: false,
        deleting: false,
    });
}

/// The API server has changed one.
pub fn select(objects: &mut Objects, base: &Base, spec: &Value) {
    let mut services = objects.services.all.iter_mut();
    let service = services.find(|s| s.base.uid == base.uid).unwrap();
    service.selector = labels(&spec["selector"]);
    service.ports = ports(spec).into();
    service.uncertain = false;
}

/// A Service of somebody else.
pub fn foreign(name: &str) -> ServiceFacts {
    ServiceFacts {
        base: Base {
            name: name.into(),
            uid: format!("u-{name}"),
            resource_version: "1".into(),
        },
        rollout: None,
        owner_uid: None,
        epoch: None,
        selector: BTreeMap::from([("app".into(), "shop".into())]),
        reach: Reach::Address,
        ports: ports(&json!({"ports": [{"port": 80}], "sessionAffinity": "None"})).into(),
        not_for_users: false,
        uncertain: false,
        deleting: false,
    }
}

/// `v1` is stable behind its Services, 8 pods; `v2` is wanted, and switched by nobody's word.
fn switched() -> World {
    let mut world = World::stable("v1");
    world.seen.objects.services.all.push(foreign("shop"));
    world.edit_spec(lead_users);
    world.settle();
    world
}

pub(crate) fn lead_users(spec: &mut RolloutSpec) {
    spec.strategy.blue_green_mut().promotion = Promotion::Automatic;
    spec.traffic = serde_json::from_value(json!({
        "portsFrom": {"name": "shop"},
        "stableService": "shop-stable",
        "canaryService": "shop-canary",
    }))
    .unwrap();
}

fn remove(world: &mut World, service: &str) {
    let services = &mut world.seen.objects.services.all;
    services.retain(|s| s.base.name != service);
}

/// Somebody makes it select the pods of every revision.
fn edit(world: &mut World, service: &str) {
    let services = &mut world.seen.objects.services.all;
    let service = services.iter_mut().find(|s| s.base.name == service);
    service.unwrap().selector.remove(keys::REVISION).unwrap();
}

/// Nothing is stable: users reach `v1`, whose first release was withdrawn for `v2`, which has no pod
/// yet.
fn first_withdrawn() -> World {
    let mut world = World::new().wants("v1");
    world.seen.answers.overlaps = Some(Vec::new());
    world.seen.answers.revisions_live = true;
    world.edit_spec(|spec| spec.schema = None);
    world.seen.objects.services.all.push(foreign("shop"));
    world.edit_spec(lead_users);
    world.settle();
    assert_eq!(selects(&world, "shop-stable"), world.revision("v1"));
    let mut world = world.wants("v2");
    assert!(world.record().release.is_none(), "v1 is withdrawn");
    let release = world.record().release.unwrap();
    assert!(release.first && release.revision == world.revision("v2"));
    world
}

fn selects(world: &World, service: &str) -> String {
    let service = world.seen.objects.service(service).unwrap();
    service.revision().unwrap_or_default().to_owned()
}

fn size(world: &World, version: &str) -> i32 {
    let child = world.seen.objects.child(&world.revision(version));
    child.map_or(0, |c| c.replicas)
}

fn wait(world: &mut World, seconds: i64) {
    world.now = later(world.now, seconds);
    world.seen.looked = world.now;
}

#[test]
fn both_services_copy_ports_and_select_stable_at_rest() {
    let world = switched();
    for name in ["shop-stable", "shop-canary"] {
        let service = world.seen.objects.service(name).unwrap();
        assert_eq!(service.revision(), Some(&*world.revision("v1")));
        assert_eq!(service.selector["app"], "shop");
        assert_eq!(service.ports["ports"][0]["port"], 80);
    }
    assert_eq!(condition(world.status(), "Ready").status, "True");
    let selector = world.status().selector.clone().unwrap();
    assert!(selector.ends_with(&format!("stepgate.io/revision={}", world.revision("v1"))));
}

#[test]
fn ports_follow_those_of_the_service_that_they_are_from() {
    let mut world = switched();
    let services = &mut world.seen.objects.services.all;
    let from = services.iter_mut().find(|s| s.base.name == "shop").unwrap();
    from.ports = ports(&json!({"ports": [{"port": 8080}], "sessionAffinity": "ClientIP"})).into();
    world.settle();
    let service = world.seen.objects.service("shop-stable").unwrap();
    assert_eq!(service.ports["ports"][0]["port"], 8080);
    assert_eq!(service.ports["sessionAffinity"], "ClientIP");
}

#[test]
fn users_are_switched_when_the_new_set_is_whole_and_the_old_one_stays() {
    let mut world = switched().wants("v2").at_step(0);
    let (old, new) = (world.revision("v1"), world.revision("v2"));
    assert_eq!((size(&world, "v1"), size(&world, "v2")), (8, 1));
    assert_eq!(selects(&world, "shop-stable"), old);
    assert_eq!(selects(&world, "shop-canary"), new);
    world = world.at_step(1);
    assert_eq!((size(&world, "v1"), size(&world, "v2")), (8, 8));
    assert_eq!(selects(&world, "shop-stable"), old);
    world = world.at_step(2);
    assert_eq!((size(&world, "v1"), size(&world, "v2")), (8, 8));
    assert_eq!(selects(&world, "shop-stable"), new);
    let status = world.status();
    assert_eq!((status.replicas, status.available_replicas), (8, 8));
    assert!(status.selector.clone().unwrap().ends_with(&new));
}

#[test]
fn the_switch_is_on_record_before_it_is_made() {
    let mut world = switched().wants("v2").at_step(1);
    world.hold(1000);
    let plan = world.plan();
    assert!(
        matches!(plan.writes[..], [Write::RecordStatus { .. }]),
        "{:?}",
        plan.writes
    );
    world.record();
    let plan = world.plan();
    let to = world.revision("v2");
    assert!(
        matches!(&plan.writes[0], Write::Select { revision, .. } if *revision == to),
        "{:?}",
        plan.writes
    );
}

#[test]
fn a_person_says_when_unless_that_is_left_to_the_operator() {
    let mut world = switched();
    world.edit_spec(|spec| spec.strategy.blue_green_mut().promotion = Promotion::Manual);
    let mut world = world.wants("v2").at_step(1);
    world.hold(100_000);
    world.settle();
    let reconciling = condition(world.status(), "Reconciling");
    assert_eq!(reconciling.reason, "WaitingForPromotion");
    let revision = world.revision("v2");
    let command = format!("stepgate.io/promote=\"{revision}/switch $(date +%s)\"");
    assert!(
        reconciling.message.contains(&command),
        "{}",
        reconciling.message
    );
    world.command("promote", &format!("{revision}/switch 1"));
    world.settle();
    assert_eq!(selects(&world, "shop-stable"), revision);
}

#[test]
fn users_are_never_switched_to_fewer_pods_than_the_floor() {
    let mut world = switched().wants("v2").at_step(1);
    let new = world.revision("v2");
    let mut children = world.seen.objects.children.iter_mut();
    children.find(|c| c.revision == new).unwrap().available = 5;
    drop(children);
    // Whoever promotes it all the same.
    world.command("promote", &format!("{new}/switch 1"));
    world.settle();
    assert_eq!(selects(&world, "shop-stable"), world.revision("v1"));
    let mut children = world.seen.objects.children.iter_mut();
    children.find(|c| c.revision == new).unwrap().available = 6;
    drop(children);
    world.settle();
    assert_eq!(selects(&world, "shop-stable"), new);
}

#[test]
fn a_return_is_one_write_and_pods_go_when_everybody_has_heard_of_it() {
    let mut world = switched().wants("v2").at_step(2);
    let (old, new) = (world.revision("v1"), world.revision("v2"));
    wait(&mut world, 60);
    world.command("undo", &format!("{new} 1"));
    world.record();
    let plan = world.plan();
    assert!(
        matches!(&plan.writes[0], Write::Select { base, revision, .. }
            if base.name == "shop-stable" && *revision == old),
        "{:?}",
        plan.writes
    );
    world.settle();
    assert_eq!(
        (
            selects(&world, "shop-stable"),
            selects(&world, "shop-canary")
        ),
        (old.clone(), old)
    );
    assert_eq!((size(&world, "v1"), size(&world, "v2")), (8, 8));
    let wake = world.plan().wake_at.unwrap();
    assert!(wake <= later(world.now, SETTLES_WITHIN));
    wait(&mut world, SETTLES_WITHIN + 1);
    world.settle();
    assert_eq!((size(&world, "v1"), size(&world, "v2")), (8, 0));
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
}

#[test]
fn pods_stay_while_the_api_server_refuses_to_lead_users_away() {
    let mut world = switched().wants("v2").at_step(2);
    let new = world.revision("v2");
    world.command("undo", &format!("{new} 1"));
    world.record();
    world.seen.refusals = ["shop-stable", "shop-canary"]
        .map(|name| Refusal {
            what: Refused::Service(name.into()),
            message: "a policy denies it".into(),
            transient: true,
        })
        .into();
    world.settle();
    wait(&mut world, 600);
    world.settle();
    assert_eq!(size(&world, "v2"), 8);
    assert_eq!(stalled(world.status()), "UndoBlocked");
    let message = &condition(world.status(), "Stalled").message;
    assert!(message.contains("Service shop-stable selects"), "{message}");
    assert!(
        message.contains("refuses a write of a Service: a policy denies it"),
        "{message}"
    );
}

#[test]
fn a_new_leader_fences_the_services_before_pods_go() {
    let mut world = switched().wants("v2").at_step(2);
    world.hold(1_000);
    world.record();
    assert!(world.status().release.is_none(), "the delay is over");
    // Outcomes are marked first.
    for write in world.plan().writes {
        world.apply(write);
    }
    world.seen.epoch = 2;
    world.seen.outranks = 2;
    for child in &mut world.seen.objects.children {
        child.epoch = Some(2);
    }
    let writes = world.plan().writes;
    let fenced = |w: &Write| matches!(w, Write::Fence { epoch: 2, .. });
    let scaled = |w: &Write| matches!(w, Write::Scale { .. });
    assert!(
        writes.iter().filter(|w| fenced(w)).count() == 2,
        "{writes:?}"
    );
    assert!(!writes.iter().any(scaled));
}

#[test]
fn a_service_that_may_be_anywhere_is_settled_before_pods_go() {
    let mut world = switched().wants("v2").at_step(2);
    world.hold(1_000);
    world.record();
    let mut services = world.seen.objects.services.all.iter_mut();
    services
        .find(|s| s.base.name == "shop-stable")
        .unwrap()
        .uncertain = true;
    drop(services);
    let writes = world.plan().writes;
    assert!(
        matches!(&writes[0], Write::Select { settles: true, .. }),
        "{writes:?}"
    );
    assert!(!writes.iter().any(|w| matches!(w, Write::Scale { .. })));
}

#[test]
fn what_cannot_be_copied_is_refused_with_what_to_do() {
    type Change = fn(&mut ServiceFacts);
    let cases: [(&str, Change); 5] = [
        ("headless", |s| s.reach = Reach::Headless),
        ("ExternalName", |s| s.reach = Reach::ExternalName),
        ("no selector", |s| s.selector.clear()),
        ("no ports", |s| s.ports = json!({"ports": []}).into()),
        ("does not select", |s| {
            s.selector.insert("app".into(), "cart".into());
        }),
    ];
    for (words, change) in cases {
        let mut world = switched();
        let services = &mut world.seen.objects.services.all;
        change(services.iter_mut().find(|s| s.base.name == "shop").unwrap());
        world = world.wants("v2");
        world.settle();
        assert_eq!(stalled(world.status()), "PortsFromUnusable");
        let message = &condition(world.status(), "Stalled").message;
        assert!(message.contains(words), "{message}");
        assert!(world.seen.objects.child(&world.revision("v2")).is_none());
    }
}

#[test]
fn somebody_elses_service_is_never_written() {
    let mut world = switched();
    let mut services = world.seen.objects.services.all.iter_mut();
    let taken = services.find(|s| s.base.name == "shop-canary").unwrap();
    *taken = foreign("shop-canary");
    taken.not_for_users = true;
    drop(services);
    world = world.wants("v2");
    world.settle();
    assert_eq!(stalled(world.status()), "ServiceNotOurs");
    assert_eq!(
        world
            .seen
            .objects
            .service("shop-canary")
            .unwrap()
            .revision(),
        None
    );
}

#[test]
fn a_service_that_bypasses_the_switch_is_refused_before_any_pod() {
    let mut world = switched();
    world.seen.objects.services.all.push(foreign("legacy"));
    world.settle();
    assert_eq!(
        condition(world.status(), "Ready").status,
        "True",
        "at rest it hurts nobody"
    );
    world = world.wants("v2");
    world.settle();
    assert_eq!(stalled(world.status()), "ServiceBypassesSwitch");
    assert!(world.seen.objects.child(&world.revision("v2")).is_none());
    let services = &mut world.seen.objects.services.all;
    services.last_mut().unwrap().not_for_users = true;
    world.settle();
    assert_eq!(size(&world, "v2"), 1);
}

#[test]
fn without_the_right_to_services_it_is_said_what_to_grant() {
    let mut world = switched().wants("v2");
    world.seen.objects.services.all.clear();
    world.seen.objects.services.unread = Some(Unread::Refused("forbidden".into()));
    world.settle();
    assert_eq!(stalled(world.status()), Reason::ServicesForbidden.word());
    let message = &condition(world.status(), "Stalled").message;
    assert!(message.contains("rbac.services"), "{message}");
}

#[test]
fn nothing_is_decided_before_services_are_listed() {
    let mut world = switched().wants("v2").at_step(2);
    world.seen.objects.services.unread = Some(Unread::NotYet);
    world.seen.objects.services.all.clear();
    wait(&mut world, 10_000);
    let plan = world.plan();
    assert!(
        plan.writes.is_empty() && plan.questions.is_empty(),
        "{plan:?}"
    );
}

#[test]
fn services_that_are_not_asked_for_any_more_go() {
    let mut world = switched();
    world.edit_spec(|spec| {
        spec.strategy.steps_mut();
        spec.traffic = None;
    });
    world.settle();
    let left = &world.seen.objects.services.all;
    let left: Vec<_> = left.iter().map(|s| s.base.name.as_str()).collect();
    assert_eq!(left, ["shop"]);
    assert_eq!(world.status().traffic, None);
    assert!(second(0) <= world.now);
}

#[test]
fn a_service_that_somebody_edits_or_deletes_leads_where_it_led() {
    type Change = fn(&mut World, &str);
    let changes: [Change; 2] = [remove, edit];
    for change in changes {
        for name in ["shop-stable", "shop-canary"] {
            let mut world = first_withdrawn();
            change(&mut world, name);
            while world
                .seen
                .objects
                .service(name)
                .and_then(ServiceFacts::revision)
                .is_none()
            {
                assert_eq!(
                    size(&world, "v2"),
                    0,
                    "pods come up before {name} leads anywhere"
                );
                world.step();
            }
            assert_eq!(selects(&world, name), world.revision("v1"));
            assert_eq!(size(&world, "v1"), 8);
            world.settle();
            assert_eq!(selects(&world, name), world.revision("v2"));
        }
    }
}

#[test]
fn pods_stay_while_the_services_that_led_to_them_are_missing() {
    let mut world = first_withdrawn();
    let refused = ["shop-stable", "shop-canary"].map(|name| {
        remove(&mut world, name);
        Refusal {
            what: Refused::Service(name.into()),
            message: "a policy denies it".into(),
            transient: true,
        }
    });
    world.seen.refusals = refused.into();
    world.settle();
    wait(&mut world, 600);
    world.settle();
    assert_eq!(size(&world, "v1"), 8);
    world.seen.refusals = Vec::new();
    world.settle();
    wait(&mut world, SETTLES_WITHIN + 1);
    world.settle();
    assert_eq!(selects(&world, "shop-stable"), world.revision("v2"));
    assert_eq!((size(&world, "v1"), size(&world, "v2")), (0, 8));
}

#[test]
fn ports_follow_also_where_the_revision_that_is_led_to_is_not_on_record() {
    let mut world = first_withdrawn();
    let services = &mut world.seen.objects.services.all;
    let from = services.iter_mut().find(|s| s.base.name == "shop").unwrap();
    from.ports = ports(&json!({"ports": [{"port": 8080}], "sessionAffinity": "None"})).into();
    let from = world.plan().writes.into_iter().find_map(|w| match w {
        Write::Select {
            base,
            revision,
            spec,
            ..
        } if base.name == "shop-stable" => Some((revision, spec["ports"][0]["port"].clone())),
        _ => None,
    });
    assert_eq!(from, Some((world.revision("v1"), json!(8080))));
}
