//! What the operator reads live.

use std::sync::Arc;

use stepgate::{
    plan::{
        facts::{ConfigRef, Question},
        intent::{Kind, Write},
        revision::Wanted,
    },
    simulate::{Action, action::Circumstance, object::Watched, scenario},
};

use super::writes::hold;
use crate::{manifest, play::Play, side::Side};

pub async fn are_live<S: Side>(play: &mut Play<S>) {
    let live = Question::Rollout("shop".into());
    play.read(&live).await;
    let shop = scenario::shop("v1", 2, None);
    let overlaps = Question::Overlaps(Arc::new(Wanted::new(shop.clone())));
    let apply = scenario::apply(shop);
    play.person("somebody applies Rollout shop", apply).await;
    play.read(&live).await;
    let scale = Action::Scale {
        rollout: "shop".into(),
        replicas: 3,
    };
    play.person("somebody scales it to 3", scale).await;
    play.read(&live).await;

    let wanted = Question::Config(vec![ConfigRef {
        secret: false,
        name: "shop-config".into(),
    }]);
    let config = |exists| Action::Config {
        name: "shop-config".into(),
        exists,
    };
    play.read(&wanted).await;
    play.person("somebody creates it", config(true)).await;
    play.read(&wanted).await;
    play.person("somebody prunes it", config(false)).await;
    play.read(&wanted).await;

    let legacy = |exists| Action::Around(Circumstance::Deployment { exists });
    play.read(&overlaps).await;
    let words = "somebody runs another Deployment with its labels";
    play.person(words, legacy(true)).await;
    play.read(&overlaps).await;
    play.person("somebody deletes that", legacy(false)).await;
    play.read(&overlaps).await;

    play.read(&Question::Revisions).await;
    for name in ["shop-r1", "shop-r2"] {
        let manifest = manifest::revision(name, None);
        let create = Write::Create {
            kind: Kind::Revision,
            manifest,
        };
        play.write(&format!("create {name}"), create).await;
    }
    play.read(&Question::Revisions).await;

    let held = Question::Hold("db".into());
    play.read(&held).await;
    let manifest = manifest::database("db");
    play.write(
        "create db",
        Write::Create {
            kind: Kind::Database,
            manifest,
        },
    )
    .await;
    play.read(&held).await;
    play.look().await;
    let free = play.base(Watched::Databases, "db").await;
    play.write("take hold of it", hold(&free, Some("job")))
        .await;
    play.read(&held).await;
    let manifest = manifest::job("job", "v1", 60, None);
    play.write(
        "create a Job, suspended",
        Write::Create {
            kind: Kind::Job,
            manifest,
        },
    )
    .await;
    play.read(&held).await;
}
