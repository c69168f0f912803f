//! The order: what the operator asks of one run. One JSON document, from the environment or a file.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{failure::Failure, recorded::Recorded};

/// As many files and batches as a phase may have.
const MANY: usize = 16;

/// A kind of work on the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Preflight,
    Expand,
    Backfill,
    Contract,
    Revert,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preflight => "preflight",
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Contract => "contract",
            Self::Revert => "revert",
        })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    pub namespace: String,
    pub rollout: String,
    pub revision: String,
    /// The DatabaseSchema.
    pub database: String,
    pub version: i32,
    pub phase: Phase,
    #[serde(default = "one")]
    pub attempt: u32,
    /// The whole phase may take so long, but for batches.
    pub deadline_seconds: u64,
    /// Batches may take so long without progress. Default: `deadlineSeconds`.
    #[serde(default)]
    pub stall_seconds: Option<u64>,
    #[serde(default)]
    pub files: Vec<File>,
    /// Of a preflight: files that another phase is about to run. They are looked at.
    #[serde(default)]
    pub upcoming: Vec<File>,
    #[serde(default)]
    pub batches: Vec<Batch>,
    /// What must be empty before the first statement of a contract.
    #[serde(default)]
    pub proofs: Vec<Proof>,
    #[serde(default)]
    pub limits: Limits,
    /// What becomes of files that would hurt users.
    #[serde(default)]
    pub lint: Lint,
    /// Somebody has read the files and approved them.
    #[serde(default)]
    pub approved: bool,
    /// What the operator has on record of what ran on this database.
    #[serde(default)]
    pub recorded: Option<Recorded>,
}

/// What becomes of files that would hurt users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Lint {
    /// Neither they nor those that cannot be judged run.
    Strict,
    /// They do not run.
    Enforce,
    /// They run, and it is said.
    Warn,
    /// Nobody looks.
    #[default]
    Off,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    pub name: String,
    pub path: String,
    /// Of the bytes of the file, in hexadecimal.
    pub sha256: String,
    #[serde(default)]
    pub transaction: Transaction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Transaction {
    /// The whole file, unless one of its statements demands otherwise.
    #[default]
    Auto,
    /// The whole file.
    File,
    /// Each statement.
    Statement,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    pub name: String,
    pub table: String,
    pub key: Vec<String>,
    pub set: String,
    pub r#where: String,
    #[serde(default = "max_rows")]
    pub max_rows: i64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    pub name: String,
    pub table: String,
    pub r#where: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// How long a statement waits for a lock.
    pub lock_timeout_ms: u32,
    /// How long others may wait for a lock of ours.
    pub blocked_seconds: u32,
    /// How far replication may be behind before batches pause; 0 is off.
    pub max_lag_seconds: u32,
    /// How long a batch should take.
    pub batch_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lock_timeout_ms: 1000,
            blocked_seconds: 5,
            max_lag_seconds: 10,
            batch_ms: 500,
        }
    }
}

const fn one() -> u32 {
    1
}

const fn max_rows() -> i64 {
    5000
}

impl Order {
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let order: Self = serde_json::from_str(text).map_err(|error| {
            Failure::bad_input(
                "BadOrder",
                format!(
                    "the order (STEPGATE_PHASE) cannot be read: {error}. The operator writes it: are \
                     the operator's and the runner's image of the same release?"
                ),
            )
        })?;
        order
            .check()
            .map_err(|message| Failure::bad_input("BadOrder", message))?;
        Ok(order)
    }

    fn check(&self) -> Result<(), String> {
        if self.version < 1 {
            return Err(format!("version {} is not 1 or more", self.version));
        }
        if self.deadline_seconds == 0 || self.stall_seconds == Some(0) {
            return Err("deadlineSeconds or stallSeconds is 0".into());
        }
        unique("files", self.files.iter().map(|file| &file.name))?;
        unique("upcoming", self.upcoming.iter().map(|file| &file.name))?;
        if !self.upcoming.is_empty() && self.phase != Phase::Preflight {
            return Err(format!("a {} looks at no other files", self.phase));
        }
        unique("batches", self.batches.iter().map(|batch| &batch.name))?;
        unique("proofs", self.proofs.iter().map(|proof| &proof.name))?;
        if !self.batches.is_empty() && !matches!(self.phase, Phase::Backfill | Phase::Preflight) {
            return Err(format!("a {} has no batches", self.phase));
        }
        for batch in &self.batches {
            if batch.key.is_empty() || batch.key.len() > 8 {
                return Err(format!("batches[{}].key needs 1 to 8 columns", batch.name));
            }
            if batch.max_rows < 1 {
                return Err(format!("batches[{}].maxRows is not 1 or more", batch.name));
            }
        }
        if self.limits.lock_timeout_ms == 0
            || self.limits.blocked_seconds == 0
            || self.limits.batch_ms == 0
        {
            return Err("limits: lockTimeoutMs, blockedSeconds and batchMs are 1 or more".into());
        }
        Ok(())
    }

    /// How long batches may take without progress.
    pub fn stalls_after(&self) -> u64 {
        self.stall_seconds.unwrap_or(self.deadline_seconds)
    }

    /// Whose session it is, for `pg_stat_activity`: PostgreSQL keeps 63 bytes of it.
    pub fn application_name(&self, role: &str) -> String {
        let mut name = format!(
            "stepgate{role} {} {}/{} {}",
            self.phase, self.namespace, self.rollout, self.revision
        );
        let mut end = name.len().min(63);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name
    }
}

fn unique<'a>(list: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() {
            return Err(format!("{list}: an entry has no name"));
        }
        if !seen.insert(name) {
            return Err(format!("{list}: two entries are named {name}"));
        }
    }
    if seen.len() > MANY {
        return Err(format!("{list}: {} entries, at most {MANY}", seen.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_the_operator_writes_is_read() {
        let orders = include_str!("tests/orders.json");
        let orders: Vec<serde_json::Value> = serde_json::from_str(orders).unwrap();
        let read = |order: &serde_json::Value| Order::parse(&order.to_string()).unwrap();
        let orders: Vec<_> = orders.iter().map(read).collect();
        assert_eq!(orders[0].files.len(), 2);
        assert_eq!(orders[1].batches[0].max_rows, 5000);
        assert_eq!(orders[1].limits.max_lag_seconds, 20);
        assert_eq!(orders[1].limits.blocked_seconds, 8);
        assert_eq!(orders[1].limits.lock_timeout_ms, 1000);
        assert_eq!(orders[1].stalls_after(), 300);
        assert_eq!(orders[2].proofs.len(), 1);
        assert_eq!(orders[0].lint, Lint::Enforce);
        assert!(orders[2].approved && !orders[0].approved);
        assert_eq!(orders[3].upcoming.len(), 2);
    }
}
