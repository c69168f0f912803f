//! What ready pods can carry, where stable's pods follow the weight (`stablePods: Shrink`).
//!
//! Requests and pods go together, a little at a time: more requests come when pods for them are
//! ready, and pods go when their requests have left. All requests need as many pods as the floor.
//! So it is forward, and so it is back.

use jiff::Timestamp;

use super::{
    facts::{self, RouteFacts},
    known::{LATE_AFTER, is_ready, is_settled, read, settle, told, weighed},
};
use crate::{
    api::traffic::WeightStatus,
    plan::{
        course::Active,
        draft::{Draft, later},
        replicas::Bounds,
        services,
        waiting::SLOW_SECONDS,
    },
};

/// The highest weight of a route: all requests are a Service's to move.
const MOST: i32 = 99;

/// Fewest ready pods that may have all requests.
#[must_use]
pub fn whole(bounds: Bounds) -> i32 {
    bounds.floor.max(1)
}

/// Percent of the requests that so many pods may be given.
#[must_use]
pub fn takes(pods: i32, whole: i32) -> i32 {
    percent(pods, whole).0.min(100)
}

/// Percent of the requests that so many pods may be left with: rounded up, as a percent is the
/// finest that a route knows.
#[must_use]
pub(crate) fn keeps(pods: i32, whole: i32) -> i32 {
    let (percent, rest) = percent(pods, whole);
    (percent + i32::from(rest)).min(100)
}

/// Fewest pods that may be left with so many percent of the requests.
#[must_use]
pub fn needs(share: i32, whole: i32) -> i32 {
    let product = i64::from(share - 1) * i64::from(whole);
    match share {
        ..=0 => 0,
        _ => i32::try_from(product / 100 + 1).unwrap_or(i32::MAX),
    }
}

fn percent(pods: i32, whole: i32) -> (i32, bool) {
    let (product, whole) = (i64::from(pods.max(0)) * 100, i64::from(whole.max(1)));
    let percent = i32::try_from(product / whole).unwrap_or(i32::MAX - 1);
    (percent, product % whole != 0)
}

/// How often pods of stable are waited for in an undo, and for how many seconds their requests
/// besides, each time.
pub(in crate::plan) fn way_back(draft: &Draft<'_>, stable: i32, new: i32) -> Option<(i64, i64)> {
    let spec = draft.spec.traffic.as_ref().filter(|_| shrinks(draft))?;
    let rounds = rounds(draft.bounds(), draft.spec.replicas, stable, new);
    Some((rounds, settle(&spec.routes)))
}

/// Times that pods of stable are waited for until it is whole again, beside a revision that has so
/// many: each time those that the ceiling has room for.
#[must_use]
pub(crate) fn rounds(bounds: Bounds, total: i32, mut stable: i32, mut other: i32) -> i64 {
    let whole = whole(bounds);
    let mut rounds = 0;
    while stable < total {
        other = other.min(needs(100 - keeps(stable, whole), whole));
        let room = (bounds.ceiling - other - stable).max(1);
        stable = (stable + room).min(total);
        rounds += 1;
    }
    rounds
}

/// Requests and pods that go together.
struct Pace<'d> {
    /// Towards the new revision, and not back.
    forward: bool,
    new: &'d str,
    stable: &'d str,
    /// The revision that the Service of users leads to.
    users: &'d str,
    /// The revision that the other Service leads to.
    other: &'d str,
    whole: i32,
}

/// Stable has fewer pods than all requests need, or may have.
pub(in crate::plan) fn shrinks(draft: &Draft<'_>) -> bool {
    draft.course.shrinks || told(draft).is_some_and(|told| told.shrinks)
}

fn pace<'d>(draft: &'d Draft<'_>) -> Option<Pace<'d>> {
    if !shrinks(draft) || draft.seen.objects.services.unread.is_some() {
        return None;
    }
    let (stable, [users, other]) = (draft.stable()?, services::lead(draft)?);
    let release = draft.status.release.as_ref();
    let forward = release.is_some_and(|r| r.step().is_some());
    // Without a release there may still be one to come back from, of which nothing is on record.
    let mut led = [other, users].into_iter();
    let new = match release.filter(|r| forward || r.undo().is_some()) {
        Some(release) => &release.revision,
        None => led.find(|revision| *revision != stable)?,
    };
    Some(Pace {
        forward,
        new,
        stable,
        users,
        other,
        whole: whole(draft.bounds()),
    })
}

impl Pace<'_> {
    fn ready_stable(&self, draft: &Draft<'_>) -> i32 {
        services::available(draft, self.stable)
    }

    fn ready_new(&self, draft: &Draft<'_>) -> i32 {
        services::available(draft, self.new)
    }

    /// Percent that the pods of the new revision may be given on the way to its step.
    fn rises(&self, draft: &Draft<'_>) -> Option<i32> {
        let (release, target, weight) = weighed(draft)?;
        let aim = weight.min(MOST);
        if is_ready(draft, release, target) {
            return Some(aim);
        }
        let ready = self.ready_new(draft);
        // Where the step asks for fewer pods than its weight needs, so it is on the way.
        let by_step = i64::from(aim) * i64::from(ready) / i64::from(target.canary.max(1));
        let by_step = i32::try_from(by_step).unwrap_or(aim);
        Some(takes(ready, self.whole).max(by_step).min(aim))
    }

    /// Further pods of the new revision start, or can: a route is told once for all of them, unless
    /// they take long.
    fn has_room(&self, draft: &Draft<'_>, target: i32) -> bool {
        let children = draft.seen.objects.children.iter();
        let asked: i32 = children.filter(|c| !c.deleting).map(|c| c.replicas).sum();
        let release = draft.status.release.as_ref();
        let waited = release.map_or(0, |r| r.unreached.elapsed(draft.now, Timestamp::MIN));
        let (asked_new, ready) = (services::asked(draft, self.new), self.ready_new(draft));
        let more = asked < draft.bounds().ceiling && asked_new < target;
        ready < target && waited < SLOW_SECONDS && (more || ready < asked_new)
    }

    /// The routes do not follow, and an undo waits for them no longer.
    fn is_late(&self, draft: &Draft<'_>) -> bool {
        let late = |told: &WeightStatus| {
            !is_settled(draft, told) && later(told.since.0, LATE_AFTER) <= draft.now
        };
        !self.forward && told(draft).is_some_and(late)
    }
}

/// What the routes are to be told, where stable's pods follow: `None` if they do not.
pub(super) fn wanted(draft: &Draft<'_>) -> Option<Option<i32>> {
    let pace = pace(draft)?;
    Some(match pace.forward {
        true => wanted_forward(draft, &pace),
        false => wanted_back(draft, &pace),
    })
}

fn wanted_forward(draft: &Draft<'_>, pace: &Pace<'_>) -> Option<i32> {
    let known = told(draft).map(|told| told.canary);
    let told = from(draft);
    let Some((release, target, weight)) = weighed(draft) else {
        // The steps have lost their weights: it goes back by those that it had.
        return known;
    };
    if pace.users == pace.new {
        return known.map(|_| 0);
    }
    if target.active == Active::Canary && pace.ready_new(draft) >= pace.whole {
        // A Service gives it all of them.
        return known;
    }
    let aim = weight.min(MOST);
    let wanted = match aim < told {
        true => aim.max(told.min(100 - keeps(pace.ready_stable(draft), pace.whole))),
        false if pace.has_room(draft, target.canary) => told,
        false => told.max(pace.rises(draft).unwrap_or(0)),
    };
    let says = known.is_some() || wanted > 0 || is_ready(draft, release, target);
    says.then_some(wanted)
}

/// Back: a weight only falls while users are led to stable. Where they are led to the new revision,
/// stable is what comes, behind the other Service.
fn wanted_back(draft: &Draft<'_>, pace: &Pace<'_>) -> Option<i32> {
    let known = told(draft).map(|_| from(draft));
    let ready = pace.ready_stable(draft);
    if pace.users == pace.other {
        return known.map(|_| 0);
    }
    if pace.users == pace.stable {
        let least = 100 - keeps(ready, pace.whole);
        let seen = highest_seen(draft).unwrap_or(MOST);
        return known.map(|told| told.min(least).min(seen));
    }
    // A person may have made stable what nobody is led to yet: no route leads there then.
    if ready >= pace.whole || pace.other != pace.stable {
        return known;
    }
    Some(known.unwrap_or(0).max(takes(ready, pace.whole)).min(MOST))
}

/// The weight from which it goes on: what was told, or, where no route has had that yet, what they
/// have, as pods for it may be gone by now.
fn from(draft: &Draft<'_>) -> i32 {
    told(draft).map_or(0, |told| match highest_seen(draft) {
        Some(seen) if !told.seen => seen,
        _ => told.canary,
    })
}

/// The highest share that a route is seen to send to the Service of the new revision.
fn highest_seen(draft: &Draft<'_>) -> Option<i32> {
    let found = |route: &RouteFacts| route.found.clone().ok();
    let found: Option<Vec<_>> = read(draft)?.iter().map(found).collect();
    let found = found?;
    let rules = found.iter().flat_map(|found| &found.rules);
    rules.map(facts::Pair::share).max()
}

/// Fewest pods that a revision may be left with for the requests that it gets; nothing where no
/// Service leads to it, or pods do not follow the weight.
pub(in crate::plan) fn needed(draft: &Draft<'_>, revision: &str) -> Option<i32> {
    let pace = pace(draft)?;
    let (users, other) = (pace.users == revision, pace.other == revision);
    if !users && !other {
        return None;
    }
    let told = told(draft);
    if told.is_some_and(|told| !is_settled(draft, told)) {
        // Which of two weights holds is not known.
        let gives_up = pace.is_late(draft) && revision != pace.stable;
        return Some(if gives_up { 1 } else { i32::MAX });
    }
    let weight = told.map_or(0, |told| told.canary);
    let share = match (users, other) {
        (true, true) => 100,
        (true, false) => 100 - weight,
        _ => weight,
    };
    let needs = needs(share, pace.whole);
    let by_step = weighed(draft).filter(|_| pace.forward && revision == pace.new);
    let by_step = by_step.map_or(needs, |(_, target, weight)| {
        let product = i64::from(share) * i64::from(target.canary);
        let weight = i64::from(weight.max(1));
        i32::try_from((product + weight - 1) / weight).unwrap_or(needs)
    });
    Some(needs.min(by_step).max(1))
}

/// The Service of the new revision may lead back to stable, with the requests that come by it.
pub(in crate::plan) fn may_lead_back(draft: &Draft<'_>) -> bool {
    let Some(pace) = pace(draft) else {
        return true;
    };
    let told = told(draft);
    let settled = told.is_none_or(|told| is_settled(draft, told));
    let told = told.map_or(0, |told| told.canary);
    let weight = told.max(highest_seen(draft).unwrap_or(0));
    let stable = pace.ready_stable(draft);
    let new = services::counted(draft, pace.other);
    let enough = match pace.users == pace.stable {
        true => weight == 0 && settled || stable >= pace.whole,
        false => stable >= pace.whole || settled && takes(stable, pace.whole) >= weight,
    };
    enough || new == 0 || pace.is_late(draft) && stable >= new
}

/// All users may be led to fewer pods than the floor, away from so many.
pub(in crate::plan) fn may_lead_to_few(draft: &Draft<'_>, there: i32, here: i32) -> bool {
    let late = |pace: &Pace<'_>| here == 0 || pace.is_late(draft);
    there >= here && pace(draft).as_ref().is_none_or(late)
}

/// The share that the Service of the new revision may bring it, where pods follow the weight.
pub(super) fn most(draft: &Draft<'_>) -> Option<i32> {
    let pace = pace(draft)?;
    match pace.users == pace.new {
        true => Some(100),
        false => pace.rises(draft),
    }
}

/// Whether both revisions serve users, where pods follow the weight.
pub(super) fn share_users(draft: &Draft<'_>) -> Option<bool> {
    let pace = pace(draft)?;
    Some(match pace.forward {
        true => weighed(draft).is_some() && pace.users != pace.new,
        false => pace.users != pace.other,
    })
}

/// Percent of the requests that the new revision gets, of those that the routes were told.
pub(super) fn of_new(draft: &Draft<'_>, told: i32) -> i32 {
    match pace(draft) {
        Some(pace) if pace.users == pace.new => 100 - told,
        _ => told,
    }
}

/// Pods wait for routes that do not follow, and not the other way round.
pub(super) fn waits_for_routes(draft: &Draft<'_>) -> bool {
    let Some(pace) = pace(draft) else {
        return false;
    };
    let late = |told: &WeightStatus| {
        !is_settled(draft, told) && later(told.since.0, LATE_AFTER) <= draft.now
    };
    pace.users != pace.new && told(draft).is_some_and(late)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_pods_may_be_given_and_be_left_with() {
        assert_eq!((takes(2, 6), keeps(2, 6)), (33, 34));
        assert_eq!((takes(6, 6), keeps(6, 6)), (100, 100));
        assert_eq!((takes(8, 6), keeps(0, 6)), (100, 0));
        assert_eq!((needs(0, 6), needs(33, 6), needs(34, 6)), (0, 2, 2));
        assert_eq!((needs(35, 6), needs(100, 6), needs(1, 6)), (3, 6, 1));
    }

    #[test]
    fn the_way_back_is_as_long_as_there_is_room() {
        let bounds = |floor, ceiling| Bounds { floor, ceiling };
        assert_eq!(rounds(bounds(6, 10), 8, 8, 2), 0, "stable is whole");
        assert_eq!(rounds(bounds(6, 10), 8, 6, 2), 1);
        assert_eq!(
            rounds(bounds(6, 10), 8, 4, 4),
            1,
            "what they have goes at once"
        );
        assert_eq!(rounds(bounds(6, 10), 8, 0, 8), 2);
        assert_eq!(rounds(bounds(7, 8), 8, 0, 8), 8, "a pod at a time");
    }

    proptest! {
        /// As many pods as the floor, however they are shared out, can carry all requests, and of
        /// those that are more one may go: so both ways come to an end.
        #[test]
        fn there_is_always_a_way_on(whole in 1..500_i32, few in 0..500_i32, more in 1..20_i32) {
            let few = few.min(whole);
            let given = takes(few, whole);
            prop_assert!(needs(100 - given, whole) <= whole - few);
            let left = 100 - keeps(few, whole);
            prop_assert!(needs(left, whole) <= whole - few);
            prop_assert!(left <= takes(whole - few, whole));
            let bounds = Bounds { floor: whole, ceiling: whole + more };
            prop_assert!(rounds(bounds, whole, few, whole + more - few) <= i64::from(whole));
        }

        #[test]
        fn no_fewer_pods_than_a_share_needs(whole in 1..500_i32, share in 1..=100_i32) {
            let pods = needs(share, whole);
            prop_assert!(keeps(pods, whole) >= share);
            prop_assert!(keeps(pods - 1, whole) < share);
        }
    }
}
