//! A namespace of one's own on the testbed.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace as Object;
use k8s_openapi::{NamespaceResourceScope, Resource as _};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde_json::{Value, json};
use stepgate::api::{Rollout, keys};

use crate::view::{State, View};
use crate::{Error, Result, Testbed};

/// Label on namespaces that the testbed made, and may remove.
pub const MINE: (&str, &str) = ("stepgate-testbed", "yes");

/// How long Kubernetes may take for what it always does.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A namespace, and what is seen in it. It stays until [`Namespace::remove`].
#[derive(Debug)]
pub struct Namespace {
    testbed: Testbed,
    name: String,
    /// What is seen in it.
    pub view: View,
}

impl Namespace {
    /// Makes it. One of that name that the testbed made earlier is removed first.
    ///
    /// # Errors
    /// When there is one that the testbed has not made.
    pub async fn create(testbed: &Testbed, name: &str) -> Result<Self> {
        let all: Api<Object> = Api::all(testbed.client());
        let found = all.get_opt(name).await;
        if let Some(found) = found.map_err(Error::api(format!("namespace {name}")))? {
            if found.labels().get(MINE.0).map(String::as_str) != Some(MINE.1) {
                let words = format!("namespace {name} is there and not the testbed's: remove it");
                return Err(Error::refused(words));
            }
            remove(testbed, name).await?;
        }
        let object = Object {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([(MINE.0.to_owned(), MINE.1.to_owned())].into()),
                ..ObjectMeta::default()
            },
            ..Object::default()
        };
        let made = all.create(&Default::default(), &object).await;
        made.map_err(Error::api(format!("namespace {name} cannot be made")))?;
        Ok(Self {
            testbed: testbed.clone(),
            name: name.to_owned(),
            view: View::new(&testbed.client(), name),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster.
    #[must_use]
    pub const fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// A kind's objects in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.testbed.client(), &self.name)
    }

    /// `kubectl` with these arguments, in this namespace; what it printed.
    ///
    /// # Errors
    /// With what it complained about.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", &self.name];
        all.extend(arguments);
        self.testbed.run_kubectl(&all).await
    }

    /// PostgreSQL, ready, and the shop's Service.
    ///
    /// # Errors
    /// When PostgreSQL does not get ready.
    pub async fn add_database_and_service(&self) -> Result<()> {
        self.add_shop_parts(&["database", "service"]).await
    }

    /// These of the shop's manifests; PostgreSQL, which is one of them, is ready.
    ///
    /// # Errors
    /// As [`Namespace::add_database_and_service`].
    pub async fn add_shop_parts(&self, parts: &[&str]) -> Result<()> {
        for part in parts {
            let folder = format!("tests/programs/shop/manifests/{part}");
            self.kubectl(&["apply", "--kustomize", &folder]).await?;
        }
        let wait = ["rollout", "status", "deployment/postgres", "--timeout=300s"];
        self.kubectl(&wait).await.map(drop)
    }

    /// Creates or changes a Rollout, as `kubectl apply --server-side` does.
    ///
    /// # Errors
    /// With the API server's words.
    pub async fn put(&self, rollout: &Value) -> Result<Rollout> {
        let name = rollout["metadata"]["name"].as_str().unwrap_or_default();
        let how = PatchParams::apply("testbed").force();
        let done = self
            .api::<Rollout>()
            .patch(name, &how, &Patch::Apply(rollout))
            .await;
        done.map_err(Error::api(format!("Rollout {name} is refused")))
    }

    /// Changes an object by a merge patch.
    ///
    /// # Errors
    /// With the API server's words.
    pub async fn merge<K>(&self, name: &str, patch: &Value) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let done = self
            .api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        done.map_err(Error::api(format!("{} {name}", K::kind(&()))))
    }

    /// Deletes an object; one that is not there is fine.
    ///
    /// # Errors
    /// With the API server's words.
    pub async fn delete<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let done = self.api::<K>().delete(name, &DeleteParams::default()).await;
        match done {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            done => done.map(drop).map_err(Error::api(format!(
                "{} {name} cannot be deleted",
                K::kind(&())
            ))),
        }
    }

    /// Gives a command as a person does: an annotation.
    ///
    /// # Errors
    /// With the API server's words.
    pub async fn tell(&self, rollout: &str, command: &str, text: &str) -> Result<()> {
        let key = format!("{}{command}", keys::PREFIX);
        let patch = json!({"metadata": {"annotations": {key: text}}});
        self.merge::<Rollout>(rollout, &patch).await.map(drop)
    }

    /// Waits until `look` finds something in what is seen.
    ///
    /// # Errors
    /// When it found nothing within `limit`.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl FnMut(&State) -> Option<T>,
    ) -> Result<T> {
        let what = format!("{what} in namespace {}", self.name);
        self.view.until(&what, limit, look).await
    }

    /// Removes it and all that is in it.
    ///
    /// # Errors
    /// When it is not gone in time.
    pub async fn remove(&self) -> Result<()> {
        remove(&self.testbed, &self.name).await
    }
}

async fn remove(testbed: &Testbed, name: &str) -> Result<()> {
    // Not with its namespace, so that the operator is not held up by what is gone already.
    let rollouts = format!("rollouts.{}", keys::GROUP);
    testbed
        .run_kubectl(&["delete", &rollouts, "--all", "-n", name, "--timeout=300s"])
        .await?;
    let kind = Object::KIND.to_lowercase();
    let delete = ["delete", &kind, name, "--timeout=300s"];
    testbed.run_kubectl(&delete).await.map(drop)
}
