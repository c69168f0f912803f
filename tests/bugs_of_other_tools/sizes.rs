//! Autoscalers, scaling, and releases at the same time.

use crate::film::Film;

#[test]
fn a_release_goes_on_under_an_autoscaler() {
    let film = Film::of("autoscaler-at-work");
    let scales = |to: i32| film.told(&format!("> the autoscaler scales to {to}\n")) == 1;
    film.check("it went up, and down", scales(9) && scales(12) && scales(5));
    for (from, to, least) in [(200.0, 330.0, 7), (380.0, 740.0, 9), (740.0, 1_000.0, 4)] {
        film.always(from, to, "enough pods serve", |f| f.serving() >= least);
    }
    film.check("nothing was undone", film.told("UndoStarted") == 0);
    let ready = film.when(350.0, "v2 is stable", |f| {
        f.kstatus() == "Current" && f.stable_is_wanted()
    });
    film.check("it was scaled on the way", ready > 355.0);
    film.always(ready + 1.0, 740.0, "the two agree on the size", |f| {
        f.pods("v2").asked == 12
    });
    film.ends("down too", |f| f.pods("v2").asked == 5);
    film.check("it took few writes", film.end().writes < 120);
}

#[test]
fn a_bad_canary_gets_no_part_of_a_scale_up() {
    let film = Film::of("scaled-up-with-a-bad-canary");
    film.always(150.0, 600.0, "v2 is asked for one pod at most", |f| {
        f.pods("v2").asked <= 1
    });
    let served = film.when(150.0, "the others go to v1", |f| f.ready("v1") >= 7);
    film.check("at once", served < 165.0);
    film.ends("all of them in the end", |f| {
        f.ready("v1") == 8 && f.is_out("v2")
    });
}

#[test]
fn the_share_follows_the_size() {
    let film = Film::of("scaled-at-half");
    let halves = film.when(240.0, "both have half", |f| {
        f.ready("v1") == 4 && f.ready("v2") == 4
    });
    film.check("in one move", halves < 255.0);
    film.always(halves, halves + 30.0, "the step stands", |f| {
        f.pods("v1").asked == 4 && f.pods("v2").asked == 4
    });
    film.ends("v2 has 8", |f| f.ready("v2") == 8 && f.is_out("v1"));
}

#[test]
fn a_promotion_never_falls_to_the_minimum() {
    let film = Film::of("scaled-up");
    let whole = film.when(170.0, "ten serve", |f| f.serving() == 10);
    film.check("soon", whole < 185.0);
    film.always(whole, 700.0, "eight of ten serve, all the way", |f| {
        f.serving() >= 8
    });
    film.ends("v2 is stable with ten", |f| {
        f.ready("v2") == 10 && f.stable_is_wanted()
    });
}

#[test]
fn size_and_image_in_one_apply() {
    let film = Film::of("scaled-and-released-at-once");
    film.always(120.0, 600.0, "at least three serve", |f| f.serving() >= 3);
    let first = film.when(120.0, "v2 serves", |f| f.ready("v2") == 1);
    film.always(
        first + 8.0,
        first + 55.0,
        "the canary is one of eight",
        |f| f.ready("v2") == 1 && f.ready("v1") == 7,
    );
    film.ends("v2 is stable with eight", |f| {
        f.ready("v2") == 8 && f.stable_is_wanted()
    });
}

#[test]
fn no_apply_gets_past_a_pause() {
    let film = Film::of("released-while-paused");
    film.check(
        "both applies came with another size",
        film.told("> applied: v2") == 2,
    );
    film.always(100.0, 300.0, "v2 has no pod and no Job", |f| {
        f.is_out("v2") && f.running_jobs.is_empty()
    });
    film.always(135.0, 149.0, "v1 follows the size", |f| f.ready("v1") == 8);
    let first = film.when(300.0, "v2 serves", |f| f.ready("v2") == 1);
    film.always(300.0, first + 60.0, "it goes by its steps then", |f| {
        f.pods("v2").there <= 1
    });
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 6 && f.stable_is_wanted()
    });
}
