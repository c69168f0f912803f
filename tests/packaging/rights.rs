//! What the operator and its users may do.

use serde_json::Value;

use super::rendered::{Objects, base, chart};

/// (groups, resource, verb) of every rule of a role.
fn rules(role: &Value) -> Vec<(String, String, String)> {
    let list = |rule: &Value, field: &str| -> Vec<String> {
        let values = rule[field].as_array().expect("a list");
        values
            .iter()
            .map(|value| value.as_str().expect("a name").to_owned())
            .collect()
    };
    let mut all = Vec::new();
    for rule in role["rules"].as_array().expect("rules") {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                for verb in list(rule, "verbs") {
                    all.push((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    all.sort();
    all
}

fn all_roles(objects: &Objects) -> Vec<&Value> {
    objects
        .of_kind("ClusterRole")
        .chain(objects.of_kind("Role"))
        .collect()
}

#[test]
fn chart_and_base_grant_the_same() {
    let (chart, base) = (chart(&[]), base());
    for (kind, name) in [
        ("ClusterRole", "stepgate-operator"),
        ("ClusterRole", "stepgate-view"),
        ("ClusterRole", "stepgate-edit"),
        ("ClusterRole", "stepgate-admin"),
        ("ClusterRole", "stepgate-commands"),
        ("Role", "stepgate-lease"),
    ] {
        let (of_chart, of_base) = (chart.named(kind, name), base.named(kind, name));
        assert_eq!(of_chart["rules"], of_base["rules"], "{kind} {name}");
        let aggregated = |role: &Value| -> Vec<String> {
            let labels = role["metadata"]["labels"].as_object().expect("labels");
            labels
                .keys()
                .filter(|label| label.starts_with("rbac."))
                .cloned()
                .collect()
        };
        assert_eq!(aggregated(of_chart), aggregated(of_base), "{kind} {name}");
    }
    assert_eq!(all_roles(&chart).len(), all_roles(&base).len());
}

#[test]
fn chart_and_base_guard_commands_alike() {
    let (chart, base) = (chart(&[]), base());
    for kind in [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ] {
        for name in ["stepgate-commands", "stepgate-approvals"] {
            let spec = |objects: &Objects| objects.named(kind, name)["spec"].clone();
            assert_eq!(spec(&chart), spec(&base), "{kind} {name}");
        }
    }
}

#[test]
fn chart_and_base_keep_rollouts_out_of_the_operators_namespace() {
    let (chart, base) = (chart(&[]), base());
    let name = "stepgate-own-namespace";
    let policy = |objects: &Objects| objects.named("ValidatingAdmissionPolicy", name).clone();
    let (of_chart, of_base) = (policy(&chart), policy(&base));
    assert_eq!(
        of_chart["spec"]["validations"],
        of_base["spec"]["validations"]
    );
    let selector = |policy: &Value| {
        policy["spec"]["matchConstraints"]["namespaceSelector"]["matchLabels"].clone()
    };
    let expected = serde_json::json!({"kubernetes.io/metadata.name": "stepgate-system"});
    assert_eq!(selector(&of_chart), expected);
    // An overlay may rename the namespace of the base, so there a label says which one it is.
    let labels = &base.only("Namespace")["metadata"]["labels"];
    for (name, value) in selector(&of_base).as_object().expect("a selector") {
        assert_eq!(&labels[name], value, "{name}");
    }
    let off = super::rendered::chart(&["ownNamespace.refuseRollouts=false"]);
    let mut left = off.of_kind("ValidatingAdmissionPolicy");
    assert!(left.all(|policy| policy["metadata"]["name"] != name));
}

#[test]
fn nothing_is_granted_by_wildcard_and_nobody_may_grant_more() {
    for objects in [chart(&["rbac.getSecrets=true"]), base()] {
        for role in all_roles(&objects) {
            for (group, resource, verb) in rules(role) {
                assert!(
                    [&group, &resource, &verb]
                        .iter()
                        .all(|word| !word.contains('*'))
                );
                assert!(!["escalate", "bind", "impersonate"].contains(&verb.as_str()));
                assert_ne!(group, "rbac.authorization.k8s.io");
            }
        }
    }
}

#[test]
fn what_may_hold_secrets_is_never_listed_and_only_read_when_asked_for() {
    let verbs = |objects: &Objects, of: &str| -> Vec<String> {
        let roles = all_roles(objects);
        let rules = roles.iter().flat_map(|role| rules(role));
        rules
            .filter(|(_, resource, _)| resource == of)
            .map(|(_, _, verb)| verb)
            .collect()
    };
    for (resource, value) in [
        ("secrets", "rbac.getSecrets=true"),
        ("configmaps", "rbac.getConfigMaps=true"),
        ("pods/log", "rbac.getPodLogs=true"),
    ] {
        assert!(verbs(&base(), resource).is_empty(), "{resource}");
        assert!(verbs(&chart(&[]), resource).is_empty(), "{resource}");
        assert_eq!(verbs(&chart(&[value]), resource), ["get"]);
        let listed = chart(&[value, "namespaces={a,b}"]);
        assert_eq!(verbs(&listed, resource), ["get", "get"]);
    }
}

#[test]
fn with_namespaces_there_are_no_rights_elsewhere() {
    let whole = chart(&[]);
    let listed = chart(&["namespaces={team-a,team-b}"]);
    assert_eq!(listed.of_kind("ClusterRoleBinding").count(), 0);
    let operator = whole.named("ClusterRole", "stepgate-operator");
    let roles: Vec<_> = listed
        .of_kind("Role")
        .filter(|role| role["metadata"]["name"] == "stepgate-operator")
        .collect();
    let namespaces: Vec<_> = roles
        .iter()
        .map(|role| &role["metadata"]["namespace"])
        .collect();
    assert_eq!(namespaces, ["team-a", "team-b"]);
    for role in roles {
        assert_eq!(role["rules"], operator["rules"]);
    }
    for binding in listed.of_kind("RoleBinding") {
        let subject = &binding["subjects"][0];
        assert_eq!(subject["name"], "stepgate");
        assert_eq!(subject["namespace"], "stepgate-system");
    }
    let container = &listed.only("Deployment")["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().expect("env");
    let told = variables
        .iter()
        .find(|variable| variable["name"] == "STEPGATE_NAMESPACE");
    assert_eq!(told.expect("STEPGATE_NAMESPACE")["value"], "team-a,team-b");
}

#[test]
fn the_lease_role_is_for_the_lease_that_is_used() {
    let chart = chart(&["leaderElection.leaseName=other"]);
    let named = &chart.named("Role", "stepgate-lease")["rules"][1]["resourceNames"];
    assert_eq!(*named, serde_json::json!(["other"]));
    let container = &chart.only("Deployment")["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().expect("env");
    let told = variables
        .iter()
        .find(|variable| variable["name"] == "STEPGATE_LEASE_NAME");
    assert_eq!(told.expect("STEPGATE_LEASE_NAME")["value"], "other");
}
