//! Releases on a real cluster, each test in a namespace of its own.
//!
//! Needs `KUBECONFIG` of a cluster with the testbed on it; `tests/e2e/run` does all of that.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adopt;
mod app;
mod blue_green;
mod bounds;
mod clients;
mod commands;
mod contract;
mod deletion;
mod first;
mod flags;
mod gateways;
mod memory;
mod motion;
mod outages;
mod phases;
mod play;
mod refusals;
mod scale;
mod shop;
mod sql;
mod undo;
mod upgrade;
mod waits;
