//! Who changes databases and what is in them: Jobs of phases, and the pods that run.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    coverage::Kind,
    event::End,
    ledger::Happened,
    object::{JobObject, Name, PodObject},
    tables::{Code, Column},
    world::World,
};
use crate::api::{PhaseKind, schema::KeptBy};

impl World {
    /// What the code of a revision needs of its database, if it has one.
    #[must_use]
    pub(crate) fn code_of(&self, rollout: &str, revision: &str) -> Option<Code> {
        let known = self.live.revision(rollout, revision)?;
        let schema = known.schema.as_ref()?;
        let version = schema.version;
        let mut needs = Vec::new();
        // Without an expand of its own it says nothing of what must be there.
        if schema.expand.is_some() {
            needs.extend(version.map(Column::Of));
            needs.push(Column::Own {
                rollout: known.rollout.clone(),
                revision: known.revision.clone(),
                version,
            });
        }
        Some(Code {
            database: schema.database.as_str().into(),
            version,
            needs,
        })
    }

    /// A DatabaseSchema is gone: a new one of its name knows nothing of what ran.
    pub(super) fn forgets(&mut self, database: &str) {
        self.ledger.forgets(database);
        if let Some(tables) = self.tables.get_mut(database) {
            tables.forget();
        }
    }

    /// A pod that serves writes a row.
    pub(super) fn pod_writes(&mut self, pod: &PodObject) {
        let Some(code) = self.code.get(&pod.meta.name) else {
            return;
        };
        // Whoever scales a Deployment by hand looks after his rows himself.
        let owner = pod.meta.owner.as_ref();
        let by_hand = owner.is_some_and(|uid| self.ledger.handled.contains(uid));
        if pod.ready_since.is_none() || by_hand {
            return;
        }
        let (database, version) = (code.database.clone(), code.version);
        if self.tables.entry(database).or_default().write(version) {
            self.coverage.count(Kind::OlderWrites);
        }
    }

    /// Everybody who uses a database, and runs, writes a row.
    fn everybody_writes(&mut self, database: &Name) {
        let pods: Vec<Arc<PodObject>> = (self.live.pods.values())
            .filter(|pod| {
                let code = self.code.get(&pod.meta.name);
                code.is_some_and(|code| code.database == *database)
            })
            .cloned()
            .collect();
        for pod in pods {
            self.pod_writes(&pod);
        }
        if let Some(version) = self.consumer {
            self.tables
                .entry(database.clone())
                .or_default()
                .write(version);
        }
    }

    /// A Job is let run.
    pub(super) fn let_run(&mut self, job: &JobObject) {
        let Some(phase) = job.phase else { return };
        let record = self.live.databases.get(&job.database).map(|d| &d.record);
        let holder = record.and_then(|record| record.held_for(phase));
        let version = holder.and_then(|holder| holder.version);
        let known = version.and_then(|version| record?.version(version));
        let fills = known.is_some_and(|known| known.asks(PhaseKind::Backfill).is_some());
        let expands = phase == PhaseKind::Expand;
        let adds = self.code_of(&job.rollout, &job.revision);
        let adds = adds.filter(|_| expands).map(|code| {
            let revision = self.live.revision(&job.rollout, &job.revision);
            let schema = revision.and_then(|revision| revision.schema.as_ref());
            let backfill = schema.and_then(|schema| schema.backfill.as_ref());
            let has_trigger = backfill.is_some_and(|b| b.kept_by == KeptBy::Trigger);
            (code, has_trigger)
        });
        self.everybody_writes(&job.database);
        let tables = self.tables.entry(job.database.clone()).or_default();
        if let (PhaseKind::Contract, Some(version), false) = (phase, version, fills) {
            // Nothing is to be filled in: the database does it.
            tables.fill_by_itself(version);
        }
        let names = (&job.meta.uid, &job.meta.name);
        tables.let_run(names, phase, version, adds);
        let taken = tables.taken_by(&job.meta.uid).map(BTreeSet::len);
        match phase {
            PhaseKind::Contract if taken > Some(0) => self.coverage.count(Kind::Contracted),
            PhaseKind::Revert if taken > Some(0) => self.coverage.count(Kind::Reverted),
            _ => {}
        }
    }

    /// A pod of a phase's Job runs, and changes something.
    pub(super) fn phase_runs(&mut self, job: &JobObject) {
        if job.phase.is_some() {
            self.everybody_writes(&job.database);
            let tables = self.tables.entry(job.database.clone()).or_default();
            tables.runs(&job.meta.uid);
            let runs = Happened::PhaseRuns(job.meta.name.clone());
            self.happened.push(runs);
        }
    }

    /// Whether rows have their value in nothing but what this Job removes.
    pub(super) fn loses_rows(&mut self, job: &JobObject) -> bool {
        self.everybody_writes(&job.database);
        let tables = self.tables.get(&job.database);
        tables.is_some_and(|tables| tables.lost() > 0)
    }

    /// Whoever else uses the databases writes a row of its version.
    pub(super) fn consumer_writes(&mut self) {
        let Some(version) = self.consumer else { return };
        for tables in self.tables.values_mut() {
            tables.write(version);
        }
    }

    /// A phase's Job has ended.
    pub(super) fn phase_ended(&mut self, job: &JobObject, end: End) {
        if job.phase.is_none() {
            return;
        }
        self.everybody_writes(&job.database);
        // What a backfill has committed stays.
        let percent = match end {
            End::Succeeded => 100,
            End::Failed => 50,
            End::Deadline => 33,
            End::NothingApplied | End::Refused | End::Unproven | End::Disagrees => 0,
        };
        let now = self.now;
        let tables = self.tables.entry(job.database.clone()).or_default();
        tables.ended(&job.meta.uid, percent, now);
    }
}
