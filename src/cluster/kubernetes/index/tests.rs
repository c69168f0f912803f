use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::*;

fn pod(version: &str) -> PodFacts {
    PodFacts {
        name: version.into(),
        revision: "r1".into(),
        created: Timestamp::UNIX_EPOCH,
        placed: None,
        lost: None,
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
