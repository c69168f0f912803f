//! What clients get through a route.

use std::collections::BTreeMap;

use load::Record;
use testbed::view::State;

/// How many requests were answered by pods of each revision; those of pods without one, and answers that
/// come from no pod, are under the empty name.
pub fn answers<'r>(
    state: &State,
    records: impl IntoIterator<Item = &'r Record>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        let revision = state.born.get(&record.pod).cloned().flatten();
        *counts.entry(revision.unwrap_or_default()).or_default() += 1;
    }
    counts
}

/// Demands that so many of all requests are what a weight of so many percent gives. Where it is left to
/// chance, a right share is refused in one of a million cases.
pub fn is_share(of: usize, all: usize, percent: u32) -> bool {
    let (all, share) = (all as f64, f64::from(percent) / 100.0);
    let spread = (all * share * (1.0 - share)).sqrt();
    (of as f64 - all * share).abs() <= 5.0 * spread
}
