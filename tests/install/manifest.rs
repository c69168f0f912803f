//! The install manifest and the examples.

use super::{Namespace, definitions, established, eventually, kubectl, may};

pub fn apply() {
    // The controller of namespaces makes some objects a moment after the namespace.
    kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        "deploy/install.yaml",
    ]);
}

#[test]
fn the_manifest_installs_and_its_pods_pass_the_restricted_standard() {
    definitions();
    apply();
    let enforced = kubectl(&[
        "get",
        "namespace",
        "stepgate-system",
        "-o",
        "jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}",
    ]);
    assert_eq!(enforced, "restricted");
    // A pod that breaks the standard is refused, and its ReplicaSet has none.
    eventually("two pods of the operator to be admitted", || {
        let replicas = kubectl(&[
            "-n",
            "stepgate-system",
            "get",
            "deployment",
            "stepgate",
            "-o",
            "jsonpath={.status.replicas}",
        ]);
        replicas == "2"
    });
}

#[test]
fn the_operator_may_do_its_work_and_no_more() {
    definitions();
    apply();
    let may =
        |verb: &str, resource: &str| may("stepgate-system:stepgate", "default", verb, resource);
    eventually("the roles to count", || {
        may("watch", "rollouts.stepgate.io")
    });
    for (verb, resource) in [
        ("update", "rollouts.stepgate.io/status"),
        ("create", "databaseschemas.stepgate.io"),
        // For its finalizer.
        ("patch", "rollouts.stepgate.io"),
        ("patch", "deployments.apps"),
        ("delete", "deployments.apps"),
        ("create", "controllerrevisions.apps"),
        ("create", "jobs.batch"),
        ("create", "events.events.k8s.io"),
        ("patch", "events.events.k8s.io"),
        ("patch", "databaseschemas.stepgate.io"),
        ("list", "controllerrevisions.apps"),
    ] {
        assert!(may(verb, resource), "it may not {verb} {resource}");
    }
    for (verb, resource) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("get", "configmaps"),
        ("list", "configmaps"),
        ("get", "pods/log"),
        ("create", "rollouts.stepgate.io"),
        ("update", "rollouts.stepgate.io"),
        ("delete", "rollouts.stepgate.io"),
        ("create", "pods"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("create", "serviceaccounts/token"),
        ("get", "leases.coordination.k8s.io"),
        ("create", "clusterroles.rbac.authorization.k8s.io"),
        ("impersonate", "users"),
    ] {
        assert!(!may(verb, resource), "it may {verb} {resource}");
    }
}

#[test]
fn what_the_operator_may_read_is_given_in_one_namespace() {
    definitions();
    apply();
    let (here, elsewhere) = (Namespace::new("given"), Namespace::new("not-given"));
    for (file, verb, resource) in [
        ("deploy/roles/pod-logs.yaml", "get", "pods/log"),
        ("deploy/roles/config-maps.yaml", "get", "configmaps"),
    ] {
        kubectl(&["-n", &here.0, "apply", "-f", file]);
        let may = |namespace: &Namespace, verb: &str| {
            may("stepgate-system:stepgate", &namespace.0, verb, resource)
        };
        eventually("the role to count", || may(&here, verb));
        assert!(!may(&here, "list"), "{resource}");
        assert!(!may(&elsewhere, verb), "{resource}");
    }
}

#[test]
fn people_with_the_roles_edit_and_view_get_rights_on_rollouts() {
    definitions();
    apply();
    let namespace = Namespace::new("people");
    for role in ["admin", "edit", "view"] {
        let account = format!("{}:{role}", namespace.0);
        let bound = [
            "-n",
            &namespace.0,
            "create",
            "rolebinding",
            role,
            "--clusterrole",
            role,
        ];
        kubectl(&[&bound[..], &["--serviceaccount", &account]].concat());
    }
    let may = |who: &str, verb: &str, resource: &str| {
        may(
            &format!("{}:{who}", namespace.0),
            &namespace.0,
            verb,
            resource,
        )
    };
    eventually("the roles to be aggregated", || {
        may("edit", "create", "rollouts.stepgate.io")
    });
    assert!(may("edit", "patch", "rollouts.stepgate.io/scale"));
    assert!(may("view", "get", "rollouts.stepgate.io"));
    assert!(!may("view", "patch", "rollouts.stepgate.io"));
    assert!(!may("edit", "patch", "rollouts.stepgate.io/status"));
    assert!(!may("edit", "patch", "databaseschemas.stepgate.io"));
    assert!(!may("edit", "delete", "databaseschemas.stepgate.io"));
    eventually("the role admin to be aggregated", || {
        may("admin", "patch", "databaseschemas.stepgate.io")
    });
    assert!(may("admin", "delete", "databaseschemas.stepgate.io"));
    assert!(may("admin", "create", "rollouts.stepgate.io"));
    assert!(may("admin", "create", "databaseschemas.stepgate.io"));
    assert!(!may("edit", "create", "databaseschemas.stepgate.io"));
    assert!(!may("admin", "patch", "rollouts.stepgate.io/status"));
}

#[test]
fn the_examples_are_accepted_without_a_warning() {
    definitions();
    let namespace = Namespace::new("examples");
    // A kind of others that one of them names.
    kubectl(&["apply", "-f", "tests/install/httproutes.yaml"]);
    established("httproutes.gateway.networking.k8s.io");
    // Not --dry-run: what the definitions' rules say is only known when objects are stored.
    let said = super::output(
        "kubectl",
        &["-n", &namespace.0, "apply", "-f", "deploy/examples"],
    );
    let warnings = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{warnings}");
    assert_eq!(warnings, "", "the API server warned");
    let columns =
        "custom-columns=N:.metadata.name,C:.spec.strategy.canary,S:.spec.strategy.maxSurge";
    let listed = kubectl(&[
        "-n",
        &namespace.0,
        "get",
        "sro",
        "--no-headers",
        "-o",
        columns,
    ]);
    let hello = listed
        .lines()
        .find(|line| line.starts_with("hello"))
        .expect("the minimal one");
    let words: Vec<_> = hello.split_whitespace().collect();
    // A strategy that is left out can be told from one that is written.
    assert_eq!(words[1..], ["<none>", "25%"], "defaults are filled in");
}

/// A Rollout of the namespace, annotated as this ServiceAccount; what kubectl said.
fn annotate(namespace: &str, who: &str, annotation: &str) -> Result<(), String> {
    let account = format!("system:serviceaccount:{namespace}:{who}");
    let arguments = [
        "-n",
        namespace,
        "annotate",
        "--overwrite",
        "sro/hello",
        annotation,
        "--as",
        &account,
    ];
    let said = super::output("kubectl", &arguments);
    if said.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&said.stderr).into_owned())
}

#[test]
fn commands_need_a_right_of_their_own() {
    definitions();
    apply();
    let namespace = Namespace::new("commands");
    let ns = namespace.0.as_str();
    kubectl(&["-n", ns, "apply", "-f", "deploy/examples/minimal.yaml"]);
    // One may write Rollouts, and undo; the other is an editor, who may do everything.
    let deployer = format!("{ns}:deployer");
    let verbs = "--verb=get,patch,undo";
    kubectl(&[
        "-n",
        ns,
        "create",
        "role",
        "deployer",
        verbs,
        "--resource=rollouts.stepgate.io",
    ]);
    let bound = ["-n", ns, "create", "rolebinding"];
    kubectl(
        &[
            &bound[..],
            &["d", "--role=deployer", "--serviceaccount", &deployer],
        ]
        .concat(),
    );
    let editor = format!("{ns}:editor");
    kubectl(
        &[
            &bound[..],
            &["e", "--clusterrole=edit", "--serviceaccount", &editor],
        ]
        .concat(),
    );

    // Policies count a moment after they are stored.
    eventually("the policy to count", || {
        annotate(ns, "deployer", "stepgate.io/promote=abc/canary 1").is_err()
    });
    let error = annotate(ns, "deployer", "stepgate.io/promote=abc/canary 1").unwrap_err();
    assert!(
        error.contains("not allowed to give this Rollout the command promote:"),
        "{error}"
    );
    assert_eq!(annotate(ns, "deployer", "stepgate.io/undo=abc 2"), Ok(()));
    assert_eq!(
        annotate(ns, "deployer", "team=shop"),
        Ok(()),
        "other annotations are free"
    );
    eventually("the roles to be aggregated", || {
        may(&editor, ns, "promote", "rollouts.stepgate.io")
    });
    assert_eq!(
        annotate(ns, "editor", "stepgate.io/promote=abc/canary 3"),
        Ok(())
    );
    // What stands there already is nobody's new command.
    assert_eq!(annotate(ns, "deployer", "team=checkout"), Ok(()));
    assert!(annotate(ns, "deployer", "stepgate.io/promote=abc/full 4").is_err());
    assert_eq!(
        annotate(ns, "deployer", "stepgate.io/promote-"),
        Ok(()),
        "taking one away"
    );
}

#[test]
fn an_approval_needs_a_right_and_the_name_of_who_gives_it() {
    definitions();
    apply();
    let namespace = Namespace::new("approvals");
    let ns = namespace.0.as_str();
    let database = "apiVersion: stepgate.io/v1alpha1\nkind: DatabaseSchema\nmetadata: {name: db}\n\
                    record: {}\n";
    let file = std::env::temp_dir().join(format!("{ns}.yaml"));
    std::fs::write(&file, database).expect("a file");
    kubectl(&["-n", ns, "apply", "-f", file.to_str().expect("a path")]);
    std::fs::remove_file(&file).expect("a file");
    let bound = ["-n", ns, "create", "rolebinding"];
    for (name, role) in [("dba", "admin"), ("writer", "writer")] {
        if role == "writer" {
            let verbs = "--verb=get,patch";
            let resource = "--resource=databaseschemas.stepgate.io";
            kubectl(&["-n", ns, "create", "role", role, verbs, resource]);
        }
        let account = format!("{ns}:{name}");
        let role = match role {
            "admin" => "--clusterrole=admin".to_owned(),
            role => format!("--role={role}"),
        };
        let words = [name, &role, "--serviceaccount", &account];
        kubectl(&[&bound[..], &words].concat());
    }
    let approve = |account: &str, value: &str| {
        let (user, words) = (
            format!("--as=system:serviceaccount:{ns}:{account}"),
            format!("stepgate.io/approve={value}"),
        );
        let annotate = ["-n", ns, "annotate", "--overwrite", "databaseschema", "db"];
        let said = super::output("kubectl", &[&annotate[..], &[&words, &user]].concat());
        match said.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
        }
    };
    let own = |account: &str| format!("7/contract/abc 1 system:serviceaccount:{ns}:{account}");
    eventually("the roles to be aggregated", || {
        may(
            &format!("{ns}:dba"),
            ns,
            "approve",
            "databaseschemas.stepgate.io",
        )
    });
    eventually("the policy to count", || {
        approve("dba", "7/contract/abc 1 bob").is_err()
    });
    let error = approve("dba", "7/contract/abc 1 bob").unwrap_err();
    assert!(
        error.contains("carries the name of who gives it"),
        "{error}"
    );
    assert!(approve("dba", "7/contract/abc").is_err(), "no name at all");
    let error = approve("writer", &own("writer")).unwrap_err();
    assert!(error.contains("not allowed to approve here"), "{error}");
    assert_eq!(approve("dba", &own("dba")), Ok(()));
    let say = |account: &str, command: &str| {
        let user = format!("--as=system:serviceaccount:{ns}:{account}");
        let annotate = ["-n", ns, "annotate", "--overwrite", "databaseschema", "db"];
        let words = [command, &user];
        let said = super::output("kubectl", &[&annotate[..], &words].concat());
        (
            said.status.success(),
            String::from_utf8_lossy(&said.stderr).into_owned(),
        )
    };
    for (verb, target) in [
        ("lower-floor", "7 1"),
        ("baseline", "7/5 1"),
        ("clean", "shop-r1-expand-1 1"),
    ] {
        let command = format!("stepgate.io/{verb}={target}");
        let (done, error) = say("writer", &command);
        let refused = format!("not allowed to {verb} here");
        assert!(!done && error.contains(&refused), "{error}");
        assert!(say("dba", &command).0);
    }
}
