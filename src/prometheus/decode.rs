//! Answers of Prometheus' HTTP API into snapshots.
//!
//! Read here rather than by the client crate, because three things matter that its types leave
//! out: warnings (how Thanos and Mimir say that an answer is not whole), native histograms
//! beside plain samples, and error types that Prometheus itself does not have.
//!
//! Read as it comes: of a series only the figures stay, and they are counted against the room that
//! the poll has. So an answer's size in memory is bounded, whatever is in it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::Error;
use super::moment::Moment;
use super::query::{PART, Query};
use super::room::Room;
use crate::evidence::{Bucket, Snapshot, Target};

/// What a figure takes in memory, with its place in a tree and in a snapshot.
const A_FIGURE: usize = 100;
/// Moments of one answer; a few more than a history has.
const MAX_MOMENTS: usize = 2_100;
/// Buckets of one histogram.
const MAX_BUCKETS: usize = 500;

/// The only sample of an instant query's answer.
pub(super) fn instant(
    query: &Query,
    status: u16,
    body: impl Read,
    room: &Room,
) -> Result<Snapshot, Error> {
    let (moments, warned) = decode(query, status, body, room, "vector")?;
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
    body: impl Read,
    room: &Room,
) -> Result<Vec<(Timestamp, Snapshot)>, Error> {
    let (moments, warned) = decode(query, status, body, room, "matrix")?;
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
    body: impl Read,
    room: &Room,
    expected: &str,
) -> Result<(BTreeMap<i64, Moment>, bool), Error> {
    let mut answer = Answer {
        query,
        room,
        kept: 0,
        moments: BTreeMap::new(),
        refused: None,
    };
    let mut deserializer = serde_json::Deserializer::from_reader(body);
    let read = EnvelopeSeed(&mut answer).deserialize(&mut deserializer);
    let read = read.and_then(|envelope| deserializer.end().map(|()| envelope));
    let found = answer.judge(status, read, expected);
    if found.is_err() {
        // Nothing of it stays.
        room.give_back(answer.kept);
    }
    Ok((answer.moments, found?))
}

/// An answer, as far as it is read.
struct Answer<'a> {
    query: &'a Query,
    room: &'a Room,
    /// Bytes taken of the room.
    kept: usize,
    moments: BTreeMap<i64, Moment>,
    /// Why it is not read on.
    refused: Option<Error>,
}

/// What an answer says beside its series.
#[derive(Default)]
struct Envelope {
    status: String,
    error_type: String,
    result_type: Option<String>,
    has_result: bool,
    warned: bool,
}

impl Answer<'_> {
    /// Whether the source warned, if this is an answer to the query.
    fn judge(
        &mut self,
        status: u16,
        read: serde_json::Result<Envelope>,
        expected: &str,
    ) -> Result<bool, Error> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let envelope = match read {
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
            let kind = known_kind(&envelope.error_type);
            return Err(Error::Refused { status, kind });
        }
        if !envelope.has_result {
            return Err(Error::BadAnswer { what: "no data" });
        }
        if envelope.result_type.as_deref() != Some(expected) {
            return Err(Error::BadAnswer {
                what: "another type of result",
            });
        }
        Ok(envelope.warned)
    }

    /// Remembers why nothing more is read.
    fn refuse<E: serde::de::Error>(&mut self, error: Error) -> E {
        let words = E::custom("refused");
        self.refused.get_or_insert(error);
        words
    }

    fn keep(&mut self, figures: usize) -> Result<(), Error> {
        let bytes = figures * A_FIGURE;
        self.room.keep(bytes)?;
        self.kept += bytes;
        Ok(())
    }
}

/// A visitor of a JSON object that hands each key to a function.
struct Object<F>(F);

impl<'de, F, T> Visitor<'de> for Object<F>
where
    F: ObjectOf<'de, Value = T>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        self.0.read(map)
    }
}

/// What is read of an object's fields.
trait ObjectOf<'de> {
    type Value;

    fn read<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error>;
}

struct EnvelopeSeed<'a, 'b>(&'a mut Answer<'b>);

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_, '_> {
    type Value = Envelope;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_map(Object(self))
    }
}

impl<'de> ObjectOf<'de> for EnvelopeSeed<'_, '_> {
    type Value = Envelope;

    fn read<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "status" => envelope.status = map.next_value()?,
                "errorType" => envelope.error_type = map.next_value()?,
                "warnings" | "infos" => envelope.warned |= map.next_value::<Length>()?.0 > 0,
                "data" => {
                    let data = DataSeed(&mut *self.0, &mut envelope);
                    map.next_value_seed(data)?;
                }
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(envelope)
    }
}

/// How many items a list has, of which none is kept; none where there is no list.
struct Length(usize);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = usize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<usize, E> {
                Ok(0)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<usize, A::Error> {
                let mut length = 0;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    length += 1;
                }
                Ok(length)
            }
        }

        deserializer.deserialize_any(Items).map(Length)
    }
}

struct DataSeed<'a, 'b>(&'a mut Answer<'b>, &'a mut Envelope);

impl<'de> DeserializeSeed<'de> for DataSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Object(self))
    }
}

impl<'de> ObjectOf<'de> for DataSeed<'_, '_> {
    type Value = ();

    fn read<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "resultType" => self.1.result_type = Some(map.next_value()?),
                "result" => {
                    map.next_value_seed(ResultSeed(&mut *self.0))?;
                    self.1.has_result = true;
                }
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// All series; each finds its place before the next is read.
struct ResultSeed<'a, 'b>(&'a mut Answer<'b>);

impl<'de> DeserializeSeed<'de> for ResultSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ResultSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(series) = items.next_element_seed(SeriesSeed(&mut *self.0))? {
            if let Err(error) = self.0.place(series) {
                return Err(self.0.refuse(error));
            }
        }
        Ok(())
    }
}

/// One series of a vector (`value`, `histogram`) or a matrix (`values`, `histograms`).
#[derive(Default)]
struct Series {
    labels: Labels,
    /// Times in Unix milliseconds, and figures.
    samples: Vec<(i64, f64)>,
    /// Times of native histograms.
    native: Vec<i64>,
}

/// The labels that a query asks for.
#[derive(Default)]
struct Labels {
    part: String,
    pod: String,
    instance: String,
    le: String,
}

struct SeriesSeed<'a, 'b>(&'a mut Answer<'b>);

impl<'de> DeserializeSeed<'de> for SeriesSeed<'_, '_> {
    type Value = Series;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Series, D::Error> {
        deserializer.deserialize_map(Object(self))
    }
}

impl<'de> ObjectOf<'de> for SeriesSeed<'_, '_> {
    type Value = Series;

    fn read<A: MapAccess<'de>>(self, mut map: A) -> Result<Series, A::Error> {
        let mut series = Series::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metric" => {
                    let pod_label = &self.0.query.pod_label;
                    series.labels = map.next_value_seed(LabelsSeed(pod_label))?;
                }
                "value" => {
                    let sample: Sample = map.next_value()?;
                    series.samples.push((sample.0, sample.1));
                }
                "values" => {
                    let samples = &mut series.samples;
                    let add = |sample: Sample| {
                        samples.push((sample.0, sample.1));
                        samples.len()
                    };
                    map.next_value_seed(ListSeed(&mut *self.0, add, PhantomData))?;
                }
                "histogram" => {
                    let (at, _) = map.next_value::<(f64, IgnoredAny)>()?;
                    series.native.push(milliseconds(at));
                }
                "histograms" => {
                    let native = &mut series.native;
                    let add = |(at, _): (f64, IgnoredAny)| {
                        native.push(milliseconds(at));
                        native.len()
                    };
                    map.next_value_seed(ListSeed(&mut *self.0, add, PhantomData))?;
                }
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(series)
    }
}

struct LabelsSeed<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for LabelsSeed<'_> {
    type Value = Labels;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Labels, D::Error> {
        deserializer.deserialize_map(Object(self))
    }
}

impl<'de> ObjectOf<'de> for LabelsSeed<'_> {
    type Value = Labels;

    fn read<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut labels = Labels::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                labels.pod = map.next_value()?;
            } else if key == PART {
                labels.part = map.next_value()?;
            } else if key == "instance" {
                labels.instance = map.next_value()?;
            } else if key == "le" {
                labels.le = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(labels)
    }
}

/// A list of which each item is handed to a function, which says how many there are by now.
struct ListSeed<'a, 'b, T, F>(&'a mut Answer<'b>, F, PhantomData<T>);

impl<'de, T, F> DeserializeSeed<'de> for ListSeed<'_, '_, T, F>
where
    F: FnMut(T) -> usize,
    T: Deserialize<'de>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T, F> Visitor<'de> for ListSeed<'_, '_, T, F>
where
    F: FnMut(T) -> usize,
    T: Deserialize<'de>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<T>()? {
            if (self.1)(item) > MAX_MOMENTS {
                return Err(self.0.refuse(Error::TooMuch));
            }
        }
        Ok(())
    }
}

/// A time in Unix milliseconds, and a figure, which is text, since JSON has no NaN.
struct Sample(i64, f64);

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, text) = <(f64, String)>::deserialize(deserializer)?;
        // Text that is no number counts as NaN, which no verdict rests on.
        Ok(Self(milliseconds(at), text.parse().unwrap_or(f64::NAN)))
    }
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

impl Answer<'_> {
    /// Puts a series' figures where they belong.
    fn place(&mut self, series: Series) -> Result<(), Error> {
        let Series {
            labels,
            samples,
            native,
        } = series;
        let part = labels.part.as_str();
        let target = Target {
            pod: labels.pod.into(),
            instance: labels.instance.into(),
        };
        if !matches!(part, "clock" | "failures") && target.pod.is_empty() {
            return Err(Error::BadAnswer {
                what: "a series without its pod",
            });
        }
        let bound = match (part, self.query.bounds) {
            ("bucket", Some(unit)) => {
                labels.le.parse::<f64>().unwrap_or(f64::NAN) * unit.milliseconds()
            }
            _ => f64::NAN,
        };
        self.keep(samples.len() + native.len())?;
        for at in native {
            self.moments.entry(at).or_default().native = true;
        }
        for (at, value) in samples {
            let moment = self.moments.entry(at).or_default();
            match part {
                "clock" => moment.clock = Some(value),
                "up" => moment.scraped(&target, value),
                "series" => {
                    moment.has_series = true;
                    moment.scraped(&target, value);
                }
                "total" => _ = moment.total.insert(target.clone(), value),
                "beside" => moment.beside.push((target.clone(), value)),
                "bad" => _ = moment.bad.insert(target.clone(), value),
                "bucket" => {
                    let bucket = Bucket {
                        le: bound,
                        count: value,
                    };
                    let buckets = moment.buckets.entry(target.clone()).or_default();
                    if buckets.len() >= MAX_BUCKETS {
                        return Err(Error::TooMuch);
                    }
                    buckets.push(bucket);
                }
                "native" => moment.native = true,
                "matched" => moment.matched = true,
                "plain" => moment.plain = true,
                "failures" => moment.failures = true,
                _ => {
                    return Err(Error::BadAnswer {
                        what: "series that were not asked for",
                    });
                }
            }
        }
        if self.moments.len() > MAX_MOMENTS {
            return Err(Error::TooMuch);
        }
        Ok(())
    }
}

/// Unix milliseconds, which is as fine as Prometheus' times are.
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
