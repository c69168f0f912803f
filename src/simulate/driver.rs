//! Runs a world: the real passes against it, event by event, the rules after each.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    action::Action,
    coverage::Kind,
    event::{Life, Occurrence, Turn},
    facts,
    object::Object,
    object::SQL_IMAGE,
    process::Process,
    rules::Broken,
    setting::{DAWN, Setting},
    world::World,
};
use crate::{
    cluster::{
        Answer, Cluster, Hold, Key, ReadError, WriteError, Written,
        pass::{self, Memory, Ran, Surroundings},
    },
    evidence,
    plan::{
        facts::{
            ConfigFacts, DatabaseObjects, JobLog, Limits, Objects, Overlap, PodOfJob, Question,
            Remembered,
        },
        intent::Write,
    },
};

type Pass = Pin<Box<dyn Future<Output = (Memory, Ran)>>>;

/// A world and the passes under way in it.
pub struct Simulation {
    world: Arc<Mutex<World>>,
    passes: BTreeMap<(Life, Key), Pass>,
}

/// How a run ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenOff {
    /// A rule was broken.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// More events than a run may take.
    #[error("more than {0} events: something turns in circles")]
    Endless(u64),
}

impl Simulation {
    /// A world with so many processes of the operator, the first of which leads.
    #[must_use]
    pub fn new(setting: Setting, seed: u64, processes: usize) -> Self {
        let mut world = World::new(setting, seed);
        world.processes = (0..processes).map(Process::new).collect();
        for index in 0..processes {
            world.after(SignedDuration::ZERO, Occurrence::Boot(index));
        }
        Self {
            world: Arc::new(Mutex::new(world)),
            passes: BTreeMap::new(),
        }
    }

    /// The world as it is.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Somebody acts so many seconds after the world began.
    pub fn plan(&self, second: i64, action: Action) {
        let at = DAWN
            .saturating_add(SignedDuration::from_secs(second))
            .unwrap_or(Timestamp::MAX);
        self.world().at(at, Occurrence::Act(Box::new(action)));
    }

    /// Lets everything happen until then.
    ///
    /// # Errors
    /// When a rule is broken, or there is no end.
    pub fn run(&mut self, until: Timestamp, most: u64) -> Result<(), BrokenOff> {
        loop {
            let turns = {
                let mut world = self.world();
                if world.events > most {
                    return Err(BrokenOff::Endless(most));
                }
                match world.next_at() {
                    Some(at) if at <= until => world.step().unwrap_or_default(),
                    _ => {
                        world.now = world.now.max(until);
                        return Ok(());
                    }
                }
            };
            self.take(turns);
            self.world().judge()?;
        }
    }

    /// The same, for so many seconds.
    ///
    /// # Errors
    /// When a rule is broken, or there is no end.
    pub fn run_for(&mut self, seconds: i64, most: u64) -> Result<(), BrokenOff> {
        let until = self
            .world()
            .now
            .saturating_add(SignedDuration::from_secs(seconds));
        self.run(until.unwrap_or(Timestamp::MAX), most)
    }

    fn take(&mut self, mut turns: Vec<Turn>) {
        // A pass may make a process die, which ends others.
        while !turns.is_empty() {
            for turn in std::mem::take(&mut turns) {
                match turn {
                    Turn::Died(process) => {
                        self.passes.retain(|(life, _), _| life.process != process);
                    }
                    Turn::Start(life, key) => {
                        let pass = begin(&self.world, life, &key);
                        self.passes.insert((life, key.clone()), pass);
                        self.go_on(life, key);
                    }
                    Turn::Resume(life, key) => self.go_on(life, key),
                }
            }
            turns = std::mem::take(&mut self.world().turns);
        }
    }

    fn go_on(&mut self, life: Life, key: Key) {
        let Some(mut pass) = self.passes.remove(&(life, key.clone())) else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        match pass.as_mut().poll(&mut context) {
            Poll::Ready((memory, ran)) => self.world().finished(life, &key, memory, ran),
            Poll::Pending => drop(self.passes.insert((life, key), pass)),
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The real pass over one object, by one process.
fn begin(world: &Arc<Mutex<World>>, life: Life, key: &Key) -> Pass {
    let api = Api {
        world: Arc::clone(world),
        life,
        key: key.clone(),
    };
    let key = key.clone();
    Box::pin(async move {
        let (mut memory, trust, epoch) = {
            let mut world = lock(&api.world);
            let memory = world.take_memory(life, &key);
            let trust = world.begins(life, &key);
            (memory, trust, world.processes[life.process].epoch)
        };
        let (clock, board) = (api.clone(), api.clone());
        let now = move || lock(&clock.world).clock(life.process);
        let readings = move |revision: &str| board.readings(revision);
        let around = Surroundings {
            now: &now,
            readings: &readings,
            source_problem: &|_: &str| None,
            sql_image: SQL_IMAGE.into(),
            limits: Limits::default(),
            trusted_since: trust.since,
            epoch,
            outranks: epoch,
        };
        let ran = pass::run(&api, &key, &mut memory, &around).await;
        (memory, ran)
    })
}

/// The cluster as one pass of one process has it.
#[derive(Clone)]
struct Api {
    world: Arc<Mutex<World>>,
    life: Life,
    key: Key,
}

impl Api {
    fn readings(&self, revision: &str) -> Option<evidence::Readings> {
        let world = lock(&self.world);
        let Key::Rollout { namespace, name } = &self.key else {
            return None;
        };
        let key = evidence::Key {
            namespace: namespace.clone(),
            rollout: name.clone(),
            revision: revision.into(),
        };
        world.processes[self.life.process].board.readings(&key)
    }
}

impl Cluster for Api {
    fn rollout(&self, _: &str, name: &str) -> Option<Objects> {
        let mut world = lock(&self.world);
        let process = &mut world.processes[self.life.process];
        process.looks(&self.key, name);
        facts::cached(&process.caches, name)
    }

    fn database(&self, _: &str, name: &str) -> Option<DatabaseObjects> {
        let world = lock(&self.world);
        facts::cached_database(&world.processes[self.life.process].caches, name)
    }

    fn ask(
        &self,
        key: &Key,
        question: &Question,
    ) -> impl Future<Output = Result<Answer, ReadError>> + Send {
        let mut world = lock(&self.world);
        let answer = world.answer(key.name(), question);
        if let (Question::Rollout(name), Ok(_)) = (question, &answer) {
            let known = world.live.rollouts.get(name.as_str()).cloned();
            world.processes[self.life.process].learned(known.map(Object::Rollout));
        }
        std::future::ready(answer)
    }

    fn write(
        &self,
        _: &str,
        write: &Write,
    ) -> impl Future<Output = Result<Written, WriteError>> + Send {
        let (api, write) = (self.clone(), Arc::new(write.clone()));
        let mut ticket = None;
        std::future::poll_fn(move |_| {
            let mut world = lock(&api.world);
            let ticket = *ticket.get_or_insert_with(|| world.send(api.life, &api.key, &write));
            world.take_answer(ticket).map_or(Poll::Pending, Poll::Ready)
        })
    }
}

impl World {
    /// A live read about the Rollout, or DatabaseSchema, of this name.
    pub(super) fn answer(&mut self, asker: &str, question: &Question) -> Result<Answer, ReadError> {
        let now = self.now;
        if self.faults.read_fails(now) {
            self.coverage.count(Kind::ReadFails);
            return Err(ReadError {
                what: question.to_string(),
                message: "service unavailable".into(),
            });
        }
        Ok(match question {
            Question::Rollout(name) => {
                let live = self.live.rollouts.get(name.as_str());
                Answer::Rollout(live.map(|rollout| facts::live(rollout).into()))
            }
            Question::Template(name) => {
                let live = self.live.revisions.get(name.as_str());
                Answer::Template(live.map(|revision| {
                    let kept = Remembered {
                        template: (*revision.template).clone(),
                        schema: revision.schema.as_deref().cloned(),
                    };
                    Arc::new(kept)
                }))
            }
            Question::Overlaps(spec) => {
                let selected = |labels| spec.selector.selects(labels);
                let others = self.foreign.iter().filter(|(_, labels)| selected(labels));
                let others = others.map(|(name, _)| Overlap {
                    deployment: name.clone(),
                    empty: false,
                });
                let adoptable = self.live.deployments.values().filter(|d| {
                    let foreign = d.foreign.as_ref();
                    foreign.is_some_and(|foreign| selected(&foreign.labels))
                });
                let adoptable = adoptable.map(|d| Overlap {
                    deployment: d.meta.name.to_string(),
                    empty: d.replicas == 0 && d.status_replicas == 0,
                });
                Answer::Overlaps(others.chain(adoptable).collect())
            }
            Question::Deployment(name) => {
                let found = self.live.deployments.get(name.as_str());
                let found = found.and_then(|found| facts::deployment(found));
                Answer::Deployment(found.map(Arc::new))
            }
            Question::Revisions => {
                let all = self.live.revisions.values();
                let own = all.filter(|r| *r.rollout == *asker);
                Answer::Revisions(own.map(|r| facts::revision(r)).collect())
            }
            Question::Hold(name) => {
                let database = self.live.databases.get(name.as_str());
                let holders = database.into_iter().flat_map(|d| d.record.holders());
                let jobs = holders.filter_map(|h| self.live.jobs.get(h.job.as_str()));
                let hold = Hold {
                    database: database.map(|database| facts::database(database)),
                    jobs: jobs.map(|job| facts::job(job)).collect(),
                };
                Answer::Hold(hold.into())
            }
            Question::Users(name) => {
                self.ledger.users_read += 1;
                Answer::Users(self.users(name))
            }
            Question::Routes(asked) => Answer::Routes(self.read_routes(asked)),
            Question::Config(wanted) => {
                let missing = wanted.iter().filter(|c| !self.configs.contains(c));
                Answer::Config(ConfigFacts {
                    missing: missing.cloned().collect(),
                    unread: Vec::new(),
                })
            }
            Question::Texts(keys) => Answer::Texts(self.texts_of(keys)),
            Question::Job(name) => {
                let job = self.live.jobs.get(name.as_str());
                Answer::Job(job.map(|job| facts::job(job).into()))
            }
            Question::Flags(name) => {
                let map = self.live.config_maps.get(name.as_str());
                Answer::Flags(map.map(|map| facts::config_map(map).into()))
            }
            Question::Progress(job, _) => Answer::Progress(Some(self.progress_of(job))),
            Question::JobPod(_) => {
                Answer::JobPod(PodOfJob::that_waits("ErrImagePull: image not found"))
            }
            Question::JobLog(name) => {
                let end = format!("the last line of {name}");
                Answer::JobLog(JobLog::Ends(end))
            }
        })
    }
}
