//! Counts from Prometheus, and from what speaks its HTTP API.
//!
//! 1. [`config`](SourcesFile): the metric sources the administrator set up;
//! 2. `promql`, [`query`](Query): queries, built from typed parts, never by pasting text;
//! 3. [`client`](Client): asking, within limits of time and size;
//! 4. `decode`: answers into [`Snapshot`](crate::evidence::Snapshot)s;
//! 5. [`sampler`](Sampler): asking for every canary on its own beat. What it asks and what it
//!    makes of the answers is in [`crate::evidence`].

#![warn(unreachable_pub)]

mod client;
mod config;
mod decode;
mod error;
mod promql;
mod query;
mod sampler;

pub use client::{Client, MetricSource};
pub use config::{ConfigError, SourcesFile};
pub use error::Error;
pub use query::{Pods, Query};
pub use sampler::Sampler;
