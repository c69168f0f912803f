//! The administrator of a database says which Rollouts may use it, before anybody has.

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use stepgate::api::DatabaseSchema;

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, operator_with},
};

#[tokio::test]
async fn a_rollout_runs_a_phase_once_the_database_allows_it() {
    let home = Home::new("allowed").await;
    let of = ApiResource::erase::<DatabaseSchema>(&());
    let databases =
        Api::<DynamicObject>::namespaced_with(home.client.clone(), &home.namespace, &of);
    let database = json!({"apiVersion": "stepgate.io/v1alpha1", "kind": "DatabaseSchema",
        "metadata": {"name": "db"}, "allowedRollouts": ["worker"]});
    let database = serde_json::from_value(database).expect("a DatabaseSchema");
    let made = databases.create(&PostParams::default(), &database).await;
    made.expect("made beforehand, without a record");
    let _operator = operator_with(
        &home,
        &[
            "--leader-elect=false",
            "--listen=127.0.0.1:0",
            "--max-phase-seconds=600",
            "--max-phase-grace-seconds=5",
        ],
    );
    let stalled = async |reason: &str| {
        let what = format!("the Rollout to be stalled by {reason}");
        eventually(&what, async || {
            let stalled = condition(&home, "shop", "Stalled").await?;
            (stalled["reason"] == reason && stalled["status"] == "True").then_some(())
        })
        .await;
    };
    let mut rollout = minimal("shop");
    rollout["spec"]["schema"] = json!({"database": "db",
        "expand": {"command": ["x"], "deadlineSeconds": 601}});
    home.create(&rollout).await.expect("a Rollout");
    stalled("DatabaseNotAllowed").await;
    let jobs = Api::<Job>::namespaced(home.client.clone(), &home.namespace);
    let list = jobs.list(&ListParams::default()).await.expect("Jobs");
    assert_eq!(list.items.len(), 0);

    let params = PatchParams::default();
    let allow = Patch::Merge(json!({"allowedRollouts": ["worker", "shop"]}));
    let allowed = databases.patch("db", &params, &allow).await;
    allowed.expect("allowed");
    stalled("PhaseTooLong").await;
    let shorter = json!({"spec": {"schema": {"expand": {"deadlineSeconds": 600}}}});
    let rollouts = home.rollouts();
    let changed = rollouts
        .patch("shop", &params, &Patch::Merge(&shorter))
        .await;
    changed.expect("shorter");
    let job = eventually("its Job to run", async || {
        let jobs = jobs.list(&ListParams::default()).await.ok()?.items;
        let job = jobs.into_iter().next()?.spec?;
        (job.suspend == Some(false)).then_some(job)
    })
    .await;
    assert_eq!(job.active_deadline_seconds, Some(600));
    let pod = job.template.spec.expect("a pod");
    assert_eq!(pod.termination_grace_period_seconds, Some(5));
    // The operator's record stands beside what the administrator said.
    let database = databases.get("db").await.expect("the DatabaseSchema").data;
    assert_eq!(database["allowedRollouts"], json!(["worker", "shop"]));
    assert_eq!(
        database["record"]["holder"]["rollout"], "shop",
        "{database}"
    );
}
