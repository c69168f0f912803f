//! Stepgate.

pub mod operator;
