//! The simulator's story, told from the release on, for a person who reads it once.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::play::{NEW, OLD, Played};
use crate::{
    plan::{intent::Note, reason::Reason},
    simulate::story::{self, Pods, Told},
};

/// Conditions that only repeat what the lines around them say.
const SAID_OTHERWISE: [Reason; 6] = [
    Reason::Preflight,
    Reason::Expanding,
    Reason::Stepping,
    Reason::Holding,
    Reason::Undoing,
    Reason::Stable,
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
    let (mut pods, mut said) = (None, BTreeSet::new());
    for (index, line) in told.iter().enumerate() {
        let second = line.at.duration_since(played.released).as_secs();
        let is_after = line.at >= played.released;
        if let Told::Pods(counts) = &line.told {
            let now = (count_of(counts, OLD), count_of(counts, NEW));
            if is_after && pods.as_ref() != Some(&now) {
                lines.push(Line::of_pods(second, &now));
            }
            pods = Some(now);
        } else if is_after && let Some(text) = in_short(told, index, &mut said) {
            lines.push(Line {
                second,
                text: world.story.with_known_names(&text),
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

/// A line as it is told here; `None` when others say it already. What was said to be the cause of
/// something is said once.
fn in_short<'t>(
    told: &'t [story::Line],
    index: usize,
    said: &mut BTreeSet<&'t str>,
) -> Option<String> {
    match &told.get(index)?.told {
        Told::Says(condition) => {
            let near = told[index.saturating_sub(6)..(index + 6).min(told.len())].iter();
            let mut near = near.filter_map(|line| line.told.event());
            let reason = Reason::of(&condition.reason);
            let repeats = reason.is_some_and(|reason| SAID_OTHERWISE.contains(&reason))
                || near.any(|event| Some(event) == reason || ends(event, condition));
            (!repeats).then(|| format!("{}: {}", condition.reason, condition.message))
        }
        Told::Note(Note::Event {
            reason,
            what,
            because: Some(why),
        }) if !said.insert(why) => Some(format!("{reason}: {what}")),
        // It repeats what became of a Job, or what its Rollout waits for.
        Told::Database(_) | Told::Waits(_) => None,
        Told::Applied { .. } => Some("> the new revision is applied".into()),
        other => Some(other.to_string()),
    }
}

/// Whether an Event says why a release stands still, as this condition does.
fn ends(event: Reason, condition: &Condition) -> bool {
    let ends = [
        Reason::Stalled,
        Reason::RolloutPaused,
        Reason::UndoCompleted,
    ];
    condition.type_ == "Stalled" && ends.contains(&event)
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
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn line(told: Told) -> story::Line {
        story::Line {
            at: Timestamp::UNIX_EPOCH,
            about: "shop".into(),
            told,
        }
    }

    fn event(reason: Reason, what: &str, why: &str) -> story::Line {
        line(Told::Note(Note::Event {
            reason,
            what: what.into(),
            because: Some(why.into()),
        }))
    }

    fn stalled(reason: Reason) -> story::Line {
        line(Told::Says(Condition {
            type_: "Stalled".into(),
            status: "True".into(),
            reason: reason.word().into(),
            message: "whatever it says".into(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }))
    }

    /// By their reasons, however they are worded.
    #[test]
    fn a_cause_is_told_once_and_an_end_too() {
        let told = [
            event(Reason::UndoStarted, "revision new", "5% errors"),
            event(Reason::UndoCompleted, "out", "5% errors"),
            stalled(Reason::CheckFailed),
        ];
        let mut said = BTreeSet::new();
        let all: Vec<_> = (0..3).map(|i| in_short(&told, i, &mut said)).collect();
        let started = "UndoStarted: revision new: 5% errors".to_owned();
        let ended = "UndoCompleted: out".to_owned();
        assert_eq!(all, [Some(started), Some(ended), None]);
        let alone = [stalled(Reason::CheckFailed)];
        let text = in_short(&alone, 0, &mut said).unwrap_or_default();
        assert_eq!(text, "CheckFailed: whatever it says");
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
