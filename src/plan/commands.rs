//! What a person tells a Rollout: annotations bound to a revision and a request.
//!
//! `stepgate.io/promote: "<revision>/<step> <request-id>"`, and `undo`, `retry`, `pause`, `resume`
//! with `"<revision> <request-id>"`. A command is acknowledged once, by its id; one that is bound
//! to another revision or step than the present one is ignored, and that is said.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::Draft,
    facts::Question,
    gate,
    intent::UndoCause,
    release::{self, former_stables, swap_stable},
    schema::{self, Expansion},
    stepping, undoing,
};
use crate::api::{
    keys,
    status::{CommandStatus, Outcome, Release, Stage, Stopwatch},
};

const COMMANDS: [(&str, Handler); 5] = [
    ("undo", undo),
    ("pause", pause),
    ("resume", resume),
    ("retry", retry),
    ("promote", promote),
];

/// What a command did, or why it was ignored.
type Handler = fn(&mut Draft<'_>, &str) -> Result<String, String>;

/// A status that was lost does not know which commands were acknowledged. Those that are there
/// were most likely carried out long ago: none is carried out again.
pub(super) fn forget_what_was_said(draft: &mut Draft<'_>) {
    let status = &draft.status;
    // Not by observedGeneration: what could not be read is said on the status before that is whole.
    let knows_nothing = status.stable.is_none()
        && status.release.is_none()
        && status.history.is_empty()
        && status.commands.is_empty();
    let said = said(draft);
    if !knows_nothing || said.is_empty() {
        return;
    }
    if draft.seen.objects.revisions.is_empty() {
        // After a restore the Rollout may be seen before its ControllerRevisions.
        if !draft.seen.answers.revisions_live {
            draft.questions.push(Question::Revisions);
        }
        return;
    }
    let message = "the status was lost, and with it whether this was done: if it is still wanted, \
                   say it again with another id";
    for (command, _, id) in said {
        acknowledge(draft, command, id, Err(message.into()));
    }
}

/// The commands that stand on the Rollout: which, bound to what, and the request's id.
fn said(draft: &Draft<'_>) -> Vec<(&'static str, String, String)> {
    let annotations = &draft.seen.objects.rollout.annotations;
    let found = COMMANDS.iter().filter_map(|(command, _)| {
        let text = annotations.get(&format!("{}{command}", keys::COMMAND_PREFIX))?;
        let mut words = text.split_whitespace();
        let target = words.next().unwrap_or_default().to_owned();
        // Without an id the text itself is the request.
        let id = words.next().unwrap_or(text);
        Some((*command, target, id.chars().take(200).collect()))
    });
    found.collect()
}

/// Takes at most one command that has not been acknowledged.
pub(super) fn take(draft: &mut Draft<'_>) {
    for (command, target, id) in said(draft) {
        let mut known = draft.status.commands.iter();
        if known.any(|c| c.command == command && c.id == id) {
            continue;
        }
        let Some((_, handler)) = COMMANDS.iter().find(|(name, _)| *name == command) else {
            continue;
        };
        let questions = draft.questions.len();
        let answer = handler(draft, &target);
        if draft.questions.len() > questions {
            // It must know more first; it is taken when that is answered.
            return;
        }
        acknowledge(draft, command, id, answer);
        return;
    }
}

fn acknowledge(draft: &mut Draft<'_>, command: &str, id: String, answer: Result<String, String>) {
    let done = answer.is_ok();
    let message = answer.unwrap_or_else(|why| why);
    let reason = if done {
        "CommandDone"
    } else {
        "CommandIgnored"
    };
    draft.event(reason, !done, format!("{command} ({id}): {message}"));
    draft.status.commands.retain(|c| c.command != command);
    draft.status.commands.insert(
        0,
        CommandStatus {
            command: command.to_owned(),
            id,
            result: if done { "Done" } else { "Ignored" }.to_owned(),
            message,
        },
    );
    draft.decided = true;
}

fn bound_to(target: &str, revision: &str) -> Result<(), String> {
    if target == revision {
        Ok(())
    } else {
        Err(format!(
            "it is bound to {target:?}, but the present revision is {revision}"
        ))
    }
}

fn undo(draft: &mut Draft<'_>, target: &str) -> Result<String, String> {
    let message = "undone by the undo command";
    if let Some(release) = draft.status.release.clone() {
        bound_to(target, &release.revision)?;
        if release.stage == Stage::Undo {
            return Err("it is being undone already".into());
        }
        if release.first {
            return Err("there is no stable revision to return to".into());
        }
        undoing::begin(
            draft,
            &release,
            UndoCause::Person,
            Outcome::Failed,
            "UndoneByPerson",
            message,
        );
        return Ok(format!("revision {target} goes back to stable"));
    }
    let stable = draft.stable().unwrap_or_default().to_owned();
    bound_to(target, &stable)?;
    let Some(former) = former_stables(draft).into_iter().next() else {
        return Err("there is no former stable revision to return to".into());
    };
    let schema = draft
        .seen
        .objects
        .revision(&former)
        .and_then(|r| r.schema.clone());
    if let Some(words) = release::below_floor(draft, &former, schema.and_then(|s| s.version)) {
        return Err(words);
    }
    swap_stable(draft, &former, Outcome::Failed, "UndoneByPerson", message);
    draft.event_of_undo(
        UndoCause::Person,
        "UndoStarted",
        true,
        format!("revision {stable}: {message}"),
    );
    Ok(format!(
        "revision {stable} goes back to the former stable {former}"
    ))
}

fn pause(draft: &mut Draft<'_>, target: &str) -> Result<String, String> {
    bound_to(target, &draft.wanted)?;
    draft.status.paused_since.get_or_insert(Time(draft.now));
    Ok("no step is left until resume; undo on evidence stays on".into())
}

fn resume(draft: &mut Draft<'_>, target: &str) -> Result<String, String> {
    bound_to(target, &draft.wanted)?;
    let now = Time(draft.now);
    let mut resumed = draft.status.paused_since.take().is_some();
    let fails = still_fails(draft);
    if fails.is_none()
        && let Some(release) = &mut draft.status.release
        && release.paused.take().is_some()
    {
        // What paused it has been looked at: the hold and its deadline begin anew.
        resumed = true;
        release.unreached = Stopwatch {
            seconds: 0,
            since: Some(now),
        };
        if let Some(step) = &mut release.step {
            step.reached = None;
            step.held = Stopwatch::default();
        }
    }
    match (resumed, draft.spec.paused, fails) {
        (_, true, _) => Err("spec.paused holds it: set that to false".into()),
        (true, false, None) => Ok("it goes on".into()),
        (false, false, None) => Err("it was not paused".into()),
        (true, false, Some(why)) => Ok(format!("it is held by its check alone now: {why}")),
        (false, false, Some(why)) => Err(format!(
            "that would hold it again at once: {why}. Promote the step to go on all the same, or \
             undo"
        )),
    }
}

/// What a check said that holds the release, if it still says so: a check that has failed stays so
/// for the revision, until its limit is changed.
fn still_fails(draft: &Draft<'_>) -> Option<String> {
    let mut release = draft.status.release.clone()?;
    release.paused.take()?;
    let (_, why) = gate::failing(draft, &release)?;
    Some(why.message)
}

fn retry(draft: &mut Draft<'_>, target: &str) -> Result<String, String> {
    let wanted = draft.wanted.clone();
    bound_to(target, &wanted)?;
    if let Some(release) = draft.status.release.clone() {
        return accept_half_way(draft, &release);
    }
    if draft.outcome(&wanted) != Some(Outcome::Failed) {
        return Err("the revision has not failed".into());
    }
    if release::is_impossible(draft) {
        return match &draft.obstacle {
            Some(obstacle) => Err(obstacle.why.message.clone()),
            // It is asked first.
            None => Ok(String::new()),
        };
    }
    let last = draft
        .status
        .history
        .iter()
        .find(|e| e.revision == wanted)
        .map_or(1, |e| e.attempt);
    let attempt = last.max(schema::attempts(draft, &wanted)) + 1;
    // With its end was told what its own expand has left, and not what another's has since.
    let dirty = draft.seen.objects.database.as_ref().and_then(|d| {
        let dirty = d.record.dirty.as_ref()?;
        let own = dirty.rollout == draft.seen.objects.rollout.base.name && dirty.revision == wanted;
        own.then(|| dirty.job.clone())
    });
    release::start(draft, attempt, dirty);
    Ok(format!(
        "revision {wanted} is released again, attempt {attempt}"
    ))
}

/// A retry while the expand waits: what a Job has left half-way is accepted, if that was told
/// before the retry was said. It was if it stands on record: whatever is written to the status rests
/// on the annotations that were there, and takes them first.
fn accept_half_way(draft: &mut Draft<'_>, release: &Release) -> Result<String, String> {
    let job = match (release.stage, schema::expansion(draft, release)) {
        (Stage::Expand, Expansion::HalfWay { job, .. }) => job,
        (Stage::Expand, Expansion::Unread) => {
            let name = schema::to_be_read(draft);
            draft.questions.extend(name.map(Question::Hold));
            return Ok(String::new());
        }
        _ => return Err("nothing waits for a retry".into()),
    };
    if release.told_dirty.as_ref() != Some(&job) {
        return Err(format!(
            "it was said before it was told here that Job {job} may have left the database \
             half-way: check the database, then say it again with another id"
        ));
    }
    let vanished = schema::vanished_hold(draft, release);
    let again = vanished.filter(|holder| holder.revision == release.revision);
    if let Some(current) = &mut draft.status.release {
        match again {
            Some(holder) => current.attempt = current.attempt.max(holder.attempt) + 1,
            None => current.accepted_dirty = Some(job),
        }
    }
    Ok("its expand may run".into())
}

fn promote(draft: &mut Draft<'_>, target: &str) -> Result<String, String> {
    let Some(release) = draft.status.release.clone() else {
        return Err("nothing is in motion".into());
    };
    let present = match (&release.step, release.stage) {
        (Some(step), Stage::Step) => step.clone(),
        _ => return Err("it is not at a step".into()),
    };
    let (revision, step) = target.split_once('/').unwrap_or((target, ""));
    bound_to(revision, &release.revision)?;
    if step != present.name {
        return Err(format!(
            "it is bound to step {step:?}, but the present one is {}",
            present.name
        ));
    }
    if draft.spec.replicas == 0 {
        return Err("spec.replicas is 0: no pod of the revision has run".into());
    }
    let Some(step) = draft
        .spec
        .strategy
        .canary
        .steps
        .iter()
        .find(|s| s.name == step)
        .cloned()
    else {
        return Err("the spec no longer has that step".into());
    };
    stepping::pass(draft, &release, &step, "promoted by a person");
    match &draft.obstacle {
        Some(obstacle) => Err(obstacle.why.message.clone()),
        None => Ok(format!("step {} is left", step.name)),
    }
}
