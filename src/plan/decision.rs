//! What a function that decides comes to: a change of the record, or why there is none now.

use jiff::Timestamp;

use super::{
    facts::Question,
    intent::{Around, Event, Measurement, Note, Notes, UndoCause},
    reason::Reason,
};
use crate::api::{RolloutStatus, database::Found, release::Why, status::RevisionStatus};

/// A decision; nothing where there is none to make and the next in order may decide; or what
/// keeps it from being made.
pub(super) type Decided = Result<Option<Decision>, Halt>;

/// Why nothing is decided now.
#[derive(Debug)]
pub(super) enum Halt {
    /// These must be answered first.
    Ask(Vec<Question>),
    /// Something else comes first. What is on record is carried out meanwhile.
    Wait(Wait),
}

/// What is waited for.
#[derive(Debug, Default)]
pub(super) struct Wait {
    /// What keeps the rollout from going on, if that is to be said.
    pub obstacle: Option<Obstacle>,
    /// When to look again if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

/// Something that keeps a rollout from going on, and who can change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub reason: Reason,
    pub message: String,
    /// Nothing goes on before a person acts.
    pub stalled: bool,
}

/// A change of the record, and what is told of it. It is put on record before anything that rests
/// on it is written.
#[derive(Debug)]
pub(super) struct Decision {
    /// The status as it will be.
    pub status: RolloutStatus,
    pub events: Vec<Event>,
    pub notes: Notes,
    /// What is waited for from here on.
    pub wait: Wait,
}

impl Halt {
    /// This must be known first.
    pub fn ask<T>(question: Question) -> Result<T, Self> {
        Err(Self::Ask(vec![question]))
    }
}

/// What must be known for several things that do not rest on each other, asked at once.
///
/// # Errors
/// What they ask; or the first that waits, if none before it asks.
pub(super) fn together(all: impl IntoIterator<Item = Result<(), Halt>>) -> Result<(), Halt> {
    let mut questions = Vec::new();
    for one in all {
        match one {
            Err(Halt::Ask(more)) => {
                let new = |q: &Question| !questions.contains(q);
                let more: Vec<_> = more.into_iter().filter(new).collect();
                questions.extend(more);
            }
            Err(wait) if questions.is_empty() => return Err(wait),
            Err(Halt::Wait(_)) | Ok(()) => {}
        }
    }
    match questions.is_empty() {
        true => Ok(()),
        false => Err(Halt::Ask(questions)),
    }
}

impl From<Wait> for Halt {
    fn from(wait: Wait) -> Self {
        Self::Wait(wait)
    }
}

impl Wait {
    /// Goes on without anybody's help.
    pub fn held(reason: Reason, message: impl Into<String>) -> Self {
        Self::at(reason, message, false)
    }

    /// Waits for a person.
    pub fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self::at(reason, message, true)
    }

    pub fn at(reason: Reason, message: impl Into<String>, stalled: bool) -> Self {
        let message = message.into();
        Self {
            obstacle: Some(Obstacle {
                reason,
                message,
                stalled,
            }),
            wake_at: None,
        }
    }

    /// The same, with more words.
    pub(crate) fn saying(mut self, words: &str) -> Self {
        if let Some(obstacle) = &mut self.obstacle {
            obstacle.message.push_str(words);
        }
        self
    }

    /// Nothing but time.
    pub fn until(at: Timestamp) -> Self {
        Self::default().wake(at)
    }

    /// Looks again at `at`, if nothing happens before.
    pub(crate) fn wake(mut self, at: Timestamp) -> Self {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
        self
    }

    /// Both: the earlier time, and what was said first.
    pub fn and(self, other: Self) -> Self {
        let both = [self.wake_at, other.wake_at];
        Self {
            obstacle: self.obstacle.or(other.obstacle),
            wake_at: both.into_iter().flatten().min(),
        }
    }
}

impl Decision {
    /// This revision is stable from here on.
    pub fn stable(&mut self, revision: &str) {
        self.status.stable = Some(RevisionStatus {
            revision: revision.to_owned(),
            ..RevisionStatus::default()
        });
    }

    pub fn event(mut self, reason: Reason, message: impl Into<String>) -> Self {
        self.tell(reason, false, message);
        self
    }

    pub fn warning(mut self, reason: Reason, message: impl Into<String>) -> Self {
        self.tell(reason, true, message);
        self
    }

    pub fn tell(&mut self, reason: Reason, warning: bool, message: impl Into<String>) {
        self.say(reason, warning, message.into(), None);
    }

    /// What happened, and what caused it.
    pub(crate) fn tell_because(&mut self, reason: Reason, warning: bool, what: String, why: &str) {
        self.say(reason, warning, what, Some(why.to_owned()));
    }

    fn say(&mut self, reason: Reason, warning: bool, what: String, because: Option<String>) {
        let message = match &because {
            Some(why) => format!("{what}: {why}"),
            None => what.clone(),
        };
        self.notes.push(Note::Event {
            reason,
            what,
            because,
        });
        self.events.push(Event {
            reason,
            message,
            warning,
            undo: None,
            measured: None,
        });
    }

    /// The same, where it takes something back for this reason.
    pub(crate) fn undoes(mut self, reason: Reason) -> Self {
        self.counts(reason);
        self
    }

    /// What was told last takes something back for this reason.
    pub fn counts(&mut self, reason: Reason) {
        if let Some(event) = self.events.last_mut() {
            event.undo = Some(UndoCause::of(reason));
        }
    }

    /// What was told last is how a measurement of stable has ended.
    pub(crate) fn measures(mut self, around: Around, verdict: Found) -> Self {
        if let Some(event) = self.events.last_mut() {
            event.measured = Some(Measurement { around, verdict });
        }
        self
    }

    pub fn note(mut self, note: impl Into<Note>) -> Self {
        self.notes.push(note);
        self
    }

    pub fn waiting(mut self, wait: Wait) -> Self {
        self.wait = self.wait.and(wait);
        self
    }

    /// As something that was decided.
    pub fn made(self) -> Decided {
        Ok(Some(self))
    }
}

impl Why {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason: reason.word().to_owned(),
            message: message.into(),
        }
    }

    pub(super) fn is(&self, reason: Reason) -> bool {
        self.reason == reason.word()
    }
}
