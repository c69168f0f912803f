//! What people and tools read: conditions as kstatus reads them, counts, columns.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{
    draft::{Draft, later},
    gate, mover, release, schema,
};
use crate::{
    api::{
        RolloutStatus,
        rollout::{Operator, Selector},
        status::{CheckStatus, Outcome, Release, RevisionStatus, Stage, Summary},
    },
    evidence::Reading,
};

/// Seconds between two status writes that only bring counts of pods and words up to date.
const NEWS_EVERY: i64 = 10;
/// The same, where only the figures of a check have changed.
const FIGURES_EVERY: i64 = 60;

/// What kstatus makes of a Rollout.
struct Standing {
    kind: StandingKind,
    reason: String,
    message: String,
}

#[derive(PartialEq, Eq)]
enum StandingKind {
    Ready,
    Reconciling,
    Stalled,
}

/// Brings the status up to date with the facts.
pub(super) fn describe(draft: &mut Draft<'_>) {
    counts(draft);
    checks(draft);
    draft.status.schema = schema::status(draft);
    if draft
        .status
        .release
        .as_ref()
        .is_some_and(|r| r.measured_since.is_none())
    {
        let since = measured_since(draft).map(Time);
        if let Some(release) = &mut draft.status.release {
            release.measured_since = since;
        }
    }
    let standing = standing(draft);
    if standing.reason == "Scaling"
        && let Some(at) = late_at(draft).filter(|at| *at > draft.now)
    {
        // Then it is not a matter of waiting any more, and that is said.
        draft.wake(at);
    }
    draft.status.summary = summary(draft, &standing);
    set_conditions(draft, &standing);
    draft.status.observed_generation = Some(draft.seen.rollout.generation);
}

/// When the first pod of the revision in motion was ready.
pub(super) fn measured_since(draft: &Draft<'_>) -> Option<Timestamp> {
    let release = draft.status.release.as_ref()?;
    release.measured_since.as_ref().map(|t| t.0).or_else(|| {
        draft
            .seen
            .pods_of(&release.revision)
            .filter_map(|pod| pod.ready_since)
            .min()
    })
}

fn counts(draft: &mut Draft<'_>) {
    let seen = draft.seen;
    let living = || seen.children.iter().filter(|c| !c.deleting);
    draft.status.replicas = living().map(|c| c.status_replicas).sum();
    draft.status.available_replicas = living().map(|c| c.available).sum();
    draft.status.selector = Some(selector_text(&draft.spec.selector));
    let schema_version = |revision: &str| {
        let block = seen.revision(revision).and_then(|r| r.schema.as_ref());
        block.and_then(|s| s.version)
    };
    let of = |revision: &str| {
        let child = seen.child(revision);
        RevisionStatus {
            revision: revision.to_owned(),
            replicas: child.map_or(0, |c| c.replicas),
            available: child.map_or(0, |c| c.available),
            schema_version: schema_version(revision),
        }
    };
    draft.status.stable = draft.stable().map(of);
    draft.status.canary = draft.status.release.as_ref().map(|r| of(&r.revision));
}

/// A selector as `kubectl get -l` takes it.
fn selector_text(selector: &Selector) -> String {
    let equal = selector
        .match_labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let further = selector.match_expressions.iter().map(|r| {
        let values = r.values.join(",");
        match r.operator {
            Operator::In => format!("{} in ({values})", r.key),
            Operator::NotIn => format!("{} notin ({values})", r.key),
            Operator::Exists => r.key.clone(),
            Operator::DoesNotExist => format!("!{}", r.key),
        }
    });
    equal.chain(further).collect::<Vec<_>>().join(",")
}

fn checks(draft: &mut Draft<'_>) {
    let Some(release) = draft.status.release.clone() else {
        return;
    };
    let Some(readings) = gate::readings_of(draft, &release) else {
        return;
    };
    draft.status.checks = readings.readings.iter().map(check).collect();
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "counts of requests are below 2^53"
)]
fn check(reading: &Reading) -> CheckStatus {
    let unit = reading.unit.sign();
    CheckStatus {
        name: reading.name.clone(),
        verdict: format!("{:?}", reading.verdict),
        reason: reading.reason.to_string(),
        value: reading
            .value
            .map(|value| format!("{}{unit}", figure(value))),
        limit: format!("{}{unit}", figure(reading.limit)),
        bad: reading.bad as i64,
        total: reading.total as i64,
        message: reading.message.clone(),
    }
}

/// At most three decimals, none that say nothing.
fn figure(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn standing(draft: &Draft<'_>) -> Standing {
    let say = |kind, reason: &str, message: String| Standing {
        kind,
        reason: reason.to_owned(),
        message,
    };
    if let Some(obstacle) = &draft.obstacle {
        let kind = if obstacle.stalled {
            StandingKind::Stalled
        } else {
            StandingKind::Reconciling
        };
        return say(kind, &obstacle.why.reason, obstacle.why.message.clone());
    }
    if let Some(release) = &draft.status.release {
        if let Some(paused) = &release.paused {
            let message = format!(
                "waits for a person (promote, resume or undo): {}",
                paused.message
            );
            return say(StandingKind::Stalled, &paused.reason, message);
        }
        let (reason, message) = motion(draft, release);
        return say(StandingKind::Reconciling, reason, message);
    }
    if draft.outcome(&draft.wanted) == Some(Outcome::Failed) {
        let (reason, message) = draft.outcome_reason(&draft.wanted);
        return say(StandingKind::Stalled, &reason, message);
    }
    let Some(stable) = draft.stable() else {
        return say(
            StandingKind::Reconciling,
            "Starting",
            "not yet looked at".into(),
        );
    };
    if draft.wanted != stable {
        return say(
            StandingKind::Reconciling,
            "Starting",
            "a new revision was seen".into(),
        );
    }
    let total = draft.spec.replicas;
    if total == 0 {
        let message = format!("revision {stable} is scaled to 0");
        return say(StandingKind::Reconciling, "ScaledToZero", message);
    }
    let settled = draft
        .seen
        .children
        .iter()
        .filter(|c| !c.deleting)
        .all(|child| child.replicas == if child.revision == stable { total } else { 0 })
        && draft.seen.child(stable).is_some();
    if !settled {
        let way = format!("on the way to {total} pods");
        if late_at(draft).is_some_and(|at| at <= draft.now) {
            let words = why_not_available(draft, stable)
                .unwrap_or_else(|| "they do not become ready".into());
            let message = format!("{way}, but pods of {stable} do not come up: {words}");
            return say(StandingKind::Reconciling, "Degraded", message);
        }
        return say(StandingKind::Reconciling, "Scaling", way);
    }
    let floor = draft.bounds().floor;
    if mover::assured(&draft.seen.children) < floor {
        let words = why_not_available(draft, stable)
            .map(|w| format!(": {w}"))
            .unwrap_or_default();
        let message = format!("fewer than {floor} of {total} pods are available{words}");
        return say(StandingKind::Reconciling, "Degraded", message);
    }
    say(
        StandingKind::Ready,
        "Stable",
        format!("revision {stable} is stable"),
    )
}

/// When the oldest pod of stable that is not ready will have had its time to become so.
fn late_at(draft: &Draft<'_>) -> Option<Timestamp> {
    let limit = draft.spec.strategy.progress_deadline_seconds;
    let unready = draft.seen.pods_of(draft.stable()?);
    let unready = unready.filter(|pod| pod.ready_since.is_none());
    unready.map(|pod| later(pod.created, limit)).min()
}

/// What is going on, in words that do not change with every pod.
fn motion(draft: &Draft<'_>, release: &Release) -> (&'static str, String) {
    let revision = &release.revision;
    match (release.stage, &release.step) {
        (Stage::Undo, _) => {
            let why = release
                .undo
                .as_ref()
                .map(|u| u.message.clone())
                .unwrap_or_default();
            let stable = draft.stable().unwrap_or("none");
            (
                "Undoing",
                format!("back to {stable} from {revision}: {why}"),
            )
        }
        (Stage::Preflight, _) => (
            "Preflight",
            format!("children of revision {revision} are made"),
        ),
        (Stage::Expand, _) => (
            "Expanding",
            format!("the schema is expanded for {revision}"),
        ),
        (Stage::Step, None) => ("Stepping", format!("revision {revision} is on its way")),
        (Stage::Step, Some(status)) => {
            let index = usize::try_from(status.index).unwrap_or_default();
            let steps = &draft.spec.strategy.canary.steps;
            let place = format!("step {} ({}/{})", status.name, index + 1, steps.len());
            let until = steps.get(index).and_then(|step| {
                let since = status.held.since.as_ref()?.0;
                Some(later(since, step.hold_seconds - status.held.seconds))
            });
            match until {
                Some(until) => {
                    let paused = release::paused_by(draft)
                        .map(|by| format!("; then paused by {by}"))
                        .unwrap_or_default();
                    (
                        "Holding",
                        format!("{place} is held until {until:.0}{paused}"),
                    )
                }
                None => {
                    let words = why_not_available(draft, revision);
                    let words = words.map(|w| format!(": {w}")).unwrap_or_default();
                    let since = release.unreached.since.as_ref().map_or(draft.now, |t| t.0);
                    let limit = draft.spec.strategy.progress_deadline_seconds;
                    let until = later(since, limit - release.unreached.seconds);
                    (
                        "Stepping",
                        format!("{place} is to be reached by {until:.0}{words}"),
                    )
                }
            }
        }
    }
}

/// Why pods of a revision are not available, in the words of whoever knows; `None` when nobody
/// has said anything.
pub(super) fn why_not_available(draft: &Draft<'_>, revision: &str) -> Option<String> {
    if let Some(problem) = draft.seen.child(revision).and_then(|c| c.problem.clone()) {
        return Some(problem);
    }
    // In the order of names, so that the words stay the same while nothing changes.
    let mut pods: Vec<_> = draft
        .seen
        .pods_of(revision)
        .filter(|p| p.ready_since.is_none())
        .collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods.iter()
        .find_map(|pod| pod.unschedulable.clone())
        .or_else(|| {
            let waiting = pods.iter().find_map(|p| p.waiting.as_ref());
            waiting.map(|(reason, words)| {
                if words.is_empty() {
                    reason.clone()
                } else {
                    format!("{reason}: {words}")
                }
            })
        })
}

fn summary(draft: &Draft<'_>, standing: &Standing) -> Summary {
    let steps = draft.spec.strategy.canary.steps.len();
    let release = draft.status.release.as_ref();
    let step = match release.map(|r| (r.stage, &r.step)) {
        None if standing.kind == StandingKind::Ready => String::new(),
        None => standing.reason.clone(),
        Some((Stage::Step, Some(step))) => format!("{} {}/{steps}", step.name, step.index + 1),
        Some((stage, _)) => format!("{stage:?}").to_lowercase(),
    };
    let share = draft
        .status
        .canary
        .as_ref()
        .map(|canary| format!("{}/{}", canary.available, draft.spec.replicas))
        .unwrap_or_default();
    let checks: Vec<_> = draft
        .status
        .checks
        .iter()
        .map(|c| {
            format!(
                "{} {} {}",
                c.name,
                c.verdict,
                c.value.as_deref().unwrap_or("-")
            )
        })
        .collect();
    let schema = draft.status.schema.as_ref().map(|s| {
        let version = s.version.map(|v| format!(" v{v}")).unwrap_or_default();
        format!("{}{version} {}", s.database, s.state)
    });
    Summary {
        step,
        share,
        checks: checks.join(", "),
        schema: schema.unwrap_or_default(),
        paused: release::paused_by(draft).unwrap_or_default().to_owned(),
    }
}

fn set_conditions(draft: &mut Draft<'_>, standing: &Standing) {
    let Standing {
        kind,
        reason,
        message,
    } = standing;
    set(
        draft,
        "Ready",
        *kind == StandingKind::Ready,
        reason,
        message,
    );
    set(
        draft,
        "Reconciling",
        *kind == StandingKind::Reconciling,
        reason,
        message,
    );
    set(
        draft,
        "Stalled",
        *kind == StandingKind::Stalled,
        reason,
        message,
    );

    let floor = draft.bounds().floor;
    let serving = mover::assured(&draft.seen.children);
    let available = serving >= floor && serving > 0;
    let (word, text) = match available {
        true => ("EnoughPods", format!("at least {floor} pods are available")),
        false => (
            "TooFewPods",
            format!("fewer than {} pods are available", floor.max(1)),
        ),
    };
    set(draft, "Available", available, word, &text);

    let (ready, word, text) = match &draft.status.schema {
        None => (
            true,
            "NotAsked".to_owned(),
            "the spec has no schema phase".to_owned(),
        ),
        Some(s) => (s.state == "Succeeded", s.state.clone(), s.message.clone()),
    };
    set(draft, "SchemaReady", ready, &word, &text);

    match (&draft.undo_impossible, draft.stable().map(str::to_owned)) {
        (Some(why), _) => {
            let why = why.clone();
            set(draft, "UndoPossible", false, "Missing", &why);
        }
        (None, None) => {
            set(
                draft,
                "UndoPossible",
                false,
                "NoStable",
                "no revision has been stable yet",
            );
        }
        (None, Some(stable)) => {
            let text = format!("revision {stable} can be returned to");
            set(draft, "UndoPossible", true, "StableKept", &text);
        }
    }
}

fn set(draft: &mut Draft<'_>, kind: &str, holds: bool, reason: &str, message: &str) {
    let status = if holds { "True" } else { "False" };
    let reason = if reason.is_empty() { "Unknown" } else { reason };
    let message: String = message.chars().take(2000).collect();
    let now = draft.now;
    let generation = draft.seen.rollout.generation;
    let conditions = &mut draft.status.conditions;
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(condition) => {
            if condition.status != status {
                condition.last_transition_time = Time(now);
            }
            condition.status = status.to_owned();
            condition.reason = reason.to_owned();
            condition.message = message;
            condition.observed_generation = Some(generation);
        }
        None => conditions.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Time(now),
            observed_generation: Some(generation),
        }),
    }
}

/// Whether the status is to be written now, though no decision was made. Counts and words ride
/// along with decisions; alone they are written seldom.
pub(super) fn is_due(draft: &mut Draft<'_>) -> bool {
    let before = &*draft.seen.rollout.status;
    if essence(before) != essence(&draft.status) {
        return true;
    }
    if *before == draft.status {
        return false;
    }
    // Figures of a check that waits for its verdict change with every poll.
    let figures = draft
        .obstacle
        .as_ref()
        .is_some_and(|o| o.why.reason == "Inconclusive");
    let pods = |s: &RolloutStatus| {
        (
            s.replicas,
            s.available_replicas,
            s.stable.clone(),
            s.canary.clone(),
        )
    };
    let every = if figures && pods(before) == pods(&draft.status) {
        FIGURES_EVERY
    } else {
        NEWS_EVERY
    };
    let Some(written) = draft.seen.status_written else {
        return true;
    };
    let due = later(written, every);
    if due > draft.now {
        draft.wake(due);
        return false;
    }
    true
}

/// A status without what changes all the time.
fn essence(status: &RolloutStatus) -> RolloutStatus {
    let mut essence = status.clone();
    essence.replicas = 0;
    essence.available_replicas = 0;
    for revision in [&mut essence.stable, &mut essence.canary]
        .into_iter()
        .flatten()
    {
        revision.replicas = 0;
        revision.available = 0;
    }
    for check in &mut essence.checks {
        check.bad = 0;
        check.total = 0;
        check.value = None;
        check.reason.clear();
        check.message.clear();
    }
    for condition in &mut essence.conditions {
        condition.message.clear();
    }
    essence.summary = Summary::default();
    if let Some(release) = &mut essence.release {
        release.measured_since = None;
    }
    essence
}
