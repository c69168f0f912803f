//! The real binary on a real PostgreSQL, one server per test.

// A test says what is wrong by panicking; the lint's own exception covers only its functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;
mod migrations;
mod postgres_server;
mod serving;
mod shop_process;
