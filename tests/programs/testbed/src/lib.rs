//! The testbed: a real cluster with the operator, the shop, PostgreSQL and Prometheus in it, and
//! a live view of what happens there. The demo and the end-to-end tests stand on it.
//!
//! [`local`] starts a cluster on this machine, [`images`] builds what runs in it; [`Testbed`] is any
//! cluster, [`install`] puts the operator there, [`view`] watches a namespace, [`traffic`] sends
//! requests through the Service, [`route`] is what leads them through a gateway, [`way`] is by which strategy the shop's releases go, [`outage`] takes parts of
//! the cluster away, [`diagnosis`] says what it looked like when something failed.

pub mod diagnosis;
pub mod error;
pub mod images;
pub mod install;
pub mod kill;
pub mod local;
pub mod namespace;
pub mod outage;
pub mod postgres;
pub mod program;
pub mod reach;
pub mod route;
pub mod traffic;
pub mod view;
pub mod way;

use kube::{Client, Config, config::KubeConfigOptions};
use tokio::process::Command;

pub use error::{Error, Result};
pub use namespace::Namespace;

/// A cluster, as its administrator.
#[derive(Clone)]
pub struct Testbed {
    client: Client,
    context: Option<String>,
    server: String,
}

impl std::fmt::Debug for Testbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testbed")
            .field("context", &self.context)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Testbed {
    /// The cluster that KUBECONFIG names, in its present context or this one.
    ///
    /// # Errors
    /// When there is no such cluster, or it does not answer.
    pub async fn attach(context: Option<String>) -> Result<Self> {
        let options = KubeConfigOptions {
            context: context.clone(),
            ..KubeConfigOptions::default()
        };
        let cannot = |why: String| Error::refused(format!("no way to the cluster: {why}"));
        let config = Config::from_kubeconfig(&options).await;
        let config = config.map_err(|error| cannot(error.to_string()))?;
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| cannot(error.to_string()))?;
        let version = client.apiserver_version().await;
        version.map_err(|error| cannot(format!("{server} does not answer: {error}")))?;
        Ok(Self {
            client,
            context,
            server,
        })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// `kubectl` for this cluster, in the repository.
    #[must_use]
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = program::command("kubectl");
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command.args(arguments);
        command
    }

    /// `kubectl apply` of these objects, as whole documents.
    ///
    /// # Errors
    /// With the API server's words.
    pub async fn apply(&self, objects: &[serde_json::Value]) -> Result<()> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let mut command = self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        program::feed(&mut command, &list.to_string())
            .await
            .map(drop)
    }

    /// `kubectl` with these arguments; what it printed.
    ///
    /// # Errors
    /// With what it complained about.
    pub async fn run_kubectl(&self, arguments: &[&str]) -> Result<String> {
        program::output(&mut self.kubectl(arguments)).await
    }
}
