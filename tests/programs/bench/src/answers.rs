//! From a new revision to the operator's first write for it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use stepgate::api::Rollout;
use testbed::{Namespace, Result, Testbed};

use crate::audit::{Audit, Request};
use crate::figure::{Figure, Section};
use crate::shop::has_ended;
use crate::statistics::{max, median, percentile};

const NAMESPACE: &str = "bench-answers";
/// Rollouts that get new revisions at the same time, each one after the other.
const LANES: usize = 4;
const LIMIT: Duration = Duration::from_secs(120);
/// Milliseconds that 99 of 100 first writes may take.
const GOAL: f64 = 100.0;

/// Applies so many new revisions, and takes the times from the audit log.
pub async fn measure(testbed: &Testbed, count: usize) -> Result<Section> {
    let namespace = Namespace::create(testbed, NAMESPACE).await?;
    let first = (0..LANES).map(|lane| release(&namespace, lane, 0));
    futures::future::try_join_all(first).await?;
    let mut audit = Audit::from_now()?;
    let each = count.div_ceil(LANES);
    let lanes = (0..LANES).map(|lane| {
        let namespace = &namespace;
        async move {
            for number in 1..=each {
                release(namespace, lane, number).await?;
            }
            Ok::<_, testbed::Error>(())
        }
    });
    futures::future::try_join_all(lanes).await?;
    let requests = audit.until_quiet(Duration::from_secs(3), LIMIT).await?;
    namespace.remove().await?;
    let (times, made) = answers(&requests);
    let words = |value: f64| format!("{value:.1} ms");
    let (p50, p99) = (median(&times), percentile(&times, 99));
    let mut figure = Figure::below(
        "From a new revision to the first write for it, p99",
        (
            p99,
            format!("{} (p50 {}, n = {})", words(p99), words(p50), times.len()),
        ),
        (GOAL, "100 ms"),
    );
    // Fewer answers than applications would flatter.
    if times.len() < each * LANES {
        figure.measured.push_str(" INCOMPLETE");
        figure.met = Some(false);
    }
    Ok(Section {
        title: "Answers",
        figures: vec![figure],
        notes: vec![
            format!(
                "{LANES} Rollouts of one pod, each given a new revision when the one before is \
                 stable; from the time at which the API server got the change to the time at which \
                 it got the record that the release of that revision has begun, both by the audit \
                 log, pods starting and ending all the while. What was still written for the \
                 revision before does not count."
            ),
            format!(
                "p50 {}, p90 {}, p99 {}, most {}.",
                words(p50),
                words(percentile(&times, 90)),
                words(p99),
                words(max(&times))
            ),
            format!(
                "To the first object of the new revision (its ControllerRevision): p50 {}, p90 {}, \
                 p99 {}, most {}.",
                words(median(&made)),
                words(percentile(&made, 90)),
                words(percentile(&made, 99)),
                words(max(&made))
            ),
        ],
    })
}

fn name(lane: usize) -> String {
    format!("answer-{lane}")
}

/// Applies a revision, and waits for its end.
async fn release(namespace: &Namespace, lane: usize, number: usize) -> Result<()> {
    let name = name(lane);
    let applied: Rollout = namespace.put(&manifest(&name, number)).await?;
    let generation = applied.metadata.generation.unwrap_or_default();
    let what = format!("the end of revision {number} of {name}");
    let ended = namespace.until(&what, LIMIT, |state| {
        has_ended(&state.status(&name), generation).then_some(())
    });
    ended.await
}

fn manifest(name: &str, number: usize) -> Value {
    let restricted = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    let container = json!({
        "name": "sleep",
        "image": "localhost/stepgate/busybox:test",
        "imagePullPolicy": "Never",
        "command": ["sleep", "86400"],
        "securityContext": restricted,
    });
    json!({
        "apiVersion": "stepgate.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {
                    "labels": {"app": name},
                    "annotations": {"bench/release": number.to_string()},
                },
                "spec": {
                    "automountServiceAccountToken": false,
                    // It ends at once: nobody is served by it.
                    "terminationGracePeriodSeconds": 0,
                    "containers": [container],
                },
            },
            "strategy": {
                "canary": {"steps": [{"name": "full", "replicas": "100%", "holdSeconds": 0}]},
            },
        },
    })
}

/// Milliseconds from each change of a Rollout's spec to the operator's first write for the new
/// revision, and to the first object that is made for it.
///
/// The audit log shows no contents, and much may still be written for the revision before. But the
/// first object of a revision is made right after the record that its release has begun.
fn answers(requests: &[Request]) -> (Vec<f64>, Vec<f64>) {
    let (mut times, mut made) = (Vec::new(), Vec::new());
    for lane in 0..LANES {
        let name = name(lane);
        let mine = |r: &&Request| {
            let its = r.name == name || is_child(&r.name, &name);
            r.namespace == NAMESPACE && its && r.is_write() && (200..300).contains(&r.code)
        };
        let mut mine: Vec<&Request> = requests.iter().filter(mine).collect();
        mine.sort_by_key(|r| r.received);
        let mut applied: Option<Timestamp> = None;
        let mut recorded: Option<Timestamp> = None;
        for request in mine {
            let at = request.received;
            match (request.is_operators(), &*request.kind()) {
                (false, _) if request.resource == "rollouts" => {
                    (applied, recorded) = (Some(at), None);
                }
                (true, "update rollouts/status") => recorded = applied.and(Some(at)),
                (true, "create controllerrevisions") => {
                    let since = applied.take().zip(recorded.take());
                    let Some((applied, recorded)) = since else {
                        continue;
                    };
                    let milliseconds =
                        |at: Timestamp| at.duration_since(applied).as_secs_f64() * 1e3;
                    times.push(milliseconds(recorded));
                    made.push(milliseconds(at));
                }
                _ => {}
            }
        }
    }
    (times, made)
}

/// Children are `<rollout>-<revision>`.
fn is_child(name: &str, rollout: &str) -> bool {
    let rest = name.strip_prefix(rollout);
    rest.is_some_and(|rest| rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::request;

    #[test]
    fn only_the_first_write_for_the_new_revision_counts() {
        let of = |kind: &str, name: &str, at: i64| request("", kind, NAMESPACE, name, at);
        let record = "update rollouts/status";
        let applied = |at| request("admin", "patch rollouts", NAMESPACE, "answer-1", at);
        let mut all = vec![
            applied(1000),
            // What is left of the one before.
            of("patch deployments", "answer-1-old", 1003),
            of(record, "answer-1", 1005),
            of("patch controllerrevisions", "answer-1-old", 1010),
            of(record, "answer-2", 1045),
            of(record, "answer-1", 1040),
            of("create controllerrevisions", "answer-1-new", 1047),
            of(record, "answer-1", 1060),
            applied(9000),
            of(record, "answer-1", 9007),
            of("create controllerrevisions", "answer-1-newer", 9011),
        ];
        assert_eq!(answers(&all), (vec![40.0, 7.0], vec![47.0, 11.0]));
        // What has not begun is not counted.
        all.truncate(6);
        assert_eq!(answers(&all), (vec![], vec![]));
    }
}
