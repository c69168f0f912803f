//! Tests of a step: what waits for them, and what their end means.

use crate::{
    api::release::{Release, StepStatus, TestResult, Why},
    plan::{
        course::Target,
        decision::{Decided, Wait},
        draft::Draft,
        facts::Refused,
        job::{
            heard,
            step_test::{self, Next, TestEnd},
        },
        reason::Reason,
        undoing,
    },
};

/// The target is reached, and its tests come before the hold, or before the release ends.
pub(super) fn next(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
    target: &Target,
    next: Next,
) -> Decided {
    let place = format!("step {} ({})", step.name, draft.course.number(step));
    let record = match next {
        Next::Record(tests, note) => {
            let release = Release {
                tests,
                ..release.clone()
            };
            return draft.goes(release).note(note).made();
        }
        Next::Settles(name, at) => {
            let words = format!(
                "{place}: test {name} begins at {at:.0}, when everybody has heard where the \
                 Services lead"
            );
            return Err(Wait::held(Reason::Testing, words).wake(at).into());
        }
        Next::Runs(record) => record,
        Next::Nothing | Next::Failed => return Ok(None),
    };
    let (name, job) = (&record.name, &record.job);
    let mut refusals = draft.seen.refusals.iter();
    if let Some(refusal) = refusals.find(|r| r.what == Refused::Job(job.clone())) {
        let words = format!(
            "{place}: the Job of test {name} was refused: {}. Correct it in the spec, or promote \
             the step without it",
            refusal.message
        );
        let wait = Wait::at(Reason::JobRefused, words, !refusal.transient);
        return Err(wait.wake(draft.tries_again()).into());
    }
    if let Some(problem) = draft.spec.problem().filter(|_| record.job_uid.is_none()) {
        return Err(Wait::stalled(Reason::InvalidSpec, problem).into());
    }
    let waits = step_test::waits_for_its_pod(draft, &record);
    let (words, look) = heard::why_its_pod_waits(draft, waits)?;
    let told = step_test::words(release, step, target).unwrap_or_default();
    let words = format!("{place}: {told}{words}");
    Err(Wait::held(Reason::Testing, words).and(look).into())
}

/// A test has succeeded, or it fails the revision.
pub(super) fn ended(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
    ended: &TestEnd<'_>,
) -> Decided {
    let test = ended.test;
    let result = match ended.passed {
        true => TestResult::Passed,
        false => TestResult::Failed,
    };
    let known = Release {
        tests: step_test::with_result(release, step, result),
        ..release.clone()
    };
    let (revision, name) = (&release.revision, &test.name);
    if ended.passed {
        let words = format!(
            "revision {revision} passed test {name} of step {}",
            step.name
        );
        return draft.goes(known).event(Reason::TestPassed, words).made();
    }
    let log = match ended.gone {
        true => String::new(),
        false => heard::end_of_shown_log(draft, ended.job.clone(), test.show_log)?,
    };
    let words = format!(
        "test {name} of step {} failed: {}{log}",
        step.name, ended.message
    );
    let why = Why::new(Reason::TestFailed, words);
    match undoing::refuse(draft, &known, test.on_failure, &why)? {
        // It waits for a person already, and has one reason more.
        None => draft.goes(known).note(why.message).made(),
        decision => Ok(decision),
    }
}
