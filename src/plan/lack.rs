//! Something that a phase after the release waits for, for people.

use std::fmt;

use crate::api::database::Missing;

/// Letters kept of what is missing, and of a command, on the DatabaseSchema.
const LONGEST: (usize, usize) = (400, 900);

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    /// What, with names, in words that time alone does not change.
    pub what: String,
    /// What a person should know of it besides.
    note: Option<String>,
    /// What else is to be said of it: times and figures.
    more: String,
    /// The command by which a person gives it.
    command: Option<String>,
}

impl Lack {
    pub fn of(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            note: None,
            more: String::new(),
            command: None,
        }
    }

    /// With what a person should know of it.
    pub(crate) fn noting(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }

    /// With more words, which follow it.
    pub(crate) fn saying(mut self, more: impl Into<String>) -> Self {
        self.more = more.into();
        self
    }

    /// A person gives it by this command.
    pub fn by(mut self, command: String) -> Self {
        self.command = Some(command);
        self
    }

    /// As it stands on the DatabaseSchema.
    pub(crate) fn on_record(self) -> Missing {
        let (what, command) = LONGEST;
        let short = |text: String, most| text.chars().take(most).collect();
        Missing {
            what: short(self.what, what),
            note: self.note.map(|text| short(text, what)),
            command: self.command.map(|text| short(text, command)),
        }
    }
}

impl From<String> for Lack {
    fn from(what: String) -> Self {
        Self::of(what)
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(note) = &self.note {
            write!(f, " ({note})")?;
        }
        f.write_str(&self.more)?;
        match &self.command {
            Some(command) => write!(f, ": {command}"),
            None => Ok(()),
        }
    }
}
