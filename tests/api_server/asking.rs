//! Live reads.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use stepgate::{
    api::sql::KeyRef,
    cluster::{
        Answer, Cluster as _, Key,
        kubernetes::{Kubernetes, index::Index, stored},
    },
    operator::{client::Clients, metrics::Metrics},
    plan::facts::{ConfigRef, JobLog, Question, RolloutFacts, Text},
};

use super::{
    fixture::{Home, config, eventually, minimal},
    following::Followed,
    writes::{adapter, deployment_manifest, revision_manifest},
};

async fn rollout(home: &Home) -> RolloutFacts {
    let made = home.create(&minimal("shop")).await.expect("a Rollout");
    stored::rollout(&made)
}

fn shop(home: &Home) -> Key {
    Key::Rollout {
        namespace: home.namespace.clone(),
        name: "shop".into(),
    }
}

async fn read_rollout(adapter: &Kubernetes, home: &Home) -> Option<RolloutFacts> {
    let question = Question::Rollout("shop".into());
    match adapter.ask(&shop(home), &question).await {
        Ok(Answer::Rollout(live)) => live.map(|live| live.facts),
        other => panic!("{other:?}"),
    }
}

/// A Deployment of somebody else.
fn foreign(name: &str, selector: Value, labels: Value) -> Deployment {
    let object = json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": selector,
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    });
    serde_json::from_value(object).expect("a Deployment")
}

#[tokio::test]
async fn deployments_that_would_share_pods_are_named() {
    let home = Home::new("overlaps").await;
    let rollout = rollout(&home).await;
    let labels = |labels: Value| json!({"matchLabels": labels});
    let others = [
        // Its selector selects the Rollout's pods.
        foreign(
            "same",
            labels(json!({"app": "shop"})),
            json!({"app": "shop"}),
        ),
        // The Rollout's selector selects its pods.
        foreign(
            "narrow",
            labels(json!({"app": "shop", "tier": "web"})),
            json!({"app": "shop", "tier": "web"}),
        ),
        foreign(
            "expressed",
            json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
            json!({"app": "else"}),
        ),
        // These two do not meet.
        foreign(
            "other",
            labels(json!({"app": "else"})),
            json!({"app": "else"}),
        ),
        foreign(
            "beside",
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["shop"]}]}),
            json!({"app": "else"}),
        ),
    ];
    let api = Api::<Deployment>::namespaced(home.client.clone(), &home.namespace);
    for other in &others {
        api.create(&PostParams::default(), other)
            .await
            .expect("a Deployment");
    }
    let labelled = |name: &str, rollout: &str| {
        let mut object = deployment_manifest(name);
        object["metadata"]["labels"]["stepgate.io/rollout"] = json!(rollout);
        serde_json::from_value(object).expect("a Deployment")
    };
    // One of its own, one that only says so, and one that a Rollout has left behind which is no
    // more.
    let own = [
        ("shop-r1", "shop"),
        ("posing", "shop"),
        ("former-r1", "former"),
    ];
    for own in own.map(|(name, rollout)| labelled(name, rollout)) {
        let made = api.create(&PostParams::default(), &own).await;
        made.expect("a Deployment");
    }
    let followed = Followed::new(&home, vec![home.namespace.clone()]).await;
    let (reads, writes) = (home.clients.reads.client(), home.clients.writes.client());
    let patience = Duration::from_secs(10);
    let adapter = Kubernetes::new(followed.index.clone(), reads, writes, patience);
    let spec = rollout.spec.clone().expect("a spec");
    let answer = adapter.ask(&shop(&home), &Question::Overlaps(spec)).await;
    let Ok(Answer::Overlaps(all)) = answer else {
        panic!("{answer:?}");
    };
    let mut names: Vec<_> = all.into_iter().map(|one| one.deployment).collect();
    names.sort();
    assert_eq!(
        names,
        ["expressed", "former-r1", "narrow", "posing", "same"]
    );
}

#[tokio::test]
async fn the_rollout_is_read_as_it_is() {
    let home = Home::new("rollout").await;
    let before = rollout(&home).await;
    let adapter = adapter(&home);
    let api = home.rollouts();
    let scaled = json!({"spec": {"replicas": 7}});
    let scaled = api
        .patch("shop", &PatchParams::default(), &Patch::Merge(&scaled))
        .await;
    let live = read_rollout(&adapter, &home).await.expect("the Rollout");
    assert_eq!(live.base.uid, before.base.uid);
    let version = scaled.expect("a scaled Rollout").metadata.resource_version;
    assert_eq!(Some(live.base.resource_version), version);
    assert_eq!(live.spec.expect("a spec").replicas, 7);

    let deleted = api.delete("shop", &DeleteParams::default()).await;
    deleted.expect("a deletion");
    eventually("the Rollout is gone", async || {
        let live = read_rollout(&adapter, &home).await;
        live.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn revisions_are_listed_live_page_by_page() {
    let home = Home::new("live").await;
    let api = Api::<ControllerRevision>::namespaced(home.client.clone(), &home.namespace);
    let own = |number: usize| {
        serde_json::from_value(revision_manifest(&format!("shop-{number}"))).expect("a revision")
    };
    // More than a page.
    for number in 0..101 {
        api.create(&PostParams::default(), &own(number))
            .await
            .expect("a revision");
    }
    let mut other = revision_manifest("shop-other");
    other["metadata"]["labels"]["stepgate.io/rollout"] = json!("other");
    // Another Rollout has made this one.
    let mut posing = revision_manifest("shop-posing");
    posing["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout", "name": "other", "uid": "u",
        "controller": true,
    }]);
    for foreign in [other, posing] {
        let foreign = serde_json::from_value(foreign).expect("a revision");
        let made = api.create(&PostParams::default(), &foreign).await;
        made.expect("a revision");
    }
    let answer = adapter(&home).ask(&shop(&home), &Question::Revisions).await;
    let Ok(Answer::Revisions(revisions)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(revisions.len(), 101);
    let question = Question::Template("shop-100".into());
    let answer = adapter(&home).ask(&shop(&home), &question).await;
    let Ok(Answer::Template(Some(template))) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(template.template["spec"]["newer"], json!([1, null]), "raw");
    let gone = Question::Template("gone".into());
    let answer = adapter(&home).ask(&shop(&home), &gone).await;
    assert!(matches!(answer, Ok(Answer::Template(None))), "{answer:?}");
}

fn refs() -> Vec<ConfigRef> {
    let config = |secret, name: &str| ConfigRef {
        secret,
        name: name.into(),
    };
    vec![
        config(false, "there"),
        config(false, "gone"),
        config(true, "gone"),
    ]
}

#[tokio::test]
async fn missing_configuration_is_named_and_what_may_not_be_read_is_not() {
    let home = Home::new("config").await;
    let there = ConfigMap {
        data: Some(BTreeMap::new()),
        ..serde_json::from_value(json!({"metadata": {"name": "there"}})).expect("a ConfigMap")
    };
    let api = Api::<ConfigMap>::namespaced(home.client.clone(), &home.namespace);
    api.create(&PostParams::default(), &there)
        .await
        .expect("a ConfigMap");
    let question = Question::Config(refs());
    let answer = adapter(&home).ask(&shop(&home), &question).await;
    let Ok(Answer::Config(found)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(found.missing, refs()[1..]);
    assert_eq!(found.unread, []);

    // Somebody who may read ConfigMaps and no Secrets.
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    let limited = limited(&home, "reader", &rules).await;
    // The authorizer learns of the Role a little later.
    eventually("the Role to count", async || {
        match limited.ask(&shop(&home), &question).await {
            Ok(Answer::Config(found)) => {
                (found.missing == refs()[1..2] && found.unread == refs()[2..]).then_some(())
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

/// The adapter of somebody who may do this in the namespace, and nothing else.
async fn limited(home: &Home, name: &str, rules: &Value) -> Kubernetes {
    let user = format!("{name}-of-{}", home.namespace);
    let role = json!({"metadata": {"name": name}, "rules": rules});
    let role: Role = serde_json::from_value(role).expect("a Role");
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
    }))
    .expect("a RoleBinding");
    let (namespace, params) = (home.namespace.as_str(), PostParams::default());
    let roles = Api::<Role>::namespaced(home.client.clone(), namespace);
    roles.create(&params, &role).await.expect("a Role");
    let bindings = Api::<RoleBinding>::namespaced(home.client.clone(), namespace);
    let bound = bindings.create(&params, &binding).await;
    bound.expect("a RoleBinding");
    let mut config = config().await;
    config.auth_info.impersonate = Some(user);
    let clients = Clients::new(config, &Metrics::new()).expect("clients");
    let index = Arc::new(Index::new(Box::new(|_| {})));
    let (reads, writes) = (clients.reads.client(), clients.writes.client());
    Kubernetes::new(index, reads, writes, Duration::from_secs(10))
}

#[tokio::test]
async fn what_the_operator_may_not_read_is_said_with_the_role_that_grants_it() {
    let home = Home::new("rights").await;
    let pod = json!({
        "metadata": {"name": "p", "labels": {"batch.kubernetes.io/job-name": "shop-r1-expand-1"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    });
    let pods = Api::<Pod>::namespaced(home.client.clone(), &home.namespace);
    let pod = serde_json::from_value(pod).expect("a pod");
    let made = pods.create(&PostParams::default(), &pod).await;
    made.expect("a pod");
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let limited = limited(&home, "lister", &rules).await;
    let log = Question::JobLog("shop-r1-expand-1".into());
    let words = eventually("the Role to count", async || {
        match limited.ask(&shop(&home), &log).await {
            Ok(Answer::JobLog(JobLog::Unread(words))) => {
                (!words.contains("cannot list")).then_some(words)
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
    let way = format!("kubectl logs -n {} job/shop-r1-expand-1", home.namespace);
    for part in ["deploy/roles/pod-logs.yaml", &way] {
        assert!(words.contains(part), "{words}");
    }
    let key = KeyRef {
        name: "sql".into(),
        key: "expand.sql".into(),
    };
    let texts = Question::Texts(vec![key.clone()]);
    match limited.ask(&shop(&home), &texts).await {
        Ok(Answer::Texts(texts)) => match &texts[&key] {
            Text::Unusable(words) => {
                assert!(words.contains("deploy/roles/config-maps.yaml"), "{words}");
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    match limited.ask(&shop(&home), &Question::Config(refs())).await {
        Ok(Answer::Config(found)) => assert_eq!((found.missing, found.unread), (vec![], refs())),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_log_that_is_not_there_is_said_and_fails_nothing() {
    let home = Home::new("log").await;
    let question = Question::JobLog("shop-r1-expand-1".into());
    let answer = adapter(&home).ask(&shop(&home), &question).await;
    let Ok(Answer::JobLog(JobLog::Unread(log))) = answer else {
        panic!("{answer:?}");
    };
    assert!(log.contains("no pod any more"), "{log}");
}
