//! The recipes do what they say, on a real PostgreSQL: each by itself, four of them under requests
//! of old and new code.

// What a test gives up on ends the test.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod by_themselves;
#[path = "../../../../src/lint/src/corpus.rs"]
mod corpus;
mod syntax;
mod under_traffic;
