//! What people and tools read: conditions as kstatus reads them, counts, columns.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{
    draft::{Draft, later},
    facts::{ChildFacts, RolloutFacts},
    flags,
    gate::checks,
    intent::{Event, Plan, RolloutState, Stands, Write},
    job::{heard, progress, told},
    life::around,
    reason::Reason,
    routes, services, soak,
    standing::{Standing, StandingKind, late_at, standing},
    way_back, words,
};
use crate::{
    api::{
        RolloutStatus,
        flags::{FlagState, FlagStatus},
        keys,
        release::{Release, Stage},
        status::{CheckStatus, Outcome, RevisionStatus, Summary},
        traffic::MeasuredStatus,
    },
    evidence::{Reading, Readings},
};

/// Seconds between two status writes that only bring counts of pods and words up to date.
const NEWS_EVERY: i64 = 10;
/// The same, where only the figures of a check have changed, or a target is held.
const FIGURES_EVERY: i64 = 60;

/// Brings the status up to date with the facts.
pub(super) fn describe(draft: &mut Draft<'_>) {
    counts(draft);
    figures(draft);
    draft.status.schema = told::status(draft);
    progress::tell(draft);
    heard::tell(draft);
    draft.status.undo = way_back::now(draft);
    let since = draft.measured_since().map(Time);
    if let Some(release) = &mut draft.status.release {
        release.measured_since = since;
    }
    let standing = standing(draft);
    if Reason::of(&standing.reason) == Some(Reason::Scaling)
        && let Some(at) = late_at(draft).filter(|at| *at > draft.now)
    {
        // Then it is not a matter of waiting any more, and that is said.
        draft.wake(at);
    }
    tell_stalled(draft, &standing);
    tell_unreadable(draft, &standing);
    draft.status.summary = summary(draft, &standing);
    set_conditions(draft, &standing);
    draft.status.observed_generation = Some(draft.seen.objects.rollout.generation);
}

/// What stops a Rollout is told once when it comes, unless this decision has told it already.
fn tell_stalled(draft: &mut Draft<'_>, standing: &Standing) {
    let known = draft
        .seen
        .objects
        .rollout
        .status
        .conditions
        .iter()
        .any(|c| c.type_ == "Stalled" && c.status == "True" && c.reason == standing.reason);
    let mut events = draft.events.iter();
    let told = events.any(|e| e.warning && e.reason != Reason::CommandIgnored);
    if standing.kind == StandingKind::Stalled && !known && !told {
        let words = format!("{}: {}", standing.reason, standing.message);
        draft.tell(Reason::Stalled, words);
    }
}

/// A check that cannot be read is told once when it comes.
fn tell_unreadable(draft: &mut Draft<'_>, standing: &Standing) {
    let word = Reason::CheckUnreadable.word();
    let mut known = draft.seen.objects.rollout.status.conditions.iter();
    if standing.reason == word && !known.any(|c| c.reason == word) {
        draft.tell(Reason::CheckUnreadable, standing.message.clone());
    }
}

fn counts(draft: &mut Draft<'_>) {
    let objects = &draft.seen.objects;
    let active = services::active(draft);
    let serves = |c: &&ChildFacts| active.as_ref().is_none_or(|active| c.revision == *active);
    let living = || objects.children.iter().filter(|c| !c.deleting);
    draft.status.replicas = living().filter(serves).map(|c| c.status_replicas).sum();
    draft.status.available_replicas = living().filter(serves).map(|c| c.available).sum();
    // An autoscaler must not take the pods that wait for those that serve.
    let selector = draft.spec.selector.to_string();
    draft.status.selector = Some(match &active {
        Some(active) => format!("{selector},{}={active}", keys::REVISION),
        None => selector,
    });
    let schema_version = |revision: &str| objects.revision(revision).and_then(|r| r.schema_version);
    let images = |revision: &str| objects.revision(revision).map(|r| r.images.to_string());
    let images = |revision: &str| images(revision).unwrap_or_default();
    let of = |revision: &str| {
        let child = objects.child(revision);
        RevisionStatus {
            revision: revision.to_owned(),
            images: images(revision),
            replicas: child.map_or(0, |c| c.replicas),
            available: child.map_or(0, |c| c.available),
            schema_version: schema_version(revision),
        }
    };
    draft.status.stable = draft.stable().map(of);
    draft.status.canary = draft.status.release.as_ref().map(|r| of(&r.revision));
}

fn figures(draft: &mut Draft<'_>) {
    let release = draft.status.release.as_ref();
    if release.is_none_or(|r| r.step().is_none() && r.undo().is_none()) {
        let traffic = draft.status.traffic.iter_mut();
        traffic.for_each(|traffic| traffic.measured = None);
    }
    // Of a release that ends now, what it ended with: that stays until the next one is measured.
    let ends = || draft.seen.objects.rollout.status.release.clone();
    let ramp = || flags::as_release(draft);
    let contract = || around::as_release(draft);
    let soak = soak::as_release(draft);
    let release = soak.or_else(|| draft.status.release.clone());
    let Some(release) = release.or_else(ramp).or_else(contract).or_else(ends) else {
        return;
    };
    let Some(readings) = checks::readings_of(draft, &release) else {
        return;
    };
    let measured = measured(draft, readings);
    if let Some(traffic) = &mut draft.status.traffic {
        traffic.measured = measured.or(traffic.measured.take());
    }
    draft.status.checks = readings.readings.iter().map(check).collect();
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "counts of requests are below 2^53"
)]
fn measured(draft: &Draft<'_>, readings: &Readings) -> Option<MeasuredStatus> {
    // Also of a step that is left now: of its hold, by what is on record.
    let release = draft.seen.objects.rollout.status.release.as_ref()?;
    let step = release.step()?;
    let reached = step.reached.as_ref().map(|reached| reached.0);
    let split = readings.split?;
    let of_its_hold = readings.revision == release.revision && readings.hold_since == reached;
    of_its_hold.then(|| MeasuredStatus {
        step: step.name.clone(),
        percent: format!("{}%", figure(100.0 * split.own / split.all)),
        requests: split.all as i64,
    })
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

fn summary(draft: &Draft<'_>, standing: &Standing) -> Summary {
    let step = match draft.status.release.as_ref().map(|r| &r.stage) {
        None if standing.kind == StandingKind::Ready => String::new(),
        None => standing.reason.clone(),
        Some(Stage::Step(at)) => {
            let batch = draft.course.batch.as_ref().map(|_| "batch");
            let name = batch.unwrap_or(&at.step.name);
            format!("{name} {}", draft.course.number(&at.step))
        }
        Some(stage) => stage.word().to_owned(),
    };
    let share = draft
        .status
        .canary
        .as_ref()
        .map(|canary| {
            let weight = routes::weight(draft).map(|weight| format!(" {weight}%"));
            let weight = weight.unwrap_or_default();
            format!("{}/{}{weight}", canary.available, draft.spec.replicas)
        })
        .unwrap_or_default();
    let ramp = flags::summary(draft).filter(|_| step.is_empty());
    let (step, share) = ramp.unwrap_or((step, share));
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
        backfill: progress::column(draft),
        paused: draft.paused_by().unwrap_or_default().to_owned(),
        failed: match draft.outcome(draft.wanted) {
            Some(Outcome::Failed) if draft.status.release.is_none() => draft.wanted.to_owned(),
            _ => String::new(),
        },
        message: words::for_column(standing.column.as_ref().unwrap_or(&standing.message)),
    }
}

fn set_conditions(draft: &mut Draft<'_>, standing: &Standing) {
    let Standing {
        kind,
        reason,
        message,
        column: _,
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
    let serving = services::assured(draft);
    let asked = draft.spec.replicas;
    let available = serving >= floor && (serving > 0 || asked == 0);
    let (word, text) = match available {
        true if asked == 0 => (
            Reason::EnoughPods,
            "no pod is asked for: spec.replicas is 0".to_owned(),
        ),
        true => (
            Reason::EnoughPods,
            format!("at least {floor} pods are available"),
        ),
        false => (
            Reason::TooFewPods,
            format!("fewer than {} pods are available", floor.max(1)),
        ),
    };
    set(draft, "Available", available, word.word(), &text);

    let (ready, word, text) = match &draft.status.schema {
        None => (
            true,
            Reason::NotAsked.word().to_owned(),
            "the spec has no schema phase".to_owned(),
        ),
        Some(s) => (
            Reason::of(&s.state) == Some(Reason::Succeeded),
            s.state.clone(),
            s.message.clone(),
        ),
    };
    set(draft, "SchemaReady", ready, &word, &text);

    let (possible, word, text) = way_back::possible(draft);
    set(draft, "UndoPossible", possible, word.word(), &text);

    match flags::condition(draft) {
        Some((ready, word, text)) => set(draft, "FlagsReady", ready, word.word(), &text),
        None => draft.status.conditions.retain(|c| c.type_ != "FlagsReady"),
    }
}

fn set(draft: &mut Draft<'_>, kind: &str, holds: bool, reason: &str, message: &str) {
    const LONGEST: usize = 2000;
    let status = if holds { "True" } else { "False" };
    let reason = match reason {
        "" => Reason::Unknown.word(),
        reason => reason,
    };
    let end = message.char_indices().nth(LONGEST).map(|(at, _)| at);
    let message = &message[..end.unwrap_or(message.len())];
    let now = draft.now;
    let generation = draft.seen.objects.rollout.generation;
    let conditions = &mut draft.status.conditions;
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(condition) => {
            if condition.status != status {
                condition.last_transition_time = Time(now);
            }
            // Most passes find what they found before.
            for (field, text) in [
                (&mut condition.status, status),
                (&mut condition.reason, reason),
                (&mut condition.message, message),
            ] {
                if field != text {
                    text.clone_into(field);
                }
            }
            condition.observed_generation = Some(generation);
        }
        None => conditions.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(now),
            observed_generation: Some(generation),
        }),
    }
}

/// How a Rollout with this status stands.
pub(super) fn stands(status: &RolloutStatus) -> Option<Stands> {
    let holds = |kind: &str| {
        let mut conditions = status.conditions.iter();
        conditions.find(|c| c.type_ == kind && c.status == "True")
    };
    let (state, condition) = if let Some(stalled) = holds("Stalled") {
        let paused = status
            .release
            .as_ref()
            .is_some_and(|r| r.paused().is_some());
        match paused {
            true => (RolloutState::WaitsForPerson, stalled),
            false => (RolloutState::Stalled, stalled),
        }
    } else if let Some(reconciling) = holds("Reconciling") {
        let state = match Reason::of(&reconciling.reason) {
            Some(Reason::Paused) => RolloutState::Paused,
            Some(Reason::WaitingForPromotion) => RolloutState::WaitsForPerson,
            _ => RolloutState::Reconciling,
        };
        (state, reconciling)
    } else {
        (RolloutState::Ready, holds("Ready")?)
    };
    let own = |flag: &&FlagStatus| flag.state != FlagState::ChangedByHand;
    let flags = status.flags.iter().filter(own);
    Some(Stands {
        state,
        reason: Reason::of(&condition.reason),
        flags: flags.map(|f| (f.key.clone(), f.percent)).collect(),
    })
}

/// Whether the status is to be written now, though no decision was made. Counts and words ride
/// along with decisions; alone they are written seldom.
pub(super) fn is_due(draft: &mut Draft<'_>) -> bool {
    let before = &*draft.seen.objects.rollout.status;
    // First, because it is what most passes find.
    if *before == draft.status {
        return false;
    }
    if essence(before) != essence(&draft.status) {
        return true;
    }
    // What is written now may bring the next decision, and that brings the news along.
    if !draft.writes.is_empty() {
        return false;
    }
    // Figures of a check change with every poll, and with them the words of one that is waited for.
    let obstacle = draft.wait.obstacle.as_ref();
    let words = obstacle.is_some_and(|o| o.reason == Reason::Inconclusive);
    let figures = words || without_figures(before) == without_figures(&draft.status);
    let pods = |s: &RolloutStatus| {
        (
            s.replicas,
            s.available_replicas,
            s.stable.clone(),
            s.canary.clone(),
        )
    };
    // Nothing moves while a target is held: it was whole when that was written.
    let release = draft.status.release.as_ref();
    let goes_on = |r: &&Release| r.paused().is_none();
    let step = release.filter(goes_on).and_then(Release::step);
    let held = step.is_some_and(|step| step.held.since.is_some());
    let every = if held || (figures && pods(before) == pods(&draft.status)) {
        FIGURES_EVERY
    } else {
        NEWS_EVERY
    };
    let Some(written) = draft.seen.status_written else {
        return true;
    };
    let due = later(written, every);
    // A pass plans by the time of its beginning. What was written long after that, by a clock that
    // was set back since, tells no age.
    let told = written <= draft.in_seconds(FIGURES_EVERY);
    if told && due > draft.now {
        draft.wake(due);
        return false;
    }
    true
}

/// A status without what the checks say.
fn without_figures(status: &RolloutStatus) -> RolloutStatus {
    let mut rest = status.clone();
    rest.checks.clear();
    rest.traffic.iter_mut().for_each(|t| t.measured = None);
    rest.summary.checks.clear();
    rest
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
        revision.schema_version = None;
        revision.images.clear();
    }
    // A verdict that decides comes with its decision; until then it may change with every poll.
    essence.checks.clear();
    essence.traffic.iter_mut().for_each(|t| t.measured = None);
    for condition in &mut essence.conditions {
        condition.message.clear();
    }
    essence.summary = Summary::default();
    essence.undo.iter_mut().for_each(way_back::essence);
    if let Some(release) = &mut essence.release {
        release.measured_since = None;
    }
    essence
}

/// A Rollout that this program cannot read: said on the object, and nothing else is touched.
pub(super) fn unreadable(rollout: &RolloutFacts, message: &str, now: Timestamp) -> Plan {
    let mut status = (*rollout.status).clone();
    let reason = Reason::InvalidSpec;
    let message = format!("the spec cannot be read: {message}; correct that field");
    for (kind, holds) in [("Ready", false), ("Reconciling", false), ("Stalled", true)] {
        let holds = if holds { "True" } else { "False" };
        let mut conditions = status.conditions.iter();
        let since = conditions
            .find(|c| c.type_ == kind && c.status == holds)
            .map_or(Time(now), |c| c.last_transition_time.clone());
        status.conditions.retain(|c| c.type_ != kind);
        status.conditions.push(Condition {
            type_: kind.to_owned(),
            status: holds.to_owned(),
            reason: reason.word().to_owned(),
            message: message.clone(),
            last_transition_time: since,
            observed_generation: Some(rollout.generation),
        });
    }
    status.summary.message = words::for_column(&message);
    status.observed_generation = Some(rollout.generation);
    let mut plan = Plan {
        stands: stands(&status),
        ..Plan::default()
    };
    if status != *rollout.status {
        plan.events.push(Event {
            reason,
            message,
            warning: true,
            undo: None,
            measured: None,
        });
        plan.writes.push(Write::RecordStatus {
            base: rollout.base.clone(),
            status: Box::new(status),
        });
    }
    plan
}
