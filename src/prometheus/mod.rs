//! Counts from Prometheus, and from what speaks its HTTP API.
//!
//! 1. [`config`](SourcesFile): the metric sources the administrator set up;
//! 2. `promql`, [`query`](Query): queries, built from typed parts, never by pasting text;
//! 3. [`client`](Client): asking, within limits of time and size; `body`: the answer on its way;
//! 4. `decode`: answers into [`Snapshot`](crate::evidence::Snapshot)s, within the [`Room`] of a
//!    poll; `fair`: who has it, and a source's time, next;
//! 5. [`sampler`](Sampler): asking for every canary on its own beat. What it asks and what it
//!    makes of the answers is in [`crate::evidence`].

#![warn(unreachable_pub)]

mod body;
mod client;
mod config;
mod decode;
mod error;
mod fair;
mod moment;
mod promql;
mod query;
mod room;
mod sampler;

pub use client::{Client, MetricSource};
pub use config::{ConfigError, SourcesFile};
pub use error::Error;
pub use query::{Pods, Query};
pub use room::Room;
pub use sampler::Sampler;
