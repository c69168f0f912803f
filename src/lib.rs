//! Stepgate.

pub mod evidence;
pub mod prometheus;
