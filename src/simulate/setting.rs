//! How the world behaves: releases, migrations, delays, limits.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{object::Name, random::Random};
use crate::api::PhaseKind;

/// Name of the one namespace.
pub const NAMESPACE: &str = "default";

/// Name of the one node.
pub(crate) const NODE: &str = "node-1";

/// When every world begins: 2027-01-15 08:00:00 UTC.
pub const DAWN: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Seconds of a random schedule in which things happen.
pub(crate) const BUSY: i64 = 1_500;

/// What pods of backfills say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// How far they are.
    #[default]
    Truth,
    /// Nothing: nobody reaches them.
    Nothing,
    /// What they like, another thing each time.
    Nonsense,
}

/// How the pods of one image behave.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// Seconds from scheduled to started.
    pub pull_seconds: i64,
    /// Seconds from started to ready.
    pub start_seconds: i64,
    /// Seconds from deletion to gone.
    pub stop_seconds: i64,
    /// Whether it ever becomes ready, and whether it stays up.
    pub health: Health,
    /// Percent of its requests that it answers with an error.
    pub error_percent: f64,
    /// Percent of the requests of users for whom a flag is on that it answers with an error besides.
    pub flagged_error_percent: f64,
    /// Percent of their requests that pods of other revisions answer with an error besides, from the
    /// end of its expand on.
    pub hurts_percent: f64,
    /// The same of pods of all revisions, from the end of its contract on.
    pub contract_hurts_percent: f64,
    /// Its 95th percentile, in milliseconds.
    pub p95_milliseconds: f64,
    /// Seconds after it is ready in which it is slow, and its 95th percentile then.
    pub cold: Option<(i64, f64)>,
    /// Seconds between two probes, where it counts them as requests. Until it is ready it answers
    /// them with an error.
    pub counts_probes: Option<i64>,
    /// How each attempt of a phase goes; the last goes for all further ones. Default: 20 s, well.
    pub migrations: BTreeMap<PhaseKind, Vec<Migration>>,
    /// How the tests of its steps go, in the order in which they are run; the last goes for all
    /// further ones. Default: 10 s, well.
    pub tests: Vec<Migration>,
}

/// Whether a container comes up and stays up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Ready, and stays so.
    Good,
    /// Runs, but is never ready.
    NeverReady,
    /// Exits so many seconds after its start, each time.
    Crashes {
        /// Seconds from start to exit.
        after: i64,
    },
    /// Ready for so many seconds, then not ready for so many, again and again.
    Flaps {
        /// Seconds for which it is ready.
        ready: i64,
        /// Seconds for which it is not.
        unready: i64,
    },
    /// The image cannot be pulled.
    NoImage,
}

/// How one attempt of a schema phase goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Seconds it takes.
    pub seconds: i64,
    /// How it ends.
    pub end: MigrationEnd,
}

/// How a migration ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationEnd {
    /// Well.
    Succeeds,
    /// With an error.
    Fails,
    /// With the exit code that says that nothing was applied.
    NothingApplied,
    /// With the exit code by which the runner of SQL says that, and that trying again is no use.
    Refused,
    /// With that by which it says that rows are not filled in.
    Unproven,
    /// Not, before its deadline.
    Hangs,
    /// Not either: its pod never runs.
    NeverStarts,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            pull_seconds: 2,
            start_seconds: 5,
            stop_seconds: 5,
            health: Health::Good,
            error_percent: 0.05,
            flagged_error_percent: 0.0,
            hurts_percent: 0.0,
            contract_hurts_percent: 0.0,
            p95_milliseconds: 80.0,
            cold: None,
            counts_probes: None,
            migrations: BTreeMap::new(),
            tests: Vec::new(),
        }
    }
}

impl Behaviour {
    /// How the test that is run as the given one (from 0) goes.
    #[must_use]
    pub fn test(&self, run: usize) -> Migration {
        let usual = Migration {
            seconds: 10,
            end: MigrationEnd::Succeeds,
        };
        let known = self.tests.get(run).or_else(|| self.tests.last());
        known.copied().unwrap_or(usual)
    }

    /// How the given attempt (from 0) of a phase goes.
    #[must_use]
    pub fn migration(&self, phase: PhaseKind, attempt: usize) -> Migration {
        let attempts = self.migrations.get(&phase).map_or(&[][..], Vec::as_slice);
        let usual = Migration {
            seconds: 20,
            end: MigrationEnd::Succeeds,
        };
        attempts
            .get(attempt)
            .or_else(|| attempts.last())
            .copied()
            .unwrap_or(usual)
    }
}

/// A span of milliseconds to draw from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// At least.
    pub low: i64,
    /// At most.
    pub high: i64,
}

impl Delay {
    /// Milliseconds, drawn.
    pub fn draw(self, random: &mut Random) -> i64 {
        random.between(self.low, self.high)
    }
}

/// Delays of the cluster's parts, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// From a change to the controllers' look at it.
    pub controllers: Delay,
    /// From a change to a cache that holds it, drawn for each event.
    pub caches: Delay,
    /// One way of a request to the API server.
    pub requests: Delay,
    /// From a cache's event to the pass.
    pub debounce: Delay,
    /// An answer of Prometheus.
    pub queries: Delay,
}

impl Default for Timing {
    fn default() -> Self {
        let delay = |low, high| Delay { low, high };
        Self {
            controllers: delay(20, 80),
            caches: delay(5, 40),
            requests: delay(2, 10),
            debounce: delay(50, 100),
            queries: delay(10, 50),
        }
    }
}

/// Everything about the world that a scenario sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// How each image behaves; others behave well.
    pub behaviours: BTreeMap<Name, Behaviour>,
    /// Delays.
    pub timing: Timing,
    /// Pods the nodes have room for.
    pub capacity: usize,
    /// Pods the quota permits.
    pub quota: usize,
    /// The pods have a disk that one node at a time can have, and the node of the next revision is
    /// another: its pods start when those of every other revision are gone.
    pub disk_of_one_node: bool,
    /// Requests per second, over all ready pods of a Rollout.
    pub requests_per_second: f64,
    /// Seconds between two scrapes.
    pub scrape_seconds: i64,
    /// Seconds that a crashed operator is away.
    pub restart_seconds: i64,
    /// What pods of backfills say of how far they are.
    pub telling: Telling,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            behaviours: BTreeMap::new(),
            timing: Timing::default(),
            capacity: usize::MAX,
            quota: usize::MAX,
            disk_of_one_node: false,
            requests_per_second: 200.0,
            scrape_seconds: 5,
            restart_seconds: 3,
            telling: Telling::Truth,
        }
    }
}

impl Setting {
    /// How this image behaves.
    #[must_use]
    pub(crate) fn behaviour(&self, image: &str) -> Behaviour {
        self.behaviours.get(image).cloned().unwrap_or_default()
    }
}
