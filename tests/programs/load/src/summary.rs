//! Sums over records.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::Record;

/// What a set of requests came to. Latencies are of all of them, the failed ones too.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Requests sent.
    pub sent: usize,
    /// Of those, the ones that failed, see [`Record::failed`].
    pub failed: usize,
    /// How many ended with which status; 0 is no answer.
    pub statuses: BTreeMap<u16, usize>,
    /// Half of them took at most so many milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 took at most so many milliseconds.
    pub p95_ms: f64,
    /// 99 of 100 took at most so many milliseconds.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

/// The requests sent within one second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Second {
    /// Seconds since 1970.
    pub second: u64,
    /// What they came to.
    #[serde(flatten)]
    pub summary: Summary,
}

impl Summary {
    /// Sums up records in any order.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut sum = Self::default();
        let mut latencies = Vec::new();
        for record in records {
            sum.sent += 1;
            sum.failed += usize::from(record.failed());
            *sum.statuses.entry(record.status).or_default() += 1;
            latencies.push(record.latency);
        }
        latencies.sort_unstable();
        sum.p50_ms = quantile(&latencies, 50);
        sum.p95_ms = quantile(&latencies, 95);
        sum.p99_ms = quantile(&latencies, 99);
        sum.max_ms = quantile(&latencies, 100);
        sum
    }
}

/// The nearest-rank percentile (the smallest value that at least so many percent do not exceed),
/// in milliseconds; 0 of nothing.
fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted
        .get(rank - 1)
        .map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
}

/// The records by the second in which they were sent, in order.
pub fn per_second<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Second> {
    let mut seconds: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in records {
        let since = record
            .at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        seconds.entry(since.as_secs()).or_default().push(record);
    }
    let sum = |(second, records)| Second {
        second,
        summary: Summary::of::<'a>(records),
    };
    seconds.into_iter().map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at_ms: u64, latency_ms: u64, status: u16) -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms),
            latency: Duration::from_millis(latency_ms),
            status,
            error: String::new(),
            sequence: 0,
            method: "GET".to_owned(),
            url: String::new(),
            pod: String::new(),
        }
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let records: Vec<_> = (1..=100).rev().map(|ms| record(0, ms, 200)).collect();
        let sum = Summary::of(&records);
        assert_eq!(
            (sum.p50_ms, sum.p95_ms, sum.p99_ms, sum.max_ms),
            (50.0, 95.0, 99.0, 100.0)
        );
        let one = Summary::of(&records[..1]);
        assert_eq!((one.p50_ms, one.p99_ms), (100.0, 100.0));
        assert_eq!(Summary::of(&[]), Summary::default());
    }

    #[test]
    fn seconds_go_by_the_start() {
        let records = [
            record(2999, 1500, 500),
            record(1000, 5, 200),
            record(3000, 5, 0),
        ];
        let seconds = per_second(&records);
        let counts: Vec<_> = seconds
            .iter()
            .map(|s| (s.second, s.summary.sent, s.summary.failed))
            .collect();
        assert_eq!(counts, [(1, 1, 0), (2, 1, 1), (3, 1, 1)]);
        assert_eq!(seconds[1].summary.statuses, BTreeMap::from([(500, 1)]));
    }
}
