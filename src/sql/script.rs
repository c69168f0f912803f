//! A file of SQL, split into statements by PostgreSQL's grammar, and refused where it cannot be run
//! as it is. Nothing runs before every file has passed.

use sha2::{Digest, Sha256};

use crate::{
    failure::{Failure, Place},
    order::{File, Transaction},
    split::{self, line},
};

/// As large as a file may be.
pub const LARGE: usize = 256 * 1024;

/// A file that can be run.
#[derive(Clone, Debug)]
pub struct Script {
    pub name: String,
    pub sha256: String,
    /// The whole text, until it has been judged.
    pub text: String,
    pub statements: Vec<Statement>,
    /// One transaction for the whole file.
    pub whole: bool,
}

#[derive(Clone, Debug)]
pub struct Statement {
    pub text: String,
    /// Where it begins, from 1.
    pub line: usize,
    pub kind: Kind,
    /// Tables whose owner must be the role that runs it.
    pub owned: Vec<String>,
}

/// How a statement has to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a transaction.
    Plain,
    /// In a transaction of its own, without a limit for its locks: it takes weak ones, for long.
    Validate,
    /// A setting of the session: it is set again after a reconnect.
    Setting,
    /// Outside of a transaction, and can be run twice.
    Outside,
    /// `CREATE INDEX CONCURRENTLY`.
    Index(Index),
    /// `DROP INDEX CONCURRENTLY`, of one index.
    DropIndex { name: String, if_exists: bool },
}

/// An index to be built beside the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub name: String,
    /// As written.
    pub table: String,
    /// The same on an empty copy: around the table's name, without CONCURRENTLY and name.
    pub before: String,
    pub after: String,
}

impl Kind {
    const fn needs_its_own(&self) -> bool {
        !matches!(self, Self::Plain | Self::Setting)
    }
}

impl Script {
    /// Reads a file as the order has it.
    pub fn read(file: &File) -> Result<Self, Failure> {
        let bytes = std::fs::read(&file.path).map_err(|error| {
            Failure::bad_input(
                "FileMissing",
                format!(
                    "file {}: {} cannot be read: {error}. Is the ConfigMap there, with this key?",
                    file.name, file.path
                ),
            )
        })?;
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        if !sha256.eq_ignore_ascii_case(&file.sha256) {
            return Err(Failure::bad_input(
                "WrongHash",
                format!(
                    "file {}: its SHA-256 is {sha256}, not {}: the ConfigMap was changed after the \
                     phase was planned or approved. Nothing of this text ran. `retry` takes the \
                     text as it is then; a contract has to be approved with it",
                    file.name, file.sha256
                ),
            ));
        }
        Self::parse(&file.name, &bytes, file.transaction, sha256)
    }

    pub fn parse(
        name: &str,
        bytes: &[u8],
        transaction: Transaction,
        sha256: String,
    ) -> Result<Self, Failure> {
        let refuse =
            |reason, message: String| Failure::bad_input(reason, format!("file {name}: {message}"));
        if bytes.len() > LARGE {
            return Err(refuse(
                "TooLarge",
                format!(
                    "it has {} bytes, at most {LARGE}: split it into several files",
                    bytes.len()
                ),
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            refuse(
                "NotText",
                format!("it is not UTF-8 (byte {}): convert it", error.valid_up_to()),
            )
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.contains('\0') {
            return Err(refuse(
                "NotText",
                "it holds a zero byte, which PostgreSQL refuses".into(),
            ));
        }
        let statements = split::statements(text).map_err(|objection| {
            let mut failure = Failure::bad_input(objection.reason, objection.message);
            failure.place = Some(Place {
                file: name.to_owned(),
                statement: objection.statement,
                line: line(text, objection.at),
            });
            failure
        })?;
        if statements.is_empty() {
            return Err(refuse(
                "Empty",
                "it has no statement. Leave it out, or write one".into(),
            ));
        }
        let own = statements
            .iter()
            .position(|statement| statement.kind.needs_its_own());
        let whole = match (transaction, own) {
            (Transaction::File, Some(at)) => {
                let mut failure = Failure::bad_input(
                    "NotInTransaction",
                    "this statement needs a transaction of its own or none, and the file asks for one \
                     around all of it. Use `transaction: Auto`, or give the statement a file of its own",
                );
                failure.place = Some(place(name, &statements, at));
                return Err(failure);
            }
            (Transaction::File, None) | (Transaction::Auto, None) => true,
            _ => false,
        };
        Ok(Self {
            name: name.to_owned(),
            sha256,
            text: text.to_owned(),
            statements,
            whole,
        })
    }

    pub fn place(&self, statement: usize) -> Place {
        place(&self.name, &self.statements, statement)
    }
}

fn place(file: &str, statements: &[Statement], at: usize) -> Place {
    Place {
        file: file.to_owned(),
        statement: at + 1,
        line: statements.get(at).map_or(1, |statement| statement.line),
    }
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
