//! The doors stay open: what comes (a strategy, a kind of Job) is a file or a row, and few other
//! files know of it by name.

use std::collections::BTreeSet;

use super::{Token, circles::is_a_test, sources, tokens};

/// Names by which a file knows one strategy from another.
const OF_A_STRATEGY: [&str; 7] = [
    "StrategyType",
    "StablePods",
    "BlueGreen",
    "stable_pods",
    "steps_mut",
    "rolling_mut",
    "blue_green_mut",
];

/// Members of `spec.strategy` that are one strategy's.
const MEMBERS: [&str; 3] = ["canary", "rolling", "blue_green"];

/// Who may: the API, the courses, those who write a spec, and who counts which ones were played. All others read the course.
const KNOW_STRATEGIES: [&str; 10] = [
    "api/",
    "plan/course/",
    "cli/convert/",
    "simulate/action.rs",
    "simulate/amend.rs",
    "simulate/churn.rs",
    "simulate/coverage.rs",
    "simulate/schedule.rs",
    "simulate/schedule/",
    "simulate/scenarios/",
];

/// Files that name every kind of Job, so a new one must be thought of there. This list may only
/// become shorter: what differs by kind is a field of its row in `plan/job/terms.rs`.
const KNOW_EVERY_KIND: [&str; 11] = [
    "api/release.rs",
    "api/schema.rs",
    "plan/database.rs",
    "plan/database/baseline.rs",
    "plan/job/recorded.rs",
    "plan/job/sql.rs",
    "plan/job/terms.rs",
    "plan/life/waits.rs",
    "simulate/recorded.rs",
    "simulate/rules/schema.rs",
    "simulate/tables.rs",
];

/// Files whose words are said of Jobs of every kind.
const SAID_OF_ALL_KINDS: [&str; 5] = [
    "plan/before_pods.rs",
    "plan/job/mod.rs",
    "plan/job/protocol.rs",
    "plan/release.rs",
    "plan/standing.rs",
];

/// Names that once meant several things.
const ONE_MEANING: [&str; 6] = ["Ended", "Event", "Outcome", "Scenario", "Step", "Told"];

/// The files of the library, by name, without their tests.
fn code() -> Vec<(String, String)> {
    let code = sources().into_iter().filter(|(file, _)| !is_a_test(file));
    code.map(|(file, text)| {
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        (file, text.to_owned())
    })
    .collect()
}

/// Names of one strategy in a text, with their lines.
fn strategies(text: &str) -> Vec<(usize, String)> {
    let tokens = tokens(text);
    let is_member = |at: usize, name: &str| {
        let before = |back: usize, what: &str| {
            at >= back && tokens.get(at - back).is_some_and(|(_, text)| text == what)
        };
        MEMBERS.contains(&name) && before(1, ".") && before(2, "strategy")
    };
    let named = tokens
        .iter()
        .enumerate()
        .filter(|(at, (_, name))| OF_A_STRATEGY.contains(&name.as_str()) || is_member(*at, name));
    named.map(|(_, token)| token.clone()).collect()
}

#[test]
fn nobody_reads_a_strategy_past_the_course() {
    let mut past = Vec::new();
    for (file, text) in code() {
        if !KNOW_STRATEGIES.iter().any(|who| file.starts_with(who)) {
            let found = strategies(&text).into_iter();
            past.extend(found.map(|(line, name)| format!("src/{file}:{line}: {name}")));
        }
    }
    assert!(
        past.is_empty(),
        "these know one strategy from another, read the `Course`:\n{}",
        past.join("\n")
    );
}

#[test]
fn a_strategy_is_found_by_its_names() {
    let known = [
        "match spec.strategy.way() { StrategyType::Canary => 1 }",
        "spec.strategy.canary.is_some()",
        "let strategy = &spec.strategy;\nstrategy\n    .rolling",
        "spec.strategy.blue_green_mut()",
    ];
    for text in known {
        assert_eq!(strategies(text).len(), 1, "{text}");
    }
    assert_eq!(strategies("target.canary + draft.status.canary"), []);
    assert_eq!(strategies("let words = \"strategy.type: Rolling\";"), []);
}

/// The kinds of Job, as the API has them.
fn kinds() -> BTreeSet<String> {
    let schema = sources().into_iter().find(|(f, _)| f == "api/schema.rs");
    let (_, text) = schema.unwrap();
    let (_, after) = text.split_once("pub enum PhaseKind {").unwrap();
    let (inside, _) = after.split_once('}').unwrap();
    let names = tokens(inside).into_iter().map(|(_, name)| name);
    names.filter(|name| name != ",").collect()
}

/// Those that a text names.
fn named(tokens: &[Token]) -> BTreeSet<String> {
    let text = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    let starts = (0..tokens.len()).filter(|at| text(*at) == "PhaseKind");
    let named = starts.filter(|at| text(at + 1) == "::");
    named.map(|at| text(at + 2).to_owned()).collect()
}

#[test]
fn few_files_know_every_kind_of_job() {
    let kinds = kinds();
    assert!(kinds.len() > 4, "{kinds:?}");
    let all = code().into_iter();
    let mut know: Vec<_> = all
        .filter(|(_, text)| named(&tokens(text)).is_superset(&kinds))
        .map(|(file, _)| file)
        .collect();
    know.sort_unstable();
    assert_eq!(
        know, KNOW_EVERY_KIND,
        "make what differs by kind a field of its row, or take the file off the list"
    );
}

#[test]
fn what_is_said_of_all_kinds_names_none() {
    let kept = code().into_iter();
    let files: Vec<_> = kept
        .filter(|(file, _)| SAID_OF_ALL_KINDS.contains(&file.as_str()))
        .collect();
    assert_eq!(files.len(), SAID_OF_ALL_KINDS.len());
    for (file, text) in files {
        for (line, text) in text.lines().enumerate() {
            let quoted = text.split('"').skip(1).step_by(2);
            let words = quoted.collect::<Vec<_>>().join(" ");
            assert!(
                !["expanded", "the expand", "schema is"]
                    .iter()
                    .any(|w| words.contains(w)),
                "src/{file}:{}: it is said of a Job of any kind: {words}",
                line + 1
            );
        }
    }
}

/// Types, traits and their other names that a text defines.
fn defined(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let pairs = tokens
        .windows(2)
        .filter(|pair| ["struct", "enum", "trait", "type", "union"].contains(&pair[0].1.as_str()));
    pairs.map(|pair| pair[1].1.clone()).collect()
}

#[test]
fn a_name_has_one_meaning() {
    for name in ONE_MEANING {
        let all = sources().into_iter();
        let homes: Vec<_> = all
            .filter(|(_, text)| defined(text).iter().any(|defined| defined == name))
            .map(|(file, _)| file)
            .collect();
        assert_eq!(homes.len(), 1, "{name} is defined in {homes:?}");
    }
}
