//! What a recorded decision asks for: children, marks, Jobs, replicas, and their removal.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;

use super::{
    adopting,
    decision::{Halt, Wait},
    draft::Draft,
    exits::{self, STEADY_SECONDS},
    facts::{ChildFacts, Question, Refused, RevisionFacts},
    flags, floor,
    intent::{Kind, Write},
    job::{self, Turn, protocol, step_test},
    life,
    mover::{self, Direction},
    reason::Reason,
    render, routes, services,
    waiting::SLOW_SECONDS,
};
use crate::api::{release::Stage, status::Outcome};

/// The next writes. Nothing here decides anything that is not on record.
///
/// # Errors
/// What must be known first.
pub(super) fn carry_out(draft: &mut Draft<'_>) -> Result<(), Halt> {
    let undoing = draft.is_undoing();
    let records = !draft.was_refused(&Refused::Other);
    if records {
        adopt(draft);
        draft.writes.extend(adopting::hold(draft));
    }
    let unread = make_children(draft).err();
    // Users are led away from a revision that hurts before anything else is written for that.
    services::carry_out(draft);
    routes::carry_out(draft);
    routes::say_unrestored(draft);
    // So are they from a flag that does. What becomes of that is no matter for the pods.
    flags::carry_out(draft);
    // The pods of a revision that hurts go first: no record may hold that up.
    if records && !undoing {
        mark(draft);
    }
    if draft.writes.is_empty() {
        let unread = unread.or_else(|| drive_its_job(draft).err());
        let unread = unread.or_else(|| match step_test::drive(draft) {
            Ok(write) => {
                draft.writes.extend(write);
                None
            }
            Err(halt) => Some(halt),
        });
        let unread = match draft.was_refused(&Refused::Scale) {
            true => unread,
            false => unread.or(scale(draft).err()),
        };
        if records {
            delete_below_floor(draft);
        }
        if records && undoing {
            mark(draft);
        }
        if records {
            draft.writes.extend(protocol::let_go_of_abandoned(draft));
            let go = step_test::go(draft);
            draft.writes.extend(go);
        }
        let unread = match records && draft.writes.is_empty() {
            true => unread.or_else(|| life::carry_out(draft).err()),
            false => unread,
        };
        if records && draft.writes.is_empty() && draft.status.release.is_none() {
            forget_old_revisions(draft)?;
        }
        let unread = match &draft.seen.unread {
            None => unread.or_else(|| routes::are_to_be_looked_at(draft).err()),
            Some(_) => unread,
        };
        // Last, so that no read that fails holds up what does not rest on it.
        if let Some(unread) = unread.filter(|_| draft.writes.is_empty()) {
            return Err(unread);
        }
        if draft.writes.is_empty()
            && let Some(name) = job::to_be_read(draft)
        {
            return Halt::ask(Question::Hold(name));
        }
    }
    Ok(())
}

fn drive_its_job(draft: &mut Draft<'_>) -> Result<(), Halt> {
    let Some(release) = &draft.status.release else {
        return Ok(());
    };
    let Stage::Job(phase) = release.stage else {
        return Ok(());
    };
    let turn = Turn::of_release(draft, release, phase);
    let job = Refused::Job(turn.name(draft));
    if !draft.was_refused(&job) && !draft.was_refused(&Refused::Other) {
        let write = protocol::drive(draft, &turn)?;
        let left_out = protocol::left_out(draft, &turn, write.as_ref())?;
        let database = draft.seen.objects.database.as_ref();
        let gives_way = |write| database.is_some_and(|d| life::revert::gives_way(d, write));
        if write.as_ref().is_some_and(gives_way) {
            let words = "the revert is cancelled: the version is being expanded again";
            draft.inform(Reason::RevertGivesWay, words.to_owned());
        }
        if let Some(words) = left_out {
            draft.inform(Reason::LeftOut, words);
        }
        draft.writes.extend(write);
    }
    Ok(())
}

/// Says what the API server refused. It is what keeps the rollout from going on; where a person
/// must act on something else besides, it is said beside that.
pub(super) fn say_refused(draft: &mut Draft<'_>) {
    let mut refusals = draft.seen.refusals.iter();
    if refusals.any(|r| matches!(r.what, Refused::Flags(_))) {
        draft.wake(draft.tries_again());
    }
    // What is refused of flags is said in a condition of theirs.
    let mut refusals = draft.seen.refusals.iter();
    let Some(refusal) = refusals.find(|r| !matches!(r.what, Refused::Flags(_))) else {
        return;
    };
    let (reason, what) = match refusal.what {
        Refused::Deployment => (Reason::DeploymentRefused, "a Deployment"),
        Refused::Job(_) => (Reason::JobRefused, "a Job"),
        Refused::Scale => (Reason::ScaleRefused, "to scale a Deployment"),
        Refused::Service(_) => (Reason::ServiceRefused, "a write of a Service"),
        Refused::Route(_) => (Reason::RouteRefused, "to change the weights of a route"),
        Refused::Other | Refused::Flags(_) => (Reason::WriteRefused, "a write"),
    };
    let message = format!("the API server refuses {what}: {}", refusal.message);
    // It is tried again, whoever may have put it right.
    draft.wake(draft.tries_again());
    match &mut draft.wait.obstacle {
        Some(obstacle) if obstacle.message.contains(&refusal.message) => {}
        Some(obstacle) if obstacle.stalled => {
            obstacle.message.push_str(&format!("; besides, {message}"));
        }
        obstacle => *obstacle = Wait::held(reason, message).obstacle,
    }
}

/// Pods run of a revision that nothing remembers, neither a ControllerRevision nor the status:
/// counting on would be guessing.
///
/// # Errors
/// What must be known first.
pub(super) fn memory_lost(draft: &Draft<'_>) -> Result<Option<Wait>, Halt> {
    let unknown = forgotten(draft).find(|c| c.replicas > 0 || c.status_replicas > 0);
    let Some(child) = unknown else {
        return Ok(None);
    };
    if !draft.seen.answers.revisions_live {
        return Halt::ask(Question::Revisions);
    }
    let words = format!(
        "Deployment {} belongs to a revision whose ControllerRevision is gone: its pods are left \
         as they are. Restore the ControllerRevision, or delete the Deployment",
        child.base.name
    );
    Ok(Some(Wait::stalled(Reason::MemoryLost, words)))
}

/// Deployments of revisions that have no ControllerRevision, and that are neither asked for nor
/// stable nor in motion.
fn forgotten<'d>(draft: &'d Draft<'_>) -> impl Iterator<Item = &'d ChildFacts> {
    let in_motion = draft.status.release.as_ref().map(|r| r.revision.as_str());
    draft.seen.objects.children.iter().filter(move |child| {
        let revision = child.revision.as_str();
        let named = [Some(draft.wanted), draft.stable(), in_motion];
        !child.deleting
            && child.adopted.is_none()
            && draft.seen.objects.revision(revision).is_none()
            && !named.contains(&Some(revision))
    })
}

/// Children whose owner has another uid (a restored backup) are owned anew, or they would be
/// collected; those too of which nothing else is remembered.
pub(super) fn adopt(draft: &mut Draft<'_>) {
    let rollout = &draft.seen.objects.rollout;
    for revision in draft.seen.objects.revisions.iter().filter(|r| !r.deleting) {
        if revision.owner_uid.as_ref() != Some(&rollout.base.uid) {
            let owner = serde_json::json!([render::owned_by_rollout(rollout)]);
            draft.writes.push(Write::Adopt {
                kind: Kind::Revision,
                base: revision.base.clone(),
                owner,
            });
        }
    }
    for child in draft.seen.objects.children.iter().filter(|c| !c.deleting) {
        if child.adopted.is_none() && child.owner_uid.as_ref() != Some(&rollout.base.uid) {
            let owner = serde_json::json!([render::owned_by_rollout(rollout)]);
            draft.writes.push(Write::Adopt {
                kind: Kind::Deployment,
                base: child.base.clone(),
                owner,
            });
        }
    }
    let services = draft.seen.objects.services.all.iter();
    let own = services.filter(|s| s.rollout.as_deref() == Some(draft.name()) && !s.deleting);
    let lost = own.filter(|s| s.owner_uid.as_ref() != Some(&rollout.base.uid));
    let lost: Vec<_> = lost.map(|s| s.base.clone()).collect();
    for base in lost {
        let owner = serde_json::json!([render::owned_by_rollout(rollout)]);
        draft.writes.push(Write::Adopt {
            kind: Kind::Service,
            base,
            owner,
        });
    }
}

/// The ControllerRevision and Deployment of each revision that is to run, or may have to.
///
/// # Errors
/// What must be read to render one of them; the others are wanted.
fn make_children(draft: &mut Draft<'_>) -> Result<(), Halt> {
    let objects = &draft.seen.objects;
    let mut needed: Vec<String> = draft.stable().map(str::to_owned).into_iter().collect();
    let release = draft.status.release.as_ref();
    let forward = release.filter(|r| r.undo().is_none());
    needed.extend(forward.map(|r| r.revision.clone()));
    let mut made = Ok(());
    for name in needed {
        let Some(revision) = objects.revision(&name) else {
            // Only the spec can say what a revision is that nothing remembers.
            if name == draft.wanted && !draft.was_refused(&Refused::Other) {
                let whole = match draft.whole() {
                    Ok(whole) => whole,
                    Err(halt) => {
                        made = Err(halt);
                        continue;
                    }
                };
                let manifest = render::revision(&objects.rollout, whole, &name);
                let note = format!("revision {name} is put on record");
                draft.create(Kind::Revision, manifest, note);
            }
            continue;
        };
        if objects.child(&name).is_none() && !draft.was_refused(&Refused::Deployment) {
            let epoch = draft.seen.epoch;
            let template = match draft.template(revision) {
                Ok(template) => template,
                Err(halt) => {
                    made = Err(halt);
                    continue;
                }
            };
            let manifest =
                render::deployment(&objects.rollout, draft.spec, revision, template, epoch);
            let note = format!("Deployment of revision {name} is made, at 0 replicas");
            draft.create(Kind::Deployment, manifest, note);
        }
    }
    made
}

/// Copies outcomes from status, their authority, to the ControllerRevisions, which outlive it.
fn mark(draft: &mut Draft<'_>) {
    let highest = draft
        .seen
        .objects
        .revisions
        .iter()
        .map(|r| r.number)
        .max()
        .unwrap_or(0);
    let mut writes = Vec::new();
    for revision in draft.seen.objects.revisions.iter().filter(|r| !r.deleting) {
        let Some((outcome, reason)) = wanted_mark(draft, revision) else {
            continue;
        };
        let stable = draft.stable() == Some(&revision.revision);
        // The stable one is the highest of those that are marked so.
        let renumber = stable && (revision.number == 0 || revision.number < highest);
        if revision.outcome == outcome && !renumber {
            continue;
        }
        writes.push(Write::MarkRevision {
            base: revision.base.clone(),
            outcome,
            reason,
            number: renumber.then_some(highest + 1),
        });
    }
    draft.writes.extend(writes);
}

/// How a ControllerRevision should be marked; `None`: as it is.
fn wanted_mark(draft: &Draft<'_>, revision: &RevisionFacts) -> Option<(Option<Outcome>, String)> {
    let name = &revision.revision;
    if draft.stable() == Some(name) {
        return Some((Some(Outcome::Stable), String::new()));
    }
    let release = draft.status.release.as_ref();
    if let Some(release) = release.filter(|r| r.revision == *name) {
        if let Some(undo) = release.undo() {
            let reason = format!("{}: {}", undo.reason, undo.message);
            return is_news(revision, undo.outcome).then_some((Some(undo.outcome), reason));
        }
        // A retry takes the failure back.
        return (revision.outcome != Some(Outcome::Stable)).then(|| (None, String::new()));
    }
    let ended = draft.status.history.iter().find(|e| e.revision == *name)?;
    let reason = format!("{}: {}", ended.reason, ended.message);
    is_news(revision, ended.outcome).then_some((Some(ended.outcome), reason))
}

/// Whether the outcome is news: a former stable that the spec left before it was stable again was
/// found good all the same.
fn is_news(revision: &RevisionFacts, outcome: Outcome) -> bool {
    outcome != Outcome::Withdrawn || revision.outcome != Some(Outcome::Stable)
}

/// Pods whose node says nothing run on, as far as anybody knows, and may serve again at any moment: of them
/// too no more go than leaves the floor.
fn keep_silent(draft: &Draft<'_>, targets: &mut BTreeMap<String, i32>) {
    let objects = &draft.seen.objects;
    let serving = |child: &ChildFacts| {
        let pods = objects.pods_of(&child.revision);
        let silent = pods.filter(|pod| pod.silent.is_some()).count();
        let silent = i32::try_from(silent).unwrap_or(i32::MAX);
        (
            silent,
            child.replicas.min(child.available.saturating_add(silent)),
        )
    };
    let present = || objects.children.iter().filter(|child| !child.deleting);
    let all: i32 = present().map(|child| serving(child).1).sum();
    let mut spare = (all - draft.bounds().floor).max(0);
    for child in present() {
        let (silent, serving) = serving(child);
        let target = targets.get(&child.revision).copied().unwrap_or(0);
        if silent > 0 && target < serving {
            let goes = (serving - target).min(spare);
            spare -= goes;
            targets.insert(child.revision.clone(), serving - goes);
        }
    }
}

/// Replicas towards the targets, through the mover.
///
/// # Errors
/// What must be known first.
fn scale(draft: &mut Draft<'_>) -> Result<(), Halt> {
    let mut targets = draft.targets();
    let made = |(revision, target): (&String, &i32)| {
        *target == 0 || draft.seen.objects.child(revision).is_some()
    };
    if targets.is_empty() || !targets.iter().all(made) {
        return Ok(());
    }
    hold_back(draft, &mut targets);
    adopting::pin(draft, &mut targets);
    if let Err(fences) = services::hold_back(draft, &mut targets) {
        draft.writes.extend(fences);
        return Ok(());
    }
    let direction = if draft.is_undoing() {
        Direction::Back
    } else {
        keep_silent(draft, &mut targets);
        Direction::Forward
    };
    let by_name: BTreeMap<&str, i32> = targets.iter().map(|(r, n)| (r.as_str(), *n)).collect();
    let (children, bounds) = (&draft.seen.objects.children, draft.bounds());
    let towards = |least| mover::moves(children, &by_name, bounds, direction, least);
    let slow_in = slow_in(draft);
    let moves = towards(if slow_in > 0 { bounds.batch() } else { 1 });
    if moves.is_empty() {
        if slow_in > 0 && !towards(1).is_empty() {
            draft.wake(draft.in_seconds(slow_in));
        }
        return Ok(());
    }
    let fences = fences(draft);
    if !fences.is_empty() {
        draft.writes.extend(fences);
        return Ok(());
    }
    let raised = |step: &&mover::Move| step.from == 0 && step.to > 0;
    for step in moves.iter().filter(raised) {
        let mut children = children.iter();
        let child = children.find(|c| c.base.uid == step.uid);
        let Some(child) = child else { continue };
        match floor::below_floor_live(draft, &child.revision) {
            Err(Halt::Wait(wait)) => {
                draft.wait_for(wait);
                return Ok(());
            }
            free => free?,
        }
        if let Some(write) = life::voided_by(draft, &child.revision) {
            draft
                .notes
                .push(format!("{} may write below a version", child.base.name));
            draft.writes.push(write);
            return Ok(());
        }
    }
    for step in moves {
        if let Some(child) = draft
            .seen
            .objects
            .children
            .iter()
            .find(|c| c.base.uid == step.uid)
        {
            if !adopting::is_free(draft, child) {
                continue;
            }
            draft.notes.push(step.note);
            let write = adopting::scale(child, draft.seen.epoch, step.from, step.to);
            draft.writes.push(write);
        }
    }
    Ok(())
}

/// Deployments without pods that are below the undo floor go: a write to them that is late finds
/// nothing any more.
fn delete_below_floor(draft: &mut Draft<'_>) {
    let objects = &draft.seen.objects;
    let floor = objects.database.as_ref().and_then(|d| d.record.undo_floor);
    let Some(floor) = floor else { return };
    let in_motion = draft.status.release.as_ref().map(|r| r.revision.as_str());
    let needed = [draft.stable(), in_motion];
    let below = objects.children.iter().filter(|child| {
        let revision = objects.revision(&child.revision);
        let below = |r: &RevisionFacts| r.schema_version.is_none_or(|version| version < floor);
        !child.deleting
            && is_empty(child)
            && revision.is_some_and(below)
            && !needed.contains(&Some(child.revision.as_str()))
    });
    let going: Vec<_> = below.map(|child| child.base.clone()).collect();
    for base in going {
        draft
            .notes
            .push(format!("{} is below the undo floor", base.name));
        draft.writes.push(Write::Delete {
            kind: Kind::Deployment,
            base,
        });
    }
}

/// Seconds until the release is slow: from then on every single pod is worth a write.
fn slow_in(draft: &Draft<'_>) -> i64 {
    let release = draft.status.release.as_ref();
    release.map_or(0, |r| {
        SLOW_SECONDS - r.unreached.elapsed(draft.now, Timestamp::MIN)
    })
}

/// What keeps a revision in motion from getting more, though its step asks for it.
///
/// While it waits for a person, or its Deployment was changed by hand, stable keeps its share.
/// While containers of it end by themselves, stable keeps every single pod: what was ready a
/// moment ago may be gone the next.
fn hold_back(draft: &mut Draft<'_>, targets: &mut BTreeMap<String, i32>) {
    let Some(release) = draft.status.release.clone().filter(|r| !r.first) else {
        return;
    };
    let Stage::Step(at) = &release.stage else {
        return;
    };
    let Some(canary) = draft.seen.objects.child(&release.revision) else {
        return;
    };
    let ended = exits::ended_within(draft, STEADY_SECONDS);
    if ended.is_none() && at.paused.is_none() && !canary.edited {
        return;
    }
    let Some(asked) = targets.get(&release.revision).copied() else {
        return;
    };
    let before = targets.clone();
    let keeps = canary.replicas.min(asked);
    targets.insert(release.revision.clone(), keeps);
    if let Some(stable) = draft
        .stable()
        .and_then(|stable| draft.seen.objects.child(stable))
    {
        let share = draft.spec.replicas - keeps;
        let least = if ended.is_some() {
            stable.replicas
        } else {
            share
        };
        let target = targets.entry(stable.revision.clone()).or_default();
        *target = least.max(*target);
    }
    if let Some(ended) = ended.filter(|_| *targets != before) {
        draft.wake(ended.until);
        if at.paused.is_none() {
            draft.wait_for(Wait::held(Reason::Unsteady, ended.message));
        }
    }
}

/// Before anything else every child carries this leadership's epoch, so that no late write of a
/// deposed leader can add to ours. What is still to be written for that.
pub(super) fn fences(draft: &Draft<'_>) -> Vec<Write> {
    draft
        .seen
        .objects
        .children
        .iter()
        .filter(|c| !c.deleting && !c.is_fenced_by(draft.seen.epoch))
        .filter(|child| adopting::is_free(draft, child))
        .map(|child| match child.adopted {
            Some(_) => adopting::fence(child, draft.seen.epoch),
            None => Write::Fence {
                kind: Kind::Deployment,
                base: child.base.clone(),
                epoch: draft.seen.epoch,
            },
        })
        .chain(step_test::fences(draft))
        .chain(services::fences(draft))
        .collect()
}

/// Revisions beyond the history limit go, the oldest first: the Deployment, then what remembers
/// it. So do Deployments without pods that nothing remembers.
fn forget_old_revisions(draft: &mut Draft<'_>) -> Result<(), Halt> {
    let mut old: Vec<&RevisionFacts> = draft
        .seen
        .objects
        .revisions
        .iter()
        .filter(|r| !r.deleting && r.revision != draft.wanted)
        .filter(|r| draft.stable() != Some(&r.revision) && !life::needs(draft, &r.revision))
        .filter(|r| draft.seen.objects.child(&r.revision).is_none_or(is_empty))
        .collect();
    old.sort_by_key(|r| Reverse((r.number, r.created, r.base.name.clone())));
    let limit = usize::try_from(draft.spec.revision_history_limit).unwrap_or(usize::MAX);
    let mut going = Vec::new();
    for revision in old.into_iter().skip(limit) {
        let (kind, base) = match draft.seen.objects.child(&revision.revision) {
            Some(child) => (Kind::Deployment, child.base.clone()),
            None => (Kind::Revision, revision.base.clone()),
        };
        draft.notes.push(format!(
            "revision {} is beyond the history limit",
            revision.revision
        ));
        going.push(Write::Delete { kind, base });
    }
    let remembered = going.len();
    going.extend(
        forgotten(draft)
            .filter(|child| is_empty(child))
            .map(|child| Write::Delete {
                kind: Kind::Deployment,
                base: child.base.clone(),
            }),
    );
    if going.len() > remembered && !draft.seen.answers.revisions_live {
        // Its ControllerRevision may only not have been seen yet.
        return Halt::ask(Question::Revisions);
    }
    draft.writes.extend(going);
    Ok(())
}

fn is_empty(child: &ChildFacts) -> bool {
    child.replicas == 0 && child.status_replicas == 0
}
