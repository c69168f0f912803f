//! Every rule is accounted for, and on its page.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::Path};

use super::{Phase, Rule, Severity, entries, locks, old_code, others, squawk_rules};

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

/// `UPDATE_GOLDEN=1 cargo test -p stepgate-lint` writes the page anew.
#[test]
fn the_page_lists_every_rule() {
    let mut page = String::from(
        "# The rules of the lint\n\nWhat [`stepgate lint`](lint.md) finds in the SQL of a \
         phase, and how bad it is there: **error**; **approve**, where it cannot be judged and \
         somebody has to read it; *warning*. The phase revert is judged as contract; \
         in a preflight every statement that writes is an error (`writes-in-preflight`), and so is \
         what cannot run in any phase.\n",
    );
    let word = |severity| match severity {
        Some(Severity::Error) => "**error**",
        Some(Severity::CannotJudge) => "**approve**",
        Some(Severity::Warning) => "*warning*",
        None => "–",
    };
    for (title, rows) in [
        ("Long locks and many rows", locks::ROWS.as_slice()),
        ("What old code relies on", old_code::ROWS.as_slice()),
        (
            "What cannot run, what cannot be judged, habits",
            others::ROWS.as_slice(),
        ),
    ] {
        let _ = write!(
            page,
            "\n## {title}\n\n| rule | expand | backfill | contract | what happens | instead |\n\
             |---|---|---|---|---|---|\n"
        );
        for entry in rows {
            let instead = match entry.recipe {
                Some(recipe) => format!("[{}](recipes/{recipe}.md)", entry.safe_way),
                None => entry.safe_way.to_owned(),
            };
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} | {instead} |",
                entry.rule,
                word(entry.severity(Phase::Expand)),
                word(entry.severity(Phase::Backfill)),
                word(entry.severity(Phase::Contract)),
                entry.message,
            );
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lint-rules.md");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "UPDATE_GOLDEN=1 cargo test -p stepgate-lint"
    );
}
