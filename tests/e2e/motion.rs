//! The spec moves while a release is on its way.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use stepgate::api::status::Outcome;

use crate::app::{Change as _, app};
use crate::play::{PATIENCE, Play as _, holds, outcome, play};

#[tokio::test]
async fn a_third_revision_replaces_the_second_in_mid_rollout() {
    play("third", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        ns.release(&app("2").hold(1, 600)).await?;
        let second = ns.held("half").await?;
        ns.pods(&[(&first, 2), (&second, 2)]).await?;
        let began = SystemTime::now();
        let third = ns.release_to_the_end(&app("3")).await?;
        ns.pods(&[(&third, 4)]).await?;
        let state = ns.view.now();
        assert_eq!(outcome(&state, &second), Some(Outcome::Withdrawn));
        assert!(state.fewest_ready_since(began) >= 3, "{:?}", state.ready);
        let mut steps = state.versions.iter().filter_map(|(_, rollout)| {
            let release = rollout.status.as_ref()?.release.as_ref()?;
            let step = release.step()?;
            (release.revision == third).then_some(step.index)
        });
        assert_eq!(steps.next(), Some(0), "it starts at its first step");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn back_to_stable_is_an_undo_at_once() {
    play("back", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        ns.release(&app("2").hold(1, 600)).await?;
        let second = ns.held("half").await?;
        let stable = ns.release_to_the_end(&app("1").hold(1, 600)).await?;
        assert_eq!(stable, first);
        ns.pods(&[(&first, 4)]).await?;
        let state = ns.view.now();
        assert_eq!(outcome(&state, &second), Some(Outcome::Withdrawn));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_former_stable_returns_at_once_without_steps() {
    play("former", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        let second = ns.release_to_the_end(&app("2")).await?;
        ns.pods(&[(&second, 4)]).await?;
        let began = SystemTime::now();
        // No step could be passed in time.
        let return_ = app("1").hold(0, 600).hold(1, 600).hold(2, 600);
        assert_eq!(ns.release_to_the_end(&return_).await?, first);
        ns.pods(&[(&first, 4)]).await?;
        let state = ns.view.now();
        assert!(state.fewest_ready_since(began) >= 3, "{:?}", state.ready);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_promoted_while_what_stable_needs_is_gone() {
    play("pruned", async |ns| {
        let needs = |name: &str| json!([{"configMapRef": {"name": name}}]);
        for name in ["settings-1", "settings-2"] {
            ns.kubectl(&["create", "configmap", name, "--from-literal=A=b"])
                .await?;
        }
        let first = app("1").container("envFrom", needs("settings-1"));
        let first = ns.release_to_the_end(&first).await?;
        let second = app("2").container("envFrom", needs("settings-2"));
        let held = second.clone().hold(0, 600);
        ns.release(&held).await?;
        let canary = ns.held("canary").await?;
        // As a GitOps tool does that prunes what Git no longer has.
        ns.delete::<ConfigMap>("settings-1").await?;
        let generation = ns.release(&second).await?;
        ns.until("UndoPossible=False", PATIENCE, |state| {
            let status = state.status("app");
            let said = status.conditions.iter().any(|c| {
                c.type_ == "UndoPossible" && c.status == "False" && c.message.contains("settings-1")
            });
            said.then_some(())
        })
        .await?;
        ns.pods(&[(&first, 3), (&canary, 1)]).await?;
        ns.kubectl(&["create", "configmap", "settings-1", "--from-literal=A=b"])
            .await?;
        assert_eq!(ns.ready(generation).await?, canary);
        assert!(holds(&ns.status(), "UndoPossible"));
        Ok(())
    })
    .await;
}
