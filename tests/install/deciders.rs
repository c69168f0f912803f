//! Who may deploy need not decide: what a release must still pass is not edited while it moves.

use super::{Namespace, definitions, eventually, kubectl, manifest, output};

/// What kubectl said when this ServiceAccount patched the Rollout.
fn patch(namespace: &str, who: &str, change: &str) -> Result<(), String> {
    let account = format!("system:serviceaccount:{namespace}:{who}");
    let arguments = [
        "-n",
        namespace,
        "patch",
        "sro/hello",
        "--type=merge",
        "-p",
        change,
        "--as",
        &account,
    ];
    let said = output("kubectl", &arguments);
    match said.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
    }
}

/// The operator's part, which no operator plays here.
fn say(namespace: &str, status: &str) {
    let status = format!(r#"{{"status":{status}}}"#);
    kubectl(&[
        "-n",
        namespace,
        "patch",
        "sro/hello",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ]);
}

const MOVES: &str = r#"{"release":{"revision":"abc","stage":"Step","started":"2026-01-01T00:00:00Z",
    "first":false,"undo":null}}"#;
const HOLDS: &str = r#"{"spec":{"strategy":{"type":null,"canary":{"steps":[
    {"name":"canary","replicas":1,"holdSeconds":86400},
    {"name":"full","replicas":"100%","holdSeconds":60}]}},
    "analysis":{"source":"default","checks":[
    {"name":"errors","errorRate":{"maxPercent":"1"},"onFailure":"Undo"}]}}}"#;

/// Edits by which a person could leave a hold, or take away what a release is measured by.
const DECIDES: [(&str, &str, &str); 6] = [
    (
        "spec.strategy",
        "promote",
        r#"{"spec":{"strategy":{"canary":{"steps":[
            {"name":"canary","replicas":1,"holdSeconds":0},
            {"name":"full","replicas":"100%","holdSeconds":60}]}}}}"#,
    ),
    ("spec.analysis", "promote", r#"{"spec":{"analysis":null}}"#),
    (
        "spec.schema",
        "promote",
        r#"{"spec":{"schema":{"database":"db","expand":{"command":["true"]}}}}"#,
    ),
    (
        "spec.after",
        "promote",
        r#"{"spec":{"after":[{"rollout":"api"}]}}"#,
    ),
    ("spec.paused", "pause", r#"{"spec":{"paused":true}}"#),
    (
        "spec.strategy, spec.analysis",
        "promote",
        r#"{"spec":{"strategy":{"canary":null,"type":"Rolling"},"analysis":null,
            "template":{"metadata":{"annotations":{"a":"b"}}}}}"#,
    ),
];

#[test]
fn a_deployer_decides_nothing_while_a_release_moves() {
    definitions();
    manifest::apply();
    let namespace = Namespace::new("deciders");
    let ns = namespace.0.as_str();
    kubectl(&["-n", ns, "apply", "-f", "deploy/examples/minimal.yaml"]);
    for (who, verbs) in [
        ("deployer", "get,patch"),
        ("decider", "get,patch,promote,pause,resume"),
    ] {
        let (verbs, subject) = (
            format!("--verb={verbs}"),
            format!("--serviceaccount={ns}:{who}"),
        );
        let resource = "--resource=rollouts.stepgate.io";
        kubectl(&["-n", ns, "create", "role", who, &verbs, resource]);
        let role = format!("--role={who}");
        kubectl(&["-n", ns, "create", "rolebinding", who, &role, &subject]);
        // What the sample for authors asks, which another test installs at the same time.
        let (starts, what) = (
            format!("{who}-starts"),
            "--resource=deployments.apps,jobs.batch",
        );
        kubectl(&["-n", ns, "create", "role", &starts, "--verb=create", what]);
        let role = format!("--role={starts}");
        kubectl(&["-n", ns, "create", "rolebinding", &starts, &role, &subject]);
    }
    // At rest whoever may deploy says how that is done.
    eventually("the roles to count", || {
        patch(ns, "deployer", HOLDS).is_ok()
    });

    say(ns, MOVES);
    let (_, _, shorter) = DECIDES[0];
    // The policy counts a moment after it is stored.
    eventually("the policy to count", || {
        let refused = patch(ns, "deployer", shorter).is_err();
        if !refused {
            kubectl(&["-n", ns, "patch", "sro/hello", "--type=merge", "-p", HOLDS]);
        }
        refused
    });
    for (fields, verb, change) in DECIDES {
        let error = patch(ns, "deployer", change).expect_err(fields);
        let words = [
            &format!("to change {fields} now"),
            &format!("the verb {verb} on"),
        ];
        for words in words {
            assert!(error.contains(words), "{fields}: {error}");
        }
    }
    // What is no decision about the release is free: another revision, scaling, labels.
    for change in [
        r#"{"spec":{"template":{"metadata":{"annotations":{"a":"c"}}}}}"#,
        r#"{"spec":{"replicas":3,"revisionHistoryLimit":5}}"#,
        r#"{"metadata":{"labels":{"team":"shop"}}}"#,
    ] {
        assert_eq!(patch(ns, "deployer", change), Ok(()), "{change}");
    }
    // Who has the verbs may.
    for (fields, _, change) in DECIDES {
        assert_eq!(patch(ns, "decider", change), Ok(()), "{fields}");
    }
    let error = patch(ns, "deployer", r#"{"spec":{"paused":false}}"#).expect_err("resumed");
    assert!(error.contains("the verb resume on"), "{error}");

    // A first deployment keeps nobody from anything, and an undo is the way back already.
    kubectl(&["-n", ns, "patch", "sro/hello", "--type=merge", "-p", HOLDS]);
    for (status, change) in [
        (r#"{"release":{"first":true}}"#, shorter),
        (r#"{"release":{"first":false,"stage":"Undo"}}"#, HOLDS),
        (r#"{"release":null}"#, shorter),
    ] {
        say(ns, status);
        assert_eq!(patch(ns, "deployer", change), Ok(()), "{status}");
    }

    // A flag that is being turned on is held by its steps and by the checks.
    kubectl(&["-n", ns, "patch", "sro/hello", "--type=merge", "-p", HOLDS]);
    say(
        ns,
        r#"{"flags":[{"key":"new-cart","configMap":"flags","state":"Ramping","percent":10,
            "change":1,"asked":"a"}]}"#,
    );
    let error = patch(ns, "deployer", r#"{"spec":{"analysis":null}}"#).expect_err("a flag");
    assert!(error.contains("to change spec.analysis now"), "{error}");
    assert_eq!(patch(ns, "deployer", shorter), Ok(()), "no release moves");
    say(ns, r#"{"flags":null}"#);
    assert_eq!(
        patch(ns, "deployer", r#"{"spec":{"analysis":null}}"#),
        Ok(())
    );
    flags_that_are_off(ns);
    a_version_that_is_out(ns);
}

/// A flag that was taken back begins anew when it is edited, as by a retry.
fn flags_that_are_off(ns: &str) {
    let flag = |hold: i64| {
        format!(
            r#"{{"spec":{{"flags":[{{"key":"new-cart","configMap":{{"name":"flags"}},"onVariant":"on",
            "offVariant":"off","ramp":[{{"name":"all","percent":100,"holdSeconds":{hold}}}]}}]}}}}"#
        )
    };
    assert_eq!(patch(ns, "deployer", &flag(600)), Ok(()));
    for state in ["TakenBack", "ChangedByHand"] {
        say(
            ns,
            &format!(
                r#"{{"flags":[{{"key":"new-cart","configMap":"flags","state":"{state}",
                "percent":0,"change":2,"asked":"a"}}]}}"#
            ),
        );
        let error = patch(ns, "deployer", &flag(0)).expect_err(state);
        assert!(error.contains("to change spec.flags now"), "{error}");
        assert!(error.contains("was taken back"), "{error}");
        let checks = r#"{"spec":{"analysis":null}}"#;
        assert_eq!(patch(ns, "deployer", checks), Ok(()), "{state}");
    }
    say(ns, r#"{"flags":null}"#);
    assert_eq!(patch(ns, "deployer", &flag(0)), Ok(()));
}

/// The contract of a version that is out waits at its gate while no release is in motion.
fn a_version_that_is_out(ns: &str) {
    let with = |version: i64, rest: &str| {
        format!(
            r#"{{"spec":{{"schema":{{"database":"db","version":{version},
            "expand":{{"command":["true"]}}{rest}}}}}}}"#
        )
    };
    let gated = r#","backfill":{"command":["fill"],"verify":{"command":["prove"]}},
        "contract":{"command":["drop"],"approval":"Manual","afterSeconds":86400}"#;
    let open = r#","contract":{"approval":"Automatic","afterSeconds":0}"#;
    let filled = r#","backfill":null"#;
    let deadline = r#","expand":{"command":["true"],"deadlineSeconds":60}"#;
    // Nothing is stable yet.
    say(ns, r#"{"stable":null}"#);
    assert_eq!(patch(ns, "deployer", &with(2, gated)), Ok(()));
    say(
        ns,
        r#"{"stable":{"revision":"abc","replicas":1,"available":1,"schemaVersion":2}}"#,
    );
    for rest in [open, filled] {
        let error = patch(ns, "deployer", &with(2, rest)).expect_err(rest);
        for words in [
            "to change spec.schema now",
            "the verb promote on",
            "at its gate",
        ] {
            assert!(error.contains(words), "{error}");
        }
    }
    let other = r#"{"spec":{"replicas":2}}"#;
    assert_eq!(patch(ns, "deployer", other), Ok(()));
    assert_eq!(patch(ns, "deployer", &with(2, deadline)), Ok(()));
    // By way of another version, or of none.
    assert_eq!(patch(ns, "deployer", &with(1, "")), Ok(()));
    patch(ns, "deployer", &with(2, open)).expect_err("back at the version that is out");
    // The next version is not out.
    assert_eq!(patch(ns, "deployer", &with(3, open)), Ok(()));
    assert_eq!(patch(ns, "decider", &with(2, gated)), Ok(()));
    assert_eq!(patch(ns, "decider", &with(2, open)), Ok(()));
}
