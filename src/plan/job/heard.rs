//! What a Job's pod says: the end of its log, and why it does not run.

use jiff::Timestamp;

use crate::{
    api::database::Holder,
    plan::{
        decision::{Halt, Wait},
        draft::{Draft, seconds_between},
        facts::{PodOfJob, Question},
        reason::Reason,
    },
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
    match known(draft, &job) {
        Some(words) => Ok((words, look(POD_STARTS_WITHIN))),
        None => Halt::ask(Question::JobPod(job)),
    }
}

/// The same, as far as it was read in this pass.
fn known(draft: &Draft<'_>, job: &str) -> Option<String> {
    let pod = draft.seen.answers.job_pod.as_ref()?;
    let known = [killed(draft, job, pod), pod.silent.clone()];
    let known: Vec<_> = known.into_iter().flatten().collect();
    Some(match (&*known.join("; "), &*pod.waits) {
        ("", "") => ", but its pod does not start".to_owned(),
        ("", waits) => format!(", but its pod does not start: {waits}"),
        (known, _) => format!(", but {known}"),
    })
}

/// That pods of a Job were killed, and what to do. Each makes room for another.
fn killed(draft: &Draft<'_>, job: &str, pod: &PodOfJob) -> Option<String> {
    let why = match pod.oom {
        true => "killed for want of memory (OOMKilled)",
        false => "killed (exit code 137)",
    };
    let way = match pod.oom {
        true => {
            ". The runner may use 128Mi, unless a LimitRange or an admission rule of the namespace \
             says less: raise that, or split large files of spec.schema"
        }
        false => "",
    };
    let namespace = &draft.seen.objects.rollout.namespace;
    (pod.killed > 0).then(|| {
        let were = match pod.killed {
            1 => "1 of its pods was".to_owned(),
            more => format!("{more} of its pods were"),
        };
        format!(
            "{were} {why}, and another is made until its deadline: see kubectl describe pod -n \
             {namespace} -l batch.kubernetes.io/job-name={job}{way}"
        )
    })
}

/// What is to be said of the pod of a phase after the release that does not run.
///
/// # Errors
/// When it must be read first.
pub(in crate::plan) fn look(draft: &mut Draft<'_>) -> Result<(), Halt> {
    if draft.seen.unread.is_some() {
        return Ok(());
    }
    let (_, wait) = why_its_pod_waits(draft, super::waits_for_its_pod(draft))?;
    draft.wait_for(wait);
    Ok(())
}

/// The same in the words of its status.
pub(super) fn words(draft: &Draft<'_>, holder: &Holder) -> String {
    let waits = super::waits_for_its_pod(draft).filter(|(job, _)| *job == holder.job);
    waits.map_or_else(String::new, |(job, _)| {
        known(draft, &job).unwrap_or_default()
    })
}

/// An Event, each time when another pod was killed.
pub(in crate::plan) fn tell(draft: &mut Draft<'_>) {
    let waits = super::waits_for_its_pod(draft);
    let Some(((job, _), pod)) = waits.zip(draft.seen.answers.job_pod.as_ref()) else {
        return;
    };
    let Some(words) = killed(draft, &job, pod) else {
        return;
    };
    let before = &draft.seen.objects.rollout.status;
    let schema = before.schema.iter().map(|schema| &schema.message);
    let conditions = before.conditions.iter().map(|condition| &condition.message);
    if !schema.chain(conditions).any(|said| said.contains(&words)) {
        draft.tell(Reason::PodKilled, format!("Job {job}: {words}"));
    }
}
