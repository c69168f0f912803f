//! What makes a process of the operator: configuration, logs, metrics, probes, the lead, the run
//! loop, and an orderly end. Nothing here decides about a Rollout.

#![warn(unreachable_pub)]

pub mod client;
mod clock;
pub mod config;
pub mod events;
mod health;
mod inbox;
pub mod lease;
pub mod metrics;
mod queue;
mod reconcile;
mod run;
pub mod shutdown;
pub mod start;
pub mod telemetry;
