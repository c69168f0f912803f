//! Scaling in mid-rollout, as people and autoscalers do.

use serde_json::Value;
use testbed::{Namespace, Result};

use crate::app::{APP, Change as _, app};
use crate::play::{PATIENCE, Play as _, condition, play};

async fn scale(ns: &Namespace, replicas: u32) -> Result<()> {
    let count = format!("--replicas={replicas}");
    ns.kubectl(&["scale", "rollout.stepgate.io/app", &count])
        .await
        .map(drop)
}

#[tokio::test]
async fn both_revisions_follow_the_scale_to_zero_and_back() {
    play("scale", async |ns| {
        // As an autoscaler wants it: not in what is applied.
        let without_size = |mut rollout: Value| {
            rollout["spec"].as_object_mut().unwrap().remove("replicas");
            rollout
        };
        let first = ns.release_to_the_end(&without_size(app("1"))).await?;
        scale(ns, 4).await?;
        ns.pods(&[(&first, 4)]).await?;
        let second = without_size(app("2").hold(1, 600));
        ns.release(&second).await?;
        let canary = ns.held("half").await?;
        ns.pods(&[(&first, 2), (&canary, 2)]).await?;
        scale(ns, 8).await?;
        ns.pods(&[(&first, 4), (&canary, 4)]).await?;
        scale(ns, 2).await?;
        ns.pods(&[(&first, 1), (&canary, 1)]).await?;
        scale(ns, 0).await?;
        ns.pods(&[]).await?;
        ns.tell(APP, "promote", &format!("{canary}/half too-early"))
            .await?;
        assert_eq!(ns.answer("promote", "too-early").await?.0, "Ignored");
        scale(ns, 4).await?;
        ns.held("half").await?;
        ns.pods(&[(&first, 2), (&canary, 2)]).await?;
        ns.tell(APP, "promote", &format!("{canary}/half on"))
            .await?;
        ns.pods(&[(&canary, 4)]).await?;
        // What an autoscaler reads.
        ns.until("the scale's selector and count", PATIENCE, |state| {
            let status = state.status(APP);
            (status.selector.as_deref() == Some("app=app") && status.replicas == 4).then_some(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_stable_revision_is_scaled_without_a_release() {
    play("scale-stable", async |ns| {
        let stable = ns.release_to_the_end(&app("1")).await?;
        scale(ns, 6).await?;
        ns.pods(&[(&stable, 6)]).await?;
        scale(ns, 0).await?;
        ns.pods(&[]).await?;
        ns.until("Ready by ScaledToZero", PATIENCE, |state| {
            let status = state.status(APP);
            let said = condition(&status, "Ready")?;
            (said.status == "True" && said.reason == "ScaledToZero").then_some(())
        })
        .await?;
        scale(ns, 1).await?;
        ns.pods(&[(&stable, 1)]).await
    })
    .await;
}
