//! What is said about a manifest: the field, what is wrong with it, and the way out.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// The API server or the operator would refuse it.
    Error,
    /// It would be taken, and users would probably be hurt by it one day.
    Warning,
    /// Worth knowing; may be meant so.
    Note,
}

impl Level {
    /// The word that a line begins with.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing about a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The field, as a path: `spec.strategy.canary.steps[0].replicas`.
    pub field: String,
    /// What is wrong, and the way out.
    pub message: String,
}

impl Finding {
    /// An error.
    pub fn error(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Error, field, message)
    }

    /// A warning.
    pub fn warning(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Warning, field, message)
    }

    /// A note.
    pub fn note(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Note, field, message)
    }

    fn new(level: Level, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level,
            field: field.into(),
            message: message.into(),
        }
    }
}
