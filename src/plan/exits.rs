//! Containers that end by themselves while their revision goes out: once, and again and again.

use jiff::Timestamp;

use super::{
    draft::{Draft, later},
    facts::PodFacts,
    reason::Reason,
};
use crate::api::release::{Release, Stage, Why};

/// Restarts of a pod's containers that are a crash loop, before the kubelet calls it one.
const CRASH_RESTARTS: i32 = 3;
/// Seconds after which a restart is forgotten, as the kubelet's own back-off is.
const CRASH_WINDOW: i64 = 600;

/// Seconds after such an end in which the revision gets nothing more. Its kubelet starts a
/// container again at once, the first time, and the pod is soon ready again: what ends right after
/// its start has by then ended once more, and is a crash loop.
pub const STEADY_SECONDS: i64 = 10;

/// Seconds without such an end before a step is left, or its hold if that is shorter. It is no
/// longer than that, for of many pods one ends now and then.
const PROVEN_SECONDS: i64 = 60;

/// Pods of the revision that die again and again.
pub(super) fn crash_loop(draft: &Draft<'_>, release: &Release) -> Option<Why> {
    let looping: Vec<&PodFacts> = draft
        .seen
        .objects
        .pods_of(&release.revision)
        .filter(|pod| {
            let backs_off = pod
                .waiting
                .as_ref()
                .is_some_and(|(r, _)| r == "CrashLoopBackOff");
            let lately = pod
                .ended
                .is_some_and(|at| later(at, CRASH_WINDOW) > draft.now);
            backs_off || (pod.restarts >= CRASH_RESTARTS && lately && !release.first)
        })
        .collect();
    let first = looping.first()?;
    let words = first
        .waiting
        .as_ref()
        .map(|(_, words)| format!(": {words}"))
        .unwrap_or_default();
    let words = format!(
        "{} of its pods keep crashing, {} after {} restarts{words}",
        looping.len(),
        first.name,
        first.restarts
    );
    Some(Why::new(Reason::CrashLooping, words))
}

/// A container of the revision in motion has ended.
pub(super) struct Ended {
    /// When that was long enough ago, unless another ends.
    pub until: Timestamp,
    /// What happened, for people.
    pub message: String,
}

/// Seconds without an end that a step of this hold asks for before it is left.
#[must_use]
pub fn proof(hold_seconds: i64) -> i64 {
    hold_seconds.clamp(STEADY_SECONDS, PROVEN_SECONDS)
}

/// The last end of a container of the revision in motion within so many seconds. Where there is no
/// stable revision to stay with, none counts.
pub(super) fn ended_within(draft: &Draft<'_>, seconds: i64) -> Option<Ended> {
    let release = draft.status.release.as_ref()?;
    if release.first || !matches!(release.stage, Stage::Step(_)) {
        return None;
    }
    let ends = draft.seen.objects.pods_of(&release.revision);
    let ends = ends.filter_map(|pod| Some((pod.ended?, &pod.name)));
    // The time is by the node's clock: one that is far ahead of ours says nothing.
    let recent =
        |at: Timestamp| later(at, seconds) > draft.now && at <= later(draft.now, STEADY_SECONDS);
    let (at, pod) = ends.filter(|(at, _)| recent(*at)).max()?;
    let until = later(at, seconds);
    Some(Ended {
        until,
        message: format!(
            "a container of pod {pod} ended by itself at {at:.0}; the revision goes on {seconds} \
             seconds after the last such end"
        ),
    })
}
