//! What a recorded decision asks for: children, marks, Jobs, replicas, and their removal.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    draft::Draft,
    exits::{self, STEADY_SECONDS},
    facts::{ChildFacts, Question, Refused, RevisionFacts},
    intent::{Kind, Write},
    mover::{self, Direction},
    render, schema,
};
use crate::api::{
    PhaseKind,
    status::{Outcome, Stage},
};

/// The next writes. Nothing here decides anything that is not on record.
pub(super) fn carry_out(draft: &mut Draft<'_>) {
    let undoing = draft
        .status
        .release
        .as_ref()
        .is_some_and(|r| r.stage == Stage::Undo);
    let records = !refused(draft, Refused::Other);
    if records {
        adopt(draft);
    }
    make_children(draft);
    // The pods of a revision that hurts go first: no record may hold that up.
    if records && !undoing {
        mark(draft);
    }
    if draft.writes.is_empty() {
        expand(draft);
        if !refused(draft, Refused::Scale) {
            scale(draft);
        }
        if records && undoing {
            mark(draft);
        }
        if records && let Some(write) = schema::let_go_of_abandoned(draft) {
            draft.writes.push(write);
        }
        if records && draft.writes.is_empty() && draft.status.release.is_none() {
            forget_old_revisions(draft);
        }
        // Last, so that no read that fails holds up what does not rest on it.
        if draft.writes.is_empty()
            && let Some(name) = schema::to_be_read(draft)
        {
            draft.questions.push(Question::Hold(name));
        }
    }
    say_refused(draft);
}

fn expand(draft: &mut Draft<'_>) {
    let refused = refused(draft, Refused::Job(PhaseKind::Expand)) || refused(draft, Refused::Other);
    if let Some(release) = draft.status.release.clone()
        && release.stage == Stage::Expand
        && !refused
        && let Some(write) = schema::drive(draft, &release)
    {
        draft.writes.push(write);
    }
}

/// Says what the API server refused, unless more is to be said.
fn say_refused(draft: &mut Draft<'_>) {
    let Some(refusal) = draft.seen.refusals.first() else {
        return;
    };
    // It is tried again, whoever may have put it right.
    draft.wake_in(10);
    if draft.obstacle.is_some() {
        return;
    }
    let (reason, what) = match refusal.what {
        Refused::Deployment => ("DeploymentRefused", "a Deployment"),
        Refused::Job(_) => ("JobRefused", "a Job"),
        Refused::Scale => ("ScaleRefused", "to scale a Deployment"),
        Refused::Other => ("WriteRefused", "a write"),
    };
    let message = format!("the API server refuses {what}: {}", refusal.message);
    draft.block(false, reason, message);
}

/// What the API server has refused in this pass is not tried again in it.
fn refused(draft: &Draft<'_>, what: Refused) -> bool {
    draft
        .seen
        .refusals
        .iter()
        .any(|refusal| refusal.what == what)
}

/// Pods run of a revision that nothing remembers, neither a ControllerRevision nor the status:
/// counting on would be guessing.
pub(super) fn memory_lost(draft: &mut Draft<'_>) -> bool {
    let unknown = forgotten(draft).find(|c| c.replicas > 0 || c.status_replicas > 0);
    let Some(name) = unknown.map(|c| c.base.name.clone()) else {
        return false;
    };
    if !draft.seen.answers.revisions_live {
        draft.questions.push(Question::Revisions);
        return true;
    }
    draft.block(
        true,
        "MemoryLost",
        format!(
            "Deployment {name} belongs to a revision whose ControllerRevision is gone: its pods \
             are left as they are. Restore the ControllerRevision, or delete the Deployment"
        ),
    );
    true
}

/// Deployments of revisions that have no ControllerRevision, and that are neither asked for nor
/// stable nor in motion.
fn forgotten<'d>(draft: &'d Draft<'_>) -> impl Iterator<Item = &'d ChildFacts> {
    let in_motion = draft.status.release.as_ref().map(|r| r.revision.as_str());
    draft.seen.objects.children.iter().filter(move |child| {
        let revision = child.revision.as_str();
        let named = [Some(draft.wanted.as_str()), draft.stable(), in_motion];
        !child.deleting
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
        if child.owner_uid.as_ref() != Some(&rollout.base.uid) {
            let owner = serde_json::json!([render::owned_by_rollout(rollout)]);
            draft.writes.push(Write::Adopt {
                kind: Kind::Deployment,
                base: child.base.clone(),
                owner,
            });
        }
    }
}

/// The ControllerRevision and Deployment of each revision that is to run, or may have to.
fn make_children(draft: &mut Draft<'_>) {
    let seen = draft.seen;
    let mut needed: Vec<String> = draft.stable().map(str::to_owned).into_iter().collect();
    needed.extend(
        draft
            .status
            .release
            .as_ref()
            .filter(|r| r.stage != Stage::Undo)
            .map(|r| r.revision.clone()),
    );
    for name in needed {
        let Some(revision) = seen.objects.revision(&name) else {
            // Only the spec can say what a revision is that nothing remembers.
            if name == draft.wanted && !refused(draft, Refused::Other) {
                let manifest = render::revision(&seen.objects.rollout, &draft.spec, &name);
                draft
                    .notes
                    .push(format!("revision {name} is put on record"));
                draft.writes.push(Write::Create {
                    kind: Kind::Revision,
                    manifest,
                });
            }
            continue;
        };
        if seen.objects.child(&name).is_none() && !refused(draft, Refused::Deployment) {
            let manifest =
                render::deployment(&seen.objects.rollout, &draft.spec, revision, seen.epoch);
            draft.notes.push(format!(
                "Deployment of revision {name} is made, at 0 replicas"
            ));
            draft.writes.push(Write::Create {
                kind: Kind::Deployment,
                manifest,
            });
        }
    }
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
    if let Some(release) = draft
        .status
        .release
        .as_ref()
        .filter(|r| r.revision == *name)
    {
        if let Some(undo) = &release.undo {
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

/// Replicas towards the targets, through the mover.
fn scale(draft: &mut Draft<'_>) {
    let mut targets = draft.targets();
    let made = |(revision, target): (&String, &i32)| {
        *target == 0 || draft.seen.objects.child(revision).is_some()
    };
    if targets.is_empty() || !targets.iter().all(made) {
        return;
    }
    hold_back(draft, &mut targets);
    let undoing = draft
        .status
        .release
        .as_ref()
        .is_some_and(|r| r.stage == Stage::Undo);
    let direction = if undoing {
        Direction::Back
    } else {
        Direction::Forward
    };
    let by_name: BTreeMap<&str, i32> = targets.iter().map(|(r, n)| (r.as_str(), *n)).collect();
    let moves = mover::moves(
        &draft.seen.objects.children,
        &by_name,
        draft.bounds(),
        direction,
    );
    if moves.is_empty() {
        return;
    }
    if fence(draft) {
        return;
    }
    for step in moves {
        if let Some(child) = draft
            .seen
            .objects
            .children
            .iter()
            .find(|c| c.base.uid == step.uid)
        {
            draft.notes.push(step.note);
            draft.writes.push(Write::Scale {
                base: child.base.clone(),
                from: step.from,
                to: step.to,
            });
        }
    }
}

/// What keeps a revision in motion from getting more, though its step asks for it.
///
/// While it waits for a person, or its Deployment was changed by hand, stable keeps its share.
/// While containers of it end by themselves, stable keeps every single pod: what was ready a
/// moment ago may be gone the next.
fn hold_back(draft: &mut Draft<'_>, targets: &mut BTreeMap<String, i32>) {
    let Some(release) = draft.status.release.clone() else {
        return;
    };
    if release.first || release.stage != Stage::Step || release.undo.is_some() {
        return;
    }
    let Some(canary) = draft.seen.objects.child(&release.revision) else {
        return;
    };
    let ended = exits::ended_within(draft, STEADY_SECONDS);
    if ended.is_none() && release.paused.is_none() && !canary.edited {
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
        if draft.obstacle.is_none() && release.paused.is_none() {
            draft.block(false, "Unsteady", ended.message);
        }
    }
}

/// Before anything else every child carries this leadership's epoch, so that no late write of a
/// deposed leader can add to ours. Says whether that is still to be written.
pub(super) fn fence(draft: &mut Draft<'_>) -> bool {
    let stale: Vec<_> = draft
        .seen
        .objects
        .children
        .iter()
        .filter(|c| !c.deleting && c.epoch != Some(draft.seen.epoch))
        .map(|child| Write::Fence {
            kind: Kind::Deployment,
            base: child.base.clone(),
            epoch: draft.seen.epoch,
        })
        .collect();
    let open = !stale.is_empty();
    draft.writes.extend(stale);
    open
}

/// Revisions beyond the history limit go, the oldest first: the Deployment, then what remembers
/// it. So do Deployments without pods that nothing remembers.
fn forget_old_revisions(draft: &mut Draft<'_>) {
    let mut old: Vec<&RevisionFacts> = draft
        .seen
        .objects
        .revisions
        .iter()
        .filter(|r| !r.deleting && r.revision != draft.wanted)
        .filter(|r| draft.stable() != Some(&r.revision))
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
        draft.questions.push(Question::Revisions);
        return;
    }
    draft.writes.extend(going);
}

fn is_empty(child: &ChildFacts) -> bool {
    child.replicas == 0 && child.status_replicas == 0
}
