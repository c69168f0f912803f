//! What the routes are told, and since when they are seen to do it: how that is put on record.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    carry,
    facts::{self, Found, RouteFacts, Unusable},
    known::{
        LOOKS_EVERY, RESETS, RESTS_FOR, TRIES_AGAIN_AFTER, is_late, is_ready, is_settled, names,
        read, settle, shows, told, weighed,
    },
};
use crate::{
    api::traffic::{RouteRef, WeightStatus},
    plan::{
        course::Active,
        draft::{Draft, later, whole_second},
        reason::Reason,
        services,
    },
};

/// Percent of the requests that the routes are to send to the Service of the new revision; nothing
/// where they are left as they are.
fn wanted(draft: &Draft<'_>) -> Option<i32> {
    if let Some(wanted) = carry::wanted(draft) {
        return wanted;
    }
    let told = told(draft).map(|told| told.canary);
    let Some((release, target, weight)) = weighed(draft) else {
        return told.map(|_| 0);
    };
    if target.active == Active::Canary {
        // The Service of users leads there by then, and both do: any weight comes to the same.
        let led = services::leads_users_to(draft, &release.revision);
        return told.map(|told| if led { 0 } else { told });
    }
    // More requests come when there are pods for them.
    if weight > told.unwrap_or(0) && !is_ready(draft, release, target) {
        return told;
    }
    Some(weight)
}

/// Puts on record what the routes are to do, and since when they are seen to do it. It forbids
/// nothing, so it is written beside whatever else is.
pub(in crate::plan) fn note(draft: &mut Draft<'_>) {
    if draft.status.traffic.is_none() {
        return;
    }
    let Some(wanted) = wanted(draft) else {
        return;
    };
    let now = Time(whole_second(draft.now.max(draft.seen.looked)));
    let mut next = asked(draft, wanted, &now);
    take_in(draft, &mut next, &now);
    say(draft, &next);
    let forgotten = has_rested(draft, &next);
    if !forgotten {
        let at = look_again(draft, &next);
        draft.wake(at);
    }
    if let Some(traffic) = &mut draft.status.traffic {
        traffic.weight = (!forgotten).then_some(next);
    }
}

/// What is put on record where it is not known what the routes of the spec were told: that they are
/// to be at rest.
pub(in crate::plan) fn to_be_at_rest(draft: &Draft<'_>, now: Time) -> Option<WeightStatus> {
    let routes = draft.spec.traffic.as_ref().map(|t| t.routes.clone());
    Some(WeightStatus {
        shrinks: draft.course.shrinks,
        former: 100,
        ..told_anew(routes.filter(|routes| !routes.is_empty())?, 0, now)
    })
}

fn told_anew(routes: Vec<RouteRef>, canary: i32, since: Time) -> WeightStatus {
    WeightStatus {
        routes,
        canary,
        former: 0,
        since,
        seen: false,
        accepted: None,
        resets: 0,
        shrinks: false,
    }
}

/// What is asked of the routes from now on.
fn asked(draft: &Draft<'_>, wanted: i32, now: &Time) -> WeightStatus {
    let known = told(draft);
    let mut next = match known.filter(|told| told.canary == wanted) {
        Some(told) => told.clone(),
        None => {
            let asked = || Some(&draft.spec.traffic.as_ref()?.routes);
            let routes = known.map(|told| &told.routes).or_else(asked);
            let routes = routes.cloned().unwrap_or_default();
            let since = known.and_then(|told| unheard(draft, told));
            WeightStatus {
                former: known.map_or(0, |told| followed(draft, told)),
                ..told_anew(routes, wanted, since.unwrap_or_else(|| now.clone()))
            }
        }
    };
    // What stable was made to give away it lacks until it has come back, whatever the spec says.
    next.shrinks = draft.course.shrinks
        || known.is_some_and(|told| told.shrinks)
            && draft
                .stable()
                .is_some_and(|stable| services::available(draft, stable) < draft.spec.replicas);
    if next.resets >= RESETS && !is_contested(draft, &next) {
        (next.resets, next.since) = (0, now.clone());
    }
    next
}

/// The highest percent that requests may follow by now.
fn followed(draft: &Draft<'_>, told: &WeightStatus) -> i32 {
    match is_settled(draft, told) {
        true => told.canary,
        false => told.canary.max(told.former),
    }
}

/// Since when an undo has told routes that have followed nothing of it: it does not wait anew for each
/// weight.
fn unheard(draft: &Draft<'_>, told: &WeightStatus) -> Option<Time> {
    let undoes = draft.status.release.as_ref()?.undo()?;
    let unheard = told.accepted.is_none() && told.since.0 >= undoes.since.0;
    unheard.then(|| told.since.clone())
}

/// What the routes are seen to do.
fn take_in(draft: &Draft<'_>, next: &mut WeightStatus, now: &Time) {
    let Some(read) = read(draft) else {
        return;
    };
    let found: Vec<&Found> = read.iter().filter_map(|r| r.found.as_ref().ok()).collect();
    let shown = found.iter().all(|f| shows(f, next.canary));
    // What is not there sends nobody anywhere; of what cannot be read nothing is known.
    let is_known = |route: &RouteFacts| {
        let why = route.found.as_ref().err();
        why.is_none_or(Unusable::leads_nowhere)
    };
    if !read.iter().all(is_known) {
        next.accepted = None;
    } else if next.seen && !shown {
        next.resets += 1;
        next.since = now.clone();
        (next.seen, next.accepted) = (false, None);
    } else if shown {
        next.seen = true;
        if next.accepted.is_none() && found.iter().all(|f| f.accepted) {
            next.accepted = Some(now.clone());
        }
    }
    let shares = found.iter().flat_map(|f| &f.rules).map(facts::Pair::share);
    let former = shares.max().unwrap_or(0).max(next.former);
    next.former = if former > next.canary { former } else { 0 };
}

/// Says once that a share of the requests goes to the new revision.
fn say(draft: &mut Draft<'_>, next: &WeightStatus) {
    let same = told(draft).filter(|told| told.canary == next.canary);
    let news = next.accepted.is_some() && same.is_none_or(|told| told.accepted.is_none());
    let release = draft.status.release.as_ref();
    if let Some(release) = release.filter(|_| news && next.canary > 0) {
        let words = format!(
            "{}% of the requests go to revision {}, through {}",
            carry::of_new(draft, next.canary),
            release.revision,
            names(&next.routes)
        );
        draft.inform(Reason::TrafficWeighted, words);
    }
}

/// Nothing is in motion, and the routes have been at rest for so long that nothing is to be
/// remembered of them.
fn has_rested(draft: &Draft<'_>, next: &WeightStatus) -> bool {
    let accepted = next.accepted.as_ref();
    let rested = accepted.is_some_and(|at| later(at.0, RESTS_FOR) <= draft.now);
    rested && draft.status.release.is_none() && read(draft).is_some()
}

/// When the routes are looked at again.
fn look_again(draft: &Draft<'_>, next: &WeightStatus) -> Timestamp {
    match (&next.accepted, next.canary, draft.status.release.is_some()) {
        (None, ..) if is_contested(draft, next) || is_late(draft, next) => {
            draft.in_seconds(LOOKS_EVERY.1)
        }
        (None, ..) => draft.in_seconds(LOOKS_EVERY.0),
        (Some(at), 0, false) => later(at.0, RESTS_FOR).max(draft.in_seconds(LOOKS_EVERY.0)),
        (Some(at), ..) => match later(at.0, settle(&next.routes)) {
            settled if settled > draft.now => settled,
            _ => draft.in_seconds(LOOKS_EVERY.1),
        },
    }
}

/// Somebody else has changed the weights so often that they are left alone.
pub(super) fn is_contested(draft: &Draft<'_>, told: &WeightStatus) -> bool {
    told.resets >= RESETS && later(told.since.0, TRIES_AGAIN_AFTER) > draft.now
}
