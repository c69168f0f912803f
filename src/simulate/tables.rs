//! What is in a database: columns and rows, and what becomes of them while code of several schema
//! versions runs.
//!
//! Code of version 3 reads and writes the column of version 3; it writes those of the versions below
//! too, as long as they are there, so that older code finds what it needs. Older code knows nothing
//! of newer columns: what it writes has no value there, unless a trigger puts it there. A row has
//! its value in those columns that were written, or filled in, since it was made; rows that have it
//! in the same columns are counted together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::object::Name;
use crate::api::PhaseKind;

/// Rows at the beginning, and thus of every backfill.
pub(super) const ROWS: i64 = 100_000;

/// What was there before the first expand.
const BEGINNING: i64 = 0;

/// Something that an expand adds and code needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// What all code of a schema version reads and writes.
    Of(i64),
    /// What the expand of one revision adds beside that, for it alone.
    Own {
        /// Its Rollout.
        rollout: Name,
        /// The revision.
        revision: Name,
        /// Its schema version.
        version: Option<i64>,
    },
}

impl Column {
    const fn version(&self) -> Option<i64> {
        match self {
            Self::Of(version) => Some(*version),
            Self::Own { version, .. } => *version,
        }
    }

    /// Whether a phase of a version removes it: a contract what came before, a revert what came with
    /// it.
    fn goes_with(&self, phase: PhaseKind, version: i64) -> bool {
        match phase {
            PhaseKind::Contract => self.version().is_none_or(|of| of < version),
            PhaseKind::Revert => self.version() == Some(version),
            PhaseKind::Preflight | PhaseKind::Expand | PhaseKind::Backfill => false,
        }
    }
}

/// What the code of a pod needs of its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The database.
    pub database: Name,
    /// Its schema version; nobody may know it.
    pub version: Option<i64>,
    /// Columns that must be there before it starts.
    pub needs: Vec<Column>,
}

impl Code {
    /// Whether it is hurt where this is removed: what nobody says may be anything.
    #[must_use]
    pub(crate) fn uses(&self, column: &Column) -> bool {
        self.version.is_none()
            || self.needs.contains(column)
            || matches!(column, Column::Of(of) if self.version == Some(*of))
    }
}

/// The columns in which rows have their value.
type Filled = BTreeSet<i64>;

/// A Job of a phase that was let run.
#[derive(Clone, Debug)]
struct Work {
    phase: PhaseKind,
    version: Option<i64>,
    /// Columns that it adds, and whether a trigger fills them in.
    adds: Option<(Code, bool)>,
    /// Columns that it removes, or has removed.
    takes: BTreeSet<Column>,
    /// Its pod has run, and may have changed something.
    ran: bool,
    /// Of a backfill: the rows that had no value when its pod began.
    lacking: BTreeMap<Filled, i64>,
}

/// One database.
#[derive(Clone, Debug)]
pub struct Tables {
    columns: BTreeSet<Column>,
    /// Columns that were removed, and the Job that did.
    gone: BTreeMap<Column, Name>,
    /// Columns that a trigger fills in, whoever writes.
    triggers: BTreeSet<i64>,
    rows: BTreeMap<Filled, i64>,
    /// Versions of which every row has its value.
    proven: BTreeSet<i64>,
    /// When what a version needs was last added.
    added: BTreeMap<i64, Timestamp>,
    /// Jobs that were let run, by uid.
    works: BTreeMap<Name, Work>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            columns: [Column::Of(BEGINNING)].into(),
            gone: BTreeMap::new(),
            triggers: BTreeSet::new(),
            rows: [([BEGINNING].into(), ROWS)].into(),
            proven: BTreeSet::new(),
            added: BTreeMap::new(),
            works: BTreeMap::new(),
        }
    }
}

impl Tables {
    /// Why code finds no column that it needs, if it does not: it was never added, or something that
    /// removes it was let run.
    #[must_use]
    pub(crate) fn lacks(&self, code: &Code) -> Option<String> {
        let own = code.version.map(Column::Of);
        if let Some(job) = own.and_then(|column| self.gone.get(&column)) {
            return Some(format!("{job} removes, or has removed, what it needs"));
        }
        let mut needs = code.needs.iter();
        needs.find(|column| !self.columns.contains(column))?;
        Some("its expand has not succeeded".to_owned())
    }

    /// When a version above this one was last expanded.
    #[must_use]
    pub(crate) fn overtaken_at(&self, version: i64) -> Option<Timestamp> {
        let above = self.added.range(version + 1..);
        above.map(|(_, at)| *at).max()
    }

    /// The DatabaseSchema is gone: nobody knows any more what was expanded.
    pub(super) fn forget(&mut self) {
        self.added.clear();
    }

    /// What a Job removes.
    #[must_use]
    pub(crate) fn taken_by(&self, job: &str) -> Option<&BTreeSet<Column>> {
        self.works.get(job).map(|work| &work.takes)
    }

    /// Rows whose value is nowhere any more.
    #[must_use]
    pub fn lost(&self) -> i64 {
        let lost = self.rows.iter().filter(|(filled, _)| !self.is_read(filled));
        lost.map(|(_, count)| count).sum()
    }

    fn is_read(&self, filled: &Filled) -> bool {
        let mut columns = filled.iter();
        columns.any(|of| self.columns.contains(&Column::Of(*of)))
    }

    /// An expand has added what the revision that it ran for needs.
    fn add(&mut self, code: &Code, has_trigger: bool, at: Timestamp) {
        for column in &code.needs {
            self.gone.remove(column);
            if let (true, Column::Of(version)) = (self.columns.insert(column.clone()), column) {
                // What a column of that number once held went with it.
                let rows = std::mem::take(&mut self.rows);
                for (mut filled, count) in rows {
                    filled.remove(version);
                    *self.rows.entry(filled).or_default() += count;
                }
            }
        }
        if let Some(version) = code.version {
            self.added.insert(version, at);
            if has_trigger {
                self.triggers.insert(version);
            }
        }
    }

    /// Code of a version writes a row; whether that ends what a backfill has proven.
    pub(super) fn write(&mut self, version: Option<i64>) -> bool {
        let there = self.columns.iter().filter_map(|column| match column {
            Column::Of(of) => Some(*of),
            Column::Own { .. } => None,
        });
        // Nobody knows how old it is: as old as what is there permits.
        let version = version.or_else(|| there.clone().next());
        let filled: Filled = there
            .filter(|of| version >= Some(*of) || self.triggers.contains(of))
            .collect();
        // What finds no column to write to fails, and its pod should not run: see the rules.
        if filled.is_empty() {
            return false;
        }
        let ends = self.proven.iter().any(|of| !filled.contains(of));
        self.proven.retain(|of| filled.contains(of));
        *self.rows.entry(filled).or_default() += 1;
        ends
    }

    /// The values that a version is to have need no filling in.
    pub(super) fn fill_by_itself(&mut self, version: i64) {
        let lacking = self.lacking(version);
        self.fill(version, lacking);
    }

    fn lacking(&self, version: i64) -> BTreeMap<Filled, i64> {
        let rows = self.rows.iter();
        let lacking = rows.filter(|(filled, _)| !filled.contains(&version));
        lacking.map(|(filled, n)| (filled.clone(), *n)).collect()
    }

    fn fill(&mut self, version: i64, lacking: BTreeMap<Filled, i64>) {
        if !self.columns.contains(&Column::Of(version)) {
            return;
        }
        for (mut filled, count) in lacking {
            let Some(present) = self.rows.get_mut(&filled) else {
                continue;
            };
            let count = count.min(*present);
            *present -= count;
            if *present == 0 {
                self.rows.remove(&filled);
            }
            filled.insert(version);
            *self.rows.entry(filled).or_default() += count;
        }
    }

    /// A Job may run from now on. Nobody may rely any more on what it removes.
    pub(super) fn let_run(
        &mut self,
        (job, name): (&Name, &Name),
        phase: PhaseKind,
        version: Option<i64>,
        adds: Option<(Code, bool)>,
    ) {
        if self.works.contains_key(job) {
            return;
        }
        let goes = |column: &&Column| version.is_some_and(|v| column.goes_with(phase, v));
        let takes: BTreeSet<Column> = self.columns.iter().filter(goes).cloned().collect();
        self.columns.retain(|column| !takes.contains(column));
        let gone = takes.iter().map(|column| (column.clone(), name.clone()));
        self.gone.extend(gone);
        let work = Work {
            phase,
            version,
            adds,
            takes,
            ran: false,
            lacking: BTreeMap::new(),
        };
        self.works.insert(job.clone(), work);
    }

    /// A pod of a Job runs, and will change something.
    pub(super) fn runs(&mut self, job: &str) {
        let Some(work) = self.works.get(job) else {
            return;
        };
        let lacking = match (work.phase, work.version) {
            (PhaseKind::Backfill, Some(version)) => self.lacking(version),
            _ => BTreeMap::new(),
        };
        if let Some(work) = self.works.get_mut(job) {
            work.ran = true;
            work.lacking = lacking;
        }
    }

    /// A Job has ended, and has come so far, in percent.
    pub(super) fn ended(&mut self, job: &str, percent: i64, at: Timestamp) {
        let Some(work) = self.works.remove(job) else {
            return;
        };
        if !work.ran {
            // Nothing was removed.
            self.gone.retain(|column, _| !work.takes.contains(column));
            self.columns.extend(work.takes);
            return;
        }
        if let (Some((code, has_trigger)), 100) = (&work.adds, percent) {
            self.add(code, *has_trigger, at);
        }
        for column in &work.takes {
            if let Column::Of(version) = column {
                self.triggers.remove(version);
            }
        }
        if let Some(version) = work.version {
            let done = |(filled, count)| (filled, count * percent.min(100) / 100);
            self.fill(version, work.lacking.into_iter().map(done).collect());
            let backfill = work.phase == PhaseKind::Backfill;
            if backfill && self.lacking(version).is_empty() {
                self.proven.insert(version);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(version: i64) -> Code {
        Code {
            database: "db".into(),
            version: Some(version),
            needs: vec![Column::Of(version)],
        }
    }

    fn with(versions: &[i64]) -> Tables {
        let mut tables = Tables::default();
        for version in versions {
            tables.add(&code(*version), false, Timestamp::UNIX_EPOCH);
        }
        tables
    }

    fn run(tables: &mut Tables, phase: PhaseKind, version: i64, percent: i64) {
        let job: Name = format!("{phase:?}-{version}").into();
        tables.let_run((&job, &job), phase, Some(version), None);
        tables.runs(&job);
        tables.ended(&job, percent, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn a_contract_loses_what_was_not_filled_in() {
        let mut tables = with(&[1, 2]);
        run(&mut tables, PhaseKind::Contract, 2, 100);
        assert_eq!(tables.lost(), ROWS);
    }

    #[test]
    fn what_is_filled_in_stays() {
        let mut tables = with(&[1, 2]);
        run(&mut tables, PhaseKind::Backfill, 2, 100);
        tables.write(Some(2));
        run(&mut tables, PhaseKind::Contract, 2, 100);
        assert_eq!(tables.lost(), 0);
        assert!(tables.lacks(&code(1)).is_some() && tables.lacks(&code(2)).is_none());
    }

    #[test]
    fn what_older_code_writes_after_a_backfill_began_is_not_filled_in() {
        let mut tables = with(&[1, 2]);
        let job: Name = "backfill".into();
        tables.let_run((&job, &job), PhaseKind::Backfill, Some(2), None);
        tables.runs(&job);
        tables.write(Some(1));
        tables.ended(&job, 100, Timestamp::UNIX_EPOCH);
        run(&mut tables, PhaseKind::Contract, 2, 100);
        assert_eq!(tables.lost(), 1);
    }

    #[test]
    fn a_trigger_fills_in_what_older_code_writes() {
        let mut tables = with(&[1]);
        tables.add(&code(2), true, Timestamp::UNIX_EPOCH);
        run(&mut tables, PhaseKind::Backfill, 2, 100);
        tables.write(Some(1));
        run(&mut tables, PhaseKind::Contract, 2, 100);
        assert_eq!(tables.lost(), 0);
    }

    #[test]
    fn a_backfill_that_fails_keeps_what_it_has_done() {
        let mut tables = with(&[1, 2]);
        run(&mut tables, PhaseKind::Backfill, 2, 40);
        run(&mut tables, PhaseKind::Contract, 2, 100);
        assert_eq!(tables.lost(), ROWS * 60 / 100);
    }

    #[test]
    fn a_contract_that_never_ran_has_removed_nothing() {
        let mut tables = with(&[1, 2]);
        let job: Name = "contract".into();
        tables.let_run((&job, &job), PhaseKind::Contract, Some(2), None);
        assert!(tables.lacks(&code(1)).is_some(), "nobody may rely on it");
        tables.ended(&job, 0, Timestamp::UNIX_EPOCH);
        assert!(tables.lacks(&code(1)).is_none() && tables.lost() == 0);
    }

    #[test]
    fn a_revert_leaves_what_older_code_needs() {
        let mut tables = with(&[1, 2]);
        tables.write(Some(2));
        run(&mut tables, PhaseKind::Revert, 2, 100);
        assert!(tables.lacks(&code(1)).is_none() && tables.lacks(&code(2)).is_some());
        assert_eq!(tables.lost(), 0);
    }

    #[test]
    fn whoever_gives_no_version_may_use_anything() {
        let unknown = Code {
            version: None,
            ..code(1)
        };
        assert!(unknown.uses(&Column::Of(7)));
        assert!(code(1).uses(&Column::Of(1)) && !code(1).uses(&Column::Of(7)));
    }
}
