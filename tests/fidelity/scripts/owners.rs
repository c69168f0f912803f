//! What becomes of objects when their owner goes.

use serde_json::Value;
use stepgate::{
    api::RolloutStatus,
    plan::intent::{Kind, Write},
    simulate::{Action, object::Watched, scenario},
};

use super::{deployed, nobody, scale};
use crate::{
    manifest,
    play::Play,
    side::{Deed, Side},
};

/// Rollout `shop`, and the reference by which something is its own.
async fn shop<S: Side>(play: &mut Play<S>) -> Value {
    let apply = scenario::apply(scenario::shop("v1", 2, None));
    play.person("somebody applies Rollout shop", apply).await;
    let base = play.base(Watched::Rollouts, "shop").await;
    manifest::owned_by("Rollout", &base)
}

async fn family<S: Side>(play: &mut Play<S>) -> Value {
    let owner = shop(play).await;
    let revision = manifest::revision("web", Some(&owner));
    let create = Write::Create {
        kind: Kind::Revision,
        manifest: revision,
    };
    play.write("create its ControllerRevision", create).await;
    let manifest = manifest::database("db");
    play.write(
        "create a DatabaseSchema",
        Write::Create {
            kind: Kind::Database,
            manifest,
        },
    )
    .await;
    deployed(play, "web", 2, Some(&owner)).await;
    play.ready(&["web/1"]).await;
    owner
}

async fn stopped<S: Side>(play: &mut Play<S>) {
    for pod in ["web/1", "web/2"] {
        let stopped = Deed::Stopped(play.pod(pod));
        play.happens(&format!("pod {pod} has stopped"), stopped)
            .await;
    }
    play.look().await;
}

pub async fn gone_takes_what_it_owns<S: Side>(play: &mut Play<S>) {
    family(play).await;
    play.person(
        "somebody deletes the Rollout",
        Action::Delete("shop".into()),
    )
    .await;
    play.look().await;
    stopped(play).await;
}

pub async fn that_are_not_there<S: Side>(play: &mut Play<S>) {
    let nobody = nobody();
    let manifest = manifest::revision("r1", Some(&nobody));
    let create = Write::Create {
        kind: Kind::Revision,
        manifest,
    };
    play.write("create a ControllerRevision of nobody", create)
        .await;
    play.look().await;
    let owner = shop(play).await;
    let manifest = manifest::revision("r2", Some(&owner));
    let create = Write::Create {
        kind: Kind::Revision,
        manifest,
    };
    play.write("create one of shop", create).await;
    deployed(play, "web", 0, Some(&owner)).await;
    let base = play.base(Watched::Deployments, "web").await;
    let adopt = |owner: Value, base| Write::Adopt {
        kind: Kind::Deployment,
        base,
        owner: serde_json::json!([owner]),
    };
    play.write("adopt the Deployment the same", adopt(owner, base))
        .await;
    play.look().await;
    let base = play.base(Watched::Deployments, "web").await;
    play.write("adopt it for nobody", adopt(nobody, base)).await;
    play.look().await;
}

pub async fn of_the_same_name<S: Side>(play: &mut Play<S>) {
    let gone = shop(play).await;
    play.look().await;
    play.person(
        "somebody deletes the Rollout",
        Action::Delete("shop".into()),
    )
    .await;
    let owner = shop(play).await;
    let manifest = manifest::revision("r1", Some(&gone));
    let create = Write::Create {
        kind: Kind::Revision,
        manifest,
    };
    play.write(
        "create a ControllerRevision of the one that is gone",
        create,
    )
    .await;
    let manifest = manifest::revision("r2", Some(&owner));
    let create = Write::Create {
        kind: Kind::Revision,
        manifest,
    };
    play.write("create one of the one that is there", create)
        .await;
    play.look().await;
    let manifest = manifest::revision("r3", None);
    play.write(
        "create one of nobody",
        Write::Create {
            kind: Kind::Revision,
            manifest,
        },
    )
    .await;
    let base = play.base(Watched::Revisions, "r3").await;
    let adopt = Write::Adopt {
        kind: Kind::Revision,
        base,
        owner: serde_json::json!([owner]),
    };
    play.write("adopt it", adopt).await;
    play.look().await;
    play.person(
        "somebody deletes the Rollout",
        Action::Delete("shop".into()),
    )
    .await;
    play.look().await;
}

pub async fn in_the_foreground<S: Side>(play: &mut Play<S>) {
    family(play).await;
    play.look().await;
    let deed = Action::DeleteInForeground("shop".into());
    play.person("somebody deletes the Rollout in the foreground", deed)
        .await;
    play.look().await;
    let base = play.base(Watched::Deployments, "web").await;
    play.write("scale its Deployment to 3", scale(base, 2, 3))
        .await;
    let base = play.base(Watched::Rollouts, "shop").await;
    let status = Box::new(RolloutStatus::default());
    play.write("record a status", Write::RecordStatus { base, status })
        .await;
    play.person("somebody scales it to 5", scenario::scale(5))
        .await;
    play.look().await;
    stopped(play).await;
}
