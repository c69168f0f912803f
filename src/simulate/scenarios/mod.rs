//! The scenarios whose stories are kept, by theme.

pub(super) mod adopt;
mod around;
pub(super) mod blue_green;
mod commands;
mod edits;
pub(super) mod flags;
mod hands;
mod lives;
mod metrics;
pub(super) mod order;
mod phases;
mod progress;
mod recorded;
mod releases;
mod schemas;
mod sizes;
pub(super) mod soak;
pub(super) mod sql;
mod versions;
mod ways;
pub(super) mod weights;

pub(super) use ways::test;

use super::scenario::Scenario;

/// All of them, each theme with its name.
#[must_use]
pub fn themes() -> [(&'static str, Vec<Scenario>); 22] {
    [
        ("releases", releases::releases()),
        ("ways", ways::ways()),
        ("blue-green", blue_green::blue_green()),
        ("weights", weights::weights()),
        ("shrink", weights::shrinks()),
        ("schemas", schemas::schemas()),
        ("soak", soak::soak()),
        ("versions", versions::versions()),
        ("adopt", adopt::adopt()),
        ("around", around::around()),
        ("phases", phases::phases()),
        ("order", order::order()),
        ("flags", flags::flags()),
        ("sql", sql::sql()),
        ("recorded", recorded::recorded()),
        ("progress", progress::progress()),
        ("commands", commands::commands()),
        ("edits", edits::edits()),
        ("sizes", sizes::sizes()),
        ("hands", hands::hands()),
        ("metrics", metrics::metrics()),
        ("lives", lives::lives()),
    ]
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    themes().map(|(_, scenarios)| scenarios).concat()
}

/// The one of that name.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}
