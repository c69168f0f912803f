//! Ledgers of databases are compared with what is on record; backups of either are made, and whoever
//! restores one without the other.

use super::{
    ledger::Happened,
    object::{DatabaseObject, JobObject, Name, Object},
    sql_ledger::{Backup, Half, SqlLedger, agrees, phase_of},
    world::World,
};
use crate::api::{PhaseKind, keys};

impl World {
    /// Whether the runner in this Job begins, by what the ledger says.
    pub(super) fn ledger_agrees(&self, job: &JobObject) -> bool {
        let empty = SqlLedger::default();
        let ledger = self.sql_ledgers.get(&job.database).unwrap_or(&empty);
        agrees(&job.order, ledger)
    }

    /// A phase in SQL begins to change the database.
    pub(super) fn sql_begins(&mut self, job: &JobObject) {
        if let Some((phase, _)) = phase_of(&job.order) {
            if job.order["recorded"].is_null() && phase != PhaseKind::Preflight {
                let ledger = self.sql_ledgers.entry(job.database.clone()).or_default();
                ledger.old = ledger.done.clone();
            }
            self.happened.push(Happened::SqlRuns(job.meta.name.clone()));
        }
    }

    /// It has ended well: that is in the ledger with it.
    pub(super) fn sql_ended(&mut self, job: &JobObject) {
        let Some((phase, version)) = phase_of(&job.order) else {
            return;
        };
        let ledger = self.sql_ledgers.entry(job.database.clone()).or_default();
        match phase {
            PhaseKind::Preflight => return,
            PhaseKind::Expand => ledger.done.remove(&(PhaseKind::Revert, version)),
            PhaseKind::Revert => ledger.done.remove(&(PhaseKind::Expand, version)),
            PhaseKind::Backfill | PhaseKind::Contract => false,
        };
        ledger.old.remove(&(phase, version));
        ledger.done.insert((phase, version));
    }

    /// A backup is made of a database and of its DatabaseSchema.
    pub(super) fn back_up(&mut self, database: &Name) {
        self.did(
            "",
            &format!("a backup is made of {database} and its record"),
        );
        let record = self.live.databases.get(database);
        let backup = Backup {
            record: record.map(|found| found.record.clone()),
            tables: self.tables.get(database).cloned(),
            ledger: self.sql_ledgers.get(database).cloned().unwrap_or_default(),
        };
        self.backups.insert(database.clone(), backup);
    }

    /// One of the two is restored from it, and not the other.
    pub(super) fn restore_half(&mut self, database: &Name, half: Half) {
        let Some(backup) = self.backups.get(database).cloned() else {
            return;
        };
        // Nobody can know what is so no longer before something runs there.
        self.ledger.rewound.insert(database.clone());
        match half {
            Half::Record => {
                self.struck("", &format!("DatabaseSchema {database} is restored"));
                if let Some(found) = self.live.databases.get(database).cloned() {
                    self.erase(&Object::Database(found.clone()));
                    let meta = self.meta(&found.meta.name, None);
                    let record = backup.record.unwrap_or_default();
                    self.store(DatabaseObject {
                        meta,
                        record,
                        ..(*found).clone()
                    });
                }
            }
            Half::Database => {
                self.struck("", &format!("database {database} is restored"));
                match backup.tables {
                    Some(tables) => self.tables.insert(database.clone(), tables),
                    None => self.tables.remove(database),
                };
                self.sql_ledgers.insert(database.clone(), backup.ledger);
            }
        }
    }

    /// A person puts on record what the ledger says, as the log of the Job has it.
    pub(super) fn put_baseline(&mut self, database: &Name) {
        let Some(found) = self.live.databases.get(database).cloned() else {
            return;
        };
        let ledger = self.sql_ledgers.get(database).cloned().unwrap_or_default();
        let highest = |kind: PhaseKind| {
            let of = ledger.done.iter().filter(|(of, _)| *of == kind);
            of.map(|(_, version)| *version).max().unwrap_or(0)
        };
        let contracted = highest(PhaseKind::Contract);
        let expanded = highest(PhaseKind::Expand).max(contracted);
        let words = format!("{expanded}/{contracted}");
        self.annotate(&found, keys::BASELINE, "baseline", &words, "");
    }
}
