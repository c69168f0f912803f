//! Silence is neither good nor bad.

use crate::film::{FLOOR, Film};

/// While the metric source fails: `v2` stays a canary. It goes on when the source is back.
fn waits_for_evidence(scenario: &str) -> Film {
    let film = Film::of(scenario);
    let back = 350.0;
    film.always(120.0, back, "v2 has no second pod", |f| {
        f.pods("v2").there <= 1
    });
    film.always(160.0, back, "v2 keeps the one it has", |f| {
        f.ready("v2") == 1 && f.ready("v1") == 3
    });
    film.check(
        "the hold was over long before",
        film.when(120.0, "it is inconclusive", |f| {
            f.reason() == "Inconclusive"
        }) < 230.0,
    );
    film.check("nothing was undone", film.told("UndoStarted") == 0);
    film.ends("v2 is stable", |f| {
        f.ready("v2") == 4 && f.stable_is_wanted()
    });
    film
}

#[test]
fn not_a_number_neither_passes_nor_fails() {
    waits_for_evidence("metrics-not-a-number");
}

#[test]
fn an_empty_answer_neither_passes_nor_fails() {
    waits_for_evidence("metrics-empty");
}

#[test]
fn a_metric_source_that_is_down_undoes_nothing() {
    let film = waits_for_evidence("metrics-down");
    film.check(
        "it is said why it waits",
        film.told("(then: pause): check errors: connection refused; check p95: connection") == 1,
    );
}

#[test]
fn a_partial_answer_holds() {
    waits_for_evidence("metrics-partial");
}

#[test]
fn measurements_that_all_failed_are_no_pass() {
    let film = Film::of("metrics-down-for-good");
    film.always(120.0, 900.0, "v2 has no second pod", |f| {
        f.pods("v2").there <= 1
    });
    film.check(
        "no step was passed",
        film.told("StepPassed: revision v2") == 0,
    );
    film.ends("a person is asked", |f| {
        f.reason() == "Inconclusive" && f.kstatus() == "Failed"
    });
    film.ends("the canary is kept", |f| {
        f.ready("v2") == 1 && f.ready("v1") == 3
    });
}

#[test]
fn a_bad_release_does_not_slip_through_an_outage() {
    let film = Film::of("metrics-down-while-wrong");
    film.always(120.0, 250.0, "v2 stays one pod", |f| {
        f.pods("v2").there <= 1
    });
    let out = film.when(250.0, "v2 is out", |f| f.is_out("v2"));
    film.check(
        "by what the counters kept, with the first answers",
        out < 285.0,
    );
    film.ends("v1 is whole", |f| {
        f.ready("v1") == 4 && f.reason() == "CheckFailed"
    });
}

#[test]
fn a_person_can_go_on_without_evidence() {
    let film = Film::of("promoted-without-metrics");
    film.check(
        "it waited first",
        film.when(120.0, "it is inconclusive", |f| {
            f.reason() == "Inconclusive"
        }) < 230.0,
    );
    film.check(
        "each promote was done",
        film.told("CommandDone: promote") == 3,
    );
    film.always(120.0, 600.0, "the floor holds", |f| f.serving() >= FLOOR);
    let stable = film.when(250.0, "v2 is stable", |f| {
        f.stable_is_wanted() && f.kstatus() == "Current"
    });
    film.check("with the last promote", stable < 312.0);
}

#[test]
fn a_step_that_a_person_left_is_not_called_passed_by_its_checks() {
    let film = Film::of("promote");
    film.check(
        "both are told as what they were",
        film.told("StepPassed: revision v2 passed step canary: promoted by a person") == 1
            && film.told("StepPassed: revision v2 passed step half: promoted by a person") == 1,
    );
    film.check(
        "no check is said to have passed them",
        film.told("passed step canary: check") + film.told("passed step half: check") == 0,
    );
}

#[test]
fn a_quiet_service_is_neither_undone_nor_promoted() {
    let film = Film::of("hardly-any-requests");
    film.always(120.0, 1_200.0, "v2 has no second pod", |f| {
        f.pods("v2").there <= 1
    });
    film.check("nothing was undone", film.told("UndoStarted") == 0);
    film.ends("a person is asked", |f| {
        f.reason() == "Inconclusive" && f.ready("v2") == 1
    });
}
