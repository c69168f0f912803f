//! What each rule means: how bad it is in which phase, what happens to users, the safe way.

use squawk_linter::Rule;

use crate::{Phase, Severity};

mod locks;
mod old_code;
mod others;
#[cfg(test)]
mod tests;

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub rule: &'static str,
    /// In expand, backfill, and contract; one letter each.
    severities: [u8; 3],
    /// Whether it also concerns what nobody uses yet.
    pub(crate) concerns: Concerns,
    /// What happens to users.
    pub message: &'static str,
    /// What to do instead.
    pub safe_way: &'static str,
    /// The page of `docs/recipes` that shows it.
    pub recipe: Option<&'static str>,
}

/// Which tables a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// Those that somebody may be using.
    TablesInUse,
    /// All.
    Everything,
    /// All, and no comment helps: it cannot run, or nobody can say what it does.
    Everybody,
    /// Those of a preflight, and no comment helps: PostgreSQL refuses it there.
    Preflights,
}

impl Entry {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self, phase: Phase) -> Option<Severity> {
        let letter = match phase {
            // It reads: nothing but what cannot run, and what writes, is its matter.
            Phase::Preflight if self.concerns == Concerns::Preflights => b'E',
            Phase::Preflight if self.concerns != Concerns::Everybody => b'-',
            Phase::Preflight if self.severities[0] == b'E' => b'E',
            Phase::Preflight => b'-',
            Phase::Expand => self.severities[0],
            Phase::Backfill => self.severities[1],
            Phase::Contract | Phase::Revert => self.severities[2],
        };
        match letter {
            b'E' => Some(Severity::Error),
            b'J' => Some(Severity::CannotJudge),
            b'W' => Some(Severity::Warning),
            _ => None,
        }
    }

    pub(crate) fn may_be_suppressed(&self) -> bool {
        !matches!(self.concerns, Concerns::Everybody | Concerns::Preflights)
    }
}

/// A row; the letters are those of expand, backfill and contract: E an error, J cannot be judged,
/// W a warning, - nothing.
const fn row(
    rule: &'static str,
    severities: &[u8; 3],
    concerns: Concerns,
    message: &'static str,
    safe_way: &'static str,
    recipe: &'static str,
) -> Entry {
    Entry {
        rule,
        severities: *severities,
        concerns,
        message,
        safe_way,
        recipe: if recipe.is_empty() {
            None
        } else {
            Some(recipe)
        },
    }
}

/// Every rule.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    locks::ROWS
        .iter()
        .chain(&old_code::ROWS)
        .chain(&others::ROWS)
}

/// The rule of this name.
#[must_use]
pub fn entry(rule: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.rule == rule)
}

/// Those that squawk finds.
pub(crate) fn squawk_rules() -> Vec<Rule> {
    entries()
        .filter_map(|entry| Rule::try_from(entry.rule).ok())
        .collect()
}
