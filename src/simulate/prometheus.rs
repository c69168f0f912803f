//! A metric source over the traffic: what it has scraped, and how it fails.

use jiff::{SignedDuration, Timestamp};

use super::traffic::{Count, Probes, Traffic};
use crate::evidence::{
    Answer, Answered, Ask, Bucket, CheckAsk, CheckKind, CheckSpec, Counted, Counters, Fault,
    Measure, Reason, Scraped, Snapshot, Target,
};

/// Upper bounds of the histogram, in milliseconds.
const BOUNDS: [f64; 12] = [
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    200.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    f64::INFINITY,
];

/// How a metric source fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outage {
    /// It does not.
    #[default]
    None,
    /// Nobody answers.
    Down,
    /// It answers after the query's deadline.
    Slow,
    /// It has no series at all.
    Empty,
    /// Its values are not numbers.
    Nan,
    /// Half of the pods are missing.
    Partial,
}

/// What a metric source answers from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What the pods have counted.
    pub traffic: &'a Traffic,
    /// Seconds between two scrapes.
    pub scrape: i64,
    /// How it fails.
    pub outage: Outage,
    /// The time by its own clock.
    pub now: Timestamp,
}

impl Source<'_> {
    /// The outcome of one poll.
    #[must_use]
    pub fn answer(&self, ask: &Ask) -> Answer {
        let failure = match self.outage {
            Outage::Down => Some((Reason::Unreachable, "connection refused")),
            Outage::Slow => Some((Reason::TimedOut, "no answer in time")),
            _ => None,
        };
        let checks = ask.checks.iter().map(|check| match failure {
            Some((reason, message)) => {
                let message = message.into();
                (check.spec.clone(), Err(Fault { reason, message }))
            }
            None => (check.spec.clone(), Ok(self.answered(ask, check))),
        });
        checks.collect()
    }

    fn answered(&self, ask: &Ask, check: &CheckAsk) -> Answered {
        let prefix = &ask.measure.pod_prefix;
        // The asker names moments by his clock, the source keeps them by its own.
        let skew = ask.at.duration_since(self.now);
        let beat = SignedDuration::from_secs(ask.measure.interval_seconds.max(1));
        let mut history = Vec::new();
        let past = check
            .history_since
            .map(|since| ask.measure.past(since, ask.at));
        for (mut at, until) in past.into_iter().flatten() {
            while at < ask.at && at <= until {
                history.push((at, self.snapshot(prefix, &check.spec, at - skew)));
                at += beat;
            }
        }
        let now = Snapshot {
            beside: self.beside(&ask.measure, &check.spec),
            ..self.snapshot(prefix, &check.spec, self.now)
        };
        Answered { history, now }
    }

    /// All requests of the pods beside those that are asked for.
    fn beside(&self, measure: &Measure, check: &CheckSpec) -> Option<Vec<(Target, f64)>> {
        let first = measure.checks.first().map(|first| &first.name);
        let prefix = measure
            .beside
            .as_ref()
            .filter(|_| first == Some(&check.name))?;
        let others = self.snapshot(prefix, check, self.now).counted.into_iter();
        let totals = others.filter_map(|c| Some((c.target, c.counters.total()?)));
        Some(totals.collect())
    }

    fn snapshot(&self, prefix: &str, check: &CheckSpec, at: Timestamp) -> Snapshot {
        // Whatever they say, it is the probes that they leave out.
        let filtered = !check.convention.matchers.is_empty();
        let scraped_at = at.as_second().div_euclid(self.scrape) * self.scrape;
        let last = Timestamp::from_second(scraped_at).unwrap_or(at);
        let mut snapshot = Snapshot {
            clock: seconds(at),
            scrape_interval: SignedDuration::from_secs(self.scrape).as_secs_f64(),
            filtered,
            ..Snapshot::default()
        };
        if self.outage == Outage::Empty {
            return snapshot;
        }
        // What was scraped of a pod that has gone since is stale: it must be up now too.
        let up: Vec<_> = self.traffic.at(prefix, at).map(|(name, _)| name).collect();
        let scraped = self.traffic.at(prefix, last);
        for (index, (pod, count)) in scraped.filter(|(name, _)| up.contains(name)).enumerate() {
            if self.outage == Outage::Partial && index % 2 == 0 {
                continue;
            }
            let target = Target {
                pod: pod.clone(),
                instance: "app".into(),
            };
            snapshot.scraped.push(Scraped {
                target: target.clone(),
                last: seconds(last),
            });
            let probes = if filtered {
                Probes::default()
            } else {
                count.probes
            };
            let counters = self.counters(check.kind, &count, probes);
            snapshot.counted.push(Counted { target, counters });
        }
        snapshot
    }

    fn counters(&self, kind: CheckKind, count: &Count, probes: Probes) -> Counters {
        let spoiled = |value: f64| match self.outage {
            Outage::Nan => f64::NAN,
            _ => value,
        };
        match kind {
            CheckKind::ErrorRate { .. } => Counters::Requests {
                bad: spoiled(count.errors + probes.errors),
                total: spoiled(count.total + probes.total),
            },
            CheckKind::Latency { .. } => Counters::Histogram(
                BOUNDS
                    .iter()
                    .map(|le| Bucket {
                        le: *le,
                        // A probe is answered at once.
                        count: spoiled(count.within(*le) + probes.total),
                    })
                    .collect(),
            ),
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::Convention,
        evidence::{Board, PodSeen, Readings, Verdict},
        simulate::{object::Name, setting::Behaviour},
    };

    fn second(s: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + s).unwrap()
    }

    fn check(name: &str, kind: CheckKind) -> CheckSpec {
        CheckSpec {
            name: name.into(),
            kind,
            min_requests: 100,
            warm_up_seconds: 0,
            convention: Convention::default(),
        }
    }

    /// Ten minutes of polls against one pod that behaves so.
    fn judged(behaviour: &Behaviour, outage: Outage) -> Readings {
        let mut traffic = Traffic::default();
        let pod: Name = "shop-r1-a".into();
        traffic.started(&pod, &"shop".into(), &"r1".into(), behaviour, second(0));
        traffic.spread("shop", &[(&[pod], 20.0)], second(0));
        let mut board = Board::default();
        let measure = Measure {
            namespace: "default".into(),
            rollout: "shop".into(),
            revision: "r1".into(),
            pod_prefix: "shop-r1-".into(),
            beside: None,
            pods: vec![PodSeen {
                name: "shop-r1-a".into(),
                ready_since: Some(second(0)),
                created: second(0),
            }],
            probe_seconds: Vec::new(),
            since: second(0),
            hold_since: Some(second(0)),
            before: None,
            source: "default".into(),
            interval_seconds: 15,
            checks: vec![
                check("errors", CheckKind::ErrorRate { max_percent: 0.5 }),
                check(
                    "p95",
                    CheckKind::Latency {
                        percentile: 95.0,
                        max_milliseconds: 200.0,
                    },
                ),
            ],
        };
        let key = measure.key();
        board.measure(measure, second(0));
        for now in (0..600).step_by(15).map(second) {
            let source = Source {
                traffic: &traffic,
                scrape: 5,
                outage,
                now,
            };
            for ask in board.due(now) {
                board.answer(&ask, source.answer(&ask));
            }
        }
        board.readings(&key).unwrap()
    }

    fn verdicts(behaviour: &Behaviour, outage: Outage) -> Vec<Verdict> {
        let readings = judged(behaviour, outage).readings;
        readings.iter().map(|r| r.verdict).collect()
    }

    #[test]
    fn the_real_evidence_code_reads_it() {
        use Verdict::{Fail, Inconclusive, Pass};
        let good = Behaviour::default();
        assert_eq!(verdicts(&good, Outage::None), [Pass, Pass]);
        let wrong = Behaviour {
            error_percent: 5.0,
            ..good.clone()
        };
        assert_eq!(verdicts(&wrong, Outage::None), [Fail, Pass]);
        let slow = Behaviour {
            p95_milliseconds: 400.0,
            ..good.clone()
        };
        assert_eq!(verdicts(&slow, Outage::None), [Pass, Fail]);
        for outage in [Outage::Down, Outage::Slow, Outage::Empty, Outage::Nan] {
            assert_eq!(verdicts(&wrong, outage), [Inconclusive; 2], "{outage:?}");
        }
    }
}
