//! What is left of a run: lines for people, and one bounded document for the operator.

use std::{collections::BTreeMap, fs::OpenOptions, io::Write, path::Path, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    failure::{Failure, Way},
    order::{Order, Phase},
};

/// Kubernetes keeps 4096 bytes of a termination message.
const BYTES: usize = 4000;

/// A line for `kubectl logs`.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write;
        // A reader that is gone must not end the run.
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

pub struct Report {
    phase: Phase,
    version: i32,
    attempt: u32,
    began: std::time::Instant,
    /// Something of this phase is committed by this run.
    pub applied: bool,
    /// The ledger has something of this phase, from this run or an earlier one.
    pub earlier: bool,
    /// The answer to a COMMIT was lost, and the ledger was not read since.
    pub unsure: bool,
    /// How often what was tried again, by reason.
    again: BTreeMap<&'static str, u32>,
    /// The time that this took, pauses included.
    lost: Duration,
    steps: Vec<Step>,
    /// What was found empty, or filled.
    pub proofs: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

impl Report {
    pub fn new(order: &Order) -> Self {
        Self {
            phase: order.phase,
            version: order.version,
            attempt: order.attempt,
            began: std::time::Instant::now(),
            applied: false,
            earlier: false,
            unsure: false,
            again: BTreeMap::new(),
            lost: Duration::ZERO,
            steps: Vec::new(),
            proofs: Vec::new(),
        }
    }

    pub fn again(&mut self, failure: &Failure, lost: Duration) {
        self.lost += lost;
        *self.again.entry(failure.reason).or_default() += 1;
    }

    pub fn step(&mut self, step: Step) {
        let mut line = step.what.clone();
        if let Some(note) = step.note {
            line = format!("{line}: {note}");
        }
        if let Some(rows) = step.rows {
            line = format!("{line}, {rows} rows");
        }
        if let Some(milliseconds) = step.milliseconds {
            line = format!("{line}, {milliseconds} ms");
        }
        say!("{line}");
        self.steps.push(step);
    }

    /// Whether something of this phase is committed, as far as is known.
    fn applied(&self) -> bool {
        self.applied || self.earlier || self.unsure
    }

    /// The process's exit status, by which the operator knows what to do next.
    pub fn exit(&self, result: &Result<(), Failure>) -> u8 {
        match result {
            Ok(()) => 0,
            Err(failure) => match failure.way {
                // Another pod of its Job goes on where it was, whatever is committed.
                _ if failure.reason == "Stopped" => 76,
                // This run has left the database as it found it, and what an earlier one left is on
                // record, or what is on record is wrong.
                Way::Fatal
                    if matches!(failure.reason, "LedgerDisagrees" | "RecordDisagrees")
                        && !(self.applied || self.unsure) =>
                {
                    66
                }
                // A backfill goes on where it was.
                Way::Again | Way::Later if !self.applied() || self.phase == Phase::Backfill => 75,
                Way::BadInput | Way::Fatal if !self.applied() => match failure.reason {
                    "ProofFailed" => 65,
                    _ => 64,
                },
                _ => 1,
            },
        }
    }

    /// The document, within its bound.
    pub fn document(&self, result: &Result<(), Failure>) -> String {
        let mut document = json!({
            "phase": self.phase,
            "version": self.version,
            "attempt": self.attempt,
            "result": match result {
                Ok(()) => "Done",
                Err(_) if matches!(self.exit(result), 75 | 76) => "TryAgain",
                Err(failure) if failure.way == Way::BadInput && !self.applied() => "BadInput",
                Err(_) => "Failed",
            },
            "applied": self.applied(),
            "milliseconds": u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "millisecondsTryingAgain": u64::try_from(self.lost.as_millis()).unwrap_or(u64::MAX),
            "triedAgain": self.again,
        });
        if let Err(failure) = result {
            document["reason"] = failure.reason.into();
            document["message"] = cut(&failure.message, 1500).into();
            if let Some(code) = &failure.sqlstate {
                document["sqlstate"] = code.as_str().into();
            }
            if let Some(place) = &failure.place {
                document["file"] = cut(&place.file, 253).into();
                document["statement"] = place.statement.into();
                document["line"] = place.line.into();
            }
        }
        if !self.proofs.is_empty() {
            document["proofs"] = self.proofs.clone().into();
        }
        // The last steps tell most.
        let mut kept = self.steps.len();
        loop {
            let first = self.steps.len() - kept;
            if let Some(steps) = self.steps.get(first..) {
                document["steps"] = json!(steps);
            }
            if first > 0 {
                document["stepsLeftOut"] = first.into();
            }
            let text = document.to_string();
            if text.len() <= BYTES || kept == 0 {
                return text;
            }
            kept -= 1 + kept / 8;
        }
    }

    /// Writes the document where the kubelet, or whoever started the process, looks for it.
    pub fn write(&self, path: &Path, result: &Result<(), Failure>) {
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .and_then(|mut file| file.write_all(self.document(result).as_bytes()));
        if let Err(error) = written {
            say!(
                "the report cannot be written to {}: {error}",
                path.display()
            );
        }
    }
}

fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn order() -> Order {
        Order::parse(
            r#"{"namespace":"n","rollout":"r","revision":"r-1","database":"d","version":7,"phase":"Expand","deadlineSeconds":60}"#,
        )
        .unwrap()
    }

    #[test]
    fn the_document_keeps_its_bound_whatever_happened() {
        let mut report = Report::new(&order());
        for at in 0..1000 {
            report.steps.push(Step {
                what: format!("{}:{at}", "ü".repeat(120)),
                milliseconds: Some(5),
                rows: None,
                note: None,
            });
        }
        let failure = Failure::fatal("StatementFailed", "ß".repeat(5000));
        let text = report.document(&Err(failure));
        assert!(text.len() <= BYTES, "{}", text.len());
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["result"], "Failed");
        let (kept, left) = (
            document["steps"].as_array().unwrap().len() as u64,
            document["stepsLeftOut"].as_u64().unwrap(),
        );
        assert_eq!(kept + left, 1000);
        assert!(kept > 3);
    }

    #[test]
    fn nothing_applied_is_no_failure_of_the_schema() {
        let mut report = Report::new(&order());
        let disagrees = Err(Failure::fatal("RecordDisagrees", "x"));
        report.earlier = true;
        assert_eq!(report.exit(&disagrees), 66, "this run did nothing");
        assert_eq!(report.exit(&Err(Failure::fatal("X", "x"))), 1);
        report.applied = true;
        assert_eq!(report.exit(&disagrees), 1);
        let mut report = Report::new(&order());
        let later = || Err(Failure::new(Way::Later, "DeadlineExceeded", "x"));
        assert_eq!(report.exit(&later()), 75);
        assert_eq!(report.exit(&Err(Failure::bad_input("X", "x"))), 64);
        // A statement that PostgreSQL refused, in a transaction that was rolled back.
        assert_eq!(report.exit(&Err(Failure::fatal("X", "x"))), 64);
        // The answer to a COMMIT was lost, and nothing could be asked after that.
        report.unsure = true;
        assert_eq!(report.exit(&later()), 1);
        report.unsure = false;
        report.applied = true;
        assert_eq!(report.exit(&Err(Failure::fatal("X", "x"))), 1);
        assert_eq!(report.exit(&later()), 1);
        let stopped = Err(Failure::new(Way::Later, "Stopped", "x"));
        assert_eq!(report.exit(&stopped), 76, "another pod goes on");
        assert_eq!(report.exit(&Ok(())), 0);
    }
}
