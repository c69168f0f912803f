//! Users are served at every moment.

use crate::film::{FLOOR, Film};

/// When `v2` is released.
const RELEASE: f64 = 120.0;

#[test]
fn an_undo_of_nothing_takes_no_pod() {
    let film = Film::of("undo-of-nothing");
    film.always(145.0, 400.0, "all pods of v1 serve", |f| {
        f.ready("v1") == 4 && f.pods("v1").asked == 4
    });
    film.check(
        "the command is refused, and that is said",
        film.told("CommandIgnored: undo") == 1,
    );
    film.ends("the Rollout is Ready", |f| f.kstatus() == "Current");
}

#[test]
fn stable_keeps_its_pods_until_the_canary_serves() {
    let film = Film::of("slow-to-start");
    let serves = film.when(RELEASE, "v2 serves", |f| f.ready("v2") > 0);
    film.check("v2 takes its time", serves > RELEASE + 60.0);
    film.always(RELEASE, serves - 0.25, "stable is whole", |f| {
        f.ready("v1") == 4
    });
    film.always(RELEASE, 900.0, "the floor holds", |f| f.serving() >= FLOOR);
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.is_out("v1") && f.stable_is_wanted()
    });
}

#[test]
fn no_request_finds_nobody() {
    let film = Film::of("single-replica");
    film.always(100.0, 600.0, "somebody serves", |f| f.serving() >= 1);
    let given = film.requests(100.0, 600.0);
    film.check(
        "all 200 requests a second were given to a pod",
        (given - 100_000.0).abs() < 1.0,
    );
    film.ends("v2 is stable", |f| f.ready("v2") == 1 && f.is_out("v1"));
}

#[test]
fn an_undo_at_full_size_stays_above_the_floor() {
    let film = Film::of("undo-at-full-size");
    film.check(
        "v1 had no pod left",
        film.when(290.0, "v1 is out", |f| f.is_out("v1")) < 320.0,
    );
    film.always(RELEASE, 600.0, "the floor holds", |f| f.serving() >= FLOOR);
    film.ends("v1 is whole", |f| f.ready("v1") == 4 && f.is_out("v2"));
}

#[test]
fn a_third_release_at_full_size_finds_enough_pods() {
    let film = Film::of("third-revision-at-full-size");
    film.always(RELEASE, 900.0, "the floor holds", |f| f.serving() >= FLOOR);
    let third = film.when(320.0, "v3 has a pod", |f| f.pods("v3").there > 0);
    film.always(third, third, "v1 is whole and v2 out", |f| {
        f.ready("v1") == 4 && f.is_out("v2")
    });
    film.ends("v3 is stable", |f| {
        f.ready("v3") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn one_release_makes_each_pod_once() {
    let film = Film::of("good");
    let stable = film.when(RELEASE, "v2 is stable", |f| {
        f.kstatus() == "Current" && f.stable_is_wanted() && f.ready("v2") == 4
    });
    film.check("v2 had 4 pods in all", film.made("v2") == 4);
    film.check("v1 had 4 pods in all", film.made("v1") == 4);
    film.always(stable, 600.0, "what was proven serves on", |f| {
        f.ready("v2") == 4
    });
}

#[test]
fn a_fix_for_a_broken_stable_goes_out() {
    let film = Film::of("stable-breaks-and-is-fixed");
    film.check(
        "stable was down",
        film.when(100.0, "nobody serves", |f| f.serving() == 0) < 130.0,
    );
    let serves = film.when(RELEASE, "the fix serves", |f| f.ready("v2") > 0);
    film.always(serves, 900.0, "the fix keeps serving", |f| {
        f.ready("v2") > 0
    });
    film.check(
        "nothing is undone to what does not serve",
        film.told("UndoStarted") == 0,
    );
    let said = film.when(serves, "it is said", |f| f.reason() == "StableUnavailable");
    film.check("within the progress deadline", said < serves + 180.0);
    film.ends("the fix is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn lost_nodes_undo_nothing() {
    let film = Film::of("stable-loses-its-nodes");
    film.always(402.0, 740.0, "it is called degraded", |f| {
        f.reason() == "Degraded"
    });
    film.always(401.0, 900.0, "v2 keeps its pods, v1 gets none", |f| {
        f.pods("v2").asked == 4 && f.is_out("v1")
    });
    film.check("nothing was undone", film.told("UndoStarted") == 0);
    film.ends("it is Ready again", |f| {
        f.ready("v2") == 4 && f.kstatus() == "Current"
    });
}

#[test]
fn a_deployment_of_the_same_pods_is_not_touched() {
    let film = Film::of("deployment-of-the-same-pods");
    film.always(5.0, 200.0, "nothing is made", |f| {
        f.children == 0 && f.reason() == "SelectorOverlap"
    });
    film.always(5.0, 200.0, "that is told as a failure", |f| {
        f.kstatus() == "Failed"
    });
    film.ends("it goes on when that Deployment is gone", |f| {
        f.ready("v1") == 4 && f.kstatus() == "Current"
    });
}
