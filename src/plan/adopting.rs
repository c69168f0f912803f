//! A running Deployment that is moved in: it counts as the stable revision, and only its replicas
//! are written.

use std::collections::BTreeMap;

use super::{
    decision::{Decided, Decision, Halt, Wait},
    draft::Draft,
    facts::{
        Adoptee, ChildFacts, DeploymentFacts, Objects, Observed, PodFacts, Question, RolloutFacts,
    },
    intent::Write,
    reason::Reason,
};
use crate::api::{AdoptedStatus, RolloutStatus, keys};

/// Begins the name by which an adopted Deployment is called where a revision's hash stands
/// otherwise. No hash has a slash.
const PREFIX: &str = "deployment/";

/// Seconds between two looks at what stands in the way.
const LOOKS_EVERY: i64 = 30;

/// What a Deployment is called as a revision.
#[must_use]
pub fn revision_of(deployment: &str) -> String {
    format!("{PREFIX}{deployment}")
}

/// The Deployment that a revision is, if it is one.
#[must_use]
pub(crate) fn deployment_of(revision: &str) -> Option<&str> {
    revision.strip_prefix(PREFIX)
}

/// What the names of its pods begin with: as the youngest of its ReplicaSets is called, so that they
/// are told apart from those of others whose names begin alike.
pub(super) fn pod_prefix(draft: &Draft<'_>, deployment: &str) -> String {
    let revision = revision_of(deployment);
    let pods = draft.seen.objects.pods_of(&revision);
    let youngest = pods.max_by_key(|pod| pod.created);
    let set = youngest.and_then(|pod| Some(pod.name.rsplit_once('-')?.0));
    format!("{}-", set.unwrap_or(deployment))
}

/// The adopted Deployment that is stable by this status, if one is.
#[must_use]
pub fn stable(status: &RolloutStatus) -> Option<&str> {
    deployment_of(&status.stable.as_ref()?.revision)
}

/// The Deployment that a Rollout adopts or has adopted.
#[must_use]
pub fn named(rollout: &RolloutFacts) -> Option<&str> {
    let recorded = rollout.status.adopted.as_ref().map(|a| &a.deployment);
    let spec = rollout.spec.as_deref().ok();
    let asked = spec
        .and_then(|spec| spec.adopt.as_ref())
        .map(|a| &a.deployment);
    recorded.or(asked).map(String::as_str)
}

/// Puts the adopted Deployment among the children, where it is one of them: while it is stable, and
/// afterwards until what Stepgate has asked for is gone. Another one of its name is somebody else's.
pub fn join(objects: &mut Objects) {
    if is_another(objects) {
        objects.adopted = Some(Adoptee::Gone);
    }
    let joins = joins(objects).cloned();
    let own = |pod: &PodFacts| deployment_of(&pod.revision).is_none();
    objects.pods.retain(|pod| joins.is_some() || own(pod));
    objects.children.extend(joins);
}

/// The Deployment of the name on record is not the one that was adopted, which is gone.
fn is_another(objects: &Objects) -> bool {
    let recorded = objects.rollout.status.adopted.as_ref();
    let (Some(Adoptee::There(child)), Some(recorded)) = (&objects.adopted, recorded) else {
        return false;
    };
    child.base.name == recorded.deployment && child.base.uid != recorded.uid
}

fn joins(objects: &Objects) -> Option<&ChildFacts> {
    let status = &objects.rollout.status;
    let Some(Adoptee::There(child)) = &objects.adopted else {
        return None;
    };
    let pods = child.replicas > 0 || child.status_replicas > 0;
    let name = &child.base.name;
    let recorded = status.adopted.as_ref();
    let recorded = recorded.is_some_and(|adopted| adopted.deployment == *name);
    let joins = recorded && (stable(status) == Some(name) || child.epoch.is_some() && pods);
    joins.then_some(&**child)
}

/// It is stable, and the Deployments of the namespace have not been listed yet.
pub(super) fn is_awaited(seen: &Observed) -> bool {
    let objects = &seen.objects;
    let unread = matches!(objects.adopted, Some(Adoptee::Unread));
    unread && stable(&objects.rollout.status).is_some()
}

/// What is to be taken over with the first release; nothing where that is a first deployment.
///
/// # Errors
/// What stands in the way, or must be known first.
pub(super) fn takes_over(draft: &Draft<'_>) -> Result<Option<AdoptedStatus>, Halt> {
    let Some(adopt) = draft
        .spec
        .adopt
        .as_ref()
        .filter(|_| draft.stable().is_none())
    else {
        return Ok(None);
    };
    let name = &adopt.deployment;
    let namespace = &draft.seen.objects.rollout.namespace;
    let impossible = |words: String| {
        let words = format!("Deployment {name} cannot be moved in: {words}");
        let wait = Wait::stalled(Reason::AdoptImpossible, words);
        Err(wait.wake(draft.in_seconds(LOOKS_EVERY)).into())
    };
    if let Some(rival) = &draft.seen.objects.rival {
        return impossible(format!(
            "Rollout {rival}, which is older, already adopts it. Remove spec.adopt of one of them"
        ));
    }
    let Some(found) = &draft.seen.answers.deployment else {
        return Halt::ask(Question::Deployment(name.clone()));
    };
    let Some(found) = found else {
        return impossible(format!(
            "namespace {namespace} has none of that name. Correct spec.adopt.deployment, or remove \
             spec.adopt for a first deployment"
        ));
    };
    if let Some(words) = obstacle(draft, found) {
        return impossible(words);
    }
    let child = &found.child;
    if child.replicas == 0 && child.status_replicas == 0 {
        // Nothing runs that could be taken over.
        return Ok(None);
    }
    if found.rolling || !child.current {
        let words = format!(
            "Deployment {name} is moved in when its own rollout has ended: see kubectl rollout \
             status -n {namespace} deployment/{name}"
        );
        let wait = Wait::held(Reason::WaitingForDeployment, words);
        return Err(wait.wake(draft.in_seconds(LOOKS_EVERY)).into());
    }
    let (asked, has) = (draft.spec.replicas, child.replicas);
    if asked < has {
        return impossible(format!(
            "it has {has} replicas, and the Rollout asks for {asked}. Run kubectl scale -n \
             {namespace} rollout/{} --replicas={has}, or scale the Deployment down first",
            draft.name()
        ));
    }
    Ok(Some(AdoptedStatus {
        deployment: name.clone(),
        uid: child.base.uid.clone(),
        replicas: has,
        generation: child.adopted.as_ref().map_or(0, |a| a.generation),
    }))
}

/// What of a Deployment forbids to adopt it, for people.
fn obstacle(draft: &Draft<'_>, found: &DeploymentFacts) -> Option<String> {
    let namespace = &draft.seen.objects.rollout.namespace;
    let name = &found.child.base.name;
    if found.child.deleting {
        return Some("it is being deleted. Wait until it is gone, or remove spec.adopt".into());
    }
    if let Some(label) = &found.labelled {
        return Some(format!(
            "it has the label {}={label}, by which Stepgate tells what it made itself. Run kubectl \
             label -n {namespace} deployment {name} {}-",
            keys::ROLLOUT,
            keys::ROLLOUT
        ));
    }
    if let Some(owner) = &found.owner {
        return Some(format!(
            "it belongs to {owner}, which would set it back. Change that one instead"
        ));
    }
    if found.paused {
        return Some(format!(
            "it is paused. Run kubectl rollout resume -n {namespace} deployment/{name}"
        ));
    }
    let lacks = |wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>| {
        let mut wanted = wanted.iter();
        let lacking = wanted.find(|(key, value)| labels.get(*key) != Some(value));
        lacking.map(|(key, value)| format!("{key}={value}"))
    };
    let ours = &draft.spec.selector;
    if !ours.selects(&found.labels) {
        let label = lacks(&ours.match_labels, &found.labels);
        let label = label.unwrap_or_else(|| ours.to_string());
        return Some(format!(
            "its pods lack {label}, by which spec.selector selects, so a Service would not reach \
             both. Create the Rollout with a selector of labels that its pods have"
        ));
    }
    let theirs = found.selector.as_ref()?;
    if !theirs.selects(draft.spec.labels()) {
        let label = lacks(&theirs.match_labels, draft.spec.labels());
        let label = label.unwrap_or_else(|| theirs.to_string());
        return Some(format!(
            "its selector asks for {label}, which spec.template.metadata.labels lack, so a Service \
             would not reach both. Add it to the template"
        ));
    }
    None
}

/// Puts it on record that the Deployment counts as stable, with the release that replaces it.
pub(super) fn record(decision: &mut Decision, adopted: AdoptedStatus) {
    let name = adopted.deployment.clone();
    let words = format!(
        "Deployment {name} counts as stable with {} replicas; only its replicas are written",
        adopted.replicas
    );
    decision.stable(&revision_of(&name));
    decision.status.adopted = Some(adopted);
    decision.tell(Reason::Adopted, false, words);
}

/// Tells what may be done with the Deployment that a revision has replaced.
pub(super) fn moved_in(draft: &Draft<'_>, decision: &mut Decision, revision: &str) {
    let Some(name) = draft.stable().and_then(deployment_of) else {
        return;
    };
    let namespace = &draft.seen.objects.rollout.namespace;
    let words = format!(
        "revision {revision} has replaced Deployment {name}. Remove it from Git, then run kubectl \
         delete -n {namespace} deployment {name}; spec.adopt may be removed or stay"
    );
    decision.tell(Reason::MovedIn, false, words);
}

/// The adopted Deployment among the children.
pub(super) fn child<'d>(draft: &Draft<'d>) -> Option<&'d ChildFacts> {
    let mut children = draft.seen.objects.children.iter();
    children.find(|child| child.adopted.is_some() && !child.deleting)
}

/// Somebody else has written its replicas since they were last in order: they are left alone.
pub(super) fn is_contested(status: &RolloutStatus, child: &ChildFacts) -> bool {
    let recorded = status.adopted.as_ref().map_or(0, |a| a.generation);
    let adopted = child.adopted.as_ref();
    adopted.is_some_and(|a| a.generation > recorded) && child.epoch.is_none()
}

/// Replicas that the adopted Deployment is to have by what is on record.
fn target(draft: &Draft<'_>, child: &ChildFacts) -> i32 {
    draft.targets().get(&child.revision).copied().unwrap_or(0)
}

/// What is to be said where somebody else writes its replicas, and these are not what is asked for.
pub(super) fn contested(draft: &Draft<'_>) -> Option<Wait> {
    let child = child(draft)?;
    let target = target(draft, child);
    if !is_contested(&draft.status, child) || child.replicas == target {
        return None;
    }
    let (name, has) = (&child.base.name, child.replicas);
    let writer = writer(child);
    let namespace = &draft.seen.objects.rollout.namespace;
    let words = format!(
        "{writer} has set the replicas of Deployment {name} to {has}, but it needs {target}. \
         Stepgate does not overwrite that. Remove spec.replicas of that Deployment from Git and from \
         its autoscaler, then run kubectl scale -n {namespace} deployment/{name} --replicas={target}"
    );
    Some(Wait::stalled(Reason::AdoptedContested, words))
}

fn writer(child: &ChildFacts) -> &str {
    let adopted = child.adopted.as_ref();
    adopted
        .and_then(|a| a.writer.as_deref())
        .unwrap_or("somebody")
}

/// Another revision is stable, and somebody has raised it again, or made it anew.
pub(super) fn raised_again(draft: &Draft<'_>) -> Option<Wait> {
    let Some(Adoptee::There(child)) = &draft.seen.objects.adopted else {
        return None;
    };
    let name = &child.base.name;
    let left = stable(&draft.status).is_none();
    if !left || child.replicas == 0 || child.deleting || child.epoch.is_some() {
        return None;
    }
    let stable = draft.stable()?;
    let namespace = &draft.seen.objects.rollout.namespace;
    let words = format!(
        "{} has set the replicas of Deployment {name} to {}, though stable {stable} has replaced \
         it: its pods serve beside those of stable. Remove it from Git and from its autoscaler, then \
         run kubectl delete -n {namespace} deployment {name}",
        writer(child),
        child.replicas
    );
    Some(Wait::stalled(Reason::AdoptedContested, words))
}

/// What the record must say before anything else: the Deployment is gone, somebody has set its
/// replicas to what they are to be, or nothing is left to remember.
pub(super) fn decide(draft: &Draft<'_>) -> Decided {
    let Some(adopted) = &draft.status.adopted else {
        return Ok(None);
    };
    let gone = matches!(draft.seen.objects.adopted, Some(Adoptee::Gone));
    if gone && stable(&draft.status).is_some() {
        return is_gone(draft, adopted);
    }
    if gone && draft.status.release.is_none() && draft.stable().is_some() {
        let mut decision = draft.decision().note("the adopted Deployment is deleted");
        decision.status.adopted = None;
        return decision.made();
    }
    let Some(child) = child(draft) else {
        return Ok(None);
    };
    if is_contested(&draft.status, child) && child.replicas == target(draft, child) {
        let words = format!(
            "{} has set the replicas of {} to what they are to be",
            writer(child),
            child.base.name
        );
        let mut decision = draft.decision().note(words);
        accept(draft, &mut decision);
        return decision.made();
    }
    Ok(None)
}

/// What somebody else has written of its replicas is known from here on: they may be written again.
pub(super) fn accept(draft: &Draft<'_>, decision: &mut Decision) {
    let generation = child(draft).and_then(|c| Some(c.adopted.as_ref()?.generation));
    if let (Some(adopted), Some(generation)) = (&mut decision.status.adopted, generation) {
        adopted.generation = generation;
    }
}

/// Somebody deleted the Deployment while it was stable. There is nothing to go back to: what runs of
/// the Rollout's own goes on as a first deployment.
fn is_gone(draft: &Draft<'_>, adopted: &AdoptedStatus) -> Decided {
    let name = &adopted.deployment;
    let again = match &draft.seen.answers.deployment {
        None => return Halt::ask(Question::Deployment(name.clone())),
        Some(Some(found)) if found.child.base.uid == adopted.uid => {
            let wait = match &found.labelled {
                Some(label) => unseen(draft, name, label),
                // The caches have not seen it yet.
                None => Wait::until(draft.in_seconds(2)),
            };
            return Err(wait.into());
        }
        Some(Some(_)) => " (somebody has made another of that name, which is left alone)",
        Some(None) => "",
    };
    let mut decision = draft.decision();
    decision.status.stable = None;
    decision.status.adopted = None;
    let goes_on = match &mut decision.status.release {
        // The spec may ask for it again; nothing takes its pods meanwhile.
        Some(release) if release.undo().is_some() => {
            let undo = release.undo().cloned();
            let release = release.clone();
            if let Some(undo) = undo {
                let mut ended = draft.ends(&release, undo.outcome, &undo.reason, &undo.message);
                ended.status.stable = None;
                ended.status.adopted = None;
                decision = ended;
            }
            "its undo ends, and its pods stay as they are"
        }
        Some(release) => {
            release.first = true;
            "the release continues as a first deployment; no rollback is possible"
        }
        None => "there is nothing to roll back to",
    };
    let words = format!("Deployment {name} was deleted while it was stable{again}: {goes_on}");
    decision.warning(Reason::AdoptedGone, words).made()
}

/// It is not watched while it carries the label by which own Deployments are told: nothing can be
/// counted, so nothing moves.
fn unseen(draft: &Draft<'_>, name: &str, label: &str) -> Wait {
    let namespace = &draft.seen.objects.rollout.namespace;
    let key = keys::ROLLOUT;
    let words = format!(
        "somebody gave Deployment {name}, which counts as stable, the label {key}={label}, by which \
         Stepgate tells what it made itself: it is not watched, and nothing moves until the label is \
         gone. Run kubectl label -n {namespace} deployment {name} {key}-"
    );
    Wait::stalled(Reason::AdoptedLabelled, words).wake(draft.in_seconds(LOOKS_EVERY))
}

/// Whether the Rollout has the finalizer that gives the replicas back.
pub(super) fn is_held(rollout: &RolloutFacts) -> bool {
    rollout.finalizers.iter().any(|one| one == keys::ADOPTING)
}

/// The finalizer comes before the first pod goes, and goes when the Deployment is stable no longer.
pub(super) fn hold(draft: &Draft<'_>) -> Option<Write> {
    let rollout = &draft.seen.objects.rollout;
    let adopts = stable(&draft.status).is_some();
    // A status that was lost is rebuilt first.
    let settled = draft.stable().is_some();
    if adopts == is_held(rollout) || !settled || draft.is_undoing() {
        return None;
    }
    let others = rollout
        .finalizers
        .iter()
        .filter(|one| *one != keys::ADOPTING);
    let mut finalizers: Vec<String> = others.cloned().collect();
    finalizers.extend(adopts.then(|| keys::ADOPTING.to_owned()));
    Some(Write::Finalize {
        base: rollout.base.clone(),
        finalizers,
    })
}

/// Replicas that may not be moved: those that somebody else writes, and none go before they could be
/// given back.
pub(super) fn pin(draft: &Draft<'_>, targets: &mut BTreeMap<String, i32>) {
    let Some(child) = child(draft) else { return };
    let target = targets.entry(child.revision.clone()).or_default();
    if is_contested(&draft.status, child) {
        *target = child.replicas;
    } else if stable(&draft.status).is_some() && !is_held(&draft.seen.objects.rollout) {
        *target = child.replicas.max(*target);
    }
}

/// Whether it may be written at all.
pub(super) fn is_free(draft: &Draft<'_>, child: &ChildFacts) -> bool {
    child.adopted.is_none() || !is_contested(&draft.status, child)
}

/// The write of a child's replicas.
pub(super) fn scale(child: &ChildFacts, epoch: i64, from: i32, to: i32) -> Write {
    let base = child.base.clone();
    match child.adopted {
        None => Write::Scale {
            base,
            from,
            to,
            template: child.template.clone(),
        },
        Some(_) => Write::Resize {
            base,
            epoch,
            from,
            to,
            settles: from == to,
        },
    }
}

/// The write that fences it.
pub(super) fn fence(child: &ChildFacts, epoch: i64) -> Write {
    Write::Resize {
        base: child.base.clone(),
        epoch,
        from: child.replicas,
        to: child.replicas,
        settles: false,
    }
}

/// An overlap that is none: the Deployment that was moved in, at 0.
pub(super) fn is_moved_in(draft: &Draft<'_>, deployment: &str, empty: bool) -> bool {
    let adopts = stable(&draft.status) == Some(deployment);
    let first = draft.stable().is_none();
    named(&draft.seen.objects.rollout) == Some(deployment) && (adopts || first || empty)
}
