//! Tests of a step: Jobs that belong to the Rollout, and whose record is its status.
//!
//! The protocol is that of a schema phase, without a database to hold: put the test on record,
//! create its Job suspended, record the uid, release the Job, record its end. What crashes in
//! between is gone on with from the record. An undo takes its Jobs away: a test may be cut off.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        StepTest,
        release::{Release, Stage, StepStatus, TestResult, TestStatus},
        schema::JobPods,
    },
    plan::{
        course::{Target, course},
        decision::Halt,
        draft::Draft,
        facts::{JobFacts, Question, Refused},
        intent::{Kind, Write},
        job::pod,
        render, revision, services,
    },
};

/// Letters of a test in its Job's name.
const LETTERS: usize = 5;

/// How a test that was let run has ended.
pub(in crate::plan) struct TestEnd<'a> {
    pub test: &'a StepTest,
    pub job: String,
    pub passed: bool,
    /// In the Job controller's words.
    pub message: String,
    /// Its Job is gone, and its log with it.
    pub gone: bool,
}

/// What comes next of some tests of a step.
pub(in crate::plan) enum Next {
    /// Every test has passed, or was passed over.
    Nothing,
    /// This test begins then: not everybody has heard yet where the Services lead.
    Settles(String, Timestamp),
    /// This goes on record first: the next test, or the uid of its Job.
    Record(Vec<TestStatus>, String),
    /// This test runs, or is about to.
    Runs(TestStatus),
    /// This one has failed, and a person comes first.
    Failed,
}

/// The test on record of this step that has not ended, and what the spec says of it.
fn open<'a>(
    release: &'a Release,
    step: &StepStatus,
    target: &'a Target,
) -> Option<(&'a TestStatus, &'a StepTest)> {
    let record = release.tests.iter();
    let mut open = record.filter(|record| record.result.is_none() && record.step == step.name);
    open.find_map(|record| {
        let test = target.all_tests().find(|test| test.name == record.name)?;
        Some((record, test))
    })
}

/// How the test under way has ended, if it has.
///
/// # Errors
/// When its Job must be looked for first.
pub(in crate::plan) fn ended<'a>(
    draft: &Draft<'_>,
    release: &'a Release,
    step: &StepStatus,
    target: &'a Target,
) -> Result<Option<TestEnd<'a>>, Halt> {
    let Some((record, test)) = open(release, step, target) else {
        return Ok(None);
    };
    let Some(uid) = &record.job_uid else {
        return Ok(None);
    };
    let ended = |passed, message: String, gone| {
        let job = record.job.clone();
        Ok(Some(TestEnd {
            test,
            job,
            passed,
            message,
            gone,
        }))
    };
    let mut jobs = draft.seen.objects.jobs.iter();
    match jobs.find(|job| job.base.uid == *uid) {
        Some(job) => match &job.ended {
            Some(end) => ended(end.succeeded, end.message.clone(), false),
            None => Ok(None),
        },
        // The cache may not have shown it yet.
        None if draft.seen.answers.job_live.as_ref() != Some(&record.job) => {
            Halt::ask(Question::Job(record.job.clone()))
        }
        None => ended(
            false,
            "its Job was deleted before its end was seen".to_owned(),
            true,
        ),
    }
}

/// What comes next of these tests of a step whose target is reached.
pub(in crate::plan) fn next(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
    tests: &[StepTest],
) -> Next {
    for test in tests {
        let mut records = release.tests.iter();
        let known = records.find(|r| r.step == step.name && r.name == test.name);
        match known.map(|record| (record, record.result)) {
            Some((_, Some(TestResult::Passed | TestResult::Skipped))) => {}
            Some((_, Some(TestResult::Failed))) => return Next::Failed,
            Some((record, None)) => return on_record(draft, release, record),
            None => {
                if let Some(at) = services::settle_at(draft) {
                    return Next::Settles(test.name.clone(), at);
                }
                let all = begin(draft, release, step, &test.name);
                let note = format!("test {} of step {} begins", test.name, step.name);
                return Next::Record(all, note);
            }
        }
    }
    Next::Nothing
}

fn on_record(draft: &Draft<'_>, release: &Release, record: &TestStatus) -> Next {
    let job = match record.job_uid {
        None => job_of(draft, record),
        Some(_) => None,
    };
    let Some(job) = job else {
        return Next::Runs(record.clone());
    };
    let mut all = release.tests.clone();
    for one in all.iter_mut().filter(|one| one.job == record.job) {
        one.job_uid = Some(job.base.uid.clone());
    }
    Next::Record(all, format!("{} is on record", record.job))
}

/// The step was passed, and the first of its last tests begun.
pub(in crate::plan) fn is_passed(release: &Release, step: &StepStatus, target: &Target) -> bool {
    let mut records = release.tests.iter().filter(|r| r.step == step.name);
    records.any(|record| target.final_tests.iter().any(|t| t.name == record.name))
}

/// The tests of a release, once this one of a step begins.
pub(in crate::plan) fn begin(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
    name: &str,
) -> Vec<TestStatus> {
    let mut all = release.tests.clone();
    all.push(begun(draft, release, step, name, release.attempt));
    all
}

/// A test that begins, as it is put on record.
fn begun(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
    name: &str,
    attempt: i64,
) -> TestStatus {
    // Of every release another, so that no Job of an earlier one is taken for it.
    let identity = format!("{}/{name}/{}", step.name, release.started.0);
    let identity = revision::hash(&serde_json::Value::String(identity), None);
    let (rollout, revision) = (draft.name(), &release.revision);
    let letters = &identity[..LETTERS];
    TestStatus {
        step: step.name.clone(),
        name: name.to_owned(),
        attempt,
        job: format!("{rollout}-{revision}-t{letters}-{attempt}"),
        job_uid: None,
        since: Time(draft.now),
        result: None,
    }
}

/// The tests of a release, once what has failed at this step is to run again.
pub(in crate::plan) fn again(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
) -> Vec<TestStatus> {
    let failed =
        |test: &TestStatus| test.step == step.name && test.result == Some(TestResult::Failed);
    let tests = release.tests.iter();
    let anew = tests.map(|test| match failed(test) {
        true => begun(draft, release, step, &test.name, test.attempt + 1),
        false => test.clone(),
    });
    anew.collect()
}

/// The tests of a release, once the one under way at a step has ended so.
pub(in crate::plan) fn with_result(
    release: &Release,
    step: &StepStatus,
    result: TestResult,
) -> Vec<TestStatus> {
    let mut tests = release.tests.clone();
    for test in &mut tests {
        if test.step == step.name && test.result.is_none() {
            test.result = Some(result);
        }
    }
    tests
}

/// The tests of a release, once a person has passed over all of a step that have not passed.
pub(in crate::plan) fn passed_over(release: &Release, step: &StepStatus) -> Vec<TestStatus> {
    let mut tests = release.tests.clone();
    let own = tests.iter_mut().filter(|test| test.step == step.name);
    for test in own.filter(|test| test.result != Some(TestResult::Passed)) {
        test.result = Some(TestResult::Skipped);
    }
    tests
}

/// What people read of the tests of a step whose target is reached: until its hold begins, and once
/// it was passed; nothing where it has none.
pub(in crate::plan) fn words(
    release: &Release,
    step: &StepStatus,
    target: &Target,
) -> Option<String> {
    let (tests, then) = match is_passed(release, step, target) {
        true => (&target.final_tests, "the revision is stable"),
        false => (&target.tests, "the hold begins"),
    };
    let of = |name: &str| {
        let mut records = release.tests.iter();
        records.find(|record| record.step == step.name && record.name == name)
    };
    let all = tests.len();
    let mut numbered = tests.iter().enumerate();
    let open = numbered.find(|(_, test)| of(&test.name).is_none_or(|r| r.result.is_none()));
    let Some((index, test)) = open else {
        return (all > 0).then(|| format!("its tests are over, {then}"));
    };
    let place = match of(&test.name) {
        Some(record) => format!("runs in Job {}", record.job),
        None => "is about to run".to_owned(),
    };
    let (name, number) = (&test.name, index + 1);
    Some(format!(
        "test {name} ({number}/{all}) {place}; {then} when all have succeeded"
    ))
}

/// The Job of a test that is about to be put on record: of its name, and of this Rollout.
fn job_of<'s>(draft: &Draft<'s>, record: &TestStatus) -> Option<&'s JobFacts> {
    let rollout = &draft.seen.objects.rollout.base.uid;
    let mut jobs = draft.seen.objects.jobs.iter();
    jobs.find(|job| {
        job.base.name == record.job && job.owner_uid.as_ref() == Some(rollout) && !job.deleting
    })
}

/// The Job of the test under way that was let run and whose pod does not run, and since when.
pub(in crate::plan) fn waits_for_its_pod(
    draft: &Draft<'_>,
    record: &TestStatus,
) -> Option<(String, Timestamp)> {
    let uid = record.job_uid.as_ref()?;
    let mut jobs = draft.seen.objects.jobs.iter();
    let job = jobs.find(|job| job.base.uid == *uid)?;
    let waits = !job.suspended && !job.runs && job.ended.is_none();
    waits.then_some((job.base.name.clone(), job.started?))
}

/// The next write of the protocol, if there is one to make now.
///
/// # Errors
/// What must be known first.
pub(in crate::plan) fn drive(draft: &Draft<'_>) -> Result<Option<Write>, Halt> {
    let Some(release) = &draft.status.release else {
        return Ok(None);
    };
    let Stage::Step(at) = &release.stage else {
        return Ok(None);
    };
    let target = draft.course.at(&at.step);
    let Some((record, test)) = target.and_then(|target| open(release, &at.step, target)) else {
        return Ok(None);
    };
    let mut refusals = draft.seen.refusals.iter();
    let refused = Refused::Job(record.job.clone());
    if at.paused.is_some() || refusals.any(|r| r.what == refused || r.what == Refused::Other) {
        return Ok(None);
    }
    // Those after the release ask what every user gets, also where a person was in a hurry.
    let is_last = target.is_some_and(|t| t.final_tests.iter().any(|t| t.name == record.name));
    if is_last && release.unreached.since.is_some() {
        return Ok(None);
    }
    let Some(uid) = &record.job_uid else {
        if job_of(draft, record).is_some() || draft.spec.problem().is_some() {
            return Ok(None);
        }
        let manifest = manifest(draft, release, &at.step, record, test)?;
        return Ok(manifest.map(|manifest| Write::Create {
            kind: Kind::Job,
            manifest,
        }));
    };
    let mut jobs = draft.seen.objects.jobs.iter();
    let job = jobs.find(|job| job.base.uid == *uid && !job.has_begun() && !job.deleting);
    Ok(job.map(|job| {
        let base = job.base.clone();
        match job.epoch == Some(draft.seen.epoch) {
            true => Write::ReleaseJob { base },
            false => fence(draft, job),
        }
    }))
}

fn fence(draft: &Draft<'_>, job: &JobFacts) -> Write {
    Write::Fence {
        kind: Kind::Job,
        base: job.base.clone(),
        epoch: draft.seen.epoch,
    }
}

/// What is still to be written so that no deposed leader lets a test run: pods move meanwhile.
pub(in crate::plan) fn fences(draft: &Draft<'_>) -> impl Iterator<Item = Write> {
    let jobs = draft.seen.objects.jobs.iter();
    let open = jobs.filter(|job| job.test && !job.has_begun() && !job.deleting);
    let foreign = open.filter(|job| job.epoch != Some(draft.seen.epoch));
    foreign.map(|job| fence(draft, job))
}

/// The Job of a test, suspended. `None` where the spec no longer says what is to run.
///
/// # Errors
/// When a pod template must be read first.
fn manifest(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
    record: &TestStatus,
    test: &StepTest,
) -> Result<Option<serde_json::Value>, Halt> {
    let objects = &draft.seen.objects;
    let template = if test.command.is_empty() {
        // Where the step stands by now: scaling gives a batch another name.
        let course = course(draft.whole()?);
        let mut tests = course.at(step).into_iter().flat_map(Target::all_tests);
        let test = tests.find(|test| test.name == record.name);
        test.and_then(|test| test.template.clone())
    } else {
        // The revision's own, whatever the spec asks for by now.
        let Some(known) = objects.revision(&release.revision) else {
            return Ok(None);
        };
        let template = draft.template(known)?;
        let of = (template, &draft.spec.selector);
        let container = test.container.as_deref();
        pod::of_command(of, container, &test.command, &JobPods::default())
    };
    Ok(template.map(|template| {
        render::test_job(
            &objects.rollout,
            release,
            record,
            test,
            template,
            services::used(draft),
            draft.seen.epoch,
        )
    }))
}

/// Jobs of tests that nobody needs any more: of a step that was left, of a release that is undone,
/// of an earlier one. What has ended stays for its log, until the next release ends.
pub(in crate::plan) fn go(draft: &Draft<'_>) -> Vec<Write> {
    let release = draft.status.release.as_ref();
    let forward = release.filter(|release| release.undo().is_none());
    let needed = |job: &JobFacts| {
        forward.is_some_and(|release| {
            let mut records = release.tests.iter();
            let record = records.find(|record| record.job == job.base.name);
            let under_way = || {
                let at = release.step()?;
                let (open, _) = open(release, at, draft.course.at(at)?)?;
                Some(open.job == job.base.name)
            };
            record.is_some() && (job.ended.is_some() || under_way() == Some(true))
        })
    };
    let kept =
        |job: &JobFacts| job.ended.is_some() && draft.stable() == Some(job.revision.as_str());
    let rollout = &draft.seen.objects.rollout.base.uid;
    let jobs = draft.seen.objects.jobs.iter();
    jobs.filter(|job| job.test && !job.deleting && job.owner_uid.as_ref() == Some(rollout))
        .filter(|job| !needed(job) && !kept(job))
        .map(|job| Write::Delete {
            kind: Kind::Job,
            base: job.base.clone(),
        })
        .collect()
}
