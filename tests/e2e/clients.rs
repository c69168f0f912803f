//! What clients got; and where they got less than they should, what happened around that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use load::{Failure, Record, Summary};
use testbed::Namespace;
use testbed::view::State;

/// Failed requests that are told one by one.
const TOLD: usize = 20;
/// What happened in the cluster so long before a failure, and so long after it, is told with it.
const AROUND: Duration = Duration::from_secs(8);

/// Demands that nobody who sent a request at this time or later was failed; how many were sent.
pub fn all_served(ns: &Namespace, records: &[Record], since: SystemTime) -> usize {
    let sent: Vec<_> = records.iter().filter(|r| r.at >= since).collect();
    let failed: Vec<_> = sent.iter().copied().filter(|r| r.failed()).collect();
    assert!(
        failed.is_empty(),
        "{} of {} requests failed\n{}",
        failed.len(),
        sent.len(),
        story(&ns.view.now(), &sent, &failed)
    );
    sent.len()
}

/// What is known of failed requests: each of them, how others fared meanwhile, and how the cluster changed
/// around them.
fn story(state: &State, sent: &[&Record], failed: &[&Record]) -> String {
    let Some(first) = failed.iter().map(|r| r.at).min() else {
        return "none failed".to_owned();
    };
    let mut text = String::new();
    let mut kinds: BTreeMap<Failure, usize> = BTreeMap::new();
    for kind in failed.iter().filter_map(|r| Failure::of(r)) {
        *kinds.entry(kind).or_default() += 1;
    }
    for (kind, times) in &kinds {
        let _ = writeln!(text, "{times} x {kind}");
    }
    let mut by_time = failed.to_vec();
    by_time.sort_by_key(|r| r.at);
    for record in by_time.iter().take(TOLD) {
        let _ = writeln!(text, "  {}", told(record, first));
    }
    let second = Duration::from_secs(1);
    let meanwhile = sent
        .iter()
        .copied()
        .filter(|r| r.at + second >= first && r.at <= first + second);
    let Summary {
        sent,
        p50_ms,
        p99_ms,
        max_ms,
        ..
    } = Summary::of(meanwhile);
    let _ = writeln!(
        text,
        "within a second of the first: {sent} sent, p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms, longest {max_ms:.0} ms"
    );
    let last = by_time.last().map_or(first, |r| r.ended());
    let _ = writeln!(text, "the cluster, in seconds since the first of them:");
    let mut events = changes(state);
    events.retain(|(at, _)| *at + AROUND >= first && *at <= last + AROUND);
    events.sort_by_key(|(at, _)| *at);
    for (at, what) in events {
        let _ = writeln!(text, "  {:+.3} {what}", seconds(at, first));
    }
    text
}

fn told(record: &Record, first: SystemTime) -> String {
    let kind = Failure::of(record).map(|kind| kind.to_string());
    let who = match record.pod.as_str() {
        "" => String::new(),
        pod => format!(" by {pod}"),
    };
    format!(
        "{:+.3} s, {} {}, after {} ms: {}{who} ({})",
        seconds(record.at, first),
        record.method,
        record.url,
        record.latency.as_millis(),
        kind.unwrap_or_default(),
        record.error,
    )
}

fn seconds(at: SystemTime, since: SystemTime) -> f64 {
    match at.duration_since(since) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// What was seen when: where the release stood, where users were led, which pods had requests.
fn changes(state: &State) -> Vec<(SystemTime, String)> {
    let mut told = Vec::new();
    let mut before = String::new();
    for (at, rollout) in &state.versions {
        let Some(status) = &rollout.status else {
            continue;
        };
        let release = status.release.as_ref().map(|release| {
            let step = release.step().map(|step| step.name.as_str());
            format!("{} at {}", release.revision, step.unwrap_or("no step"))
        });
        let led = status.traffic.as_ref().map(|t| &t.stable_service.revision);
        let words = format!(
            "{}: release {}, users led to {}",
            rollout.metadata.name.as_deref().unwrap_or_default(),
            release.as_deref().unwrap_or("none"),
            led.map_or("all", String::as_str),
        );
        if words != before {
            told.push((*at, words.clone()));
            before = words;
        }
    }
    let mut had: BTreeSet<String> = BTreeSet::new();
    for (at, pods) in &state.serving {
        let come: Vec<_> = pods.difference(&had).map(String::as_str).collect();
        let gone: Vec<_> = had.difference(pods).map(String::as_str).collect();
        let words = format!(
            "endpoints: come {}; gone {}; {} in all",
            come.join(" "),
            gone.join(" "),
            pods.len()
        );
        told.push((*at, words));
        had.clone_from(pods);
    }
    told
}
