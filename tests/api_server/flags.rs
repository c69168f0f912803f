//! The ConfigMap of flags: made, read live, written on what was read, and never over somebody else's.

use serde_json::json;
use stepgate::{
    api::keys,
    cluster::{Answer, Cluster as _, Key, WriteError, Written},
    plan::{
        facts::{Base, Question},
        flags::file::{ConfigMapFacts, FILE},
        intent::{Kind, Write},
    },
};

use super::{fixture::Home, writes::adapter};

#[tokio::test]
async fn a_config_map_of_flags_is_written_on_what_was_read_and_on_nothing_older() {
    let home = Home::new("flags").await;
    let cluster = adapter(&home);
    let key = Key::Rollout {
        namespace: home.namespace.clone(),
        name: "shop".into(),
    };
    let read = async || -> Option<ConfigMapFacts> {
        let question = Question::Flags("shop-flags".into());
        match cluster.ask(&key, &question).await {
            Ok(Answer::Flags(map)) => map.map(|map| *map),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read().await, None);
    let metadata = |notes: &str| {
        json!({
            "name": "shop-flags",
            "labels": {keys::ROLLOUT: "shop", "stepgate.io/epoch": "3"},
            "annotations": {"stepgate.io/flags": notes, "theirs": "kept"},
        })
    };
    let create = Write::Create {
        kind: Kind::ConfigMap,
        manifest: json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": metadata("{}"), "data": {FILE: "{}\n"},
        }),
    };
    let written = cluster.write(&home.namespace, &create).await;
    assert!(matches!(written, Ok(Written::Unkept)), "{written:?}");
    let again = cluster.write(&home.namespace, &create).await;
    assert!(matches!(again, Err(WriteError::Exists { .. })), "{again:?}");
    let first = read().await.expect("the ConfigMap");
    assert_eq!(first.rollout.as_deref(), Some("shop"));
    assert_eq!(first.file.as_deref(), Some("{}\n"));
    let write = |base: &Base, notes: &str| Write::Flags {
        base: base.clone(),
        change: Box::new(json!({
            "metadata": {
                "labels": {"stepgate.io/epoch": "4"},
                "annotations": {"stepgate.io/flags": notes},
            },
            "data": {FILE: format!("{notes}\n")},
        })),
    };
    let up = write(&first.base, "up");
    let written = cluster.write(&home.namespace, &up).await;
    assert!(matches!(written, Ok(Written::Unkept)), "{written:?}");
    // What rests on the first is late by now, whatever it says.
    let late = cluster
        .write(&home.namespace, &write(&first.base, "late"))
        .await;
    assert!(matches!(late, Err(WriteError::Conflict { .. })), "{late:?}");
    let second = read().await.expect("the ConfigMap");
    assert_eq!(second.file.as_deref(), Some("up\n"));
    assert_eq!(second.notes.as_deref(), Some("up"));
    assert_ne!(second.base.resource_version, first.base.resource_version);
    // One that was deleted and made anew is another.
    let gone = Write::Delete {
        kind: Kind::ConfigMap,
        base: second.base.clone(),
    };
    cluster.write(&home.namespace, &gone).await.expect("gone");
    cluster.write(&home.namespace, &create).await.expect("anew");
    let late = cluster
        .write(&home.namespace, &write(&second.base, "late"))
        .await;
    assert!(matches!(late, Err(WriteError::Conflict { .. })), "{late:?}");
    assert_eq!(
        read().await.and_then(|map| map.file).as_deref(),
        Some("{}\n")
    );
}
