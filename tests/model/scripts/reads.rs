//! What the operator reads live.

use stepgate::{
    plan::{
        facts::{ConfigRef, Question},
        intent::Write,
    },
    simulate::{Action, object::Watched, scenario, surroundings::Circumstance},
};

use super::writes::hold;
use crate::{manifest, play::Play, side::Side};

pub async fn are_live<S: Side>(play: &mut Play<S>) {
    play.read("shop").await;
    let apply = scenario::apply(scenario::shop("v1", 2, None));
    play.person("somebody applies Rollout shop", apply).await;
    play.read("shop").await;
    let scale = Action::Scale {
        rollout: "shop".into(),
        replicas: 3,
    };
    play.person("somebody scales it to 3", scale).await;
    play.read("shop").await;

    let wanted = Question::Config(vec![ConfigRef {
        secret: false,
        name: "shop-config".into(),
    }]);
    let config = |exists| Action::Config {
        name: "shop-config".into(),
        exists,
    };
    play.ask("shop", &wanted).await;
    play.person("somebody creates it", config(true)).await;
    play.ask("shop", &wanted).await;
    play.person("somebody prunes it", config(false)).await;
    play.ask("shop", &wanted).await;

    let legacy = |exists| Action::Around(Circumstance::Deployment { exists });
    play.ask("shop", &Question::Overlaps).await;
    let words = "somebody runs another Deployment with its labels";
    play.person(words, legacy(true)).await;
    play.ask("shop", &Question::Overlaps).await;
    play.person("somebody deletes that", legacy(false)).await;
    play.ask("shop", &Question::Overlaps).await;

    play.ask("shop", &Question::Revisions).await;
    for name in ["r1", "r2"] {
        let manifest = manifest::revision(name, None);
        let create = Write::CreateRevision { manifest };
        play.write(&format!("create {name}"), create).await;
    }
    play.ask("shop", &Question::Revisions).await;

    let held = Question::Hold("db".into());
    play.ask("shop", &held).await;
    let manifest = manifest::database("db");
    play.write("create db", Write::CreateDatabase { manifest })
        .await;
    play.ask("shop", &held).await;
    play.look().await;
    let free = play.base(Watched::Databases, "db").await;
    play.write("take hold of it", hold(&free, Some("job")))
        .await;
    play.ask("shop", &held).await;
    let manifest = manifest::job("job", "v1", 60, None);
    play.write("create a Job, suspended", Write::CreateJob { manifest })
        .await;
    play.ask("shop", &held).await;
}
