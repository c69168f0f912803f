//! What a process that lints for another one is told, and what it answers.
//!
//! The request is one JSON document on its standard input. It answers with a line for each file, as
//! soon as the file is done: so whoever asked knows which file ended a process that did not live.
//!
//! ```
//! use stepgate_lint::{Phase, Source, wire};
//!
//! let files = vec![Source { name: "a.sql".into(), text: "ALTER TABLE t DROP COLUMN a;".into() }];
//! let mut session = wire::Session::new(Phase::Expand, files);
//! while let Some(request) = session.request() {
//!     // In a process of its own; here in this one.
//!     let mut told = Vec::new();
//!     wire::serve(request.as_bytes(), &mut told).unwrap();
//!     session.answer(&told, None);
//! }
//! assert_eq!(session.findings()[0].rule, "ban-drop-column");
//! ```

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use crate::{Finding, Phase, Source, catalogue, known::Known, lint_file};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The phase of all files.
    pub phase: Phase,
    /// In the order in which they run.
    pub files: Vec<Source>,
}

/// The process's part: reads a request to its end, and writes a line for each file.
///
/// # Errors
/// What was read is no request, or nothing could be written.
pub fn serve(mut input: impl Read, mut output: impl Write) -> std::io::Result<()> {
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    let request: Request = serde_json::from_str(&text)?;
    drop(text);
    let mut known = Known::default();
    for file in &request.files {
        let findings = lint_file(file, request.phase, &mut known);
        serde_json::to_writer(&mut output, &findings)?;
        writeln!(output)?;
        output.flush()?;
    }
    Ok(())
}

/// The caller's part.
#[derive(Clone, Debug)]
pub struct Session {
    request: Request,
    /// Of each file, once it is known.
    findings: Vec<Option<Vec<Finding>>>,
}

impl Session {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(phase: Phase, files: Vec<Source>) -> Self {
        Self {
            findings: vec![None; files.len()],
            request: Request { phase, files },
        }
    }

    /// What the next process is told; nothing if all is done.
    #[must_use]
    pub fn request(&self) -> Option<String> {
        if self.findings.iter().all(Option::is_some) {
            return None;
        }
        // What is plain text can be written as JSON.
        serde_json::to_string(&self.request).ok()
    }

    /// Takes what a process wrote. `ended` says how it ended if it did not end well: the file
    /// that it was at is then reported, and left out the next time.
    pub fn answer(&mut self, told: &[u8], ended: Option<&str>) {
        let text = String::from_utf8_lossy(told);
        let mut whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        for index in 0..self.findings.len() {
            let answer = whole
                .next()
                .and_then(|line| serde_json::from_str::<Vec<Finding>>(line).ok());
            match (answer, &mut self.findings[index]) {
                // A file that was left out stays what it is.
                (Some(_), Some(_)) => {}
                (Some(found), open) => *open = Some(found),
                (None, open) => {
                    *open = Some(vec![broken(&self.request.files[index].name, ended)]);
                    self.request.files[index].text.clear();
                    return;
                }
            }
        }
    }

    /// What was found, in the order of the files.
    #[must_use]
    pub fn findings(self) -> Vec<Finding> {
        self.findings.into_iter().flatten().flatten().collect()
    }
}

fn broken(file: &str, ended: Option<&str>) -> Finding {
    let rule = match ended {
        Some(how) if how.contains("stack") => "nested-too-deeply",
        _ => "cannot-be-parsed",
    };
    let entry = catalogue::entry(rule);
    let message = entry.map_or("cannot be parsed", |entry| entry.message);
    Finding {
        file: file.to_owned(),
        rule: rule.to_owned(),
        severity: crate::Severity::Error,
        line: 1,
        column: 1,
        message: match ended {
            Some(how) if rule == "cannot-be-parsed" => format!("{message}: {how}"),
            _ => message.to_owned(),
        },
        safe_way: entry.map_or("", |entry| entry.safe_way).to_owned(),
        recipe: None,
        suppressed: false,
    }
}
