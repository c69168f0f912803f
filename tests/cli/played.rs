//! Every scenario over every example: how it ends, and what it costs.

use serde_json::Value;

use super::program::{document, file, simulate, stepgate};

const EXAMPLES: [&str; 12] = [
    "adopted",
    "autoscaled",
    "flagged-contract",
    "minimal",
    "one-disk",
    "opentelemetry",
    "rolling",
    "schema",
    "single-replica",
    "soak",
    "tested",
    "weighted",
];

fn example(name: &str) -> String {
    file(&format!("deploy/examples/{name}.yaml"))
}

/// The runs of a document's only Rollout.
fn runs(document: &Value) -> &[Value] {
    document["rollouts"][0]["runs"].as_array().expect("runs")
}

fn run<'a>(document: &'a Value, scenario: &str) -> &'a Value {
    let mut runs = runs(document).iter();
    runs.find(|run| run["scenario"] == scenario)
        .expect("it was played")
}

#[test]
fn a_bad_release_ends_where_the_examples_checks_put_it() {
    // What is not listed ends as it should.
    let through: [(&str, &[&str]); 12] = [
        ("adopted", &[]),
        ("autoscaled", &["slow"]),
        ("flagged-contract", &[]),
        ("minimal", &["errors", "slow"]),
        ("one-disk", &["slow"]),
        ("opentelemetry", &[]),
        ("rolling", &[]),
        ("schema", &[]),
        ("single-replica", &["errors", "slow"]),
        ("soak", &[]),
        ("tested", &[]),
        ("weighted", &[]),
    ];
    assert_eq!(through.map(|(name, _)| name), EXAMPLES);
    for (name, through) in through {
        let (status, document) = document(&example(name), &["--scenario", "all"]);
        assert_eq!(status, i32::from(!through.is_empty()), "{name}");
        assert_eq!(document["exitStatus"], status);
        assert_eq!(runs(&document).len(), 15);
        for run in runs(&document) {
            let scenario = run["scenario"].as_str().unwrap();
            if let Some(why) = run["notPlayed"].as_str() {
                assert!(
                    why.starts_with("the manifest has no"),
                    "{name} {scenario}: {why}"
                );
                continue;
            }
            let expected = !through.contains(&scenario);
            assert_eq!(run["asExpected"], expected, "{name} {scenario}: {run}");
            if !expected {
                assert_eq!(run["end"], "Stable", "{name} {scenario}");
            }
        }
    }
}

/// The example says where to write it.
#[test]
fn stable_s_pods_follow_the_weight_where_that_is_asked_for() {
    let kept = example("weighted");
    let shrinks = kept.replace("# stablePods: Shrink ", "stablePods: Shrink ");
    assert_ne!(shrinks, kept);
    assert_eq!(document(&shrinks, &["--scenario", "all"]).0, 0);
    let gone = |document: &Value| {
        let story = document.to_string();
        story.contains("4 -> 2 on the way to 2")
    };
    assert!(gone(&play(&shrinks)), "stable has half of its pods at 50%");
    assert!(!gone(&play(&kept)));
}

fn play(example: &str) -> Value {
    document(example, &["--scenario", "good"]).1
}

#[test]
fn what_is_not_measured_costs_more() {
    let cost = |name| {
        let (_, document) = document(&example(name), &["--scenario", "errors"]);
        run(&document, "errors")["users"]["failed"]
            .as_u64()
            .unwrap()
    };
    let (measured, unmeasured) = (cost("schema"), cost("minimal"));
    assert!(measured < 50, "{measured}");
    assert!(
        unmeasured > 50 * measured,
        "{unmeasured} against {measured}"
    );
}

#[test]
fn the_figures_of_an_undone_release_belong_together() {
    let (status, document) = document(
        &example("schema"),
        &[
            "--scenario",
            "errors",
            "--error-percent",
            "50",
            "--requests-per-second",
            "400",
        ],
    );
    assert_eq!(status, 0);
    let run = run(&document, "errors");
    let number = |pointer: &str| run.pointer(pointer).and_then(Value::as_f64).expect(pointer);
    assert_eq!(run["end"], "Undone");
    assert_eq!(run["reason"], "CheckFailed");
    // One of eight pods, half of its requests.
    assert_eq!(number("/users/peakSharePercent"), 12.5);
    assert_eq!(number("/users/failedPerMinuteAtFull"), 12_000.0);
    let (to_new, failed) = (number("/users/toNew"), number("/users/failed"));
    assert!((to_new / 2.0 - failed).abs() <= 1.0, "{failed} of {to_new}");
    let served = 50.0 * number("/users/exposedSeconds");
    assert!(
        (served - to_new).abs() < 100.0,
        "{to_new}, by time {served}"
    );
    assert!(number("/firstRequestAfter") < number("/noticedAfter"));
    assert!(number("/noticedAfter") <= number("/outAfter"));
    let story = run["story"].as_array().unwrap();
    let seconds: Vec<_> = story
        .iter()
        .map(|line| line["second"].as_i64().unwrap())
        .collect();
    assert!(seconds.is_sorted() && seconds[0] == 0, "{seconds:?}");
    let text = run["story"].to_string();
    assert!(
        text.contains("UndoStarted") && text.contains("UndoCompleted"),
        "{text}"
    );
}

#[test]
fn a_pause_that_the_manifest_asks_for_is_as_it_should_be() {
    let manifest = example("opentelemetry");
    let (status, paused) = document(&manifest, &["--scenario", "slow"]);
    assert_eq!(
        (status, &run(&paused, "slow")["end"]),
        (0, &"Paused".into())
    );
    let errors = manifest.replace("onFailure: Undo", "onFailure: Pause");
    let (status, going_on) = document(&errors, &["--scenario", "errors", "--error-percent", "60"]);
    let users = &run(&going_on, "errors")["users"];
    // One of twelve pods, 60% of 100 requests a second.
    assert_eq!((status, &users["failedPerMinute"]), (0, &300.into()));
    let undo = manifest.replace("onFailure: Pause", "onFailure: Undo");
    let (status, undone) = document(&undo, &["--scenario", "slow"]);
    assert_eq!(
        (status, &run(&undone, "slow")["end"]),
        (0, &"Undone".into())
    );
}

#[test]
fn an_outage_of_metrics_does_what_the_steps_say() {
    let manifest = example("schema");
    let steps = |instead: &str| {
        format!(
            "{manifest}  strategy:\n    canary:\n      steps:\n      - {{name: one, replicas: 1, \
             holdSeconds: 60, deadlineSeconds: 120, onInconclusive: {instead}}}\n      - {{name: \
             full, replicas: \"100%\", holdSeconds: 60, deadlineSeconds: 120, onInconclusive: \
             {instead}}}\n"
        )
    };
    for (instead, end) in [
        ("Pause", "Paused"),
        ("Undo", "Undone"),
        ("Proceed", "Stable"),
    ] {
        let (status, told) = document(&steps(instead), &["--scenario", "prometheus-down"]);
        assert_eq!(
            (status, &run(&told, "prometheus-down")["end"]),
            (0, &end.into()),
            "{instead}"
        );
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let tell = |seed| simulate(&example("schema"), &["-s", "errors", "--seed", seed]).told;
    assert_eq!(tell("7"), tell("7"));
    assert_ne!(tell("7"), tell("8"), "delays differ");
}

#[test]
fn a_manifest_without_replicas_is_played_with_its_autoscalers_least() {
    let (_, document) = document(&example("autoscaled"), &[]);
    let findings = document["rollouts"][0]["findings"].to_string();
    assert!(
        findings.contains("played with 4, by minReplicas of HorizontalPodAutoscaler search"),
        "{findings}"
    );
    assert_eq!(document["ignored"][0], "HorizontalPodAutoscaler search");
}

#[test]
fn several_rollouts_in_several_files_are_played_each() {
    let files = [
        "deploy/examples/minimal.yaml",
        "deploy/examples/schema.yaml",
    ];
    let ran = stepgate(&["simulate", "-f", files[0], "-f", files[1]]);
    assert_eq!(ran.status, 0, "{}", ran.complained);
    assert!(ran.told.contains("Rollout hello") && ran.told.contains("Rollout shop"));
    assert!(ran.told.contains("not played, no Rollout: Service hello"));
    let one = stepgate(&[
        "simulate",
        "-f",
        files[0],
        "-f",
        files[1],
        "--rollout",
        "shop",
    ]);
    assert!(!one.told.contains("Rollout hello"), "{}", one.told);
}

#[test]
fn warnings_may_be_denied() {
    let manifest = example("minimal");
    assert_eq!(simulate(&manifest, &[]).status, 0);
    assert_eq!(simulate(&manifest, &["--deny-warnings"]).status, 2);
    assert_eq!(
        simulate(&example("schema"), &["--deny-warnings"]).status,
        0,
        "notes are none"
    );
}

#[test]
fn no_colours_in_a_log() {
    let ran = simulate(&example("minimal"), &["--scenario", "all"]);
    assert!(!ran.told.contains('\x1b'), "{}", ran.told);
}

#[test]
fn every_scenario_of_a_large_rollout_takes_seconds_at_most() {
    let begun = std::time::Instant::now();
    let ran = simulate(&example("schema"), &["-s", "all", "--replicas", "100"]);
    assert_eq!(ran.status, 0, "{}", ran.told);
    // About half a second where nothing else runs; the limit is for a machine under load.
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

#[test]
fn an_expand_that_hurts_is_named_before_any_pod_of_the_new_revision() {
    let (status, document) = document(&example("soak"), &["--scenario", "expand-hurts"]);
    assert_eq!(status, 0);
    let run = run(&document, "expand-hurts");
    assert_eq!(
        (&run["end"], &run["reason"]),
        (&"Blocked".into(), &"ExpandHurts".into())
    );
    assert_eq!(run["users"]["toNew"], 0);
    let steps = run["steps"].as_array().expect("steps");
    let names: Vec<_> = steps
        .iter()
        .filter_map(|step| step["name"].as_str())
        .collect();
    assert_eq!(names, ["expand", "soak"]);
    let message = run["message"].as_str().expect("a message");
    for words in [
        "stable old has become worse",
        "before: 0.00% errors",
        "promote=\"new/expand",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
}
