//! The routes of `spec.traffic`: how many of the requests the new revision gets.
//!
//! No weight can hurt anybody, whoever wrote it: both Services always lead to pods that serve. So a
//! route is told late and asked seldom, and neither a pod nor an undo ever waits for one: the
//! Services lead users back. Routes are read live, and only while a release makes use of them.

pub mod carry;
pub mod facts;
mod known;
mod record;

use self::facts::Unusable;
pub use self::facts::{RouteFacts, RoutesAsked};
use self::known::{
    LOOKS_EVERY, TRIES_AGAIN_AFTER, is_late, is_ready, is_settled, names, read, shows, told,
    weighed,
};
use self::record::is_contested;
pub(super) use self::record::{note, to_be_at_rest};
use super::{
    course::{Active, Target},
    decision::{Halt, Wait},
    draft::{Draft, later},
    facts::{Question, Refused},
    intent::Write,
    reason::Reason,
};
use crate::api::traffic::RouteKind;

/// Both revisions serve users, by weight.
pub(super) fn share_users(draft: &Draft<'_>) -> bool {
    let both = |target: &Target| target.active == Active::Both;
    let plain = || weighed(draft).is_some_and(|(_, target, _)| both(target));
    carry::share_users(draft).unwrap_or_else(plain)
}

/// Percent of the requests that the new revision gets by the routes.
pub(super) fn weight(draft: &Draft<'_>) -> Option<i32> {
    let shared = share_users(draft);
    shared.then(|| carry::of_new(draft, told(draft).map_or(0, |told| told.canary)))
}

/// The routes that the spec names are not those that were told something.
pub(super) fn were_changed(draft: &Draft<'_>) -> bool {
    let asked = draft.spec.traffic.as_ref().map(|t| &t.routes);
    told(draft).is_some_and(|told| asked != Some(&told.routes))
}

/// Routes are not known to be at rest.
pub(super) fn are_told(draft: &Draft<'_>) -> bool {
    told(draft).is_some()
}

/// What is to be read.
fn question(draft: &Draft<'_>) -> Option<Question> {
    let spec = draft.spec.traffic.as_ref();
    let routes = match told(draft) {
        Some(told) => &told.routes,
        None => &spec?.routes,
    };
    let [stable, canary] = match (&draft.status.traffic, spec) {
        (Some(known), _) => [&known.stable_service.name, &known.canary_service.name],
        (None, Some(spec)) => [&spec.stable_service, &spec.canary_service],
        (None, None) => return None,
    };
    let asked = RoutesAsked {
        namespace: draft.seen.objects.rollout.namespace.clone(),
        routes: routes.clone(),
        stable: stable.clone(),
        canary: canary.clone(),
    };
    (!routes.is_empty()).then(|| Question::Routes(asked.into()))
}

/// # Errors
/// The routes must be read first.
pub(super) fn are_known(draft: &Draft<'_>) -> Result<(), Halt> {
    match question(draft).filter(|_| read(draft).is_none()) {
        Some(question) => Halt::ask(question),
        None => Ok(()),
    }
}

/// What stands against a release that shares users by weight.
///
/// # Errors
/// What does, or what must be read first.
pub(super) fn are_possible(draft: &Draft<'_>) -> Result<(), Halt> {
    let weighted = draft.course.targets.iter().any(|t| t.weight.is_some());
    if !weighted || draft.stable().is_none() {
        return Ok(());
    }
    are_known(draft)?;
    if let Some(wait) = problem(draft)
        .or_else(|| unrested(draft))
        .or_else(|| untaken(draft))
    {
        return Err(wait.wake(draft.in_seconds(LOOKS_EVERY.1)).into());
    }
    Ok(())
}

/// A route that Stepgate has not told anything, and that is not at rest.
fn unrested(draft: &Draft<'_>) -> Option<Wait> {
    if told(draft).is_some() {
        return None;
    }
    let [stable, canary] = draft.spec.traffic.as_ref()?.own();
    read(draft)?.iter().find_map(|route| {
        let found = route.found.as_ref().ok()?;
        let rests = |rule: &&facts::Pair| rule.stable.value == 100 && rule.canary.value == 0;
        let rule = found.rules.iter().find(|rule| !rests(rule))?;
        let words = format!(
            "{}: {} has weight {} for Service {stable} and {} for {canary}. While nothing is \
             released they must be 100 and 0: set them so on the live route (kubectl edit), and in \
             Git",
            route.asked, rule.rule, rule.stable.value, rule.canary.value
        );
        Some(Wait::stalled(Reason::RouteUnusable, words))
    })
}

/// A route whose controllers have not taken it as it is, before anything is asked of them.
fn untaken(draft: &Draft<'_>) -> Option<Wait> {
    if told(draft).is_some() {
        return None;
    }
    let is_late = |route: &&RouteFacts| route.found.as_ref().is_ok_and(|found| !found.accepted);
    let route = read(draft)?.iter().find(is_late)?;
    let words = format!(
        "{}: not all of its parents have accepted it as it is (Accepted and ResolvedRefs for its \
         generation): look at its status.parents, and whether the gateway's controller runs",
        route.asked
    );
    Some(Wait::held(Reason::RouteNotAccepted, words))
}

/// A route that cannot be told anything.
fn problem(draft: &Draft<'_>) -> Option<Wait> {
    problem_with(draft, |_| true)
}

/// The same, of those for which that matters.
fn problem_with(draft: &Draft<'_>, matters: impl Fn(&Unusable) -> bool) -> Option<Wait> {
    let namespace = &draft.seen.objects.rollout.namespace;
    read(draft)?.iter().find_map(|route| {
        let name = &route.asked;
        let (reason, words) = match route.found.as_ref().err().filter(|why| matters(why))? {
            Unusable::Missing => (
                Reason::RouteUnusable,
                format!(
                    "{name}, which spec.traffic.routes names, does not exist in namespace \
                     {namespace}: create it there"
                ),
            ),
            Unusable::UnknownKind => (
                Reason::RouteUnusable,
                format!(
                    "{name}, which spec.traffic.routes names, is of a kind that this cluster does \
                     not know: install {}",
                    match route.asked.kind {
                        RouteKind::Http | RouteKind::Grpc => "the Gateway API and a gateway for it",
                        RouteKind::VirtualService => "Istio",
                    }
                ),
            ),
            Unusable::Forbidden(words) => (
                Reason::RoutesForbidden,
                format!(
                    "spec.traffic.routes needs the right to read and patch {name} in namespace \
                     {namespace}: set the chart's rbac.routes, or apply deploy/roles/routes.yaml \
                     there ({words})"
                ),
            ),
            Unusable::Unnamed(words) | Unusable::Unfit(words) => {
                (Reason::RouteUnusable, format!("{name}: {words}"))
            }
        };
        Some(Wait::stalled(reason, words))
    })
}

/// Requests are shared as the step asks for, as far as that is the routes' to do.
pub(super) fn are_in_place(draft: &Draft<'_>) -> bool {
    let Some((_, target, weight)) = weighed(draft) else {
        return true;
    };
    if target.active == Active::Canary {
        return true;
    }
    told(draft).is_some_and(|told| told.canary == weight && is_settled(draft, told))
}

/// The Service that routes lead to by weight may select the pods of the new revision: no more of
/// the requests come with that than its step asks for.
pub(super) fn admit(draft: &Draft<'_>) -> bool {
    let Some((release, target, weight)) = weighed(draft) else {
        return true;
    };
    let paced = carry::most(draft);
    if target.active == Active::Canary && paced.is_none_or(|most| most == 100) {
        return true;
    }
    let Some(routes) = read(draft) else {
        return false;
    };
    let unsettled = told(draft).filter(|told| !is_settled(draft, told));
    let follow = unsettled.map_or(0, |told| told.former);
    // Where they send some already, as many pods as the step asks for take them.
    let ready = is_ready(draft, release, target);
    let most = paced.unwrap_or(if ready { weight } else { 0 });
    let fits = |share: i32| share <= most;
    fits(follow)
        && routes.iter().all(|route| match &route.found {
            Ok(found) => found.accepted && found.rules.iter().all(|rule| fits(rule.share())),
            Err(why) => why.leads_nowhere(),
        })
}

/// Routes are seen to send more to the Service of the new revision than the step asks for: somebody
/// else has written that.
pub(super) fn exceed(draft: &Draft<'_>) -> bool {
    let Some((_, target, weight)) = weighed(draft) else {
        return false;
    };
    let most = weight.max(told(draft).map_or(0, |told| told.canary));
    let found = read(draft).unwrap_or_default().iter();
    let mut rules = found
        .filter_map(|r| r.found.as_ref().ok())
        .flat_map(|f| &f.rules);
    target.active == Active::Both && rules.any(|rule| rule.share() > most)
}

/// Pods wait for routes that do not follow.
pub(super) fn hold_pods_up(draft: &Draft<'_>) -> bool {
    carry::waits_for_routes(draft)
}

/// Why a step is not reached whose pods are all there, if the routes are why.
pub(super) fn on_the_way(draft: &Draft<'_>) -> Option<Wait> {
    let (release, target, weight) = weighed(draft)?;
    if let Some(wait) = problem(draft) {
        return Some(wait.wake(draft.in_seconds(LOOKS_EVERY.1)));
    }
    let paced = carry::waits_for_routes(draft);
    if target.active == Active::Canary && !paced {
        return None;
    }
    let told = told(draft)?;
    if are_in_place(draft) && !paced {
        return None;
    }
    let weight = if paced { told.canary } else { weight };
    let place = format!("step {}", target.name);
    if is_contested(draft, told) {
        let again = later(told.since.0, TRIES_AGAIN_AFTER);
        let words = format!(
            "{place}: somebody has changed the weights of {} {} times, the last time at {:.0}. \
             Stepgate leaves them for now; any weights are safe for users. Let your GitOps tool \
             ignore the weights (docs/traffic.md); Stepgate writes them again at {again:.0}",
            names(&told.routes),
            told.resets,
            told.since.0
        );
        return Some(Wait::stalled(Reason::RouteContested, words).wake(again));
    }
    let words = format!(
        "{place}: waiting for {} to send {weight}% of the requests to revision {}: {}",
        names(&told.routes),
        release.revision,
        match told.accepted {
            Some(_) => "they follow within seconds",
            None => "the controllers of the route have not reported the weight yet",
        }
    );
    Some(match is_late(draft, told) {
        false => {
            let looks = draft.in_seconds(LOOKS_EVERY.0);
            Wait::held(Reason::Weighing, words).wake(looks)
        }
        true => {
            let words = format!(
                "{words}, since {:.0}. Look at its status.parents, and whether the gateway's \
                 controller runs",
                told.since.0
            );
            let looks = draft.in_seconds(LOOKS_EVERY.1);
            Wait::stalled(Reason::RouteNotAccepted, words).wake(looks)
        }
    })
}

/// The next writes to routes. What is told is on record before.
pub(super) fn carry_out(draft: &mut Draft<'_>) {
    let recorded = draft.seen.objects.rollout.status.traffic.as_ref();
    let recorded = recorded.and_then(|traffic| traffic.weight.as_ref());
    let Some(told) = told(draft).filter(|told| recorded.map(|r| r.canary) == Some(told.canary))
    else {
        return;
    };
    if is_contested(draft, told) {
        return;
    }
    let canary = told.canary;
    let mut writes = Vec::new();
    for route in read(draft).unwrap_or_default() {
        let Ok(found) = &route.found else {
            continue;
        };
        if shows(found, canary) || draft.was_refused(&Refused::Route(route.asked.to_string())) {
            continue;
        }
        let weights = found.rules.iter().flat_map(|rule| {
            [(&rule.stable, 100 - canary), (&rule.canary, canary)]
                .map(|(weight, value)| (weight.pointer.clone(), value))
        });
        writes.push((
            format!("{} sends {canary}% to the canary's Service", route.asked),
            Write::Weigh {
                kind: route.asked.kind.into(),
                base: found.base.clone(),
                weights: weights.collect(),
                canary,
            },
        ));
    }
    for (note, write) in writes {
        draft.notes.push(note);
        draft.writes.push(write);
    }
}

/// What is said at rest of routes that cannot be brought there.
pub(super) fn say_unrestored(draft: &mut Draft<'_>) {
    if draft.status.release.is_none()
        && told(draft).is_some()
        && let Some(wait) = problem_with(draft, |why| !why.leads_nowhere())
    {
        draft.wait_for(wait);
    }
}

/// # Errors
/// The routes must be read, and nothing else is to be done before.
pub(super) fn are_to_be_looked_at(draft: &Draft<'_>) -> Result<(), Halt> {
    if told(draft).is_none() && weighed(draft).is_none() {
        return Ok(());
    }
    are_known(draft)
}
