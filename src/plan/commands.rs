//! What a person tells a Rollout: annotations bound to a revision and a request.
//!
//! `stepgate.io/promote: "<revision>/<step> <request-id>"`, where the step may be `without-undo`, and
//! `undo`, `retry`, `pause`, `resume` with `"<revision> <request-id>"`. A command is acknowledged once, by its id; one that is bound
//! to another revision or step than the present one is ignored, and that is said.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    decision::{Decided, Decision, Halt, Wait},
    draft::Draft,
    facts::Question,
    flags, floor,
    gate::{checks, configuration},
    job::{self, Run, Turn, step_test},
    life,
    reason::Reason,
    release::{self, former_stables, swap_stable},
    soak, stepping, undoing, words,
};
use crate::api::{
    keys,
    release::{Release, Stage},
    status::{CommandStatus, Outcome, Stopwatch},
};

const COMMANDS: [(&str, Handler); 5] = [
    ("undo", undo),
    ("pause", pause),
    ("resume", resume),
    ("retry", retry),
    ("promote", promote),
];

/// The most letters of a word of a command: longer than any revision, step or sensible id.
const LONGEST_WORD: usize = 200;
/// The most annotations that are answered though they are no command.
const UNKNOWN: usize = 3;

/// What a command did, or why it was ignored.
type Handler = fn(&Draft<'_>, &str) -> Result<Answer, Ignored>;

/// What a command decides, and what that means.
struct Answer {
    decision: Decision,
    /// It did what it says.
    done: bool,
    message: String,
}

/// Why a command is not carried out.
enum Ignored {
    /// Not at all; with what stands against it.
    For(String, Wait),
    /// It must know more first; it is taken when that is answered.
    Until(Vec<Question>),
}

impl<S: Into<String>> From<S> for Ignored {
    fn from(why: S) -> Self {
        Self::For(why.into(), Wait::default())
    }
}

impl From<Halt> for Ignored {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Ask(questions) => Self::Until(questions),
            Halt::Wait(wait) => {
                let why = wait.obstacle.as_ref().map(|o| o.message.clone());
                Self::For(why.unwrap_or_default(), wait)
            }
        }
    }
}

/// A status that was lost does not know which commands were acknowledged. Those that are there
/// were most likely carried out long ago: none is carried out again.
pub(super) fn forget_what_was_said(draft: &Draft<'_>) -> Decided {
    let status = &draft.status;
    // Not by observedGeneration: what could not be read is said on the status before that is whole.
    let knows_nothing = status.stable.is_none()
        && status.release.is_none()
        && status.history.is_empty()
        && status.commands.is_empty();
    let said = said(draft);
    if !knows_nothing || said.is_empty() {
        return Ok(None);
    }
    if draft.seen.objects.revisions.is_empty() {
        // After a restore the Rollout may be seen before its ControllerRevisions.
        if !draft.seen.answers.revisions_live {
            return Halt::ask(Question::Revisions);
        }
        return Ok(None);
    }
    let message = "the status was lost, so Stepgate cannot tell whether this command was carried \
                   out. If you still want it, repeat it with a new id";
    let mut decision = draft.decision();
    for (command, _, id) in said {
        acknowledge(&mut decision, command, id, false, message.to_owned());
    }
    decision.made()
}

/// The commands that stand on the Rollout: which, bound to what, and the request's id.
fn said(draft: &Draft<'_>) -> Vec<(&'static str, String, String)> {
    let annotations = &draft.seen.objects.rollout.annotations;
    let found = COMMANDS.iter().filter_map(|(command, _)| {
        let text = annotations.get(&format!("{}{command}", keys::PREFIX))?;
        let mut words = text.split_whitespace();
        let short = |word: &str| word.chars().take(LONGEST_WORD).collect::<String>();
        let target = short(words.next().unwrap_or_default());
        // Without an id the text itself is the request.
        let id = short(words.next().unwrap_or(text));
        Some((*command, target, id))
    });
    found.collect()
}

fn is_known(draft: &Draft<'_>, command: &str, id: &str) -> bool {
    let mut known = draft.status.commands.iter();
    known.any(|c| c.command == command && c.id == id)
}

/// A command stands there that has not been acknowledged.
pub(super) fn are_new(draft: &Draft<'_>) -> bool {
    let mut said = said(draft).into_iter();
    said.any(|(command, _, id)| !is_known(draft, command, &id))
}

/// Takes at most one command that has not been acknowledged.
pub(super) fn take(draft: &Draft<'_>) -> Decided {
    for (command, target, id) in said(draft) {
        if is_known(draft, command, &id) {
            continue;
        }
        let Some((_, handler)) = COMMANDS.iter().find(|(name, _)| *name == command) else {
            continue;
        };
        let answer = match flags::command(draft, command, &target) {
            Some(Ok((decision, words))) => done(decision, words),
            Some(Err(words)) => Err(words.into()),
            None => handler(draft, &target),
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(Ignored::For(message, wait)) => Answer {
                decision: draft.decision().waiting(wait),
                done: false,
                message,
            },
            Err(Ignored::Until(questions)) => return Err(Halt::Ask(questions)),
        };
        acknowledge(
            &mut answer.decision,
            command,
            id,
            answer.done,
            answer.message,
        );
        return answer.decision.made();
    }
    answer_unknown(draft)
}

/// Says of what looks like a command that there is none of that name. The answers to some are kept,
/// so that each is given once.
fn answer_unknown(draft: &Draft<'_>) -> Decided {
    let annotations = &draft.seen.objects.rollout.annotations;
    let unknown: Vec<_> = annotations
        .iter()
        .filter_map(|(key, text)| Some((key.strip_prefix(keys::PREFIX)?, text)))
        .filter(|(name, _)| COMMANDS.iter().all(|(known, _)| known != name))
        .take(UNKNOWN)
        .map(|(name, text)| {
            let id = text.split_whitespace().nth(1).unwrap_or(text);
            (name, id.chars().take(LONGEST_WORD).collect::<String>())
        })
        .collect();
    let is_command = |c: &CommandStatus| COMMANDS.iter().any(|(name, _)| *name == c.command);
    let Some((name, id)) = unknown.iter().find(|(name, id)| !is_known(draft, name, id)) else {
        return Ok(None);
    };
    let mut decision = draft.decision();
    let commands = &mut decision.status.commands;
    commands.retain(|c| is_command(c) || unknown.iter().any(|(name, _)| *name == c.command));
    acknowledge(&mut decision, name, id.clone(), false, no_such(name));
    decision.made()
}

/// What there is in place of a command that there is not.
fn no_such(name: &str) -> String {
    if [
        keys::APPROVE,
        keys::DROP,
        keys::LOWER_FLOOR,
        keys::BASELINE,
        keys::BACKUP_AT,
    ]
    .contains(&&*format!("{}{name}", keys::PREFIX))
    {
        return "set this annotation on the DatabaseSchema, not on the Rollout".into();
    }
    let near = COMMANDS.iter().map(|(known, _)| *known);
    let near = near.min_by_key(|known| strsim::damerau_levenshtein(name, known));
    let near = near.filter(|known| strsim::damerau_levenshtein(name, known) <= 2);
    let near = near.map(|known| format!(" Did you mean {known}?"));
    let all: Vec<_> = COMMANDS.iter().map(|(known, _)| *known).collect();
    format!(
        "there is no such command.{} The commands are {}",
        near.unwrap_or_default(),
        all.join(", ")
    )
}

fn acknowledge(decision: &mut Decision, command: &str, id: String, done: bool, message: String) {
    let reason = if done {
        Reason::CommandDone
    } else {
        Reason::CommandIgnored
    };
    decision.tell(reason, !done, format!("{command} ({id}): {message}"));
    let commands = &mut decision.status.commands;
    commands.retain(|c| c.command != command);
    commands.insert(
        0,
        CommandStatus {
            command: command.to_owned(),
            id,
            result: if done { "Done" } else { "Ignored" }.to_owned(),
            message,
        },
    );
}

fn bound_to(draft: &Draft<'_>, target: &str, revision: &str) -> Result<(), String> {
    if target == revision {
        return Ok(());
    }
    let meaning = words::meaning(draft, target);
    Err(match revision {
        "" => format!("it is bound to {target:?}, {meaning}; no revision is stable yet"),
        _ => format!("it is bound to {target:?}, {meaning}; the present revision is {revision}"),
    })
}

fn done(decision: Decision, message: impl Into<String>) -> Result<Answer, Ignored> {
    Ok(Answer {
        decision,
        done: true,
        message: message.into(),
    })
}

fn undo(draft: &Draft<'_>, target: &str) -> Result<Answer, Ignored> {
    let message = "undone by the undo command";
    let reason = Reason::UndoneByPerson;
    if let Some(release) = &draft.status.release {
        bound_to(draft, target, &release.revision)?;
        if release.undo().is_some() {
            return Err("it is being undone already".into());
        }
        if release.first {
            return Err("there is no stable revision to return to".into());
        }
        let decision = undoing::begin(draft, release, Outcome::Failed, reason.word(), message);
        return done(decision, format!("revision {target} goes back to stable"));
    }
    let stable = draft.stable().unwrap_or_default();
    bound_to(draft, target, stable)?;
    let Some(former) = former_stables(draft).into_iter().next() else {
        return Err("there is no former stable revision to return to".into());
    };
    floor::may_return(draft, &former)?;
    let decision = swap_stable(draft, &former, Outcome::Failed, reason, message)
        .ok_or("there is no stable revision to return from")?
        .warning(Reason::UndoStarted, format!("revision {stable}: {message}"))
        .undoes(reason);
    let words = format!("revision {stable} goes back to the former stable {former}");
    done(decision, words)
}

fn pause(draft: &Draft<'_>, target: &str) -> Result<Answer, Ignored> {
    bound_to(draft, target, draft.wanted)?;
    let mut decision = draft.decision();
    let paused = &mut decision.status.paused_since;
    paused.get_or_insert(Time(draft.now));
    let words = "the release stays at its step until resume; a failed check still causes an undo";
    done(decision, words)
}

fn resume(draft: &Draft<'_>, target: &str) -> Result<Answer, Ignored> {
    bound_to(draft, target, draft.wanted)?;
    let mut decision = draft.decision();
    let mut resumed = decision.status.paused_since.take().is_some();
    let fails = still_fails(draft);
    if let Some(Stage::Soak(soak)) = decision.status.release.as_mut().map(|r| &mut r.stage) {
        resumed |= soak::resume(draft, soak);
    }
    if fails.is_none()
        && let Some(release) = &mut decision.status.release
        && let Stage::Step(at) = &mut release.stage
        && at.paused.take().is_some()
    {
        // What paused it has been looked at: the hold and its deadline begin anew, and a test that
        // failed runs again.
        resumed = true;
        at.step.reached = None;
        at.step.held = Stopwatch::default();
        let step = at.step.clone();
        release.tests = step_test::again(draft, release, &step);
        release.unreached = Stopwatch {
            seconds: 0,
            since: Some(Time(draft.now)),
        };
    }
    match (resumed, draft.spec.paused, fails) {
        // What the command can take back is taken back all the same.
        (_, true, _) => Ok(Answer {
            decision,
            done: false,
            message: "the release is still paused by spec.paused: set spec.paused to \
                      false"
                .to_owned(),
        }),
        (true, false, None) => done(decision, "the release continues"),
        (false, false, None) => Err("it was not paused".into()),
        (true, false, Some(why)) => done(
            decision,
            format!("resumed, but a check still holds the release: {why}"),
        ),
        (false, false, Some(why)) => Err(format!(
            "the check would pause the release again at once: {why}. Promote the step to continue \
             anyway, or undo"
        )
        .into()),
    }
}

/// What a check said that holds the release, if it still says so: a check that has failed stays so
/// for the revision, until its limit is changed.
fn still_fails(draft: &Draft<'_>) -> Option<String> {
    let mut release = draft.status.release.clone()?;
    let Stage::Step(at) = &mut release.stage else {
        return None;
    };
    at.paused.take()?;
    let (_, why) = checks::failing(draft, &release)?;
    Some(why.message)
}

fn retry(draft: &Draft<'_>, target: &str) -> Result<Answer, Ignored> {
    let wanted = draft.wanted;
    bound_to(draft, target, wanted)?;
    let after_release = |why: Ignored| match life::retry(draft)? {
        Some((decision, words)) => done(decision, words),
        None => Err(why),
    };
    if let Some(release) = &draft.status.release {
        return accept_half_way(draft, release).or_else(after_release);
    }
    if draft.outcome(wanted) != Some(Outcome::Failed) {
        return after_release("the revision has not failed".into());
    }
    if let Some(decision) = life::revert::retry(draft)? {
        return done(decision, "the revert may run again");
    }
    release::is_possible(draft)?;
    let mut history = draft.status.history.iter();
    let last = history
        .find(|e| e.revision == wanted)
        .map_or(1, |e| e.attempt);
    let ran = job::terms::before_the_pods(draft.spec)
        .filter(|terms| !job::terms::only_looks(terms.phase))
        .map(|terms| job::attempts(draft, wanted, terms.phase))
        .max();
    let attempt = last.max(ran.unwrap_or(0)) + 1;
    // With its end was told what its own expand has left, and not what another's has since.
    let database = draft.seen.objects.database.as_ref();
    let dirty = database.into_iter().flat_map(|d| &d.record.dirty);
    let own = dirty.filter(|dirty| dirty.rollout == draft.name() && dirty.revision == wanted);
    let own: Vec<_> = own.map(|dirty| dirty.job.clone()).collect();
    let decision = release::start(draft, attempt, &own)?;
    let words = format!("revision {wanted} is released again, attempt {attempt}");
    done(decision, words)
}

/// A retry while a Job waits: what a Job has left half-way is accepted, if that was told before the
/// retry was said. It was if it stands on record: whatever is written to the status rests on the
/// annotations that were there, and takes them first.
fn accept_half_way(draft: &Draft<'_>, release: &Release) -> Result<Answer, Ignored> {
    let Stage::Job(phase) = release.stage else {
        return Err("nothing waits for a retry".into());
    };
    let turn = Turn::of_release(draft, release, phase);
    let half_way = match job::run(draft, &turn) {
        Run::HalfWay { job, .. } => job,
        Run::Unread => {
            let name = job::to_be_read(draft);
            let hold = name.map(Question::Hold);
            return Err(Ignored::Until(hold.into_iter().collect()));
        }
        _ => return Err("nothing waits for a retry".into()),
    };
    let mut release = release.clone();
    let vanished = job::vanished_hold(draft, &turn);
    let vanished = vanished.filter(|holder| holder.revision == release.revision);
    if release.job(phase).told_dirty.as_ref() != Some(&half_way) {
        return Err(format!(
            "this retry predates the report that Job {half_way} may have left the database \
             inconsistent: check the database, then retry with a new id"
        )
        .into());
    }
    // For those that come after it too: it was told to the same person.
    let kinds = job::terms::before_the_pods(draft.spec).map(|terms| terms.phase);
    for kind in kinds.filter(|kind| *kind >= phase) {
        let job = release.job_mut(kind);
        job.accept(&half_way);
        if let Some(holder) = vanished.filter(|holder| holder.phase == kind) {
            job.attempt = job.attempt.max(holder.attempt) + 1;
        }
    }
    let words = format!("its {} may run", phase.word());
    done(draft.goes(release), words)
}

fn promote(draft: &Draft<'_>, target: &str) -> Result<Answer, Ignored> {
    let Some(release) = &draft.status.release else {
        return Err("nothing is in motion".into());
    };
    let (revision, step) = target.split_once('/').unwrap_or((target, ""));
    if step == keys::WITHOUT_UNDO {
        bound_to(draft, revision, &release.revision)?;
        return without_undo(draft, release);
    }
    if release.soak().is_some() {
        bound_to(draft, revision, &release.revision)?;
        if step != soak::NAME {
            return Err(format!(
                "it is bound to step {step:?}, but stable is being measured after the expand: say \
                 {revision}/{}",
                soak::NAME
            )
            .into());
        }
        return done(
            soak::promote(draft, release)?,
            "the soak after the expand is left",
        );
    }
    let Some(present) = release.step() else {
        return Err("it is not at a step".into());
    };
    bound_to(draft, revision, &release.revision)?;
    if step != present.name {
        return Err(format!(
            "it is bound to step {step:?}, but the present one is {}",
            present.name
        )
        .into());
    }
    if draft.spec.replicas == 0 {
        return Err("spec.replicas is 0: no pod of the revision has run".into());
    }
    let Some(target) = draft.course.find(present) else {
        return Err("the spec no longer has that step".into());
    };
    let (decision, words) = stepping::promote(draft, release, present, target)?;
    done(decision, words)
}

/// A person takes upon himself that stable could not come back.
fn without_undo(draft: &Draft<'_>, release: &Release) -> Result<Answer, Ignored> {
    if release.undo().is_some() {
        return Err("it is being undone".into());
    }
    if release.without_undo {
        return Err("this release already continues without a possible rollback".into());
    }
    let Some(lack) = configuration::lack(draft)? else {
        return Err("stable has everything that it needs to be restored".into());
    };
    let mut release = release.clone();
    release.without_undo = true;
    let words = format!(
        "revision {} continues although stable cannot be restored: {}",
        release.revision, lack.what
    );
    done(draft.goes(release), words)
}
