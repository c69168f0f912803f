//! Known bugs of other tools, each as a scenario that is played here, with an
//! assertion on what went wrong there. `docs/bugs-of-other-tools.md` names the threads.
//!
//! `cargo test --test bugs_of_other_tools NAME -- --nocapture` tells the story of one.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod document;
mod evidence;
mod film;
mod hands;
mod lives;
mod schema;
mod serving;
mod sizes;
mod undo;
