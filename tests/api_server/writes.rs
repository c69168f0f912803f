//! Every kind of write: what it does, and that it is refused when it rests on an old copy.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, Deployment},
        batch::v1::Job,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::Api;
use serde_json::{Value, json};
use stepgate::{
    api::{
        DatabaseRecord, PhaseKind, RolloutStatus,
        database::Holder,
        keys,
        release::{Release, Stage},
        status::{Outcome, Stopwatch},
    },
    cluster::{
        Answer, Cluster as _, Key, WriteError, Written,
        kubernetes::{Kubernetes, index::Index},
    },
    plan::{
        facts::{Base, ChildFacts, Question, RolloutFacts},
        intent::{Kind, Write},
    },
};

use super::fixture::{Home, is_settled, minimal};

/// An adapter without watches.
pub fn adapter(home: &Home) -> Kubernetes {
    let index = Index::new(Box::new(|_| {}));
    let (reads, writes) = (&home.clients.reads, &home.clients.writes);
    let patience = Duration::from_secs(10);
    Kubernetes::new(index.into(), reads.client(), writes.client(), patience)
}

/// Letters that JSON may write in several ways. The API server keeps what it was sent, and refuses
/// every later change if it would write it otherwise itself.
const HARD: &str = "a > b && c < d \u{1} \u{8} \u{c} \u{7f} \u{2028} \u{2029} \\ / \" ß 🦀\t\n";

/// A ControllerRevision called `shop-<revision>`.
pub fn revision_manifest(name: &str) -> Value {
    let revision = name.strip_prefix("shop-").expect("one of Rollout shop");
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "labels": {"stepgate.io/rollout": "shop", "stepgate.io/revision": revision},
        },
        "data": {"template": {"spec": {"newer": [1, null]}, "hard": HARD, "numbers": [1.5, 0.1, 1e-7, 1e21, -3]},
                 "schema": {"database": "db"}},
        "revision": 0,
    })
}

pub fn deployment_manifest(name: &str) -> Value {
    let labels = json!({"app": "shop", "stepgate.io/revision": "r1"});
    let mut pods = labels.clone();
    pods["stepgate.io/rollout"] = json!("shop");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name,
            "labels": {"stepgate.io/rollout": "shop", "stepgate.io/revision": "r1",
                       "stepgate.io/epoch": "3"},
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": pods},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    })
}

pub fn job_manifest(name: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": name,
            "labels": {"stepgate.io/rollout": "shop", "stepgate.io/revision": "r1",
                       "stepgate.io/database": "db", "stepgate.io/epoch": "3"},
        },
        "spec": {
            "suspend": true, "backoffLimit": 0,
            "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "app", "image": "app:1"}],
            }},
        },
    })
}

pub fn database_manifest(name: &str) -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": "DatabaseSchema",
        "metadata": {"name": name, "labels": {"kept": "yes"}},
        "record": {},
    })
}

fn base(name: &str, uid: &str, resource_version: &str) -> Base {
    Base {
        name: name.into(),
        uid: uid.into(),
        resource_version: resource_version.into(),
    }
}

macro_rules! answered {
    ($adapter:expr, $home:expr, $write:expr, $kind:ident) => {
        match $adapter.write(&$home.namespace, &$write).await {
            Ok(stepgate::cluster::Written::$kind(facts)) => facts,
            other => panic!("{:?} was answered with {other:?}", $write),
        }
    };
}
pub(crate) use answered;

/// Each write, as a function of what it rests on, is refused with another uid and with another
/// resourceVersion, and nothing is changed by it.
async fn refused_when_old(home: &Home, right: &Base, write: impl Fn(Base) -> Write) {
    let adapter = adapter(home);
    let other_uid = "00000000-0000-4000-8000-000000000000";
    let old = [
        base(&right.name, other_uid, &right.resource_version),
        base(&right.name, &right.uid, "1"),
        base("there-is-none", &right.uid, &right.resource_version),
    ];
    for base in old {
        let write = write(base);
        let written = adapter.write(&home.namespace, &write).await;
        let conflict = matches!(written, Err(WriteError::Conflict { .. }));
        assert!(conflict, "{write:?} was answered with {written:?}");
    }
}

fn now() -> Time {
    // The API keeps whole seconds.
    Time(Timestamp::from_second(Timestamp::now().as_second()).expect("in range"))
}

fn release() -> Release {
    Release {
        revision: "r1".into(),
        stage: Stage::Preflight,
        first: true,
        started: now(),
        attempt: 1,
        jobs: Vec::new(),
        measured_since: None,
        unreached: Stopwatch::default(),
        lost: Vec::new(),
        tests: Vec::new(),
        without_undo: false,
        not_checked: Vec::new(),
    }
}

async fn rollout(home: &Home) -> RolloutFacts {
    let mut object = minimal("shop");
    object["metadata"]["labels"] = json!({"kept": "yes"});
    object["metadata"]["annotations"] = json!({"stepgate.io/promote": "r1/canary 7", "a": "b"});
    let made = home.create(&object).await.expect("a Rollout");
    stepgate::cluster::kubernetes::stored::rollout(&made)
}

#[tokio::test]
async fn status_is_replaced_whole_and_nothing_else_is() {
    let home = Home::new("status").await;
    let adapter = adapter(&home);
    let first = rollout(&home).await;
    assert_eq!(
        first.annotations.len(),
        1,
        "only commands: {:?}",
        first.annotations
    );
    let full = RolloutStatus {
        observed_generation: Some(first.generation),
        release: Some(release()),
        selector: Some("app=shop".into()),
        replicas: 3,
        ..RolloutStatus::default()
    };
    let record = |base: Base, status: &RolloutStatus| Write::RecordStatus {
        base,
        status: Box::new(status.clone()),
    };
    refused_when_old(&home, &first.base.clone(), |b| record(b, &full)).await;
    let second = answered!(adapter, home, record(first.base.clone(), &full), Rollout);
    assert_eq!(*second.status, full);
    assert_ne!(second.base.resource_version, first.base.resource_version);
    assert_eq!(second.spec, first.spec);

    let less = RolloutStatus {
        observed_generation: Some(first.generation),
        ..RolloutStatus::default()
    };
    let third = answered!(adapter, home, record(second.base.clone(), &less), Rollout);
    assert_eq!(*third.status, less, "what is left out is gone");
    assert_eq!(third.generation, first.generation);
    let object = home.rollouts().get("shop").await.expect("the Rollout");
    assert_eq!(object.metadata.labels.expect("labels")["kept"], "yes");
    assert_eq!(object.metadata.annotations.expect("annotations").len(), 2);
    assert_eq!(
        object.data["spec"]["template"]["spec"]["containers"][0]["name"],
        "app"
    );

    let again = answered!(adapter, home, record(third.base.clone(), &less), Rollout);
    assert_eq!(
        again.base.resource_version, third.base.resource_version,
        "the same status once more changes nothing"
    );
}

#[tokio::test]
async fn a_revision_is_made_marked_and_unmarked() {
    let home = Home::new("revision").await;
    let adapter = adapter(&home);
    let create = Write::Create {
        kind: Kind::Revision,
        manifest: revision_manifest("shop-r1"),
    };
    let made = answered!(adapter, home, create, Revision);
    assert_eq!((made.number, made.outcome), (0, None));
    assert_eq!(made.revision, "r1");
    let template = remembered(&adapter, &home).await;
    assert_eq!(template["spec"]["newer"], json!([1, null]), "raw");
    assert_eq!(template["hard"], json!(HARD));
    let again = adapter.write(&home.namespace, &create).await;
    assert!(matches!(again, Err(WriteError::Exists { .. })), "{again:?}");

    let mark = |base, outcome, reason: &str, number| Write::MarkRevision {
        base,
        outcome,
        reason: reason.into(),
        number,
    };
    let stable = Some(Outcome::Stable);
    refused_when_old(&home, &made.base.clone(), |b| mark(b, stable, "x", Some(4))).await;
    let write = mark(made.base.clone(), stable, "Passed: all", Some(4));
    let marked = answered!(adapter, home, write, Revision);
    assert_eq!((marked.number, marked.outcome), (4, stable));
    assert_eq!(marked.outcome_reason, "Passed: all");
    let write = mark(marked.base.clone(), None, "", None);
    let unmarked = answered!(adapter, home, write, Revision);
    assert_eq!((unmarked.number, unmarked.outcome), (4, None));
    assert_eq!(unmarked.outcome_reason, "");
    assert_eq!(remembered(&adapter, &home).await, template);
}

/// The template in the ControllerRevision.
async fn remembered(adapter: &Kubernetes, home: &Home) -> Value {
    let key = Key::Rollout {
        namespace: home.namespace.clone(),
        name: "shop".into(),
    };
    let question = Question::Template("shop-r1".into());
    match adapter.ask(&key, &question).await {
        Ok(Answer::Template(Some(kept))) => kept.template.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_deployment_is_made_scaled_fenced_adopted_and_deleted() {
    let home = Home::new("deployment").await;
    let adapter = adapter(&home);
    let create = Write::Create {
        kind: Kind::Deployment,
        manifest: deployment_manifest("shop-r1"),
    };
    let made = answered!(adapter, home, create, Child);
    assert_eq!(
        (made.replicas, made.possible, made.epoch),
        (0, (0, 0), Some(3))
    );
    assert!(!made.current, "its controller has not seen it yet");
    // Its controller writes to it on its own; it must have done so before versions are compared.
    let mut child = settled(&home).await;
    assert!(child.current && !child.edited, "{child:?}");

    let scale = |base| Write::Scale {
        base,
        from: 0,
        to: 2,
        template: None,
    };
    refused_when_old(&home, &child.base.clone(), scale).await;
    child = answered!(adapter, home, scale(child.base.clone()), Child);
    assert_eq!(child.replicas, 2);
    assert!(!child.current);

    child = settled(&home).await;
    let fence = |base| Write::Fence {
        kind: Kind::Deployment,
        base,
        epoch: 12,
    };
    refused_when_old(&home, &child.base.clone(), fence).await;
    child = answered!(adapter, home, fence(child.base.clone()), Child);
    assert_eq!((child.epoch, child.replicas), (Some(12), 2));

    child = settled(&home).await;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
                        "uid": "11111111-1111-4111-8111-111111111111", "controller": true}]);
    let adopt = |base| Write::Adopt {
        kind: Kind::Deployment,
        base,
        owner: owner.clone(),
    };
    refused_when_old(&home, &child.base.clone(), adopt).await;
    // Not this owner: the garbage collector would take the Deployment for an orphan.
    let adopt = Write::Adopt {
        kind: Kind::Deployment,
        base: child.base.clone(),
        owner: json!([]),
    };
    child = answered!(adapter, home, adopt, Child);
    assert_eq!(child.owner_uid, None);

    child = settled(&home).await;
    let delete = |base| Write::Delete {
        kind: Kind::Deployment,
        base,
    };
    refused_when_old(&home, &child.base.clone(), delete).await;
    let write = delete(child.base.clone());
    let deleted = adapter.write(&home.namespace, &write).await;
    assert!(matches!(deleted, Ok(Written::Gone)), "{deleted:?}");
    let api = Api::<Deployment>::namespaced(home.client.clone(), &home.namespace);
    assert!(api.get_opt("shop-r1").await.expect("an answer").is_none());
}

/// The Deployment once its controller has nothing left to write about it.
async fn settled(home: &Home) -> ChildFacts {
    let api = Api::<Deployment>::namespaced(home.client.clone(), &home.namespace);
    super::fixture::eventually("the Deployment's controller", async || {
        let object = api.get("shop-r1").await.expect("the Deployment");
        is_settled(&object).then(|| stepgate::cluster::kubernetes::facts::child(&object))
    })
    .await
}

#[tokio::test]
async fn a_job_is_made_suspended_and_released() {
    let home = Home::new("job").await;
    let adapter = adapter(&home);
    let create = Write::Create {
        kind: Kind::Job,
        manifest: job_manifest("shop-r1-expand-1"),
    };
    answered!(adapter, home, create, Job);
    // The controller marks it as suspended before anything else happens to it.
    let api = Api::<Job>::namespaced(home.client.clone(), &home.namespace);
    let job = super::fixture::eventually("the Job's controller", async || {
        let object = api.get("shop-r1-expand-1").await.expect("the Job");
        object.status.as_ref()?.conditions.as_ref()?;
        Some(stepgate::cluster::kubernetes::facts::job(&object))
    })
    .await;
    assert!(job.suspended && job.ended.is_none() && job.live_pods == 0);
    assert_eq!((job.rollout.as_str(), job.epoch), ("shop", Some(3)));
    let release = |base| Write::ReleaseJob { base };
    refused_when_old(&home, &job.base.clone(), release).await;
    let released = answered!(adapter, home, release(job.base.clone()), Job);
    assert!(!released.suspended);
    let live = super::fixture::eventually("a pod of the Job", async || {
        let object = api.get("shop-r1-expand-1").await.expect("the Job");
        let facts = stepgate::cluster::kubernetes::facts::job(&object);
        (facts.live_pods > 0).then_some(facts.live_pods)
    })
    .await;
    assert_eq!(live, 1);
}

#[tokio::test]
async fn a_database_record_is_replaced_whole() {
    let home = Home::new("database").await;
    let adapter = adapter(&home);
    let create = Write::Create {
        kind: Kind::Database,
        manifest: database_manifest("db"),
    };
    let made = answered!(adapter, home, create, Database);
    assert_eq!(*made.record, DatabaseRecord::default());
    let held = DatabaseRecord {
        holder: Some(Holder {
            floor_before: None,
            rollout: "shop".into(),
            revision: "r1".into(),
            version: Some(7),
            phase: PhaseKind::Expand,
            attempt: 1,
            job: "shop-r1-expand-1".into(),
            job_uid: Some("u".into()),
            since: now(),
        }),
        undo_floor: Some(3),
        ..DatabaseRecord::default()
    };
    let record = |base, record: &DatabaseRecord| Write::RecordDatabase {
        base,
        record: Box::new(record.clone()),
        finalizers: vec![keys::HELD.into(), "example.com/kept".into()],
    };
    refused_when_old(&home, &made.base.clone(), |b| record(b, &held)).await;
    let second = answered!(adapter, home, record(made.base.clone(), &held), Database);
    assert_eq!(*second.record, held);
    assert_eq!(second.finalizers, [keys::HELD, "example.com/kept"]);

    let mut other = held.clone();
    other.holder.as_mut().expect("a holder").job_uid = None;
    other.undo_floor = None;
    let third = answered!(adapter, home, record(second.base.clone(), &other), Database);
    assert_eq!(
        *third.record, other,
        "what is left out is gone, at any depth"
    );
    let object = home
        .databases()
        .get("db")
        .await
        .expect("the DatabaseSchema");
    assert_eq!(object.metadata.labels.expect("labels")["kept"], "yes");
}

#[tokio::test]
async fn an_update_of_what_was_made_anew_is_refused() {
    let home = Home::new("anew").await;
    let adapter = adapter(&home);
    let create = Write::Create {
        kind: Kind::Revision,
        manifest: revision_manifest("shop-r1"),
    };
    let first = answered!(adapter, home, create, Revision);
    let delete = Write::Delete {
        kind: Kind::Revision,
        base: first.base.clone(),
    };
    adapter
        .write(&home.namespace, &delete)
        .await
        .expect("deleted");
    let second = answered!(adapter, home, create, Revision);
    assert_ne!(first.base.uid, second.base.uid);
    for base in [
        first.base.clone(),
        // Even if the version were right.
        base(
            &first.base.name,
            &first.base.uid,
            &second.base.resource_version,
        ),
    ] {
        let mark = Write::MarkRevision {
            base,
            outcome: Some(Outcome::Failed),
            reason: String::new(),
            number: None,
        };
        let written = adapter.write(&home.namespace, &mark).await;
        assert!(
            matches!(written, Err(WriteError::Conflict { .. })),
            "{written:?}"
        );
    }
    let api = Api::<ControllerRevision>::namespaced(home.client.clone(), &home.namespace);
    let object = api.get("shop-r1").await.expect("the revision");
    assert!(object.metadata.annotations.is_none());
}
