//! What makes a process of the operator: configuration, logs, metrics, probes, the lead, the run
//! loop, and an orderly end. Nothing here decides about a Rollout.

pub mod client;
pub mod clock;
pub mod config;
pub mod events;
pub mod health;
pub mod inbox;
pub mod lease;
pub mod metrics;
pub mod queue;
pub mod reconcile;
pub mod run;
pub mod shutdown;
pub mod start;
pub mod telemetry;
