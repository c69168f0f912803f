//! The pages of `docs/recipes`: what is needed to run their SQL on a real PostgreSQL.

// What a test gives up on ends the test.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "only tests use it"
)]

pub mod page;
pub mod server;
pub mod traffic;
