//! Undo comes, ends, and is not repeated or taken back by itself.

use crate::film::{FLOOR, Film};

#[test]
fn an_undo_in_a_full_cluster_ends() {
    let film = Film::of("undo-in-a-full-cluster");
    film.always(120.0, 700.0, "the floor holds", |f| f.serving() >= FLOOR);
    let out = film.when(320.0, "v2 is out", |f| f.is_out("v2"));
    film.check("the undo ended within a minute", out < 380.0);
    film.ends("v1 is whole, and the Rollout at its end", |f| {
        f.ready("v1") == 4 && f.kstatus() == "Failed"
    });
}

#[test]
fn an_undo_while_growing_ends() {
    let film = Film::of("undo-while-growing");
    film.always(120.0, 600.0, "the floor holds", |f| f.serving() >= FLOOR);
    let out = film.when(284.0, "v2 is out and v1 whole", |f| {
        f.is_out("v2") && f.ready("v1") == 4
    });
    film.check("the undo ended within a minute", out < 344.0);
}

#[test]
fn an_undo_without_room_keeps_the_canary_serving() {
    let film = Film::of("no-room-for-the-undo");
    film.always(260.0, 500.0, "nobody who serves is taken away", |f| {
        f.serving() >= FLOOR - 1
    });
    film.ends("it ends when there is room", |f| {
        f.ready("v1") == 4 && f.is_out("v2")
    });
}

#[test]
fn what_was_promoted_in_full_can_be_undone() {
    let film = Film::of("promoted-then-undone");
    film.always(
        160.0,
        170.0,
        "v2 is at its last step without a pod that serves",
        |f| f.pods("v2").asked > 0 && f.ready("v2") == 0,
    );
    film.always(120.0, 400.0, "v1 serves on", |f| f.ready("v1") >= FLOOR);
    let out = film.when(170.0, "v2 is out", |f| f.is_out("v2"));
    film.check("at once", out < 180.0);
    film.ends("v1 is whole", |f| {
        f.ready("v1") == 4 && f.kstatus() == "Failed"
    });
}

#[test]
fn after_an_undo_while_paused_nothing_turns_in_circles() {
    let film = Film::of("undo-while-paused");
    let ended = film.when(200.0, "v1 is whole", |f| {
        f.is_out("v2") && f.ready("v1") == 4
    });
    film.check("it ended at once", ended < 215.0);
    let writes = film.end().writes;
    film.always(ended + 30.0, 900.0, "nothing is written any more", |f| {
        f.writes == writes
    });
    let events = film.world().events;
    film.check("there is next to nothing to do", events < 1_500);
}

#[test]
fn what_was_undone_is_not_tried_again() {
    let film = Film::of("failed-and-left-alone");
    let undone = film.when(140.0, "v2 is undone", |f| {
        f.reason() == "CheckFailed" && f.is_out("v2")
    });
    film.always(undone, 700.0, "v2 gets no pod again", |f| f.is_out("v2"));
    film.always(undone + 2.0, 700.0, "that is said", |f| {
        f.kstatus() != "Current"
    });
    film.check(
        "the changes came",
        film.told("> scaled to 6") == 1 && film.told("> applied: v2") == 1,
    );
    film.ends("v1 has followed the scale", |f| f.ready("v1") == 6);
}

#[test]
fn a_scale_up_brings_nothing_back_that_was_undone() {
    let film = Film::of("scaled-up-after-an-undo");
    let out = film
        .when(140.0, "v2 is out", |f| f.pods("v2").there > 0)
        .max(180.0);
    film.always(out, 600.0, "v2 gets no pod", |f| f.is_out("v2"));
    film.check(
        "stable fell short meanwhile",
        film.when(301.0, "pods are missing", |f| f.ready("v1") < 8) < 310.0,
    );
    film.ends("v1 has all 8", |f| f.ready("v1") == 8);
}

#[test]
fn git_asks_again_and_again_for_a_failed_release() {
    let film = Film::of("git-keeps-asking-for-a-failed-release");
    film.check(
        "the agent's replicas and the autoscaler's both came",
        film.told("> applied: v2, 4 replicas") >= 1,
    );
    film.always(190.0, 600.0, "v2 gets no pod", |f| f.is_out("v2"));
    film.always(190.0, 600.0, "v1 serves", |f| f.ready("v1") >= FLOOR);
    film.check(
        "it was tried once",
        film.told("UndoStarted") == 1 && film.expands("v2") == 1,
    );
}

#[test]
fn a_canary_that_is_never_ready_is_undone_and_said() {
    let film = Film::of("never-ready");
    film.always(120.0, 600.0, "stable is whole", |f| f.ready("v1") == 4);
    let out = film.when(141.0, "v2 is out", |f| f.is_out("v2"));
    film.check(
        "at the progress deadline of 120 s",
        (255.0..275.0).contains(&out),
    );
    film.check(
        "an event says why",
        film.told("UndoStarted: revision v2: step canary was not reached within 120 seconds") == 1,
    );
    film.ends("it is Stalled", |f| f.kstatus() == "Failed");
}

#[test]
fn the_second_failure_is_undone_like_the_first() {
    let film = Film::of("never-ready-twice");
    film.always(120.0, 700.0, "stable is whole", |f| f.ready("v1") == 4);
    let began = film.when(320.0, "v3 has a pod", |f| f.pods("v3").there > 0);
    let out = film.when(began, "v3 is out", |f| f.is_out("v3"));
    film.check("at the progress deadline too", out - began < 130.0);
}

#[test]
fn a_crash_loop_is_undone_however_often_it_is_ready() {
    let film = Film::of("crash-after-ready");
    let ready = film.when(120.0, "v2 is ready", |f| f.ready("v2") > 0);
    let out = film.when(ready, "v2 is out", |f| f.is_out("v2"));
    film.check("with its first back-off", out - ready < 85.0);
    film.always(120.0, 900.0, "one pod of it was all", |f| {
        f.pods("v2").there <= 1
    });
    film.always(120.0, 900.0, "stable serves", |f| f.ready("v1") >= FLOOR);
}

#[test]
fn a_long_hold_is_no_lack_of_progress() {
    let film = Film::of("hold-longer-than-the-deadline");
    film.check(
        "nothing is undone",
        film.told("UndoStarted") == 0 && film.told("ProgressDeadlineExceeded") == 0,
    );
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_release_in_many_slow_batches_is_not_late() {
    let film = Film::of("many-slow-batches");
    film.check("nothing is undone", film.told("UndoStarted") == 0);
    film.always(120.0, 1_200.0, "all eight serve", |f| f.serving() >= 8);
    let half = film.when(200.0, "it is at half", |f| f.ready("v2") == 4);
    let grows = film.when(half, "the fifth is asked for", |f| f.pods("v2").asked == 5);
    let whole = film.when(grows, "it is whole", |f| f.ready("v2") == 8);
    film.check(
        "that step took longer than the deadline",
        whole - grows > 125.0,
    );
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 8 && f.stable_is_wanted()
    });
}

#[test]
fn a_paused_release_is_undone_on_evidence() {
    let film = Film::of("errors-while-paused");
    let ready = film.when(120.0, "v2 serves", |f| f.ready("v2") > 0);
    let out = film.when(ready, "v2 is out", |f| f.is_out("v2"));
    film.check("within seconds", out - ready < 30.0);
    film.ends("v1 is whole", |f| {
        f.ready("v1") == 4 && f.reason() == "CheckFailed"
    });
}

#[test]
fn the_release_after_an_undo_begins_at_the_first_step() {
    let film = Film::of("fixed-after-an-undo");
    film.check(
        "v2 was at half",
        film.when(200.0, "v2 has two", |f| f.ready("v2") == 2) < 240.0,
    );
    let first = film.when(300.0, "v3 serves", |f| f.ready("v3") == 1);
    film.always(300.0, first + 60.0, "v3 has one pod for its hold", |f| {
        f.pods("v3").there <= 1
    });
    film.ends("v3 goes on by itself", |f| {
        f.ready("v3") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_new_revision_inherits_no_evidence() {
    let film = Film::of("third-revision");
    let first = film.when(240.0, "v3 serves", |f| f.ready("v3") == 1);
    film.always(240.0, first + 60.0, "v3 has one pod for its hold", |f| {
        f.pods("v3").there <= 1
    });
    film.always(first, first, "v2 is out by then", |f| f.is_out("v2"));
    film.ends("v3 is stable", |f| {
        f.ready("v3") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_retry_is_measured_anew() {
    let film = Film::of("retry");
    film.check(
        "it failed twice, each time by its own figures",
        film.told("UndoStarted: revision v2: check errors") == 2,
    );
    film.check(
        "the second time after the retry",
        film.when(401.0, "v2 serves again", |f| f.ready("v2") == 1) < 430.0,
    );
    film.always(120.0, 800.0, "one pod of it was all", |f| {
        f.pods("v2").there <= 1
    });
    film.ends("v1 is whole", |f| f.ready("v1") == 4 && f.is_out("v2"));
}

#[test]
fn a_revert_in_git_moves_no_pod() {
    let film = Film::of("failed-is-not-tried-again");
    film.check(
        "v1 had 4 pods, and one more for the one that made room",
        film.made("v1") == 5,
    );
    film.always(200.0, 700.0, "v1 is whole", |f| {
        f.ready("v1") == 4 && f.is_out("v2")
    });
    film.always(
        402.0,
        449.0,
        "it is Ready as soon as Git asks for v1",
        |f| f.kstatus() == "Current",
    );
}

#[test]
fn a_failed_release_is_tried_again_without_a_change() {
    let film = Film::of("failed-by-circumstances");
    film.check("the quota undid it", film.told("exceeded quota") > 0);
    film.always(262.0, 309.0, "it waits", |f| {
        f.is_out("v2") && f.kstatus() == "Failed"
    });
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
    film.check(
        "nobody released anything but v2, and its schema was expanded once",
        film.told("> user releases") == 1 && film.expands("v2") == 1,
    );
}
