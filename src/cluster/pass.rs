//! One pass over one object: observe, plan, record, act. The same code over a real cluster and
//! over the simulator's.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Cluster, WriteError};
use crate::{
    evidence::{Measure, Readings},
    plan::{
        facts::{ChildFacts, DatabaseFacts, JobFacts, RevisionFacts, RolloutFacts},
        intent::Event,
    },
};

/// What a pass takes from the process around it.
pub struct Surroundings<'a> {
    /// The clock.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// What the sampler last read of a revision of this Rollout.
    pub readings: &'a (dyn Fn(&str) -> Option<Readings> + Sync),
    /// From when on the clock is trusted.
    pub trusted_since: Timestamp,
    /// Epoch of the present leadership.
    pub epoch: i64,
}

/// What this process remembers of one Rollout or DatabaseSchema between passes: the answers to
/// its own writes, until the caches have caught up, and writes that were never answered. Losing
/// it costs nothing but a conflict.
#[derive(Debug, Default)]
pub struct Memory {
    rollout: Option<RolloutFacts>,
    revisions: BTreeMap<String, RevisionFacts>,
    children: BTreeMap<String, ChildFacts>,
    jobs: BTreeMap<String, JobFacts>,
    database: Option<DatabaseFacts>,
    /// Lowest and highest replicas that an unanswered scale may have left, by uid.
    unanswered: BTreeMap<String, (i32, i32)>,
    status_written: Option<Timestamp>,
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
    pub error: Option<WriteError>,
}

/// One pass over a Rollout.
pub async fn rollout<C: Cluster>(
    _cluster: &C,
    _namespace: &str,
    _name: &str,
    _memory: &mut Memory,
    _around: &Surroundings<'_>,
) -> Ran {
    Ran::default()
}

/// One pass over a DatabaseSchema.
pub async fn database<C: Cluster>(
    _cluster: &C,
    _namespace: &str,
    _name: &str,
    _memory: &mut Memory,
    _around: &Surroundings<'_>,
) -> Ran {
    Ran::default()
}
