//! Scenarios that people write.

use std::{fs, path::PathBuf};

use super::program::{Ran, file, root, simulate};

/// Plays a scenario's text over an example.
fn play(name: &str, scenario: &str, example: &str) -> Ran {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.yaml"));
    fs::write(&path, scenario).expect("written");
    let example = file(&format!("deploy/examples/{example}.yaml"));
    simulate(&example, &["--scenario", path.to_str().unwrap()])
}

#[test]
fn the_documented_one_plays() {
    let path = root().join("docs/scenarios/outage-and-scale-up.yaml");
    let ran = simulate(
        &file("deploy/examples/schema.yaml"),
        &["--scenario", path.to_str().unwrap()],
    );
    assert_eq!(ran.status, 0, "{}{}", ran.told, ran.complained);
    for happened in [
        "metric source: Down",
        "is lost with its node",
        "scaled to 12",
    ] {
        assert!(ran.told.contains(happened), "{happened}: {}", ran.told);
    }
}

#[test]
fn what_is_expected_decides_the_status() {
    let scenario = |expect: &str| format!("expect: {expect}\nnew: {{errorPercent: 20}}\n");
    assert_eq!(play("undone", &scenario("Undone"), "schema").status, 0);
    assert_eq!(play("stable", &scenario("Stable"), "schema").status, 1);
    assert_eq!(
        play("either", &scenario("[Stable, Undone]"), "schema").status,
        0
    );
}

#[test]
fn everything_that_may_happen_happens() {
    let cases = [
        (
            "new: {health: NeverReady}",
            "Undone",
            "ProgressDeadlineExceeded",
        ),
        ("new: {health: NoImage}", "Blocked", "ExpandFailed"),
        (
            "new: {expand: [{seconds: 5, end: NeverStarts}]}",
            "Blocked",
            "ExpandFailed",
        ),
        ("new: {crashesAfterSeconds: 3}", "Undone", "CrashLooping"),
        ("new: {p95Milliseconds: 900}", "Undone", "check p95"),
        (
            "new: {coldSeconds: 60, coldP95Milliseconds: 900}",
            "Undone",
            "check p95",
        ),
        ("new: {countsProbesEverySeconds: 5}", "Stable", "is stable"),
        (
            "new: {expand: [{seconds: 5, end: Fails}]}",
            "Blocked",
            "ExpandFailed",
        ),
        (
            "new: {expand: [{seconds: 5, end: Fails}, {seconds: 5, end: Succeeds}]}\n\
             events: [{at: 60, command: retry}]",
            "Stable",
            "user says retry",
        ),
        (
            "events: [{at: 60, command: undo}]",
            "Undone",
            "user says undo",
        ),
        (
            "events: [{at: 60, paused: true}]",
            "Waiting",
            "user sets paused",
        ),
        ("events: [{at: 0, quota: 8}]", "Undone", "exceeded quota"),
        (
            "events: [{at: 60, killContainers: 2}]",
            "Stable",
            "a container of",
        ),
        (
            "events: [{at: 60, operatorDies: Now}]",
            "Stable",
            "the operator dies",
        ),
        (
            "events: [{at: 60, metrics: NotANumber}]",
            "Paused",
            "metric source: Nan",
        ),
    ];
    let mut wrong = Vec::new();
    for (number, (scenario, end, told)) in cases.into_iter().enumerate() {
        let scenario = format!("expect: {end}\n{scenario}\n");
        let ran = play(&format!("case-{number}"), &scenario, "schema");
        if ran.status != 0 || !ran.told.contains(told) {
            wrong.push(format!(
                "{scenario}{}{}{}",
                ran.status, ran.told, ran.complained
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_in_it_are_named() {
    let cases = [
        ("new: {}", "expect"),
        ("expect: Fine", "expect"),
        ("expect: Stable\nnew: {errors: 5}", "errors"),
        (
            "expect: Stable\nnew: {errorPercent: 150}",
            "new.errorPercent: 150",
        ),
        (
            "expect: Stable\nnew: {health: Good, crashesAfterSeconds: 1}",
            "give one of health",
        ),
        (
            "expect: Stable\nnew: {coldSeconds: 60}",
            "give coldSeconds and coldP95Milliseconds",
        ),
        (
            "expect: Stable\nnew: {countsProbesEverySeconds: 0}",
            "new.countsProbesEverySeconds",
        ),
        (
            "expect: Stable\nevents: [{at: -1, scale: 3}]",
            "nothing happens before",
        ),
        ("expect: Stable\nevents: [{at: 1, explode: 3}]", "explode"),
        ("expect: [", "scenario "),
    ];
    for (number, (scenario, told)) in cases.into_iter().enumerate() {
        let ran = play(&format!("wrong-{number}"), scenario, "schema");
        assert_eq!(ran.status, 2, "{scenario}: {}", ran.told);
        assert!(
            ran.complained.contains(told),
            "{scenario}: {}",
            ran.complained
        );
    }
}
