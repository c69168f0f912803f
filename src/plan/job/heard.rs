//! What a Job's pod says: the end of its log, and why it does not run.

use jiff::Timestamp;

use crate::plan::{
    decision::{Halt, Wait},
    draft::{Draft, seconds_between},
    facts::Question,
};

/// Seconds after which a Job's pod that does not run yet is worth a word, and between two looks.
const POD_STARTS_WITHIN: i64 = 15;

/// The end of the log of a Job that has failed, for a message.
///
/// # Errors
/// When it must be read first.
fn end_of_log(draft: &Draft<'_>, job: String) -> Result<String, Halt> {
    match &draft.seen.answers.job_log {
        None => Halt::ask(Question::JobLog(job)),
        Some(log) => Ok(log.to_string()),
    }
}

/// The same, of a schema phase; where the spec has it so, only the command that shows it.
///
/// # Errors
/// As [`end_of_log`].
pub(in crate::plan) fn end_of_phase_log(draft: &Draft<'_>, job: String) -> Result<String, Halt> {
    let schema = draft.spec.schema.as_ref();
    end_of_shown_log(draft, job, schema.is_none_or(|schema| schema.show_log))
}

/// The same of any Job, where its log is to be shown; else the command that shows it.
///
/// # Errors
/// As [`end_of_log`].
pub(in crate::plan) fn end_of_shown_log(
    draft: &Draft<'_>,
    job: String,
    shown: bool,
) -> Result<String, Halt> {
    if shown {
        return end_of_log(draft, job);
    }
    let namespace = &draft.seen.objects.rollout.namespace;
    Ok(format!("; its log: kubectl logs -n {namespace} job/{job}"))
}

/// What is to be said of a Job's pod that does not run: nothing, mostly; and when to look again.
pub(in crate::plan) fn why_its_pod_waits(
    draft: &Draft<'_>,
    waits: Option<(String, Timestamp)>,
) -> Result<(String, Wait), Halt> {
    let Some((job, since)) = waits else {
        return Ok((String::new(), Wait::default()));
    };
    let look = |seconds| Wait::until(draft.in_seconds(seconds));
    let waited = seconds_between(since, draft.now);
    if waited < POD_STARTS_WITHIN {
        return Ok((String::new(), look(POD_STARTS_WITHIN - waited)));
    }
    let Some(words) = &draft.seen.answers.job_pod else {
        return Halt::ask(Question::JobPod(job));
    };
    let words = match words.as_str() {
        "" => String::new(),
        words => format!(": {words}"),
    };
    let words = format!(", but its pod does not start{words}");
    Ok((words, look(POD_STARTS_WITHIN)))
}
