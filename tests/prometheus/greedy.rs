//! A tenant whose metrics are huge: the operator neither grows without bound nor forgets the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use stepgate::api::Convention;
use stepgate::evidence::{CheckSpec, Reason};
use stepgate::prometheus::{Sampler, SourcesFile};
use tokio::task::JoinSet;

use super::server;
use super::world::{error_rate, measure};

/// Rollouts that ask for much, and checks of each, all about another counter.
const GREEDY: usize = 10;
const CHECKS: usize = 3;

/// What the process may grow by, in megabytes: less than what the old way took for one Rollout.
const MOST: usize = 160;

/// An answer of nearly eight megabytes.
fn huge(matrix: bool) -> Vec<u8> {
    let kind = if matrix { "matrix" } else { "vector" };
    let now = Timestamp::now().as_second();
    let sample = |value: &str| {
        if !matrix {
            return format!(r#""value":[{now},"{value}"]"#);
        }
        let values: Vec<String> = (0..60)
            .map(|n| format!(r#"[{},"{value}"]"#, now - n))
            .collect();
        format!(r#""values":[{}]"#, values.join(","))
    };
    let mut series = vec![format!(
        r#"{{"metric":{{"stepgate_part":"clock"}},{}}}"#,
        sample(&now.to_string())
    )];
    let mut length = 0;
    while length < 7 << 20 {
        let one = format!(
            r#"{{"metric":{{"stepgate_part":"total","pod":"p","instance":"{}"}},{}}}"#,
            series.len(),
            sample("5")
        );
        length += one.len() + 1;
        series.push(one);
    }
    let result = series.join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[{result}]}}}}"#)
        .into_bytes()
}

fn modest() -> Vec<u8> {
    let now = Timestamp::now().as_second();
    let sample = |part: &str, labels: &str, value: i64| {
        format!(r#"{{"metric":{{"stepgate_part":"{part}"{labels}}},"value":[{now},"{value}"]}}"#)
    };
    let pod = r#","pod":"modest-r1-a","instance":"i""#;
    let result = [
        sample("clock", "", now),
        sample("up", pod, now),
        sample("total", pod, now % 100_000),
    ];
    let result = result.join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
        .into_bytes()
}

/// Megabytes of this process that are in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_answers_neither_fill_the_memory_nor_starve_the_others() {
    let bodies = [false, true].map(|matrix| Arc::<[u8]>::from(huge(matrix)));
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let address = server::serve(move |request| {
        if request.body.contains("modest") {
            return ("200 OK".to_owned(), Arc::from(modest()));
        }
        counted.fetch_add(1, Ordering::SeqCst);
        let matrix = request.path.contains("query_range");
        (
            "200 OK".to_owned(),
            Arc::clone(&bodies[usize::from(matrix)]),
        )
    });
    let yaml = format!(
        "sources: [{{name: default, url: \"http://{address}\", timeoutSeconds: 20, \
         scrapeIntervalSeconds: 1}}]"
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = SourcesFile::parse(&yaml).unwrap();
    let sampler = Sampler::new(file, |_| {}, |_, _| {}).unwrap();

    let before = resident();
    let (ended, peak) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let watch = {
        let (ended, peak) = (Arc::clone(&ended), Arc::clone(&peak));
        std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                peak.fetch_max(resident(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    // The greedy come first, and want their history as after a start.
    for greedy in 0..GREEDY {
        let checks = (0..CHECKS).map(|n| CheckSpec {
            convention: Convention {
                counter: Some(format!("requests_{n}_total")),
                ..Convention::default()
            },
            ..error_rate(&format!("errors-{n}"))
        });
        let mut m = measure(&format!("greedy{greedy}"), &["p"], checks.collect());
        m.since -= SignedDuration::from_secs(60);
        m.interval_seconds = 10;
        sampler.measure(m);
    }
    let handle = sampler.clone();
    let mut running = JoinSet::new();
    running.spawn(async move { handle.run().await });
    sampler.measure(measure(
        "modest",
        &["modest-r1-a"],
        vec![error_rate("errors")],
    ));

    // However long the greedy take, on whatever machine.
    let deadline = Instant::now() + Duration::from_secs(240);
    let mut open: Vec<String> = (0..GREEDY).map(|n| format!("greedy{n}")).collect();
    loop {
        let of = |rollout: &str| sampler.readings("shop", rollout, "r1").unwrap();
        open.retain(|name| {
            let readings = of(name).readings;
            assert!(readings.iter().all(|r| r.total == 0.0));
            readings[0].reason != Reason::AnswerTooLarge
        });
        let polls = of("modest").complete_polls;
        if open.is_empty() && polls >= 5 {
            break;
        }
        assert!(Instant::now() < deadline, "{polls} polls, open: {open:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ended.store(true, Ordering::SeqCst);
    watch.join().unwrap();
    let grown = peak.load(Ordering::SeqCst).saturating_sub(before);
    assert!(grown < MOST, "{grown} MB more than before");
    assert!(served.load(Ordering::SeqCst) >= GREEDY * CHECKS);
}
