//! What the clients saw: the load generator's records, read while they are written, and their
//! sums per second and in total.

mod failure;
mod record;
mod summary;

pub use failure::Failure;
pub use record::{Error, Follower, Record, read};
pub use summary::{Second, Summary, per_second};
