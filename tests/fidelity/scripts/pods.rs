//! Deployments and their pods.

use stepgate::{
    plan::intent::{Kind, Write},
    simulate::{Action, object::Watched},
};

use super::{delete, deployed, scale};
use crate::{
    manifest,
    play::Play,
    side::{Deed, Side},
};

async fn scaled<S: Side>(play: &mut Play<S>, from: i32, to: i32) {
    let base = play.base(Watched::Deployments, "web").await;
    let words = format!("scale it from {from} to {to}");
    play.write(&words, scale(base, from, to)).await;
    play.look().await;
}

pub async fn come_up_and_are_lowered<S: Side>(play: &mut Play<S>) {
    deployed(play, "web", 0, None).await;
    scaled(play, 0, 3).await;
    play.ready(&["web/2"]).await;
    play.look().await;
    play.ready(&["web/1", "web/3"]).await;
    play.look().await;
    let crash = Deed::Crash(play.pod("web/3"));
    play.happens("the container of web/3 exits", crash).await;
    play.look().await;
    play.happens("an hour goes by", Deed::Seconds(3_600)).await;
    play.ready(&["web/3"]).await;
    play.look().await;
    scaled(play, 3, 1).await;
    scaled(play, 1, 2).await;
    scaled(play, 2, 0).await;
}

pub async fn that_are_not_ready_go_first<S: Side>(play: &mut Play<S>) {
    deployed(play, "web", 4, None).await;
    play.ready(&["web/1", "web/3"]).await;
    play.look().await;
    scaled(play, 4, 3).await;
    scaled(play, 3, 2).await;
    play.which("web").await;
    play.happens("no pod finds room any more", Deed::Room(0))
        .await;
    scaled(play, 2, 3).await;
    let crash = Deed::Crash(play.pod("web/1"));
    play.happens("the container of web/1 exits", crash).await;
    play.look().await;
    scaled(play, 3, 2).await;
    play.which("web").await;
    scaled(play, 2, 1).await;
    play.which("web").await;
}

pub async fn that_were_ready_last_go_first<S: Side>(play: &mut Play<S>) {
    deployed(play, "web", 3, None).await;
    play.ready(&["web/2"]).await;
    play.happens("three hours go by", Deed::Seconds(10_800))
        .await;
    play.ready(&["web/1"]).await;
    // Between times that are closer than one to two, chance decides.
    play.happens("twenty minutes go by", Deed::Seconds(1_200))
        .await;
    play.ready(&["web/3"]).await;
    play.look().await;
    scaled(play, 3, 2).await;
    play.which("web").await;
    scaled(play, 2, 1).await;
    play.which("web").await;
}

pub async fn are_replaced<S: Side>(play: &mut Play<S>) {
    deployed(play, "web", 2, None).await;
    play.ready(&["web/1", "web/2"]).await;
    play.look().await;
    let end = Deed::DeletePod(play.pod("web/1"));
    play.happens("somebody deletes web/1", end).await;
    play.look().await;
    play.ready(&["web/3"]).await;
    play.look().await;
    let stopped = Deed::Stopped(play.pod("web/1"));
    play.happens("web/1 has stopped", stopped).await;
    play.look().await;
    let lost = Deed::Lost(play.pod("web/2"));
    play.happens("web/2 is lost with its node", lost).await;
    play.look().await;
    play.which("web").await;
    play.happens("no pod finds room any more", Deed::Room(0))
        .await;
    scaled(play, 2, 3).await;
    let end = Deed::DeletePod(play.pod("web/5"));
    play.happens("somebody deletes web/5, which has no place", end)
        .await;
    play.look().await;
    play.which("web").await;
}

pub async fn wait_for_room<S: Side>(play: &mut Play<S>) {
    play.happens("the nodes have room for one pod", Deed::Room(1))
        .await;
    deployed(play, "web", 2, None).await;
    scaled(play, 2, 3).await;
    play.happens("room for two", Deed::Room(2)).await;
    play.look().await;
    scaled(play, 3, 2).await;
    play.happens("room for three", Deed::Room(3)).await;
    play.look().await;
    scaled(play, 2, 0).await;
}

pub async fn wait_for_quota<S: Side>(play: &mut Play<S>) {
    play.happens("the quota permits two pods", Deed::Quota(2))
        .await;
    deployed(play, "web", 1, None).await;
    scaled(play, 1, 3).await;
    play.ready(&["web/1"]).await;
    play.look().await;
    play.happens("it permits three", Deed::Quota(3)).await;
    play.look().await;
    scaled(play, 3, 5).await;
    scaled(play, 5, 3).await;
    let end = Deed::DeletePod(play.pod("web/1"));
    play.happens(
        "somebody deletes web/1, which counts until it has stopped",
        end,
    )
    .await;
    play.look().await;
    let stopped = Deed::Stopped(play.pod("web/1"));
    play.happens("web/1 has stopped", stopped).await;
    play.happens("some seconds go by", Deed::Seconds(12)).await;
    play.look().await;
}

pub async fn go_with_their_deployment<S: Side>(play: &mut Play<S>) {
    deployed(play, "web", 2, None).await;
    play.ready(&["web/1"]).await;
    play.look().await;
    let base = play.base(Watched::Deployments, "web").await;
    play.write("delete it", delete(Kind::Deployment, base))
        .await;
    play.look().await;
    let manifest = manifest::deployment("web", 0, None);
    play.write(
        "create it anew",
        Write::Create {
            kind: Kind::Deployment,
            manifest,
        },
    )
    .await;
    play.look().await;
    for pod in ["web/1", "web/2"] {
        let stopped = Deed::Stopped(play.pod(pod));
        play.happens(&format!("{pod} has stopped"), stopped).await;
    }
    play.look().await;
}

pub async fn are_nobodys_business_of_an_edit_at_zero<S: Side>(play: &mut Play<S>) {
    deployed(play, "web", 0, None).await;
    let edit = Action::EditChild {
        rollout: "shop".into(),
        image: manifest::GOOD.into(),
        to: manifest::FAILS.into(),
    };
    play.person("somebody edits its template", edit).await;
    play.look().await;
    scaled(play, 0, 1).await;
}
