//! What an answer says of one moment, part by part, and the snapshot that it makes.

use std::collections::BTreeMap;

use super::error::Error;
use super::query::Query;
use crate::evidence::{Bucket, Counted, Counters, Missing, Scraped, Snapshot, Target};

/// What one moment says, by target.
#[derive(Default)]
pub(super) struct Moment {
    pub clock: Option<f64>,
    pub last_scrape: BTreeMap<Target, f64>,
    pub has_series: bool,
    pub total: BTreeMap<Target, f64>,
    pub beside: Vec<(Target, f64)>,
    pub bad: BTreeMap<Target, f64>,
    pub buckets: BTreeMap<Target, Vec<Bucket>>,
    pub native: bool,
    pub matched: bool,
    pub plain: bool,
    pub failures: bool,
}

impl Moment {
    pub(crate) fn scraped(&mut self, target: &Target, at: f64) {
        let last = self.last_scrape.entry(target.clone()).or_insert(at);
        *last = last.max(at);
    }

    pub(crate) fn snapshot(self, query: &Query, warned: bool) -> Result<Snapshot, Error> {
        let clock = self.clock.filter(|c| c.is_finite());
        let clock = clock.ok_or(Error::BadAnswer {
            what: "without the time asked for",
        })?;
        let filtered = query.needs.matched;
        let matched = self.matched || (!filtered && self.has_series);
        let missing = self.missing(query, matched);
        let by_counter = query.needs.failures;
        let mut counted: Vec<Counted> = Vec::new();
        for target in self.bad.keys().filter(|t| !self.total.contains_key(t)) {
            // A counter of failures may be there before any request was.
            if !(by_counter && self.bad.get(target) == Some(&0.0)) {
                // Bad requests among none at all: no counts.
                counted.push(requests(target, f64::NAN, f64::NAN));
            }
        }
        for (target, total) in &self.total {
            counted.push(requests(
                target,
                self.bad.get(target).copied().unwrap_or(0.0),
                *total,
            ));
        }
        for (target, buckets) in self.buckets {
            counted.push(Counted {
                target,
                counters: Counters::Histogram(buckets),
            });
        }
        Ok(Snapshot {
            clock,
            scrape_interval: f64::from(query.scrape_interval_seconds),
            scraped: self
                .last_scrape
                .into_iter()
                .map(|(target, last)| Scraped { target, last })
                .collect(),
            counted,
            beside: query.beside.then_some(self.beside),
            missing,
            filtered,
            unmatched: self.has_series && !matched,
            native: self.native,
            warned,
        })
    }

    /// What a check needs and has not, though requests are counted.
    fn missing(&self, query: &Query, matched: bool) -> Option<Missing> {
        if query.bounds.is_some() {
            let none = self.buckets.is_empty() && !self.has_series && !self.native;
            return (self.plain && none).then_some(Missing::Buckets);
        }
        if query.needs.failures {
            let none = !self.total.is_empty() && !self.failures;
            return none.then_some(Missing::Failures);
        }
        (matched && self.total.is_empty() && !self.native).then_some(Missing::StatusLabel)
    }
}

pub(super) fn requests(target: &Target, bad: f64, total: f64) -> Counted {
    Counted {
        target: target.clone(),
        counters: Counters::Requests { bad, total },
    }
}
