//! What makes a process of the operator: configuration, logs, metrics, probes, the lead, and an
//! orderly end. Nothing here decides about a Rollout.

pub mod client;
pub mod config;
pub mod health;
pub mod lease;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
