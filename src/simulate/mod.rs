//! A cluster in memory behind the trait [`Cluster`](crate::cluster::Cluster), with a virtual
//! clock: the real observe, plan and act code and the real evidence code run on it, in tests and
//! for users.
//!
//! Everything happens in one thread, in an order that a seed decides: the same seed tells the
//! same story on every machine. Read it so: [`world`] has the clock and the store, [`server`] is
//! the API server, [`controllers`], [`kubelet`], [`job`], [`traffic`] and [`prometheus`] are the
//! rest of the cluster, [`people`] and [`agents`] act on it amid their [`surroundings`] (what people
//! [`amend`] while a release is on its way is drawn for the schedules), and
//! `fate` does what nobody does; [`process`] is the operator around its passes,
//! [`driver`] runs them, [`rules`] says what must never happen. [`alone`] is the cluster without the
//! operator.

pub mod agents;
pub mod alone;
pub mod amend;
pub mod controllers;
pub mod coverage;
pub mod driver;
pub mod event;
pub mod facts;
mod fate;
pub mod job;
pub mod kubelet;
pub mod liveness;
pub mod object;
pub mod people;
pub mod process;
pub mod prometheus;
pub mod random;
pub mod request;
pub mod rules;
pub mod scenario;
pub mod scenarios;
pub mod schedule;
pub mod server;
pub mod setting;
pub mod story;
pub mod surroundings;
pub mod traffic;
pub mod world;

pub use driver::{Ended, Simulation};
pub use people::Action;
