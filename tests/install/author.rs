//! Policies about who writes a Rollout, and where.

use super::{Namespace, definitions, eventually, kubectl, output};

/// Applies a manifest of the repository as this ServiceAccount; what kubectl complained about.
fn apply_as(namespace: &str, who: &str, file: &str) -> Result<(), String> {
    let account = format!("system:serviceaccount:{namespace}:{who}");
    let arguments = ["-n", namespace, "apply", "-f", file, "--as", &account];
    let said = output("kubectl", &arguments);
    if said.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&said.stderr).into_owned())
}

/// A ServiceAccount with these rights in the namespace.
fn account(namespace: &str, who: &str, rights: &[(&str, &str)]) {
    let base = ["-n", namespace, "create"];
    for (number, (verbs, resource)) in rights.iter().enumerate() {
        let name = format!("{who}-{number}");
        let (verbs, resource) = (format!("--verb={verbs}"), format!("--resource={resource}"));
        kubectl(&[&base[..], &["role", &name, &verbs, &resource]].concat());
        let role = format!("--role={name}");
        let subject = format!("--serviceaccount={namespace}:{who}");
        kubectl(&[&base[..], &["rolebinding", &name, &role, &subject]].concat());
    }
}

/// Deletes the sample's policy when the test is over: others write Rollouts at the same time.
struct Policy(&'static str);

impl Drop for Policy {
    fn drop(&mut self) {
        output("kubectl", &["delete", "-f", self.0, "--wait=false"]);
    }
}

#[test]
fn an_author_must_be_allowed_what_a_rollout_starts() {
    definitions();
    let namespace = Namespace::new("author");
    let ns = namespace.0.as_str();
    let rollouts = ("get,create,patch", "rollouts.stepgate.io");
    account(ns, "nobody", &[rollouts, ("get,create,patch", "services")]);
    account(
        ns,
        "pods",
        &[
            rollouts,
            ("get,create,patch", "services"),
            ("create", "deployments.apps"),
        ],
    );
    account(
        ns,
        "all",
        &[
            rollouts,
            ("create", "deployments.apps"),
            ("create", "jobs.batch"),
        ],
    );
    let file = "deploy/policies/author-rights.yaml";
    kubectl(&["apply", "-f", file]);
    let _policy = Policy(file);

    let (plain, schema) = (
        "deploy/examples/single-replica.yaml",
        "deploy/examples/schema.yaml",
    );
    // Policies count a moment after they are stored.
    eventually("the policy to count", || {
        let refused = apply_as(ns, "nobody", plain).is_err();
        if !refused {
            kubectl(&["-n", ns, "delete", "-f", plain, "--ignore-not-found"]);
        }
        refused
    });
    let error = apply_as(ns, "nobody", plain).unwrap_err();
    assert!(
        error.contains("the right to create deployments.apps"),
        "{error}"
    );
    assert_eq!(apply_as(ns, "pods", plain), Ok(()));
    let error = apply_as(ns, "pods", schema).unwrap_err();
    assert!(error.contains("the right to create jobs.batch"), "{error}");
    assert_eq!(apply_as(ns, "all", schema), Ok(()));
    let error = apply_as(ns, "pods", "deploy/examples/adopted.yaml").unwrap_err();
    assert!(
        error.contains("the right to patch deployments.apps"),
        "{error}"
    );

    // Without a change of the spec nothing more is asked: commands and labels stay possible.
    let label = |who: &str, label: &str| {
        let account = format!("system:serviceaccount:{ns}:{who}");
        let arguments = [
            "-n",
            ns,
            "label",
            "--overwrite",
            "sro",
            "--all",
            label,
            "--as",
            &account,
        ];
        output("kubectl", &arguments).status.success()
    };
    account(ns, "labels", &[("get,list,patch", "rollouts.stepgate.io")]);
    assert!(label("labels", "team=shop"));
    let account = format!("system:serviceaccount:{ns}:labels");
    let patch = r#"{"spec":{"template":{"metadata":{"annotations":{"a":"b"}}}}}"#;
    let name = kubectl(&[
        "-n",
        ns,
        "get",
        "sro",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    let change = [
        "-n", ns, "patch", "sro", &name, "--type", "merge", "-p", patch, "--as", &account,
    ];
    assert!(
        !output("kubectl", &change).status.success(),
        "a change of the template is a start"
    );
}

#[test]
fn no_rollout_is_created_beside_the_operator() {
    definitions();
    super::manifest::apply();
    let example = "deploy/examples/minimal.yaml";
    let create = || {
        let arguments = [
            "-n",
            "stepgate-system",
            "create",
            "--dry-run=server",
            "-f",
            example,
        ];
        String::from_utf8_lossy(&output("kubectl", &arguments).stderr).into_owned()
    };
    eventually("the policy to count", || !create().is_empty());
    let refused = create();
    assert!(
        refused.contains("this is the namespace of Stepgate's operator"),
        "{refused}"
    );
    let namespace = Namespace::new("elsewhere");
    kubectl(&["-n", &namespace.0, "create", "-f", example]);
}
