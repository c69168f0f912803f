//! An overlay of a Rollout, with the configuration that is shipped for kustomize.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    rendered::{self, Objects, read, yaml},
    root,
};

/// The overlay of a test, in a folder of its own.
fn overlay(test: &str, with: &[(&str, &str)]) -> Objects {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("overlay-{test}"));
    fs::create_dir_all(&folder).expect("a folder");
    let mut kustomization = read("tests/packaging/overlay/kustomization.yaml");
    for (line, instead) in with {
        assert!(kustomization.contains(line), "{line}");
        kustomization = kustomization.replace(line, instead);
    }
    fs::write(folder.join("kustomization.yaml"), kustomization).expect("written");
    for file in [
        "tests/packaging/overlay/base.yaml",
        "deploy/kustomize/configuration.yaml",
        "deploy/kustomize/schema.json",
    ] {
        let name = Path::new(file).file_name().expect("a name");
        fs::copy(root().join(file), folder.join(name)).expect(file);
    }
    let text = rendered::kustomize(folder.to_str().expect("a path"));
    Objects::of(yaml(&text))
}

/// The name with its hash.
fn hashed<'a>(objects: &'a Objects, kind: &str, name: &str) -> &'a Value {
    let mut all = objects
        .of_kind(kind)
        .map(|object| &object["metadata"]["name"]);
    let is_it = |n: &&Value| n.as_str().is_some_and(|n| n.starts_with(name) && n != name);
    all.find(is_it)
        .unwrap_or_else(|| panic!("no {kind} {name}-<hash>"))
}

#[test]
fn names_with_a_hash_reach_every_part_of_a_rollout() {
    let objects = overlay("names", &[]);
    let spec = &objects.only("Rollout")["spec"];
    let settings = hashed(&objects, "ConfigMap", "prod-settings");
    let keys = hashed(&objects, "Secret", "prod-keys");
    let pod = &spec["template"]["spec"];
    assert_eq!(
        &pod["containers"][0]["envFrom"][0]["configMapRef"]["name"],
        settings
    );
    assert_eq!(&pod["volumes"][0]["configMap"]["name"], settings);
    let env = &pod["initContainers"][0]["env"][0];
    assert_eq!(&env["valueFrom"]["secretKeyRef"]["name"], keys);
    let migrate = &spec["schema"]["expand"]["template"]["spec"]["containers"][0];
    assert_eq!(&migrate["envFrom"][0]["secretRef"]["name"], keys);
    // What names the Rollout follows it.
    let scaler = objects.only("HorizontalPodAutoscaler");
    assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], "prod-api");
    assert_eq!(objects.only("Rollout")["metadata"]["name"], "prod-api");
}

#[test]
fn lists_are_merged_by_their_keys() {
    let objects = overlay("lists", &[]);
    let rollout = objects.only("Rollout");
    let containers = &rollout["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().map(Vec::len), Some(1));
    assert_eq!(containers[0]["resources"]["requests"]["cpu"], "500m");
    assert_eq!(
        containers[0]["ports"][0]["containerPort"], 8080,
        "it was not replaced"
    );
    assert_eq!(
        rollout["spec"]["strategy"]["canary"]["steps"],
        json!([
            {"name": "canary", "replicas": 1, "holdSeconds": 60},
            {"name": "full", "replicas": "100%", "holdSeconds": 900},
        ])
    );
    // A schema of one's own takes the place of kustomize's: it must know the other kinds too.
    let worker = &objects.only("Deployment")["spec"]["template"]["spec"]["containers"];
    assert_eq!(worker.as_array().map(Vec::len), Some(2));
    let read = serde_json::from_value::<stepgate::api::Rollout>(rollout.clone());
    read.expect("a Rollout that can be read");
}

#[test]
fn images_labels_and_replicas_are_those_of_the_overlay() {
    let objects = overlay("images", &[]);
    let spec = &objects.only("Rollout")["spec"];
    let image = |container: &Value| container["image"].as_str().expect("an image").to_owned();
    let containers = &spec["template"]["spec"]["containers"];
    assert_eq!(image(&containers[0]), "registry.example/api:2.1.0");
    let migrate = &spec["schema"]["expand"]["template"]["spec"]["containers"][0];
    assert_eq!(image(migrate), "registry.example/migrate:2");
    assert_eq!(spec["replicas"], 5);
    let labels = json!({"app": "api", "env": "prod"});
    assert_eq!(spec["selector"]["matchLabels"], labels);
    assert_eq!(spec["template"]["metadata"]["labels"], labels);
}

/// Without the configuration none of it happens: the test would see if kustomize knew by itself.
#[test]
fn the_configuration_is_needed() {
    let objects = overlay(
        "bare",
        &[
            ("configurations: [configuration.yaml]", ""),
            ("openapi: {path: schema.json}", ""),
            ("replicas:\n- {name: api, count: 5}\n", ""),
        ],
    );
    let pod = &objects.only("Rollout")["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["configMap"]["name"], "settings");
    assert!(pod["containers"][0]["ports"].is_null());
}
