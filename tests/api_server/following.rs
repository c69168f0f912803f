//! The index follows what happens, and nothing foreign or malformed disturbs it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    batch::v1::Job,
    core::v1::{Pod, Service},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use stepgate::{
    cluster::{
        Answer, Cluster as _, Key,
        kubernetes::{
            index::{Index, database_key, rollout_key},
            watch::Watches,
        },
    },
    plan::{
        facts::{Objects, Question, Reach, Services},
        intent::{Kind, Write},
    },
};
use tokio::task::JoinHandle;

use super::{
    fixture::{Home, Relaxed, eventually, minimal},
    writes::{adapter, database_manifest, deployment_manifest, job_manifest, revision_manifest},
};

/// An index that follows one namespace, or all, and the keys it told.
pub struct Followed {
    pub index: Arc<Index>,
    told: Arc<Mutex<BTreeSet<Key>>>,
    watching: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Followed {
    pub async fn new(home: &Home, namespaces: Vec<String>) -> Self {
        let told = Arc::new(Mutex::new(BTreeSet::new()));
        let sink = told.clone();
        let index = Arc::new(Index::new(Box::new(move |key| {
            sink.lock().expect("not poisoned").insert(key);
        })));
        let watches = Watches::new(index.clone(), home.clients.reads.client(), namespaces);
        let mut synced = watches.synced();
        let watching = tokio::spawn(async move { watches.run().await.expect("no panic") });
        assert!(synced.wait().await);
        Self {
            index,
            told,
            watching,
        }
    }

    fn take_told(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.told.lock().expect("not poisoned"))
    }

    /// Waits until what is held of a Rollout satisfies this.
    async fn until(&self, home: &Home, what: &str, so: impl Fn(&Objects) -> bool) -> Objects {
        eventually(what, async || {
            self.index.rollout(&home.namespace, "shop").filter(&so)
        })
        .await
    }
}

async fn make<K>(home: &Home, manifest: Value) -> K
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let api = Api::<K>::namespaced(home.client.clone(), &home.namespace);
    let object = serde_json::from_value(manifest).expect("an object");
    api.create(&PostParams::default(), &object)
        .await
        .expect("created")
}

fn pod_manifest(name: &str, labels: &Value) -> Value {
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": "app:1"}],
        },
    })
}

fn with_database(name: &str) -> Value {
    let mut rollout = minimal(name);
    rollout["spec"]["schema"] = json!({"database": "db", "expand": {"command": ["a"]}});
    rollout
}

#[tokio::test]
async fn everything_of_a_rollout_is_found_and_lost_again() {
    let home = Home::new("follow").await;
    let namespace = home.namespace.clone();
    let followed = Followed::new(&home, vec![namespace.clone()]).await;
    assert!(followed.index.rollout(&namespace, "shop").is_none());

    home.create(&with_database("shop"))
        .await
        .expect("a Rollout");
    make::<ControllerRevision>(&home, revision_manifest("shop-r1")).await;
    let mut deployment = deployment_manifest("shop-r1");
    deployment["spec"]["replicas"] = json!(1);
    make::<Deployment>(&home, deployment).await;
    make::<Job>(&home, job_manifest("shop-r1-expand-1")).await;
    let object = serde_json::from_value(database_manifest("db")).expect("an object");
    let databases = home.databases();
    databases
        .create(&PostParams::default(), &object)
        .await
        .expect("a DatabaseSchema");
    // Nobody's business, whatever one of them says.
    make::<Pod>(&home, pod_manifest("other", &json!({"app": "shop"}))).await;
    let labels = json!({"stepgate.io/rollout": "shop", "stepgate.io/revision": "r1"});
    make::<Pod>(&home, pod_manifest("shop-r1-posing", &labels)).await;

    let whole = followed
        .until(&home, "all of it", |c| {
            c.revisions.len() == 1
                && c.children.len() == 1
                && c.jobs.len() == 1
                && c.pods.len() == 1
                && c.database.is_some()
        })
        .await;
    let pod = &whole.pods[0].name;
    assert!(
        pod.starts_with("shop-r1-") && pod != "shop-r1-posing",
        "{pod}"
    );
    let told = followed.take_told();
    assert!(told.contains(&rollout_key(&namespace, "shop")), "{told:?}");
    assert!(told.contains(&database_key(&namespace, "db")), "{told:?}");
    let database = followed
        .index
        .database(&namespace, "db")
        .expect("a database");
    assert_eq!(database.jobs.len(), 1);
    assert_eq!(database.rollouts.keys().collect::<Vec<_>>(), ["shop"]);

    let params = DeleteParams::background();
    let jobs = Api::<Job>::namespaced(home.client.clone(), &namespace);
    jobs.delete("shop-r1-expand-1", &params)
        .await
        .expect("deleted");
    databases.delete("db", &params).await.expect("deleted");
    // A label that is taken off counts as a deletion.
    let deployments = Api::<Deployment>::namespaced(home.client.clone(), &namespace);
    let unlabelled = json!({"metadata": {"labels": {"stepgate.io/rollout": null}},
                            "spec": {"replicas": 0}});
    let merge = Patch::Merge(&unlabelled);
    deployments
        .patch("shop-r1", &PatchParams::default(), &merge)
        .await
        .expect("patched");
    followed
        .until(&home, "all but the revision to go", |c| {
            c.revisions.len() == 1
                && c.children.is_empty()
                && c.jobs.is_empty()
                && c.pods.is_empty()
                && c.database.is_none()
        })
        .await;
    home.rollouts()
        .delete("shop", &params)
        .await
        .expect("deleted");
    eventually("the Rollout to go", async || {
        followed
            .index
            .rollout(&namespace, "shop")
            .is_none()
            .then_some(())
    })
    .await;
}

/// The Job of a test of a step belongs to no database.
#[tokio::test]
async fn the_job_of_a_test_is_found_read_let_run_and_lost_again() {
    let home = Home::new("test-job").await;
    let namespace = home.namespace.clone();
    let followed = Followed::new(&home, vec![namespace.clone()]).await;
    home.create(&minimal("shop")).await.expect("a Rollout");
    let mut manifest = job_manifest("shop-r1-tabcde-1");
    manifest["metadata"]["labels"] = json!({
        "stepgate.io/rollout": "shop", "stepgate.io/revision": "r1",
        "stepgate.io/test": "smoke", "stepgate.io/step": "canary", "stepgate.io/epoch": "3",
    });
    make::<Job>(&home, manifest).await;
    let seen = followed
        .until(&home, "its Job", |c| c.jobs.len() == 1)
        .await;
    let job = &seen.jobs[0];
    assert!(job.test && job.suspended && job.epoch == Some(3), "{job:?}");
    let told = followed.take_told();
    let databases = told
        .iter()
        .filter(|key| matches!(key, Key::Database { .. }));
    assert_eq!(databases.count(), 0, "{told:?}");

    let adapter = adapter(&home);
    let read = async |name: &str| {
        let question = Question::Job(name.into());
        match adapter
            .ask(&rollout_key(&namespace, "shop"), &question)
            .await
        {
            Ok(Answer::Job(job)) => job,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read("none").await.map(|job| job.base), None);
    let live = read("shop-r1-tabcde-1").await.expect("the Job");
    let base = live.base.clone();
    let released = adapter.write(&namespace, &Write::ReleaseJob { base }).await;
    assert!(released.is_ok(), "{released:?}");
    let late = Write::Delete {
        kind: Kind::Job,
        base: live.base.clone(),
    };
    let late = adapter.write(&namespace, &late).await;
    assert!(late.is_err(), "it rests on an old version: {late:?}");
    eventually("its Job to go", async || {
        let base = read("shop-r1-tabcde-1").await?.base;
        let kind = Kind::Job;
        let gone = adapter
            .write(&namespace, &Write::Delete { kind, base })
            .await;
        gone.is_ok().then_some(())
    })
    .await;
    followed.until(&home, "no Job", |c| c.jobs.is_empty()).await;
}

#[tokio::test]
async fn a_database_tells_every_rollout_that_names_it() {
    let home = Home::new("sharers").await;
    let namespace = home.namespace.clone();
    for name in ["shop", "mail"] {
        home.create(&with_database(name)).await.expect("a Rollout");
    }
    home.create(&minimal("other")).await.expect("a Rollout");
    let followed = Followed::new(&home, vec![namespace.clone()]).await;
    followed.take_told();
    let object = serde_json::from_value(database_manifest("db")).expect("an object");
    let databases = home.databases();
    databases
        .create(&PostParams::default(), &object)
        .await
        .expect("a DatabaseSchema");
    let wanted = BTreeSet::from([
        database_key(&namespace, "db"),
        rollout_key(&namespace, "mail"),
        rollout_key(&namespace, "shop"),
    ]);
    let mut told = BTreeSet::new();
    eventually("the sharers to be told", async || {
        told.extend(followed.take_told());
        (told == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rollouts_that_overlap_know_of_each_other() {
    let home = Home::new("overlap").await;
    let namespace = home.namespace.clone();
    let followed = Followed::new(&home, vec![namespace.clone()]).await;
    home.create(&minimal("shop")).await.expect("a Rollout");
    home.create(&minimal("other")).await.expect("a Rollout");
    let alone = followed.until(&home, "the Rollout", |_| true).await;
    assert_eq!(alone.neighbours, Vec::<String>::new());
    // It selects more narrowly, but its pods are selected by the first one.
    let mut narrow = minimal("narrow");
    let labels = json!({"app": "shop", "tier": "web"});
    narrow["spec"]["template"]["metadata"]["labels"] = labels.clone();
    narrow["spec"]["selector"] = json!({"matchLabels": labels});
    // The API server's times are whole seconds.
    let clock = home.rollouts().get("shop").await.expect("the Rollout");
    let created = clock.metadata.creation_timestamp.expect("a time").0;
    eventually("another second", async || {
        (jiff::Timestamp::now().as_second() > created.as_second()).then_some(())
    })
    .await;
    home.create(&narrow).await.expect("a Rollout");
    // The newcomer yields; what was there before goes on.
    let of = |name: &'static str| {
        let index = followed.index.clone();
        let namespace = namespace.clone();
        move || Some(index.rollout(&namespace, name)?.neighbours)
    };
    let (shop, narrow) = (of("shop"), of("narrow"));
    eventually("the neighbour", async || {
        narrow().filter(|older| older == &["shop"])
    })
    .await;
    assert_eq!(shop(), Some(Vec::new()));
    followed.take_told();
    home.rollouts()
        .delete("shop", &DeleteParams::default())
        .await
        .expect("deleted");
    eventually("the neighbour to go", async || {
        narrow().filter(Vec::is_empty)
    })
    .await;
    let told = followed.take_told();
    assert!(
        told.contains(&rollout_key(&namespace, "narrow")),
        "{told:?}"
    );
}

#[tokio::test]
async fn one_index_follows_many_namespaces_or_all() {
    let (a, b) = (Home::new("many-a").await, Home::new("many-b").await);
    let elsewhere = Home::new("many-c").await;
    for home in [&a, &b, &elsewhere] {
        home.create(&minimal("shop")).await.expect("a Rollout");
    }
    let some = Followed::new(&a, vec![a.namespace.clone(), b.namespace.clone()]).await;
    let all = Followed::new(&a, Vec::new()).await;
    for home in [&a, &b, &elsewhere] {
        assert!(all.index.rollout(&home.namespace, "shop").is_some());
    }
    let known = some.index.keys();
    assert_eq!(known.len(), 2, "{known:?}");
    assert!(some.index.rollout(&elsewhere.namespace, "shop").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_rollout_is_told_apart_and_stops_nobody() {
    let home = Home::new("malformed").await;
    let namespace = home.namespace.clone();
    home.create(&minimal("shop")).await.expect("a Rollout");
    let followed = Followed::new(&home, vec![namespace.clone()]).await;
    let wrong = {
        let _relaxed = Relaxed::new(&home).await;
        let mut wrong = minimal("wrong");
        wrong["spec"]["paused"] = json!("yes");
        eventually("the relaxed definition", async || {
            home.create(&wrong).await.ok()
        })
        .await;
        let read = eventually("the malformed Rollout", async || {
            followed.index.rollout(&namespace, "wrong")
        })
        .await;
        // Others are followed as before.
        let patch = json!({"spec": {"replicas": 4}});
        let params = PatchParams::default();
        home.rollouts()
            .patch("shop", &params, &Patch::Merge(&patch))
            .await
            .expect("patched");
        followed
            .until(&home, "the well-formed one", |c| {
                c.rollout.spec.as_ref().is_ok_and(|s| s.replicas == 4)
            })
            .await;
        home.rollouts()
            .delete("wrong", &DeleteParams::default())
            .await
            .expect("deleted");
        read
    };
    let error = wrong.rollout.spec.expect_err("it cannot be read");
    assert!(error.starts_with("paused: invalid type"), "{error}");
}

#[tokio::test]
async fn services_are_watched_where_a_rollout_asks_for_them_and_nowhere_else() {
    let home = Home::new("services").await;
    let followed = Followed::new(&home, Vec::new()).await;
    let service = |name: &str, selector: &str| {
        json!({
            "metadata": {"name": name},
            "spec": {"selector": {"app": selector}, "ports": [{"port": 80}]},
        })
    };
    make::<Service>(&home, service("shop", "shop")).await;
    home.create(&minimal("shop")).await.expect("created");
    let quiet = followed.until(&home, "the Rollout", |_| true).await;
    assert_eq!(quiet.services, Services::default(), "nobody asks for any");
    let traffic = json!({
        "portsFrom": {"name": "shop"},
        "stableService": "shop-stable",
        "canaryService": "shop-canary",
    });
    let asks = json!({"spec": {"strategy": {"type": "BlueGreen"}, "traffic": traffic}});
    let params = PatchParams::default();
    home.rollouts()
        .patch("shop", &params, &Patch::Merge(asks))
        .await
        .expect("patched");
    let listed =
        |objects: &Objects| objects.services.unread.is_none() && !objects.services.all.is_empty();
    let seen = followed.until(&home, "its Services", listed).await;
    let from = seen.service("shop").expect("the Service");
    assert_eq!(
        (from.reach, from.rollout.as_deref()),
        (Reach::Address, None)
    );
    assert_eq!(from.ports["ports"][0]["port"], 80);
    assert_eq!(from.ports["sessionAffinity"], "None");
    followed.take_told();
    make::<Service>(&home, service("legacy", "shop")).await;
    let both = |objects: &Objects| objects.services.all.len() == 2;
    followed.until(&home, "one that comes", both).await;
    let told = followed.take_told();
    assert!(
        told.contains(&rollout_key(&home.namespace, "shop")),
        "{told:?}"
    );
    let api = Api::<Service>::namespaced(home.client.clone(), &home.namespace);
    api.delete("legacy", &DeleteParams::default())
        .await
        .expect("deleted");
    let one = |objects: &Objects| objects.services.all.len() == 1;
    followed.until(&home, "one that goes", one).await;
    // Once nobody asks they are forgotten, and seen as they are when somebody does again.
    home.rollouts()
        .delete("shop", &DeleteParams::default())
        .await
        .expect("deleted");
    eventually("the end of the Rollout", async || {
        let gone = followed.index.rollout(&home.namespace, "shop").is_none();
        gone.then_some(())
    })
    .await;
    api.delete("shop", &DeleteParams::default())
        .await
        .expect("deleted");
    make::<Service>(&home, service("later", "shop")).await;
    home.create(&minimal("shop")).await.expect("created");
    let asks = json!({"spec": {"strategy": {"type": "BlueGreen"}, "traffic": traffic}});
    home.rollouts()
        .patch("shop", &params, &Patch::Merge(asks))
        .await
        .expect("patched");
    let seen = followed.until(&home, "its Services again", listed).await;
    let names: Vec<_> = seen.services.all.iter().map(|s| &s.base.name).collect();
    assert_eq!(names, ["later"]);
}
