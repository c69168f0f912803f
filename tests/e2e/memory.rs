//! Lost status, and children that somebody else changed.

use std::time::SystemTime;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stepgate::api::Rollout;
use testbed::{Namespace, Result};

use crate::app::{APP, Change as _, app};
use crate::play::{PATIENCE, Play as _, play};

/// As a restored backup has it: no status at all.
async fn lose_status(ns: &Namespace) -> Result<()> {
    let api = ns.api::<Rollout>();
    let none = Patch::Json::<()>(
        serde_json::from_value(json!([{"op": "remove", "path": "/status"}])).unwrap(),
    );
    let lost = api.patch_status(APP, &PatchParams::default(), &none).await;
    let lost = lost.map_err(testbed::Error::api("the status"))?;
    // What was there before is not taken for what was rebuilt.
    ns.until("the loss", PATIENCE, |state| {
        let mut seen = state.versions.iter().rev();
        seen.any(|(_, rollout)| rollout.resource_version() == lost.resource_version())
            .then_some(())
    })
    .await
}

fn child(revision: &str) -> String {
    format!("{APP}-{revision}")
}

#[tokio::test]
async fn a_lost_status_is_rebuilt_and_no_pod_is_lost() {
    play("lost-status", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        let generation = ns.release(&app("2").hold(1, 600)).await?;
        let second = ns.held("half").await?;
        ns.pods(&[(&first, 2), (&second, 2)]).await?;
        let began = SystemTime::now();
        lose_status(ns).await?;
        ns.until("what is stable and what is on its way", PATIENCE, |state| {
            let status = state.status(APP);
            let known = status.stable?.revision == first && status.release?.revision == second;
            known.then_some(())
        })
        .await?;
        ns.held("half").await?;
        ns.tell(APP, "promote", &format!("{second}/half on"))
            .await?;
        assert_eq!(ns.ready(generation).await?, second);
        let state = ns.view.now();
        assert!(state.fewest_ready_since(began) >= 3, "{:?}", state.ready);
        lose_status(ns).await?;
        assert_eq!(ns.ready(generation).await?, second);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn whoever_deletes_what_remembers_stable_ends_no_pod_and_no_undo() {
    play("forgotten", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        let generation = ns.release(&app("2").hold(1, 600)).await?;
        let second = ns.held("half").await?;
        let began = SystemTime::now();
        ns.kubectl(&["delete", "controllerrevision", &child(&first)])
            .await?;
        ns.tell(APP, "promote", &format!("{second}/half on"))
            .await?;
        let (result, words) = ns.answer("promote", "on").await?;
        assert_eq!(result, "Ignored", "{words}");
        assert!(words.contains("ControllerRevision of stable"), "{words}");
        ns.tell(APP, "undo", &format!("{second} back")).await?;
        ns.stalled(generation, "UndoneByPerson").await?;
        ns.pods(&[(&first, 4)]).await?;
        let state = ns.view.now();
        assert!(state.fewest_ready_since(began) >= 3, "{:?}", state.ready);
        // The spec says once more what it is, and it is on record again.
        let generation = ns.release(&app("1")).await?;
        assert_eq!(ns.ready(generation).await?, first);
        let record = format!("controllerrevision/{}", child(&first));
        ns.kubectl(&["wait", "--for=create", "--timeout=30s", &record])
            .await
            .map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_failed_revision_stays_failed_without_its_status() {
    play("lost-failure", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        let generation = ns.release(&app("2").hold(0, 600)).await?;
        let second = ns.held("canary").await?;
        ns.tell(APP, "undo", &format!("{second} no")).await?;
        ns.stalled(generation, "UndoneByPerson").await?;
        lose_status(ns).await?;
        ns.until("the failure, from its memory", PATIENCE, |state| {
            let status = state.status(APP);
            let stalled = status
                .conditions
                .iter()
                .any(|c| c.type_ == "Stalled" && c.status == "True");
            (stalled && status.stable?.revision == first).then_some(())
        })
        .await?;
        ns.pods(&[(&first, 4)]).await
    })
    .await;
}

#[tokio::test]
async fn a_child_scaled_or_deleted_by_hand_is_put_right() {
    play("hands", async |ns| {
        let stable = ns.release_to_the_end(&app("1")).await?;
        let child = child(&stable);
        ns.kubectl(&["scale", &format!("deployment/{child}"), "--replicas=1"])
            .await?;
        ns.until("four pods again", PATIENCE, |state| {
            let spec = state.deployments.get(&child)?.spec.as_ref()?;
            (spec.replicas == Some(4)).then_some(())
        })
        .await?;
        ns.pods(&[(&stable, 4)]).await?;
        let before = ns.view.read(|s| s.deployments[&child].metadata.uid.clone());
        ns.delete::<Deployment>(&child).await?;
        ns.until("another Deployment", PATIENCE, |state| {
            let found = state.deployments.get(&child)?;
            (found.metadata.uid != before).then_some(())
        })
        .await?;
        ns.pods(&[(&stable, 4)]).await
    })
    .await;
}

#[tokio::test]
async fn an_edited_canary_is_said_and_not_promoted() {
    play("edited", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        let generation = ns.release(&app("2").hold(0, 600)).await?;
        let second = ns.held("canary").await?;
        let edit = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": "edited"}]);
        let edit = edit.to_string();
        ns.kubectl(&["patch", "deployment", &child(&second), "--type=json", "-p", &edit])
            .await?;
        ns.stalled(generation, "ChildEdited").await?;
        ns.pods(&[(&first, 3), (&second, 1)]).await?;
        // As the words say: deleted, it is made again as it should be.
        ns.delete::<Deployment>(&child(&second)).await?;
        ns.held("canary").await?;
        ns.tell(APP, "promote", &format!("{second}/canary on")).await?;
        assert_eq!(ns.ready(generation).await?, second);
        Ok(())
    })
    .await;
}
