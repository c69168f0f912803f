//! Who else uses a database.

use std::collections::BTreeMap;

use super::{ChildFacts, PodFacts, RevisionFacts, RolloutFacts};

/// Something of the namespace that uses a database, read live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFacts {
    /// Kind and name, and what of it.
    pub what: String,
    /// The lowest schema version that it may need; `None` when nobody says.
    pub version: Option<i64>,
    /// Whether it runs or may run; otherwise it is a Deployment at 0, about to be deleted.
    pub serves: bool,
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
        let versions: BTreeMap<&str, Option<i64>> = revisions
            .map(|r| (r.revision.as_str(), r.schema_version))
            .collect();
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
        }
    }
}
