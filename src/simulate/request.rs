//! A write on its way to the API server and back, and what may befall it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    coverage::Kind,
    event::{Event, Life, Turn},
    object::Object,
    process::Seen,
    random::Random,
    rules::{Arrival, Happened, OnRecord, Trust},
    world::World,
};
use crate::{
    api::keys,
    cluster::{Key, WriteError, Written},
    plan::intent::{self, Write},
};

/// How long a client waits for an answer.
const CLIENT_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);

/// What befalls one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Arrives,
    /// Somebody else changes the object first.
    Overtaken,
    /// The API server does not take it (429).
    NotTaken,
    /// No answer. It is handled after so many milliseconds; or never.
    Unanswered(Option<i64>),
    /// It takes so many milliseconds to arrive.
    Late(i64),
    /// The operator dies before it is sent.
    CrashBefore,
    /// The operator dies after it was handled, before the answer.
    CrashAfter,
}

/// What befalls the operator's requests.
#[derive(Clone, Debug)]
pub struct Faults {
    /// What befalls the n-th write, from 0.
    pub scripted: BTreeMap<u64, Fate>,
    /// Percent of writes that something befalls.
    pub percent: u32,
    /// Percent of live reads that get no answer.
    pub reads_percent: u32,
    /// When random faults stop.
    pub until: Timestamp,
    /// The API server takes nothing and answers nothing.
    pub away: bool,
    /// The webhook that judges Deployments is down: whoever writes one gets no answer.
    pub webhook_down: bool,
    /// Writes that were begun.
    pub begun: u64,
    /// Draws them, apart from everything else.
    pub random: Random,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            scripted: BTreeMap::new(),
            percent: 0,
            reads_percent: 0,
            until: Timestamp::MAX,
            away: false,
            webhook_down: false,
            begun: 0,
            random: Random::new(0),
        }
    }
}

impl Faults {
    fn next(&mut self, now: Timestamp, write: &Write) -> Fate {
        let number = self.begun;
        self.begun += 1;
        if let Some(fate) = self.scripted.get(&number) {
            return *fate;
        }
        if self.away {
            return Fate::NotTaken;
        }
        let of_deployment = matches!(
            write,
            Write::Create {
                kind: intent::Kind::Deployment,
                ..
            } | Write::Scale { .. }
                | Write::Fence { .. }
        );
        if self.webhook_down && of_deployment {
            return Fate::Unanswered(None);
        }
        if now >= self.until || !self.random.chance(self.percent) {
            return Fate::Arrives;
        }
        match self.random.below(8) {
            0 => Fate::Overtaken,
            1 => Fate::NotTaken,
            2 => Fate::Unanswered(None),
            3 => Fate::Unanswered(Some(self.random.between(1, 20_000))),
            4 => Fate::Late(self.random.between(100, 8_000)),
            5 => Fate::CrashBefore,
            6 => Fate::CrashAfter,
            _ => Fate::Unanswered(Some(self.random.between(1, 100))),
        }
    }

    /// Whether a live read fails.
    pub(super) fn read_fails(&mut self, now: Timestamp) -> bool {
        self.away || (now < self.until && self.random.chance(self.reads_percent))
    }
}

/// A write under way.
#[derive(Debug)]
pub struct Request {
    life: Life,
    key: Key,
    write: Arc<Write>,
    fate: Fate,
    epoch: i64,
    sent: Timestamp,
    trust: Trust,
    on_record: OnRecord,
    seen: Option<Arc<Seen>>,
    answer: Option<Result<Written, WriteError>>,
    /// The object as the write left it.
    after: Option<Object>,
    handled: bool,
    returned: bool,
}

impl World {
    fn on_record(&self, key: &Key, write: &Write) -> OnRecord {
        let rollout = self.live.rollouts.get(key.name());
        let database = match write {
            Write::Create {
                kind: intent::Kind::Job,
                manifest,
            } => {
                let name = &manifest["metadata"]["labels"][keys::DATABASE];
                self.live.databases.get(name.as_str().unwrap_or_default())
            }
            Write::ReleaseJob { base } => {
                let job = self.live.jobs.get(base.name.as_str());
                job.and_then(|job| self.live.databases.get(&job.database))
            }
            _ => None,
        };
        OnRecord {
            status: rollout.map(|r| Arc::clone(&r.status)),
            holder: database.and_then(|d| d.record.holder.clone()),
        }
    }

    /// The operator sends a write; the ticket names it.
    pub(super) fn send(&mut self, life: Life, key: &Key, write: &Arc<Write>) -> u64 {
        let fate = self.faults.next(self.now, write);
        self.coverage.befell(fate);
        let ticket = self.faults.begun;
        // Of the pass that sends it.
        let known = self.processes[life.process].trust.get(key).copied();
        let trust = known.unwrap_or_else(|| self.begins(life, key));
        let process = &self.processes[life.process];
        let request = Request {
            life,
            key: key.clone(),
            write: Arc::clone(write),
            fate,
            epoch: process.epoch,
            sent: self.now,
            trust,
            on_record: self.on_record(key, write),
            seen: process.seen.get(key).cloned(),
            answer: None,
            after: None,
            handled: false,
            returned: false,
        };
        let way = self.draw(self.setting.timing.requests);
        let milliseconds = SignedDuration::from_millis;
        if fate != Fate::Arrives {
            let words = format!("fault: {} {fate:?}", describe(write));
            self.story.fault(self.now, key.name(), &words);
        }
        self.requests.insert(ticket, request);
        match fate {
            Fate::Arrives | Fate::Overtaken | Fate::CrashAfter => {
                self.after(way, Event::Arrive(ticket));
            }
            Fate::Late(by) => self.after(way + milliseconds(by), Event::Arrive(ticket)),
            Fate::NotTaken => self.after(way, Event::Return(ticket)),
            Fate::Unanswered(handled) => {
                if let Some(by) = handled {
                    self.after(milliseconds(by), Event::Arrive(ticket));
                }
                self.after(CLIENT_TIMEOUT, Event::Return(ticket));
            }
            Fate::CrashBefore => self.crash(life.process),
        }
        ticket
    }

    /// The API server handles a write, whether or not its sender is still there.
    pub(super) fn arrive(&mut self, ticket: u64) {
        let Some(mut request) = self.requests.remove(&ticket) else {
            return;
        };
        self.arrived += 1;
        self.last_write = describe(&request.write);
        if request.fate == Fate::Overtaken {
            self.touch(&request.write);
        }
        let before = self.target(&request.write);
        self.handling = true;
        let answer = self.apply(&request.write);
        self.handling = false;
        if matches!(answer, Err(WriteError::Conflict { .. })) && request.fate != Fate::Overtaken {
            self.coverage.count(Kind::Stale);
        }
        if request.epoch < self.epoch {
            self.coverage.count(Kind::Deposed);
        }
        request.after = self.target(&request.write);
        self.happened.push(Happened::Arrived(Box::new(Arrival {
            life: request.life,
            epoch: request.epoch,
            sent: request.sent,
            trust: request.trust,
            on_record: request.on_record.clone(),
            key: request.key.clone(),
            after: request.after.clone(),
            write: Arc::clone(&request.write),
            before: before.clone(),
            refused: answer.as_ref().err().cloned(),
            seen: request.seen.clone(),
        })));
        self.tell_write(&request.key, &request.write, &answer);
        if let (Ok(Written::Rollout(rollout)), Some(Object::Rollout(before))) = (&answer, &before) {
            self.tell_standing(&before.status, rollout);
        }
        request.answer = Some(answer);
        request.handled = true;
        let life = request.life;
        match request.fate {
            Fate::CrashAfter => self.crash(life.process),
            Fate::Unanswered(_) if request.returned => {}
            Fate::Unanswered(_) => drop(self.requests.insert(ticket, request)),
            _ => {
                let way = self.draw(self.setting.timing.requests);
                self.requests.insert(ticket, request);
                self.after(way, Event::Return(ticket));
            }
        }
    }

    /// The sender gets its answer, or gives up.
    pub(super) fn return_answer(&mut self, ticket: u64) {
        let Some(request) = self.requests.get_mut(&ticket) else {
            return;
        };
        request.returned = true;
        let object = describe(&request.write);
        match request.fate {
            Fate::Unanswered(_) => {
                let message = "no answer within 10 s".into();
                request.answer = Some(Err(WriteError::Unanswered { object, message }));
            }
            Fate::NotTaken => {
                let message = "too many requests".into();
                request.answer = Some(Err(WriteError::NotTaken { object, message }));
            }
            _ => {}
        }
        let (life, key) = (request.life, request.key.clone());
        self.turns.push(Turn::Resume(life, key));
    }

    /// The answer to a write, once it is there.
    pub(super) fn take_answer(&mut self, ticket: u64) -> Option<Result<Written, WriteError>> {
        let request = self.requests.get_mut(&ticket)?;
        if !request.returned {
            return None;
        }
        let answer = request.answer.take();
        let (life, after) = (request.life, request.after.clone());
        let on_its_way = matches!(request.fate, Fate::Unanswered(Some(_))) && !request.handled;
        if !on_its_way {
            self.requests.remove(&ticket);
        }
        if let Some(Ok(_)) = &answer {
            self.processes[life.process].learned(after);
        }
        answer
    }
}

/// A write in a few words.
#[must_use]
pub fn describe(write: &Write) -> String {
    match write {
        Write::RecordStatus { base, .. } => format!("status of {}", base.name),
        Write::Create { kind, .. } => format!("create {} {}", word(*kind), write.name()),
        Write::MarkRevision { base, outcome, .. } => match outcome {
            Some(outcome) => format!("mark {} {outcome:?}", base.name),
            None => format!("unmark {}", base.name),
        },
        Write::Adopt { base, .. } => format!("adopt {}", base.name),
        Write::Scale { base, from, to } => format!("scale {} {from} -> {to}", base.name),
        Write::Fence { base, epoch, .. } => format!("fence {} epoch {epoch}", base.name),
        Write::RecordDatabase { base, .. } => format!("record of database {}", base.name),
        Write::ReleaseJob { base } => format!("release {}", base.name),
        Write::Delete { base, .. } => format!("delete {}", base.name),
    }
}

const fn word(kind: intent::Kind) -> &'static str {
    match kind {
        intent::Kind::Revision => "revision",
        intent::Kind::Deployment => "deployment",
        intent::Kind::Database => "database",
        intent::Kind::Job => "job",
    }
}
