//! What a person is told of a revision: how it ended, what to say to it, and what a hash means.

use super::{draft::Draft, reason::Reason};
use crate::api::{
    database::Waiting,
    keys,
    release::Release,
    status::{Ended, Outcome},
};

/// The most letters of why a revision failed, where more is to be said: the whole of it is in
/// `status.history`.
const WHY: usize = 1400;
/// The most letters of a message in a column.
const COLUMN: usize = 119;

/// The command line that says `verb` to a Rollout.
pub(super) fn command(draft: &Draft<'_>, verb: &str, target: &str) -> String {
    let rollout = &draft.seen.objects.rollout;
    format!(
        "kubectl annotate --overwrite -n {} rollouts.stepgate.io/{} {}{verb}=\"{target} $(date \
         +%s)\"",
        rollout.namespace,
        rollout.base.name,
        keys::PREFIX
    )
}

/// The command by which what is open of a version is given up.
pub(super) fn drop_of(draft: &Draft<'_>, database: &str, version: i64) -> String {
    format!(
        "kubectl annotate -n {} databaseschema {database} --overwrite \
         stepgate.io/drop=\"{version} <id>\"",
        draft.seen.objects.rollout.namespace
    )
}

/// The command by which a person says that what a Job left half-way is fixed.
pub(super) fn clean_of(draft: &Draft<'_>, database: &str, job: &str) -> String {
    format!(
        "kubectl annotate -n {} databaseschema {database} --overwrite \
         stepgate.io/clean=\"{job} <id>\"",
        draft.seen.objects.rollout.namespace
    )
}

/// What is to be said of a revision that the spec still asks for, though it failed.
pub(super) fn failed(draft: &Draft<'_>, revision: &str) -> (String, String) {
    let (reason, why) = draft.outcome_reason(revision);
    let ended = |ended: &Ended| format!(" at {:.0}", ended.ended.0);
    let at = ended_of(draft, revision).map(ended).unwrap_or_default();
    let before = [
        Reason::ExpandFailed,
        Reason::JobRefused,
        Reason::PreflightFailed,
        Reason::RecordDisagrees,
        Reason::TemplateRefused,
    ];
    // No pod of it ever ran.
    let ended = match Reason::of(&reason).is_some_and(|reason| before.contains(&reason)) {
        true => "failed",
        false => "was undone",
    };
    let serves = match draft.stable() {
        Some(stable) => format!("stable {stable} serves"),
        None => "no revision is stable".to_owned(),
    };
    let why = cut(why.trim_end_matches('.'), WHY);
    let again = command(draft, "retry", revision);
    let message = format!(
        "revision {revision} {ended}{at} and is not tried again; {serves}: {why}. Release another \
         revision; or, to try this one once more: {again}"
    );
    (reason, message)
}

fn ended_of<'d>(draft: &'d Draft<'_>, revision: &str) -> Option<&'d Ended> {
    let mut history = draft.status.history.iter();
    history.find(|ended| ended.revision == revision)
}

/// What a hash means that a person wrote.
pub(super) fn meaning(draft: &Draft<'_>, hash: &str) -> String {
    if hash.is_empty() {
        return "which names no revision".into();
    }
    let release = draft.status.release.as_ref();
    if release.is_some_and(|r: &Release| r.revision == hash) {
        return "which is being released".into();
    }
    if draft.stable() == Some(hash) {
        return "which is stable".into();
    }
    let at = ended_of(draft, hash).map(|e| format!(" at {:.0}", e.ended.0));
    let at = at.unwrap_or_default();
    match draft.outcome(hash) {
        Some(Outcome::Failed) => format!("which failed{at}"),
        Some(Outcome::Withdrawn) => format!("which gave way to a newer one{at}"),
        Some(Outcome::Stable) => "which is a former stable revision".into(),
        None if draft.wanted == hash => "which the spec asks for, and whose release has not \
                                         begun"
            .into(),
        None if draft.seen.objects.revision(hash).is_some() => "which was never released".into(),
        None => format!("which is no revision of Rollout {}", draft.name()),
    }
}

/// Who waits and for what, without the commands by which a person gives it: what needs one first.
pub(super) fn waiting(waiting: &Waiting) -> (String, String) {
    let mut missing: Vec<_> = waiting.missing.iter().collect();
    missing.sort_by_key(|one| one.command.is_none());
    let missing: Vec<_> = missing.iter().map(|one| one.what.as_str()).collect();
    let who = format!("{} of version {}", waiting.phase.word(), waiting.version);
    (who, missing.join("; "))
}

/// Whether a column has room for all of it.
pub(super) fn fits_a_column(message: &str) -> bool {
    message.chars().count() <= COLUMN
}

/// A message as a column has room for it.
pub(super) fn for_column(message: &str) -> String {
    cut(message, COLUMN)
}

/// At most so many letters, and a sign that there were more.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    // Not in the middle of a word, unless it is all one.
    let end = kept.rfind(' ').filter(|end| *end > kept.len() / 2);
    format!("{}…", &kept[..end.unwrap_or(kept.len())])
}

#[cfg(test)]
mod tests {
    use super::{COLUMN, for_column};

    #[test]
    fn a_column_has_at_most_119_letters_and_says_when_there_are_more() {
        let short = "revision v2 is stable";
        assert_eq!(for_column(short), short);
        for text in ["word ".repeat(100), "é".repeat(500), "x".repeat(120)] {
            let column = for_column(&text);
            assert!(column.chars().count() <= COLUMN, "{column}");
            assert!(column.ends_with('…'), "{column}");
        }
        let exact = "x".repeat(COLUMN);
        assert_eq!(for_column(&exact), exact);
    }
}
