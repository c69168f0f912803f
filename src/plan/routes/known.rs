//! What the routes were told, and what was read of them.

use super::facts::{Found, RouteFacts};
use crate::{
    api::{
        release::Release,
        traffic::{RouteKind, RouteRef, WeightStatus},
    },
    plan::{
        course::Target,
        draft::{Draft, later},
        waiting,
    },
};

/// Seconds after its controllers have taken a weight until requests follow it.
pub(crate) const SETTLES_WITHIN: i64 = 2;

/// The same of a kind of route that reports nothing: after it was written.
pub(crate) const UNREPORTED_WITHIN: i64 = 5;

/// Seconds after which it is said that a route does not follow.
pub(super) const PATIENCE: i64 = 60;

/// Seconds between two looks at routes that are on their way, and at those that have a weight.
pub(super) const LOOKS_EVERY: (i64, i64) = (1, 10);

/// Seconds for which routes must be at rest until they are forgotten: a write that nobody has
/// answered has arrived by then, or never will.
pub(super) const RESTS_FOR: i64 = 60;

/// After so many changes by somebody else a weight is not written again, for a while.
pub(super) const RESETS: i32 = 3;

/// Seconds after which it is tried again.
pub(super) const TRIES_AGAIN_AFTER: i64 = 300;

/// What the routes were told last.
pub(super) fn told<'d>(draft: &'d Draft<'_>) -> Option<&'d WeightStatus> {
    draft.status.traffic.as_ref()?.weight.as_ref()
}

/// The state in which a release stands that shares users by weight.
pub(super) fn weighed<'d>(draft: &'d Draft<'_>) -> Option<(&'d Release, &'d Target, i32)> {
    let release = draft.status.release.as_ref().filter(|r| !r.first)?;
    let target = draft.course.near(release.step()?)?;
    Some((release, target, target.weight?))
}

pub(super) fn read<'d>(draft: &'d Draft<'_>) -> Option<&'d [RouteFacts]> {
    draft.seen.answers.routes.as_deref()
}

/// The new revision has the pods that its step asks for.
pub(super) fn is_ready(draft: &Draft<'_>, release: &Release, target: &Target) -> bool {
    let objects = &draft.seen.objects;
    objects.child(&release.revision).is_some()
        && objects.available(&release.revision) >= target.canary
        || waiting::is_made_up(draft, release, target.canary)
}

/// A route that sends so many percent of the requests to the Service of the new revision.
pub(super) fn shows(found: &Found, canary: i32) -> bool {
    let mut rules = found.rules.iter();
    rules.all(|rule| rule.canary.value == canary && rule.stable.value == 100 - canary)
}

/// Routes have not followed for so long that it is said.
pub(super) fn is_late(draft: &Draft<'_>, told: &WeightStatus) -> bool {
    told.accepted.is_none() && later(told.since.0, PATIENCE) <= draft.now
}

pub(super) fn names(routes: &[RouteRef]) -> String {
    let names: Vec<String> = routes.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Seconds for which an undo waits for routes, where it waits for them at all.
pub(super) const LATE_AFTER: i64 = 10;

/// Seconds after which requests follow it.
pub(super) fn settle(routes: &[RouteRef]) -> i64 {
    let mut routes = routes.iter();
    match routes.any(|route| route.kind == RouteKind::VirtualService) {
        true => UNREPORTED_WITHIN,
        false => SETTLES_WITHIN,
    }
}

/// Requests follow it by now.
pub(super) fn is_settled(draft: &Draft<'_>, told: &WeightStatus) -> bool {
    let accepted = told.accepted.as_ref();
    accepted.is_some_and(|at| later(at.0, settle(&told.routes)) <= draft.now)
}
