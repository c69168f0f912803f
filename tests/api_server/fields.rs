//! A pod template that the API server refuses in words without a path: the condition has it.

use serde_json::{Value, json};

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, operator_with},
};

async fn stalled(home: &Home, rollout: &str) -> Value {
    eventually(&format!("{rollout} to be Stalled"), async || {
        let stalled = condition(home, rollout, "Stalled").await?;
        (stalled["status"] == "True").then_some(stalled)
    })
    .await
}

#[tokio::test]
async fn the_condition_names_field_and_index_where_the_api_server_does_not() {
    let home = Home::new("fields").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    let cases = [
        (
            "port",
            json!({"ports": [{"containerPort": 80}, {"containerPort": "81"}]}),
            "spec.template.spec.containers[1].ports[1].containerPort",
        ),
        (
            "amount",
            json!({"resources": {"requests": {"cpu": "1 core"}}}),
            "spec.template.spec.containers[1].resources.requests.cpu",
        ),
        (
            "name",
            json!({"env": [{"name": "A", "value": 1}]}),
            "spec.template.spec.containers[1].env[0].value",
        ),
    ];
    for (name, more, field) in cases {
        let mut rollout = minimal(name);
        let mut second = json!({"name": "second", "image": "app:1"});
        let more = more.as_object().expect("members").clone();
        second.as_object_mut().expect("a container").extend(more);
        let containers = &mut rollout["spec"]["template"]["spec"]["containers"];
        containers.as_array_mut().expect("containers").push(second);
        home.create(&rollout).await.expect("a Rollout");
        let stalled = stalled(&home, name).await;
        assert_eq!(stalled["reason"], "TemplateRefused", "{stalled}");
        let words = stalled["message"].as_str().unwrap_or_default();
        assert!(words.contains(field), "{field} is not in {words}");
    }
}

/// The pods of a phase have a template of their own.
#[tokio::test]
async fn so_does_the_condition_of_a_phase() {
    let home = Home::new("phase-fields").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    let mut rollout = minimal("shop");
    rollout["spec"]["schema"] = json!({"database": "db", "expand": {"template": {
        "spec": {"containers": [{
            "name": "migrate", "image": "app:1",
            "resources": {"limits": {"memory": "1 GB"}},
        }]},
    }}});
    home.create(&rollout).await.expect("a Rollout");
    let field = "spec.containers[0].resources.limits.memory";
    eventually(field, async || {
        let object = home.rollouts().get("shop").await.ok()?;
        let conditions = object.data["status"]["conditions"].to_string();
        conditions.contains(field).then_some(())
    })
    .await;
}
