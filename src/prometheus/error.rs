//! What can go wrong with a metric source, each with a fixed reason.

use thiserror::Error;

use crate::evidence::{Fault, Reason};

/// Why a source gave no counts. Holds nothing that the source or a credential said: these words
/// end in the status of a Rollout, which others may read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// No answer in time.
    #[error("the metric source did not answer within {seconds} s")]
    TimedOut {
        /// The limit that applied.
        seconds: u64,
    },
    /// No connection.
    #[error(
        "the metric source cannot be reached: check its url, its caFile and the network policy"
    )]
    Unreachable,
    /// 401 or 403.
    #[error("the metric source refuses the credentials (HTTP {status})")]
    Unauthorized {
        /// HTTP status.
        status: u16,
    },
    /// A redirect; none is followed.
    #[error(
        "the metric source redirects (HTTP {status}), which is not followed: configure its final url"
    )]
    Redirected {
        /// HTTP status.
        status: u16,
    },
    /// The source refused or failed to evaluate the query.
    #[error("the metric source refuses the query ({kind}, HTTP {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Prometheus' own word for it, from a closed list.
        kind: &'static str,
    },
    /// Not an answer of Prometheus' HTTP API to this query.
    #[error("the answer is not one of Prometheus' HTTP API ({what}): check the source's url")]
    BadAnswer {
        /// What is wrong with it.
        what: &'static str,
    },
    /// More than is read.
    #[error("the answer is larger than {megabytes} MB")]
    TooLarge {
        /// The limit.
        megabytes: usize,
    },
    /// More series, moments or buckets than are kept of one answer.
    #[error(
        "the answer has more series or buckets than are read: aggregate them, or count fewer with \
         metric.matchers"
    )]
    TooMuch,
    /// A credential's file cannot be read.
    #[error("the metric source's {field} cannot be read: check that the file is mounted")]
    Credential {
        /// Which field of the source.
        field: &'static str,
    },
}

impl Error {
    /// The fixed reason for status and metrics.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::TimedOut { .. } => Reason::TimedOut,
            Self::Unreachable => Reason::Unreachable,
            Self::Unauthorized { .. } | Self::Credential { .. } => Reason::Unauthorized,
            Self::Redirected { .. } | Self::Refused { .. } => Reason::QueryFailed,
            Self::BadAnswer { .. } => Reason::BadAnswer,
            Self::TooLarge { .. } | Self::TooMuch => Reason::AnswerTooLarge,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self {
            reason: error.reason(),
            message: error.to_string(),
        }
    }
}
