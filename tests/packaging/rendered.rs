//! Rendering with the real programs, and looking into what comes out.

use std::process::Command;

use serde_json::Value;

use super::root;

/// Rendered objects.
pub struct Objects(Vec<Value>);

impl Objects {
    pub const fn of(objects: Vec<Value>) -> Self {
        Self(objects)
    }

    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    pub fn only(&self, kind: &str) -> &Value {
        let mut found = self.of_kind(kind);
        let object = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
        assert!(found.next().is_none(), "there are several {kind}");
        object
    }

    pub fn named(&self, kind: &str, name: &str) -> &Value {
        let mut found = self
            .of_kind(kind)
            .filter(|object| object["metadata"]["name"] == name);
        found
            .next()
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }
}

/// The documents of a YAML text; empty ones left out.
pub fn yaml(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

pub fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What the program printed, or what it complained about.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output();
    let output =
        output.unwrap_or_else(|error| panic!("these tests need `{program}`: {error}; see HELM"));
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("text"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub fn kustomize(folder: &str) -> String {
    run("kubectl", &["kustomize", folder]).expect(folder)
}

pub fn base() -> Objects {
    Objects(yaml(&kustomize("deploy/base")))
}

/// The chart with these values (`--set`), as the release `stepgate` in `stepgate-system`.
pub fn try_chart(values: &[&str]) -> Result<Objects, String> {
    let helm = std::env::var("HELM").unwrap_or_else(|_| "helm".into());
    let namespace = ["--namespace", "stepgate-system"];
    let mut arguments = vec!["template", "stepgate", "charts/stepgate"];
    arguments.extend(namespace);
    for value in values {
        arguments.extend(["--set", value]);
    }
    run(&helm, &arguments).map(|text| Objects(yaml(&text)))
}

pub fn chart(values: &[&str]) -> Objects {
    try_chart(values).expect("the chart renders")
}
