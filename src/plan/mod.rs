//! Decisions: pure functions from facts to intents.

pub mod facts;
pub mod intent;
