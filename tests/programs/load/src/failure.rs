//! Why a request failed, in words for whoever looks for the cause.

use std::fmt::{self, Display, Formatter};

use crate::Record;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// There was no connection in time.
    NotConnected,
    /// There is no way to the address.
    Unreachable,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer, or within it.
    Closed,
    /// No whole answer in time. The load generator does not always say whether there was a connection.
    NotAnswered,
    /// An answer, but with a status that this traffic never earns.
    Status(u16),
    /// Something else, in the load generator's words.
    Other,
}

impl Failure {
    /// How this request failed; `None` if it did not.
    pub fn of(record: &Record) -> Option<Self> {
        if !record.failed() {
            return None;
        }
        if record.status != 0 {
            return Some(Self::Status(record.status));
        }
        let error = record.error.as_str();
        let has = |words: &str| error.contains(words);
        let late = has("i/o timeout") || has("deadline exceeded") || has("Client.Timeout");
        Some(if has("connection refused") {
            Self::Refused
        } else if has("no route to host") || has("network is unreachable") {
            Self::Unreachable
        } else if has("connection reset") || has("broken pipe") {
            Self::Reset
        } else if late && has("dial tcp") {
            Self::NotConnected
        } else if late {
            Self::NotAnswered
        } else if has("EOF") || has("closed") {
            Self::Closed
        } else {
            Self::Other
        })
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::NotConnected => f.write_str("no connection in time"),
            Self::Unreachable => f.write_str("no way to the address"),
            Self::Reset => f.write_str("connection reset"),
            Self::Closed => f.write_str("connection closed before the end of the answer"),
            Self::NotAnswered => f.write_str("no whole answer in time"),
            Self::Status(status) => write!(f, "answered with status {status}"),
            Self::Other => f.write_str("failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn failure(status: u16, error: &str) -> Option<Failure> {
        Failure::of(&Record {
            at: SystemTime::UNIX_EPOCH,
            latency: Duration::ZERO,
            status,
            error: error.to_owned(),
            sequence: 0,
            method: "GET".to_owned(),
            url: String::new(),
            pod: String::new(),
        })
    }

    #[test]
    fn the_load_generators_words_are_told_apart() {
        for (words, kind) in [
            (
                "dial tcp 0.0.0.0:0->10.96.0.5:80: connect: connection refused",
                Failure::Refused,
            ),
            (
                "dial tcp 10.96.0.5:80: i/o timeout (Client.Timeout exceeded while awaiting headers)",
                Failure::NotConnected,
            ),
            (
                "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                Failure::NotAnswered,
            ),
            (
                "dial tcp 10.96.0.5:80: connect: no route to host",
                Failure::Unreachable,
            ),
            (
                "read tcp 10.88.0.1:4711->10.96.0.5:80: read: connection reset by peer",
                Failure::Reset,
            ),
            ("EOF", Failure::Closed),
            ("unexpected EOF", Failure::Closed),
            ("malformed HTTP response", Failure::Other),
        ] {
            let error = format!("Get \"http://10.96.0.5/users/1\": {words}");
            assert_eq!(failure(0, &error), Some(kind), "{words}");
        }
    }

    #[test]
    fn an_answer_fails_by_its_status() {
        assert_eq!(
            failure(503, "503 Service Unavailable"),
            Some(Failure::Status(503))
        );
        assert_eq!(failure(200, ""), None);
    }
}
