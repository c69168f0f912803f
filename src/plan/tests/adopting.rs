//! A running Deployment that is moved in.

use std::{collections::BTreeMap, iter, sync::Arc};

use super::fixture::{World, condition, stalled};
use crate::{
    api::{Adopt, keys},
    plan::{
        adopting,
        draft::later,
        facts::{
            Adopted, Adoptee, Base, ChildFacts, DeploymentFacts, Overlap, Question, Refusal,
            Refused, SharerFacts, UserFacts,
        },
        intent::Write,
    },
};

/// A Deployment of somebody else that selects the same pods.
pub fn legacy() -> Overlap {
    Overlap {
        deployment: "legacy".into(),
        empty: false,
    }
}

fn web(replicas: i32) -> DeploymentFacts {
    let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
    let selector = serde_json::json!({"matchLabels": {"app": "shop"}});
    DeploymentFacts {
        child: ChildFacts {
            base: Base {
                name: "web".into(),
                uid: "u-web".into(),
                resource_version: "7".into(),
            },
            revision: adopting::revision_of("web"),
            owner_uid: None,
            epoch: None,
            replicas,
            possible: (replicas, replicas),
            current: true,
            status_replicas: replicas,
            available: replicas,
            adopted: Some(Adopted {
                generation: 3,
                writer: Some("kubectl".into()),
                epochs: Vec::new(),
            }),
            edited: false,
            template: None,
            problem: None,
            deleting: false,
        },
        selector: serde_json::from_value(selector).ok(),
        labels,
        owner: None,
        labelled: None,
        paused: false,
        rolling: false,
    }
}

/// A Rollout that adopts this Deployment and has done nothing yet.
fn adopts(web: &DeploymentFacts) -> World {
    let mut world = World::new();
    world.edit_spec(|spec| {
        spec.schema = None;
        spec.adopt = Some(Adopt {
            deployment: "web".into(),
        });
    });
    world.seen.answers.overlaps = Some(vec![Overlap {
        deployment: "web".into(),
        empty: web.child.replicas == 0,
    }]);
    world.seen.answers.revisions_live = true;
    world.seen.answers.deployment = Some(Some(Arc::new(web.clone())));
    world.seen.objects.adopted = Some(Adoptee::There(web.child.clone().into()));
    world
}

/// It is on record, and its children are there.
fn adopted(replicas: i32) -> World {
    let web = web(replicas);
    let mut world = adopts(&web);
    world.edit_spec(|spec| spec.replicas = replicas);
    world.record();
    world.seen.objects.children.push(web.child);
    world
}

fn child(world: &mut World) -> &mut ChildFacts {
    let mut children = world.seen.objects.children.iter_mut();
    children.find(|c| c.adopted.is_some()).unwrap()
}

#[test]
fn what_stands_in_the_way_is_said() {
    let refused = |change: &dyn Fn(&mut DeploymentFacts)| {
        let mut web = web(2);
        change(&mut web);
        let mut world = adopts(&web);
        world.edit_spec(|spec| spec.replicas = 2);
        let status = world.decide();
        assert!(status.stable.is_none() && status.release.is_none());
        (
            stalled(&status),
            condition(&status, "Stalled").message.clone(),
        )
    };
    for (words, change) in [
        (
            "it belongs to Application x",
            &(|web: &mut DeploymentFacts| web.owner = Some("Application x".into()))
                as &dyn Fn(&mut DeploymentFacts),
        ),
        ("stepgate.io/rollout=x, by which", &|web| {
            web.labelled = Some("x".into());
        }),
        ("kubectl rollout resume", &|web| web.paused = true),
        ("its pods lack app=shop", &|web| web.labels.clear()),
        ("its selector asks for tier=web", &|web| {
            let selector = serde_json::json!({"matchLabels": {"tier": "web"}});
            web.selector = serde_json::from_value(selector).ok();
        }),
        ("it has 3 replicas, and the Rollout asks for 2", &|web| {
            web.child.replicas = 3;
        }),
        ("it is being deleted", &|web| web.child.deleting = true),
    ] {
        let (reason, message) = refused(change);
        assert_eq!(reason, "AdoptImpossible");
        assert!(message.contains(words), "{message}");
    }
    let mut world = adopts(&web(2));
    world.seen.answers.deployment = Some(None);
    assert!(
        condition(&world.decide(), "Stalled")
            .message
            .contains("has none of that name")
    );
    let mut world = adopts(&web(2));
    world.seen.objects.rival = Some("other".into());
    assert!(
        condition(&world.decide(), "Stalled")
            .message
            .contains("Rollout other, which is older, already adopts it")
    );
    let mut rolling = web(2);
    rolling.rolling = true;
    let mut world = adopts(&rolling);
    world.edit_spec(|spec| spec.replicas = 2);
    let status = world.decide();
    assert_eq!(
        condition(&status, "Reconciling").reason,
        "WaitingForDeployment"
    );
}

#[test]
fn it_counts_as_stable_from_the_first_moment() {
    let mut world = adopts(&web(2));
    world.edit_spec(|spec| spec.replicas = 2);
    let status = world.decide();
    assert_eq!(status.stable.unwrap().revision, "deployment/web");
    assert!(!status.release.unwrap().first);
    let recorded = status.adopted.unwrap();
    assert_eq!((recorded.replicas, recorded.generation), (2, 3));
}

#[test]
fn a_deployment_at_zero_is_no_obstacle_to_a_first_deployment() {
    let status = adopts(&web(0)).decide();
    assert!(status.stable.is_none() && status.adopted.is_none());
    assert!(status.release.unwrap().first);
}

#[test]
fn no_pod_goes_before_it_could_be_given_back() {
    let mut world = adopted(4);
    let mut held = false;
    for _ in 0..10 {
        for write in world.plan().writes {
            match &write {
                Write::Finalize { finalizers, .. } => {
                    held = finalizers.iter().any(|one| one == keys::ADOPTING);
                }
                Write::Resize { from, to, .. } => assert!(held || from == to, "{write:?}"),
                Write::Scale { base, .. } | Write::Fence { base, .. } => {
                    assert_ne!(base.name, "web", "by apply alone");
                }
                _ => {}
            }
            world.apply(write);
        }
    }
    assert!(held);
}

#[test]
fn what_somebody_else_writes_is_not_set_back() {
    let mut world = adopted(4).at_stage("step");
    for _ in 0..5 {
        world.step();
    }
    let target = child(&mut world).replicas;
    let generation = world.status().adopted.as_ref().unwrap().generation;
    let changed = child(&mut world);
    changed.epoch = None;
    changed.replicas = 1;
    changed.possible = (1, 1);
    changed.adopted.as_mut().unwrap().generation = generation + 2;
    changed.adopted.as_mut().unwrap().writer = Some("argocd-controller".into());
    let plan = world.plan();
    let written = |w: &Write| w.base().is_some_and(|base| base.name == "web");
    assert!(!plan.writes.iter().any(written), "{:?}", plan.writes);
    let status = world.decide();
    assert_eq!(stalled(&status), "AdoptedContested");
    let message = &condition(&status, "Stalled").message;
    assert!(message.contains("argocd-controller has set"), "{message}");
    assert!(
        message.contains(&format!("--replicas={target}")),
        "{message}"
    );
    // Whoever sets what is asked for ends it.
    let changed = child(&mut world);
    changed.replicas = target;
    changed.possible = (target, target);
    let status = world.decide();
    assert_eq!(status.adopted.unwrap().generation, generation + 2);
}

#[test]
fn a_deployment_that_is_gone_leaves_a_first_deployment() {
    let mut world = adopted(4).at_stage("step");
    world.seen.objects.children.retain(|c| c.adopted.is_none());
    world.seen.objects.adopted = Some(Adoptee::Gone);
    world.seen.answers.deployment = None;
    assert_eq!(
        world.plan().questions,
        [Question::Deployment("web".into())],
        "a cache that lags proves nothing"
    );
    world.seen.answers.deployment = Some(None);
    let status = world.decide();
    assert!(status.stable.is_none() && status.release.unwrap().first);
}

/// The Deployment carries the label by which own ones are told: the caches do not show it.
fn label(world: &mut World) {
    let mut labelled = web(4);
    labelled.child = child(world).clone();
    labelled.labelled = Some("other".into());
    world.seen.objects.children.retain(|c| c.adopted.is_none());
    world.seen.objects.adopted = Some(Adoptee::Gone);
    world.seen.answers.deployment = Some(Some(Arc::new(labelled)));
}

#[test]
fn one_that_was_given_the_label_of_own_ones_is_told_and_nothing_moves() {
    let mut world = adopted(4).at_stage("step");
    label(&mut world);
    let plan = world.plan();
    let Some(Write::RecordStatus { status, .. }) = plan.writes.first() else {
        panic!("{:?}", plan.writes);
    };
    assert_eq!(plan.writes.len(), 1, "{:?}", plan.writes);
    assert_eq!(stalled(status), "AdoptedLabelled");
    let message = &condition(status, "Stalled").message;
    let way = "kubectl label -n ns deployment web stepgate.io/rollout-";
    assert!(message.contains(way), "{message}");
    assert!(
        plan.wake_at.is_some(),
        "nobody tells when the label is gone"
    );
    assert_eq!(status.stable.as_ref().unwrap().revision, "deployment/web");
}

#[test]
fn one_that_was_given_the_label_of_own_ones_gets_its_replicas_back_all_the_same() {
    let mut world = deleted();
    label(&mut world);
    let live = world.seen.answers.deployment.take();
    let asked = [Question::Deployment("web".into())];
    assert_eq!(world.plan().questions, asked, "a cache proves nothing");
    world.seen.answers.deployment = live;
    let writes = world.plan().writes;
    assert!(
        matches!(writes.as_slice(), [Write::Resize { from: 2, to: 4, .. }]),
        "{writes:?}"
    );
    let mut back = web(4);
    back.child.available = 1;
    world.seen.answers.deployment = Some(Some(Arc::new(back.clone())));
    let plan = world.plan();
    assert!(plan.writes.is_empty(), "its pods start");
    assert!(
        plan.wake_at.unwrap() <= later(world.now, 2),
        "it is not watched"
    );
    back.child.available = 4;
    world.seen.answers.deployment = Some(Some(Arc::new(back)));
    let gone = world.plan().writes;
    assert!(
        matches!(gone.as_slice(), [Write::Finalize { .. }]),
        "{gone:?}"
    );
    world.seen.answers.deployment = Some(None);
    let gone = world.plan().writes;
    assert!(
        matches!(gone.as_slice(), [Write::Finalize { .. }]),
        "{gone:?}"
    );
}

#[test]
fn whoever_calls_himself_a_later_leader_stops_no_fence() {
    let mut world = adopted(4).at_stage("step");
    let huge = i64::MAX - 1;
    let forged = child(&mut world);
    forged.epoch = Some(huge);
    forged.adopted.as_mut().unwrap().epochs = vec![huge];
    // He may be one.
    assert!(world.plan().writes.is_empty());
    // The Lease says that he is none.
    world.seen.outranks = huge;
    let fences = world.plan().writes;
    let is_fence = |w: &Write| matches!(w, Write::Resize { base, epoch: 1, from, to, .. } if base.name == "web" && from == to);
    assert!(fences.iter().any(is_fence), "{fences:?}");
    // He owns the replicas as before, beside this leadership.
    child(&mut world).adopted.as_mut().unwrap().epochs.push(1);
    let next = world.plan().writes;
    assert!(!next.iter().any(is_fence), "{next:?}");
}

#[test]
fn the_floor_keeps_nobody_from_going_back_to_an_adopted_deployment() {
    let web = web(4);
    let mut world = adopts(&web);
    world.edit_spec(|spec| {
        spec.replicas = 4;
        let schema = serde_json::json!({
            "database": "db", "version": 7, "expand": {"command": ["migrate"]},
        });
        spec.schema = serde_json::from_value(schema).ok();
    });
    world.record();
    world.seen.objects.children.push(web.child);
    let mut world = world.at_step(2);
    assert_eq!(child(&mut world).replicas, 0);
    // It served at that floor: while it is there, no contract runs.
    world.database_mut().undo_floor = Some(5);
    let release = world.status().release.clone().unwrap();
    world.command("undo", &format!("{} now", release.revision));
    world.record();
    for _ in 0..10 {
        world.step();
    }
    assert_eq!(child(&mut world).replicas, 4);
    assert!(world.status().release.is_none());
}

#[test]
fn another_of_its_name_is_not_the_one_that_was_adopted() {
    let mut world = adopted(4).at_stage("step");
    let mut other = web(2);
    other.child.base.uid = "u-other".into();
    other.child.adopted.as_mut().unwrap().generation = 1;
    world.seen.objects.children.retain(|c| c.adopted.is_none());
    world.seen.objects.adopted = Some(Adoptee::There(other.child.clone().into()));
    adopting::join(&mut world.seen.objects);
    let children = &world.seen.objects.children;
    assert!(
        children.iter().all(|c| c.adopted.is_none()),
        "it is none of them"
    );
    world.seen.answers.deployment = None;
    let asked = [Question::Deployment("web".into())];
    assert_eq!(world.plan().questions, asked);
    world.seen.answers.deployment = Some(Some(Arc::new(other.clone())));
    let status = world.decide();
    assert!(status.stable.is_none() && status.release.unwrap().first);
    // The caches are behind: it is still there.
    world.seen.answers.deployment = Some(Some(Arc::new(web(4))));
    let status = world.decide();
    assert_eq!(status.stable.unwrap().revision, "deployment/web");
}

#[test]
fn who_made_it_anew_after_the_move_is_told() {
    let mut world = World::stable("v1");
    world.edit_spec(|spec| {
        spec.adopt = Some(Adopt {
            deployment: "web".into(),
        });
    });
    world.seen.objects.adopted = Some(Adoptee::There(web(3).child.into()));
    adopting::join(&mut world.seen.objects);
    let status = world.decide();
    assert_eq!(stalled(&status), "AdoptedContested");
    let message = &condition(&status, "Stalled").message;
    assert!(message.contains("kubectl has set the replicas of Deployment web to 3"));
}

#[test]
fn those_on_its_database_learn_of_it() {
    let mut world = adopted(4);
    let status = Arc::make_mut(&mut world.seen.objects.rollout.status);
    status.stable.as_mut().unwrap().revision = "r1".into();
    let rollout = &world.seen.objects.rollout;
    let sharer = SharerFacts::of(rollout, iter::empty(), iter::empty(), iter::empty());
    assert_eq!(sharer.adopted.as_deref(), Some("web"));
    let user = UserFacts::of_adopted("shop", &rollout.status).unwrap();
    assert_eq!(
        (user.version, user.highest, user.serves),
        (None, None, true)
    );
}

/// It has 2 of 4 replicas, and the Rollout is being deleted.
fn deleted() -> World {
    let mut world = adopted(4).at_stage("step");
    let lowered = child(&mut world);
    lowered.replicas = 2;
    lowered.possible = (2, 2);
    lowered.available = 2;
    let there = Adoptee::There(lowered.clone().into());
    world.seen.objects.adopted = Some(there);
    world.seen.objects.rollout.deleted = Some(world.now);
    world.seen.objects.rollout.finalizers = vec![keys::ADOPTING.into(), "other".into()];
    world
}

#[test]
fn a_deletion_ends_though_the_scaling_is_refused() {
    let mut world = deleted();
    world.seen.refusals.push(Refusal {
        what: Refused::Scale,
        message: "a webhook says no".into(),
        transient: false,
    });
    let soon = world.plan();
    assert!(soon.writes.is_empty(), "{:?}", soon.writes);
    let again = soon.wake_at.expect("it is tried again");
    assert!(again <= later(world.now, 10), "{again}");
    let limit = world.spec.strategy.progress_deadline_seconds;
    world.now = later(world.now, limit);
    let end = world.plan();
    assert!(
        matches!(end.writes.as_slice(), [Write::Finalize { .. }]),
        "{:?}",
        end.writes
    );
    let [told] = end.events.as_slice() else {
        panic!("{:?}", end.events);
    };
    assert!(told.warning, "{told:?}");
    assert!(
        told.message.contains("keeps 2 of 4 replicas")
            && told.message.contains("a webhook says no"),
        "{told:?}"
    );
}

#[test]
fn who_deletes_a_rollout_whose_deployment_somebody_scaled_is_told() {
    let mut world = deleted();
    let scaled = child(&mut world);
    (scaled.replicas, scaled.possible, scaled.available) = (0, (0, 0), 0);
    scaled.epoch = None;
    scaled.adopted.as_mut().unwrap().generation += 2;
    let there = Adoptee::There(scaled.clone().into());
    world.seen.objects.adopted = Some(there);
    let end = world.plan();
    let [told] = end.events.as_slice() else {
        panic!("{:?} {:?}", end.events, end.writes);
    };
    assert!(told.warning, "{told:?}");
    assert!(
        told.message.contains("keeps 0 of 4 replicas") && told.message.contains("kubectl scale"),
        "{told:?}"
    );
}

#[test]
fn nothing_is_timed_out_by_an_operator_that_was_away() {
    let mut world = deleted();
    let limit = world.spec.strategy.progress_deadline_seconds;
    world.now = later(world.now, 10 * limit);
    world.seen.trusted_since = world.now;
    let mut writes = world.plan().writes;
    assert!(
        matches!(writes.as_slice(), [Write::Resize { to: 4, .. }]),
        "{writes:?}"
    );
    world.apply(writes.remove(0));
    let lacking = child(&mut world);
    lacking.available = 0;
    let there = Adoptee::There(lacking.clone().into());
    world.seen.objects.adopted = Some(there);
    assert!(world.plan().writes.is_empty(), "its pods start");
}

#[test]
fn who_deletes_the_rollout_gets_its_replicas_back() {
    let mut world = deleted();
    let back = world.plan().writes;
    assert!(
        matches!(back.as_slice(), [Write::Resize { from: 2, to: 4, .. }]),
        "{back:?}"
    );
    back.into_iter().for_each(|write| world.apply(write));
    let gone = world.plan().writes;
    assert!(
        matches!(gone.as_slice(), [Write::Finalize { finalizers, .. }] if *finalizers == ["other"]),
        "{gone:?}"
    );
}
