//! The client and the sampler against a real Prometheus that scrapes the test.
//!
//! Everything stays on loopback. Prometheus is the one that the test cluster builds; its path
//! comes from `STEPGATE_PROMETHEUS` or is found in the cluster's cache.

// Not every line of a test's scaffolding is inside a test function.
#![allow(clippy::unwrap_used, clippy::panic)]

mod alerts;
mod cases;
mod counts;
mod greedy;
mod limits;
mod server;
mod shared;
mod soak;
mod world;
