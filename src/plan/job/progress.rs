//! How far the batches of a backfill are: what their runner says on a port of its pod.
//!
//! It is asked every ten seconds, after everything else that a pass does; what it says is recorded
//! each minute and at each quarter. It is news for people, and nothing waits for it or rests on it:
//! the pod is the user's, may say anything, and may not be reached at all.

use jiff::SignedDuration;

use super::job_of;
use crate::{
    api::{PhaseKind, database::Holder, status::ProgressStatus, text::bounded},
    plan::{
        decision::Halt,
        draft::{Draft, later},
        facts::{Heard, Question},
        reason::Reason,
    },
};

/// The port of the runner's pod on which it says how far it is.
pub(crate) const PORT: u16 = 8378;

/// The most that is read of its answer.
pub(crate) const ANSWER_BYTES: usize = 8192;

/// Seconds between two questions.
const ASKED_EVERY: i64 = 10;
/// Times in a row after which it is said that nobody answers.
const UNHEARD_FOR_LONG: u32 = 2;
/// Seconds between two questions from then on.
const ASKED_AGAIN_AFTER: i64 = 60;
/// Seconds between two records of what is no other quarter.
const RECORDED_EVERY: i64 = 60;

/// Percent of the rows of a batch; all of them is for the end of the Job to say.
fn percent(progress: &ProgressStatus) -> i64 {
    let (done, total) = (
        i128::from(progress.rows_done),
        i128::from(progress.rows_total),
    );
    match total {
        ..=0 => 0,
        total => i64::try_from((done * 100 / total).clamp(0, 100)).unwrap_or(0),
    }
}

/// The batch, and how many quarters of it are filled in.
fn place(progress: &ProgressStatus) -> (i64, i64) {
    (progress.number, (percent(progress) / 25).min(3))
}

/// The backfill of this Rollout that runs and the uid of its Job, if its runner can be asked how far it is.
fn running<'d>(draft: &'d Draft<'_>) -> Option<(&'d Holder, &'d str)> {
    let record = &draft.seen.objects.database.as_ref()?.record;
    let holder = record.held_for(PhaseKind::Backfill)?;
    let asked = record.version(holder.version?)?.asks(holder.phase)?;
    let job = job_of(draft, holder)?;
    let uid = holder.job_uid.as_deref()?;
    (holder.rollout == draft.name() && asked.sql && job.runs && job.ended.is_none())
        .then_some((holder, uid))
}

/// A backfill of this Rollout runs, and none of its other Jobs.
pub(super) fn is_what_runs(draft: &Draft<'_>) -> bool {
    let database = draft.seen.objects.database.as_ref();
    let holder = database.and_then(|database| database.record.holder.as_ref());
    running(draft).is_some() && holder.is_none_or(|holder| holder.rollout != draft.name())
}

fn heard<'d>(draft: &'d Draft<'_>, holder: &Holder) -> Option<&'d Heard> {
    let heard = draft.seen.heard.as_ref();
    heard.filter(|heard| heard.job == holder.job)
}

/// Asks how far the backfill is, as often as that is asked.
///
/// # Errors
/// The question.
pub(in crate::plan) fn listen(draft: &mut Draft<'_>) -> Result<(), Halt> {
    // A read of this pass stays without an answer: it is told, and asked again by the next.
    if draft.seen.unread.is_some() {
        return Ok(());
    }
    let Some((holder, uid)) = running(draft) else {
        return Ok(());
    };
    let next = heard(draft, holder).map(|heard| {
        let pause = match heard.unheard {
            // It may just have begun.
            0..UNHEARD_FOR_LONG => ASKED_EVERY,
            _ => ASKED_AGAIN_AFTER,
        };
        (heard.tried, later(heard.tried, pause))
    });
    match next {
        // A clock that was set back is not waited for.
        Some((at, next)) if at <= draft.now && draft.now < next => {
            draft.wake(next);
            Ok(())
        }
        _ => Halt::ask(Question::Progress(holder.job.clone(), uid.to_owned())),
    }
}

/// What goes on record of it: what was there, until there is something new worth a write.
pub(super) fn told(draft: &Draft<'_>, holder: &Holder) -> Option<ProgressStatus> {
    let before = draft.status.schema.as_ref();
    let before = before.filter(|schema| schema.job.as_ref() == Some(&holder.job));
    let known = before.and_then(|schema| schema.progress.clone());
    let heard = heard(draft, holder);
    let new = heard.and_then(|heard| {
        let report = heard.said.as_ref().ok()?;
        (!report.batch.is_empty()).then(|| report.at(heard.at))
    });
    match (known, new) {
        (Some(known), Some(new)) if !is_news(&known, &new) => Some(known),
        (known, new) => new.or(known),
    }
}

fn is_news(known: &ProgressStatus, new: &ProgressStatus) -> bool {
    let passed = new.at.0.duration_since(known.at.0);
    let passed = passed.is_negative() || passed >= SignedDuration::from_secs(RECORDED_EVERY);
    passed || place(new) > place(known)
}

/// The same in a message, or why there is nothing to say.
pub(super) fn words(draft: &Draft<'_>, holder: &Holder, told: Option<&ProgressStatus>) -> String {
    if holder.phase != PhaseKind::Backfill {
        return String::new();
    }
    let heard = heard(draft, holder);
    let unheard = heard.filter(|heard| heard.unheard >= UNHEARD_FOR_LONG);
    if let Some(Err(why)) = unheard.map(|heard| &heard.said) {
        return bounded(&format!("; how far it is cannot be read: {why}"));
    }
    told.map_or_else(String::new, |told| {
        let rate = told.rows_per_second.filter(|rate| *rate > 0);
        let rest = match (is_paused(told), rate) {
            (true, _) => format!(": {}", told.paused),
            (false, Some(rate)) => format!(", {rate} a second"),
            (false, None) => String::new(),
        };
        format!(": {}{rest}", short(told))
    })
}

fn short(told: &ProgressStatus) -> String {
    let number = match told.of {
        1 => String::new(),
        of => format!(" ({}/{of})", told.number),
    };
    let left = match (is_paused(told), told.seconds_left) {
        (true, _) => ", paused".to_owned(),
        (false, None) => String::new(),
        (false, Some(seconds @ 0..100)) => format!(", {seconds} s left"),
        (false, Some(seconds @ 100..6000)) => format!(", {} min left", seconds / 60),
        (false, Some(seconds)) => format!(", {} h left", seconds / 3600),
    };
    format!(
        "{}{number} {}% of about {} rows{left}",
        told.batch,
        percent(told),
        told.rows_total,
    )
}

/// What it did before says nothing about the rest then.
fn is_paused(told: &ProgressStatus) -> bool {
    !told.paused.is_empty()
}

fn on_record(schema: Option<&crate::api::status::SchemaStatus>) -> Option<&ProgressStatus> {
    schema?.progress.as_ref()
}

/// For a column.
pub(in crate::plan) fn column(draft: &Draft<'_>) -> String {
    on_record(draft.status.schema.as_ref()).map_or_else(String::new, short)
}

/// An Event at each quarter.
pub(in crate::plan) fn tell(draft: &mut Draft<'_>) {
    let before = draft.seen.objects.rollout.status.schema.as_ref();
    let now = draft.status.schema.as_ref();
    let same_job = before.map(|s| &s.job) == now.map(|s| &s.job);
    let Some(progress) = on_record(now) else {
        return;
    };
    let (number, quarter) = place(progress);
    let known = on_record(before).filter(|_| same_job).map(place);
    if quarter == 0 || known.is_some_and(|known| known >= (number, quarter)) {
        return;
    }
    let version = now.and_then(|schema| schema.version);
    let words = format!(
        "backfill of version {}: {}",
        version.unwrap_or_default(),
        short(progress)
    );
    draft.inform(Reason::BackfillProgress, words);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::Timestamp;

    use super::*;
    use crate::plan::facts::Report;

    #[test]
    fn what_a_runner_says_is_read() {
        let answer =
            br#"{"batch": "names", "number": 1, "batches": 2, "rowsDone": 41, "rowsTotal": 100,
            "rowsPerSecond": 10.4, "secondsLeft": 6.0, "paused": null}"#;
        let report = Report::read(answer).unwrap();
        let told = report.at(Timestamp::UNIX_EPOCH);
        assert_eq!(short(&told), "names (1/2) 41% of about 100 rows, 6 s left");
        assert_eq!(place(&told), (1, 1));
        assert_eq!(told.rows_per_second, Some(10));
    }

    #[test]
    fn a_pause_has_no_time_left() {
        let answer =
            br#"{"batch": "names", "number": 1, "batches": 1, "rowsDone": 41, "rowsTotal": 100,
            "rowsPerSecond": 10.4, "secondsLeft": 6.0, "paused": "replication is 9 s behind"}"#;
        let told = Report::read(answer).unwrap().at(Timestamp::UNIX_EPOCH);
        assert_eq!(short(&told), "names 41% of about 100 rows, paused");
    }

    #[test]
    fn the_runner_says_what_is_read_here() {
        let told = include_str!("../../sql/tests/progress.json");
        let told = Report::read(told.as_bytes()).unwrap();
        let told = told.at(Timestamp::UNIX_EPOCH);
        assert_eq!(short(&told), "names (1/2) 2% of about 20000 rows");
        assert_eq!((told.rows_per_second, told.seconds_left), (None, None));
    }

    #[test]
    fn a_record_is_worth_a_minute_or_a_quarter() {
        let of = |number, done, seconds: i64| ProgressStatus {
            number,
            rows_done: done,
            ..Report::read(br#"{"batch": "b", "batches": 3, "rowsDone": 0, "rowsTotal": 100}"#)
                .unwrap()
                .at(Timestamp::from_second(1000 + seconds).unwrap())
        };
        let known = of(2, 30, 0);
        let none = ProgressStatus {
            rows_total: 0,
            ..known.clone()
        };
        assert_eq!(percent(&none), 0);
        assert!(!is_news(&known, &of(2, 49, 50)));
        assert!(is_news(&known, &of(2, 50, 10)));
        assert!(is_news(&known, &of(2, 31, 60)));
        assert!(is_news(&known, &of(3, 0, 10)));
        // Who goes back and forth costs no write for it; a clock that was set back does.
        assert!(!is_news(&known, &of(1, 99, 10)));
        assert!(is_news(&known, &of(2, 30, -5)));
    }
}
