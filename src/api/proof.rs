//! The proof before a contract that its backfill has filled in every row.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PhaseKind, SchemaSpec};

/// A command that proves that every row is filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// Command and arguments. They run in the container `schema.container` of the revision's own
    /// pods, in the Job of the contract, before anything else of it. Exit status 0: every row is
    /// filled in, and the contract runs. 65: a row is not; nothing is removed, and a `retry` runs
    /// the backfill again first. 75: ask again, at most `contract.retryLimit` times. Any other: it
    /// is unknown, and nothing is removed.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
}

impl SchemaSpec {
    /// The command that proves before this phase that every row is filled in; empty: none does.
    #[must_use]
    pub(crate) fn verifies(&self, kind: PhaseKind) -> &[String] {
        let verify = self.backfill.as_ref().and_then(|b| b.verify.as_ref());
        let verify = verify.filter(|_| kind == PhaseKind::Contract);
        verify.map_or(&[], |verify| &verify.command)
    }

    /// Whether Stepgate's runner counts before this phase the rows that batches fill in.
    #[must_use]
    pub(crate) fn counts(&self, kind: PhaseKind) -> bool {
        kind == PhaseKind::Contract && !self.batches().is_empty()
    }
}
