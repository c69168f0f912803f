//! A write on its way to the API server and back.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{
    coverage,
    event::{Life, Occurrence, Turn},
    ledger::{Arrival, Happened},
    object::Object,
    request::{Fate, OnRecord, Request, describe},
    world::World,
};
use crate::{
    api::{PhaseKind, keys},
    cluster::{Key, WriteError, Written},
    plan::intent::{Kind, Write},
};

/// How long a client waits for an answer.
const CLIENT_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);

impl World {
    fn on_record(&self, key: &Key, write: &Write) -> OnRecord {
        let rollout = self.live.rollouts.get(key.name());
        let held = match write {
            Write::Create {
                kind: Kind::Job,
                manifest,
            } => {
                let labels = &manifest["metadata"]["labels"];
                let name = labels[keys::DATABASE].as_str().unwrap_or_default();
                let word = labels[keys::PHASE].as_str();
                let phase = PhaseKind::ALL.into_iter().find(|p| Some(p.word()) == word);
                self.live.databases.get(name).zip(phase)
            }
            Write::ReleaseJob { base } => {
                let job = self.live.jobs.get(base.name.as_str());
                job.and_then(|job| Some((self.live.databases.get(&job.database)?, job.phase?)))
            }
            _ => None,
        };
        OnRecord {
            status: rollout.map(|r| Arc::clone(&r.status)),
            holder: held.and_then(|(d, phase)| d.record.held_for(phase).cloned()),
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
            self.struck(key.name(), &words);
        }
        self.requests.insert(ticket, request);
        match fate {
            Fate::Arrives | Fate::Overtaken | Fate::CrashAfter => {
                self.after(way, Occurrence::Arrive(ticket));
            }
            Fate::Late(by) => self.after(way + milliseconds(by), Occurrence::Arrive(ticket)),
            Fate::NotTaken => self.after(way, Occurrence::Return(ticket)),
            Fate::Unanswered(handled) => {
                if let Some(by) = handled {
                    self.after(milliseconds(by), Occurrence::Arrive(ticket));
                }
                self.after(CLIENT_TIMEOUT, Occurrence::Return(ticket));
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
        let answer = match request.write.kind() {
            Some(kind) if self.faults.denied == Some(kind) => Err(WriteError::Refused {
                object: describe(&request.write),
                message: format!("a policy denies writes of {}s", kind.name()),
                transient: true,
            }),
            _ => self.apply(&request.write),
        };
        self.handling = false;
        if let Err(WriteError::Refused { message, .. }) = &answer {
            let sender = (request.life, request.key.clone());
            let refused = self.ledger.refused.entry(sender).or_default();
            refused.insert(message.clone());
        }
        if matches!(answer, Err(WriteError::Conflict { .. })) && request.fate != Fate::Overtaken {
            self.coverage.count(coverage::Kind::Stale);
        }
        if request.epoch < self.epoch {
            self.coverage.count(coverage::Kind::Deposed);
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
        self.story
            .write(self.now, &request.key, &request.write, &answer);
        if let (Ok(Written::Rollout(rollout)), Some(Object::Rollout(before))) = (&answer, &before) {
            self.story.standing(self.now, &before.status, rollout);
        }
        if let (Ok(Written::Database(database)), Some(Object::Database(before))) =
            (&answer, &before)
        {
            self.story.waits(self.now, &before.record, database);
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
                self.after(way, Occurrence::Return(ticket));
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
