//! `stepgate simulate`, as people run it: the real program over the examples, over manifests with
//! mistakes, and as its documentation shows it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

mod documented;
#[path = "../api_server/mistakes.rs"]
mod mistakes;
mod played;
mod program;
mod refused;
mod written;
