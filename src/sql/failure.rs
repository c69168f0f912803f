//! What can go wrong, whether it passes, and how it is said: with names and places, never with data
//! of a table and never with a secret.

use std::{error::Error as _, fmt, io};

use tokio_postgres::error::{DbError, SqlState};

/// What a failure means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The order or a file cannot be carried out as it is: nothing ran.
    BadInput,
    /// Passes by itself: the same process tries again until the deadline.
    Again,
    /// This process cannot mend it, but another try may: it ends at once, and nothing was applied by
    /// what failed.
    Later,
    /// Somebody has to do something.
    Fatal,
}

/// A failure, in words for people and for the record.
#[derive(Clone, Debug)]
pub struct Failure {
    pub way: Way,
    /// One word, as in `status`.
    pub reason: &'static str,
    pub message: String,
    pub sqlstate: Option<String>,
    /// The file, statement and line.
    pub place: Option<Place>,
    /// The connection is gone, and the session with it.
    pub lost: bool,
    /// Where in the statement PostgreSQL points to, in characters from 1.
    pub position: Option<u32>,
}

/// A statement in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// From 1.
    pub statement: usize,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}, statement {}",
            self.file, self.line, self.statement
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Failure {
    pub fn new(way: Way, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            way,
            reason,
            message: message.into(),
            sqlstate: None,
            place: None,
            lost: false,
            position: None,
        }
    }

    pub fn bad_input(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Way::BadInput, reason, message)
    }

    pub fn again(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Way::Again, reason, message)
    }

    pub fn fatal(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Way::Fatal, reason, message)
    }

    /// What is known better by who asked for it.
    pub fn to(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => told(db),
            None => unheard(&error),
        }
    }
}

/// PostgreSQL said what is wrong.
fn told(db: &DbError) -> Failure {
    let code = db.code();
    let (way, reason, lost) = judge(code);
    let mut failure = Failure::new(way, reason, words(db));
    failure.sqlstate = Some(code.code().to_owned());
    failure.lost = lost;
    if let Some(tokio_postgres::error::ErrorPosition::Original(at)) = db.position() {
        failure.position = Some(*at);
    }
    failure
}

fn judge(code: &SqlState) -> (Way, &'static str, bool) {
    if *code == SqlState::LOCK_NOT_AVAILABLE {
        (Way::Again, "LockTimeout", false)
    } else if *code == SqlState::T_R_DEADLOCK_DETECTED {
        (Way::Again, "Deadlock", false)
    } else if *code == SqlState::QUERY_CANCELED {
        (Way::Fatal, "Cancelled", false)
    } else if *code == SqlState::ADMIN_SHUTDOWN
        || *code == SqlState::CRASH_SHUTDOWN
        || *code == SqlState::CANNOT_CONNECT_NOW
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        || *code == SqlState::TOO_MANY_CONNECTIONS
        || code.code().starts_with("08")
    {
        (Way::Again, "ConnectionLost", true)
    } else if code.code().starts_with("28") || *code == SqlState::INVALID_CATALOG_NAME {
        // A Secret that is changed reaches the next pod, not this one.
        (Way::Later, "ConnectionRefused", true)
    } else {
        (Way::Fatal, "StatementFailed", false)
    }
}

/// The message where it can hold names only; by its class otherwise. Details, hints and contexts
/// are left out: they hold rows.
fn words(db: &DbError) -> String {
    let code = db.code().code();
    let speaks_of_names = [
        "08", "0A", "23", "25", "26", "28", "2B", "2D", "3D", "3F", "40", "42", "53", "54", "55",
        "57",
    ];
    let mut text = if speaks_of_names.iter().any(|class| code.starts_with(class)) {
        db.message().to_owned()
    } else {
        let class = match code.get(..2) {
            Some("21") => "cardinality violation",
            Some("22") => "data exception: a value does not fit",
            Some("38" | "39") => "a function failed",
            Some("44") => "a view's WITH CHECK OPTION is violated",
            Some("P0") => "a function raised an error",
            Some("XX") => "internal error",
            Some("58") => "system error",
            _ => "error",
        };
        format!("{class} (the message may hold data: it is in the server's log)")
    };
    let mut names = Vec::new();
    let table = match (db.schema(), db.table()) {
        (Some(schema), Some(table)) => Some(format!("{schema}.{table}")),
        (_, table) => table.map(str::to_owned),
    };
    for (what, name) in [
        ("table", table.as_deref()),
        ("column", db.column()),
        ("constraint", db.constraint()),
        ("type", db.datatype()),
    ] {
        if let Some(name) = name {
            names.push(format!("{what} {name}"));
        }
    }
    if !names.is_empty() {
        text = format!("{text} [{}]", names.join(", "));
    }
    format!("{text} (SQLSTATE {code})")
}

/// The client or the network failed.
fn unheard(error: &tokio_postgres::Error) -> Failure {
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    let tls = io
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let mut failure = if let Some(tls) = tls {
        Failure::new(
            Way::Later,
            "TlsFailed",
            format!(
                "no trusted TLS connection to PostgreSQL: {tls}. Give the certificate authority \
                 (`schema.postgres.ca`), and the host by the name that is in the certificate; \
                 `sslmode=disable` in the URI goes without TLS"
            ),
        )
    } else if error.to_string().contains("server does not support TLS") {
        Failure::new(
            Way::Later,
            "TlsFailed",
            "PostgreSQL does not offer TLS, and the URI's `sslmode` asks for it: turn on `ssl` in the \
             server, or write `sslmode=disable`",
        )
    } else if let Some(io) = io {
        Failure::again(
            "ConnectionLost",
            format!("no connection to PostgreSQL: {io}"),
        )
    } else if error.is_closed() {
        Failure::again("ConnectionLost", "the connection to PostgreSQL was lost")
    } else {
        // Text of the client, about the protocol and about parameters.
        Failure::new(
            Way::Later,
            "ConnectionRefused",
            format!("PostgreSQL cannot be talked to: {}", chain(error)),
        )
    };
    failure.lost = true;
    failure
}

fn chain(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
