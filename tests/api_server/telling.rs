//! Events for people.

use k8s_openapi::api::events::v1::Event as Published;
use kube::{Api, api::ListParams};
use stepgate::{
    cluster::kubernetes::index::rollout_key,
    operator::{
        events::{Events, Subject},
        metrics::Metrics,
        shutdown::StopSource,
    },
    plan::{intent::Event, reason::Reason},
};

use super::fixture::{Home, eventually, minimal};

#[tokio::test]
async fn events_are_told_once_counted_up_and_found_at_the_rollout() {
    let home = Home::new("events").await;
    let made = home.create(&minimal("shop")).await.expect("a Rollout");
    let (metrics, stop) = (Metrics::new(), StopSource::new());
    let client = home.clients.writes.client();
    let (events, publisher) = Events::new(client, "instance".into(), metrics.clone());
    let running = tokio::spawn(publisher.run(stop.stop()));
    let subject = Subject {
        key: rollout_key(&home.namespace, "shop"),
        uid: made.metadata.uid.clone().expect("a uid"),
    };
    let event = |message: &str, warning| Event {
        reason: Reason::StepPassed,
        message: message.into(),
        warning,
        undo: None,
        measured: None,
    };
    events.publish(&subject, event("step 1: 0.1% of 400", false));
    events.publish(&subject, event("step 2: 0.2% of 900", false));
    events.publish(&subject, event("step 1: 0.1% of 400", false));
    events.publish(&subject, event(&"ß".repeat(2000), true));
    let api = Api::<Published>::namespaced(home.client.clone(), &home.namespace);
    let mut found = eventually("the events", async || {
        let list = api
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items;
        let counted = list.iter().any(|e| e.series.is_some());
        (list.len() == 3 && counted).then_some(list)
    })
    .await;
    found.sort_by_key(|e| e.event_time.clone());
    let note = |i: usize| found[i].note.as_deref().unwrap_or_default();
    assert_eq!(
        (note(0), note(1)),
        ("step 1: 0.1% of 400", "step 2: 0.2% of 900")
    );
    assert_eq!(found[0].series.as_ref().map(|s| s.count), Some(2));
    assert_eq!(found[2].type_.as_deref(), Some("Warning"));
    assert_eq!(note(2).len(), 1024, "as long as the API takes");
    for event in &found {
        let regarding = event.regarding.as_ref().expect("a subject");
        assert_eq!(regarding.uid, made.metadata.uid);
        assert_eq!(regarding.kind.as_deref(), Some("Rollout"));
    }
    stop.pull();
    running.await.expect("it ends");
}
