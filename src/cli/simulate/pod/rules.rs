//! What the API server would refuse in a pod template beyond its types: names, labels, duplicates,
//! ports, mounts, requests above limits, handlers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    api::{
        name::{is_dns_label, is_object_name},
        template::quantity,
    },
    cli::simulate::finding::Finding,
};

/// Everything that it would refuse.
pub(super) fn check(template: &Value, path: &str, found: &mut Vec<Finding>) {
    labels(
        &template["metadata"]["labels"],
        &format!("{path}.metadata.labels"),
        found,
    );
    let spec = &template["spec"];
    let path = format!("{path}.spec");
    let volumes = volumes(&spec["volumes"], &format!("{path}.volumes"), found);
    let mut names = BTreeSet::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in each(&spec[list]) {
            let path = format!("{path}.{list}[{index}]");
            if let Some(name) = container["name"].as_str().filter(|name| !name.is_empty()) {
                named(name, &format!("{path}.name"), found);
                if !names.insert(name) {
                    refuse(
                        found,
                        format!("{path}.name"),
                        format!("Duplicate value: {name:?}"),
                    );
                }
            }
            ports(container, &path, found);
            mounts(container, &path, &volumes, found);
            environment(container, &path, found);
            resources(&container["resources"], &format!("{path}.resources"), found);
            let sidecar = list == "containers" || container["restartPolicy"] == "Always";
            probes(container, &path, sidecar, found);
        }
    }
}

fn refuse(found: &mut Vec<Finding>, field: impl Into<String>, message: impl Into<String>) {
    found.push(Finding::error(field.into(), message.into()));
}

/// The items of a list, with their places.
fn each(list: &Value) -> impl Iterator<Item = (usize, &Value)> {
    list.as_array().into_iter().flatten().enumerate()
}

fn named(name: &str, field: &str, found: &mut Vec<Finding>) {
    if !is_dns_label(name) || name.len() > 63 {
        let words = format!(
            "{name:?} is no name: at most 63 lower case letters, digits and dashes, with a letter or \
             digit at both ends"
        );
        refuse(found, field, words);
    }
}

fn labels(labels: &Value, path: &str, found: &mut Vec<Finding>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        let name = match key.split_once('/') {
            Some((prefix, name)) => {
                if !is_object_name(prefix) {
                    let words = format!("the prefix of {key:?} is no DNS name");
                    refuse(found, path, words);
                }
                name
            }
            None => key,
        };
        if name.is_empty() || !is_label_value(name) {
            let words = format!(
                "{key:?} is no key of a label: at most 63 letters, digits, dashes, underscores and \
                 dots, with a letter or digit at both ends"
            );
            refuse(found, path, words);
        }
        let value = value.as_str().unwrap_or_default();
        if !is_label_value(value) {
            let words = format!(
                "{key}: {value:?} is no value of a label: at most 63 letters, digits, dashes, \
                 underscores and dots, with a letter or digit at both ends"
            );
            refuse(found, path, words);
        }
    }
}

/// Also of an empty one.
fn is_label_value(value: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let mut letters = value.chars();
    value.len() <= 63
        && ends(value.chars().next())
        && ends(value.chars().next_back())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Names of the volumes.
fn volumes<'v>(volumes: &'v Value, path: &str, found: &mut Vec<Finding>) -> BTreeSet<&'v str> {
    let mut names = BTreeSet::new();
    for (index, volume) in each(volumes) {
        let name = volume["name"].as_str().unwrap_or_default();
        let field = format!("{path}[{index}].name");
        named(name, &field, found);
        if !names.insert(name) {
            refuse(found, field, format!("Duplicate value: {name:?}"));
        }
    }
    names
}

fn ports(container: &Value, path: &str, found: &mut Vec<Finding>) {
    let mut names = BTreeSet::new();
    for (index, port) in each(&container["ports"]) {
        let path = format!("{path}.ports[{index}]");
        for field in ["containerPort", "hostPort"] {
            let number = port[field].as_i64();
            if number.is_some_and(|number| !(1..=65_535).contains(&number)) {
                refuse(
                    found,
                    format!("{path}.{field}"),
                    "must be between 1 and 65535",
                );
            }
        }
        if port["containerPort"].as_i64().is_none() {
            refuse(found, format!("{path}.containerPort"), "Required value");
        }
        if let Some(protocol) = port["protocol"].as_str()
            && !["TCP", "UDP", "SCTP"].contains(&protocol)
        {
            let words = format!("{protocol:?} is none of TCP, UDP and SCTP");
            refuse(found, format!("{path}.protocol"), words);
        }
        let Some(name) = port["name"].as_str().filter(|name| !name.is_empty()) else {
            continue;
        };
        if !is_port_name(name) {
            let words = format!(
                "{name:?} is no name of a port: at most 15 lower case letters, digits and single \
                 dashes, one letter at least, and no dash at an end"
            );
            refuse(found, format!("{path}.name"), words);
        } else if !names.insert(name) {
            refuse(
                found,
                format!("{path}.name"),
                format!("Duplicate value: {name:?}"),
            );
        }
    }
}

fn is_port_name(name: &str) -> bool {
    is_dns_label(name)
        && name.len() <= 15
        && !name.contains("--")
        && name.chars().any(|c| c.is_ascii_lowercase())
}

fn mounts(container: &Value, path: &str, volumes: &BTreeSet<&str>, found: &mut Vec<Finding>) {
    let mut places = BTreeSet::new();
    for (index, mount) in each(&container["volumeMounts"]) {
        let path = format!("{path}.volumeMounts[{index}]");
        let name = mount["name"].as_str().unwrap_or_default();
        if !volumes.contains(name) {
            let words = format!("Not found: {name:?}: spec.volumes has no volume of that name");
            refuse(found, format!("{path}.name"), words);
        }
        match mount["mountPath"].as_str().unwrap_or_default() {
            "" => refuse(found, format!("{path}.mountPath"), "Required value"),
            place if !places.insert(place) => {
                let words = format!("{place:?} must be unique: another volume is mounted there");
                refuse(found, format!("{path}.mountPath"), words);
            }
            _ => {}
        }
    }
}

fn environment(container: &Value, path: &str, found: &mut Vec<Finding>) {
    for (index, variable) in each(&container["env"]) {
        let path = format!("{path}.env[{index}]");
        if variable["name"].as_str().is_none_or(str::is_empty) {
            refuse(found, format!("{path}.name"), "Required value");
        }
        let value = variable["value"].as_str().unwrap_or_default();
        if !value.is_empty() && !variable["valueFrom"].is_null() {
            let words = "may not be given beside a value that is not empty";
            refuse(found, format!("{path}.valueFrom"), words);
        }
    }
}

fn resources(resources: &Value, path: &str, found: &mut Vec<Finding>) {
    for list in ["limits", "requests"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            let amount = quantity(value);
            let words = match amount {
                None => format!("{value} is no quantity: write a number, as 0.5, 500m or 128Mi"),
                Some(amount) if amount < 0.0 => "must not be negative".to_owned(),
                Some(_) => continue,
            };
            refuse(found, format!("{path}.{list}.{name}"), words);
        }
    }
    for (name, asked) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        if let (Some(amount), Some(most)) = (quantity(asked), quantity(limit))
            && amount > most
        {
            let (asked, limit) = (text(asked), text(limit));
            let words = format!("{asked} must be less than or equal to the limit of {limit}");
            refuse(found, format!("{path}.requests.{name}"), words);
        }
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn probes(container: &Value, path: &str, may_have: bool, found: &mut Vec<Finding>) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = &container[kind];
        if probe.is_null() {
            continue;
        }
        let path = format!("{path}.{kind}");
        if !may_have {
            let words = "only an init container with restartPolicy: Always may have one";
            refuse(found, &path, words);
            continue;
        }
        handler(
            probe,
            &["exec", "httpGet", "tcpSocket", "grpc"],
            &path,
            found,
        );
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            if probe[field].as_i64().is_some_and(|number| number < 0) {
                refuse(found, format!("{path}.{field}"), "must not be negative");
            }
        }
        let successes = probe["successThreshold"].as_i64();
        if kind != "readinessProbe" && successes.is_some_and(|number| number > 1) {
            refuse(found, format!("{path}.successThreshold"), "must be 1");
        }
    }
    for hook in ["postStart", "preStop"] {
        let given = &container["lifecycle"][hook];
        if !given.is_null() && may_have {
            let path = format!("{path}.lifecycle.{hook}");
            handler(
                given,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                &path,
                found,
            );
        }
    }
}

/// Exactly one of these.
fn handler(of: &Value, kinds: &[&str], path: &str, found: &mut Vec<Finding>) {
    let given: Vec<&str> = kinds
        .iter()
        .copied()
        .filter(|kind| !of[kind].is_null())
        .collect();
    match given.as_slice() {
        [] => {
            let words = format!("must have a handler: {}", kinds.join(", "));
            refuse(found, path, words);
        }
        [_] => {}
        [_, second, ..] => {
            let words = format!(
                "may not have more than one handler: {} are given",
                given.join(" and ")
            );
            refuse(found, format!("{path}.{second}"), words);
        }
    }
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        let port = of[kind]["port"].as_i64();
        if port.is_some_and(|port| !(1..=65_535).contains(&port)) {
            let field = format!("{path}.{kind}.port");
            refuse(found, field, "must be between 1 and 65535");
        }
    }
}
