//! What each rule means: how bad it is in which phase, what happens to users, the safe way.

use squawk_linter::Rule;

use crate::{Phase, Severity};

mod locks;
mod old_code;
mod others;

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
}

impl Entry {
    /// How bad it is.
    #[must_use]
    pub const fn severity(&self, phase: Phase) -> Option<Severity> {
        let letter = match phase {
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
        self.concerns != Concerns::Everybody
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::{Rule, entries, squawk_rules};

    /// What Stepgate does differently, or what is a matter of taste.
    const LEFT_OUT: [&str; 16] = [
        "ban-add-column",
        "ban-concurrent-index-creation-in-transaction",
        "ban-uncommitted-transaction",
        "prefer-bigint-over-smallint",
        "prefer-identity",
        "prefer-repack",
        "prefer-robust-stmts",
        "prefer-text-field",
        "prefer-timestamp-tz",
        "require-enum-value-ordering",
        "require-lock-timeout",
        "require-statement-timeout",
        "require-table-schema",
        "require-timeout-settings",
        "transaction-nesting",
        "unused-ignore",
    ];

    #[test]
    fn every_rule_of_squawk_is_used_or_left_out_by_name() {
        let all: BTreeSet<_> = enum_iterator::all::<Rule>()
            .map(|r| r.to_string())
            .collect();
        let used: BTreeSet<_> = squawk_rules().iter().map(ToString::to_string).collect();
        let left_out: BTreeSet<_> = LEFT_OUT.iter().map(ToString::to_string).collect();
        assert_eq!(used.intersection(&left_out).count(), 0);
        assert_eq!(used.union(&left_out).cloned().collect::<BTreeSet<_>>(), all);
    }

    #[test]
    fn names_are_unique_and_pages_exist() {
        let names: BTreeSet<_> = entries().map(|entry| entry.rule).collect();
        assert_eq!(names.len(), entries().count());
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes");
        for page in entries().filter_map(|entry| entry.recipe) {
            let file = recipes.join(format!("{page}.md"));
            assert!(file.exists(), "{}", file.display());
        }
    }
}
