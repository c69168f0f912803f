//! A step: reach the target, hold it, pass its gates, go on.

mod testing;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    adopting,
    course::Target,
    decision::{Decided, Decision, Halt, Wait},
    draft::{Draft, seconds_between, whole_second},
    exits,
    gate::{self, Passage, Verdict, checks},
    job::step_test::{self, Next},
    mover,
    reason::Reason,
    routes, services, undoing, waiting,
};
use crate::api::{
    OnFailure,
    release::{AtStep, Release, Stage, StepStatus, TestResult, Why},
    status::{Outcome, Stopwatch},
};

/// Enters the first target of the course; the last for a first deployment. Whatever stable's pods
/// need to come back must exist before any of them goes.
pub(super) fn begin(draft: &Draft<'_>, release: &Release) -> Result<Decision, Halt> {
    gate::ask_at_the_entry(draft)?;
    Ok(enter(draft, release, draft.course.entry(release.first)))
}

/// Enters the target at this index.
fn enter(draft: &Draft<'_>, release: &Release, index: usize) -> Decision {
    let now = Time(draft.now);
    let target = draft.course.targets.get(index);
    let child = draft.seen.objects.child(&release.revision);
    let stage = Stage::Step(AtStep {
        step: StepStatus {
            index: i32::try_from(index).unwrap_or(i32::MAX),
            name: target.map(|t| t.name.clone()).unwrap_or_default(),
            began: now.clone(),
            reached: None,
            held: Stopwatch::default(),
            available: child.map_or(0, |c| c.available),
            batch: draft.course.batch.clone(),
        },
        paused: None,
    });
    let unreached = Stopwatch {
        seconds: 0,
        since: Some(now),
    };
    let release = Release {
        stage,
        unreached,
        not_checked: gate::not_checked(draft),
        ..release.clone()
    };
    draft.goes(release)
}

/// One decision of a step.
pub(super) fn decide(draft: &Draft<'_>, release: &Release, at: &AtStep) -> Decided {
    let Some(target) = draft.course.at(&at.step) else {
        return reposition(draft, release, &at.step);
    };
    if let Some(why) = exits::crash_loop(draft, release) {
        if release.first {
            // Nothing to return to, and what it waits for may yet come: it goes on when its pods do.
            let wait = Wait::stalled(Reason::CrashLooping, why.message);
            return watched(draft, release, wait);
        }
        return undoing::refuse(draft, release, OnFailure::Undo, &why);
    }
    if let Some(why) = exits::flapping(draft, release, target.hold_seconds) {
        if release.first {
            let wait = Wait::stalled(Reason::ReadinessLost, why.message);
            return watched(draft, release, wait);
        }
        return undoing::refuse(draft, release, OnFailure::Undo, &why);
    }
    // Where a person went on in spite of it, the last tests are not held up by it again.
    let heeded = |on_failure| {
        on_failure == OnFailure::Undo || !step_test::is_passed(release, &at.step, target)
    };
    let failing = checks::failing(draft, release);
    if let Some((on_failure, why)) = failing.filter(|(on_failure, _)| heeded(*on_failure)) {
        return undoing::refuse(draft, release, on_failure, &why);
    }
    if let Some(ended) = step_test::ended(draft, release, &at.step, target)? {
        return testing::ended(draft, release, &at.step, &ended);
    }
    if at.paused.is_some() {
        return Ok(None);
    }
    if let Some(wait) = edited(draft, release).or_else(|| adopting::contested(draft)) {
        return watched(draft, release, wait);
    }
    let hidden = target.is_hidden();
    let bypass = || services::bypass(draft).filter(|_| hidden);
    if let Some(wait) = services::unread(draft).or_else(bypass) {
        return watched(draft, release, wait);
    }
    if draft.spec.replicas == 0 {
        return idle_at_zero(draft, release);
    }
    if target.canary + target.stable > draft.bounds().ceiling
        && let Some(wait) = waiting::for_surge(draft)
    {
        return watched(draft, release, wait);
    }
    if let Err(ask) = routes::are_to_be_looked_at(draft) {
        let Some(words) = &draft.seen.unread else {
            return Err(ask);
        };
        // Pods and Services go their way without it.
        let words = format!("the release cannot continue because a read failed: {words}");
        let again = draft.tries_again();
        return watched(
            draft,
            release,
            Wait::held(Reason::ReadFailed, words).wake(again),
        );
    }
    let there = are_there(draft, release);
    let waits = there || routes::hold_pods_up(draft);
    if waits && let Some(wait) = routes::on_the_way(draft) {
        return match keep_time(draft, release, Run::Weighed) {
            Some(changed) => changed.waiting(wait).made(),
            None => Err(wait.into()),
        };
    }
    let reached = there && services::are_in_place(draft) && routes::are_in_place(draft);
    let passed = step_test::is_passed(release, &at.step, target);
    let tests = match passed {
        true => &target.final_tests,
        false => &target.tests,
    };
    let next = reached.then(|| step_test::next(draft, release, &at.step, tests));
    let run = match &next {
        None => Run::Lost,
        Some(Next::Nothing) => Run::Held,
        Some(_) => Run::Tested,
    };
    if let Some(changed) = keep_time(draft, release, run) {
        return changed.made();
    }
    match next {
        None => return wait_for_target(draft, release, target),
        Some(Next::Nothing) => {}
        Some(next) => return testing::next(draft, release, &at.step, target, next),
    }
    let passage = Passage {
        release,
        step: &at.step,
        target,
        last: is_last(draft, &at.step),
        passed,
    };
    let verdict = gate::ask(draft, &passage).map_err(|halt| match halt {
        // A pod that does not come up in time is no longer one that merely starts.
        Halt::Wait(wait) => {
            let late = waiting::next_late(draft, &release.revision);
            let late = late.map(Wait::until).unwrap_or_default();
            Halt::Wait(wait.and(late))
        }
        ask @ Halt::Ask(_) => ask,
    })?;
    match verdict {
        Verdict::Open(said) => {
            match step_test::next(draft, release, &at.step, &target.final_tests) {
                Next::Nothing => leave(draft, &passage, &said).made(),
                next => {
                    let begun = testing::next(draft, release, &at.step, target, next)?;
                    let words = passed_words(&passage, &said);
                    Ok(begun.map(|begun| begun.event(Reason::StepPassed, words)))
                }
            }
        }
        Verdict::Undo(why) => undoing::refuse(draft, release, OnFailure::Undo, &why),
        Verdict::Pause(why) => undoing::pause(draft, release, why).made(),
    }
}

/// Stopwatches go on while something holds the release. Their change is put on record with the
/// reason.
fn watched(draft: &Draft<'_>, release: &Release, wait: Wait) -> Decided {
    match keep_time(draft, release, Run::Lost) {
        Some(changed) => changed.waiting(wait).made(),
        None => Err(wait.into()),
    }
}

/// The steps were edited in mid-release: the step of the same name is where it stands, a batch of
/// another size goes on from the pods that the revision has; if there is neither, the release
/// begins again at the first.
fn reposition(draft: &Draft<'_>, release: &Release, step: &StepStatus) -> Decided {
    let child = draft.seen.objects.child(&release.revision);
    let pods = child.map_or(0, |child| child.replicas);
    let Some(index) = draft.course.resume(step, pods) else {
        return begin(draft, release)?.made();
    };
    if draft.course.batch.is_some() {
        let mut decision = enter(draft, release, index);
        let entered = decision.status.release.as_mut().map(|r| &mut r.stage);
        if let (Some(Stage::Step(at)), Some(why)) = (entered, release.paused()) {
            at.paused = Some(why.clone());
        }
        return decision.made();
    }
    let mut release = release.clone();
    if let Some(step) = release.step_mut() {
        step.index = i32::try_from(index).unwrap_or(i32::MAX);
        step.batch = None;
    }
    draft.goes(release).made()
}

fn edited(draft: &Draft<'_>, release: &Release) -> Option<Wait> {
    let child = draft.seen.objects.child(&release.revision)?;
    let message = format!(
        "somebody changed the template of Deployment {}: its pods no longer match \
         the revision, so the release is blocked. Change the Rollout instead. For this revision: \
         undo, delete that Deployment once it has no pods, and retry",
        child.base.name
    );
    child
        .edited
        .then(|| Wait::stalled(Reason::ChildEdited, message))
}

fn idle_at_zero(draft: &Draft<'_>, release: &Release) -> Decided {
    let wait = Wait::held(
        Reason::ScaledToZero,
        format!(
            "scaled to 0 as asked; revision {} goes through its steps when spec.replicas is raised",
            release.revision
        ),
    );
    let mut release = release.clone();
    let stopped = release.unreached.stop(draft.now, draft.seen.trusted_since);
    let held = release.step_mut().map(|step| &mut step.held);
    let lost = held.is_some_and(|held| held.stop(draft.now, Timestamp::MIN));
    if stopped || lost {
        return draft.goes(release).waiting(wait).made();
    }
    Err(wait.into())
}

/// All of the target runs, the canary's part is available (but for few pods that merely start), and
/// enough serve in all.
fn are_there(draft: &Draft<'_>, release: &Release) -> bool {
    let targets = draft.targets();
    let objects = &draft.seen.objects;
    let whole = targets.iter().all(|(revision, target)| {
        objects.child(revision).map_or(*target == 0, |child| {
            let available = *revision != release.revision
                || draft.seen.objects.available(revision) >= *target
                || waiting::is_made_up(draft, release, *target);
            child.replicas == *target && child.current && available
        })
    });
    let nothing_else = objects
        .children
        .iter()
        .filter(|c| !c.deleting && !targets.contains_key(&c.revision))
        .all(|c| c.replicas == 0);
    whole && nothing_else && mover::assured(&objects.children) >= draft.bounds().floor
}

/// A batch has become available while the target is not reached: the wait for the target begins
/// anew. It forbids nothing, so it is put on record beside the moves of the next batch.
pub(super) fn note_progress(draft: &mut Draft<'_>) {
    let Some(Stage::Step(at)) = draft.status.release.as_ref().map(|r| &r.stage) else {
        return;
    };
    let Some(release) = draft.status.release.as_ref() else {
        return;
    };
    let child = draft.seen.objects.child(&release.revision);
    // While pods come up one by one, that is put on record now and then.
    let slow = release.unreached.elapsed(draft.now, Timestamp::MIN) >= waiting::SLOW_SECONDS;
    // Only more than ever before counts, so that pods which come and go prove nothing.
    let target = draft.targets().get(&release.revision).copied();
    let batch = child.filter(|c| {
        let more = c.available - at.step.available;
        let whole = c.available >= c.replicas && more > 0;
        c.current && c.available < target.unwrap_or(0) && (whole || more > 0 && slow)
    });
    let Some(available) = batch.map(|c| c.available) else {
        return;
    };
    let watched = at.paused.is_none() && draft.spec.replicas > 0;
    if !watched || draft.course.at(&at.step).is_none() {
        return;
    }
    let now = Time(draft.now);
    if let Some(release) = &mut draft.status.release {
        release.unreached = Stopwatch {
            seconds: 0,
            since: Some(now),
        };
        if let Some(step) = release.step_mut() {
            step.available = available;
        }
    }
}

/// What a target's time counts as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    /// It is not reached: the progress deadline runs.
    Lost,
    /// Its pods are there, and its routes follow: nothing runs.
    Weighed,
    /// It is reached, and tested: nothing runs.
    Tested,
    /// It is reached: the hold runs.
    Held,
}

/// Starts and stops the stopwatches, if that is to be put on record.
fn keep_time(draft: &Draft<'_>, release: &Release, run: Run) -> Option<Decision> {
    let (now, trusted) = (draft.now, draft.seen.trusted_since);
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let mut release = release.clone();
    let mut unreached = std::mem::take(&mut release.unreached);
    let revision = release.revision.clone();
    let step = release.step_mut()?;
    let changed = match run {
        Run::Held => {
            let began = step.held.start(now);
            // Time that nobody watched is nobody's delay.
            let stopped = unreached.stop(now, trusted);
            if step.reached.is_none() {
                // The last batch is up, and with it the wait for it over.
                step.reached = Some(Time(whole_second(now)));
                unreached.seconds = 0;
            }
            began || stopped
        }
        Run::Tested | Run::Weighed => {
            let held = step.held.stop(now, Timestamp::MIN);
            let stopped = unreached.stop(now, trusted);
            held || stopped
        }
        Run::Lost => {
            let held = step.held.since.as_ref();
            if held.is_some_and(|since| seconds_between(since.0.max(trusted), now) >= limit) {
                // It was whole for long: what is lost now is another matter.
                unreached.seconds = 0;
            }
            let lost = step.held.stop(now, Timestamp::MIN);
            let turned = waiting::watch(draft, &mut unreached, &revision);
            lost || turned
        }
    };
    let words = match (run, unreached.since.is_some(), &step.reached) {
        (Run::Held, ..) => "target reached, held",
        (Run::Weighed, ..) => "its pods are available, its routes follow",
        (Run::Tested, ..) => "target reached, its tests run",
        (Run::Lost, true, Some(_)) => "target lost",
        (Run::Lost, true, None) => "the progress deadline runs again",
        (Run::Lost, false, _) => "the progress deadline does not run",
    };
    let note = format!("step {}: {words}", step.name);
    release.unreached = unreached;
    changed.then(|| draft.goes(release).note(note))
}

/// The target is not reached: until when may that be?
fn wait_for_target(draft: &Draft<'_>, release: &Release, target: &Target) -> Decided {
    let revision = &release.revision;
    if let Some(excuse) = waiting::excuse(draft, revision) {
        return Err(excuse.wait().into());
    }
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let waited = release
        .unreached
        .elapsed(draft.now, draft.seen.trusted_since);
    if let Some(wait) = waiting::for_its_controller(draft) {
        let mut release = release.clone();
        let stands = std::mem::take(&mut release.unreached) == Stopwatch::default();
        if stands {
            return Err(wait.into());
        }
        if waited >= limit {
            // It runs again, from the beginning, when somebody acts.
            return draft.goes(release).waiting(wait).made();
        }
    }
    if waited < limit {
        let all = release.unreached.elapsed(draft.now, Timestamp::MIN);
        let patience = waiting::patience(draft, revision) - all;
        let looks = [limit - waited, patience].into_iter().filter(|s| *s > 0);
        let wait = Wait::until(draft.in_seconds(looks.min().unwrap_or(1)));
        let late = waiting::next_late(draft, revision).map(Wait::until);
        return Err(wait.and(late.unwrap_or_default()).into());
    }
    if let Some(wait) = waiting::for_sight(draft, revision) {
        return Err(wait.into());
    }
    if let Some(stable) = lacks_stable_only(draft, release) {
        // Going back to what does not serve would take away what does.
        let words = draft
            .why_not_available(&stable)
            .unwrap_or_else(|| "its pods do not stay available".into());
        let message = format!(
            "step {} is blocked: stable {stable} has unavailable pods: {words}. Revision \
             {revision} has all the pods of this step: promote to continue with it, or undo",
            target.name
        );
        return Err(Wait::stalled(Reason::StableUnavailable, message).into());
    }
    if waiting::goes_on(draft, revision) {
        let mut release = release.clone();
        release.unreached = Stopwatch {
            seconds: 0,
            since: Some(Time(draft.now)),
        };
        let note = format!(
            "step {}: pods come up and others are lost, its wait begins anew",
            target.name
        );
        return draft.goes(release).note(note).made();
    }
    let words = waiting::why(draft, revision).or_else(|| services::on_the_way(draft));
    let words = words.map(|words| format!(": {words}")).unwrap_or_default();
    let share = waiting::share(draft, revision);
    let reached = release.step().and_then(|step| step.reached.as_ref());
    let message = match reached {
        None => format!(
            "step {} was not reached within {limit} seconds: {share}{words}",
            target.name
        ),
        Some(reached) => format!(
            "step {} was reached at {:.0}, then lacked pods for {waited} seconds in total: \
             {share}{words}",
            target.name, reached.0
        ),
    };
    let reason = Reason::ProgressDeadlineExceeded;
    if release.first {
        return Err(Wait::stalled(reason, message).into());
    }
    undoing::refuse(draft, release, OnFailure::Undo, &Why::new(reason, message))
}

/// Stable, where pods of stable are all that the step lacks.
fn lacks_stable_only(draft: &Draft<'_>, release: &Release) -> Option<String> {
    let child = draft.seen.objects.child(&release.revision)?;
    let given = child.replicas > 0 && child.current && child.available >= child.replicas;
    let stable = draft.stable()?;
    let lacks = draft.seen.objects.child(stable)?;
    let lacks = lacks.available < lacks.replicas;
    (given && lacks).then(|| stable.to_owned())
}

fn is_last(draft: &Draft<'_>, step: &StepStatus) -> bool {
    draft.course.after(step).is_none()
}

/// Leaves a step that a person promotes; with what is to be told of that. The tests that come after
/// the last step are begun: promoted once more, the release ends without them.
pub(super) fn promote(
    draft: &Draft<'_>,
    release: &Release,
    step: &StepStatus,
    target: &Target,
) -> Result<(Decision, String), Halt> {
    let passage = Passage {
        release,
        step,
        target,
        last: is_last(draft, step),
        passed: step_test::is_passed(release, step, target),
    };
    gate::ask_for_a_person(draft, &passage)?;
    let name = &step.name;
    if let Some(test) = target.final_tests.first().filter(|_| !passage.passed) {
        let mut release = release.clone();
        release.tests = step_test::passed_over(&release, step);
        release.tests = step_test::begin(draft, &release, step, &test.name);
        if let Stage::Step(at) = &mut release.stage {
            at.paused = None;
        }
        let event = passed_words(&passage, "promoted by a person");
        let decision = draft.goes(release).event(Reason::StepPassed, event);
        let words = format!("step {name} is passed, and the tests of the release begin");
        return Ok((decision, words));
    }
    let decision = leave(draft, &passage, "promoted by a person");
    Ok((decision, format!("step {name} is left")))
}

fn passed_words(passage: &Passage<'_>, summary: &str) -> String {
    let (revision, name) = (&passage.release.revision, &passage.target.name);
    format!("revision {revision} passed step {name}{}", tail(summary))
}

fn tail(summary: &str) -> String {
    match summary {
        "" => String::new(),
        summary => format!(": {summary}"),
    }
}

/// Leaves a step whose gates are open.
fn leave(draft: &Draft<'_>, passage: &Passage<'_>, summary: &str) -> Decision {
    let release = &Release {
        // What has not ended is cut off: a person goes on without it.
        tests: step_test::with_result(passage.release, passage.step, TestResult::Skipped),
        ..passage.release.clone()
    };
    if let Some(index) = draft.course.after(passage.step) {
        let words = passed_words(passage, summary);
        return enter(draft, release, index).event(Reason::StepPassed, words);
    }
    let revision = &release.revision;
    let tail = tail(summary);
    let took = seconds_between(release.started.0, draft.now);
    let message = format!("revision {revision} is stable after {took} seconds{tail}");
    let reason = Reason::Released.word();
    let mut decision = draft.ends(release, Outcome::Stable, reason, &message);
    decision.stable(revision);
    let mut decision = decision.event(Reason::RolloutCompleted, message);
    adopting::moved_in(draft, &mut decision, revision);
    decision
}
