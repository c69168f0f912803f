//! One pass over one object: observe, plan, record, act. The same code over a real cluster and
//! over the simulator's.

use jiff::Timestamp;

pub use super::memory::Memory;
use super::{Answer, Cluster, ReadError, WriteError};
use crate::{
    api::{PhaseKind, RolloutSpec},
    evidence::{Measure, Readings},
    plan::{
        self, database,
        facts::{Answers, Observed, Question, Refusal, Refused, RolloutFacts},
        intent::{Event, Kind, Plan, Write},
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
    /// From when on the clock is trusted.
    pub trusted_since: Timestamp,
    /// Epoch of the present leadership.
    pub epoch: i64,
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
    /// When to come again if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// Why, one line per decision.
    pub notes: Vec<String>,
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
    pub fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Write(WriteError::Conflict { .. } | WriteError::Exists { .. })
        )
    }
}

/// One pass over a Rollout.
pub async fn rollout<C: Cluster>(
    cluster: &C,
    namespace: &str,
    name: &str,
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
        let Some(mut seen) = observe(
            cluster, namespace, name, memory, around, &answers, &refusals,
        ) else {
            return ran;
        };
        seen.unread = unread.as_ref().map(ToString::to_string);
        let plan = plan::plan(&seen, now);
        if !plan.questions.is_empty() || plan.confirm.is_some() {
            match ask(cluster, &seen, &plan, &mut answers, memory, now).await {
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
        match act(cluster, namespace, plan, memory, around, &mut ran).await {
            Ok(()) if nothing_left => {
                ran.error = unread.map(Stopped::from).or(unwritten.map(Stopped::from));
                return come_again(ran, memory);
            }
            Ok(()) => answers.hold_live = recorded.or(answers.hold_live),
            Err((
                _,
                WriteError::Refused {
                    message, transient, ..
                },
                Some(what),
            )) if !refusals.iter().any(|r: &Refusal| r.what == what) => {
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
            Err((_, error, _)) => return stopped(ran, error),
        }
    }
    stopped(ran, Stopped::Unfinished)
}

async fn ask<C: Cluster>(
    cluster: &C,
    seen: &Observed,
    plan: &Plan,
    answers: &mut Answers,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<(), ReadError> {
    let rollout = &seen.rollout;
    if let Some(name) = &plan.confirm {
        let live = cluster.live(&rollout.namespace, name).await?;
        let Some(live) = live.filter(|live| live.uid == rollout.uid) else {
            return Err(deleted(format!("Rollout {name}")));
        };
        memory.know_rollout(live, now);
    }
    for question in &plan.questions {
        let answer = cluster.ask(rollout, question).await?;
        if let (Answer::Hold(hold), Some(known)) = (&answer, &seen.database)
            && hold.database.as_ref().is_none_or(|d| d.uid != known.uid)
        {
            memory.forget(&known.uid);
            return Err(deleted(format!("DatabaseSchema {}", known.name)));
        }
        take(answer, question, answers, memory, now);
    }
    Ok(())
}

fn deleted(what: String) -> ReadError {
    ReadError {
        what,
        message: "it was deleted, which the watch has not shown yet".into(),
    }
}

/// One pass over a DatabaseSchema.
pub async fn database<C: Cluster>(
    cluster: &C,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
    around: &Surroundings<'_>,
) -> Ran {
    let mut ran = Ran::default();
    let mut gone = None;
    for _ in 0..ROUNDS {
        let Some(mut seen) = cluster.database(namespace, name) else {
            return ran;
        };
        memory.overlay_of_database(&mut seen, (around.now)());
        let plan = database::plan(&seen, gone.as_deref(), around.epoch);
        if let Some(rollout) = plan.confirm {
            match cluster.live(namespace, &rollout).await {
                // The watch shows it soon, and then it is looked at again.
                Ok(Some(live)) if names(&live, name) => return come_again(ran, memory),
                Ok(_) => gone = Some(rollout),
                Err(error) => return stopped(ran, error),
            }
            continue;
        }
        let nothing_left = plan.writes.is_empty();
        match act(cluster, namespace, plan, memory, around, &mut ran).await {
            Ok(()) if nothing_left => return come_again(ran, memory),
            Ok(()) => {}
            Err((_, error, _)) => return stopped(ran, error),
        }
    }
    stopped(ran, Stopped::Unfinished)
}

fn names(rollout: &RolloutFacts, database: &str) -> bool {
    let spec = rollout.spec.as_deref().ok();
    spec.and_then(RolloutSpec::database) == Some(database)
}

fn stopped(mut ran: Ran, error: impl Into<Stopped>) -> Ran {
    ran.error = Some(error.into());
    ran
}

/// What the caches have not shown yet is looked at again, even if nothing happens.
fn come_again(mut ran: Ran, memory: &Memory) -> Ran {
    let waits = [ran.wake_at, memory.unshown_until()];
    ran.wake_at = waits.into_iter().flatten().min();
    ran
}

fn observe<C: Cluster>(
    cluster: &C,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
    around: &Surroundings<'_>,
    answers: &Answers,
    refusals: &[Refusal],
) -> Option<Observed> {
    let mut cached = cluster.rollout(namespace, name)?;
    memory.overlay(&mut cached, (around.now)());
    let confirmed = memory.confirmed(&cached.rollout.uid);
    let readings = in_motion(&cached.rollout).and_then(|revision| (around.readings)(&revision));
    let source = cached
        .rollout
        .spec
        .as_ref()
        .ok()
        .and_then(|spec| spec.analysis.as_ref());
    let source_problem = source.and_then(|analysis| (around.source_problem)(&analysis.source));
    Some(Observed {
        rollout: cached.rollout,
        revisions: cached.revisions,
        children: cached.children,
        pods: cached.pods,
        jobs: cached.jobs,
        database: cached.database,
        neighbours: cached.neighbours,
        answers: answers.clone(),
        refusals: refusals.to_vec(),
        unread: None,
        source_problem,
        readings,
        trusted_since: around.trusted_since,
        status_written: memory.status_written,
        confirmed,
        epoch: around.epoch,
    })
}

fn in_motion(rollout: &RolloutFacts) -> Option<String> {
    rollout.status.release.as_ref().map(|r| r.revision.clone())
}

fn take(
    answer: Answer,
    question: &Question,
    answers: &mut Answers,
    memory: &mut Memory,
    now: Timestamp,
) {
    match answer {
        Answer::Overlaps(names) => answers.overlaps = Some(names),
        Answer::Revisions(list) => {
            answers.revisions_live = true;
            list.into_iter()
                .for_each(|revision| memory.know_revision(revision, now));
        }
        Answer::Hold(hold) => {
            answers.hold_live = hold.database.as_ref().map(|database| database.uid.clone());
            memory.know_hold(*hold, now);
        }
        Answer::Config(missing) => answers.missing_config = Some(missing),
        Answer::JobLog(text) => answers.job_log = Some(text),
        Answer::JobPod(words) => answers.job_pod = Some(words),
    }
    debug_assert!(match question {
        Question::Overlaps => answers.overlaps.is_some(),
        Question::Revisions => answers.revisions_live,
        Question::Hold(_) => answers.hold_live.is_some(),
        Question::Config(_) => answers.missing_config.is_some(),
        Question::JobLog(_) => answers.job_log.is_some(),
        Question::JobPod(_) => answers.job_pod.is_some(),
    });
}

type Failed = (usize, WriteError, Option<Refused>);

/// Writes in order, up to the first that fails.
async fn act<C: Cluster>(
    cluster: &C,
    namespace: &str,
    plan: Plan,
    memory: &mut Memory,
    around: &Surroundings<'_>,
    ran: &mut Ran,
) -> Result<(), Failed> {
    ran.notes.extend(plan.notes);
    ran.wake_at = plan.wake_at;
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
        match cluster.write(namespace, write).await {
            Ok(written) => {
                // The clock as it is now: a write may have taken long.
                memory.learn(write, written, (around.now)());
                if what(write).is_some() {
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
                return Err((index, error, what(write)));
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
            let remedy = match write {
                Write::CreateDatabase { .. } => "look at its record",
                _ => "give it another name, or delete it",
            };
            return WriteError::Refused {
                object: object.clone(),
                message: format!("{object} exists already and Stepgate does not know it: {remedy}"),
                transient: true,
            };
        }
        _ => {}
    }
    error
}

/// What a refusal of this write means to the planner; nothing, where it could not be said: in the
/// status.
fn what(write: &Write) -> Option<Refused> {
    Some(match write {
        Write::RecordStatus { .. } => return None,
        Write::CreateDeployment { .. } => Refused::Deployment,
        Write::Scale { .. }
        | Write::Fence {
            kind: Kind::Deployment,
            ..
        } => Refused::Scale,
        Write::CreateJob { .. }
        | Write::ReleaseJob { .. }
        | Write::Fence {
            kind: Kind::Job, ..
        } => Refused::Job(PhaseKind::Expand),
        _ => Refused::Other,
    })
}
