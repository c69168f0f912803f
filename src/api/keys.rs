//! Labels, annotations and field managers that Stepgate writes or reads.

/// API group of the custom resources and prefix of every key below.
pub const GROUP: &str = "stepgate.io";
/// Group and version of the custom resources.
pub(crate) const API_VERSION: &str = "stepgate.io/v1alpha1";
/// The field manager of every write of the operator.
pub(crate) const FIELD_MANAGER: &str = "stepgate";

/// Label on every child (and its pods): the name of the Rollout.
pub const ROLLOUT: &str = "stepgate.io/rollout";
/// Label on every child (and its pods): the revision's hash.
pub const REVISION: &str = "stepgate.io/revision";
/// Label on a phase's Job and its pods: the name of the database.
pub(crate) const DATABASE: &str = "stepgate.io/database";
/// Label on a phase's Job and its pods: `expand`, `backfill` or `contract`.
pub const PHASE: &str = "stepgate.io/phase";
/// Label on the Job of a step's test and its pods: the test's name.
pub(crate) const TEST: &str = "stepgate.io/test";
/// Label on the Job of a step's test: the step.
pub(crate) const STEP: &str = "stepgate.io/step";
/// Label on Deployments, Services, ConfigMaps with flags and suspended Jobs: the leadership epoch that may write them.
pub(crate) const EPOCH: &str = "stepgate.io/epoch";

/// Label on a workload of somebody else, and on its pods: the database that it uses.
pub(crate) const USES_DATABASE: &str = "stepgate.io/uses-database";
/// Annotation beside that label: the schema version that it needs.
pub(crate) const SCHEMA_VERSION: &str = "stepgate.io/schema-version";
/// What a person writes in the place of a step to promote a release that has no way back.
pub(crate) const WITHOUT_UNDO: &str = "without-undo";
/// Annotation on a DatabaseSchema: `<version>/<phase>/<digest> <id> <user>` approves a phase.
pub(crate) const APPROVE: &str = "stepgate.io/approve";
/// Annotation on a DatabaseSchema: `<version> <id>`: what is open of that version is not to run.
pub(crate) const DROP: &str = "stepgate.io/drop";
/// Annotation on a DatabaseSchema: `<version> <id>`: the undo floor goes back to where it was before
/// the contract of that version, of which nothing was applied.
pub(crate) const LOWER_FLOOR: &str = "stepgate.io/lower-floor";
/// Annotation on a DatabaseSchema: `<expanded>/<contracted> <id>`: how far the database is by its
/// ledger, after it or its record was restored from a backup.
pub(crate) const BASELINE: &str = "stepgate.io/baseline";
/// Annotation on a DatabaseSchema: `<job> <id>`: what that Job left half-way is fixed.
pub(crate) const CLEAN: &str = "stepgate.io/clean";

/// Annotation on a Deployment, label on a Service: the resourceVersion at which an unanswered write
/// was settled.
pub(crate) const SETTLED: &str = "stepgate.io/settled";

/// Annotation on a Deployment of Stepgate: a hash of its template, by which a restart of its pods is
/// told from an edit.
pub(crate) const TEMPLATE: &str = "stepgate.io/template";
/// Annotation on a pod template: kubectl sets it so that the pods are made anew.
pub(crate) const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Annotation on a ControllerRevision: how the revision ended (`Stable`, `Failed`, `Withdrawn`).
pub(crate) const OUTCOME: &str = "stepgate.io/outcome";
/// Annotation on a ControllerRevision: why it ended so, for people.
pub(crate) const OUTCOME_REASON: &str = "stepgate.io/outcome-reason";

/// Annotation on a ConfigMap with flags: what Stepgate wrote of each, and a hash of it.
pub(crate) const FLAGS: &str = "stepgate.io/flags";

/// Annotation on somebody else's Service: `true` where no user reaches pods through it.
pub(crate) const NOT_FOR_USERS: &str = "stepgate.io/not-for-users";

/// Annotation on a DatabaseSchema: when the last backup of the database was made, by whoever makes
/// it.
pub(crate) const BACKUP_AT: &str = "stepgate.io/backup-at";

/// Finalizer on a DatabaseSchema while a phase holds it.
pub const HELD: &str = "stepgate.io/held";

/// Finalizer on a Rollout while a Deployment that it adopts is stable.
pub(crate) const ADOPTING: &str = "stepgate.io/adopting";

/// How all keys begin, those of the command annotations too (`stepgate.io/promote`).
pub const PREFIX: &str = "stepgate.io/";
