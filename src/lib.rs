//! Stepgate.

pub mod evidence;
