//! What is printed: for people, and as JSON.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal},
};

use serde::Serialize;

use super::{
    account::{Account, StepTaken, Users},
    finding::{Finding, Level},
    lines::Line,
    scenario::{End, Play},
};

/// Whether words are coloured.
#[derive(Clone, Copy, Debug)]
pub struct Ink(bool);

impl Ink {
    /// Colour for a terminal whose user has not said otherwise.
    #[must_use]
    pub(crate) fn of_stdout() -> Self {
        Self(io::stdout().is_terminal() && !is_refused())
    }

    /// The same for the standard error.
    #[must_use]
    pub(in crate::cli) fn of_stderr() -> Self {
        Self(io::stderr().is_terminal() && !is_refused())
    }

    fn paint(self, code: &str, words: impl fmt::Display) -> String {
        if self.0 {
            format!("\x1b[{code}m{words}\x1b[0m")
        } else {
            words.to_string()
        }
    }

    /// For headings.
    #[must_use]
    pub(crate) fn bold(self, words: impl fmt::Display) -> String {
        self.paint("1", words)
    }

    fn level(self, level: Level) -> String {
        let code = match level {
            Level::Error => "1;31",
            Level::Warning => "1;33",
            Level::Note => "1",
        };
        self.paint(code, level.word())
    }

    fn verdict(self, good: bool, words: impl fmt::Display) -> String {
        self.paint(if good { "1;32" } else { "1;31" }, words)
    }
}

fn is_refused() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Seconds as people write them.
#[must_use]
pub fn duration(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, rest) => format!("{rest} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, rest) => format!("{minutes} min {rest} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn clock(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{rest:02}")
    } else {
        format!("{minutes}:{rest:02}")
    }
}

/// Findings, a line each.
#[must_use]
pub fn findings(all: &[Finding], ink: Ink) -> String {
    let mut text = String::new();
    for finding in all {
        let level = ink.level(finding.level);
        let field = match finding.field.as_str() {
            "" => String::new(),
            field => format!("{field}: "),
        };
        let _ = writeln!(text, "  {level}: {field}{}", finding.message);
    }
    text
}

/// A story, with the pods of both revisions beside it.
#[must_use]
pub fn story(lines: &[Line], ink: Ink) -> String {
    let width = |column: fn(&Line) -> &Option<String>| {
        let lengths = lines
            .iter()
            .filter_map(|line| column(line).as_ref())
            .map(String::len);
        lengths.max().unwrap_or(0).max(3)
    };
    let (old, new) = (width(|line| &line.old), width(|line| &line.new));
    let heading = format!("  {:>8}  {:>old$}  {:>new$}", "time", "old", "new");
    let mut text = format!("{}\n", ink.bold(heading));
    for line in lines {
        let told = format!(
            "  {:>8}  {:>old$}  {:>new$}  {}",
            clock(line.second),
            line.old.as_deref().unwrap_or_default(),
            line.new.as_deref().unwrap_or_default(),
            line.text
        );
        let _ = writeln!(text, "{}", told.trim_end());
    }
    text
}

/// How a play ended, and what it cost.
#[must_use]
pub fn summary(scenario: &Play, told: &Account, ink: Ink) -> String {
    let mut text = format!("{}\n", verdict(scenario, told, ink));
    if !told.message.is_empty() && told.end != End::Stable {
        let _ = writeln!(text, "  {}: {}", told.reason, told.message);
    }
    let mut row = |name: &str, words: String| {
        let _ = writeln!(text, "  {name:<12}  {words}");
    };
    for taken in &told.steps {
        row(&taken.name, step(taken));
    }
    if let Some(noticed) = told.noticed_after {
        row("noticed", noticed_words(told, noticed));
    }
    if let (Some(out), End::Undone) = (told.out_after, told.end) {
        row("out", format!("{} after the release", duration(out)));
    }
    if let Some(words) = &told.way_back {
        row("way back", words.clone());
    }
    row("users", users(&told.users));
    let at_full = told.users.failed_per_minute_at_full;
    if let (End::Paused, failing @ 1..) = (told.end, told.users.failed_per_minute) {
        row(
            "until then",
            format!("{failing} requests a minute go on failing"),
        );
    }
    if at_full > 0 && told.end != End::Stable {
        row(
            "at 100%",
            format!("the same fault would fail {at_full} requests a minute"),
        );
    }
    text
}

fn verdict(scenario: &Play, told: &Account, ink: Ink) -> String {
    let after = duration(told.ended_after);
    let ending = match told.end {
        End::Stable => format!("new is stable after {after}"),
        End::Undone => format!("new was taken back after {after}, old serves whole"),
        End::Blocked => format!("new was blocked after {after}, before any of its pods existed"),
        End::Paused => format!("after {after} new stands still until a person decides"),
        End::Waiting => "new waits for somebody else".into(),
        End::Stuck => "the undo finds no way".into(),
        End::InMotion => "new is still on its way".into(),
    };
    if told.as_expected {
        return ink.verdict(true, format!("As it should be: {ending}."));
    }
    let wanted: Vec<_> = scenario.expected.iter().map(|end| end.word()).collect();
    let wanted = wanted.join(" or ");
    ink.verdict(
        false,
        format!("Not as it should be: {ending}; it should have ended {wanted}."),
    )
}

fn step(taken: &StepTaken) -> String {
    let mut words = duration(taken.seconds);
    if let Some(pods) = taken.pods {
        let _ = match taken.reached_in {
            Some(reached) => write!(
                words,
                ", {} of new after {}",
                count(pods),
                duration(reached)
            ),
            None if pods == 0 => write!(words, ", no pod of new was ever ready"),
            None => write!(words, ", not reached: {} of new", count(pods)),
        };
    }
    words
}

fn count(pods: usize) -> String {
    match pods {
        1 => "1 pod".into(),
        pods => format!("{pods} pods"),
    }
}

fn noticed_words(told: &Account, noticed: i64) -> String {
    match told.first_request_after {
        Some(first) if first <= noticed => format!(
            "{} after the first request reached it",
            duration(noticed - first)
        ),
        _ => format!(
            "{} after the release, no request had reached it",
            duration(noticed)
        ),
    }
}

fn users(users: &Users) -> String {
    if users.to_new == 0 && users.unserved == 0 {
        return "no request reached the new revision".into();
    }
    let mut words = format!(
        "{}% of requests went to new at most; {} in {}, of which {} failed",
        users.peak_share_percent,
        users.to_new,
        duration(users.exposed_seconds),
        users.failed
    );
    if let Some(limit) = users.slow_milliseconds {
        let _ = write!(words, " and {} took longer than {limit} ms", users.slow);
    }
    if users.unserved > 0 {
        let _ = write!(words, "; {} found no pod that served them", users.unserved);
    }
    words
}

/// Every scenario in a line.
#[must_use]
pub fn table(rows: &[(&str, Result<Account, String>)], ink: Ink) -> String {
    let heading = format!(
        "  {:<16}  {:<9}  {:>12}  {:>12}  {:>6}  {:>8}  {:>8}  {:>8}  {}",
        "scenario",
        "ends",
        "after",
        "noticed in",
        "share",
        "failed",
        "slow",
        "unserved",
        "as it should be"
    );
    let mut text = format!("{}\n", ink.bold(heading.trim_end()));
    for (name, told) in rows {
        let line = match told {
            Err(why) => format!("  {name:<16}  not played: {why}"),
            Ok(told) => table_row(name, told, ink),
        };
        let _ = writeln!(text, "{line}");
    }
    text
}

fn table_row(name: &str, told: &Account, ink: Ink) -> String {
    let users = &told.users;
    let noticed = told.noticed_after.map_or("-".into(), |noticed| {
        duration(noticed - told.first_request_after.unwrap_or(0).min(noticed))
    });
    let slow = users
        .slow_milliseconds
        .map_or("-".into(), |_| users.slow.to_string());
    let verdict = ink.verdict(
        told.as_expected,
        if told.as_expected { "yes" } else { "NO" },
    );
    format!(
        "  {name:<16}  {:<9}  {:>12}  {noticed:>12}  {:>5}%  {:>8}  {slow:>8}  {:>8}  {verdict}",
        told.end.word(),
        duration(told.ended_after),
        users.peak_share_percent,
        users.failed,
        users.unserved,
    )
}

/// Everything, as JSON.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// One for each Rollout.
    pub rollouts: Vec<RolloutReport>,
    /// Documents that are no Rollouts, by kind and name.
    pub ignored: Vec<String>,
    /// The status that the program ends with.
    pub exit_status: u8,
}

/// What there is to say of one Rollout.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutReport {
    /// Its name.
    pub name: String,
    /// The revision that it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What was found in its manifest.
    pub findings: Vec<Finding>,
    /// What was played.
    pub runs: Vec<RunReport>,
}

/// One play.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The scenario's name.
    pub scenario: String,
    /// What it is about.
    pub about: String,
    /// Why it was not played.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_played: Option<String>,
    /// How it went.
    #[serde(flatten)]
    pub account: Option<Account>,
    /// Its story, unless every scenario was played.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub story: Vec<Line>,
}
