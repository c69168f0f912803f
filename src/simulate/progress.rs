//! What the pod of a backfill says of how far it is: the truth, nothing, or what it likes.

use jiff::Timestamp;
use serde_json::json;

use super::{coverage::Kind, object::Name, setting::Telling, tables, world::World};
use crate::plan::facts::Report;

const ROWS: i64 = tables::ROWS;

impl World {
    /// The pod of this Job runs from now on, for so many seconds; it never ends: for none.
    pub(super) fn job_takes(&mut self, job: &Name, seconds: Option<i64>) {
        self.job_spans.insert(job.clone(), (self.now, seconds));
    }

    pub(super) fn progress_of(&mut self, job: &str) -> Result<Report, String> {
        let running = self.live.jobs.get(job).filter(|job| job.runs);
        let span = running.and_then(|job| self.job_spans.get(&job.meta.name));
        let Some((began, seconds)) = span else {
            return Err("its pod does not run".to_owned());
        };
        let now = self.now.as_second();
        let passed = now - began.as_second();
        let done = match seconds {
            Some(seconds) => ROWS * passed / (*seconds).max(1),
            None => (passed * 1000).min(ROWS / 3),
        };
        let answer = match self.setting.telling {
            Telling::Truth => json!({
                "batch": "names", "number": 1, "batches": 1, "rowsDone": done, "rowsTotal": ROWS,
                "rowsPerSecond": seconds.map_or(0, |seconds| ROWS / seconds.max(1)),
                "secondsLeft": seconds.map(|seconds| seconds - passed), "paused": null,
            }),
            Telling::Nothing => {
                self.coverage.count(Kind::ProgressWrong);
                return Err("its pod does not answer as Stepgate's runner does".to_owned());
            }
            Telling::Nonsense => {
                self.coverage.count(Kind::ProgressWrong);
                json!({
                    "batch": format!("batch {now}"), "number": now % 20, "batches": 99,
                    "rowsDone": now * 7919 % ROWS, "rowsTotal": now * 104_729 % ROWS,
                    "rowsPerSecond": -1e300, "secondsLeft": "soon", "paused": now.to_string(),
                })
            }
        };
        let report = Report::read(answer.to_string().as_bytes())?;
        let said = self.ledger.said.entry(job.into()).or_default();
        said.push(report.at(Timestamp::UNIX_EPOCH));
        Ok(report)
    }
}
