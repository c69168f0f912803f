//! What people and agents do, as requests to the real API server.

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, core::v1::ConfigMap};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use stepgate::{
    api::{RolloutSpec, keys},
    simulate::{Action, action::Circumstance},
};

use super::fixture::Home;

/// Somebody acts. Only what scripts ask for is known.
pub async fn act(home: &Home, action: &Action) {
    match action {
        Action::Apply {
            rollout,
            spec,
            keep_replicas,
        } => apply(home, rollout, spec, *keep_replicas).await,
        Action::Release { rollout, image, .. } => {
            let at = "/spec/template/spec/containers/0/image";
            let patch = json!([{"op": "replace", "path": at, "value": &**image}]);
            let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).expect("a patch"));
            let done = home
                .rollouts()
                .patch(rollout, &PatchParams::default(), &patch)
                .await;
            done.expect("released");
        }
        Action::Scale { rollout, replicas } => {
            let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
            let params = PatchParams::default();
            let done = home.rollouts().patch_scale(rollout, &params, &patch).await;
            done.expect("scaled");
        }
        Action::Pause { rollout, paused } => {
            merge(home, rollout, json!({"spec": {"paused": paused}})).await;
        }
        Action::Command { rollout, verb } => {
            let annotation = format!("{}{verb}", keys::PREFIX);
            let annotations = json!({annotation: "r1 request-1"});
            merge(
                home,
                rollout,
                json!({"metadata": {"annotations": annotations}}),
            )
            .await;
        }
        Action::Delete(rollout) => {
            let params = DeleteParams::background();
            home.rollouts()
                .delete(rollout, &params)
                .await
                .expect("deleted");
        }
        Action::DeleteInForeground(rollout) => {
            let params = DeleteParams::foreground();
            home.rollouts()
                .delete(rollout, &params)
                .await
                .expect("deleted");
        }
        Action::ScaleChild {
            image, replicas, ..
        } => {
            let name = child(home, image).await;
            let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
            let params = PatchParams::default();
            let done = deployments(home).patch_scale(&name, &params, &patch).await;
            done.expect("scaled");
        }
        Action::EditChild { image, to, .. } => {
            let name = child(home, image).await;
            let containers = json!([{"name": "app", "image": &**to}]);
            let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
            let params = PatchParams::default();
            let done = deployments(home)
                .patch(&name, &params, &Patch::Strategic(patch))
                .await;
            done.expect("edited");
        }
        Action::DeleteJobs(rollout) => {
            let jobs: Api<Job> = Api::namespaced(home.client.clone(), &home.namespace);
            let list = ListParams::default().labels(&format!("{}={rollout}", keys::ROLLOUT));
            for job in jobs.list(&list).await.expect("Jobs") {
                let done = jobs
                    .delete(&job.name_any(), &DeleteParams::background())
                    .await;
                done.expect("deleted");
            }
        }
        Action::Config { name, exists } => {
            let maps: Api<ConfigMap> = Api::namespaced(home.client.clone(), &home.namespace);
            if *exists {
                let map = json!({"metadata": {"name": &**name}});
                let map = serde_json::from_value(map).expect("a ConfigMap");
                let done = maps.create(&PostParams::default(), &map).await;
                done.expect("created");
            } else {
                let done = maps.delete(name, &DeleteParams::default()).await;
                done.expect("deleted");
            }
        }
        Action::Around(Circumstance::Deployment { exists: true }) => {
            let labels = json!({"app": "shop"});
            let containers = json!([{"name": "app", "image": "legacy"}]);
            let legacy = json!({
                "metadata": {"name": "legacy"},
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
                },
            });
            let legacy = serde_json::from_value(legacy).expect("a Deployment");
            let done = deployments(home)
                .create(&PostParams::default(), &legacy)
                .await;
            done.expect("created");
        }
        Action::Around(Circumstance::Deployment { exists: false }) => {
            let params = DeleteParams::background();
            let done = deployments(home).delete("legacy", &params).await;
            done.expect("deleted");
        }
        other => panic!("no script does {other:?}"),
    }
}

fn deployments(home: &Home) -> Api<Deployment> {
    Api::namespaced(home.client.clone(), &home.namespace)
}

/// The Deployment that runs an image.
async fn child(home: &Home, image: &str) -> String {
    let list = deployments(home).list(&ListParams::default()).await;
    let runs = |d: &&Deployment| {
        let value = serde_json::to_value(d).expect("JSON");
        value["spec"]["template"]["spec"]["containers"][0]["image"] == image
    };
    let found = list.expect("Deployments");
    let found = found.items.iter().find(runs);
    found.expect("a Deployment of that image").name_any()
}

async fn merge(home: &Home, rollout: &str, patch: Value) {
    let params = PatchParams::default();
    let done = home
        .rollouts()
        .patch(rollout, &params, &Patch::Merge(patch))
        .await;
    done.expect("changed");
}

/// Server-side, as `kubectl apply --server-side --force-conflicts` does.
async fn apply(home: &Home, rollout: &str, spec: &RolloutSpec, keep_replicas: bool) {
    let mut spec = serde_json::to_value(spec).expect("JSON");
    if let (true, Some(fields)) = (keep_replicas, spec.as_object_mut()) {
        fields.remove("replicas");
    }
    let manifest = json!({
        "apiVersion": "stepgate.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": rollout},
        "spec": spec,
    });
    let params = PatchParams::apply("people").force();
    let done = home
        .rollouts()
        .patch(rollout, &params, &Patch::Apply(manifest))
        .await;
    done.expect("applied");
}
