//! The operator and Prometheus on a cluster, from the manifests that users install.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::namespace::MINE;
use crate::{Error, Result, Testbed, program};

/// Where the operator runs.
pub const OPERATOR: &str = "stepgate-system";
/// Where Prometheus runs.
pub const MONITORING: &str = "stepgate-monitoring";

const DEFINITIONS: [&str; 2] = ["rollouts.stepgate.io", "databaseschemas.stepgate.io"];
/// For how long the API server may take to serve them.
const PATIENCE: Duration = Duration::from_secs(60);
const PROMETHEUS: &str = "tests/programs/shop/manifests/prometheus";

/// Installs both and waits until they are there. What an earlier testbed left is brought up to date.
///
/// # Errors
/// When somebody else's Stepgate is there, or it does not start.
pub async fn install(testbed: &Testbed) -> Result<()> {
    refuse_foreign(testbed).await?;
    testbed
        .run_kubectl(&["apply", "--kustomize", PROMETHEUS])
        .await?;
    let built = Version::built();
    built.define(testbed).await?;
    tokio::try_join!(
        started(testbed, MONITORING, "deployment/prometheus"),
        built.operate(testbed),
    )?;
    Ok(())
}

/// A version of Stepgate: its manifests, and the tag of its image.
#[derive(Clone, Debug)]
pub struct Version {
    /// The folder in which its `deploy` lies.
    pub folder: PathBuf,
    /// The tag of `localhost/stepgate/stepgate`.
    pub tag: String,
}

impl Version {
    /// The one that was built here.
    #[must_use]
    pub fn built() -> Self {
        Self {
            folder: program::repository(),
            tag: "test".to_owned(),
        }
    }

    /// Applies its definitions, and waits until they are served.
    ///
    /// # Errors
    /// When the API server refuses them.
    pub async fn define(&self, testbed: &Testbed) -> Result<()> {
        testbed.apply(&self.read("deploy/crds.yaml")?).await?;
        let definitions: Api<CustomResourceDefinition> = Api::all(testbed.client());
        for name in DEFINITIONS {
            // `kubectl wait` gives up on a definition that has no condition yet.
            let served = await_condition(definitions.clone(), name, is_crd_established());
            let served = tokio::time::timeout(PATIENCE, served).await;
            let words =
                || Error::refused(format!("CRD {name} is not established after {PATIENCE:?}"));
            let watched = served.map_err(|_| words())?;
            watched.map_err(|error| Error::refused(format!("CRD {name}: {error}")))?;
        }
        Ok(())
    }

    /// Applies its operator, and waits until every replica is of this version.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn operate(&self, testbed: &Testbed) -> Result<()> {
        let prometheus = address(testbed, MONITORING, "prometheus").await?;
        testbed.apply(&self.operator(&prometheus)?).await?;
        started(testbed, OPERATOR, "deployment/stepgate").await
    }

    /// Its `deploy/install.yaml` with its image and this Prometheus.
    fn operator(&self, prometheus: &str) -> Result<Vec<Value>> {
        let mut objects = self.read("deploy/install.yaml")?;
        let mut given = rules("deploy/roles/pod-logs.yaml")?;
        given.extend(rules("deploy/roles/config-maps.yaml")?);
        let (mut images, mut sources) = (0, 0);
        for object in &mut objects {
            match object["kind"].as_str() {
                Some("Namespace") => object["metadata"]["labels"][MINE.0] = json!(MINE.1),
                Some("Deployment") => {
                    let container = &mut object["spec"]["template"]["spec"]["containers"][0];
                    container["image"] = json!(format!("localhost/stepgate/stepgate:{}", self.tag));
                    container["imagePullPolicy"] = json!("Never");
                    let env = container["env"].as_array_mut().into_iter().flatten();
                    for one in env.filter(|one| one["name"] == "STEPGATE_SQL_IMAGE") {
                        one["value"] = json!("localhost/stepgate/stepgate-sql:test");
                    }
                    images += 1;
                }
                // What an administrator gives where it is wanted.
                Some("ClusterRole") if object["metadata"]["name"] == "stepgate-operator" => {
                    let rules = object["rules"].as_array_mut().into_iter();
                    rules.for_each(|rules| rules.append(&mut given));
                }
                Some("ConfigMap") => {
                    let file = &mut object["data"]["sources.yaml"];
                    let text = file.as_str().unwrap_or_default();
                    let url = format!("http://{prometheus}:9090");
                    *file = json!(text.replace("http://prometheus.monitoring.svc:9090", &url));
                    sources += usize::from(file.as_str().is_some_and(|text| text.contains(&url)));
                }
                _ => {}
            }
        }
        if (images, sources) != (1, 1) {
            let words = "deploy/install.yaml is no longer as the testbed knows it: it wants one \
                         Deployment and one metric source";
            return Err(Error::refused(words));
        }
        Ok(objects)
    }

    /// The objects in one of its files.
    fn read(&self, file: &str) -> Result<Vec<Value>> {
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| Error::refused(format!("{}: {error}", path.display())))?;
        documents(&text)
    }
}

/// Removes both, with the definitions and so every Rollout.
///
/// # Errors
/// When something is left.
pub async fn uninstall(testbed: &Testbed) -> Result<()> {
    let built = Version::built();
    let mut objects = built.read("deploy/crds.yaml")?;
    objects.extend(built.operator("none")?);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let delete = ["delete", "--ignore-not-found", "--timeout=90s"];
    let mut operator = testbed.kubectl(&[&delete[..], &["-f", "-"]].concat());
    program::feed(&mut operator, &list.to_string()).await?;
    testbed
        .run_kubectl(&[&delete[..], &["--kustomize", PROMETHEUS]].concat())
        .await
        .map(drop)
}

/// The cluster IP of a Service. Pods find it without DNS.
///
/// # Errors
/// When there is no such Service.
pub async fn address(testbed: &Testbed, namespace: &str, service: &str) -> Result<String> {
    let api: Api<Service> = Api::namespaced(testbed.client(), namespace);
    let found = api.get(service).await;
    let found = found.map_err(Error::api(format!("Service {namespace}/{service}")))?;
    let address = found.spec.and_then(|spec| spec.cluster_ip);
    address.ok_or_else(|| Error::refused(format!("Service {service} has no address")))
}

async fn refuse_foreign(testbed: &Testbed) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(testbed.client());
    let definition = definitions.get_opt("rollouts.stepgate.io").await;
    let definition = definition.map_err(Error::api("custom resource definitions"))?;
    let namespaces: Api<Namespace> = Api::all(testbed.client());
    let namespace = namespaces.get_opt(OPERATOR).await;
    let namespace = namespace.map_err(Error::api("namespaces"))?;
    let mine = namespace.is_some_and(|n| n.labels().contains_key(MINE.0));
    if definition.is_some() && !mine {
        let words = "Stepgate is installed on this cluster already, and not by the testbed, which \
                     brings its own and removes it again: take a cluster without it";
        return Err(Error::refused(words));
    }
    Ok(())
}

async fn started(testbed: &Testbed, namespace: &str, workload: &str) -> Result<()> {
    let wait = [
        "rollout",
        "status",
        workload,
        "-n",
        namespace,
        "--timeout=90s",
    ];
    let Err(error) = testbed.run_kubectl(&wait).await else {
        return Ok(());
    };
    let pods = testbed
        .run_kubectl(&["get", "pods", "-n", namespace])
        .await?;
    let hint = if pods.contains("ErrImageNeverPull") {
        "; the images are not on the cluster's nodes: load them"
    } else {
        ""
    };
    Err(Error::refused(format!("{error}{hint}\n{pods}")))
}

/// The rules of the Roles in a file of the repository.
fn rules(file: &str) -> Result<Vec<Value>> {
    let objects = Version::built().read(file)?;
    let rules = objects
        .iter()
        .filter_map(|object| object["rules"].as_array());
    Ok(rules.flatten().cloned().collect())
}

/// The documents of a YAML text; empty ones left out.
///
/// # Errors
/// When it is none.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let all = serde_saphyr::from_multiple::<Value>(text);
    let all = all.map_err(|error| Error::refused(format!("not YAML: {error}")))?;
    Ok(all.into_iter().filter(|one| !one.is_null()).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_manifest_is_as_the_bed_knows_it() {
        let objects = super::Version::built().operator("10.96.0.9").unwrap();
        let text = serde_json::to_string(&objects).unwrap();
        assert!(text.contains("localhost/stepgate/stepgate:test"));
        assert!(text.contains("http://10.96.0.9:9090"));
        assert!(!text.contains("prometheus.monitoring.svc"));
        assert!(text.contains("pods/log"));
    }
}
