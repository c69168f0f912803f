//! Services of the operator's own.

use stepgate::{
    plan::{
        facts::Base,
        intent::{Kind, Write},
    },
    simulate::object::Watched,
};

use super::{another, at, delete};
use crate::{manifest, play::Play, side::Side};

fn select(base: &Base, revision: &str, port: u16, settles: bool) -> Write {
    Write::Select {
        base: base.clone(),
        revision: revision.into(),
        spec: manifest::selecting(revision, port).into(),
        settles,
    }
}

pub async fn follow_what_is_written<S: Side>(play: &mut Play<S>) {
    let create = Write::Create {
        kind: Kind::Service,
        manifest: manifest::service("users", "r1", None),
    };
    play.write("create a Service for r1", create.clone()).await;
    play.write("create it again", create).await;
    play.look().await;
    let first = play.base(Watched::Services, "users").await;
    let fence = Write::Fence {
        kind: Kind::Service,
        base: first.clone(),
        epoch: 4,
    };
    play.write("fence it", fence).await;
    play.write(
        "lead it to r2 upon the copy from before",
        select(&first, "r2", 80, false),
    )
    .await;
    let second = play.base(Watched::Services, "users").await;
    play.write(
        "lead another of that name to r2",
        select(&another(&second), "r2", 80, false),
    )
    .await;
    play.write("lead it to r2", select(&second, "r2", 80, false))
        .await;
    play.look().await;
    let third = play.base(Watched::Services, "users").await;
    play.write("lead it there once more", select(&third, "r2", 80, false))
        .await;
    play.write("settle it there", select(&third, "r2", 80, true))
        .await;
    let fourth = play.base(Watched::Services, "users").await;
    play.write(
        "lead it back upon an old copy",
        select(&at(&fourth, &third), "r1", 80, false),
    )
    .await;
    play.write("give it another port", select(&fourth, "r2", 8080, false))
        .await;
    play.look().await;
    play.write("delete it as it was", delete(Kind::Service, first))
        .await;
    let last = play.base(Watched::Services, "users").await;
    play.write("delete it", delete(Kind::Service, last)).await;
    play.look().await;
    play.history(Watched::Services, "users").await;
}
