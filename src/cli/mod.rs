//! Commands for people, each in a folder of its own.

pub mod convert;
pub mod lint;
pub mod simulate;
