//! `stepgate simulate`, `stepgate convert` and `stepgate lint`, as people run them: the real program
//! over the examples, over manifests with mistakes, and as their documentation shows them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

mod converted;
mod documented;
mod linted;
#[path = "../api_server/mistakes.rs"]
mod mistakes;
mod phases;
mod played;
mod program;
mod refused;
mod surroundings;
mod written;
