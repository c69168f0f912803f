//! Jobs of one pod that is not tried again.

use stepgate::{
    plan::intent::{Kind, Write},
    simulate::{Action, object::Watched},
};

use super::{delete, writes::hold};
use crate::{
    manifest,
    play::Play,
    side::{Deed, Side},
};

/// Longer than any script.
const LONG: i64 = 1_000;

/// A Job that has been released, and whose pod runs if it is to.
async fn released<S: Side>(play: &mut Play<S>, image: &str, deadline: i64) {
    let manifest = manifest::database("db");
    play.write(
        "create db",
        Write::Create {
            kind: Kind::Database,
            manifest,
        },
    )
    .await;
    let base = play.base(Watched::Databases, "db").await;
    let owner = manifest::owned_by("DatabaseSchema", &base);
    let manifest = manifest::job("job", image, deadline, Some(&owner));
    play.write(
        "create a Job of db, suspended",
        Write::Create {
            kind: Kind::Job,
            manifest,
        },
    )
    .await;
    play.look().await;
    let base = play.base(Watched::Jobs, "job").await;
    play.write("release it", Write::ReleaseJob { base }).await;
    if image != manifest::NEVER_STARTS {
        play.happens("its pod runs", Deed::JobRuns("job".into()))
            .await;
    }
}

async fn ended<S: Side>(play: &mut Play<S>, image: &str, well: bool) {
    released(play, image, LONG).await;
    play.look().await;
    let words = if well { "succeeds" } else { "fails" };
    let deed = Deed::JobEnds("job".into(), well);
    play.happens(&format!("its pod {words}"), deed).await;
    play.look().await;
    let base = play.base(Watched::Jobs, "job").await;
    play.write("delete it", delete(Kind::Job, base)).await;
    play.look().await;
}

pub async fn succeeds<S: Side>(play: &mut Play<S>) {
    ended(play, manifest::GOOD, true).await;
}

pub async fn fails<S: Side>(play: &mut Play<S>) {
    ended(play, manifest::FAILS, false).await;
}

pub async fn runs_into_its_deadline<S: Side>(play: &mut Play<S>) {
    released(play, manifest::HANGS, 4).await;
    let cut_off = Deed::JobCutOff("job".into(), 4);
    play.happens("four seconds go by", cut_off).await;
    play.look().await;
    let stopped = Deed::JobPodStopped("job".into());
    play.happens("its pod has stopped", stopped).await;
    play.look().await;
}

pub async fn never_starts<S: Side>(play: &mut Play<S>) {
    released(play, manifest::NEVER_STARTS, 6).await;
    // Its pod must have its place before.
    play.look().await;
    let cut_off = Deed::JobCutOff("job".into(), 6);
    play.happens("six seconds go by", cut_off).await;
    play.look().await;
    let stopped = Deed::JobPodStopped("job".into());
    play.happens("its pod has stopped", stopped).await;
    play.look().await;
}

pub async fn is_deleted_while_it_runs<S: Side>(play: &mut Play<S>) {
    released(play, manifest::GOOD, LONG).await;
    play.look().await;
    let delete = Action::DeleteJobs("shop".into());
    play.person("somebody deletes the Jobs", delete).await;
    play.look().await;
}

pub async fn goes_with_its_database<S: Side>(play: &mut Play<S>) {
    released(play, manifest::GOOD, LONG).await;
    play.look().await;
    let base = play.base(Watched::Databases, "db").await;
    play.write("delete db", delete(Kind::Database, base)).await;
    play.look().await;
}

pub async fn outlives_its_database_while_that_is_held<S: Side>(play: &mut Play<S>) {
    released(play, manifest::GOOD, LONG).await;
    play.look().await;
    let base = play.base(Watched::Databases, "db").await;
    play.write("take hold of db", hold(&base, Some("job")))
        .await;
    let base = play.base(Watched::Databases, "db").await;
    play.write("delete db", delete(Kind::Database, base)).await;
    play.look().await;
    let ends = Deed::JobEnds("job".into(), true);
    play.happens("its pod succeeds", ends).await;
    play.look().await;
    let base = play.base(Watched::Databases, "db").await;
    play.write("let db go", hold(&base, None)).await;
    play.look().await;
}
