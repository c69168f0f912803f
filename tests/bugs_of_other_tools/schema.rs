//! Migrations run once, before the first pod, to their end.

use std::collections::BTreeSet;

use stepgate::simulate::{request::Fate, scenarios, story::Detail};

use crate::film::Film;

/// No pod of the image is there before its one expand has ended.
fn migrated_first(film: &Film, image: &str, job: &str) {
    let ran = film.when(0.0, "its Job runs", |f| f.running_jobs.contains(job));
    let ended = film.when(ran, "its Job has ended", |f| !f.running_jobs.contains(job));
    film.always(0.0, ended - 0.25, "there is no pod yet", |f| {
        f.is_out(image)
    });
    film.check("it ran once", film.expands(image) == 1);
}

fn job_of(film: &Film, image: &str) -> String {
    let world = film.world();
    let mut jobs = world.live.jobs.values();
    let job = jobs.find(|j| &*j.image == image);
    job.expect("its Job is kept").meta.name.to_string()
}

#[test]
fn the_first_deployment_is_migrated_too() {
    let film = Film::of("first-deploy");
    migrated_first(&film, "v1", &job_of(&film, "v1"));
    film.ends("v1 is stable", |f| {
        f.ready("v1") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_failed_migration_starts_no_pod() {
    let film = Film::of("migration-fails");
    film.always(0.0, 400.0, "v2 has no pod", |f| f.is_out("v2"));
    film.always(120.0, 400.0, "v1 is whole", |f| f.ready("v1") == 4);
    film.check("it was not repeated", film.expands("v2") == 1);
    film.ends("that is told", |f| {
        f.reason() == "ExpandFailed" && f.kstatus() == "Failed"
    });
    film.check(
        "with the end of the log",
        film.told("its log ends: the last line") > 0,
    );
}

#[test]
fn a_migration_that_cannot_start_is_no_success() {
    let film = Film::of("migration-cannot-start");
    film.always(0.0, 500.0, "v2 has no pod", |f| f.is_out("v2"));
    film.always(120.0, 500.0, "v1 is whole", |f| f.ready("v1") == 4);
    let failed = film.when(120.0, "it has failed", |f| f.reason() == "ExpandFailed");
    film.check("at its deadline", failed < 280.0);
    film.check("it was not repeated", film.expands("v2") == 1);
}

#[test]
fn an_expired_job_is_not_run_again() {
    let film = Film::of("jobs-expire");
    film.check(
        "the Jobs went, the operator and the status too",
        film.told("> somebody deletes its Jobs") == 2 && film.told("the operator dies") == 1,
    );
    film.check("v1 was migrated once", film.expands("v1") == 1);
    film.check("v2 was migrated once", film.expands("v2") == 1);
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_job_that_vanished_is_run_again_only_when_a_person_says_so() {
    let film = Film::of("job-deleted-by-hand");
    let gone = film.when(140.0, "it is said", |f| f.reason() == "JobVanished");
    film.check("at once", gone < 145.0);
    film.always(gone, 300.0, "no Job runs, no pod starts", |f| {
        f.running_jobs.is_empty() && f.is_out("v2")
    });
    film.check("once more after the retry", film.expands("v2") == 2);
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn one_migration_at_a_time_on_a_database() {
    let film = Film::of("two-rollouts-on-one-database");
    film.always(0.0, 600.0, "no two run at once", |f| {
        f.running_jobs.len() <= 1
    });
    for image in ["v1", "v2", "w1", "w2"] {
        film.check(
            &format!("{image} was migrated once"),
            film.expands(image) == 1,
        );
    }
    film.ends("both are through", |f| {
        f.ready("v2") == 4 && f.pods_of("worker", "w2").ready == 2
    });
}

#[test]
fn no_apply_runs_or_restarts_a_migration() {
    let film = Film::of("applied-again-and-again");
    film.check("the applies came", film.told("> applied: v2") == 4);
    migrated_first(&film, "v2", &job_of(&film, "v2"));
    film.check(
        "it took its 60 s, uncut",
        film.told("v2-expand-1 succeeded") == 1,
    );
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn another_image_is_migrated_whatever_the_version_says() {
    let film = Film::of("image-without-a-version");
    migrated_first(&film, "v2", &job_of(&film, "v2"));
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_release_on_the_heels_of_another_is_migrated_too() {
    let film = Film::of("third-revision-while-expanding");
    film.check(
        "v2's migration ended well, uncut",
        film.told("shop-v2-expand-1 succeeded") == 1,
    );
    film.always(0.0, 800.0, "v2 never had a pod", |f| f.is_out("v2"));
    film.always(0.0, 800.0, "no two ran at once", |f| {
        f.running_jobs.len() <= 1
    });
    migrated_first(&film, "v3", &job_of(&film, "v3"));
    film.ends("v3 is stable", |f| {
        f.ready("v3") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_migration_outlives_the_operator() {
    let film = Film::of("operator-dies-while-expanding");
    film.check("it died", film.told("the operator dies") == 1);
    migrated_first(&film, "v2", &job_of(&film, "v2"));
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn whatever_becomes_of_a_write_it_runs_once() {
    let good = scenarios::named("good").unwrap();
    let writes = good.play(1, Detail::Nothing).0.world().faults.begun;
    assert!(writes > 30);
    for write in 0..writes {
        for fate in [
            Fate::Overtaken,
            Fate::Unanswered(None),
            Fate::Unanswered(Some(30)),
            Fate::CrashAfter,
        ] {
            let mut scenario = good.clone().lasts(800);
            scenario.fates.insert(write, fate);
            let (simulation, result) = scenario.play(1, Detail::Nothing);
            result.unwrap();
            let world = simulation.world();
            let runs =
                ["v1", "v2"].map(|image| world.runs(image, stepgate::api::PhaseKind::Expand));
            assert_eq!(runs, [1, 1], "write {write} {fate:?}");
            assert_eq!(world.unsettled(), None, "write {write} {fate:?}");
            let ready: BTreeSet<_> = world
                .live
                .pods
                .values()
                .filter(|p| p.ready_since.is_some())
                .map(|p| p.revision.clone())
                .collect();
            assert_eq!(ready.len(), 1, "write {write} {fate:?}");
        }
    }
}

#[test]
fn a_retry_after_a_failed_migration_goes_on() {
    let film = Film::of("migration-fails-then-retry");
    film.always(0.0, 200.0, "v2 has no pod", |f| f.is_out("v2"));
    film.check("it ran twice", film.expands("v2") == 2);
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn two_attempts_never_overlap() {
    let film = Film::of("retry-while-the-old-pod-ends");
    film.check(
        "the Job was called failed",
        film.told("shop-v2-expand-1 failed") == 1,
    );
    film.always(
        241.0,
        269.0,
        "its pod is still ending, and nothing else runs",
        |f| f.running_jobs.len() == 1 && f.reason() != "ExpandFailed",
    );
    film.check(
        "a retry is refused until then",
        film.told("CommandIgnored: retry") == 1,
    );
    film.always(0.0, 700.0, "no two run at once", |f| {
        f.running_jobs.len() <= 1
    });
    film.check("it was run again afterwards", film.expands("v2") == 2);
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn an_undo_cuts_no_migration() {
    let film = Film::of("undo-while-expanding");
    film.always(140.25, 178.0, "the Job runs on", |f| {
        f.running_jobs.len() == 1
    });
    film.check("to its end", film.told("shop-v2-expand-1 succeeded") == 1);
    film.always(0.0, 400.0, "v2 has no pod", |f| f.is_out("v2"));
    let world = film.world();
    let record = &world.live.databases["shop-db"].record;
    assert!(record.holder.is_none() && record.dirty.is_empty());
    drop(world);
}

#[test]
fn a_deletion_cuts_no_migration_and_leaves_no_lock() {
    let film = Film::of("deleted-while-expanding");
    film.always(141.0, 178.0, "the Job runs on", |f| {
        f.running_jobs.len() == 1
    });
    film.check("to its end", film.told("shop-v2-expand-1 succeeded") == 1);
    film.ends("the Rollout is gone", |f| {
        f.kstatus() == "NotFound" && f.children == 0
    });
    let world = film.world();
    let record = &world.live.databases["shop-db"].record;
    assert!(record.holder.is_none() && record.dirty.is_empty());
    drop(world);
}
