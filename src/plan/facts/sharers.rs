//! Who else uses a database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::objects::{ChildFacts, PodFacts, RevisionFacts, RolloutFacts};
use crate::api::{RolloutStatus, status::Outcome};

/// Something of the namespace that uses a database, read live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFacts {
    /// Kind and name, and what of it.
    pub what: String,
    /// The lowest schema version that it may need; `None` when nobody says.
    pub version: Option<i64>,
    /// The highest that it may need; `None` when nobody says.
    pub highest: Option<i64>,
    /// Whether it runs or may run; otherwise it is a Deployment at 0, about to be deleted.
    pub serves: bool,
}

/// What uses a database, as it was read live last, in an earlier pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUsers {
    /// The database.
    pub database: String,
    /// What uses it.
    pub users: Arc<[UserFacts]>,
    /// Its Rollouts, as the caches held them then.
    pub rollouts: Vec<SharerFacts>,
    /// When it was read.
    pub at: Timestamp,
    /// How often it was read before, with nothing else in the caches.
    pub same: u32,
}

impl KnownUsers {
    /// Seconds after which it is read again where nothing has changed: longer each time.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        const FIRST: i64 = 30;
        const LONGEST: i64 = 300;
        (FIRST << self.same.min(10)).min(LONGEST)
    }
}

/// Another Rollout on the same database, as the caches hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharerFacts {
    /// Its name.
    pub rollout: String,
    /// The schema version that it asks for: nothing where its spec cannot be read.
    pub wanted: Option<Option<i64>>,
    /// The schema versions between which a release, an undo or a return of it is in motion; empty
    /// while none is.
    pub moves: Vec<Option<i64>>,
    /// Revisions of it, each with the schema version that it needs, that have pods, are to have
    /// some, or are stable.
    pub running: BTreeMap<String, Option<i64>>,
    /// The same of those that were stable and are kept: the spec or an undo may bring them back.
    pub former: BTreeMap<String, Option<i64>>,
    /// The same of all that were ever stable, whatever became of them.
    pub was_stable: BTreeMap<String, Option<i64>>,
    /// Revisions of which it is known how they ended, or that they have not.
    pub kept: BTreeSet<String>,
    /// The Deployment that was moved in, as long as it is there, whatever its replicas.
    pub adopted: Option<String>,
}

impl UserFacts {
    /// What is known of one that needs a single version.
    #[must_use]
    pub const fn of(what: String, version: Option<i64>, serves: bool) -> Self {
        Self {
            what,
            version,
            highest: version,
            serves,
        }
    }

    /// A Rollout: what its spec asks for, what is stable, and what is in motion.
    #[must_use]
    pub(crate) fn of_rollout(name: &str, versions: &[Option<i64>]) -> Self {
        let unknown = versions.contains(&None);
        let known = || versions.iter().flatten().copied();
        Self {
            what: format!("Rollout {name}"),
            version: known().min().filter(|_| !unknown),
            highest: known().max().filter(|_| !unknown),
            serves: true,
        }
    }

    /// The Deployment that a Rollout has moved in, as long as it is there: nobody says what it needs.
    #[must_use]
    pub(crate) fn of_adopted(rollout: &str, status: &RolloutStatus) -> Option<Self> {
        let deployment = &status.adopted.as_ref()?.deployment;
        let what = format!("Deployment {deployment}, which Rollout {rollout} moved in,");
        Some(Self::of(what, None, true))
    }

    /// Whether it is this Rollout itself, and not one of its Deployments or pods.
    #[must_use]
    pub fn is_rollout(&self, name: &str) -> bool {
        self.what.strip_prefix("Rollout ") == Some(name)
    }
}

impl SharerFacts {
    /// What another Rollout's passes need to know of this one.
    #[must_use]
    pub fn of<'a>(
        rollout: &RolloutFacts,
        revisions: impl Iterator<Item = &'a RevisionFacts>,
        children: impl Iterator<Item = &'a ChildFacts>,
        pods: impl Iterator<Item = &'a PodFacts>,
    ) -> Self {
        let spec = rollout.spec.as_deref();
        let mut versions: BTreeMap<&str, Option<i64>> = BTreeMap::new();
        let mut former = BTreeMap::new();
        let mut was_stable = BTreeMap::new();
        let database = spec.ok().and_then(|spec| spec.database());
        let mut kept = BTreeSet::new();
        for known in revisions {
            versions.insert(&known.revision, known.schema_version);
            kept.insert(known.revision.clone());
            // Only what is stable gets a number. What it was stable on before is another database.
            let used = known.database.as_deref();
            let here = used.is_none() || database.is_none() || used == database;
            if known.number > 0 && here {
                was_stable.insert(known.revision.clone(), known.schema_version);
            }
            if known.outcome == Some(Outcome::Stable) && !known.deleting {
                former.insert(known.revision.clone(), known.schema_version);
            }
        }
        let stable = rollout.status.stable.as_ref().map(|s| s.revision.as_str());
        let serving = children
            .filter(|c| c.replicas > 0 || c.status_replicas > 0)
            .map(|c| c.revision.as_str())
            .chain(pods.map(|p| p.revision.as_str()))
            // It is what runs as soon as replicas are asked for.
            .chain(stable);
        let status = &rollout.status;
        let needs = |revision: &str| versions.get(revision).copied().flatten();
        let release = status.release.iter();
        let moves = release
            .flat_map(|release| {
                let stable = status.stable.as_ref().map(|s| needs(&s.revision));
                stable.into_iter().chain([needs(&release.revision)])
            })
            .collect();
        Self {
            rollout: rollout.base.name.clone(),
            wanted: spec.ok().map(|spec| spec.schema_version()),
            moves,
            running: serving
                .map(|revision| (revision.to_owned(), needs(revision)))
                .collect(),
            former,
            was_stable,
            kept,
            adopted: status.adopted.as_ref().map(|a| a.deployment.clone()),
        }
    }
}
