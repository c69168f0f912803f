//! The real runner on a real PostgreSQL, one server per test. `STEPGATE_POSTGRES` names the folder
//! of another PostgreSQL's programs.

// A test says what is wrong by panicking; the lint's own exception covers only its functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod batches;
mod faults;
mod files;
mod online;
mod preflight;
mod proxy;
mod recorded;
mod runner;
mod server;
mod watching;
