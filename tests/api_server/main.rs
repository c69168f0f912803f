//! The adapter on a real API server: what it refuses at apply, how each write is answered, what
//! the index follows, and that nothing malformed holds up the rest.
//!
//! Needs `KUBECONFIG` with full rights (any cluster with a controller manager; no nodes). The CRDs
//! of `crds/` are installed; each test works in a namespace of its own.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

mod adopting;
mod allowed;
mod answers;
mod asking;
mod attacks;
mod away;
mod blackout;
mod counted;
mod early;
mod fields;
mod first_writes;
mod fixture;
mod flags;
mod following;
mod fuzz;
mod given_up;
mod input;
mod labelled;
mod many;
mod mistakes;
mod outage;
mod policies;
mod process;
mod restarted;
mod routes;
mod stored;
mod telling;
mod users;
mod writes;
