//! What users write and read: the custom resources, one file per part of the spec.
//!
//! The CRDs in `crds/` are generated from these types (`stepgate crds`), so what a field's
//! documentation says here is what `kubectl explain` says.

pub mod adopt;
pub mod after;
pub mod analysis;
pub mod crd;
pub mod database;
mod explained;
pub mod flags;
pub mod keys;
pub mod metric;
pub mod name;
pub mod proof;
pub mod release;
pub mod rollout;
pub mod rollout_status;
pub mod schema;
pub mod selector;
pub mod sql;
pub mod status;
pub mod strategy;
pub(crate) mod template;
pub mod test;
pub(crate) mod text;
pub mod traffic;
pub mod way_back;

pub use adopt::{Adopt, AdoptedStatus};
pub use after::After;
pub use analysis::{Analysis, Check, ErrorRate, Latency, OnFailure};
pub use database::{DatabaseRecord, DatabaseSchema, DatabaseSchemaSpec};
pub use flags::Flag;
pub use metric::{BuiltIn, Convention, Matcher, TimeUnit};
pub use rollout::{Rollout, RolloutSpec};
pub use rollout_status::RolloutStatus;
pub use schema::{Approval, Expand, Phase, PhaseKind, RevertWhen, SchemaSpec, Soak};
pub use selector::Selector;
pub use strategy::{
    BlueGreen, OnInconclusive, OnNewRevision, Promotion, Rolling, StablePods, Step, Strategy,
    StrategyType,
};
pub use test::{StepTest, TestAfter};
pub use traffic::Traffic;
pub use way_back::WayBack;

/// What is left out of a stored object because it is the default.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(value: &i64) -> bool {
    *value == 0
}
