//! What this process knows before its caches do: the answers to its own writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{Hold, Written};
use crate::plan::{
    adopting,
    facts::{
        Base, ChildFacts, DatabaseFacts, DatabaseObjects, Heard, JobFacts, KnownUsers, Objects,
        Report, RevisionFacts, RolloutFacts, ServiceFacts, Services, UserFacts,
    },
    intent::Write,
};

/// What this process remembers of one Rollout or DatabaseSchema between passes: the answers to
/// its own writes, until the caches have caught up, and writes that were never answered. Losing
/// it costs nothing but a conflict.
#[derive(Debug, Default)]
pub struct Memory {
    rollout: Option<Answered<RolloutFacts>>,
    revisions: Own<RevisionFacts>,
    children: Own<ChildFacts>,
    jobs: Own<JobFacts>,
    database: Own<DatabaseFacts>,
    services: Own<ServiceFacts>,
    /// Uids of what was deleted and the caches still show.
    gone: BTreeSet<String>,
    /// Scales that were never answered, by uid of the Deployment.
    unanswered: BTreeMap<String, Unanswered>,
    /// The version of each Service, by uid, on which a write rested that was never answered.
    unsettled: BTreeMap<String, String>,
    /// How often in a row a name was taken by something that the caches do not show.
    taken: BTreeMap<String, u32>,
    /// Live reads in a row that got no answer.
    unread: u32,
    /// Writes in a row, but for those of status, that got no answer.
    unwritten: u32,
    pub(super) status_written: Option<Timestamp>,
    /// When the ConfigMaps of its flags were read last.
    pub(super) flags_looked: Option<Timestamp>,
    /// What the runner of a backfill said last.
    pub(super) heard: Option<Heard>,
    /// Who used the database when that was read last.
    pub(super) users: Option<Arc<KnownUsers>>,
    /// Uid of the Rollout that the API server has shown to this process itself.
    confirmed: Option<String>,
    /// Uid of the Rollout whose ControllerRevisions it has listed for this process.
    listed: Option<String>,
}

/// Objects as they were answered, by uid.
type Own<T> = BTreeMap<String, Answered<T>>;

/// An object as it was answered last.
#[derive(Debug)]
struct Answered<T> {
    facts: T,
    /// The caches have shown it: when they show it no longer, somebody deleted it.
    shown: bool,
    at: Timestamp,
    /// Since when the API server says that it is something newer by now.
    contradicted: Option<Timestamp>,
}

impl<T> Answered<T> {
    const fn new(facts: T, shown: bool, at: Timestamp) -> Self {
        Self {
            facts,
            shown,
            at,
            contradicted: None,
        }
    }

    /// The API server says that it is something newer by now. Says whether it is to be kept all
    /// the same.
    fn is_kept_at(&mut self, now: Timestamp) -> bool {
        let since = *self.contradicted.get_or_insert(now);
        now.duration_since(since) < CAUGHT_UP
    }
}

/// A scale that may or may not have happened. It was bound to a resourceVersion, so it is
/// settled as soon as the Deployment is seen under another.
#[derive(Debug)]
struct Unanswered {
    resource_version: String,
    low: i32,
    high: i32,
}

/// The time after which the caches are believed though they show nothing newer than what was
/// answered: by then a broken watch has been replayed.
const CAUGHT_UP: SignedDuration = SignedDuration::from_secs(360);

/// Times in a row after which a taken name is no longer put down to a cache that lags.
const TAKEN_FOR_GOOD: u32 = 5;
/// Live reads, or writes, in a row without an answer after which that is worth saying.
const UNANSWERED_FOR_LONG: u32 = 3;

impl Memory {
    /// The runner of a backfill was asked how far it is; or others were, and its turn comes again.
    pub(super) fn hears(&mut self, job: &str, said: Option<Result<Report, String>>, at: Timestamp) {
        let before = self.heard.as_mut().filter(|heard| heard.job == job);
        let said = match (said, before) {
            (None, Some(before)) => {
                before.tried = at;
                return;
            }
            (None, None) => {
                self.heard = Some(Heard {
                    job: job.to_owned(),
                    said: Err("others are being asked".to_owned()),
                    at,
                    tried: at,
                    unheard: 0,
                });
                return;
            }
            (Some(said), _) => said,
        };
        let before = self.heard.as_ref().filter(|heard| heard.job == job);
        let unheard = match said {
            Ok(_) => 0,
            Err(_) => before.map_or(0, |heard| heard.unheard) + 1,
        };
        self.heard = Some(Heard {
            job: job.to_owned(),
            said,
            at,
            tried: at,
            unheard,
        });
    }

    /// Who uses a database was read live, while the caches held this.
    pub(super) fn know_users(
        &mut self,
        database: &str,
        users: &Arc<[UserFacts]>,
        cached: &Objects,
        at: Timestamp,
    ) {
        let now = KnownUsers {
            database: database.to_owned(),
            users: Arc::clone(users),
            rollouts: cached.on_database(),
            at,
            same: 0,
        };
        let before = self.users.as_deref();
        let same = before
            .filter(|before| before.database == now.database && before.rollouts == now.rollouts);
        let same = same.map_or(0, |before| before.same.saturating_add(1));
        self.users = Some(Arc::new(KnownUsers { same, ..now }));
    }

    /// Lays what is remembered over what the caches hold, and forgets what they know by now.
    pub(super) fn overlay(&mut self, cached: &mut Objects, now: Timestamp) {
        match &self.rollout {
            Some(mine) if is_later(&mine.facts.base, &cached.rollout.base) => {
                cached.rollout = mine.facts.clone();
            }
            _ => self.rollout = None,
        }
        adopting::join(cached);
        let revisions = hide(&self.gone, &mut cached.revisions);
        let jobs = hide(&self.gone, &mut cached.jobs);
        let children = hide(&self.gone, &mut cached.children);
        let database = cached.database.take_if(|d| self.gone.contains(&d.base.uid));
        let services = hide(&self.gone, &mut cached.services.all);
        let hidden = revisions.into_iter().chain(jobs).chain(children);
        let hidden = hidden.chain(services);
        self.gone = hidden.chain(database.map(|d| d.base.uid)).collect();
        lay(&mut self.revisions, &mut cached.revisions, now);
        lay(&mut self.children, &mut cached.children, now);
        lay(&mut self.jobs, &mut cached.jobs, now);
        self.overlay_services(&mut cached.services, now);
        let spec = cached.rollout.spec.as_deref().ok();
        cached.database = spec
            .and_then(|spec| spec.database())
            .and_then(|name| self.overlay_database(cached.database.take(), name, now));
        for child in &mut cached.children {
            match self.unanswered.get(&child.base.uid) {
                // A copy that is older than what the scale rested on settles nothing.
                Some(open) if !is_newer(&child.base.resource_version, &open.resource_version) => {
                    child.possible = (open.low.min(child.replicas), open.high.max(child.replicas));
                }
                Some(_) => {
                    self.unanswered.remove(&child.base.uid);
                }
                None => {}
            }
        }
    }

    /// The same of its Services, where the caches hold any.
    fn overlay_services(&mut self, cached: &mut Services, now: Timestamp) {
        if cached.unread.is_some() {
            return;
        }
        lay(&mut self.services, &mut cached.all, now);
        for service in &mut cached.all {
            let base = &service.base;
            match self.unsettled.get(&base.uid) {
                Some(open) if !is_newer(&base.resource_version, open) => service.uncertain = true,
                Some(_) => drop(self.unsettled.remove(&base.uid)),
                None => {}
            }
        }
    }

    /// The same of a DatabaseSchema. Says whether it is there still.
    pub(super) fn overlay_of_database(
        &mut self,
        cached: &mut DatabaseObjects,
        now: Timestamp,
    ) -> bool {
        if self.gone.contains(&cached.database.base.uid) {
            return false;
        }
        let (name, theirs) = (cached.database.base.name.clone(), cached.database.clone());
        if let Some(database) = self.overlay_database(Some(theirs), &name, now) {
            cached.database = database;
        }
        let jobs = hide(&self.gone, &mut cached.jobs);
        self.gone = jobs.into_iter().collect();
        lay(&mut self.jobs, &mut cached.jobs, now);
        true
    }

    /// The database of this name: the spec may name another by now than the one that is remembered.
    fn overlay_database(
        &mut self,
        cached: Option<DatabaseFacts>,
        name: &str,
        now: Timestamp,
    ) -> Option<DatabaseFacts> {
        let mut all: Vec<DatabaseFacts> = cached.into_iter().collect();
        lay(&mut self.database, &mut all, now);
        all.into_iter().find(|d| d.base.name == name)
    }

    /// Takes the answer to a write.
    pub(super) fn learn(&mut self, write: &Write, written: Written, now: Timestamp) {
        if let Write::RecordStatus { .. } = write {
            self.status_written = Some(now);
        }
        if let Some(base) = write.base() {
            self.unanswered.remove(&base.uid);
            self.unsettled.remove(&base.uid);
        }
        if let Write::Create { .. } = write {
            self.taken.remove(write.name());
        }
        match written {
            Written::Rollout(facts) => self.know_rollout(facts, now),
            Written::Revision(facts) => keep(&mut self.revisions, write, now, facts),
            Written::Child(facts) => keep(&mut self.children, write, now, facts),
            Written::Job(facts) => keep(&mut self.jobs, write, now, facts),
            Written::Service(facts) => keep(&mut self.services, write, now, facts),
            // With its last finalizer it is gone.
            Written::Database(facts) if facts.deleting && facts.finalizers.is_empty() => {
                self.forget(&facts.base.uid);
                self.gone.insert(facts.base.uid);
            }
            Written::Database(facts) => keep(&mut self.database, write, now, facts),
            Written::Unkept => {}
            Written::Gone => {
                if let Some(base) = write.base() {
                    self.forget(&base.uid);
                    self.gone.insert(base.uid.clone());
                }
            }
        }
    }

    /// A live read got an answer, or not. Says whether there has been none for long.
    pub(super) fn read(&mut self, answered: bool) -> bool {
        self.unread = if answered { 0 } else { self.unread + 1 };
        self.unread >= UNANSWERED_FOR_LONG
    }

    /// A write got an answer, or not. Says whether there has been none for long.
    pub(super) fn wrote(&mut self, answered: bool) -> bool {
        self.unwritten = if answered { 0 } else { self.unwritten + 1 };
        self.unwritten >= UNANSWERED_FOR_LONG
    }

    /// Takes the Rollout as the API server has it.
    pub(super) fn know_rollout(&mut self, facts: RolloutFacts, now: Timestamp) {
        self.confirmed = Some(facts.base.uid.clone());
        self.rollout = Some(Answered::new(facts, true, now));
    }

    /// Whether the API server has shown the Rollout of this uid to this process itself, since the
    /// process leads.
    pub(super) fn confirmed(&self, uid: &str) -> bool {
        self.confirmed.as_deref() == Some(uid)
    }

    /// Takes a DatabaseSchema and a Job as the API server has them.
    pub(super) fn know_hold(&mut self, hold: Hold, now: Timestamp) {
        if let Some(facts) = hold.database {
            know(&mut self.database, facts, now);
        }
        for facts in hold.jobs {
            know(&mut self.jobs, facts, now);
        }
    }

    /// Takes a Job as the API server has it.
    pub(super) fn know_job(&mut self, facts: JobFacts, now: Timestamp) {
        know(&mut self.jobs, facts, now);
    }

    /// Takes the ControllerRevisions of the Rollout of this uid from a live list.
    pub(super) fn know_revisions(&mut self, uid: &str, list: Vec<RevisionFacts>, now: Timestamp) {
        self.listed = Some(uid.to_owned());
        for facts in list {
            know(&mut self.revisions, facts, now);
        }
    }

    /// Whether this process has listed the ControllerRevisions of the Rollout of this uid, since it
    /// leads. What is marked later it marks itself.
    pub(super) fn has_listed(&self, uid: &str) -> bool {
        self.listed.as_deref() == Some(uid)
    }

    /// When what the caches have not shown by then is taken for deleted.
    pub(super) fn unshown_until(&self) -> Option<Timestamp> {
        fn of<T>(own: &Own<T>) -> impl Iterator<Item = Timestamp> {
            own.values().filter(|own| !own.shown).map(|own| own.at)
        }
        let (revisions, children) = (of(&self.revisions), of(&self.children));
        let (jobs, databases) = (of(&self.jobs), of(&self.database));
        let answered = revisions.chain(children).chain(jobs).chain(databases);
        let answered = answered.chain(of(&self.services)).min();
        answered.map(|at| at.saturating_add(CAUGHT_UP).unwrap_or(Timestamp::MAX))
    }

    /// The write may or may not have happened.
    pub(super) fn doubt(&mut self, write: &Write) {
        if let Write::Select { base, .. } = write {
            let version = base.resource_version.clone();
            self.unsettled.insert(base.uid.clone(), version);
        }
        if let Write::Scale { base, from, to, .. } | Write::Resize { base, from, to, .. } = write {
            let mut open = Unanswered {
                resource_version: base.resource_version.clone(),
                low: *from.min(to),
                high: *from.max(to),
            };
            // An earlier one that was never answered either may still arrive.
            let before = self.unanswered.get(&base.uid);
            if let Some(before) = before.filter(|b| b.resource_version == base.resource_version) {
                open.low = open.low.min(before.low);
                open.high = open.high.max(before.high);
            }
            self.unanswered.insert(base.uid.clone(), open);
        }
    }

    /// The object is something newer than what was remembered. The caches may show something older
    /// still, so what was remembered stays until they have caught up: to count on less than what
    /// this process has asked for itself would be worse than to ask again.
    pub(super) fn contradict(&mut self, write: &Write, now: Timestamp) {
        fn review<T>(mine: &mut Own<T>, uid: &str, now: Timestamp) {
            mine.retain(|of, own| of != uid || own.is_kept_at(now));
        }
        if let Write::RecordStatus { .. } | Write::Finalize { .. } = write {
            self.rollout.take_if(|own| !own.is_kept_at(now));
        }
        if let Some(base) = write.base() {
            review(&mut self.revisions, &base.uid, now);
            review(&mut self.children, &base.uid, now);
            review(&mut self.jobs, &base.uid, now);
            review(&mut self.database, &base.uid, now);
            review(&mut self.services, &base.uid, now);
        }
    }

    /// The object of this uid is no more.
    pub(super) fn forget(&mut self, uid: &str) {
        self.revisions.remove(uid);
        self.children.remove(uid);
        self.jobs.remove(uid);
        self.database.remove(uid);
        self.services.remove(uid);
    }

    /// The name of a new object is taken. Says whether that is for good: not a cache that lags,
    /// but an object of somebody else.
    pub(super) fn name_taken(&mut self, write: &Write) -> bool {
        let count = self.taken.entry(write.name().to_owned()).or_default();
        *count += 1;
        *count >= TAKEN_FOR_GOOD
    }
}

/// What is kept by uid.
trait Fact: Clone {
    fn base(&self) -> &Base;
    fn deleting(&self) -> bool;
}

macro_rules! fact {
    ($($facts:ty),*) => {
        $(impl Fact for $facts {
            fn base(&self) -> &Base {
                &self.base
            }

            fn deleting(&self) -> bool {
                self.deleting
            }
        })*
    };
}
fact!(
    RevisionFacts,
    ChildFacts,
    JobFacts,
    DatabaseFacts,
    ServiceFacts
);

/// Takes away what was deleted, until the caches know it or say that it is on its way. Returns the
/// uids of what they still do not know.
fn hide<T: Fact>(gone: &BTreeSet<String>, cached: &mut Vec<T>) -> Vec<String> {
    let unknown = |object: &mut T| !object.deleting() && gone.contains(&object.base().uid);
    let hidden = cached.extract_if(.., unknown);
    hidden.map(|object| object.base().uid.clone()).collect()
}

/// Remembers an answer. An update rests on an object that the caches had shown, unless it was an
/// own new one.
fn keep<T: Fact>(mine: &mut Own<T>, write: &Write, now: Timestamp, facts: T) {
    let uid = facts.base().uid.clone();
    let before = mine.get(&uid).map(|own| own.shown);
    let shown = before.unwrap_or_else(|| write.base().is_some());
    mine.insert(uid, Answered::new(facts, shown, now));
}

/// Remembers what was read live. The caches may not have shown it yet.
fn know<T: Fact>(mine: &mut Own<T>, facts: T, now: Timestamp) {
    let uid = facts.base().uid.clone();
    let shown = mine.get(&uid).is_some_and(|own| own.shown);
    mine.insert(uid, Answered::new(facts, shown, now));
}

/// Lays the remembered objects that are newer than the cached ones, or not cached yet, over them.
fn lay<T: Fact>(mine: &mut Own<T>, cached: &mut Vec<T>, now: Timestamp) {
    mine.retain(|uid, own| {
        let theirs = cached.iter_mut().find(|theirs| theirs.base().uid == *uid);
        match theirs {
            Some(theirs) if is_later(own.facts.base(), theirs.base()) => {
                *theirs = own.facts.clone();
                own.shown = true;
                true
            }
            Some(_) => false,
            None if own.shown => false,
            // Made and deleted between two looks: it will never be shown.
            None if now.duration_since(own.at) >= CAUGHT_UP => false,
            None => {
                cached.push(own.facts.clone());
                true
            }
        }
    });
}

/// Whether `a` is a later version of the same object.
fn is_later(a: &Base, b: &Base) -> bool {
    a.uid == b.uid && is_newer(&a.resource_version, &b.resource_version)
}

/// Whether resourceVersion `a` is newer than `b`. They are compared as numbers, as the API
/// promises for its own kinds; where they are none, what was answered last is believed.
fn is_newer(a: &str, b: &str) -> bool {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a > b,
        _ => a != b,
    }
}

#[cfg(test)]
pub(super) mod tests;
