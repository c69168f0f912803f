//! Floor and ceiling with strict bounds, through a release and its undo.

use std::time::SystemTime;

use serde_json::json;

use crate::app::{APP, Change as _, app};
use crate::play::{Play as _, play};

#[tokio::test]
async fn no_pod_is_missed_with_surge_and_none_is_added_without() {
    play("bounds", async |ns| {
        let strict = |release: &str, surge: i32, unavailable: i32| {
            let strict = app(release).with("/strategy/maxSurge", json!(surge));
            strict.with("/strategy/maxUnavailable", json!(unavailable))
        };
        let first = ns.release_to_the_end(&strict("1", 1, 0)).await?;
        ns.pods(&[(&first, 4)]).await?;
        let began = SystemTime::now();
        let second = ns.release_to_the_end(&strict("2", 1, 0)).await?;
        ns.pods(&[(&second, 4)]).await?;
        let fewest = ns.view.read(|state| state.fewest_ready_since(began));
        assert!(
            fewest >= 4,
            "with surge only, {fewest} were ready at a time"
        );

        let began = SystemTime::now();
        ns.release(&strict("3", 0, 1).hold(1, 600)).await?;
        let third = ns.held("half").await?;
        ns.tell(APP, "undo", &format!("{third} back")).await?;
        ns.pods(&[(&second, 4)]).await?;
        let state = ns.view.now();
        assert!(state.fewest_ready_since(began) >= 3, "{:?}", state.ready);
        let most = state
            .ready
            .iter()
            .filter(|(at, _)| *at > began)
            .map(|(_, n)| *n);
        assert!(most.max().unwrap_or(0) <= 4, "{:?}", state.ready);
        Ok(())
    })
    .await;
}
