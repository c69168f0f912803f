//! One pass over one object: observe, plan, record, act. The same code over a real cluster and
//! over the simulator's.

mod asking;

use std::sync::Arc;

use jiff::Timestamp;

use self::asking::ask;
pub use super::memory::Memory;
use super::{Answer, Cluster, Key, ReadError, WriteError};
use crate::{
    evidence::{Measure, Readings},
    plan::{
        self,
        database::{self, Shown},
        facts::{
            Answers, DatabaseObjects, Limits, Observed, Question, Refusal, Refused, RolloutFacts,
        },
        intent::{Event, Kind, Notes, Plan, Stands, Write},
        measuring,
        reason::Reason,
    },
};

/// Plans in one pass. A release from start to its first pods takes about ten; what is left over
/// is done by the next pass.
const ROUNDS: usize = 24;

/// What a pass takes from the process around it.
pub struct Surroundings<'a> {
    /// The clock.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// What the sampler last read of a revision of this Rollout.
    pub readings: &'a (dyn Fn(&str) -> Option<Readings> + Sync),
    /// Why a metric source of this name cannot be used by this Rollout, if it cannot.
    pub source_problem: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Image of the program that runs SQL; empty where there is none.
    pub sql_image: Arc<str>,
    /// What the administrator permits of a schema phase.
    pub limits: Limits,
    /// From when on the clock is trusted.
    pub trusted_since: Timestamp,
    /// Epoch of the present leadership.
    pub epoch: i64,
    /// The highest epoch that is known to be of no later leadership: its own, as a rule. A higher
    /// one is of somebody who has the lead by now.
    pub outranks: i64,
}

/// What a pass did.
#[derive(Debug, Default)]
pub struct Ran {
    /// Writes that succeeded.
    pub writes: usize,
    /// To be published, in order.
    pub events: Vec<Event>,
    /// What to measure from now on; `None`: nothing.
    pub measure: Option<Measure>,
    /// How the Rollout stands by now; `None` where nothing was found out.
    pub stands: Option<Stands>,
    /// When to come again if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// Why, one line per decision.
    pub notes: Notes,
    /// What stopped the pass; it is to be tried again, with backoff.
    pub error: Option<Stopped>,
}

/// What stopped a pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// A write did not succeed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A live read got no answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There was still something to do after as many plans as a pass may make.
    #[error("more to do than one pass takes")]
    Unfinished,
}

impl Stopped {
    /// A cache has not caught up yet: a newer copy settles it, soon.
    #[must_use]
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Write(WriteError::Conflict { .. } | WriteError::Exists { .. })
        )
    }
}

/// One pass over an object.
pub async fn run<C: Cluster>(
    cluster: &C,
    key: &Key,
    memory: &mut Memory,
    around: &Surroundings<'_>,
) -> Ran {
    match key {
        Key::Rollout { .. } => rollout(cluster, key, memory, around).await,
        Key::Database { .. } => database(cluster, key, memory, around).await,
    }
}

async fn rollout<C: Cluster>(
    cluster: &C,
    key: &Key,
    memory: &mut Memory,
    around: &Surroundings<'_>,
) -> Ran {
    let mut ran = Ran::default();
    let mut answers = Answers::default();
    let mut refusals = Vec::new();
    let mut unread: Option<ReadError> = None;
    let mut unwritten: Option<WriteError> = None;
    // One time for the whole pass: a clock that jumps in its midst is trusted by the next alone.
    let now = (around.now)();
    for _ in 0..ROUNDS {
        let seen = observe(cluster, key, memory, around, &answers, &refusals);
        let Some(mut seen) = seen else {
            return ran;
        };
        seen.unread = unread.as_ref().map(ToString::to_string);
        let plan = plan::plan(&seen, now);
        if !plan.questions.is_empty() {
            match ask(cluster, key, &seen, &plan, &mut answers, memory, now).await {
                Ok(()) => {
                    memory.read(true);
                }
                // Once is bad luck; what lasts is said on the Rollout.
                Err(error) if memory.read(false) => unread = Some(error),
                Err(error) => return stopped(ran, error),
            }
            continue;
        }
        let nothing_left = plan.writes.is_empty();
        let recorded = plan.writes.iter().find_map(|write| match write {
            Write::RecordDatabase { base, .. } => Some(base.uid.clone()),
            _ => None,
        });
        // Whoever records a floor later than a Deployment is made finds it: so what was read
        // before that says nothing of it.
        let makes = |w: &Write| {
            matches!(
                w,
                Write::Create {
                    kind: Kind::Deployment,
                    ..
                }
            )
        };
        if plan.writes.iter().any(makes) {
            answers.hold_live = None;
        }
        let weighs = plan.writes.iter().any(|w| matches!(w, Write::Weigh { .. }));
        let of_flags = |w: &Write| w.kind() == Some(Kind::ConfigMap);
        if plan.writes.iter().any(of_flags) {
            answers.flags.clear();
        }
        match act(cluster, key, plan, memory, around, &mut ran).await {
            Ok(()) if nothing_left => {
                ran.error = unread.map(Stopped::from).or(unwritten.map(Stopped::from));
                return come_again(ran, memory);
            }
            Ok(()) => {
                answers.hold_live = recorded.or(answers.hold_live);
                if weighs {
                    answers.routes = None;
                }
                // Whoever comes after a write is not among them.
                (answers.users, answers.deployment) = (None, None);
            }
            // Nothing waits for a flag: whatever became of it, the rest of the pass goes on.
            Err((_, error, Some(what @ Refused::Flags(_))))
                if !refusals.iter().any(|r: &Refusal| r.what == what) =>
            {
                let message = match &error {
                    WriteError::Refused { message, .. } => message.clone(),
                    other => other.to_string(),
                };
                refusals.push(Refusal {
                    what,
                    message,
                    transient: true,
                });
                if !matches!(error, WriteError::Refused { .. }) {
                    unwritten = Some(error);
                }
            }
            Err((
                _,
                WriteError::Refused {
                    object,
                    message,
                    transient,
                },
                Some(what),
            )) if !refusals.iter().any(|r: &Refusal| r.what == what) => {
                let message = match what {
                    // The others name their object.
                    Refused::Other => format!("{object}: {message}"),
                    _ => message,
                };
                refusals.push(Refusal {
                    what,
                    message,
                    transient,
                });
            }
            // Once is bad luck here too.
            Err((
                _,
                error @ (WriteError::Unanswered { .. } | WriteError::NotTaken { .. }),
                Some(what),
            )) if memory.wrote(false) && !refusals.iter().any(|r: &Refusal| r.what == what) => {
                refusals.push(Refusal {
                    what,
                    message: error.to_string(),
                    transient: true,
                });
                unwritten = Some(error);
            }
            Err((_, error, _)) => return refused(ran, error),
        }
    }
    stopped(ran, Stopped::Unfinished)
}

async fn database<C: Cluster>(
    cluster: &C,
    key: &Key,
    memory: &mut Memory,
    around: &Surroundings<'_>,
) -> Ran {
    let mut ran = Ran::default();
    let mut shown = Shown::default();
    for _ in 0..ROUNDS {
        let Some(mut seen) = cluster.database(key.namespace(), key.name()) else {
            return ran;
        };
        if !memory.overlay_of_database(&mut seen, (around.now)()) {
            return come_again(ran, memory);
        }
        let plan = database::plan(&seen, &shown, (around.now)(), around.epoch);
        if !plan.questions.is_empty() {
            let now = (around.now)();
            match confirm(cluster, key, &seen, &plan, &mut shown, memory, now).await {
                Ok(true) => continue,
                // The watch shows it soon, and then it is looked at again.
                Ok(false) => return come_again(ran, memory),
                Err(error) => return stopped(ran, error),
            }
        }
        let nothing_left = plan.writes.is_empty();
        match act(cluster, key, plan, memory, around, &mut ran).await {
            Ok(()) if nothing_left => return come_again(ran, memory),
            Ok(()) => {}
            Err((_, error, _)) => return refused(ran, error),
        }
    }
    stopped(ran, Stopped::Unfinished)
}

/// Reads what the caches may be wrong about. `false`: they are behind, and the watch that shows it
/// starts another pass.
async fn confirm<C: Cluster>(
    cluster: &C,
    key: &Key,
    seen: &DatabaseObjects,
    plan: &Plan,
    shown: &mut Shown,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<bool, ReadError> {
    let known = &seen.database;
    for question in &plan.questions {
        match (cluster.ask(key, question).await?, question) {
            (Answer::Rollout(Some(live)), _) if names(&live.facts, &known.base.name) => {
                return Ok(false);
            }
            (Answer::Rollout(_), Question::Rollout(name)) => {
                shown.gone.insert(name.clone());
            }
            (Answer::Hold(hold), _) => {
                let live = hold
                    .database
                    .as_ref()
                    .filter(|live| live.base.uid == known.base.uid);
                let Some(live) = live else {
                    memory.forget(&known.base.uid);
                    return Ok(false);
                };
                let holders = live.record.holders().cloned().collect();
                shown.hold = Some((live.base.uid.clone(), holders));
                memory.know_hold(*hold, now);
            }
            (answer, _) => debug_assert!(false, "nobody has asked for {answer:?}"),
        }
    }
    Ok(true)
}

fn names(rollout: &RolloutFacts, database: &str) -> bool {
    let spec = rollout.spec.as_deref().ok();
    spec.and_then(|spec| spec.database()) == Some(database)
}

fn stopped(mut ran: Ran, error: impl Into<Stopped>) -> Ran {
    ran.error = Some(error.into());
    ran
}

/// What no status can say, because it is the status that is refused, or because the object has
/// none, is said in an Event.
fn refused(mut ran: Ran, error: WriteError) -> Ran {
    if matches!(error, WriteError::Refused { .. }) {
        ran.events.push(Event {
            reason: Reason::WriteRefused,
            message: error.to_string(),
            warning: true,
            undo: None,
            measured: None,
        });
    }
    stopped(ran, error)
}

/// What the caches have not shown yet is looked at again, even if nothing happens.
fn come_again(mut ran: Ran, memory: &Memory) -> Ran {
    let waits = [ran.wake_at, memory.unshown_until()];
    ran.wake_at = waits.into_iter().flatten().min();
    ran
}

fn observe<C: Cluster>(
    cluster: &C,
    key: &Key,
    memory: &mut Memory,
    around: &Surroundings<'_>,
    answers: &Answers,
    refusals: &[Refusal],
) -> Option<Observed> {
    let mut objects = cluster.rollout(key.namespace(), key.name())?;
    let looked = (around.now)();
    memory.overlay(&mut objects, looked);
    let uid = &objects.rollout.base.uid;
    let (confirmed, listed) = (memory.confirmed(uid), memory.has_listed(uid));
    let readings = in_motion(&objects.rollout).and_then(|revision| (around.readings)(&revision));
    let source = objects
        .rollout
        .spec
        .as_ref()
        .ok()
        .and_then(|spec| spec.analysis.as_ref());
    let source_problem = source.and_then(|analysis| (around.source_problem)(&analysis.source));
    Some(Observed {
        objects,
        answers: answers.clone(),
        refusals: refusals.to_vec(),
        unread: None,
        source_problem,
        sql_image: Arc::clone(&around.sql_image),
        limits: around.limits,
        readings,
        heard: memory.heard.clone(),
        users: memory.users.clone(),
        flags_looked: memory.flags_looked,
        looked,
        trusted_since: around.trusted_since,
        status_written: memory.status_written,
        confirmed,
        listed,
        epoch: around.epoch,
        outranks: around.outranks,
    })
}

/// The revision that is measured, if one is.
fn in_motion(rollout: &RolloutFacts) -> Option<String> {
    measuring::measured(&rollout.status).map(str::to_owned)
}

type Failed = (usize, WriteError, Option<Refused>);

/// Writes in order, up to the first that fails.
async fn act<C: Cluster>(
    cluster: &C,
    key: &Key,
    plan: Plan,
    memory: &mut Memory,
    around: &Surroundings<'_>,
    ran: &mut Ran,
) -> Result<(), Failed> {
    ran.notes.extend(plan.notes);
    ran.wake_at = plan.wake_at;
    ran.stands = plan.stands.or(ran.stands.take());
    let mut events = Some(plan.events);
    let mut measure = Some(plan.measure);
    if plan.writes.is_empty() {
        ran.events.extend(events.take().unwrap_or_default());
    }
    // What follows from a decision is not measured before that is on record: a hold that never
    // began would end the one that runs.
    if !matches!(plan.writes.first(), Some(Write::RecordStatus { .. })) {
        ran.measure = measure.take().flatten();
    }
    for (index, write) in plan.writes.iter().enumerate() {
        match cluster.write(key.namespace(), write).await {
            Ok(written) => {
                // The clock as it is now: a write may have taken long.
                memory.learn(write, written, (around.now)());
                if write.refused().is_some() {
                    memory.wrote(true);
                }
                ran.writes += 1;
                // The first write is the record of what the events tell.
                ran.events.extend(events.take().unwrap_or_default());
                if let Some(measure) = measure.take() {
                    ran.measure = measure;
                }
            }
            Err(error) => {
                let error = remember_failure(memory, write, error, (around.now)());
                return Err((index, error, write.refused()));
            }
        }
    }
    Ok(())
}

fn remember_failure(
    memory: &mut Memory,
    write: &Write,
    error: WriteError,
    now: Timestamp,
) -> WriteError {
    match &error {
        WriteError::Conflict { .. } => memory.contradict(write, now),
        WriteError::Unanswered { .. } => memory.doubt(write),
        WriteError::Exists { object } if memory.name_taken(write) => {
            // A DatabaseSchema that cannot be read must not be deleted: it is the memory of what
            // ran on the database.
            let remedy = match write.kind() {
                Some(Kind::Database) => "look at its record",
                Some(Kind::Job) => {
                    "a former DatabaseSchema may have left it and takes it with it; if it stays, \
                     delete it"
                }
                _ => "give it another name, or delete it",
            };
            return WriteError::Refused {
                object: object.clone(),
                message: format!(
                    "{object} already exists, and Stepgate did not create it: \
                                  {remedy}"
                ),
                transient: true,
            };
        }
        _ => {}
    }
    error
}

#[cfg(test)]
mod tests;
