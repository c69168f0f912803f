//! The four releases of the column rename, and what each does with the two columns.
//!
//! | release | reads | writes | its schema change |
//! |---|---|---|---|
//! | v1 | `name` | `name` | makes the table |
//! | v2 | `name`; `full_name` for users who have the flag `use-full-name` | both | expand: adds `full_name`; backfill: fills it |
//! | v3 | `full_name` | both | none; its pods need v2's backfill |
//! | v4 | `full_name` | `full_name` | expand: `name` may be null; contract: drops `name` |
//!
//! Two neighbours can always run side by side; v1 and v3 cannot: v3 would not see what v1 writes.

use std::fmt;

/// A release of the shop. Its number is also the schema version that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Release {
    /// Knows only `name`.
    V1,
    /// Writes both columns, reads `name`.
    V2,
    /// Writes both columns, reads `full_name`.
    V3,
    /// Knows only `full_name`.
    V4,
}

impl Release {
    /// The schema version that this release needs, 1 to 4.
    pub fn number(self) -> i32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }

    /// The statement that reads one user: parameter `id`, one nullable text column. `flagged`: the
    /// feature flag is on for him.
    pub fn select(self, flagged: bool) -> &'static str {
        match (self, flagged) {
            (Self::V1, _) | (Self::V2, false) => "SELECT name FROM users WHERE id = $1",
            (Self::V2, true) | (Self::V3 | Self::V4, _) => {
                "SELECT full_name FROM users WHERE id = $1"
            }
        }
    }

    /// The statement that adds one user: parameter the name, answers the new id.
    pub fn insert(self) -> &'static str {
        match self {
            Self::V1 => "INSERT INTO users (name) VALUES ($1) RETURNING id",
            Self::V2 | Self::V3 => {
                "INSERT INTO users (name, full_name) VALUES ($1, $1) RETURNING id"
            }
            Self::V4 => "INSERT INTO users (full_name) VALUES ($1) RETURNING id",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.number())
    }
}
