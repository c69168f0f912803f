//! Stepgate: staged rollouts for Kubernetes. Schema first, then code, in steps, and back by itself.
//!
//! Read it top down: [`api`] is what users write, [`plan`] decides, [`evidence`](crate) judges
//! numbers, `cluster` touches the API server, `operator` wires them together.

pub mod api;
