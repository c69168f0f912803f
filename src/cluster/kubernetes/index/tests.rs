use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn pod(version: &str) -> PodFacts {
    PodFacts {
        name: version.into(),
        revision: "r1".into(),
        created: Timestamp::UNIX_EPOCH,
        placed: None,
        lost: None,
        silent: None,
        node: None,
        ready_since: None,
        restarts: 0,
        ended: None,
        waiting: None,
        unschedulable: None,
        deleting: false,
        ends_by: None,
    }
}

fn entry(namespace: &str, name: &str, rollout: &str, version: &str) -> (Place, Entry<PodFacts>) {
    let entry = Entry {
        keys: vec![rollout_key(namespace, rollout)],
        version: version.into(),
        facts: pod(version),
    };
    (place(namespace, name), entry)
}

/// An index, and what it has told since it was last asked.
fn index() -> (Index, impl Fn() -> Vec<Key>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    let index = Index::new(Box::new(move |key| sink.lock().unwrap().push(key)));
    (index, move || std::mem::take(&mut *told.lock().unwrap()))
}

fn versions(index: &Index, namespace: &str, rollout: &str) -> Vec<String> {
    let pods = facts_of(&index.read().pods, &rollout_key(namespace, rollout));
    pods.into_iter().map(|p| p.name).collect()
}

#[test]
fn a_list_replaces_its_own_namespace_and_tells_what_differs() {
    let (index, told) = index();
    let (n, m) = ("n", "m");
    index.replace(
        None,
        vec![
            entry(n, "a", "shop", "1"),
            entry(n, "b", "mail", "2"),
            entry(n, "c", "chat", "3"),
            entry(m, "d", "shop", "4"),
        ],
    );
    assert_eq!(told().len(), 4);
    // "a" is as it was, "b" has changed, "c" is gone, "e" is new; the other namespace is not
    // spoken of.
    index.replace(
        Some(n),
        vec![
            entry(n, "a", "shop", "1"),
            entry(n, "b", "mail", "5"),
            entry(n, "e", "news", "6"),
        ],
    );
    let mut keys = told();
    keys.sort();
    let differs = ["chat", "mail", "news"].map(|r| rollout_key(n, r));
    assert_eq!(keys, differs);
    assert_eq!(versions(&index, n, "mail"), ["5"]);
    assert!(versions(&index, n, "chat").is_empty());
    assert_eq!(versions(&index, m, "shop"), ["4"]);
}

#[test]
fn an_object_that_changes_hands_is_told_to_both_and_found_at_one() {
    let (index, told) = index();
    let (place, first) = entry("n", "a", "shop", "1");
    index.apply(place.clone(), first);
    told();
    index.apply(place.clone(), entry("n", "a", "mail", "2").1);
    let mut keys = told();
    keys.sort();
    assert_eq!(keys, [rollout_key("n", "mail"), rollout_key("n", "shop")]);
    assert!(versions(&index, "n", "shop").is_empty());
    assert_eq!(versions(&index, "n", "mail"), ["2"]);
    index.delete::<PodFacts>(&place);
    assert_eq!(told(), [rollout_key("n", "mail")]);
    index.delete::<PodFacts>(&place);
    assert_eq!(told(), [], "it is gone already");
}

#[test]
fn a_panic_elsewhere_does_not_end_the_index() {
    let (index, _) = index();
    let index = Arc::new(index);
    let other = index.clone();
    let panicked = std::thread::spawn(move || {
        let _guard = other.state.write().unwrap();
        panic!("as told");
    });
    assert!(panicked.join().is_err());
    let (place, first) = entry("n", "a", "shop", "1");
    index.apply(place, first);
    assert_eq!(versions(&index, "n", "shop"), ["1"]);
}

fn rollout(name: &str, labels: &Value, status: &Value) -> RolloutFacts {
    let object = json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout",
        "metadata": {"namespace": "n", "name": name, "uid": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}},
            "schema": {"database": "db"},
        },
        "status": status,
    });
    super::super::stored::rollout(&serde_json::from_value(object).unwrap())
}

fn is_there(index: &Index, version: &str, facts: RolloutFacts) {
    let name = facts.base.name.clone();
    let entry = Entry {
        keys: vec![rollout_key("n", &name)],
        version: version.into(),
        facts,
    };
    index.apply(place("n", &name), entry);
}

#[test]
fn a_frozen_flag_is_known_whatever_database_the_spec_names() {
    let (index, told) = index();
    let facts = rollout("shop", &json!({"app": "shop"}), &Value::Null);
    is_there(&index, "1", facts);
    let version = json!({
        "version": 2, "rollout": "shop", "revision": "a", "asked": [], "frozenFlags": ["full-name"],
    });
    let database = |name: &str, version: &str, versions: Value| {
        let object = json!({
            "apiVersion": "stepgate.io/v1alpha1", "kind": "DatabaseSchema",
            "metadata": {"namespace": "n", "name": name, "uid": name, "resourceVersion": version},
            "spec": {}, "record": {"versions": versions},
        });
        let facts =
            super::super::stored::database(&serde_json::from_value(object).unwrap()).unwrap();
        let keys = vec![database_key("n", name)];
        let entry = Entry {
            keys,
            version: version.into(),
            facts,
        };
        index.apply(place("n", name), entry);
    };
    let frozen = || index.rollout("n", "shop").unwrap().frozen;
    told();
    database("former", "1", json!([version]));
    assert!(told().contains(&rollout_key("n", "shop")));
    assert_eq!(frozen()["full-name"], 2);
    // What the spec names is told by itself, and may be known better.
    database("db", "1", json!([version]));
    assert_eq!(frozen().len(), 1);
    database("former", "2", json!([]));
    assert!(told().contains(&rollout_key("n", "shop")));
    assert!(frozen().is_empty());
}

#[test]
fn a_status_of_ones_own_concerns_nobody_else() {
    let of = |labels: Value, status: Value| rollout("shop", &labels, &status);
    let old = of(json!({"app": "shop"}), Value::Null);
    assert!(!concerns_others(
        &old,
        &of(json!({"app": "shop"}), json!({"replicas": 3}))
    ));
    let wider = of(json!({"app": "shop", "tier": "web"}), Value::Null);
    assert!(concerns_others(&old, &wider));
    let mut elsewhere = of(json!({"app": "shop"}), Value::Null);
    elsewhere.spec = Err("not read".into());
    assert!(concerns_others(&old, &elsewhere));
}

#[test]
fn who_comes_after_others_is_told_when_how_these_stand_changes() {
    let (index, told) = index();
    let follows = |name: &str, other: Option<&str>| {
        let mut facts = rollout(name, &json!({"app": name}), &json!({}));
        if let Some(other) = other {
            let mut spec = json!({
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}},
            });
            spec["after"] = json!([{"rollout": other}]);
            let spec = serde_json::from_value(spec).unwrap();
            facts.spec = Ok(Arc::new(crate::plan::revision::Wanted::new(spec)));
        }
        facts
    };
    let key = |name| rollout_key("n", name);
    let keys = || told().into_iter().collect::<BTreeSet<_>>();
    is_there(&index, "1", follows("client", Some("shop")));
    is_there(&index, "2", follows("shop", Some("server")));
    keys();
    let earlier = |name| {
        let objects = index.rollout("n", name).unwrap();
        objects
            .earlier
            .into_iter()
            .map(|e| e.rollout)
            .collect::<Vec<_>>()
    };
    assert_eq!(earlier("client"), ["shop"]);
    is_there(&index, "3", follows("server", None));
    let all: BTreeSet<_> = ["client", "server", "shop"].map(key).into();
    assert!(
        keys().is_superset(&all),
        "those that wait for who waits, too"
    );
    assert_eq!(earlier("client"), ["server", "shop"]);
    let ready = json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "Stable", "message": "",
        "lastTransitionTime": "2027-01-15T08:00:00Z",
    }]});
    let mut server = rollout("server", &json!({"app": "server"}), &ready);
    server.generation = 1;
    Arc::make_mut(&mut server.status).observed_generation = Some(1);
    is_there(&index, "4", server.clone());
    assert!(keys().is_superset(&all));
    Arc::make_mut(&mut server.status).replicas = 3;
    is_there(&index, "5", server);
    assert_eq!(
        keys(),
        [key("server")].into(),
        "counts are nobody else's business"
    );
    is_there(&index, "6", follows("shop", None));
    keys();
    index.delete::<RolloutFacts>(&place("n", "server"));
    assert!(!keys().contains(&key("client")));
}

#[test]
fn neighbours_are_told_when_one_comes_changes_and_goes() {
    let (index, told) = index();
    let near = |name: &str| index.rollout("n", name).unwrap().neighbours;
    is_there(
        &index,
        "1",
        rollout("a", &json!({"app": "x"}), &Value::Null),
    );
    is_there(
        &index,
        "2",
        rollout("b", &json!({"app": "y"}), &Value::Null),
    );
    assert!(near("a").is_empty());
    told();
    is_there(
        &index,
        "3",
        rollout("b", &json!({"app": "x"}), &Value::Null),
    );
    // The older one goes on: of two of the same second, by name.
    assert!(near("a").is_empty());
    assert_eq!(near("b"), ["a"]);
    assert!(told().contains(&rollout_key("n", "a")));
    is_there(
        &index,
        "4",
        rollout("b", &json!({"app": "x"}), &json!({"replicas": 1})),
    );
    assert_eq!(told(), [rollout_key("n", "b")]);
    index.delete::<RolloutFacts>(&place("n", "b"));
    assert!(near("a").is_empty() && told().contains(&rollout_key("n", "a")));
}

#[test]
fn a_rollout_is_missing_while_a_deployment_names_it_and_it_is_not_there() {
    let (index, _) = index();
    let child = ChildFacts {
        base: rollout("x", &json!({}), &Value::Null).base,
        revision: "r1".into(),
        owner_uid: None,
        epoch: None,
        replicas: 0,
        possible: (0, 0),
        current: true,
        status_replicas: 0,
        available: 0,
        adopted: None,
        edited: false,
        template: None,
        problem: None,
        deleting: false,
    };
    let entry = Entry {
        keys: vec![rollout_key("n", "a")],
        version: "1".into(),
        facts: child,
    };
    index.apply(place("n", "a-r1"), entry);
    assert_eq!(
        index.missing_rollouts("n"),
        BTreeSet::from(["a".to_owned()])
    );
    assert!(index.missing_rollouts("m").is_empty());
    is_there(
        &index,
        "2",
        rollout("a", &json!({"app": "x"}), &Value::Null),
    );
    assert!(index.missing_rollouts("n").is_empty());
    index.delete::<RolloutFacts>(&place("n", "a"));
    assert_eq!(index.missing_rollouts("n").len(), 1);
    index.delete::<ChildFacts>(&place("n", "a-r1"));
    assert!(index.missing_rollouts("n").is_empty());
}

#[test]
fn services_are_forgotten_with_the_last_rollout_that_asks_for_them() {
    let (index, _) = index();
    let led = json!({"traffic": {
        "stableService": {"name": "a", "revision": "r", "since": "2026-01-01T00:00:00Z"},
        "canaryService": {"name": "b", "revision": "r", "since": "2026-01-01T00:00:00Z"},
    }});
    let facts = || rollout("shop", &json!({"app": "shop"}), &led);
    let asked = || {
        index
            .switched()
            .borrow()
            .iter()
            .cloned()
            .collect::<Vec<_>>()
    };
    is_there(&index, "1", facts());
    assert_eq!(asked(), ["n"]);
    index.services_are("n", Ok(()));
    let unread = || index.rollout("n", "shop").unwrap().services.unread;
    assert_eq!(unread(), None);

    index.delete::<RolloutFacts>(&place("n", "shop"));
    assert_eq!(asked(), [""; 0]);
    index.services_are_unwatched("n");
    is_there(&index, "2", facts());
    assert_eq!(asked(), ["n"]);
    assert_eq!(
        unread(),
        Some(Unread::NotYet),
        "a list of earlier says nothing"
    );
}
