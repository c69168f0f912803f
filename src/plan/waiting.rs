//! Pods that are waited for: which merely start, which are late, which have no room yet.

use jiff::Timestamp;

use super::{
    decision::Wait,
    draft::{Draft, later, seconds_between},
    facts::{PodFacts, Refused},
    mover,
    reason::Reason,
};
use crate::api::{release::Release, status::Stopwatch};

/// Seconds in which no pod is late.
const LEAST_PATIENCE: i64 = 60;
/// Seconds after the time by which a pod should be gone in which it still counts as ending.
const SLACK: i64 = 30;
/// Pods that a message names.
const NAMED: usize = 3;

/// Seconds after which a target that is not reached is worth small moves.
pub(super) const SLOW_SECONDS: i64 = 30;

/// Why time without the target is nobody's delay.
pub(super) struct Excuse {
    /// In a word.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// When it ends by itself, if it does.
    until: Option<Timestamp>,
}

impl Excuse {
    /// It is waited for.
    pub fn wait(self) -> Wait {
        let wait = Wait::held(self.reason, self.message);
        match self.until {
            Some(until) => wait.wake(until),
            None => wait,
        }
    }
}

/// Whether pods of this revision are missing for something that is nobody's delay.
pub(super) fn excuse(draft: &Draft<'_>, revision: &str) -> Option<Excuse> {
    // What is ending on a node that says nothing does not end.
    for_nodes(draft, revision).or_else(|| for_room(draft, revision))
}

/// A single replica has no canary without surge. An autoscaler may make it one at any time, so that
/// is said by the release, and no rule stands in the way of its scaling.
pub(super) fn for_surge(draft: &Draft<'_>) -> Option<Wait> {
    draft.stable()?;
    let target = draft.course.beyond_its_bounds()?;
    let words = format!(
        "step {} needs {} pods, but strategy.maxSurge permits {}: with one replica, a canary \
         needs a surge pod. Set maxSurge to 1, scale to 2 or more, or set strategy.type: Rolling, \
         which stops the old pod first",
        target.name,
        target.canary + target.stable,
        draft.bounds().ceiling
    );
    Some(Wait::stalled(Reason::SurgeNeeded, words))
}

/// Seconds that a pod of this revision is given to become ready: twice what half of those that did
/// needed, a minute at least, and the progress deadline at most.
pub(super) fn patience(draft: &Draft<'_>, revision: &str) -> i64 {
    let most = draft.spec.strategy.progress_deadline_seconds;
    let pods = draft.seen.objects.pods_of(revision);
    let ready = pods.filter_map(|pod| Some(seconds_between(pod.since(), pod.ready_since?)));
    let mut needed: Vec<i64> = ready.collect();
    needed.sort_unstable();
    match needed.get(needed.len() / 2) {
        Some(median) => (2 * median).max(LEAST_PATIENCE).min(most),
        None => most,
    }
}

/// Pods of this revision that are not ready.
fn unready<'d>(draft: &'d Draft<'_>, revision: &'d str) -> impl Iterator<Item = &'d PodFacts> {
    let pods = draft.seen.objects.pods_of(revision);
    pods.filter(|pod| pod.ready_since.is_none())
}

/// When the next pod of this revision that is not ready yet will be late.
pub(super) fn next_late(draft: &Draft<'_>, revision: &str) -> Option<Timestamp> {
    let patience = patience(draft, revision);
    let times = unready(draft, revision).map(|pod| later(pod.since(), patience));
    times.filter(|at| *at > draft.now).min()
}

/// A pod of this revision that is not ready so many seconds after it could start.
fn has_waited(draft: &Draft<'_>, revision: &str, seconds: i64) -> bool {
    unready(draft, revision).any(|pod| later(pod.since(), seconds) <= draft.now)
}

/// What the revision in motion lacks of its target are few pods that merely start: of those that
/// may be unavailable its share, none of them late. Where pods are lost all the time, more can
/// never be had at once. Before the target is held for the first time, all that was asked for must
/// have had its time.
pub(super) fn is_made_up(draft: &Draft<'_>, release: &Release, target: i32) -> bool {
    let revision = &release.revision;
    let Some(child) = draft.seen.objects.child(revision) else {
        return false;
    };
    let may_lack = draft.bounds().may_lack(target, draft.spec.replicas);
    let mut refusals = draft.seen.refusals.iter();
    if target - draft.seen.objects.available(revision) > may_lack
        || child.problem.is_some()
        || refusals.any(|r| r.what == Refused::Scale)
        || excuse(draft, revision).is_some()
    {
        return false;
    }
    let patience = patience(draft, revision);
    let held = release.step().is_some_and(|step| step.reached.is_some());
    let waited = release.unreached.elapsed(draft.now, Timestamp::MIN);
    (held || waited >= patience) && !has_waited(draft, revision, patience)
}

/// Everybody is served, and pods of the revision come up: it lacks others that are lost again and
/// again, which is not its fault.
pub(super) fn goes_on(draft: &Draft<'_>, revision: &str) -> bool {
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let served = mover::assured(&draft.seen.objects.children) >= draft.bounds().floor;
    let mut pods = draft.seen.objects.pods_of(revision);
    // One that is ready again after it was not is no news.
    let came_up =
        pods.any(|pod| pod.ready_since.is_some() && later(pod.since(), limit) > draft.now);
    served && came_up && !has_waited(draft, revision, limit)
}

/// Pods of this revision wait for the room of others of this Rollout that are ending.
fn for_room(draft: &Draft<'_>, revision: &str) -> Option<Excuse> {
    let placeless = unready(draft, revision).filter(|pod| pod.unschedulable.is_some());
    let placeless = placeless.count();
    let problem = draft.seen.objects.child(revision)?.problem.is_some();
    if placeless == 0 && !problem {
        return None;
    }
    let all = draft.seen.objects.pods.iter();
    let ending = all.filter_map(|pod| Some((&pod.name, pod.ends_by?)));
    let mut ending: Vec<_> = ending
        .filter(|(_, by)| later(*by, SLACK) > draft.now)
        .collect();
    ending.sort();
    let until = ending.iter().map(|(_, by)| *by).max()?;
    let names = named(ending.iter().map(|(name, _)| name.as_str()));
    let who = match placeless {
        0 => format!("pods of revision {revision} wait"),
        1 => format!("1 pod of revision {revision} waits"),
        many => format!("{many} pods of revision {revision} wait"),
    };
    Some(Excuse {
        reason: Reason::WaitingForRoom,
        message: format!(
            "{who} for the room of pods that are ending: {names}, \
             until {until:.0} at the latest; that time is not counted as delay"
        ),
        until: Some(later(until, SLACK)),
    })
}

/// The pods that this revision lacks, or stable where it lacks none, are on nodes that say nothing,
/// or have no place while such a node is there. One that does not get ready elsewhere is late by
/// itself.
fn for_nodes(draft: &Draft<'_>, revision: &str) -> Option<Excuse> {
    let silent = silent(draft);
    let says_nothing = |pod: &PodFacts| silent.iter().any(|other| other.node == pod.node);
    let mut lacking: Vec<_> = unready(draft, revision).collect();
    if lacking.is_empty() {
        lacking.extend(unready(draft, draft.stable()?));
    }
    let mut ways = lacking.iter();
    let problem = draft.seen.objects.child(revision)?.problem.is_some();
    if problem || lacking.is_empty() || !ways.all(|p| p.node.is_none() || says_nothing(p)) {
        return None;
    }
    // The node of what is missing; where that has no place yet, any.
    let of_lacking = |pod: &&&PodFacts| lacking.iter().any(|lacks| lacks.node == pod.node);
    let told = silent.iter().find(of_lacking).or_else(|| silent.first());
    let (since, node) = told.and_then(|pod| Some((pod.silent?, pod.node.as_ref()?)))?;
    let of_it = silent.iter().filter(|pod| pod.node.as_ref() == Some(node));
    let names = named(of_it.map(|pod| pod.name.as_str()));
    let unplaced = lacking.iter().find_map(|p| {
        let words = p.unschedulable.as_ref()?;
        Some(format!("; pod {} has no node: {words}", p.name))
    });
    let unplaced = unplaced.unwrap_or_default();
    Some(Excuse {
        reason: Reason::WaitingForNode,
        message: format!(
            "node {node} has not reported since {since:.0}, and its pods do not count as ready \
             ({names}): see kubectl describe node {node}; that time is not counted as delay{unplaced}"
        ),
        until: None,
    })
}

/// Pods of this Rollout whose node says nothing, the one for the longest time first.
fn silent<'d>(draft: &'d Draft<'_>) -> Vec<&'d PodFacts> {
    let pods = draft.seen.objects.pods.iter();
    let mut silent: Vec<_> = pods.filter(|p| !p.deleting && p.silent.is_some()).collect();
    silent.sort_by_key(|pod| (pod.silent, &pod.node, &pod.name));
    silent
}

/// The first of these names, and how many more there are.
fn named<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names[..names.len().min(NAMED)].join(", "))
}

/// Why pods of a revision are not available: in the words of whoever knows; else which of them is
/// late, or that they merely start.
pub(super) fn why(draft: &Draft<'_>, revision: &str) -> Option<String> {
    if let Some(words) = draft.why_not_available(revision) {
        return Some(words);
    }
    let patience = patience(draft, revision);
    // In the order of age, so that the words stay the same while nothing changes.
    let oldest = unready(draft, revision).min_by_key(|pod| (pod.since(), &pod.name))?;
    let name = &oldest.name;
    if let Some(lost) = oldest.lost {
        return Some(format!(
            "pod {name} stopped being ready at {lost:.0}: look at its readiness probe and its log"
        ));
    }
    Some(if later(oldest.since(), patience) <= draft.now {
        format!(
            "pod {name} runs but does not become ready: look at its readiness probe and its log"
        )
    } else {
        format!("pod {name} has been starting since {:.0}", oldest.since())
    })
}

/// "17 of 20 pods of revision v2 are available"; of stable, where it is what lacks pods.
pub(super) fn share(draft: &Draft<'_>, revision: &str) -> String {
    let targets = draft.targets();
    let of = |revision: &str| {
        let target = targets.get(revision).copied().unwrap_or(0);
        (draft.seen.objects.available(revision), target)
    };
    let lacks = |revision: &&str| {
        let (available, target) = of(revision);
        available < target
    };
    let who = [Some(revision), draft.stable()].into_iter().flatten();
    let who = who.clone().find(lacks).unwrap_or(revision);
    let (available, target) = of(who);
    format!("{available} of {target} pods of revision {who} are available")
}

/// The Deployment has all its pods, and they have not been seen ready themselves: whoever sees late is not
/// to say that they are.
pub(super) fn for_sight(draft: &Draft<'_>, revision: &str) -> Option<Wait> {
    let target = draft.targets().get(revision).copied()?;
    let child = draft.seen.objects.child(revision)?;
    let seen = draft.seen.objects.available(revision);
    if !child.current || child.available < target || seen >= target {
        return None;
    }
    let message = format!(
        "Deployment {} counts {} pods as available, and {seen} have been seen ready: see in the \
         operator's log whether its watch of Pods works",
        child.base.name, child.available
    );
    Some(Wait::held(Reason::NotObserved, message))
}

/// A change that the Deployment controller has not looked at: what nobody acts on is not late.
pub(super) fn for_its_controller(draft: &Draft<'_>) -> Option<Wait> {
    let mut children = draft.seen.objects.children.iter();
    let child = children.find(|child| !child.deleting && !child.current)?;
    let message = format!(
        "Deployment {} was changed, and the Deployment controller has not looked at it since: see \
         whether kube-controller-manager runs",
        child.base.name
    );
    Some(Wait::held(Reason::NotObserved, message))
}

/// Whether time in which a target is not reached is delay: it stands still while there is an
/// excuse, and does not begin before somebody acts. Says whether that changed.
pub(super) fn watch(draft: &Draft<'_>, unreached: &mut Stopwatch, revision: &str) -> bool {
    if excuse(draft, revision).is_some() {
        unreached.stop(draft.now, draft.seen.trusted_since)
    } else if for_its_controller(draft).is_some() {
        false
    } else {
        unreached.start(draft.now)
    }
}
