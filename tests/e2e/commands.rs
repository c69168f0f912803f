//! What people tell a Rollout.

use serde_json::json;
use stepgate::api::status::Outcome;

use crate::app::{APP, Change as _, app};
use crate::play::{Play as _, outcome, play};

#[tokio::test]
async fn promote_leaves_a_step_and_a_stale_one_is_ignored() {
    play("promote", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        let generation = ns.release(&app("2").hold(0, 600).hold(1, 600)).await?;
        let second = ns.held("canary").await?;
        ns.tell(APP, "promote", &format!("{first}/canary stale"))
            .await?;
        let (result, words) = ns.answer("promote", "stale").await?;
        assert_eq!(result, "Ignored");
        assert!(words.contains(&first), "{words}");
        ns.tell(APP, "promote", &format!("{second}/canary one"))
            .await?;
        ns.held("half").await?;
        ns.pods(&[(&first, 2), (&second, 2)]).await?;
        // Acknowledged once: it promotes no further step by being there.
        assert_eq!(ns.answer("promote", "one").await?.0, "Done");
        ns.tell(APP, "promote", &format!("{second}/half two"))
            .await?;
        assert_eq!(ns.ready(generation).await?, second);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pause_holds_and_resume_goes_on() {
    play("pause", async |ns| {
        ns.release_to_the_end(&app("1")).await?;
        let generation = ns.release(&app("2").hold(0, 3)).await?;
        let second = ns.held("canary").await?;
        ns.tell(APP, "pause", &format!("{second} wait")).await?;
        assert_eq!(ns.answer("pause", "wait").await?.0, "Done");
        ns.says("paused").await?;
        // Past the end of its hold.
        ns.until_held_for("canary", 4).await?;
        ns.tell(APP, "resume", &format!("{second} go")).await?;
        assert_eq!(ns.ready(generation).await?, second);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_paused_spec_starts_nothing() {
    play("spec-paused", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        let paused = app("2").with("/paused", json!(true));
        ns.release(&paused).await?;
        ns.says("paused").await?;
        ns.pods(&[(&first, 4)]).await?;
        let second = ns
            .release_to_the_end(&app("2").with("/paused", json!(false)))
            .await?;
        ns.pods(&[(&second, 4)]).await
    })
    .await;
}

#[tokio::test]
async fn undo_takes_back_what_is_on_its_way_and_what_was_stable() {
    play("undo", async |ns| {
        let first = ns.release_to_the_end(&app("1")).await?;
        let second = ns.release_to_the_end(&app("2")).await?;
        let generation = ns.release(&app("3").hold(0, 600)).await?;
        let third = ns.held("canary").await?;
        ns.tell(APP, "undo", &format!("{third} one")).await?;
        ns.stalled(generation, "UndoneByPerson").await?;
        ns.pods(&[(&second, 4)]).await?;
        assert_eq!(outcome(&ns.view.now(), &third), Some(Outcome::Failed));
        // Nothing is on its way: the present stable goes back to the one before.
        ns.tell(APP, "undo", &format!("{second} two")).await?;
        let (result, words) = ns.answer("undo", "two").await?;
        assert_eq!(result, "Done", "{words}");
        ns.pods(&[(&first, 4)]).await
    })
    .await;
}
