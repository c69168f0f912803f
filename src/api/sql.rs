//! SQL as a schema phase: files, batches, and the database that they run on.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most bytes that a file may have; what the runner takes.
pub(crate) const FILE_BYTES: usize = 256 * 1024;

/// The PostgreSQL database that `sql` and `batches` run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Postgres {
    /// The connection, a URI: `postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full`.
    /// Only the Job's pod reads it; Stepgate does not.
    pub connection: FromSecret,

    /// Certificate authorities in PEM. Default: those that come with the runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<FromConfigMap>,

    /// Milliseconds that a statement waits for a lock before it is tried again: everybody else queues
    /// behind it meanwhile. Default: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60000))]
    pub lock_timeout_ms: Option<i64>,

    /// Seconds that sessions of others may wait for locks of a statement before it is cancelled and
    /// tried again. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub blocked_seconds: Option<i64>,
}

/// A value that a Secret holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FromSecret {
    /// Name and key.
    pub secret_key_ref: KeyRef,
}

/// A value that a ConfigMap holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FromConfigMap {
    /// Name and key.
    pub config_map_key_ref: KeyRef,
}

/// A key of a ConfigMap or Secret of the namespace.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,

    /// Its key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Files of SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.files.all(f, self.files.exists_one(g, g.configMapKeyRef.key == f.configMapKeyRef.key))")
        .message("two files have the same key: the database remembers a file by its key, so give each its own")
)]
pub struct Sql {
    /// The files, in the order in which they run. Each may have 256 KiB.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub files: Vec<SqlFile>,
}

/// A file of SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SqlFile {
    /// The key of a ConfigMap that holds its text. What runs is the text as it is when the Job is
    /// made; a contract that was approved runs only with the text that was approved.
    pub config_map_key_ref: KeyRef,

    /// How it is committed. `Auto`: in one transaction, or by statement where one of them demands
    /// it. `File`: in one transaction. `Statement`: each on its own.
    #[serde(default, skip_serializing_if = "Transaction::is_auto")]
    pub transaction: Transaction,
}

/// How a file of SQL is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Transaction {
    /// In one transaction, or by statement where one of them demands it.
    #[default]
    Auto,
    /// In one transaction.
    File,
    /// Each statement on its own.
    Statement,
}

impl Transaction {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    const fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

/// What becomes of SQL that would hurt users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Lint {
    /// Neither it nor what cannot be judged runs, unless a person has approved that.
    Strict,
    /// It does not run.
    #[default]
    Enforce,
    /// It runs, and the log says what it does.
    Warn,
    /// It is not looked at.
    Off,
}

impl Lint {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(super) const fn is_enforced(&self) -> bool {
        matches!(self, Self::Enforce)
    }
}

/// Rows that are changed in batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Its name; the database remembers by it how far it came.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// The table, with its schema: `public.users`.
    #[schemars(length(min = 1, max = 253))]
    pub table: String,

    /// Columns of a unique index, NOT NULL, in its order, along which the table is walked.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 63)))]
    pub key: Vec<String>,

    /// What is set, as in an UPDATE: `full_name = name`.
    #[schemars(length(min = 1, max = 4096))]
    pub set: String,

    /// Which rows are still to be changed: `full_name IS NULL`. It must be false of a row that was.
    #[schemars(length(min = 1, max = 4096))]
    pub r#where: String,

    /// The most rows of a batch; fewer where they take more than about half a second. Default:
    /// 5000.
    #[serde(default = "max_rows")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_rows: i64,
}

const fn max_rows() -> i64 {
    5000
}
