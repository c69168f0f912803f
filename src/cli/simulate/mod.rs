//! `stepgate simulate`: a person's own Rollout, played in virtual time.
//!
//! [`manifest`] reads it as the API server (`structure`, `rules`, `pod`) and the operator
//! would, [`advice`] says what would hurt one day; [`scenario`] and [`mod@file`] say what happens,
//! [`play`] lets it happen and [`watched`] looks on, [`account`] adds up, [`lines`] and
//! [`report`] tell.

pub mod account;
pub mod advice;
pub mod arguments;
pub mod file;
pub mod finding;
pub mod lines;
pub mod manifest;
pub mod play;
mod pod;
pub mod report;
mod rules;
pub mod scenario;
mod sql;
mod structure;
pub mod watched;

use std::{fmt::Write as _, io, io::Write as _, path::Path};

use self::{
    account::Account,
    arguments::{Output, SimulateArgs},
    finding::{Finding, Level},
    manifest::{Documents, Manifest},
    play::NoPlay,
    report::{Document, Ink, RolloutReport, RunReport},
    scenario::{Assumed, BUILT_IN, Play},
};
use crate::{
    api::{Promotion, keys},
    plan::course::{Target, course},
    simulate::story::Detail,
};

/// Everything as it should be.
const GOOD: u8 = 0;
/// A release ended otherwise than it should.
const OTHERWISE: u8 = 1;
/// The manifest or the arguments are wrong.
const WRONG: u8 = 2;
/// A bug in Stepgate: EX_SOFTWARE of sysexits.
const BUG: u8 = 70;

/// The name under which every scenario is played.
const ALL: &str = "all";

/// Runs the command; the status that the program ends with.
#[must_use]
pub fn run(args: &SimulateArgs) -> u8 {
    let mut telling = Telling {
        text: String::new(),
        ink: Ink::of_stdout(),
        status: GOOD,
        document: Document::default(),
    };
    if let Err(words) = telling.everything(args) {
        telling.status = telling.status.max(WRONG);
        eprintln!("stepgate: {words}");
    }
    telling.document.exit_status = telling.status;
    let told = match args.output {
        Output::Text => telling.text,
        Output::Json => serde_json::to_string_pretty(&telling.document).unwrap_or_default() + "\n",
    };
    // Whoever reads may have read enough.
    let _ = io::stdout().write_all(told.as_bytes());
    telling.status
}

struct Telling {
    text: String,
    ink: Ink,
    status: u8,
    document: Document,
}

impl Telling {
    fn everything(&mut self, args: &SimulateArgs) -> Result<(), String> {
        let documents = Documents::read(&args.files).map_err(|error| error.to_string())?;
        self.document.ignored = documents.others.iter().map(manifest::title).collect();
        if !self.document.ignored.is_empty() {
            let ignored = self.document.ignored.join(", ");
            let _ = writeln!(self.text, "not played, no Rollout: {ignored}\n");
        }
        let wanted = |name: &str| args.rollout.as_ref().is_none_or(|only| only == name);
        let mut told = 0;
        for document in &documents.rollouts {
            let name = document["metadata"]["name"]
                .as_str()
                .unwrap_or("(without a name)");
            if wanted(name) {
                told += 1;
                self.rollout(args, &documents, document, name)?;
            }
        }
        match (told, &args.rollout) {
            (0, Some(name)) => Err(format!("--rollout {name}: there is none of that name")),
            _ => Ok(()),
        }
    }

    fn rollout(
        &mut self,
        args: &SimulateArgs,
        documents: &Documents,
        document: &serde_json::Value,
        name: &str,
    ) -> Result<(), String> {
        let assumed = args.assumed();
        let mut report = RolloutReport {
            name: name.to_owned(),
            revision: None,
            findings: Vec::new(),
            runs: Vec::new(),
        };
        let heading = self.ink.bold(format!("Rollout {name}"));
        match manifest::check(document) {
            Err(errors) => {
                self.status = self.status.max(WRONG);
                let _ = writeln!(self.text, "{heading}: would be refused");
                self.findings(&mut report, errors);
            }
            Ok(mut on) => {
                let mut findings = size(args, documents, &mut on);
                let disk = advice::has_disk_of_one_node(&on.spec, documents);
                on.disk_of_one_node = disk && on.spec.replicas == 1;
                findings.extend(promoted(&mut on));
                findings.extend(alone(&mut on));
                findings.extend(adopted(&mut on));
                on.services = manifest::services(&on.spec, documents.all(), &mut findings);
                manifest::routes(&on.spec, documents.all(), &mut findings);
                on.texts = sql::texts(&on.spec, documents, &mut findings);
                sql::jobs(&on.spec, &mut findings);
                findings.extend(advice::advice(&on, documents, &assumed));
                let _ = writeln!(self.text, "{heading}: {}", about(&on));
                let warned = findings.iter().any(|f| f.level == Level::Warning);
                if warned && args.deny_warnings {
                    self.status = self.status.max(WRONG);
                }
                self.findings(&mut report, findings);
                report.revision = Some(on.revision.clone());
                if args.scenario == ALL {
                    self.all(&on, &assumed, &mut report);
                } else {
                    self.one(args, &on, &assumed, &mut report)?;
                }
            }
        }
        self.text.push('\n');
        self.document.rollouts.push(report);
        Ok(())
    }

    fn findings(&mut self, report: &mut RolloutReport, findings: Vec<Finding>) {
        self.text += &report::findings(&findings, self.ink);
        report.findings = findings;
    }

    fn one(
        &mut self,
        args: &SimulateArgs,
        on: &Manifest,
        assumed: &Assumed,
        report: &mut RolloutReport,
    ) -> Result<(), String> {
        let scenario = chosen(&args.scenario, on, assumed)?;
        let detail = if args.verbose {
            Detail::Writes
        } else {
            Detail::Decisions
        };
        let heading = self.ink.bold(format!("Scenario {}", scenario.name));
        let _ = writeln!(self.text, "\n{heading}: {}", scenario.about);
        let _ = writeln!(self.text, "  {}", assumptions(&scenario));
        let mut run = RunReport {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            not_played: None,
            account: None,
            story: Vec::new(),
        };
        match play::play(on, &scenario, assumed, detail) {
            Err(error) => run.not_played = Some(self.no_play(&error)),
            Ok(played) => {
                run.story = lines::story(&played);
                let told = account::account(&played, on, &scenario);
                self.take(&told);
                self.text.push('\n');
                self.text += &report::story(&run.story, self.ink);
                self.text.push('\n');
                self.text += &report::summary(&scenario, &told, self.ink);
                run.account = Some(told);
            }
        }
        report.runs.push(run);
        Ok(())
    }

    fn all(&mut self, on: &Manifest, assumed: &Assumed, report: &mut RolloutReport) {
        let mut rows: Vec<(&str, Result<Account, String>)> = Vec::new();
        let mut bugs = Vec::new();
        for (name, about) in BUILT_IN {
            let Some(scenario) = scenario::built_in(name, on, assumed) else {
                continue;
            };
            let told = scenario.clone().and_then(|scenario| {
                let played = play::play(on, &scenario, assumed, Detail::Nothing);
                let played = played.map_err(|error| self.refusal(&error, &mut bugs))?;
                Ok(account::account(&played, on, &scenario))
            });
            if let Ok(told) = &told {
                self.take(told);
            }
            report.runs.push(RunReport {
                scenario: name.into(),
                about: scenario.map_or_else(|_| about.into(), |scenario| scenario.about),
                not_played: told.as_ref().err().cloned(),
                account: told.as_ref().ok().cloned(),
                story: Vec::new(),
            });
            rows.push((name, told));
        }
        self.text.push('\n');
        self.text += &report::table(&rows, self.ink);
        for bug in bugs {
            let _ = writeln!(self.text, "  {bug}");
        }
    }

    fn take(&mut self, told: &Account) {
        let status = if told.as_expected { GOOD } else { OTHERWISE };
        self.status = self.status.max(status);
    }

    fn no_play(&mut self, error: &NoPlay) -> String {
        let words = self.refusal(error, &mut Vec::new());
        let _ = writeln!(self.text, "  {words}");
        words
    }

    fn refusal(&mut self, error: &NoPlay, bugs: &mut Vec<String>) -> String {
        let status = match error {
            NoPlay::Bug(_) => BUG,
            NoPlay::NoStart(_) => OTHERWISE,
            NoPlay::TooLong => WRONG,
        };
        self.status = self.status.max(status);
        let words = error.to_string();
        if status == BUG {
            bugs.push(words.clone());
        }
        words
    }
}

/// The scenario of that name, or in that file.
fn chosen(name: &str, on: &Manifest, assumed: &Assumed) -> Result<Play, String> {
    if let Some(scenario) = scenario::built_in(name, on, assumed) {
        return scenario.map_err(|why| format!("--scenario {name}: {why}"));
    }
    let path = Path::new(name);
    if path.exists() {
        return file::read(path, on, assumed).map_err(|error| error.to_string());
    }
    let known: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    let known = known.join(", ");
    Err(format!(
        "--scenario {name}: no such file, and none of {known}, {ALL}"
    ))
}

/// A person who is to say when is played as one who says so at once.
fn promoted(on: &mut Manifest) -> Option<Finding> {
    let course = course(&on.spec);
    let manual = |target: &&Target| target.promotion == Promotion::Manual;
    let target = course.targets.iter().find(manual)?;
    let (step, field) = (target.name.clone(), target.field.clone());
    on.spec.strategy.promote_itself();
    let message = format!(
        "Manual: played as if a person said promote {}/{step} as soon as it is ready",
        on.revision
    );
    Some(Finding::note(format!("{field}.promotion"), message))
}

/// Rollouts that go first are not played: they have gone.
fn alone(on: &mut Manifest) -> Option<Finding> {
    let after = std::mem::take(&mut on.spec.after);
    let names: Vec<_> = after.into_iter().map(|one| one.rollout).collect();
    (!names.is_empty()).then(|| {
        let message = format!("played as if {} had gone first", names.join(", "));
        Finding::note("spec.after", message)
    })
}

/// A Deployment that is moved in is played as the revision that runs before.
fn adopted(on: &mut Manifest) -> Option<Finding> {
    let name = on.spec.adopt.take()?.deployment;
    let message = format!(
        "Deployment {name} is played as the revision that runs before: its pods go by the same \
         steps. Of the Deployment itself only the replicas are written, and at the end it stands at \
         0. The Rollout must ask for as many as it has; whatever else writes its replicas (Git, an \
         autoscaler) stops the release"
    );
    Some(Finding::note("spec.adopt", message))
}

/// How many pods are played.
fn size(args: &SimulateArgs, documents: &Documents, on: &mut Manifest) -> Vec<Finding> {
    const MOST: i32 = 500;
    let field = "spec.replicas";
    let asked = on.spec.replicas;
    let mut found = Vec::new();
    let scaler = manifest::scaler_of(documents.all(), "Rollout", &on.name);
    if let Some(scaler) = &scaler
        && on.names_replicas
    {
        let message = format!(
            "{} scales this Rollout, and every apply of the manifest sets it back to {asked}: \
             leave replicas out",
            scaler.title
        );
        found.push(Finding::warning(field, message));
    }
    if scaler.is_none()
        && let Some(scaler) = manifest::scaler_of(documents.all(), "Deployment", &on.name)
    {
        let message = format!(
            "{} scales a Deployment of this name, not the Rollout: set its spec.scaleTargetRef to \
             {{apiVersion: {}, kind: Rollout, name: {}}}",
            scaler.title,
            keys::API_VERSION,
            on.name
        );
        found.push(Finding::warning(field, message));
    }
    if let Some(replicas) = args.replicas {
        on.spec.replicas = replicas;
    } else if let Some(scaler) = scaler {
        on.spec.replicas = scaler.least.clamp(1, MOST);
        if !on.names_replicas || scaler.least != asked {
            let message = format!(
                "played with {}, by {} of {}",
                on.spec.replicas, scaler.field, scaler.title
            );
            found.push(Finding::note(field, message));
        }
    } else if asked == 0 {
        on.spec.replicas = 1;
        let message = "0: a release waits until it is scaled up; played with 1 (--replicas)";
        found.push(Finding::note(field, message));
    } else if asked > MOST {
        on.spec.replicas = MOST;
        found.push(Finding::note(field, format!("{asked}: played with {MOST}")));
    }
    found
}

fn about(on: &Manifest) -> String {
    let number = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count if word.ends_with("ch") => format!("{count} {word}es"),
        count => format!("{count} {word}s"),
    };
    let course = course(&on.spec);
    let pods = usize::try_from(on.spec.replicas).unwrap_or_default();
    format!(
        "{}, {}, {}; its revision is {}",
        number(pods, "pod"),
        match course.batch {
            Some(_) => number(course.way().count(), "batch"),
            None => number(course.targets.len(), "step"),
        },
        number(scenario::checks(&on.spec).count(), "check"),
        on.revision
    )
}

fn assumptions(scenario: &Play) -> String {
    format!(
        "{} requests a second; pods are ready {} s after they found a node. old is a made-up \
         revision that runs before, new the manifest's own; times count from its release.",
        scenario.requests_per_second,
        scenario.new.pull_seconds + scenario.new.start_seconds
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{BrokenOff, rules::Broken};

    #[test]
    fn a_broken_rule_is_a_bug_and_outdoes_every_other_status() {
        let mut telling = Telling {
            text: String::new(),
            ink: Ink::of_stdout(),
            status: WRONG,
            document: Document::default(),
        };
        let broken = Broken {
            rule: "floor",
            message: "3 of 4".into(),
        };
        let words = telling.no_play(&NoPlay::from(BrokenOff::Broken(broken)));
        assert_eq!(telling.status, BUG);
        assert!(
            words.contains("a bug in Stepgate") && words.contains("floor"),
            "{words}"
        );
        assert_eq!(
            telling.no_play(&NoPlay::from(BrokenOff::Endless(1))),
            NoPlay::TooLong.to_string()
        );
        assert_eq!(telling.status, BUG);
    }
}
