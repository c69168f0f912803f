use proptest::prelude::*;

use super::*;
use crate::api::TimeUnit;
use crate::evidence::{Counters, Missing, Scraped};
use crate::prometheus::moment::requests;
use crate::prometheus::query::Needs;

fn query(bounds: Option<TimeUnit>) -> Query {
    Query {
        text: String::new(),
        pod_label: "pod".to_owned(),
        bounds,
        needs: Needs {
            matched: false,
            failures: false,
        },
        beside: false,
        scrape_interval_seconds: 15,
    }
}

fn instant(query: &Query, status: u16, body: &[u8]) -> Result<Snapshot, Error> {
    super::instant(query, status, body, &Room::alone())
}

fn range(query: &Query, status: u16, body: &[u8]) -> Result<Vec<(Timestamp, Snapshot)>, Error> {
    super::range(query, status, body, &Room::alone())
}

/// A series of the given part, in JSON.
fn series(part: &str, labels: &str, value: &str) -> String {
    format!(
        r#"{{"metric":{{"stepgate_part":"{part}","pod":"a","instance":"i"{labels}}},"value":[10.5,"{value}"]}}"#
    )
}

const CLOCK: &str = r#"{"metric":{"stepgate_part":"clock"},"value":[10.5,"10.5"]}"#;

fn body(result: &[String], more: &str) -> Vec<u8> {
    let result: Vec<&str> = result.iter().map(String::as_str).chain([CLOCK]).collect();
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}{more}}}"#,
        result.join(",")
    )
    .into_bytes()
}

fn read(result: &[String], more: &str) -> Snapshot {
    instant(&query(None), 200, &body(result, more)).unwrap()
}

fn target() -> Target {
    Target {
        pod: "a".into(),
        instance: "i".into(),
    }
}

#[test]
fn requests_by_target() {
    let now = read(
        &[
            series("total", "", "40"),
            series("bad", "", "3"),
            series("up", "", "9"),
            series("series", "", "9.5"),
        ],
        "",
    );
    assert_eq!(now.counted, [requests(&target(), 3.0, 40.0)]);
    assert_eq!(
        now.scraped,
        [Scraped {
            target: target(),
            last: 9.5
        }]
    );
    assert_eq!((now.clock, now.scrape_interval), (10.5, 15.0));
    assert!(!now.warned && now.missing.is_none() && !now.native);
}

#[test]
fn no_bad_series_is_no_bad_request() {
    let now = read(&[series("total", "", "40"), series("series", "", "9")], "");
    assert_eq!(now.counted, [requests(&target(), 0.0, 40.0)]);
}

#[test]
fn a_silent_pod_is_scraped_and_counts_nothing() {
    let now = read(&[series("up", "", "9")], "");
    assert!(now.counted.is_empty() && now.missing.is_none());
    assert_eq!(now.scraped.len(), 1);
}

#[test]
fn series_without_any_status_label_are_told() {
    let now = read(&[series("series", "", "9")], "");
    assert_eq!(now.missing, Some(Missing::StatusLabel));
}

#[test]
fn numbers_that_are_none_are_kept_as_such() {
    for text in ["NaN", "+Inf", "-1", "garbage"] {
        let now = read(&[series("total", "", text)], "");
        assert!(!now.counted[0].counters.are_counts(), "{text}");
    }
    let now = read(&[series("bad", "", "3")], "");
    assert!(!now.counted[0].counters.are_counts(), "bad without all");
}

#[test]
fn buckets_in_milliseconds_whatever_the_unit() {
    for (unit, bound) in [
        (TimeUnit::Seconds, "0.2"),
        (TimeUnit::Milliseconds, "2e+02"),
    ] {
        let result = [
            series("bucket", r#","le":"+Inf""#, "9"),
            series("bucket", &format!(r#","le":"{bound}""#), "7"),
        ];
        let now = instant(&query(Some(unit)), 200, &body(&result, "")).unwrap();
        let Counters::Histogram(buckets) = &now.counted[0].counters else {
            panic!()
        };
        assert_eq!(
            buckets[0],
            Bucket {
                le: f64::INFINITY,
                count: 9.0
            }
        );
        assert!((buckets[1].le - 200.0).abs() < 1e-9 && buckets[1].count == 7.0);
    }
}

#[test]
fn warnings_and_infos_make_it_partial() {
    assert!(read(&[], r#","warnings":["store down"]"#).warned);
    assert!(read(&[], r#","infos":["mixed"]"#).warned);
    assert!(!read(&[], r#","warnings":[],"infos":null"#).warned);
}

#[test]
fn a_native_histogram_is_skipped_and_told() {
    let native = series("total", "", "1").replace(
        "\"value\":[10.5,\"1\"]",
        "\"histogram\":[10.5,{\"count\":\"3\",\"sum\":\"1\",\"buckets\":[[0,\"0\",\"1\",\"3\"]]}]",
    );
    let now = read(&[native, series("series", "", "9")], "");
    assert!(now.native && now.counted.is_empty() && now.missing.is_none());
}

#[test]
fn what_is_no_answer_to_the_query_is_refused() {
    let empty = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let error = |status, body: &[u8]| instant(&query(None), status, body).unwrap_err();
    assert_eq!(error(200, empty), Error::BadAnswer { what: "no samples" });
    assert_eq!(
        error(200, b"<html>"),
        Error::BadAnswer {
            what: "not its JSON"
        }
    );
    assert_eq!(
        error(503, b"<html>"),
        Error::Refused {
            status: 503,
            kind: "no reason given"
        }
    );
    let said = br#"{"status":"error","errorType":"too_many_requests","error":"secret words"}"#;
    assert_eq!(
        error(429, said),
        Error::Refused {
            status: 429,
            kind: "too_many_requests"
        }
    );
    let said = br#"{"status":"error","errorType":"secret words","error":"secret words"}"#;
    assert!(!error(400, said).to_string().contains("secret"));
    let scalar = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    assert_eq!(
        error(200, scalar),
        Error::BadAnswer {
            what: "another type of result"
        }
    );
    let other = series("surprise", "", "1");
    assert!(instant(&query(None), 200, &body(&[other], "")).is_err());
}

#[test]
fn series_that_no_matcher_lets_through_are_told() {
    let query = Query {
        needs: Needs {
            matched: true,
            failures: false,
        },
        ..query(None)
    };
    let read = |result: &[String]| instant(&query, 200, &body(result, "")).unwrap();
    let probed = series("series", "", "9");
    let now = read(std::slice::from_ref(&probed));
    assert!(now.unmatched && now.filtered && now.missing.is_none());
    assert_eq!(now.scraped.len(), 1, "it is seen all the same");
    let now = read(&[probed.clone(), series("matched", "", "1")]);
    assert_eq!(now.missing, Some(Missing::StatusLabel));
    let total = series("total", "", "4");
    let now = read(&[probed, series("matched", "", "1"), total]);
    assert!(!now.unmatched && now.missing.is_none());
}

#[test]
fn durations_without_buckets_are_told() {
    let query = query(Some(TimeUnit::Seconds));
    let read = |result: &[String]| instant(&query, 200, &body(result, "")).unwrap();
    let plain = series("plain", "", "3");
    let now = read(std::slice::from_ref(&plain));
    assert_eq!(now.missing, Some(Missing::Buckets));
    let bucket = series("bucket", r#","le":"+Inf""#, "9");
    let now = read(&[plain, bucket, series("series", "", "9")]);
    assert_eq!(now.missing, None);
}

#[test]
fn a_counter_of_failures_must_be_known_somewhere() {
    let query = Query {
        needs: Needs {
            matched: false,
            failures: true,
        },
        ..query(None)
    };
    let read = |result: &[String]| instant(&query, 200, &body(result, "")).unwrap();
    let total = series("total", "", "40");
    let known = r#"{"metric":{"stepgate_part":"failures"},"value":[10.5,"1"]}"#.to_owned();
    let now = read(std::slice::from_ref(&total));
    assert_eq!(now.missing, Some(Missing::Failures));
    let now = read(&[total.clone(), known.clone()]);
    assert_eq!(now.missing, None);
    assert_eq!(now.counted, [requests(&target(), 0.0, 40.0)]);
    let now = read(&[known.clone(), series("bad", "", "0")]);
    assert!(now.counted.is_empty(), "it may be there before any request");
    let now = read(&[total, known, series("bad", "", "2")]);
    assert_eq!(now.counted, [requests(&target(), 2.0, 40.0)]);
}

#[test]
fn a_range_is_moments_in_order() {
    let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"stepgate_part":"total","pod":"a","instance":"i"},"values":[[20,"7"],[30,"9"]]},
        {"metric":{"stepgate_part":"clock"},"values":[[10,"10"],[20,"20"],[30,"30"]]}]}}"#;
    let moments = range(&query(None), 200, body).unwrap();
    let totals: Vec<_> = moments
        .iter()
        .map(|(at, now)| (at.as_second(), now.counted.clone()))
        .collect();
    assert_eq!(totals[0], (10, vec![]));
    assert_eq!(totals[1], (20, vec![requests(&target(), 0.0, 7.0)]));
    assert_eq!(totals[2], (30, vec![requests(&target(), 0.0, 9.0)]));
}

#[test]
fn an_answer_keeps_no_more_than_its_room_and_gives_it_back_when_it_is_refused() {
    let room = Room::alone();
    let all: Vec<String> = (0..200_000)
        .map(|n| series("total", "", "1").replace("\"i\"", &format!("\"i{n}\"")))
        .collect();
    let large = body(&all, "");
    let read = |room: &Room, body: &[u8]| super::instant(&query(None), 200, body, room);
    assert_eq!(read(&room, &large), Err(Error::TooMuch));
    assert!(
        read(&room, &body(&all[..150_000], "")).is_ok(),
        "given back"
    );
    assert_eq!(read(&room, &body(&all[..150_000], "")), Err(Error::TooMuch));
    let buckets: Vec<String> = (0..1_000)
        .map(|n| series("bucket", &format!(r#","le":"{n}""#), "1"))
        .collect();
    let query = query(Some(TimeUnit::Seconds));
    let refused = instant(&query, 200, &body(&buckets, ""));
    assert_eq!(refused, Err(Error::TooMuch));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..400) {
        let _ = instant(&query(None), 200, &bytes);
        // Damage to a sound answer, too.
        let mut sound = body(&[series("total", "", "40"), series("up", "", "9")], "");
        let at = at % sound.len();
        bytes.truncate(3);
        sound.splice(at..(at + bytes.len()).min(sound.len()), bytes);
        let _ = instant(&query(Some(TimeUnit::Seconds)), 200, &sound);
        let _ = range(&query(None), 200, &sound);
    }
}
