//! What the files would do to users, judged before anything of them runs: in a process of its own,
//! as they may be hostile.

use std::mem;

use stepgate_lint::{Finding, Phase as Judged, Severity, Source};

use crate::{
    failure::{Failure, Way},
    order::{Lint, Order, Phase},
    script::Script,
};

/// The most findings in the log, and in the message that people read of the Rollout.
const LOGGED: usize = 100;
const TOLD: usize = 3;
/// The most bytes of one finding in the message: with the way out it fits into what is kept of a log.
const FINDING_BYTES: usize = 240;

/// Judges the files, which are not needed as text afterwards.
pub fn check(order: &Order, scripts: &mut [Script]) -> Result<(), Failure> {
    let texts = scripts.iter_mut().map(|script| Source {
        name: script.name.clone(),
        text: mem::take(&mut script.text),
    });
    let files: Vec<_> = texts.collect();
    let phase = match order.phase {
        Phase::Expand => Judged::Expand,
        Phase::Backfill => Judged::Backfill,
        Phase::Contract => Judged::Contract,
        Phase::Revert => Judged::Revert,
        // Nothing of it changes anything.
        Phase::Preflight => return Ok(()),
    };
    if order.lint == Lint::Off || files.is_empty() {
        return Ok(());
    }
    let findings = stepgate_lint_child::lint(phase, files)
        .map_err(|error| Failure::new(Way::Later, "NotLinted", error))?;
    for finding in findings.iter().take(LOGGED) {
        let kind = match finding.severity {
            _ if finding.suppressed => "meant so",
            Severity::Error => "error",
            Severity::CannotJudge => "cannot be judged",
            Severity::Warning => "warning",
        };
        say!("lint: {kind}: {}", words(finding));
    }
    let stops: Vec<_> = findings.iter().filter(|one| stops(order, one)).collect();
    if stops.is_empty() || order.lint == Lint::Warn {
        return Ok(());
    }
    Err(Failure::bad_input("LintFailed", message(order, &stops)))
}

/// Whether a finding keeps the phase from running. What cannot be judged is read by whoever approves
/// a phase that removes something; in the others, where nobody is asked, it is a warning, unless
/// nothing unread is to run.
fn stops(order: &Order, finding: &Finding) -> bool {
    !finding.suppressed
        && match finding.severity {
            Severity::Error => true,
            Severity::CannotJudge if removes(order) => !order.approved,
            Severity::CannotJudge => order.lint == Lint::Strict,
            Severity::Warning => false,
        }
}

/// Whether the phase removes something, and may need an approval.
const fn removes(order: &Order) -> bool {
    matches!(order.phase, Phase::Contract | Phase::Revert)
}

fn words(finding: &Finding) -> String {
    let recipe = finding.recipe.as_ref();
    let recipe = recipe.map(|page| format!(" ({page})")).unwrap_or_default();
    format!(
        "{}:{}:{} {}: {}. Instead: {}{recipe}",
        finding.file, finding.line, finding.column, finding.rule, finding.message, finding.safe_way
    )
}

fn message(order: &Order, stops: &[&Finding]) -> String {
    let told = stops.iter().take(TOLD);
    let mut told: Vec<_> = told.map(|one| cut(words(one))).collect();
    if stops.len() > TOLD {
        told.push(format!("and {} more, see the log", stops.len() - TOLD));
    }
    let unseen = stops
        .iter()
        .any(|one| one.severity == Severity::CannotJudge);
    let phase = order.phase;
    let approve = match unseen {
        true if removes(order) => format!(
            "What cannot be judged needs schema.{phase}.approval: Manual, and somebody who reads it. "
        ),
        true => "What cannot be judged does not run here with schema.lint: Strict: write plain \
                 statements, or set schema.lint: Enforce. "
            .to_owned(),
        false => String::new(),
    };
    format!(
        "{}. {approve}Change the file, then retry; what is meant so has `-- squawk-ignore RULE` before \
         it, or set schema.lint: Warn",
        told.join("; ")
    )
}

fn cut(text: String) -> String {
    if text.len() <= FINDING_BYTES {
        return text;
    }
    let mut end = FINDING_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}
