//! Why something on the testbed did not work.

use std::time::Duration;

/// A result on the testbed.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something on the testbed did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or was not there.
    #[error("{what}: {cause}")]
    Api {
        /// What was asked of it.
        what: String,
        /// Its words.
        cause: Box<kube::Error>,
    },
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Program {
        /// The program and its arguments.
        command: String,
        /// What it complained about.
        said: String,
    },
    /// A condition that did not come about.
    #[error("waited {} s in vain for {what}", limit.as_secs())]
    NotInTime {
        /// The condition.
        what: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The load generator's records.
    #[error(transparent)]
    Load(#[from] load::Error),
    /// Anything else, in words that say what to do.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// See [`Error::Refused`].
    pub fn refused(words: impl Into<String>) -> Self {
        Self::Refused(words.into())
    }

    /// For `map_err`: says what was asked of the API server.
    pub fn api<W: Into<String>>(what: W) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |cause| Self::Api {
            what,
            cause: Box::new(cause),
        }
    }
}
