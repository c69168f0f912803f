//! Restarts, restores, lost status, missed events, two leaders.

use crate::film::{FLOOR, Film};

#[test]
fn a_restored_cluster_begins_again_at_the_first_step() {
    let film = Film::of("restored-from-a-backup");
    let back = film.when(241.0, "pods serve again", |f| f.serving() >= FLOOR);
    film.check("soon", back < 255.0);
    film.always(241.0, back + 60.0, "v2 is a canary again, v1 stable", |f| {
        f.pods("v2").asked <= 1 && f.pods("v1").asked >= 2
    });
    film.check(
        "it is no first deployment",
        film.told("first deployment, revision v2") == 0,
    );
    film.check("nothing was migrated again", film.expands("v2") == 1);
    film.ends("v2 is stable by its steps", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_lost_status_moves_no_pod_of_stable() {
    let film = Film::of("status-lost-when-ready");
    film.check("it was lost", film.told("status is lost") == 1);
    film.always(400.0, 700.0, "all pods serve", |f| {
        f.ready("v2") == 4 && f.is_out("v1")
    });
    film.check(
        "no pod was replaced, nothing released",
        film.made("v2") == 4 && film.told("RolloutStarted: first deployment, revision v2") == 0,
    );
    film.ends("it is Ready", |f| {
        f.kstatus() == "Current" && f.stable_is_wanted()
    });
}

#[test]
fn a_status_lost_in_mid_rollout_undoes_nothing_that_serves() {
    let film = Film::of("status-lost");
    film.always(120.0, 900.0, "the floor holds", |f| f.serving() >= FLOOR);
    let first = film.when(241.0, "v2 is a canary again", |f| f.pods("v2").asked == 1);
    film.always(first, first + 55.0, "for its hold", |f| {
        f.pods("v2").asked == 1
    });
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn an_api_server_that_is_away_begins_nothing() {
    let film = Film::of("status-lost-while-the-api-server-is-away");
    film.always(400.0, 800.0, "no pod moves", |f| {
        f.ready("v2") == 4 && f.is_out("v1")
    });
    film.check(
        "no release began",
        film.told("RolloutStarted") == 2 && film.made("v2") == 4,
    );
    film.ends("it is Ready", |f| {
        f.kstatus() == "Current" && f.stable_is_wanted()
    });
}

#[test]
fn an_operator_that_starts_releases_nothing() {
    let film = Film::of("operator-restarts-when-idle");
    let writes = film.end().writes;
    film.check("it died twice", film.told("the operator dies") == 2);
    film.always(440.0, 800.0, "nothing is written at all", |f| {
        f.writes == writes
    });
    film.check("no pod was replaced", film.made("v2") == 4);
}

#[test]
fn a_command_that_was_missed_is_found_later() {
    let film = Film::of("resume-unseen");
    film.always(400.0, 454.0, "nobody has heard of it", |f| {
        f.reason() == "Paused"
    });
    let heard = film.when(454.0, "it is done", |f| f.reason() != "Paused");
    film.check("with the next list", heard < 460.0);
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn conflicts_stop_nothing() {
    let film = Film::of("conflicts");
    film.check("there were many", film.told("Overtaken") >= 15);
    film.always(120.0, 800.0, "the floor holds", |f| f.serving() >= FLOOR);
    let stable = film.when(120.0, "v2 is stable", |f| {
        f.kstatus() == "Current" && f.ready("v2") == 4 && f.stable_is_wanted()
    });
    film.check("hardly later than usual", stable < 420.0);
}

#[test]
fn two_leaders_do_everything_once() {
    let film = Film::of("lease-changes-hands");
    film.check("the lease went", film.told("the lease changes hands") == 1);
    film.always(120.0, 700.0, "the floor holds", |f| f.serving() >= FLOOR);
    film.check(
        "one migration, four pods",
        film.expands("v2") == 1 && film.made("v2") == 4,
    );
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}
