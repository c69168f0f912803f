//! The recipes do what they say, with the real runner on a real PostgreSQL: each by itself, four of
//! them under requests of old and new code.

// What a test gives up on ends the test.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod by_themselves;
#[path = "../../src/lint/src/corpus.rs"]
mod corpus;
mod job;
mod page;
mod server;
mod syntax;
mod traffic;
mod under_traffic;
