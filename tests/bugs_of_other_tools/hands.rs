//! Deletion, pruning, hands of others, and tools that read.

use stepgate::simulate::scenarios;

use crate::film::{FLOOR, Film};

#[test]
fn a_deletion_finishes_no_release() {
    let film = Film::of("deleted-in-mid-rollout");
    let before = film.when(239.0, "it is at half", |f| {
        f.ready("v2") == 2 && f.ready("v1") == 2
    });
    film.check("it was in mid-rollout", before < 240.0);
    film.always(240.25, 400.0, "v2 gets no pod more", |f| {
        f.pods("v2").there <= 2 && f.pods("v2").asked <= 2
    });
    film.ends("nothing is left, nothing is made anew", |f| {
        f.children == 0 && f.pods("v1").there + f.pods("v2").there == 0
    });
}

#[test]
fn nothing_is_promoted_without_the_config_of_stable() {
    let film = Film::of("config-pruned");
    film.always(130.0, 300.0, "v2 has no pod, v1 is whole", |f| {
        f.pods("v2").there == 0 && f.ready("v1") == 4
    });
    film.check(
        "it is said before stable loses a pod",
        film.when(130.0, "it is said", |f| f.reason() == "UndoImpossible") < 145.0,
    );
    film.check(
        "by name",
        film.told("needs ConfigMap shop-config, which no longer exists") > 0,
    );
    film.ends("it goes on when it is there again", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_deleted_stable_comes_back_as_it_was() {
    let film = Film::of("stable-deleted-after-an-undo");
    film.always(300.5, 305.0, "it was deleted", |f| f.ready("v1") < 4);
    film.always(200.0, 600.0, "the failed release gets no pod", |f| {
        f.is_out("v2")
    });
    let back = film.when(301.0, "v1 is whole", |f| f.ready("v1") == 4);
    film.check("soon", back < 325.0);
}

#[test]
fn a_canary_deleted_by_hand_is_made_anew() {
    let film = Film::of("canary-deleted-by-hand");
    film.always(120.0, 800.0, "the floor holds", |f| f.serving() >= FLOOR);
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
}

#[test]
fn a_malformed_neighbour_holds_up_nobody() {
    let film = Film::of("unreadable-neighbour");
    film.check(
        "it is told on the object itself",
        film.told("the spec cannot be read") > 0,
    );
    let stable = film.when(120.0, "v2 is stable", |f| {
        f.stable_is_wanted() && f.ready("v2") == 4 && f.kstatus() == "Current"
    });
    let alone = Film::of("good");
    let usual = alone.when(120.0, "v2 is stable", |f| {
        f.stable_is_wanted() && f.ready("v2") == 4 && f.kstatus() == "Current"
    });
    film.check("as soon as without it", (stable - usual).abs() < 5.0);
}

/// `Current` is said of nothing but the revision asked for, stable, with enough pods, and of none
/// where none are asked for; every
/// frame of every scenario is read as a waiting tool reads it.
#[test]
fn tools_that_wait_are_told_the_truth() {
    let (mut current, mut failed) = (0, 0);
    for scenario in scenarios::all() {
        let harmed = [
            "stable-breaks",
            "nodes",
            "deleted-by-hand",
            "scaled-by-hand",
            "backup",
            "lost",
            "stable-deleted",
        ];
        if harmed.iter().any(|word| scenario.name.contains(word)) {
            // Pods go by themselves there, which nobody can say in the same instant.
            continue;
        }
        let film = Film::shot(&scenario);
        film.always(0.0, f64::MAX, "Current is true", |f| {
            let served = f.stable_is_wanted() && f.serving() > 0;
            let nothing_asked = f.reason() == "ScaledToZero" && f.asked() == 0;
            f.kstatus() != "Current" || served || nothing_asked
        });
        current += usize::from(film.end().kstatus() == "Current");
        failed += usize::from(film.end().kstatus() == "Failed");
    }
    assert!(
        current > 20 && failed > 20,
        "{current} current, {failed} failed"
    );
}
