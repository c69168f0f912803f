use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::*;
use crate::api::Convention;
use crate::evidence::{CheckKind, PodSeen, Scraped, Snapshot, Target, Verdict};

/// A source that answers, or never does; and counts the questions.
#[derive(Clone, Default)]
struct Oracle {
    silent: bool,
    /// It answers no question about the pods beside.
    narrow: bool,
    asked: Arc<AtomicUsize>,
}

impl MetricSource for Oracle {
    async fn now(&self, query: &Query, _: &Room) -> Result<Snapshot, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.narrow && query.beside {
            return Err(Error::Refused {
                status: 422,
                kind: "execution",
            });
        }
        if self.silent {
            std::future::pending::<()>().await;
        }
        let target = Target {
            pod: "shop-r1-x".into(),
            instance: "".into(),
        };
        let clock = Timestamp::now().as_second() as f64;
        Ok(Snapshot {
            clock,
            scrape_interval: 1.0,
            scraped: vec![Scraped {
                target,
                last: clock,
            }],
            ..Snapshot::default()
        })
    }

    async fn history(
        &self,
        _: &Query,
        _: Timestamp,
        _: Timestamp,
        _: i64,
        _: &Room,
    ) -> Result<Vec<(Timestamp, Snapshot)>, Error> {
        Ok(Vec::new())
    }
}

fn config(name: &str, namespaces: &str) -> SourceConfig {
    let yaml = format!("sources: [{{name: {name}, url: http://x, namespaces: [{namespaces}]}}]");
    SourcesFile::parse(&yaml).unwrap().sources.remove(0)
}

fn measure(rollout: &str, source: &str) -> Measure {
    let percentile = |percentile: f64| CheckSpec {
        name: format!("p{percentile}"),
        kind: CheckKind::Latency {
            percentile,
            max_milliseconds: 200.0,
        },
        min_requests: 1,
        warm_up_seconds: 0,
        convention: Convention::default(),
    };
    let now = Timestamp::now();
    let pod = PodSeen {
        name: "shop-r1-x".to_owned(),
        ready_since: Some(now),
        created: now,
    };
    Measure {
        namespace: "shop".to_owned(),
        rollout: rollout.to_owned(),
        revision: "r1".to_owned(),
        pod_prefix: "shop-r1-".to_owned(),
        beside: None,
        pods: vec![pod],
        probe_seconds: Vec::new(),
        since: now,
        hold_since: Some(now),
        before: None,
        source: source.to_owned(),
        interval_seconds: 1,
        checks: vec![percentile(95.0), percentile(99.0)],
    }
}

type Results = mpsc::UnboundedReceiver<(Key, Change, Vec<PollResult>)>;

fn started(sources: Vec<(SourceConfig, Oracle)>) -> (Sampler<Oracle>, Results, JoinSet<()>) {
    let (tell, told) = mpsc::unbounded_channel();
    let results = Arc::new(Mutex::new(Vec::new()));
    let counted = results.clone();
    let sampler = Sampler::with(
        sources,
        move |result| counted.lock().unwrap().push(result),
        move |key, change| {
            let results = std::mem::take(&mut *results.lock().unwrap());
            let _ = tell.send((key.clone(), change, results));
        },
    );
    let mut running = JoinSet::new();
    let handle = sampler.clone();
    running.spawn(async move { handle.run().await });
    (sampler, told, running)
}

async fn next(told: &mut Results) -> (Key, Change, Vec<PollResult>) {
    let told = tokio::time::timeout(Duration::from_secs(20), told.recv());
    told.await.unwrap().unwrap()
}

#[tokio::test]
async fn polls_on_its_beat_and_asks_the_same_question_once() {
    let oracle = Oracle::default();
    let (sampler, mut told, _running) = started(vec![(config("a", "shop"), oracle.clone())]);
    sampler.measure(measure("shop", "a"));
    // Each check of a poll counts.
    let both = vec![PollResult::Data; 2];
    let (_, change, counted) = next(&mut told).await;
    assert_eq!((change, &counted), (Change::Verdicts, &both));
    let (_, change, counted) = next(&mut told).await;
    assert_eq!((change, &counted), (Change::Figures, &both));
    let asked = oracle.asked.load(Ordering::SeqCst);
    assert_eq!(asked, 2, "two checks, two polls, one question");
    let readings = sampler.readings("shop", "shop", "r1").unwrap();
    assert_eq!(readings.complete_polls, 2);
    assert_eq!(readings.readings[1].reason, Reason::NoData);
    sampler.keep_only("shop", "shop", None);
    assert_eq!(sampler.readings("shop", "shop", "r1"), None);
}

#[tokio::test]
async fn what_decides_nothing_keeps_no_check_from_its_answer() {
    let narrow = Oracle {
        narrow: true,
        ..Oracle::default()
    };
    let (sampler, mut told, _running) = started(vec![(config("a", "shop"), narrow.clone())]);
    let beside = Some("shop-r0-".to_owned());
    sampler.measure(Measure {
        beside,
        ..measure("shop", "a")
    });
    let (_, _, counted) = next(&mut told).await;
    assert_eq!(counted, [PollResult::Data; 2]);
    // The first check's twice, the second's once.
    assert_eq!(narrow.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_source_that_never_answers_holds_up_nobody_else() {
    let silent = Oracle {
        silent: true,
        ..Oracle::default()
    };
    let sources = vec![
        (config("a", "shop"), Oracle::default()),
        (config("b", "shop"), silent),
    ];
    let (sampler, mut told, _running) = started(sources);
    for i in 0..20 {
        sampler.measure(measure(&format!("silent{i}"), "b"));
    }
    sampler.measure(measure("shop", "a"));
    for _ in 0..3 {
        assert_eq!(next(&mut told).await.0.rollout, "shop");
    }
    let waiting = sampler.readings("shop", "silent1", "r1").unwrap();
    assert_eq!(waiting.readings[0].reason, Reason::NotYetPolled);
    assert_eq!(waiting.complete_polls, 0);
}

#[tokio::test]
async fn unknown_and_forbidden_sources_are_said() {
    let sources = vec![(config("a", "other"), Oracle::default())];
    let (sampler, mut told, _running) = started(sources);
    for (source, reason) in [("a", Reason::SourceForbidden), ("b", Reason::SourceUnknown)] {
        sampler.measure(measure(source, source));
        let (_, _, counted) = next(&mut told).await;
        assert_eq!(counted, [], "nobody was asked");
        let readings = sampler.readings("shop", source, "r1").unwrap();
        let reading = &readings.readings[0];
        assert_eq!(reading.verdict, Verdict::Inconclusive);
        assert_eq!(reading.reason, reason);
        assert_eq!(sampler.admits(source, "shop").unwrap_err().reason, reason);
    }
}
