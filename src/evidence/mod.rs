//! From counts to verdicts: what a canary's requests say about it.
//!
//! Nothing here talks to anything, knows the time or draws a random number. A [`Board`] says
//! which counts are wanted and when; whoever asks (the sampler with a real Prometheus, the
//! simulator with a virtual clock) hands back [`Snapshot`]s; the board turns them into
//! [`Readings`], which the planner reads.
//!
//! The story, in the order of the files:
//!
//! 1. [`measure`](Measure): what the planner wants measured;
//! 2. `convention`: under which names requests are counted, checked and in full;
//! 3. [`snapshot`](Snapshot): the raw counters of one moment;
//! 4. `increments`: raw counters of pods that come, go and restart, made into events;
//! 5. `sequential`: the test that says *failing*, valid however often one looks;
//!    `recent`: whether that lasts, and is no burst;
//! 6. `histogram`: the quantile people read;
//! 7. [`reading`](Reading): what is said about one check, and why;
//!    [`split`](Split): how many of the requests it gets;
//! 8. `tracker`: all of it for one canary;
//! 9. `board`: when each canary is due.

#![warn(unreachable_pub)]

mod board;
mod convention;
#[cfg(test)]
mod fixture;
mod histogram;
mod increments;
mod judge;
mod measure;
mod reading;
mod recent;
mod sequential;
mod snapshot;
mod split;
mod tracker;

pub use board::{Ask, Board, Change, CheckAsk};
pub(crate) use convention::check_label;
pub use convention::{ConventionError, Failed, MetricNames, StatusLabel, StatusValues};
pub use measure::{CheckKind, CheckSpec, Key, Measure, PodSeen};
pub use reading::{Reading, Readings, Reason, Unit, Verdict};
pub use sequential::Sequential;
pub use snapshot::{
    Answer, Answered, Bucket, Counted, Counters, Fault, Missing, PollResult, Scraped, Snapshot,
    Target,
};
pub use split::Split;
pub use tracker::Tracker;
