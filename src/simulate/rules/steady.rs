//! What has just ended by itself proves nothing by being ready again.

use jiff::Timestamp;

use super::left::Left;
use crate::{
    api::release::{Lost, Release},
    plan::exits::{self, STEADY_SECONDS},
    simulate::{
        ledger::{Arrival, Happened},
        world::World,
    },
};

/// A pod that stopped being ready too often within so many seconds, by what is on record.
fn flaps_on_record(release: &Release, now: Timestamp, window: i64) -> Option<&str> {
    let lately = |lost: &&Lost| now.duration_since(lost.at.0).as_secs() < window;
    let count = |pod: &str| {
        let losses = release.lost.iter().filter(lately);
        losses.filter(|lost| lost.pod == pod).count()
    };
    let mut pods = release.lost.iter().map(|lost| lost.pod.as_str());
    pods.find(|pod| count(pod) >= exits::MOST_LOSSES)
}

/// *steady* – after a container of the revision in motion ended by itself, the revision gets no
/// more pods for ten seconds and stable keeps what it has; no step is left for a minute, or for
/// its hold if that is shorter, but by a person, or by its deadline if the step says so. Nor is one left
/// by a revision of which a pod stopped being ready again and again.
pub(super) fn steady(world: &World, happened: &Happened) -> Result<(), String> {
    if let Some(left) = Left::of(world, happened)
        && !left.release.first
        && !left.promoted(world)
        && !left.waived(left.arrival.trust.clock)
        && let seconds = exits::proof(left.target.hold_seconds)
        && let Some(at) = ended_within(seconds, left.arrival, &left.release.revision)
    {
        let (name, revision) = (&left.status.name, &left.release.revision);
        return Err(format!(
            "step {name} is left, and a container of {revision} ended at {at}"
        ));
    }
    if let Some(left) = Left::of(world, happened)
        && !left.release.first
        && !left.promoted(world)
        && let window = exits::flap_window(left.target.hold_seconds)
        && let Some(pod) = flaps_on_record(left.release, left.arrival.trust.clock, window)
    {
        let name = &left.status.name;
        return Err(format!(
            "step {name} is left, and {pod} stopped being ready again and again"
        ));
    }
    let Some((arrival, before, after)) = happened.scaled() else {
        return Ok(());
    };
    let status = arrival.on_record.status.as_deref();
    let Some((status, release)) = status.and_then(|s| Some((s, s.release.as_ref()?))) else {
        return Ok(());
    };
    if release.first || release.step().is_none() {
        return Ok(());
    }
    let stable = status.stable.as_ref().map(|s| s.revision.as_str());
    let given = *after.revision == *release.revision && after.replicas > before.replicas;
    let taken = stable == Some(&*after.revision) && after.replicas < before.replicas;
    match ended_within(STEADY_SECONDS, arrival, &release.revision) {
        Some(at) if given || taken => Err(format!(
            "{} is scaled {} -> {}, and a container of {} ended at {at}",
            after.meta.name, before.replicas, after.replicas, release.revision
        )),
        _ => Ok(()),
    }
}

/// *waits* – while a release waits for a person, or its Deployment was changed by hand, the
/// revision in motion gets no more pods.
pub(super) fn waits(_: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.scaled() else {
        return Ok(());
    };
    let status = arrival.on_record.status.as_deref();
    let Some(release) = status.and_then(|s| s.release.as_ref()) else {
        return Ok(());
    };
    let given = *after.revision == *release.revision && after.replicas > before.replicas;
    if release.first || release.step().is_none() || !given {
        return Ok(());
    }
    let seen = arrival.seen.as_ref();
    let edited = seen.is_some_and(|s| s.children.get(&after.meta.name).is_some_and(|c| c.edited));
    if edited || release.paused().is_some() {
        return Err(format!(
            "{} is scaled {} -> {}, and {}",
            after.meta.name,
            before.replicas,
            after.replicas,
            if edited {
                "somebody changed its template"
            } else {
                "its release waits for a person"
            },
        ));
    }
    Ok(())
}

/// When a container of the revision last ended within so many seconds, as far as the sender could
/// know.
fn ended_within(seconds: i64, arrival: &Arrival, revision: &str) -> Option<Timestamp> {
    let now = arrival.trust.clock;
    let pods = arrival.seen.as_ref()?.pods.iter();
    let ends = pods.filter(|pod| *pod.revision == *revision);
    let ends = ends.filter_map(|pod| pod.ended);
    // A time that is far ahead of his clock tells him nothing.
    let recent = |at: &Timestamp| {
        let ago = now.duration_since(*at).as_secs();
        -STEADY_SECONDS < ago && ago < seconds
    };
    ends.filter(recent).max()
}
