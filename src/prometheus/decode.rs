//! Answers of Prometheus' HTTP API into snapshots.
//!
//! Read here rather than by the client crate, because three things matter that its types leave
//! out: warnings (how Thanos and Mimir say that an answer is not whole), native histograms
//! beside plain samples, and error types that Prometheus itself does not have.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::Error;
use super::query::{PART, Query};
use crate::evidence::{Bucket, Counted, Counters, Scraped, Snapshot, Target};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    error_type: Option<Cow<'a, str>>,
    data: Option<Data<'a>>,
    #[serde(default)]
    warnings: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    infos: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    result: Vec<Series<'a>>,
}

/// One series of a vector (`value`, `histogram`) or a matrix (`values`, `histograms`).
#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow)]
    metric: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Sample<'a>>,
    #[serde(borrow, default)]
    values: Vec<Sample<'a>>,
    histogram: Option<(f64, IgnoredAny)>,
    #[serde(default)]
    histograms: Vec<(f64, IgnoredAny)>,
}

/// A time in Unix seconds, and a number as text, since JSON has no NaN.
#[derive(Deserialize)]
struct Sample<'a>(f64, #[serde(borrow)] Cow<'a, str>);

impl Sample<'_> {
    /// The number; text that is none counts as NaN, which no verdict rests on.
    fn number(&self) -> f64 {
        self.1.parse().unwrap_or(f64::NAN)
    }
}

/// The only sample of an instant query's answer.
pub(super) fn instant(query: &Query, status: u16, body: &[u8]) -> Result<Snapshot, Error> {
    let (moments, warned) = decode(query, status, body, "vector")?;
    let mut moments = moments.into_values();
    // The clock is part of every query, so a true answer is never empty.
    let moment = moments
        .next()
        .ok_or(Error::BadAnswer { what: "no samples" })?;
    if moments.next().is_some() {
        return Err(Error::BadAnswer {
            what: "samples of several times",
        });
    }
    moment.snapshot(query, warned)
}

/// All moments of a range query's answer, in order of time.
pub(super) fn range(
    query: &Query,
    status: u16,
    body: &[u8],
) -> Result<Vec<(Timestamp, Snapshot)>, Error> {
    let (moments, warned) = decode(query, status, body, "matrix")?;
    moments
        .into_iter()
        .map(|(milliseconds, moment)| {
            let at = Timestamp::from_millisecond(milliseconds).map_err(|_| Error::BadAnswer {
                what: "a time out of range",
            })?;
            Ok((at, moment.snapshot(query, warned)?))
        })
        .collect()
}

fn decode(
    query: &Query,
    status: u16,
    body: &[u8],
    expected: &str,
) -> Result<(BTreeMap<i64, Moment>, bool), Error> {
    let envelope: Envelope<'_> = match serde_json::from_slice(body) {
        Ok(envelope) => envelope,
        Err(_) if (200..300).contains(&status) => {
            return Err(Error::BadAnswer {
                what: "not its JSON",
            });
        }
        Err(_) => {
            return Err(Error::Refused {
                status,
                kind: "no reason given",
            });
        }
    };
    if envelope.status != "success" || !(200..300).contains(&status) {
        let kind = known_kind(envelope.error_type.as_deref().unwrap_or_default());
        return Err(Error::Refused { status, kind });
    }
    let data = envelope.data.ok_or(Error::BadAnswer { what: "no data" })?;
    if data.result_type != expected {
        return Err(Error::BadAnswer {
            what: "another type of result",
        });
    }
    let mut moments = BTreeMap::<i64, Moment>::new();
    for series in &data.result {
        place(query, series, &mut moments)?;
    }
    let said = |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(|l| !l.is_empty());
    Ok((moments, said(&envelope.warnings) || said(&envelope.infos)))
}

/// The error types that are known, so that none of a source's own words are passed on.
fn known_kind(kind: &str) -> &'static str {
    const KNOWN: [&str; 10] = [
        "bad_data",
        "canceled",
        "execution",
        "internal",
        "not_acceptable",
        "not_found",
        "timeout",
        "too_many_requests",
        "unavailable",
        "unauthorized",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == kind)
        .unwrap_or("another error")
}

/// What one moment says, by target.
#[derive(Default)]
struct Moment {
    clock: Option<f64>,
    last_scrape: BTreeMap<Target, f64>,
    has_series: bool,
    total: BTreeMap<Target, f64>,
    bad: BTreeMap<Target, f64>,
    buckets: BTreeMap<Target, Vec<Bucket>>,
    native: bool,
}

fn place(
    query: &Query,
    series: &Series<'_>,
    moments: &mut BTreeMap<i64, Moment>,
) -> Result<(), Error> {
    let label = |name: &str| {
        series
            .metric
            .get(name)
            .map(AsRef::as_ref)
            .unwrap_or_default()
    };
    let part = label(PART);
    let target = Target {
        pod: label(&query.pod_label).to_owned(),
        instance: label("instance").to_owned(),
    };
    if part != "clock" && target.pod.is_empty() {
        return Err(Error::BadAnswer {
            what: "a series without its pod",
        });
    }
    let bound = match (part, query.bounds) {
        ("bucket", Some(unit)) => {
            label("le").parse::<f64>().unwrap_or(f64::NAN) * unit.milliseconds()
        }
        _ => f64::NAN,
    };
    for (time, _) in series.histogram.iter().chain(&series.histograms) {
        moments.entry(milliseconds(*time)).or_default().native = true;
    }
    for sample in series.value.iter().chain(&series.values) {
        let moment = moments.entry(milliseconds(sample.0)).or_default();
        let value = sample.number();
        match part {
            "clock" => moment.clock = Some(value),
            "up" => moment.scraped(&target, value),
            "series" => {
                moment.has_series = true;
                moment.scraped(&target, value);
            }
            "total" => _ = moment.total.insert(target.clone(), value),
            "bad" => _ = moment.bad.insert(target.clone(), value),
            "bucket" => {
                let bucket = Bucket {
                    le: bound,
                    count: value,
                };
                moment
                    .buckets
                    .entry(target.clone())
                    .or_default()
                    .push(bucket);
            }
            "native" => moment.native = true,
            _ => {
                return Err(Error::BadAnswer {
                    what: "series that were not asked for",
                });
            }
        }
    }
    Ok(())
}

/// Unix milliseconds, which is as fine as Prometheus' times are.
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

impl Moment {
    fn scraped(&mut self, target: &Target, at: f64) {
        let last = self.last_scrape.entry(target.clone()).or_insert(at);
        *last = last.max(at);
    }

    fn snapshot(self, query: &Query, warned: bool) -> Result<Snapshot, Error> {
        let clock = self.clock.filter(|c| c.is_finite());
        let clock = clock.ok_or(Error::BadAnswer {
            what: "without the time asked for",
        })?;
        let without_status =
            query.bounds.is_none() && self.has_series && self.total.is_empty() && !self.native;
        let mut counted: Vec<Counted> = Vec::new();
        for target in self.bad.keys().filter(|t| !self.total.contains_key(t)) {
            // Bad requests among none at all: no counts.
            counted.push(requests(target, f64::NAN, f64::NAN));
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
            without_status,
            native: self.native,
            warned,
        })
    }
}

fn requests(target: &Target, bad: f64, total: f64) -> Counted {
    Counted {
        target: target.clone(),
        counters: Counters::Requests { bad, total },
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
