//! Containers that end by themselves while their revision goes out, and pods that stop being ready
//! while theirs run on: once, and again and again.

use jiff::Timestamp;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::{Draft, later},
    facts::PodFacts,
    reason::Reason,
};
use crate::api::release::{Lost, Release, Stage, Why};

/// Restarts of a pod's containers that are a crash loop, before the kubelet calls it one.
const CRASH_RESTARTS: i32 = 3;
/// Seconds after which a restart is forgotten, as the kubelet's own back-off is.
const CRASH_WINDOW: i64 = 600;

/// Seconds after such an end in which the revision gets nothing more. Its kubelet starts a
/// container again at once, the first time, and the pod is soon ready again: what ends right after
/// its start has by then ended once more, and is a crash loop.
pub(crate) const STEADY_SECONDS: i64 = 10;

/// Seconds without such an end before a step is left, or its hold if that is shorter. It is no
/// longer than that, for of many pods one ends now and then.
const PROVEN_SECONDS: i64 = 60;

/// How often a pod may stop being ready within [`flap_window`] before its revision has failed.
pub(crate) const MOST_LOSSES: usize = 3;
/// Pods whose losses are put on record: the first of them that does it once too often is enough.
const RECORDED_PODS: usize = 10;

/// Seconds within which losses of readiness are counted together: a step's hold, but ten minutes at
/// least and an hour at most.
#[must_use]
pub(crate) fn flap_window(hold_seconds: i64) -> i64 {
    hold_seconds.clamp(CRASH_WINDOW, 3600)
}

/// Puts on record which pods of the revision have stopped being ready. It forbids nothing by
/// itself, so it is no decision.
pub(super) fn note_losses(draft: &mut Draft<'_>) {
    let Some(release) = draft.status.release.as_ref() else {
        return;
    };
    let Stage::Step(at) = &release.stage else {
        return;
    };
    let hold = draft.course.near(&at.step).map_or(0, |t| t.hold_seconds);
    let lately = |lost: &Lost| later(lost.at.0, flap_window(hold)) > draft.now;
    let mut losses = release.lost.clone();
    let pods = draft.seen.objects.pods_of(&release.revision);
    let seen = pods.filter_map(|pod| {
        Some(Lost {
            pod: pod.name.clone(),
            at: Time(pod.lost?),
        })
    });
    let mut seen: Vec<Lost> = seen
        .filter(|lost| lately(lost) && !losses.contains(lost))
        .collect();
    if seen.is_empty() {
        return;
    }
    seen.sort_by(|a, b| (a.at.0, &a.pod).cmp(&(b.at.0, &b.pod)));
    losses.retain(lately);
    for lost in seen {
        let of_it = losses.iter().filter(|l| l.pod == lost.pod).count();
        let mut pods: Vec<&str> = losses.iter().map(|l| l.pod.as_str()).collect();
        pods.sort_unstable();
        pods.dedup();
        if of_it < MOST_LOSSES && (of_it > 0 || pods.len() < RECORDED_PODS) {
            losses.push(lost);
        }
    }
    if let Some(release) = &mut draft.status.release {
        release.lost = losses;
    }
}

/// A pod of the revision that stops being ready again and again. Nodes that are lost do not count:
/// it is its own probes that say so.
pub(super) fn flapping(draft: &Draft<'_>, release: &Release, hold_seconds: i64) -> Option<Why> {
    let window = flap_window(hold_seconds);
    let lately = |lost: &&Lost| later(lost.at.0, window) > draft.now;
    let count = |pod: &str| {
        let losses = release.lost.iter().filter(lately);
        losses.filter(|lost| lost.pod == pod).count()
    };
    let mut pods = release.lost.iter().filter(lately).map(|lost| &lost.pod);
    let pod = pods.find(|pod| count(pod) >= MOST_LOSSES)?;
    let last = release.lost.iter().filter(|lost| lost.pod == *pod);
    let last = last.map(|lost| lost.at.0).max()?;
    let minutes = window / 60;
    let words = format!(
        "pod {pod} stopped being ready {} times within {minutes} minutes, last at {last:.0}, though \
         its containers run: look at its readiness probe and its log",
        count(pod)
    );
    Some(Why::new(Reason::ReadinessLost, words))
}

/// So many pods of the revision stopped being ready within so many seconds; with the last time.
pub(super) fn lost_within(draft: &Draft<'_>, seconds: i64) -> Option<(usize, Timestamp)> {
    let release = draft.status.release.as_ref().filter(|r| !r.first)?;
    let lately = |lost: &&Lost| later(lost.at.0, seconds) > draft.now;
    let losses: Vec<&Lost> = release.lost.iter().filter(lately).collect();
    let mut pods: Vec<&str> = losses.iter().map(|lost| lost.pod.as_str()).collect();
    pods.sort_unstable();
    pods.dedup();
    Some((pods.len(), losses.iter().map(|lost| lost.at.0).max()?))
}

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
pub(super) struct Exit {
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
pub(super) fn ended_within(draft: &Draft<'_>, seconds: i64) -> Option<Exit> {
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
    Some(Exit {
        until,
        message: format!(
            "a container of pod {pod} exited at {at:.0}; the release continues {seconds} seconds \
             after the last exit"
        ),
    })
}
