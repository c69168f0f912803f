//! What the runner of a backfill says of itself, kept within bounds.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::api::status::ProgressStatus;

/// The most batches of a backfill.
const MOST_BATCHES: i64 = 16;
/// The most rows that are believed.
const MOST_ROWS: i64 = 1 << 53;
/// The longest time that is believed.
const LONGEST: i64 = 31_536_000;
/// The most letters of a name, and of why nothing moves.
const LONGEST_NAME: usize = 63;
const LONGEST_WORDS: usize = 300;

/// What the runner of a Job said, or why it could not be heard, and when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The Job.
    pub job: String,
    /// What it said.
    pub said: Result<Report, String>,
    /// When.
    pub at: Timestamp,
    /// When its turn to be asked came last.
    pub tried: Timestamp,
    /// How often in a row it could not be heard.
    pub unheard: u32,
}

/// What a runner says. Whatever it does say is within bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The batch that runs; empty while none does.
    pub(in crate::plan) batch: String,
    number: i64,
    of: i64,
    done: i64,
    total: i64,
    per_second: Option<i64>,
    seconds_left: Option<i64>,
    paused: String,
}

impl Report {
    /// What an answer says.
    ///
    /// # Errors
    /// That it says nothing, for people.
    pub fn read(answer: &[u8]) -> Result<Self, String> {
        let no = || "it does not answer as Stepgate's runner does".to_owned();
        let answer: Value = serde_json::from_slice(answer).map_err(|_| no())?;
        let number = |field: &str, most: i64| {
            let value = answer[field].as_f64().filter(|value| value.is_finite())?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a cast of a float saturates"
            )]
            let value = value.round() as i64;
            Some(value.clamp(0, most))
        };
        let words = |field: &str, most: usize| {
            let text = answer[field].as_str().unwrap_or_default();
            let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            plain.take(most).collect::<String>()
        };
        let of = number("batches", MOST_BATCHES).ok_or_else(no)?.max(1);
        let total = number("rowsTotal", MOST_ROWS).ok_or_else(no)?;
        Ok(Self {
            batch: words("batch", LONGEST_NAME),
            number: number("number", of).unwrap_or(1).max(1),
            of,
            done: number("rowsDone", total).ok_or_else(no)?,
            total,
            per_second: number("rowsPerSecond", MOST_ROWS),
            seconds_left: number("secondsLeft", LONGEST),
            paused: words("paused", LONGEST_WORDS),
        })
    }

    /// As it goes on record.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> ProgressStatus {
        ProgressStatus {
            batch: self.batch.clone(),
            number: self.number,
            of: self.of,
            rows_done: self.done,
            rows_total: self.total,
            rows_per_second: self.per_second,
            seconds_left: self.seconds_left,
            paused: self.paused.clone(),
            at: Time(at),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whatever_a_pod_answers_stays_within_bounds() {
        for nothing in [
            "",
            "[]",
            "<html>",
            "{}",
            r#"{"rowsDone": 1}"#,
            "null",
            "1e999",
        ] {
            Report::read(nothing.as_bytes()).unwrap_err();
        }
        let deep = "[".repeat(8192);
        Report::read(deep.as_bytes()).unwrap_err();
        let wild = serde_json::json!({
            "batch": "x\n\u{1b}[31m".repeat(500), "number": 99, "batches": 1e300,
            "rowsDone": 1e300, "rowsTotal": -5, "rowsPerSecond": "many", "secondsLeft": 1e300,
            "paused": "y".repeat(5000),
        });
        let report = Report::read(wild.to_string().as_bytes()).unwrap();
        let told = report.at(Timestamp::UNIX_EPOCH);
        assert_eq!((told.number, told.of), (16, 16));
        assert_eq!((told.rows_done, told.rows_total), (0, 0));
        assert_eq!(
            (told.rows_per_second, told.seconds_left),
            (None, Some(LONGEST))
        );
        assert!(told.batch.chars().count() == 63 && !told.batch.contains('\n'));
        assert_eq!(told.paused.len(), 300);
    }
}
