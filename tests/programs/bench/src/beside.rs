//! From a new revision to the first write for it, beside Argo Rollouts: both on the same cluster, one after
//! the other, as processes on the node.

use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::install::OPERATOR;
use testbed::{Error, Namespace, Result, Testbed, program};
use tokio::process::Child;

use crate::audit::{Audit, Request};
use crate::figure::{Figure, Section};
use crate::start;
use crate::statistics::{max, median, percentile};
use crate::there;

const NAMESPACE: &str = "bench-beside";
/// Rollouts of each operator.
const ROLLOUTS: usize = 50;
/// Changes, and how long after one another.
const REGIMES: [(&str, usize, Duration); 2] = [
    ("one change a second", 100, Duration::from_secs(1)),
    ("ten changes a second", 500, Duration::from_millis(100)),
];
const QUIET: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(180);
const ARGO: &str = "argo-rollouts";
const ARGO_PROBES: &str = "127.0.0.1:18082";

/// Whose Rollouts they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Stepgate,
    Argo,
}

/// Milliseconds from each change to the first write for its new revision, and to its first object.
#[derive(Clone, Debug, Default)]
struct Times {
    write: Vec<f64>,
    object: Vec<f64>,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Stepgate => "Stepgate",
            Self::Argo => "Argo Rollouts",
        }
    }

    /// Namespace and name of the ServiceAccount.
    const fn account(self) -> (&'static str, &'static str) {
        match self {
            Self::Stepgate => (OPERATOR, "stepgate"),
            Self::Argo => (ARGO, ARGO),
        }
    }

    fn user(self) -> String {
        let (namespace, name) = self.account();
        format!("system:serviceaccount:{namespace}:{name}")
    }

    const fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::Stepgate => ("stepgate.io", "v1alpha1"),
            Self::Argo => ("argoproj.io", "v1alpha1"),
        }
    }

    /// The first object that is made for a new revision.
    const fn first_object(self) -> &'static str {
        match self {
            Self::Stepgate => "controllerrevisions",
            Self::Argo => "replicasets",
        }
    }

    fn rollout(self, number: usize) -> String {
        let prefix = match self {
            Self::Stepgate => "stepgate",
            Self::Argo => "argo",
        };
        format!("{prefix}-{number}")
    }

    fn api(self, namespace: &Namespace) -> Api<DynamicObject> {
        let (group, version) = self.group_version();
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: format!("{group}/{version}"),
            kind: "Rollout".into(),
            plural: "rollouts".into(),
        };
        Api::namespaced_with(namespace.testbed().client(), namespace.name(), &resource)
    }

    fn manifest(self, number: usize, release: usize) -> Value {
        let name = self.rollout(number);
        let (group, version) = self.group_version();
        let steps = match self {
            Self::Stepgate => json!([{"name": "full", "replicas": "100%", "holdSeconds": 0}]),
            Self::Argo => json!([{"setWeight": 100}]),
        };
        let container = json!({"name": "app", "image": "localhost/stepgate/busybox:test"});
        json!({
            "apiVersion": format!("{group}/{version}"),
            "kind": "Rollout",
            "metadata": {"name": name},
            "spec": {
                // Nothing but the operators' own work is on the machine.
                "replicas": 0,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {
                        "labels": {"app": name},
                        "annotations": {"bench/release": release.to_string()},
                    },
                    "spec": {"containers": [container]},
                },
                "strategy": {"canary": {"steps": steps}},
            },
        })
    }

    /// Starts it as its ServiceAccount, and waits until it works.
    async fn start(self, testbed: &Testbed) -> Result<Child> {
        let kubeconfig = kubeconfig(testbed, self.account()).await?;
        let mut command = match self {
            Self::Stepgate => start::command()?,
            Self::Argo => {
                let mut path = program::script("tests/programs/cluster/cluster");
                let path = program::output(path.args(["path", "rollouts-controller"])).await?;
                let mut command = program::command(path.trim());
                let port = |address: &str| address.rsplit(':').next().unwrap_or("").to_owned();
                command
                    .args([
                        "--leader-elect=false",
                        "--loglevel",
                        "error",
                        "--metricsPort=18083",
                    ])
                    .arg(format!("--healthzPort={}", port(ARGO_PROBES)));
                command
            }
        };
        command.env("KUBECONFIG", kubeconfig.path());
        let child = command.stdout(Stdio::null()).kill_on_drop(true).spawn();
        let child = child.map_err(|error| Error::refused(format!("{}: {error}", self.name())))?;
        let works = async {
            match self {
                Self::Stepgate => start::leads().await,
                Self::Argo => start::answers(ARGO_PROBES, "/healthz").await,
            }
        };
        let waited = tokio::time::timeout(LIMIT, works).await;
        waited.map_err(|_| Error::NotInTime {
            what: format!("{} to work", self.name()),
            limit: LIMIT,
        })?;
        // It has read it by now.
        drop(kubeconfig);
        Ok(child)
    }
}

/// Changes Rollouts of both, and takes the times from the audit log.
pub async fn measure(testbed: &Testbed) -> Result<Section> {
    let namespace = Namespace::create(testbed, NAMESPACE).await?;
    install_argo(testbed).await?;
    there::scale_operator(testbed, 0).await?;
    let mut all = Vec::new();
    for side in [Side::Stepgate, Side::Argo] {
        eprintln!("  {}", side.name());
        let mut child = side.start(testbed).await?;
        let measured = one(side, &namespace).await;
        start::stop(&mut child).await?;
        all.push((side, measured?));
    }
    there::scale_operator(testbed, 1).await?;
    Ok(section(&all))
}

/// The times of each regime.
async fn one(side: Side, namespace: &Namespace) -> Result<[Times; 2]> {
    let api = side.api(namespace);
    let user = side.user();
    let apply = async |number: usize, release: usize| {
        let how = PatchParams::apply("bench").force();
        let (name, manifest) = (side.rollout(number), side.manifest(number, release));
        let done = api.patch(&name, &how, &Patch::Apply(&manifest)).await;
        done.map(drop).map_err(Error::api(name))
    };
    let mut audit = Audit::from_now()?;
    for number in 0..ROLLOUTS {
        apply(number, 0).await?;
    }
    audit.until_quiet_of(&user, QUIET, LIMIT).await?;
    let mut all = [Times::default(), Times::default()];
    let mut release = 0;
    for ((words, changes, every), times) in REGIMES.into_iter().zip(&mut all) {
        eprintln!("    {words}");
        let mut audit = Audit::from_now()?;
        let mut ticks = tokio::time::interval(every);
        for change in 0..changes {
            ticks.tick().await;
            release += 1;
            apply(change % ROLLOUTS, release).await?;
        }
        let requests = audit.until_quiet_of(&user, QUIET, LIMIT).await?;
        *times = first_writes(side, &requests);
    }
    Ok(all)
}

/// From each change of a Rollout to the first write for it, and to the first object of its new revision.
/// What a change before it has left to be written counts as neither: a revision's first object ends the
/// search, and only the last record before it is its.
fn first_writes(side: Side, requests: &[Request]) -> Times {
    let user = side.user();
    let mut times = Times::default();
    for number in 0..ROLLOUTS {
        let name = side.rollout(number);
        let child = format!("{name}-");
        let its = |r: &&Request| {
            let named = r.name == name || r.name.starts_with(&child);
            r.namespace == NAMESPACE && named && r.is_write() && (200..300).contains(&r.code)
        };
        let mut its: Vec<&Request> = requests.iter().filter(its).collect();
        its.sort_by_key(|r| r.received);
        let mut changed: Option<Timestamp> = None;
        let mut written: Option<Timestamp> = None;
        for request in its {
            let at = request.received;
            let since = |from: Timestamp| at.duration_since(from).as_secs_f64() * 1e3;
            if request.user != user {
                if request.resource == "rollouts" {
                    (changed, written) = (Some(at), None);
                }
                continue;
            }
            let Some(from) = changed else { continue };
            let is_object = request.verb == "create" && request.resource == side.first_object();
            if !is_object {
                // Of Stepgate the record that the release has begun, which comes right before the object.
                if side == Side::Stepgate || written.is_none() {
                    written = Some(at);
                }
                continue;
            }
            let first = written.unwrap_or(at);
            times
                .write
                .push(first.duration_since(from).as_secs_f64() * 1e3);
            times.object.push(since(from));
            (changed, written) = (None, None);
        }
    }
    times
}

fn section(all: &[(Side, [Times; 2])]) -> Section {
    let mut section = Section {
        title: "First write, beside Argo Rollouts",
        notes: vec![format!(
            "{ROLLOUTS} Rollouts of 0 replicas of each operator, given new revisions by turns; both operators \
             run as processes on the node, as their own ServiceAccounts, one after the other on the same \
             cluster. From the time at which the API server got the change to the time at which it got the \
             operator's first write for the new revision, and the first object of it (a ControllerRevision, \
             a ReplicaSet), by the audit log. Argo Rollouts 1.10.1."
        )],
        ..Section::default()
    };
    let words = |values: &[f64]| {
        format!(
            "p50 {:.1} ms, p99 {:.1} ms (most {:.1} ms, n = {})",
            median(values),
            percentile(values, 99),
            max(values),
            values.len()
        )
    };
    let of = |side: Side| all.iter().find(|(s, _)| *s == side).map(|(_, times)| times);
    let (Some(ours), Some(argo)) = (of(Side::Stepgate), of(Side::Argo)) else {
        return section;
    };
    for (index, (regime, changes, _)) in REGIMES.into_iter().enumerate() {
        for (what, ours, argo) in [
            ("first write", &ours[index].write, &argo[index].write),
            ("first object", &ours[index].object, &argo[index].object),
        ] {
            let argos = words(argo);
            for (percent, rank) in [(50, "p50"), (99, "p99")] {
                let (mine, theirs) = (percentile(ours, percent), percentile(argo, percent));
                let goal = format!("{theirs:.1} ms (Argo Rollouts)");
                let measured = (mine, format!("{mine:.1} ms"));
                section.figures.push(Figure::below(
                    format!("From a new revision to its {what}, {regime}, {rank}"),
                    measured,
                    (theirs, &goal),
                ));
            }
            section.notes.push(format!(
                "{regime}, {what}, of {changes} changes: Stepgate {}; Argo Rollouts {argos}.",
                words(ours)
            ));
        }
    }
    section
}

/// Its definitions, and a ServiceAccount that may do everything.
async fn install_argo(testbed: &Testbed) -> Result<()> {
    let mut path = program::script("tests/programs/cluster/cluster");
    let path = program::output(path.args(["path", "rollouts-controller"])).await?;
    let folder = std::path::Path::new(path.trim()).with_file_name("definitions");
    let folder = folder.display().to_string();
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", &folder];
    testbed.run_kubectl(&apply).await?;
    let subject = json!({"kind": "ServiceAccount", "name": ARGO, "namespace": ARGO});
    testbed
        .apply(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ARGO}}),
            json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": ARGO, "namespace": ARGO},
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": ARGO}, "subjects": [subject],
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "cluster-admin",
                },
            }),
        ])
        .await
}

/// The cluster's kubeconfig, as this ServiceAccount.
async fn kubeconfig(
    testbed: &Testbed,
    (namespace, account): (&str, &str),
) -> Result<tempfile::NamedTempFile> {
    let token = testbed
        .run_kubectl(&["create", "token", account, "-n", namespace, "--duration=2h"])
        .await?;
    let text = testbed
        .run_kubectl(&[
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "-o",
            "json",
        ])
        .await?;
    let cannot = |why: String| Error::refused(format!("a kubeconfig for {account}: {why}"));
    let mut config: Value =
        serde_json::from_str(&text).map_err(|error| cannot(error.to_string()))?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = tempfile::NamedTempFile::new().map_err(|error| cannot(error.to_string()))?;
    std::fs::write(file.path(), config.to_string()).map_err(|error| cannot(error.to_string()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::request;

    #[test]
    fn the_first_write_of_each_is_found() {
        let stepgate = |kind: &str, name: &str, at: i64| request("", kind, NAMESPACE, name, at);
        let applied = |name: &str, at: i64| request("admin", "patch rollouts", NAMESPACE, name, at);
        let all = [
            applied("stepgate-3", 1000),
            stepgate("update rollouts/status", "stepgate-3", 1004),
            stepgate("update rollouts/status", "stepgate-3", 1009),
            stepgate("create controllerrevisions", "stepgate-3-new", 1011),
            stepgate("update rollouts/status", "stepgate-3", 1030),
            // Another's, and one that was never begun.
            stepgate("create controllerrevisions", "stepgate-31-new", 1040),
            applied("stepgate-3", 2000),
        ];
        let times = first_writes(Side::Stepgate, &all);
        assert_eq!((times.write, times.object), (vec![9.0], vec![11.0]));
        let argo = Side::Argo.user();
        let argos = |kind: &str, name: &str, at: i64| request(&argo, kind, NAMESPACE, name, at);
        let all = [
            applied("argo-0", 1000),
            argos("patch rollouts", "argo-0", 1012),
            argos("patch rollouts/status", "argo-0", 1015),
            argos("create replicasets", "argo-0-new", 1020),
        ];
        let times = first_writes(Side::Argo, &all);
        assert_eq!((times.write, times.object), (vec![12.0], vec![20.0]));
    }
}
