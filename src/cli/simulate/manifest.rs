//! Files with manifests: which Rollouts are in them, and whether they would be taken.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{super::convert::hints, finding::Finding, pod, structure};
use crate::{
    api::{PhaseKind, RolloutSpec, crd, keys, selector::template_labels, sql::KeyRef},
    plan::{
        facts::Base,
        intent::Kind,
        revision,
        routes::{
            RoutesAsked,
            facts::{Pair, Unusable},
        },
        template,
    },
};

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no YAML.
    #[error("{}: no YAML: {message}", path.display())]
    Yaml {
        /// Which one.
        path: PathBuf,
        /// Where, and why.
        message: String,
    },
    /// There is no Rollout in it.
    #[error("{file}: no Rollout of stepgate.io/v1alpha1 in it; there is {found}{hint}")]
    NoRollout {
        /// Which one.
        file: String,
        /// What is in it.
        found: String,
        /// What to do, where that is known.
        hint: String,
    },
    /// The definition cannot be written as JSON, which a test rules out.
    #[error("the definition of Rollouts cannot be written as JSON: {0}")]
    Definition(#[from] serde_json::Error),
}

/// What files hold.
#[derive(Debug, Default)]
pub struct Documents {
    /// Rollouts, as they are written.
    pub rollouts: Vec<Value>,
    /// Everything else.
    pub others: Vec<Value>,
}

/// A Rollout that would be taken.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// `metadata.name`.
    pub name: String,
    /// Its spec, with defaults filled in.
    pub spec: RolloutSpec,
    /// Whether it names `replicas` itself.
    pub names_replicas: bool,
    /// The revision that it asks for.
    pub revision: String,
    /// It is a single pod with a disk that one node at a time can have: its next pod is played on
    /// another node, as it may be.
    pub disk_of_one_node: bool,
    /// Services of the documents, where it asks for `spec.traffic`: that of `portsFrom` among them.
    pub services: Vec<Value>,
    /// The texts of its files of SQL.
    pub texts: Vec<(KeyRef, String)>,
}

impl Documents {
    /// Reads files; `-` is the standard input.
    ///
    /// # Errors
    /// When one cannot be read, is no YAML, or there is no Rollout in any.
    pub fn read(files: &[PathBuf]) -> Result<Self, ReadError> {
        let documents = Self::all_of(files)?;
        if documents.rollouts.is_empty() {
            let found: Vec<_> = documents.others.iter().map(title).collect();
            let names: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
            let other = documents.others.iter().find(|d| is_convertible(d));
            return Err(ReadError::NoRollout {
                found: match found.len() {
                    0 => "nothing".into(),
                    _ => found.join(", "),
                },
                hint: other.map_or_else(String::new, |other| {
                    format!(
                        ". apiVersion: {} of {} is another tool's: stepgate convert -f {} makes a \
                         Rollout of it, and names each field that has no place there",
                        other["apiVersion"].as_str().unwrap_or_default(),
                        title(other),
                        names.join(" -f ")
                    )
                }),
                file: names.join(", "),
            });
        }
        Ok(documents)
    }

    /// Reads files, whatever is in them; `-` is the standard input.
    ///
    /// # Errors
    /// When one cannot be read, or is no YAML.
    pub(in crate::cli) fn all_of(files: &[PathBuf]) -> Result<Self, ReadError> {
        let mut documents = Self::default();
        for path in files {
            let text = contents(path).map_err(|source| ReadError::File {
                path: path.clone(),
                source,
            })?;
            documents.take(&text).map_err(|message| ReadError::Yaml {
                path: path.clone(),
                message,
            })?;
        }
        Ok(documents)
    }

    /// All documents, Rollouts first.
    pub(in crate::cli) fn all(&self) -> impl Iterator<Item = &Value> {
        self.rollouts.iter().chain(&self.others)
    }

    fn take(&mut self, text: &str) -> Result<(), String> {
        let options = serde_saphyr::options! { with_snippet: false };
        let all: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
            .map_err(|error| error.to_string())?;
        all.into_iter().for_each(|document| self.sort(document));
        Ok(())
    }

    fn sort(&mut self, mut document: Value) {
        if document["kind"] == "List" && document["items"].is_array() {
            if let Value::Array(items) = document["items"].take() {
                items.into_iter().for_each(|item| self.sort(item));
            }
        } else if is_rollout(&document) {
            self.rollouts.push(document);
        } else if !document.is_null() {
            self.others.push(document);
        }
    }
}

/// What scales a workload by itself.
pub(in crate::cli) struct Scaler {
    /// Its kind and name.
    pub(in crate::cli) title: String,
    /// The field that says how few pods it keeps.
    pub(in crate::cli) field: &'static str,
    /// That number.
    pub(in crate::cli) least: i32,
}

/// The HorizontalPodAutoscaler or KEDA's ScaledObject among the documents that scales this
/// workload.
pub(in crate::cli) fn scaler_of<'a>(
    mut documents: impl Iterator<Item = &'a Value>,
    kind: &str,
    name: &str,
) -> Option<Scaler> {
    documents.find_map(|other| {
        let (field, usual_kind, usual) = match other["kind"].as_str()? {
            "HorizontalPodAutoscaler" => ("minReplicas", "", 1),
            "ScaledObject" => ("minReplicaCount", "Deployment", 0),
            _ => return None,
        };
        let target = &other["spec"]["scaleTargetRef"];
        let is_meant =
            target["kind"].as_str().unwrap_or(usual_kind) == kind && target["name"] == name;
        let least = other["spec"][field].as_i64().unwrap_or(usual);
        is_meant.then(|| Scaler {
            title: title(other),
            field,
            least: i32::try_from(least).unwrap_or(i32::MAX),
        })
    })
}

/// Whether `stepgate convert` makes a Rollout of it.
pub(in crate::cli) fn is_convertible(document: &Value) -> bool {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    let group = version.split('/').next().unwrap_or_default();
    match document["kind"].as_str() {
        Some("Deployment") => group == "apps",
        Some("Rollout") => matches!(group, "argoproj.io" | "stepgate.io"),
        _ => false,
    }
}

fn contents(path: &Path) -> io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path)
}

fn is_rollout(document: &Value) -> bool {
    let group = document["apiVersion"].as_str().unwrap_or_default();
    // A version that this program does not know is told as such, not passed over.
    document["kind"] == "Rollout" && group.split('/').next() == Some("stepgate.io")
}

/// Kind and name of a document, for people.
#[must_use]
pub fn title(document: &Value) -> String {
    let kind = document["kind"]
        .as_str()
        .unwrap_or("something without a kind");
    match document["metadata"]["name"].as_str() {
        Some(name) => format!("{kind} {name}"),
        None => kind.to_owned(),
    }
}

/// Reads one Rollout as the API server and then the operator would, and says all that is wrong.
///
/// # Errors
/// What would be refused.
pub fn check(document: &Value) -> Result<Manifest, Vec<Finding>> {
    let mut found = Vec::new();
    let version = document["apiVersion"].as_str().unwrap_or_default();
    if version != keys::API_VERSION {
        let message = format!("{version} is not known: write {}", keys::API_VERSION);
        return Err(vec![Finding::error("apiVersion", message)]);
    }
    let schema = definition().map_err(|error| {
        let message = format!("the definition cannot be written as JSON: {error}");
        vec![Finding::error("", message)]
    })?;
    let mut object = document.clone();
    if let Some(map) = object.as_object_mut() {
        // Nobody but the operator can write it.
        map.remove("status");
    }
    let names_replicas = object["spec"].get("replicas").is_some_and(|r| !r.is_null());
    structure::fill_in(&schema, &mut object);
    if !object["metadata"]["name"].is_string() {
        found.push(Finding::error("metadata.name", "Required value"));
    } else {
        structure::check(&schema, &object, "", &mut found);
        let theirs = found.iter().filter(|f| hints::of(&f.field).is_some());
        let theirs = theirs.count();
        if theirs > 0 {
            let message = format!(
                "some fields below ({theirs}) belong to a Deployment or to Argo Rollouts: stepgate \
                 convert -f FILE takes over what it can"
            );
            found.insert(0, Finding::error("apiVersion", message));
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    let spec: RolloutSpec = serde_path_to_error::deserialize(&object["spec"]).map_err(|error| {
        vec![Finding::error(
            format!("spec.{}", error.path()),
            error.inner().to_string(),
        )]
    })?;
    refused_later(&spec, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Ok(Manifest {
        disk_of_one_node: false,
        name: name.to_owned(),
        revision: revision::wanted(&spec),
        spec,
        names_replicas,
        services: Vec::new(),
        texts: Vec::new(),
    })
}

/// The Services of the documents, for a Rollout that copies one; what of that is assumed is said.
pub fn services<'a>(
    spec: &RolloutSpec,
    documents: impl Iterator<Item = &'a Value>,
    found: &mut Vec<Finding>,
) -> Vec<Value> {
    let Some(traffic) = &spec.traffic else {
        return Vec::new();
    };
    let of_services = documents.filter(|d| d["kind"] == "Service" && d["apiVersion"] == "v1");
    let mut services: Vec<Value> = of_services.cloned().collect();
    let from = traffic.ports_from.name.as_str();
    if services.iter().all(|s| s["metadata"]["name"] != from) {
        found.push(Finding::note(
            "spec.traffic.portsFrom.name",
            format!(
                "Service {from} is not among the files: played as one that selects the Rollout's \
                 pods, with port 80"
            ),
        ));
        services.push(json!({
            "metadata": {"name": from},
            "spec": {"selector": template_labels(&spec.template), "ports": [{"port": 80}]},
        }));
    }
    services
}

/// What is wrong with the routes of the documents that a Rollout names, or what is assumed of those
/// that are not among them.
pub fn routes<'a>(
    spec: &RolloutSpec,
    documents: impl Iterator<Item = &'a Value>,
    found: &mut Vec<Finding>,
) {
    let Some(traffic) = &spec.traffic else {
        return;
    };
    let documents: Vec<&Value> = documents.collect();
    let mut asked = RoutesAsked {
        namespace: String::new(),
        routes: traffic.routes.clone(),
        stable: traffic.stable_service.clone(),
        canary: traffic.canary_service.clone(),
    };
    for (index, route) in traffic.routes.iter().enumerate() {
        let field = format!("spec.traffic.routes[{index}]");
        let kind = Kind::from(route.kind);
        let group = |d: &Value| Some(d["apiVersion"].as_str()?.split('/').next()?.to_owned());
        let document = documents.iter().find(|d| {
            d["kind"] == kind.name()
                && group(d).as_deref() == kind.api_version().split('/').next()
                && d["metadata"]["name"] == route.name
        });
        let Some(document) = document else {
            let words =
                "is not among the files: played as one that is at rest, at weights 100 and 0";
            found.push(Finding::note(field, format!("{route} {words}")));
            continue;
        };
        let base = Base {
            name: route.name.clone(),
            uid: String::new(),
            resource_version: String::new(),
        };
        let namespace = document["metadata"]["namespace"].as_str();
        asked.namespace = namespace.unwrap_or_default().to_owned();
        match asked.read(route, base, document).found {
            Err(Unusable::Unfit(words) | Unusable::Unnamed(words)) => {
                found.push(Finding::warning(field, format!("{route}: {words}")));
            }
            Ok(read) => {
                let rests = |p: &&Pair| p.stable.value == 100 && p.canary.value == 0;
                if let Some(rule) = read.rules.iter().find(|rule| !rests(rule)) {
                    let words = format!(
                        "{route}: {} must have weight 100 for Service {} and 0 for {} while nothing \
                         is released",
                        rule.rule, asked.stable, asked.canary
                    );
                    found.push(Finding::warning(field, words));
                }
            }
            Err(_) => {}
        }
    }
}

/// What the API server takes, and then refuses in a child, or the operator does.
fn refused_later(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    pod::check(&spec.template, "spec.template", found);
    if !spec.selector.selects(&template_labels(&spec.template)) {
        found.push(Finding::error(
            "spec.selector.matchExpressions",
            "spec.template.metadata.labels do not meet it: the Deployment would be refused",
        ));
    }
    if let Some(problem) = template::problem(spec) {
        let (field, message) = problem.split_once(' ').unwrap_or(("", &problem));
        found.push(Finding::error(field.trim_end_matches(':'), message));
    }
    let Some(schema) = &spec.schema else { return };
    for kind in PhaseKind::ALL {
        if let Some(template) = schema.phase(kind).and_then(|phase| phase.template.as_ref()) {
            let field = format!("spec.schema.{}.template", kind.word());
            pod::check_job(template, &field, found);
        }
    }
}

/// Whether a release waits for a backup.
pub(super) fn asks_for_a_backup(spec: &RolloutSpec) -> bool {
    let preflight = spec.schema.as_ref().and_then(|s| s.preflight.as_ref());
    preflight.is_some_and(|preflight| preflight.max_backup_age_seconds.is_some())
}

/// The schema of Rollouts, as the API server has it.
fn definition() -> Result<Value, ReadError> {
    let definitions = crd::definitions()?;
    let rollout = definitions
        .into_iter()
        .find(|(file, _)| *file == "rollouts.yaml");
    let mut rollout = rollout.map_or(Value::Null, |(_, definition)| definition);
    let mut schema = rollout["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    // Every object has them, whatever its definition says.
    schema["properties"]["apiVersion"] = json!({"type": "string"});
    schema["properties"]["kind"] = json!({"type": "string"});
    schema["properties"]["metadata"] = json!({"type": "object"});
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Documents {
        let mut documents = Documents::default();
        documents.take(text).unwrap();
        documents
    }

    #[test]
    fn rollouts_are_found_among_other_documents_and_in_lists() {
        let found = documents(
            "kind: Service\nmetadata: {name: a}\n---\napiVersion: stepgate.io/v1alpha1\nkind: \
             Rollout\nmetadata: {name: b}\n---\n---\nkind: List\nitems:\n- {apiVersion: \
             stepgate.io/v9, kind: Rollout, metadata: {name: c}}\n- {kind: Rollout, apiVersion: \
             argoproj.io/v1alpha1}\n",
        );
        let names = |all: &[Value]| all.iter().map(title).collect::<Vec<_>>();
        assert_eq!(names(&found.rollouts), ["Rollout b", "Rollout c"]);
        assert_eq!(names(&found.others), ["Service a", "Rollout"]);
    }

    /// What the definition fills in is what the types fill in: nothing here goes another way than
    /// in a cluster.
    #[test]
    fn defaults_of_the_definition_are_those_of_the_types() {
        let given = json!({
            "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"},
            "spec": {
                "selector": {"matchLabels": {"app": "a"}},
                "template": {
                    "metadata": {"labels": {"app": "a"}},
                    "spec": {"containers": [{"name": "a", "image": "a:1", "env": null}]},
                },
                "schema": {"database": "db", "expand": {"command": ["a"]}, "version": null},
                "analysis": {"checks": [{"name": "a", "latency": {"maxMilliseconds": 100}}]},
            },
        });
        let read = check(&given).unwrap();
        let typed: RolloutSpec = serde_json::from_value(given["spec"].clone()).unwrap();
        assert_eq!(read.spec, typed);
        assert_eq!(read.revision, revision::wanted(&typed));
        assert!(!read.names_replicas);
    }
}
