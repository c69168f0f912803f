//! Stepgate: staged rollouts for Kubernetes. Schema first, then code, in steps, with automatic rollback.
//!
//! Read it top down: [`api`] is what users write, [`plan`] decides, [`evidence`] judges numbers,
//! [`cluster`] touches the API server, [`prometheus`] the metric sources, [`operator`] runs it
//! all. [`simulate`] is a cluster in memory, on which [`cli`] plays people's own manifests.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod evidence;
pub mod operator;
pub mod plan;
pub mod prometheus;
pub mod simulate;
