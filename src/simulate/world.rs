//! The world: one clock, one agenda, and what everybody who acts on it finds and leaves there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    action::Command,
    coverage::Coverage,
    event::{Occurrence, Sync, Turn},
    ledger::{Happened, Ledger},
    object::RouteObject,
    object::{Container, Meta, Name, Notice, Object, Objects, ReplicaSet, Watched},
    process::Process,
    prometheus::Outage,
    random::Random,
    request::{Faults, Request},
    setting::{DAWN, Delay, Setting},
    sql_ledger::{Backup, SqlLedger},
    story::Story,
    tables::{Code, Tables},
    traffic::Traffic,
};
use crate::{
    api::{RolloutSpec, sql::KeyRef, traffic::RouteKind},
    plan::facts::ConfigRef,
};

/// A cluster in memory, the processes of the operator in it, and the people around it.
#[derive(Debug)]
pub struct World {
    /// The time.
    pub now: Timestamp,
    /// How it behaves.
    pub setting: Setting,
    /// What the API server holds.
    pub live: Objects,
    /// Processes of the operator.
    pub processes: Vec<Process>,
    /// What pods have served.
    pub traffic: Traffic,
    /// How the metric source fails.
    pub outage: Outage,
    /// ConfigMaps and Secrets that exist.
    pub configs: BTreeSet<ConfigRef>,
    /// What keys of ConfigMaps hold that are files of SQL.
    pub texts: BTreeMap<KeyRef, String>,
    /// Deployments of others, with the labels of their pods.
    pub foreign: BTreeMap<String, BTreeMap<String, String>>,
    /// The schema version that a CronJob of somebody else says it needs, if there is one.
    pub consumer: Option<Option<i64>>,
    /// Databases by name: what is in them.
    pub tables: BTreeMap<Name, Tables>,
    /// Their ledgers, where phases in SQL have run.
    pub sql_ledgers: BTreeMap<Name, SqlLedger>,
    /// Backups of databases and their records.
    pub(super) backups: BTreeMap<Name, Backup>,
    /// What the code of each pod needs, where it uses a database.
    pub code: BTreeMap<Name, Code>,
    /// What Git says of a Rollout that an agent keeps.
    pub git: BTreeMap<Name, RolloutSpec>,
    /// Commands that people gave.
    pub commands: Vec<Command>,
    /// What people read afterwards.
    pub story: Story,
    /// What the rules remember.
    pub ledger: Ledger,
    /// What happened in this event, for the rules.
    pub happened: Vec<Happened>,
    /// What befalls the operator's writes.
    pub faults: Faults,
    /// The Lease's `leaseTransitions`.
    pub epoch: i64,
    /// Writes that arrived at the API server, accepted or not.
    pub arrived: u64,
    /// Changes of objects that are not the operator's writes.
    pub others_changes: u64,
    /// The operator's last write, in words.
    pub last_write: String,
    /// Events that have happened.
    pub events: u64,
    /// What befell the operator.
    pub coverage: Coverage,
    /// What the autoscaler of a Rollout would have had lately.
    pub(super) advices: BTreeMap<Name, Vec<(Timestamp, i32)>>,
    pub(super) random: Random,
    /// Where requests to each Service of the operator's go: it follows late.
    pub(super) endpoints: BTreeMap<Name, BTreeSet<Name>>,
    /// Routes by name.
    pub(super) routes: BTreeMap<String, RouteObject>,
    /// The gateway's controller is down.
    pub(super) gateway_away: bool,
    /// Of what kind all routes are, and whether the API server knows it.
    pub route_kind: RouteKind,
    pub(super) route_kind_known: bool,
    /// What the operator has told routes last, by their names.
    pub(super) told_weights: BTreeMap<String, i32>,
    /// For which share of users flags are on in the pods of each Rollout: it follows late.
    pub(super) flagged: BTreeMap<Name, f64>,
    pub(super) requests: BTreeMap<u64, Request>,
    pub(super) replica_sets: BTreeMap<Name, ReplicaSet>,
    pub(super) containers: BTreeMap<Name, Container>,
    pub(super) job_starts: BTreeMap<(Name, Option<crate::api::PhaseKind>), usize>,
    pub(super) started_jobs: BTreeSet<Name>,
    /// Since when the pod of a Job runs, and for how many seconds, if it ends.
    pub(super) job_spans: BTreeMap<Name, (Timestamp, Option<i64>)>,
    pub(super) turns: Vec<Turn>,
    /// What waits for the API server to be back.
    pub(super) frozen: Vec<Occurrence>,
    /// What the kubelet does when it is back, while it is away.
    pub(super) silenced: Option<Vec<Occurrence>>,
    /// The API server handles a write of the operator.
    pub(super) handling: bool,
    /// What watchers of everything are told, if there are any.
    pub(super) notices: Option<Vec<Notice>>,
    agenda: BTreeMap<(Timestamp, u64), Occurrence>,
    sequence: u64,
    pending: BTreeSet<Sync>,
    /// The resourceVersion given last.
    pub(super) version: u64,
    uids: u64,
}

impl World {
    /// An empty world; the seed decides all delays.
    #[must_use]
    pub fn new(setting: Setting, seed: u64) -> Self {
        Self {
            now: DAWN,
            setting,
            live: Objects::default(),
            processes: Vec::new(),
            traffic: Traffic::default(),
            outage: Outage::default(),
            configs: BTreeSet::new(),
            texts: BTreeMap::new(),
            foreign: BTreeMap::new(),
            consumer: None,
            tables: BTreeMap::new(),
            sql_ledgers: BTreeMap::new(),
            backups: BTreeMap::new(),
            code: BTreeMap::new(),
            git: BTreeMap::new(),
            commands: Vec::new(),
            story: Story::default(),
            ledger: Ledger::default(),
            happened: Vec::new(),
            faults: Faults::default(),
            epoch: 0,
            arrived: 0,
            others_changes: 0,
            last_write: String::new(),
            events: 0,
            coverage: Coverage::default(),
            advices: BTreeMap::new(),
            random: Random::new(seed),
            endpoints: BTreeMap::new(),
            routes: BTreeMap::new(),
            gateway_away: false,
            route_kind: RouteKind::Http,
            route_kind_known: true,
            told_weights: BTreeMap::new(),
            flagged: BTreeMap::new(),
            requests: BTreeMap::new(),
            replica_sets: BTreeMap::new(),
            containers: BTreeMap::new(),
            job_starts: BTreeMap::new(),
            started_jobs: BTreeSet::new(),
            job_spans: BTreeMap::new(),
            turns: Vec::new(),
            frozen: Vec::new(),
            silenced: None,
            handling: false,
            notices: None,
            agenda: BTreeMap::new(),
            sequence: 0,
            pending: BTreeSet::new(),
            version: 1,
            uids: 0,
        }
    }

    /// Something happens so much later.
    pub fn after(&mut self, delay: SignedDuration, event: Occurrence) {
        let at = self.now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        self.at(at, event);
    }

    /// Something happens then; at once if that is past.
    pub fn at(&mut self, at: Timestamp, event: Occurrence) {
        self.sequence += 1;
        self.agenda.insert((at.max(self.now), self.sequence), event);
    }

    /// It is told that somebody, or a program of his, does something.
    pub(super) fn did(&mut self, about: &str, words: &str) {
        self.story.person(self.now, about, words);
    }

    /// It is told that fate strikes.
    pub(super) fn struck(&mut self, about: &str, words: &str) {
        self.story.fault(self.now, about, words);
    }

    /// A delay, drawn.
    pub(super) fn draw(&mut self, delay: Delay) -> SignedDuration {
        SignedDuration::from_millis(delay.draw(&mut self.random))
    }

    /// A controller will look at it; looks that are planned already are not planned twice.
    pub(super) fn sync(&mut self, sync: Sync) {
        if self.pending.insert(sync.clone()) {
            let delay = self.draw(self.setting.timing.controllers);
            self.after(delay, Occurrence::Sync(sync));
        }
    }

    /// When the next event happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Timestamp> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// The next event; it is that late now.
    pub(super) fn next(&mut self) -> Option<Occurrence> {
        let ((at, _), event) = self.agenda.pop_first()?;
        self.now = at;
        self.events += 1;
        if let Occurrence::Sync(sync) = &event {
            self.pending.remove(sync);
        }
        Some(event)
    }

    /// A new object's name, uid and versions.
    pub(super) fn meta(&mut self, name: &str, owner: Option<Name>) -> Meta {
        self.uids += 1;
        Meta {
            name: name.into(),
            uid: format!("uid-{:04}", self.uids).into(),
            version: 0,
            generation: 1,
            created: self.now,
            owner,
            deleting: false,
        }
    }

    /// Objects of any kind by name.
    #[must_use]
    pub fn find(&self, kind: Watched, name: &str) -> Option<Object> {
        match kind {
            Watched::Rollouts => self.live.rollouts.get(name).cloned().map(Object::Rollout),
            Watched::Revisions => self.live.revisions.get(name).cloned().map(Object::Revision),
            Watched::Deployments => {
                let found = self.live.deployments.get(name).cloned();
                found.map(Object::Deployment)
            }
            Watched::Pods => self.live.pods.get(name).cloned().map(Object::Pod),
            Watched::Jobs => self.live.jobs.get(name).cloned().map(Object::Job),
            Watched::Databases => self.live.databases.get(name).cloned().map(Object::Database),
            Watched::Services => self.live.services.get(name).cloned().map(Object::Service),
            Watched::ConfigMaps => {
                let found = self.live.config_maps.get(name).cloned();
                found.map(Object::ConfigMap)
            }
        }
    }
}
