//! The simulator's story, told from the release on, for a person who reads it once.

use serde::Serialize;

use super::play::{NEW, OLD, Played};
use crate::simulate::story::{self, Pods, Told};

/// Conditions that only repeat what the lines around them say.
const SAID_OTHERWISE: [&str; 6] = [
    "Preflight",
    "Expanding",
    "Stepping",
    "Holding",
    "Undoing",
    "Stable",
];

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Seconds since the new revision was applied.
    pub second: i64,
    /// Ready and asked-for pods of the old revision, where they have changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The same of the new revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// What happened; empty where only pods have changed.
    pub text: String,
}

/// The story of a play.
#[must_use]
pub fn story(played: &Played) -> Vec<Line> {
    let world = played.simulation.world();
    let told = world.story.lines();
    let mut lines: Vec<Line> = Vec::new();
    let (mut pods, mut said) = (None, Vec::new());
    for (index, line) in told.iter().enumerate() {
        let second = line.at.duration_since(played.released).as_secs();
        let is_after = line.at >= played.released;
        if let Told::Pods(counts) = &line.told {
            let now = (count_of(counts, OLD), count_of(counts, NEW));
            if is_after && pods.as_ref() != Some(&now) {
                lines.push(Line::of_pods(second, &now));
            }
            pods = Some(now);
        } else if is_after && let Some(words) = in_short(told, index) {
            let words = world.story.with_known_names(&words);
            let text = match line.told {
                Told::Says(_) => words,
                _ => without_repetition(&words, &said),
            };
            said.push(text.clone());
            lines.push(Line {
                second,
                text,
                ..Line::default()
            });
        }
        if let (Some(first), Some((old, new))) = (lines.first_mut(), &pods)
            && first.old.is_none()
        {
            (first.old, first.new) = (Some(old.clone()), Some(new.clone()));
        }
    }
    without_rush(lines)
}

impl Line {
    fn of_pods(second: i64, (old, new): &(String, String)) -> Self {
        Self {
            second,
            old: Some(old.clone()),
            new: Some(new.clone()),
            text: String::new(),
        }
    }
}

/// A line as it is told here; `None` when others say it already.
fn in_short(told: &[story::Line], index: usize) -> Option<String> {
    match &told.get(index)?.told {
        Told::Says(condition) => {
            let (reason, message) = (&condition.reason, &condition.message);
            let mut near = told[index.saturating_sub(6)..(index + 6).min(told.len())].iter();
            let repeats = SAID_OTHERWISE.contains(&reason.as_str())
                // What was undone, and why, is told as it happens.
                || message.contains(" is not tried again; ")
                || near.any(|other| says(&other.told, message));
            (!repeats).then(|| format!("{reason}: {message}"))
        }
        // It repeats what became of a Job, or what its Rollout waits for.
        Told::Database(_) | Told::Waits(_) => None,
        Told::Applied { .. } => Some("> the new revision is applied".into()),
        other => Some(other.to_string()),
    }
}

/// Whether these words are in a line that is no condition.
fn says(told: &Told, words: &str) -> bool {
    match told {
        Told::Note(note) | Told::PassEnded(note) => note.contains(words),
        Told::Write { error, .. } => error.as_ref().is_some_and(|error| error.contains(words)),
        _ => false,
    }
}

/// Reasons are told once: an end that was told already is cut off.
fn without_repetition(words: &str, said: &[String]) -> String {
    for (index, _) in words.match_indices(": ") {
        let tail = &words[index + 2..];
        if tail.len() > 30
            && said
                .iter()
                .rev()
                .take(12)
                .any(|earlier| earlier.ends_with(tail))
        {
            return words[..index].to_owned();
        }
    }
    words.to_owned()
}

fn count_of(pods: &[Pods], image: &str) -> String {
    let of_image = pods.iter().find(|pods| &*pods.image == image);
    of_image.map_or("-".into(), |pods| format!("{}/{}", pods.ready, pods.asked))
}

/// Of many changes of pods in a row the first and the last are enough.
fn without_rush(lines: Vec<Line>) -> Vec<Line> {
    let only_pods = |line: Option<&Line>| line.is_some_and(|l| l.text.is_empty());
    let keep: Vec<bool> = (0..lines.len())
        .map(|index| {
            let before = index.checked_sub(1).and_then(|i| lines.get(i));
            let (here, after) = (lines.get(index), lines.get(index + 1));
            !(only_pods(before) && only_pods(here) && only_pods(after))
        })
        .collect();
    let kept = lines.into_iter().zip(keep);
    kept.filter(|(_, keep)| *keep)
        .map(|(line, _)| line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once() {
        let said = vec![
            "UndoStarted: revision new: 5% errors (18 of 363 requests), limit 0.5%".to_owned(),
        ];
        assert_eq!(
            without_repetition(
                "UndoCompleted: out: 5% errors (18 of 363 requests), limit 0.5%",
                &said
            ),
            "UndoCompleted: out"
        );
        assert_eq!(without_repetition("a: b", &said), "a: b");
    }

    #[test]
    fn of_a_rush_of_pods_first_and_last_are_told() {
        let line = |second, text: &str| Line {
            second,
            text: text.into(),
            ..Line::default()
        };
        let lines = vec![
            line(0, "x"),
            line(1, ""),
            line(2, ""),
            line(3, ""),
            line(4, "y"),
        ];
        let seconds: Vec<_> = without_rush(lines).iter().map(|l| l.second).collect();
        assert_eq!(seconds, [0, 1, 3, 4]);
    }
}
