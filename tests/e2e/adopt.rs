//! A running Deployment that is moved in, under traffic.

use std::time::SystemTime;

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job};
use kube::{ResourceExt as _, api::PostParams};
use serde_json::{Value, json};
use stepgate::api::status::Outcome;
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Error, Namespace, Result, install, reach};

use crate::clients::all_served;
use crate::play::{PATIENCE, condition, play};
use crate::shop::{RATE, SHOP, apply_so, end};

/// The Deployment that is there first.
const WEB: &str = "web";
/// What it is called as a revision.
const REVISION: &str = "deployment/web";
/// Its pods, and those of the Rollout.
const PODS: usize = 4;

/// v1 of the shop as a plain Deployment, that clients reach through the Service.
async fn runs(ns: &Namespace) -> Result<Traffic> {
    ns.add_database_and_service().await?;
    let folder = "tests/programs/shop/manifests/releases/v1";
    let text = ns.testbed().run_kubectl(&["kustomize", folder]).await?;
    let shop = install::documents(&text)?.remove(0);
    let template = &shop["spec"]["template"];
    // Its schema, as somebody without Stepgate brings it out.
    let mut pod = template["spec"].clone();
    pod["restartPolicy"] = json!("OnFailure");
    pod["containers"][0]["args"] = json!(["migrate", "expand"]);
    for probe in ["readinessProbe", "livenessProbe"] {
        pod["containers"][0][probe] = Value::Null;
    }
    let job = json!({"metadata": {"name": "schema"}, "spec": {"template": {"spec": pod}}});
    let job: Job = serde_json::from_value(job).expect("a Job");
    let made = ns.api().create(&PostParams::default(), &job).await;
    made.map_err(Error::api("the Job of the schema"))?;
    ns.kubectl(&[
        "wait",
        "job/schema",
        "--for=condition=Complete",
        "--timeout=90s",
    ])
    .await?;
    let web = json!({
        "metadata": {"name": WEB, "labels": {"team": "one"}},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": {"app": SHOP}},
            "template": template,
        },
    });
    let web: Deployment = serde_json::from_value(web).expect("a Deployment");
    let made = ns.api().create(&PostParams::default(), &web).await;
    made.map_err(Error::api("the Deployment"))?;
    ns.until("the Deployment's pods in the Service", PATIENCE, |state| {
        (state.serving.last()?.1.len() == PODS).then_some(())
    })
    .await?;
    Traffic::start(&reach::service(ns, SHOP).await?, RATE)
}

fn adopts(spec: &mut Value) {
    spec["adopt"] = json!({"deployment": WEB});
}

/// The Deployment as its author knows it: all but how many pods it has.
fn essence(web: &Deployment) -> (Value, Value) {
    let mut spec = serde_json::to_value(&web.spec).expect("a spec");
    spec["replicas"] = Value::Null;
    let metadata = &web.metadata;
    let marks = json!([
        web.labels(),
        web.owner_references(),
        metadata.finalizers,
        metadata.uid
    ]);
    (spec, marks)
}

fn web(state: &State) -> Option<&Deployment> {
    state.deployments.get(WEB).map(|web| &**web)
}

/// Replicas that it asks for, and those that are available.
fn replicas(state: &State) -> Option<(i32, i32)> {
    let web = web(state)?;
    let available = web.status.as_ref().and_then(|s| s.available_replicas);
    Some((web.spec.as_ref()?.replicas?, available.unwrap_or(0)))
}

/// The fewest pods that the Service led to at a time.
fn fewest_served(state: &State, since: SystemTime) -> usize {
    let before = state.serving.iter().rev().find(|(at, _)| *at <= since);
    let later = state.serving.iter().filter(|(at, _)| *at > since);
    let counts = before.into_iter().chain(later).map(|(_, pods)| pods.len());
    counts.min().unwrap_or_default()
}

#[tokio::test]
async fn a_running_deployment_is_moved_in_and_no_request_fails() {
    play("adopt", async |ns| {
        let traffic = runs(ns).await?;
        let before = essence(web(&ns.view.now()).expect("it runs"));
        let began = SystemTime::now();
        let generation = apply_so(ns, "v2", adopts).await?;
        // From the first moment it is what would be returned to.
        let held = ns
            .until("the release", PATIENCE, |state| {
                let status = state.status(SHOP);
                status.release.as_ref()?;
                Some(status.stable.map(|stable| stable.revision))
            })
            .await?;
        assert_eq!(held.as_deref(), Some(REVISION));
        let (revision, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        ns.until(
            "the Deployment at 0, and the Rollout free",
            PATIENCE,
            |state| {
                let held = state.rollouts[SHOP].finalizers();
                (replicas(state) == Some((0, 0)) && held.is_empty()).then_some(())
            },
        )
        .await?;
        let state = ns.view.now();
        assert_eq!(essence(web(&state).expect("it is there")), before);
        assert!(
            fewest_served(&state, began) >= PODS - 1,
            "{:?}",
            state.serving
        );
        assert!(!state.ever_had_pods(REVISION), "its pods are not labelled");
        // Every step was passed, the first too.
        let steps: Vec<_> = state
            .versions
            .iter()
            .filter_map(|(_, r)| Some(r.status.as_ref()?.release.as_ref()?.step()?.index))
            .collect();
        assert!(
            [0, 1, 2].iter().all(|step| steps.contains(step)),
            "{steps:?}"
        );

        ns.kubectl(&["delete", "deployment", WEB]).await?;
        ns.until("nothing more to remember", PATIENCE, |state| {
            let status = state.status(SHOP);
            let ready = condition(&status, "Ready")?;
            (ready.status == "True" && status.adopted.is_none()).then_some(())
        })
        .await?;
        // The next release is like any other.
        let generation = apply_so(ns, "v3", adopts).await?;
        let (_, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        let state = ns.view.now();
        let former = state.status(SHOP).history;
        assert!(former.iter().any(|entry| entry.revision == revision));
        all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_first_revision_that_fails_goes_back_to_the_deployment() {
    play("adopt-back", async |ns| {
        let mut traffic = runs(ns).await?;
        let generation = apply_so(ns, "errors", adopts).await?;
        let (bad, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Failed, "{words}");
        assert!(words.contains("check error-rate"), "{words}");
        let back = |state: &State| {
            let whole = replicas(state) == Some((4, 4)) && !state.has_pods_beside(REVISION);
            whole.then_some(())
        };
        ns.until("the Deployment, whole and alone", PATIENCE, back)
            .await?;
        let state = ns.view.now();
        let status = state.status(SHOP);
        assert_eq!(status.stable.map(|s| s.revision).as_deref(), Some(REVISION));
        assert!(state.ever_had_pods(&bad));
        traffic.settled(SystemTime::now()).await?;
        let failed: Vec<_> = traffic.records()?.iter().filter(|r| r.failed()).collect();
        let others: Vec<_> = failed
            .iter()
            .filter(|record| !state.is_of(&record.pod, &bad))
            .collect();
        assert!(others.is_empty(), "not by the bad revision: {others:?}");
        assert!(!failed.is_empty(), "it was to fail half of its requests");

        // What is put right goes out from there.
        let began = SystemTime::now();
        let generation = apply_so(ns, "v2", adopts).await?;
        let (_, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        ns.until("the Deployment at 0", PATIENCE, |state| {
            (replicas(state) == Some((0, 0))).then_some(())
        })
        .await?;
        all_served(ns, &traffic.stop().await?, began);
        Ok(())
    })
    .await;
}
