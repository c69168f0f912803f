//! `spec.schema`: what a revision needs of its database, and the phases that bring it there.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    OnInconclusive,
    name::{DNS_LABEL, FLAG_NAME},
    proof::Verify,
    sql::{Batch, Lint, Postgres, Sql, SqlFile},
};

/// The database of a workload, and the commands that change its schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.version) || !(has(self.backfill) || has(self.contract) || has(self.revert))")
        .message("schema.version is needed with schema.backfill, schema.contract or schema.revert: give this schema change a number higher than the last one's"),
    validation = Rule::new("has(self.expand) || !(has(self.preflight) || has(self.revert))")
        .message("schema.preflight and schema.revert need schema.expand: add schema.expand, or remove schema.preflight and schema.revert"),
    validation = Rule::new("has(self.postgres) || !((has(self.preflight) && has(self.preflight.sql)) || (has(self.expand) && has(self.expand.sql)) || (has(self.backfill) && (has(self.backfill.sql) || has(self.backfill.batches))) || (has(self.contract) && has(self.contract.sql)) || (has(self.revert) && has(self.revert.sql)))")
        .message("schema.postgres is needed with sql and batches: name the Secret with the connection in schema.postgres.connection.secretKeyRef"),
    validation = Rule::new("(has(self.version) && self.version <= 2147483647) || !((has(self.preflight) && has(self.preflight.sql)) || (has(self.expand) && has(self.expand.sql)) || (has(self.backfill) && (has(self.backfill.sql) || has(self.backfill.batches))) || (has(self.contract) && has(self.contract.sql)) || (has(self.revert) && has(self.revert.sql)))")
        .message("schema.version is needed with sql and batches, 2147483647 at most: the database remembers by it what has run"),
    validation = Rule::new("!has(self.contract) || !has(self.backfill) || has(self.backfill.batches) || has(self.backfill.verify)")
        .message("a contract removes nothing without a proof: give schema.backfill.verify.command, which exits with 0 when every row is filled in, and with 65 when one is not")
)]
pub struct SchemaSpec {
    /// Name of the database. Rollouts in a namespace that name the same database share one
    /// DatabaseSchema: at most one schema phase runs on it at a time.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = DNS_LABEL)
    )]
    pub database: String,

    /// Schema version that the pods of this template need. Raise it with every schema change. Left
    /// out: none; then there is no backfill, contract or undo floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9007199254740991_i64))]
    pub version: Option<i64>,

    /// Container of the pod template whose image and environment are used for a `command`.
    /// Default: the first container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,

    /// Whether the end of a failed Job's log is repeated in the status and the Events of the
    /// Rollout, which more people may read than logs. What looks like a credential is always left
    /// out of it. Default: true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub show_log: bool,

    /// What the pods of phases have in addition to what they inherit from the Rollout's pods. It
    /// does not apply to a phase with a `template`.
    #[serde(default, skip_serializing_if = "JobPods::is_empty")]
    pub job: JobPods,

    /// The PostgreSQL database that `sql` and `batches` run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,

    /// How to treat files of `sql` that would hurt users. The Job checks them with the rules of
    /// `stepgate lint` for their phase, before it runs any statement. `Enforce`: after an error,
    /// nothing of the phase runs, and the database is unchanged; statements that lint cannot judge
    /// need `approval: Manual` in a contract and in a revert, and are warnings in other phases.
    /// `Strict`: the same, and in other phases they are errors too.
    /// `Warn`: findings are only in the Job's log. `Off`: no check.
    #[serde(default, skip_serializing_if = "Lint::is_enforced")]
    pub lint: Lint,
    /// Checks whether the expand of a version may run, and changes nothing. It passes if the
    /// database is not dirty, no other phase runs on it, no higher version has been expanded, the
    /// backup is recent enough, and, for SQL, the runner has what it needs. Then its own command
    /// runs. Failures are retried until `deadlineSeconds`; then the release is blocked, and the
    /// database is unchanged. Not run for a version that is already expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,

    /// Adds what the new revision needs, without breaking the old one. Runs before the first pod of
    /// the revision is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Expand>,

    /// Fills in what `expand` added. Runs once per version, after a revision of it has become
    /// stable; and before a contract once more when no pod below the version is left, unless a
    /// trigger keeps it. No pod of a higher version starts before it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,

    /// Removes unused parts of the schema. Runs once per version, when no pod, release or rollback
    /// target of any Rollout on the database is below the version, the backfill has ended,
    /// `afterSeconds` have passed, and it is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,

    /// Takes back what the expand of a version added, after its release has failed. Runs only where
    /// `when` says so, and when its gate is open: the version was never stable on this database, and
    /// no pod, no release, no stable or former stable revision of any Rollout and no other workload
    /// is at it or above. A later release of the version expands again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Revert>,
}

impl SchemaSpec {
    /// What the spec asks this phase to run, if it asks for it.
    #[must_use]
    pub fn phase(&self, kind: PhaseKind) -> Option<&Phase> {
        match kind {
            PhaseKind::Expand => self.expand.as_ref().map(|expand| &expand.run),
            PhaseKind::Backfill => self.backfill.as_ref().map(|backfill| &backfill.run),
            PhaseKind::Contract => self.contract.as_ref().map(|contract| &contract.run),
            PhaseKind::Preflight => self.preflight.as_ref().map(|preflight| &preflight.run),
            PhaseKind::Revert => self.revert.as_ref().map(|revert| &revert.run),
        }
    }

    /// Whether a phase has a Job: a preflight may do without.
    #[must_use]
    pub(crate) fn has_job(&self, kind: PhaseKind) -> bool {
        let own = |phase: &Phase| !phase.command.is_empty() || phase.template.is_some();
        self.phase(kind).is_some_and(own) || self.runs_sql(kind)
    }

    /// Whether a phase is SQL for Stepgate's runner.
    #[must_use]
    pub(crate) fn runs_sql(&self, kind: PhaseKind) -> bool {
        let Some(phase) = self.phase(kind) else {
            return false;
        };
        let own = phase.sql.is_some();
        own || match kind {
            PhaseKind::Backfill => !self.batches().is_empty(),
            // The runner looks whether it can run what comes.
            PhaseKind::Preflight => {
                let mut others = PhaseKind::ALL.into_iter().filter(|other| *other != kind);
                phase.command.is_empty()
                    && phase.template.is_none()
                    && others.any(|other| self.runs_sql(other))
            }
            PhaseKind::Expand | PhaseKind::Contract | PhaseKind::Revert => false,
        }
    }

    /// Files of SQL of a phase, in the order in which they run.
    #[must_use]
    pub fn files(&self, kind: PhaseKind) -> &[SqlFile] {
        let sql = self.phase(kind).and_then(|phase| phase.sql.as_ref());
        sql.map_or(&[], |sql| &sql.files)
    }

    /// Those that the runner reads for a phase, in order: its own, and in a preflight also those of
    /// the expand.
    #[must_use]
    pub(crate) fn read_files(&self, kind: PhaseKind) -> Vec<&SqlFile> {
        let comes = match kind {
            PhaseKind::Preflight => self.files(PhaseKind::Expand),
            _ => &[],
        };
        self.files(kind).iter().chain(comes).collect()
    }

    /// Batches of the backfill.
    #[must_use]
    pub(crate) fn batches(&self) -> &[Batch] {
        self.backfill.as_ref().map_or(&[], |b| &b.batches)
    }

    /// The pod template of its own that this phase has, if it has one.
    pub(crate) fn template_mut(&mut self, kind: PhaseKind) -> Option<&mut Value> {
        let phase = match kind {
            PhaseKind::Expand => self.expand.as_mut().map(|expand| &mut expand.run),
            PhaseKind::Backfill => self.backfill.as_mut().map(|backfill| &mut backfill.run),
            PhaseKind::Contract => self.contract.as_mut().map(|contract| &mut contract.run),
            PhaseKind::Preflight => self.preflight.as_mut().map(|preflight| &mut preflight.run),
            PhaseKind::Revert => self.revert.as_mut().map(|revert| &mut revert.run),
        };
        phase?.template.as_mut()
    }
}

/// What the pods of phases carry beside what they take over of the Rollout's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPods {
    /// Additional labels, for example for a NetworkPolicy that selects pods by a label. From the
    /// Rollout's pods, the pods of phases inherit labels with a prefix, such as
    /// `azure.workload.identity/use`, except those in `spec.selector` and those of `kubernetes.io`,
    /// `k8s.io` and deployment tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::crd::labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations beside those of the Rollout's pods; pods that run `sql` have only these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::crd::annotations")]
    pub annotations: BTreeMap<String, String>,

    /// Their ServiceAccount. Default: that of the Rollout's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub service_account_name: Option<String>,

    /// Init containers and containers of the Rollout's pods that a phase needs beside it, such as a
    /// proxy to the database. A container that serves until the end is run as a native sidecar, so
    /// that the Job ends. All others are left out, but for native sidecars of a `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub keep_containers: Vec<String>,
}

impl JobPods {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One schema phase: a command, or SQL, that runs to completion in a Job. It must be re-runnable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Command and arguments. They run in the revision's own pod spec, without probes, ports and
    /// lifecycle, and without the other containers that `schema.job` does not keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,

    /// A separate pod template. Its labels must not match the Rollout's selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::crd::pod_template")]
    pub template: Option<Value>,

    /// Files of SQL, run on `schema.postgres` by Stepgate's own runner: short waits for locks, each
    /// file in one transaction with its entry in a ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<Sql>,

    /// Maximum number of seconds that a phase may run; after that it has failed. Of a backfill with
    /// `batches` it is for the files of `sql`: batches go on as long as they come forward, for a week
    /// at most (see `stallSeconds`).
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 1, max = 604800))]
    pub deadline_seconds: i64,

    /// How often a command that exits with 75 is run again, within `deadlineSeconds` and with
    /// growing pauses from ten seconds. A command must exit with 75 only when it has applied
    /// nothing, for example because the database does not answer yet; such an end never leaves the
    /// database dirty. Any other failure ends the phase at once. Default: 0.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    #[schemars(range(min = 0, max = 20))]
    pub retry_limit: i64,
}

/// The expand of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.command), has(self.template), has(self.sql)].exists_one(given, given)")
        .message("give a phase exactly one of command (run with the revision's own image), template (a pod template of its own) and sql (files that Stepgate runs on PostgreSQL)")
)]
pub struct Expand {
    /// What runs.
    #[serde(flatten)]
    pub run: Phase,

    /// Measures the stable revision after the expand, before the first pod of the new one, and
    /// compares it with the time before the expand. If it does worse then, the expand hurts, and not
    /// the new code: the release waits for a person. Left out where the expand changes nothing for
    /// stable: there is none yet, it needs the same schema version, or another Rollout has applied
    /// this version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
}

/// How long the stable revision is measured after the expand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Soak {
    /// Seconds for which stable is measured after the expand, and at least a minute long before it.
    #[serde(default = "default_soak")]
    #[schemars(range(min = 1, max = 86400))]
    pub hold_seconds: i64,

    /// Seconds after the hold within which every check must have a verdict about stable.
    #[serde(default = "default_soak_deadline")]
    #[schemars(range(min = 1, max = 2592000))]
    pub deadline_seconds: i64,

    /// What happens at that deadline if a check is still inconclusive, for example because there
    /// were too few requests.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
}

const fn default_soak() -> i64 {
    120
}

const fn default_soak_deadline() -> i64 {
    600
}

/// The preflight of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.command), has(self.template), has(self.sql)].filter(given, given).size() <= 1")
        .message("give a preflight at most one of command (run with the revision's own image), template (a pod template of its own) and sql (files that Stepgate runs on PostgreSQL, read-only)"),
    validation = Rule::new("!has(self.retryLimit) || self.retryLimit == 0")
        .message("a failed preflight is always retried until its deadlineSeconds: remove retryLimit")
)]
pub struct Preflight {
    /// What runs, if anything does beside the questions that are built in.
    #[serde(flatten)]
    pub run: Phase,

    /// Seconds that the last backup may be old, by the annotation `stepgate.io/backup-at` of the
    /// DatabaseSchema: a time as `2030-01-31T23:59:59Z`, set by whatever makes the backup. Default:
    /// no backup is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31536000))]
    pub max_backup_age_seconds: Option<i64>,
}

/// The way back of a version's schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.command), has(self.template), has(self.sql)].exists_one(given, given)")
        .message("give a phase exactly one of command (run with the revision's own image), template (a pod template of its own) and sql (files that Stepgate runs on PostgreSQL)")
)]
pub struct Revert {
    /// What runs.
    #[serde(flatten)]
    pub run: Phase,

    /// When it runs. `Never` (default): what the expand added stays; old code works with it.
    /// `AfterFailure`: after a release of the version has failed and was undone, once the gate is
    /// open.
    #[serde(default)]
    pub when: RevertWhen,

    /// Whether a person must approve it. `Manual`, the default: workloads in other namespaces are
    /// not seen, so somebody must know of them.
    #[serde(default)]
    pub approval: Approval,
}

/// When a revert runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevertWhen {
    /// Not at all.
    #[default]
    Never,
    /// After a release of the version has failed and was undone.
    AfterFailure,
}

/// The backfill of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.command), has(self.template), has(self.sql) || has(self.batches)].exists_one(given, given)")
        .message("give a backfill exactly one of command (run with the revision's own image), template (a pod template of its own) and sql or batches, or both of these (run on PostgreSQL by Stepgate)"),
    validation = Rule::new("has(self.batches) || !has(self.maxLagSeconds)")
        .message("maxLagSeconds applies only to batches: add batches, or remove maxLagSeconds"),
    validation = Rule::new("has(self.batches) || !has(self.stallSeconds)")
        .message("stallSeconds is about batches, and there are none: only of these is it seen how far they are; deadlineSeconds is for the whole backfill then")
)]
pub struct Backfill {
    /// What runs.
    #[serde(flatten)]
    pub run: Phase,

    /// Rows to change in batches, each committed on its own, after the files of `sql`, until no row
    /// matches `where`. An interrupted run continues where it stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub batches: Vec<Batch>,

    /// Seconds without progress (no row changed, no range found empty) after which batches have
    /// failed; pauses count too. What they have done stays, and a retry continues there.
    /// Default: 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 604800))]
    pub stall_seconds: Option<i64>,

    /// Batches pause while a replica or a replication slot is more than so many seconds behind; 0:
    /// never. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub max_lag_seconds: Option<i64>,

    /// What keeps the data filled in while code below the version still writes. `Code`: only the
    /// new code does, so the backfill runs once more when no pod below the version is left.
    /// `Trigger`: a trigger of the expand does, and once is enough.
    #[serde(default, skip_serializing_if = "KeptBy::is_code")]
    pub kept_by: KeptBy,

    /// No phase of any Rollout runs on the database beside it: an expand waits until it has ended.
    /// Default: expands of later releases run beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,

    /// Proves before a contract that every row is filled in. Needed with a contract, unless there
    /// are `batches`: the runner counts their rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

impl Backfill {
    /// Seconds without progress after which its batches have failed.
    #[must_use]
    pub(crate) fn stalls_after(&self) -> i64 {
        self.stall_seconds.unwrap_or(900)
    }
}

/// What keeps data filled in while old code writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeptBy {
    /// The code of the version, and nothing else.
    #[default]
    Code,
    /// A trigger in the database, whoever writes.
    Trigger,
}

impl KeptBy {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    const fn is_code(&self) -> bool {
        matches!(self, Self::Code)
    }
}

/// The contract of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.command), has(self.template), has(self.sql)].exists_one(given, given)")
        .message("give a phase exactly one of command (run with the revision's own image), template (a pod template of its own) and sql (files that Stepgate runs on PostgreSQL)")
)]
pub struct Contract {
    /// What runs.
    #[serde(flatten)]
    pub run: Phase,

    /// Seconds that must pass after nothing below the version is left, in which an undo within
    /// the version is still all that may be needed. Default: 86400, a day.
    #[serde(default = "a_day")]
    #[schemars(range(min = 0, max = 31536000))]
    pub after_seconds: i64,

    /// Keys of `spec.flags` that must be on for everybody before it runs, in every pod. From its
    /// start on they are frozen: nothing turns them off any more, as it removes what users need for
    /// whom they are off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(min = 1, max = 63), regex(pattern = FLAG_NAME)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub flags: Vec<String>,

    /// Whether a person must approve it. `Manual`, the default: workloads in other namespaces are
    /// not seen, so somebody must know of them.
    #[serde(default)]
    pub approval: Approval,
}

/// Whether a person must approve a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Somebody annotates the DatabaseSchema with `stepgate.io/approve`.
    #[default]
    Manual,
    /// Nobody needs to.
    Automatic,
}

const fn a_day() -> i64 {
    86400
}

pub(super) const fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(super) const fn is_yes(b: &bool) -> bool {
    *b
}

const fn default_deadline() -> i64 {
    3600
}

/// Which of the schema phases, in the order in which they run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum PhaseKind {
    /// Asks whether the expand may run.
    Preflight,
    /// Adds to the schema, before the release.
    Expand,
    /// Fills in data, after the release.
    Backfill,
    /// Removes from the schema, last.
    Contract,
    /// Takes back what expand added, after a failed release.
    Revert,
}

impl PhaseKind {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 5] = [
        Self::Preflight,
        Self::Expand,
        Self::Backfill,
        Self::Contract,
        Self::Revert,
    ];

    /// The word used in names and labels.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Contract => "contract",
            Self::Revert => "revert",
        }
    }

    /// The place in the record of the database that its Job takes.
    #[must_use]
    pub(crate) const fn slot(self) -> HolderSlot {
        match self {
            Self::Backfill => HolderSlot::Beside,
            Self::Preflight | Self::Expand | Self::Contract | Self::Revert => HolderSlot::Alone,
        }
    }
}

/// Where a Job that holds a database is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HolderSlot {
    /// No other Job runs beside it, but for a backfill.
    Alone,
    /// It runs beside the Jobs of others.
    Beside,
}

impl HolderSlot {
    /// The field of the record.
    #[must_use]
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::Alone => "holder",
            Self::Beside => "backfillHolder",
        }
    }
}
