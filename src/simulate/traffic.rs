//! Requests: a steady stream to each Rollout, spread evenly over its pods that are ready, and
//! what each pod has counted of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{object::Name, setting::Behaviour};

/// What all pods have served.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    pods: BTreeMap<Name, Served>,
    /// What an expand does to the pods of each Rollout: all but this revision's answer this share of
    /// their requests with an error.
    hurt: BTreeMap<Name, (Name, f64)>,
}

/// What one pod has served; kept when the pod is gone, as a metric store keeps it.
#[derive(Clone, Debug)]
struct Served {
    rollout: Name,
    revision: Name,
    error_share: f64,
    /// The same of users for whom a flag is on, besides; and since when it is on for which share.
    flagged_error_share: f64,
    flagged: Vec<(Timestamp, f64)>,
    /// Since when it answers which share with an error besides, for what an expand has done.
    hurt: Vec<(Timestamp, f64)>,
    /// How near it is to its next error when it starts, below 1: pods that serve the same do not
    /// err in the same moment.
    phase: f64,
    /// Scale of the Rayleigh distribution of its durations, in milliseconds.
    scale: f64,
    /// Seconds after it is ready in which it is slow, and the scale of its durations then.
    cold: Option<(i64, f64)>,
    /// Seconds between two probes, where it counts them.
    probes: Option<i64>,
    /// When its container was up: each with its end, if it has ended.
    up: Vec<(Timestamp, Option<Timestamp>)>,
    /// When it was ready, each time.
    ready: Vec<Timestamp>,
    /// From when on at which rate, with the count so far. The count starts anew with a container.
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Timestamp,
    count: f64,
    rate: f64,
}

/// What a pod has counted at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// Requests since its container started.
    pub total: f64,
    /// Those of them answered with an error.
    pub errors: f64,
    /// Probes since then, which are in neither figure; those before it was ready had an error.
    pub probes: Probes,
    /// Scale of the distribution of its durations, in milliseconds.
    scale: f64,
    /// Requests while it was cold, and the scale of their durations.
    cold: (f64, f64),
}

/// Probes that a pod has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probes {
    /// All of them.
    pub total: f64,
    /// Those before it was ready.
    pub errors: f64,
}

impl Count {
    /// Requests that took at most `milliseconds`: a Rayleigh distribution, whose 95th percentile
    /// is √(2 ln 20) of its scale.
    #[must_use]
    pub fn within(&self, milliseconds: f64) -> f64 {
        if milliseconds.is_infinite() {
            return self.total;
        }
        let share = |scale: f64| 1.0 - (-(milliseconds / scale).powi(2) / 2.0).exp();
        let (cold, scale) = self.cold;
        let (cold, warm) = (cold * share(scale), (self.total - cold) * share(self.scale));
        (cold + warm).round()
    }
}

impl Traffic {
    /// A pod's container has started.
    pub fn started(
        &mut self,
        pod: &Name,
        rollout: &Name,
        revision: &Name,
        behaviour: &Behaviour,
        now: Timestamp,
    ) {
        let served = self.pods.entry(pod.clone()).or_insert_with(|| Served {
            rollout: rollout.clone(),
            revision: revision.clone(),
            error_share: behaviour.error_percent / 100.0,
            flagged_error_share: behaviour.flagged_error_percent / 100.0,
            flagged: Vec::new(),
            hurt: Vec::new(),
            phase: phase(pod),
            scale: scale(behaviour.p95_milliseconds),
            cold: behaviour.cold.map(|(seconds, p95)| (seconds, scale(p95))),
            probes: behaviour.counts_probes,
            up: Vec::new(),
            ready: Vec::new(),
            points: Vec::new(),
        });
        let hurt = self
            .hurt
            .get(rollout)
            .filter(|(spared, _)| spared != revision);
        served.hurt.extend(hurt.map(|(_, share)| (now, *share)));
        served.up.push((now, None));
        served.points.push(Point {
            at: now,
            count: 0.0,
            rate: 0.0,
        });
    }

    /// A flag is on for this share of users, in the pods of a Rollout.
    pub fn flagged(&mut self, rollout: &str, share: f64, now: Timestamp) {
        for served in self.pods.values_mut().filter(|s| &*s.rollout == rollout) {
            if served.flagged_error_share > 0.0 && served.is_up(now) {
                served.flagged.push((now, share));
            }
        }
    }

    /// From now on pods of all revisions but one answer this share of their requests with an error
    /// besides.
    pub fn hurt(&mut self, rollout: &str, spared: &str, share: f64, now: Timestamp) {
        for served in self.pods.values_mut().filter(|s| &*s.rollout == rollout) {
            if &*served.revision != spared && served.is_up(now) {
                served.hurt.push((now, share));
            }
        }
        self.hurt.insert(rollout.into(), (spared.into(), share));
    }

    /// A pod is ready.
    pub fn ready(&mut self, pod: &str, now: Timestamp) {
        if let Some(served) = self.pods.get_mut(pod) {
            served.ready.push(now);
        }
    }

    /// A pod's container has ended.
    pub fn stopped(&mut self, pod: &str, now: Timestamp) {
        if let Some(served) = self.pods.get_mut(pod) {
            served.turn(0.0, now);
            if let Some(last) = served.up.last_mut() {
                last.1.get_or_insert(now);
            }
        }
    }

    /// A Rollout's streams, each of so many requests per second, are spread over these pods from now
    /// on.
    pub fn spread(&mut self, rollout: &str, streams: &[(&[Name], f64)], now: Timestamp) {
        let of = |name: &Name, (ready, per_second): &(&[Name], f64)| {
            #[expect(clippy::cast_precision_loss, reason = "there are few pods")]
            let share = per_second / ready.len().max(1) as f64;
            if ready.contains(name) { share } else { 0.0 }
        };
        for (name, served) in &mut self.pods {
            if &*served.rollout == rollout && served.is_up(now) {
                let rate = streams.iter().map(|stream| of(name, stream)).sum();
                served.turn(rate, now);
            }
        }
    }

    /// Pods whose container is up at this moment, with what they have counted.
    pub fn at(&self, prefix: &str, at: Timestamp) -> impl Iterator<Item = (&Name, Count)> {
        self.pods
            .iter()
            .filter(move |(name, served)| name.starts_with(prefix) && served.is_up(at))
            .map(move |(name, served)| (name, served.count(at)))
    }

    /// Requests and errors of all pods of a Rollout's revision between two moments.
    #[must_use]
    pub fn between(
        &self,
        rollout: &str,
        revision: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> (f64, f64) {
        let mut sum = (0.0, 0.0);
        for served in self.pods.values() {
            if &*served.rollout == rollout && &*served.revision == revision {
                let total = served.served(from, to);
                sum.0 += total;
                sum.1 += total * served.error_share
                    + served.flagged_errors(from, to)
                    + served.under(&served.hurt, from, to);
            }
        }
        sum
    }
}

impl Served {
    fn is_up(&self, at: Timestamp) -> bool {
        self.up
            .iter()
            .rev()
            .any(|(from, to)| *from <= at && to.is_none_or(|to| at < to))
    }

    fn turn(&mut self, rate: f64, now: Timestamp) {
        let Some(last) = self.points.last().copied() else {
            return;
        };
        #[expect(clippy::float_cmp, reason = "the very same rate is not a change")]
        if last.rate != rate {
            self.points.push(Point {
                at: now,
                count: last.count_at(now),
                rate,
            });
        }
    }

    fn count(&self, at: Timestamp) -> Count {
        let point = self.points.iter().rev().find(|p| p.at <= at);
        let total = point.map_or(0.0, |p| p.count_at(at)).floor();
        let (seconds, scale) = self.cold.unwrap_or((0, self.scale));
        let ready = self.ready.iter().rev().find(|ready| **ready <= at);
        let cold = ready.map_or(0.0, |ready| {
            let end = ready.saturating_add(SignedDuration::from_secs(seconds));
            let end = end.map_or(at, |end| end.min(at));
            let point = self.points.iter().rev().find(|p| p.at <= end);
            point.map_or(0.0, |p| p.count_at(end)).floor()
        });
        Count {
            total,
            errors: (total * self.error_share + self.since_start(at) + self.phase).floor(),
            probes: self.probed(at),
            scale: self.scale,
            cold: (cold.min(total), scale),
        }
    }

    /// Errors of users for whom a flag was on, between two moments.
    fn flagged_errors(&self, from: Timestamp, to: Timestamp) -> f64 {
        self.under(&self.flagged, from, to) * self.flagged_error_share
    }

    /// Requests between two moments, each times the share that was so then.
    fn under(&self, shares: &[(Timestamp, f64)], from: Timestamp, to: Timestamp) -> f64 {
        let ends = shares.iter().skip(1).map(|(at, _)| *at);
        let ends = ends.chain(std::iter::once(Timestamp::MAX));
        let spans = shares.iter().zip(ends);
        spans
            .map(|((since, share), end)| {
                let (low, high) = ((*since).max(from), end.min(to));
                match low < high {
                    true => self.served(low, high) * share,
                    false => 0.0,
                }
            })
            .sum()
    }

    /// Errors of users for whom a flag was on, and for what an expand has done, since its container
    /// started.
    fn since_start(&self, at: Timestamp) -> f64 {
        if self.flagged.is_empty() && self.hurt.is_empty() {
            return 0.0;
        }
        let started = self.up.iter().rev().find(|(from, _)| *from <= at);
        started.map_or(0.0, |(from, _)| {
            self.flagged_errors(*from, at) + self.under(&self.hurt, *from, at)
        })
    }

    /// The probes since its container started.
    fn probed(&self, at: Timestamp) -> Probes {
        let started = self.up.iter().rev().find(|(from, _)| *from <= at);
        let (Some(period), Some((from, _))) = (self.probes, started) else {
            return Probes::default();
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let until = |end: Timestamp| {
            let seconds = end.duration_since(*from).as_secs_f64().max(0.0);
            (seconds / period.max(1) as f64).floor()
        };
        let ready = self.ready.iter().find(|ready| *ready >= from);
        Probes {
            total: until(at),
            errors: until(ready.map_or(at, |ready| at.min(*ready))),
        }
    }

    fn served(&self, from: Timestamp, to: Timestamp) -> f64 {
        let ends = self.points.iter().skip(1).map(|p| p.at);
        self.points
            .iter()
            .zip(ends.chain(std::iter::once(Timestamp::MAX)))
            .map(|(point, end)| {
                let (low, high) = (point.at.max(from), end.min(to));
                point.rate * high.duration_since(low).as_secs_f64().max(0.0)
            })
            .sum()
    }
}

/// Scale of a Rayleigh distribution with this 95th percentile.
fn scale(p95: f64) -> f64 {
    p95 / (2.0 * 20.0_f64.ln()).sqrt()
}

/// Spread evenly over names that differ by a number.
fn phase(pod: &str) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let of = |phase: f64, byte: u8| ((phase * 10.0 + f64::from(byte)) * GOLDEN).fract();
    pod.bytes().fold(0.0, of)
}

impl Point {
    fn count_at(&self, at: Timestamp) -> f64 {
        self.count + self.rate * at.duration_since(self.at).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(s: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + s).unwrap()
    }

    fn counts(traffic: &Traffic, at: i64) -> Vec<(String, f64)> {
        let at = traffic.at("", second(at));
        at.map(|(name, c)| (name.to_string(), c.total)).collect()
    }

    fn start(traffic: &mut Traffic, pod: &str, at: i64) -> Name {
        let pod: Name = pod.into();
        let behaviour = Behaviour::default();
        traffic.started(&pod, &"shop".into(), &"r1".into(), &behaviour, second(at));
        pod
    }

    #[test]
    fn the_stream_is_spread_over_ready_pods_and_a_restart_counts_from_zero() {
        let mut traffic = Traffic::default();
        let a = start(&mut traffic, "a", 0);
        traffic.spread("shop", &[(std::slice::from_ref(&a), 100.0)], second(0));
        let b = start(&mut traffic, "b", 10);
        assert_eq!(
            counts(&traffic, 10),
            [("a".into(), 1000.0), ("b".into(), 0.0)]
        );
        traffic.spread("shop", &[(&[a.clone(), b.clone()], 100.0)], second(10));
        assert_eq!(
            counts(&traffic, 20),
            [("a".into(), 1500.0), ("b".into(), 500.0)]
        );
        traffic.stopped(&a, second(20));
        traffic.spread("shop", &[(&[b], 100.0)], second(20));
        assert_eq!(counts(&traffic, 30), [("b".into(), 1500.0)]);
        start(&mut traffic, "a", 30);
        assert_eq!(counts(&traffic, 31)[0], ("a".into(), 0.0));
        // The past stays what it was.
        assert_eq!(counts(&traffic, 15)[0], ("a".into(), 1250.0));
        let (served, _) = traffic.between("shop", "r1", second(5), second(25));
        assert!((served - 2000.0).abs() < 1e-6, "{served}");
    }

    #[test]
    fn pods_that_serve_the_same_do_not_err_in_the_same_moment() {
        let mut traffic = Traffic::default();
        let names: Vec<Name> = (0..10).map(|n| format!("shop-{n:03}").into()).collect();
        for name in &names {
            let behaviour = Behaviour::default();
            traffic.started(name, &"shop".into(), &"r1".into(), &behaviour, second(0));
        }
        traffic.spread("shop", &[(&names, 1000.0)], second(0));
        let errors = |at: i64| {
            traffic
                .at("", second(at))
                .map(|(_, c)| c.errors)
                .sum::<f64>()
        };
        let most = (1..600)
            .map(|at| errors(at) - errors(at - 1))
            .fold(0.0, f64::max);
        assert!(most <= 3.0, "{most} at once");
        assert!((errors(600) - 300.0).abs() <= 10.0, "{}", errors(600));
    }

    #[test]
    fn a_cold_pod_is_slow_at_first_and_counts_probes_apart() {
        let mut traffic = Traffic::default();
        let pod: Name = "a".into();
        let behaviour = Behaviour {
            cold: Some((60, 800.0)),
            counts_probes: Some(2),
            ..Behaviour::default()
        };
        traffic.started(&pod, &"shop".into(), &"r1".into(), &behaviour, second(0));
        traffic.ready(&pod, second(10));
        traffic.spread("shop", &[(&[pod], 100.0)], second(10));
        let count = |at: i64| traffic.at("", second(at)).next().unwrap().1;
        let slow = |at: i64| count(at).total - count(at).within(80.0);
        assert!(slow(70) > 5_000.0, "{}", slow(70));
        let later = (slow(170) - slow(70)) / 10_000.0;
        assert!((later - 0.05).abs() < 1e-3, "{later}");
        let probes = |total, errors| Probes { total, errors };
        assert_eq!(count(6).probes, probes(3.0, 3.0));
        assert_eq!(count(20).probes, probes(10.0, 5.0));
    }

    #[test]
    fn durations_have_the_percentile_asked_for() {
        let mut traffic = Traffic::default();
        let a = start(&mut traffic, "a", 0);
        traffic.spread("shop", &[(&[a], 1000.0)], second(0));
        let (_, count) = traffic.at("", second(100)).next().unwrap();
        assert!((count.within(80.0) / count.total - 0.95).abs() < 1e-4);
        assert!((count.within(f64::INFINITY) - count.total).abs() < 1e-9);
    }
}
