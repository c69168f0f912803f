//! A cluster in memory behind the trait [`Cluster`](crate::cluster::Cluster), with a virtual
//! clock: the real observe, plan and act code and the real evidence code run on it, in tests and
//! for users.
//!
//! Everything happens in one thread, in an order that a seed decides: the same seed tells the
//! same story on every machine. Nouns lie below, those who act on them above; nobody is imported
//! from above.
//!
//! - What there is: [`object`]s, the [`setting`] and its [`random`] numbers, [`traffic`] and what
//!   [`prometheus`] makes of it, the [`tables`] of databases, [`action`]s (among them what people [`amend`] while a release is on
//!   its way) and [`event`]s, a [`process`] of the operator and its [`request`]s, the [`ledger`]
//!   of the rules, the [`story`], the [`coverage`]. The [`world`] has them all, with the clock and
//!   the agenda.
//! - Who acts on it: `dispatch` gives each event to whom it concerns. `store` and [`server`] are the
//!   API server; [`controllers`], [`kubelet`] and [`job`] the rest of the cluster; by `migrating`
//!   Jobs and pods change databases; `lease`,
//!   `caches`, `passes`, `polls` and `wire` the operator around its passes; [`people`] and
//!   [`agents`] act amid their [`surroundings`], and `fate` does what nobody does.
//! - Who looks on: [`rules`] says what must never happen, [`liveness`] what must in the end;
//!   [`driver`] runs the passes, for a [`scenario`], a random [`schedule`] or a release amid
//!   [`churn`]. [`alone`] is the
//!   cluster without the operator.

pub mod action;
pub mod agents;
pub mod alone;
pub mod amend;
mod caches;
pub mod churn;
pub mod controllers;
pub mod coverage;
mod dispatch;
pub mod driver;
pub mod event;
pub mod facts;
mod fate;
mod flags;
pub mod job;
pub mod kubelet;
mod leading;
mod lease;
pub mod ledger;
pub mod liveness;
mod migrating;
pub mod object;
mod passes;
pub mod people;
mod polls;
pub mod process;
pub mod progress;
pub mod prometheus;
pub mod random;
mod recorded;
pub mod request;
pub mod routes;
pub mod rules;
pub mod scenario;
pub mod scenarios;
pub mod schedule;
pub mod server;
pub mod setting;
pub mod sql;
pub mod sql_ledger;
mod store;
pub mod story;
pub mod surroundings;
pub mod tables;
pub mod traffic;
pub mod versions;
mod wire;
pub mod world;

pub use action::Action;
pub use driver::{BrokenOff, Simulation};
