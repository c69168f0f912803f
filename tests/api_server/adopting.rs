//! A Deployment of somebody else that is moved in: what is written of it, and how that is seen.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use stepgate::{
    cluster::{
        Answer, Cluster as _, Key, WriteError, Written,
        kubernetes::{Kubernetes, facts, stored},
    },
    plan::{
        facts::{Base, ChildFacts, Question},
        intent::Write,
    },
};

use super::{
    fixture::{Home, eventually, is_settled, minimal},
    writes::adapter,
};

fn web() -> Deployment {
    let labels = json!({"app": "shop"});
    let object = json!({
        "metadata": {"name": "web", "labels": {"team": "one"}, "annotations": {"note": "mine"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    });
    serde_json::from_value(object).expect("a Deployment")
}

fn api(home: &Home) -> Api<Deployment> {
    Api::namespaced(home.client.clone(), &home.namespace)
}

/// The Deployment once its controller has nothing left to write about it.
async fn settled(home: &Home) -> Deployment {
    eventually("the Deployment's controller", async || {
        let object = api(home).get("web").await.expect("the Deployment");
        is_settled(&object).then_some(object)
    })
    .await
}

fn resize(base: &Base, epoch: i64, from: i32, to: i32, settles: bool) -> Write {
    Write::Resize {
        base: base.clone(),
        epoch,
        from,
        to,
        settles,
    }
}

async fn written(adapter: &Kubernetes, home: &Home, write: Write) -> ChildFacts {
    match adapter.write(&home.namespace, &write).await {
        Ok(Written::Child(child)) => child,
        other => panic!("{write:?}: {other:?}"),
    }
}

#[tokio::test]
async fn only_its_replicas_are_written_and_who_wrote_them_is_seen() {
    let home = Home::new("adopted").await;
    let adapter = adapter(&home);
    let made = api(&home).create(&PostParams::default(), &web()).await;
    made.expect("a Deployment");
    let before = settled(&home).await;
    let first = facts::foreign(&before);
    assert_eq!((first.epoch, first.replicas), (None, 3));

    // A fence changes the version, and nothing that its owner wrote.
    let fenced = written(&adapter, &home, resize(&first.base, 5, 3, 3, false)).await;
    assert_eq!((fenced.epoch, fenced.replicas), (Some(5), 3));
    assert_ne!(fenced.base.resource_version, first.base.resource_version);
    let late = resize(&first.base, 4, 3, 1, false);
    let late = adapter.write(&home.namespace, &late).await;
    assert!(matches!(late, Err(WriteError::Conflict { .. })), "{late:?}");
    let again = written(&adapter, &home, resize(&fenced.base, 5, 3, 3, false)).await;
    assert_eq!(again.base.resource_version, fenced.base.resource_version);
    // What settles always changes something.
    let settles = written(&adapter, &home, resize(&fenced.base, 5, 3, 3, true)).await;
    assert_ne!(settles.base.resource_version, fenced.base.resource_version);
    // A later leader outranks it.
    let base = facts::foreign(&settled(&home).await).base;
    let later = written(&adapter, &home, resize(&base, 6, 3, 3, false)).await;
    assert_eq!(later.epoch, Some(6));
    let base = facts::foreign(&settled(&home).await).base;
    let scaled = written(&adapter, &home, resize(&base, 6, 3, 1, false)).await;
    assert_eq!((scaled.epoch, scaled.replicas), (Some(6), 1));

    let after = settled(&home).await;
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert_eq!(after.metadata.owner_references, None);
    let note = |d: &Deployment| d.metadata.annotations.clone();
    assert_eq!(note(&after), note(&before));
    let template = |d: &Deployment| d.spec.clone().map(|spec| spec.template);
    assert_eq!(template(&after), template(&before));

    // Whoever agrees with the number owns it beside the leader, by whatever name.
    let huge = i64::MAX - 1;
    let by = PatchParams::apply(&format!("stepgate-{huge}"));
    let agreed = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}});
    let applied = api(&home).patch("web", &by, &Patch::Apply(&agreed)).await;
    applied.expect("an answer");
    let base = facts::foreign(&settled(&home).await).base;
    let fenced = written(&adapter, &home, resize(&base, 7, 1, 1, false)).await;
    assert_eq!(fenced.epoch, Some(huge));
    assert!(fenced.is_fenced_by(7), "{:?}", fenced.adopted);

    // Somebody else writes another number: that is seen, with his name.
    let replicas = json!({"spec": {"replicas": 3}});
    let by = PatchParams::apply("argocd-controller");
    let patched = api(&home).patch("web", &by, &Patch::Merge(&replicas)).await;
    let seen = facts::foreign(&patched.expect("an answer"));
    assert_eq!(seen.epoch, None);
    let adopted = seen.adopted.expect("somebody else's");
    assert_eq!(adopted.writer.as_deref(), Some("argocd-controller"));

    // What is gone is not made anew.
    let base = facts::foreign(&settled(&home).await).base;
    let gone = api(&home).delete("web", &DeleteParams::background()).await;
    gone.expect("an answer");
    eventually("its end", async || {
        api(&home)
            .get_opt("web")
            .await
            .expect("an answer")
            .is_none()
            .then_some(())
    })
    .await;
    let write = adapter
        .write(&home.namespace, &resize(&base, 6, 3, 1, false))
        .await;
    assert!(
        matches!(write, Err(WriteError::Conflict { .. })),
        "{write:?}"
    );
    assert!(
        api(&home)
            .get_opt("web")
            .await
            .expect("an answer")
            .is_none()
    );
}

#[tokio::test]
async fn what_is_asked_before_it_is_adopted_is_read_live() {
    let home = Home::new("adoptable").await;
    let adapter = adapter(&home);
    let mut paused = web();
    paused.spec.as_mut().expect("a spec").paused = Some(true);
    let made = api(&home).create(&PostParams::default(), &paused).await;
    made.expect("a Deployment");
    let key = Key::Rollout {
        namespace: home.namespace.clone(),
        name: "shop".into(),
    };
    let ask = |name: &str| {
        let question = Question::Deployment(name.into());
        let (adapter, key) = (&adapter, &key);
        async move { adapter.ask(key, &question).await }
    };
    let Ok(Answer::Deployment(Some(found))) = ask("web").await else {
        panic!("no Deployment");
    };
    assert!(found.paused && found.owner.is_none());
    assert_eq!(found.labels["app"], "shop");
    let selector = found.selector.as_ref().expect("a selector");
    assert_eq!(selector.to_string(), "app=shop");
    assert!(matches!(ask("none").await, Ok(Answer::Deployment(None))));
}

#[tokio::test]
async fn a_rollout_is_held_by_a_finalizer_and_its_deployment_stays_the_same() {
    let home = Home::new("adopting").await;
    let adapter = adapter(&home);
    let mut rollout = minimal("shop");
    rollout["spec"]["adopt"] = json!({"deployment": "web"});
    let made = home.create(&rollout).await.expect("a Rollout");
    let held = Write::Finalize {
        base: stored::rollout(&made).base,
        finalizers: vec!["stepgate.io/adopting".into()],
    };
    let Ok(Written::Rollout(facts)) = adapter.write(&home.namespace, &held).await else {
        panic!("no Rollout");
    };
    assert_eq!(facts.finalizers, ["stepgate.io/adopting"]);
    let old = adapter.write(&home.namespace, &held).await;
    assert!(matches!(old, Err(WriteError::Conflict { .. })), "{old:?}");

    let patch = async |change: serde_json::Value| {
        let merge = Patch::Merge(change);
        home.rollouts()
            .patch("shop", &PatchParams::default(), &merge)
            .await
    };
    let other = patch(json!({"spec": {"adopt": {"deployment": "other"}}})).await;
    let error = other.expect_err("another Deployment").to_string();
    assert!(
        error.contains("spec.adopt.deployment cannot be changed"),
        "{error}"
    );
    let traffic = json!({"spec": {
        "strategy": {"type": "BlueGreen"},
        "traffic": {"portsFrom": {"name": "shop"}, "stableService": "a", "canaryService": "b"},
    }});
    let error = patch(traffic).await.expect_err("with traffic").to_string();
    assert!(
        error.contains("spec.adopt and spec.traffic cannot be combined"),
        "{error}"
    );
    patch(json!({"spec": {"adopt": null}}))
        .await
        .expect("it may be removed");

    home.rollouts()
        .delete("shop", &DeleteParams::default())
        .await
        .expect("an answer");
    let going = home.rollouts().get("shop").await.expect("it is held");
    let going = stored::rollout(&going);
    assert!(going.is_deleting());
    let free = Write::Finalize {
        base: going.base,
        finalizers: Vec::new(),
    };
    let freed = adapter.write(&home.namespace, &free).await;
    assert!(matches!(freed, Ok(Written::Rollout(_))), "{freed:?}");
    assert!(
        home.rollouts()
            .get_opt("shop")
            .await
            .expect("an answer")
            .is_none()
    );
}
