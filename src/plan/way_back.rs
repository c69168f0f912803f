//! What an undo would do now: the rollback plan, on the Rollout before it is needed.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    draft::{Draft, seconds_between},
    floor::why_not_back,
    reason::Reason,
    release::former_stables,
    routes::carry,
};
use crate::api::{PhaseKind, WayBack, release::Release, text::bounded};

/// Seconds to which a time is rounded up that nobody knows better.
const ABOUT: i64 = 5;

/// What an undo would do now.
pub(super) fn now(draft: &Draft<'_>) -> Option<WayBack> {
    let mut way = match &draft.status.release {
        Some(release) => of_release(draft, release),
        None => at_rest(draft)?,
    };
    let record = draft.seen.objects.database.as_ref().map(|d| &d.record);
    way.floor = record.and_then(|record| record.undo_floor);
    for obstacle in &mut way.obstacles {
        *obstacle = bounded(obstacle);
    }
    // Nothing but its time would be new.
    if let Some(known) = &draft.status.undo {
        let at = std::mem::replace(&mut way.at, known.at.clone());
        if way != *known {
            way.at = at;
        }
    }
    Some(way)
}

fn from(draft: &Draft<'_>, revision: &str, to: Option<&str>) -> WayBack {
    WayBack {
        at: Time(draft.now),
        from: revision.to_owned(),
        to: to.map(str::to_owned),
        starts: None,
        stops: None,
        about_seconds: None,
        expanded: None,
        floor: None,
        obstacles: Vec::new(),
    }
}

fn at_rest(draft: &Draft<'_>) -> Option<WayBack> {
    let stable = draft.stable()?;
    let former = former_stables(draft).into_iter().next();
    let mut way = from(draft, stable, former.as_deref());
    way.obstacles.extend(match &former {
        Some(former) => why_not_back(draft, former),
        None => Some("there is no former stable revision".to_owned()),
    });
    Some(way)
}

fn of_release(draft: &Draft<'_>, release: &Release) -> WayBack {
    let mut way = from(draft, &release.revision, draft.stable());
    let (possible, _, words) = possible(draft);
    if !possible {
        way.obstacles.push(words);
    }
    let objects = &draft.seen.objects;
    if let Some(stable) = draft.stable() {
        let pods = |revision: &str| objects.child(revision).map_or(0, |c| c.replicas);
        let starts = (draft.spec.replicas - pods(stable)).max(0);
        (way.starts, way.stops) = (Some(starts), Some(pods(&release.revision)));
        // Where none of it runs any more, the others are the same program, or nearly.
        let paced = carry::way_back(draft, pods(stable), pods(&release.revision));
        let about = |revision: &str| about(draft, revision, starts, paced);
        way.about_seconds = about(stable).or_else(|| about(&release.revision));
        let refused = objects.child(stable).and_then(|c| c.problem.clone());
        way.obstacles.extend(refused.filter(|_| starts > 0));
        way.obstacles.extend(why_not_back(draft, stable));
    }
    let record = objects.database.as_ref().map(|d| &d.record);
    let phases = record.into_iter().flat_map(|record| &record.phases);
    let applied = phases.filter(|p| p.phase == PhaseKind::Expand && p.succeeded);
    way.expanded = applied.filter_map(|p| p.version).max();
    way
}

/// About how long so many pods take to start, from what those of a revision took that run.
fn about(draft: &Draft<'_>, revision: &str, starts: i32, paced: Option<(i64, i64)>) -> Option<i64> {
    let pods = draft.seen.objects.pods_of(revision);
    let mut took: Vec<_> = pods
        .filter_map(|pod| Some(seconds_between(pod.since(), pod.ready_since?)))
        .collect();
    took.sort_unstable();
    let usual = *took.get(took.len() / 2)?;
    // Readiness that was lost and came back tells nothing of a start.
    let limit = draft.spec.strategy.progress_deadline_seconds;
    if starts == 0 || usual > limit {
        return None;
    }
    let bounds = draft.bounds();
    let at_once = (bounds.ceiling - bounds.floor).max(1);
    let rounds = i64::from((starts + at_once - 1) / at_once);
    let (rounds, besides) = paced.unwrap_or((rounds, 0));
    let seconds = (rounds * (usual + besides)).max(1);
    Some((seconds + ABOUT - 1) / ABOUT * ABOUT)
}

/// Whether stable could come back: the condition `UndoPossible`.
pub(super) fn possible(draft: &Draft<'_>) -> (bool, Reason, String) {
    let obstacle = draft.wait.obstacle.as_ref();
    if let Some(missing) = obstacle.filter(|o| o.reason == Reason::UndoImpossible) {
        return (false, Reason::Missing, missing.message.clone());
    }
    let Some(stable) = draft.stable() else {
        let words = "no revision has been stable yet".to_owned();
        return (false, Reason::NoStable, words);
    };
    let mut release = draft.status.release.iter();
    if let Some(release) = release.find(|release| release.without_undo) {
        let words = format!(
            "a person let revision {} continue although something that stable revision {stable} \
             needs is gone",
            release.revision
        );
        return (false, Reason::Missing, words);
    }
    let child = draft.seen.objects.child(stable);
    match child.filter(|c| c.edited) {
        Some(child) => {
            let words = format!(
                "somebody changed the template of Deployment {}: what would be returned to is not \
                 revision {stable}",
                child.base.name
            );
            (false, Reason::ChildEdited, words)
        }
        None => match not_checked(draft) {
            Some(words) => (true, Reason::NotChecked, words),
            None => {
                let words = format!("revision {stable} can be returned to");
                (true, Reason::StableKept, words)
            }
        },
    }
}

/// That something which stable needs was not looked for.
fn not_checked(draft: &Draft<'_>) -> Option<String> {
    let release = draft.status.release.as_ref()?;
    let names = &release.not_checked;
    if names.is_empty() {
        return None;
    }
    // As they are called in the list: by their kind first.
    let of = |kind: &str| names.iter().any(|name| name.starts_with(kind));
    let mut ways = Vec::new();
    if of("ConfigMap ") {
        ways.push("rbac.getConfigMaps of the chart, or deploy/roles/config-maps.yaml");
    }
    if of("Secret ") {
        ways.push("rbac.getSecrets of the chart");
    }
    Some(format!(
        "to roll back to revision {}, {} must exist, but the operator has no right to check. \
         Grant it with {}",
        draft.stable()?,
        names.join(", "),
        ways.join("; ")
    ))
}

/// The same without what changes with every pod: only this is worth a write of its own.
pub(super) fn essence(way: &mut WayBack) {
    way.at = Time(Timestamp::UNIX_EPOCH);
    (way.starts, way.stops, way.about_seconds) = (None, None, None);
    way.obstacles.truncate(1);
    way.obstacles.iter_mut().for_each(String::clear);
}

/// In a sentence.
#[must_use]
pub(crate) fn sentence(way: &WayBack) -> String {
    let WayBack { from, to, .. } = way;
    let Some(to) = to else {
        let why = way.obstacles.first().map_or("", String::as_str);
        return format!("a rollback from {from} is not possible: {why}");
    };
    let mut words = format!("an undo rolls back from {from} to {to}");
    if let (Some(starts), Some(stops)) = (way.starts, way.stops) {
        let _ = write!(words, ": it starts {} and stops {stops}", pods(starts));
    }
    if let Some(seconds) = way.about_seconds {
        let _ = write!(words, ", in about {seconds} s");
    }
    if let Some(version) = way.expanded {
        let _ = write!(words, "; schema version {version} stays applied");
    }
    if let Some(floor) = way.floor {
        let _ = write!(
            words,
            "; no revision below schema version {floor} can be restored"
        );
    }
    for obstacle in &way.obstacles {
        let _ = write!(words, "; in the way: {obstacle}");
    }
    words
}

fn pods(count: i32) -> String {
    match count {
        1 => "1 pod".to_owned(),
        count => format!("{count} pods"),
    }
}
