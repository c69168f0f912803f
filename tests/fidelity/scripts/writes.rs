//! How the operator's writes are answered, and what they change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stepgate::{
    api::{
        DatabaseRecord, RolloutStatus, keys,
        status::{Outcome, RevisionStatus},
    },
    plan::{
        facts::Base,
        intent::{Kind, Write},
    },
    simulate::{Action, object::Watched, scenario, server::INVALID_IMAGE},
};

use super::{another, at, delete, nobody, scale};
use crate::{manifest, play::Play, side::Side};

fn mark(base: &Base, outcome: Option<Outcome>, number: Option<i64>) -> Write {
    Write::MarkRevision {
        base: base.clone(),
        outcome,
        reason: "Passed: all".into(),
        number,
    }
}

pub async fn a_revision<S: Side>(play: &mut Play<S>) {
    let stable = Some(Outcome::Stable);
    let manifest = manifest::revision("r1", None);
    let create = Write::Create {
        kind: Kind::Revision,
        manifest,
    };
    play.write("create r1", create.clone()).await;
    play.write("create it again", create.clone()).await;
    play.look().await;
    let first = play.base(Watched::Revisions, "r1").await;
    play.write("mark it", mark(&first, stable, Some(4))).await;
    play.look().await;
    let second = play.base(Watched::Revisions, "r1").await;
    play.write("mark it the same", mark(&second, stable, Some(4)))
        .await;
    play.look().await;
    play.write("mark it as it was at first", mark(&first, None, None))
        .await;
    play.write(
        "mark another of that name",
        mark(&another(&second), None, None),
    )
    .await;
    play.write("take the mark back", mark(&second, None, None))
        .await;
    let third = play.base(Watched::Revisions, "r1").await;
    play.write("delete it as it was", delete(Kind::Revision, second))
        .await;
    play.write(
        "delete another of that name",
        delete(Kind::Revision, another(&third)),
    )
    .await;
    play.look().await;
    play.write("delete it", delete(Kind::Revision, third.clone()))
        .await;
    play.write("delete it again", delete(Kind::Revision, third.clone()))
        .await;
    play.write("mark what is gone", mark(&third, stable, None))
        .await;
    play.write("create it anew", create).await;
    play.look().await;
    let anew = play.base(Watched::Revisions, "r1").await;
    play.write("mark what is gone", mark(&at(&first, &anew), stable, None))
        .await;
    play.write("delete what is gone", delete(Kind::Revision, third))
        .await;
    play.look().await;
    play.history(Watched::Revisions, "r1").await;
}

fn record(base: &Base, available: i32) -> Write {
    let stable = RevisionStatus {
        revision: "r1".into(),
        available,
        ..RevisionStatus::default()
    };
    let status = RolloutStatus {
        observed_generation: Some(1),
        stable: Some(stable),
        // To the second, and not to a part of it.
        paused_since: Some(Time(Timestamp::constant(1_800_000_000, 700_000_000))),
        ..RolloutStatus::default()
    };
    Write::RecordStatus {
        base: base.clone(),
        status: Box::new(status),
    }
}

fn shop(image: &str, keep_replicas: bool) -> Action {
    Action::Apply {
        rollout: "shop".into(),
        spec: Box::new(scenario::shop(image, 4, None)),
        keep_replicas,
    }
}

pub async fn a_rollout<S: Side>(play: &mut Play<S>) {
    play.person("somebody applies Rollout shop", shop("v1", false))
        .await;
    play.look().await;
    let first = play.base(Watched::Rollouts, "shop").await;
    play.write("record a status", record(&first, 1)).await;
    play.look().await;
    let second = play.base(Watched::Rollouts, "shop").await;
    play.write("record the same status", record(&second, 1))
        .await;
    play.look().await;
    play.write("record upon an old copy", record(&first, 2))
        .await;
    play.write(
        "record upon another of that name",
        record(&another(&second), 2),
    )
    .await;
    play.person("somebody releases v1 again", scenario::release("v1", None))
        .await;
    play.look().await;
    play.person("somebody releases v2", scenario::release("v2", None))
        .await;
    play.look().await;
    play.write("record upon the copy from before", record(&second, 2))
        .await;
    let third = play.base(Watched::Rollouts, "shop").await;
    play.write("record upon the present one", record(&third, 2))
        .await;
    play.look().await;
    play.person("an autoscaler scales to 6", scenario::scale(6))
        .await;
    let paused = Action::Pause {
        rollout: "shop".into(),
        paused: true,
    };
    play.person("somebody pauses it", paused).await;
    play.look().await;
    play.person("somebody gives a command", scenario::command("pause"))
        .await;
    play.look().await;
    let last = play.base(Watched::Rollouts, "shop").await;
    play.person("somebody deletes it", Action::Delete("shop".into()))
        .await;
    play.write("record upon what is gone", record(&last, 3))
        .await;
    play.person("somebody applies it anew", shop("v1", false))
        .await;
    play.look().await;
    let anew = play.base(Watched::Rollouts, "shop").await;
    play.write("record upon what is gone", record(&last, 3))
        .await;
    play.write(
        "record upon what is gone, at this version",
        record(&at(&last, &anew), 3),
    )
    .await;
    play.look().await;
    play.history(Watched::Rollouts, "shop").await;
}

pub async fn a_rollout_applied_by_several<S: Side>(play: &mut Play<S>) {
    play.person(
        "somebody applies Rollout shop with 4 replicas",
        shop("v1", false),
    )
    .await;
    play.look().await;
    // Not the same again: the first write after the creation of an object stores the defaults that
    // its creation did not, even if it asks for nothing new. Nobody can tell but by its version.
    play.person("an autoscaler scales to 6", scenario::scale(6))
        .await;
    play.person("applied without replicas", shop("v2", true))
        .await;
    play.look().await;
    play.person("an autoscaler scales to 9", scenario::scale(9))
        .await;
    play.person("applied without replicas", shop("v3", true))
        .await;
    play.person("applied without replicas, the same again", shop("v3", true))
        .await;
    play.look().await;
    play.person("applied with 4 replicas", shop("v3", false))
        .await;
    play.look().await;
    play.history(Watched::Rollouts, "shop").await;
}

fn fence(kind: Kind, base: &Base, epoch: i64) -> Write {
    Write::Fence {
        kind,
        base: base.clone(),
        epoch,
    }
}

pub async fn a_deployment<S: Side>(play: &mut Play<S>) {
    let manifest = manifest::deployment("web", 0, None);
    let create = Write::Create {
        kind: Kind::Deployment,
        manifest,
    };
    play.write("create web for no pods", create.clone()).await;
    play.write("create it again", create).await;
    let mut invalid = manifest::deployment("bad", 0, None);
    invalid["spec"]["template"]["spec"]["containers"][0]["image"] = INVALID_IMAGE.into();
    let create = Write::Create {
        kind: Kind::Deployment,
        manifest: invalid,
    };
    play.write("create one that is not valid", create).await;
    play.look().await;
    let first = play.base(Watched::Deployments, "web").await;
    play.write("scale it to 2", scale(first.clone(), 0, 2))
        .await;
    play.write("scale it upon the same copy", scale(first.clone(), 0, 3))
        .await;
    play.look().await;
    let second = play.base(Watched::Deployments, "web").await;
    play.write("settle at 2", scale(second.clone(), 2, 2)).await;
    play.write(
        "scale upon the copy from before",
        scale(second.clone(), 2, 3),
    )
    .await;
    play.look().await;
    let third = play.base(Watched::Deployments, "web").await;
    play.write("scale it to what it is", scale(third.clone(), 5, 2))
        .await;
    play.look().await;
    play.write("fence it", fence(Kind::Deployment, &third, 4))
        .await;
    play.write(
        "scale upon the copy from before",
        scale(third.clone(), 2, 3),
    )
    .await;
    play.look().await;
    let fourth = play.base(Watched::Deployments, "web").await;
    play.write("fence it the same", fence(Kind::Deployment, &fourth, 4))
        .await;
    play.write(
        "fence another of that name",
        fence(Kind::Deployment, &another(&fourth), 5),
    )
    .await;
    play.write("scale another of that name", scale(another(&fourth), 2, 3))
        .await;
    play.write("delete an old copy", delete(Kind::Deployment, first))
        .await;
    play.look().await;
    let by_hand = Action::ScaleChild {
        rollout: "shop".into(),
        image: manifest::GOOD.into(),
        replicas: 1,
    };
    play.person("somebody scales it to 1", by_hand).await;
    play.write("scale upon the copy from before", scale(fourth, 2, 3))
        .await;
    play.look().await;
    let fifth = play.base(Watched::Deployments, "web").await;
    play.write("delete it", delete(Kind::Deployment, fifth.clone()))
        .await;
    play.write("scale what is gone", scale(fifth, 1, 3)).await;
}

/// A record with a holder, for this Job, or without.
pub fn hold(base: &Base, job: Option<&str>) -> Write {
    let record = DatabaseRecord {
        holder: job.map(manifest::holder),
        undo_floor: Some(3),
        ..DatabaseRecord::default()
    };
    Write::RecordDatabase {
        base: base.clone(),
        record: Box::new(record),
        finalizers: job.iter().map(|_| keys::HELD.into()).collect(),
    }
}

pub async fn a_database<S: Side>(play: &mut Play<S>) {
    let manifest = manifest::database("db");
    let create = Write::Create {
        kind: Kind::Database,
        manifest,
    };
    play.write("create db", create.clone()).await;
    play.write("create it again", create.clone()).await;
    play.look().await;
    let first = play.base(Watched::Databases, "db").await;
    play.write("take hold of it", hold(&first, Some("job")))
        .await;
    play.look().await;
    let second = play.base(Watched::Databases, "db").await;
    play.write("take hold of it the same", hold(&second, Some("job")))
        .await;
    play.write("let it go upon an old copy", hold(&first, None))
        .await;
    play.write("let another of that name go", hold(&another(&second), None))
        .await;
    play.write("delete it as it was", delete(Kind::Database, first))
        .await;
    play.look().await;
    play.write(
        "delete it while it is held",
        delete(Kind::Database, second.clone()),
    )
    .await;
    play.look().await;
    let going = play.base(Watched::Databases, "db").await;
    play.write("hand it to another", hold(&going, Some("other")))
        .await;
    play.look().await;
    let going = play.base(Watched::Databases, "db").await;
    play.write("let it go upon the copy from before", hold(&second, None))
        .await;
    play.write("create it while it is going", create.clone())
        .await;
    play.write("let it go", hold(&going, None)).await;
    play.look().await;
    play.write("create it anew", create).await;
    let anew = play.base(Watched::Databases, "db").await;
    play.write("delete it", delete(Kind::Database, anew)).await;
    play.look().await;
    play.history(Watched::Databases, "db").await;
}

pub async fn a_job<S: Side>(play: &mut Play<S>) {
    let manifest = manifest::job("job", manifest::NEVER_STARTS, 1_000, None);
    let create = Write::Create {
        kind: Kind::Job,
        manifest,
    };
    play.write("create a Job", create.clone()).await;
    play.write("create it again", create).await;
    play.look().await;
    let first = play.base(Watched::Jobs, "job").await;
    play.write("fence it", fence(Kind::Job, &first, 4)).await;
    let release = |base: &Base| Write::ReleaseJob { base: base.clone() };
    play.write("release it upon the copy from before", release(&first))
        .await;
    play.look().await;
    let second = play.base(Watched::Jobs, "job").await;
    play.write("release another of that name", release(&another(&second)))
        .await;
    play.write("delete an old copy", delete(Kind::Job, first))
        .await;
    let adopt = Write::Adopt {
        kind: Kind::Job,
        base: another(&second),
        owner: serde_json::json!([nobody()]),
    };
    play.write("adopt another of that name", adopt).await;
    play.look().await;
    play.write("release it", release(&second)).await;
    play.look().await;
    let third = play.base(Watched::Jobs, "job").await;
    play.write("release it once more", release(&third)).await;
    play.write("fence it upon an old copy", fence(Kind::Job, &second, 5))
        .await;
    play.look().await;
    let fourth = play.base(Watched::Jobs, "job").await;
    play.write("delete it", delete(Kind::Job, fourth.clone()))
        .await;
    play.write("release what is gone", release(&fourth)).await;
    play.look().await;
}
